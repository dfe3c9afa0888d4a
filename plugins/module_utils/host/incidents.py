"""What of the problems of a host is told, and when: once as it begins, once when it is over, and now and then in between. Pure functions of time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

OVER_AFTER = 60.0  # seconds that a problem must have been away: one that comes and goes is one
RECURS = 3600.0  # seconds within which one that comes again counts as one that comes and goes; and then it must have been away for
CALM = 900.0  # so many seconds
TOGETHER = 3  # problems that begin at once are told one by one; more in one message
LONGEST_QUEUE = 100  # messages that wait for their targets; the oldest go first
GIVEN_UP = 86400.0  # seconds after which a message is not worth sending any more

State = dict[str, Any]


@dataclass(frozen=True)
class Problem:
    """Something that is wrong now.

    `key` is the same as long as it goes on. `lasts` is for how many seconds it must have gone on before it is told. `detail` is what goes below, such as
    the last lines of a log.
    """

    key: str
    what: str
    then: str
    lasts: float = 0.0
    detail: str = ""


@dataclass(frozen=True)
class Message:
    """What is sent: a line, and a text."""

    title: str
    body: str


def span(seconds: float) -> str:
    """How long, for people."""
    for size, name in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{int(seconds // size)} {name}"
    return f"{int(seconds)} s"


def _text(problem: Problem, since: str) -> str:
    lines = [problem.what, f"Since: {since}", f"Next: {problem.then}"]
    return "\n".join([*lines, *(["", problem.detail] if problem.detail else [])])


def _told(host: str, problems: Sequence[Problem], again: bool, stamps: Sequence[str]) -> list[Message]:
    still = "still: " if again else ""
    if len(problems) > TOGETHER:
        listed = [f"- {problem.what}" for problem in problems]
        return [Message(f"{host}: {still}{len(problems)} problems", "\n".join([*listed, "", "Next: ansible-playbook plainstack.web.status"]))]
    return [Message(f"{host}: {still}{problem.what.splitlines()[0]}", _text(problem, since)) for problem, since in zip(problems, stamps, strict=True)]


def advance(state: State, host: str, problems: Sequence[Problem], now: float, stamp: str, reminder: float) -> list[Message]:
    """Bring the incidents up to date; what is to be said.

    :param state: what is kept between two looks; changed.
    :param now: in seconds since 1970, and `stamp` for people.
    :param reminder: seconds after which what goes on is told again; 0 for never.
    """
    incidents: dict[str, dict[str, Any]] = state.setdefault("incidents", {})
    ended: dict[str, float] = state.setdefault("ended", {})
    for key in [key for key, at in ended.items() if now - at >= RECURS]:
        del ended[key]
    begun, reminded = list[Problem](), list[Problem]()
    for problem in problems:
        known = incidents.setdefault(problem.key, {"since": now, "stamp": stamp, "told": None})
        known.pop("away", None)
        known["what"] = problem.what
        if known["told"] is None and now - known["since"] >= problem.lasts:
            begun.append(problem)
        elif known["told"] is not None and reminder and now - known["told"] >= reminder:
            reminded.append(problem)
    for problem in begun + reminded:
        incidents[problem.key]["told"] = now
    messages = [
        message
        for listed, again in ((begun, False), (reminded, True))
        for message in _told(host, listed, again, [incidents[problem.key]["stamp"] for problem in listed])
    ]
    present, over = {problem.key for problem in problems}, list[tuple[str, str]]()
    for key in [key for key in incidents if key not in present]:
        known = incidents[key]
        if now - known.setdefault("away", now) < (CALM if key in ended else OVER_AFTER) and known["told"] is not None:
            continue
        if known["told"] is not None:
            lasted = span(known["away"] - known["since"])
            over.append((known["what"].splitlines()[0], f"It has ended, after {lasted}.\nIt had begun: {known['stamp']}"))
            ended[key] = now
        del incidents[key]
    if len(over) > TOGETHER:
        return [*messages, Message(f"{host}: over: {len(over)} problems", "\n".join(f"- {what}" for what, _text in over))]
    return [*messages, *(Message(f"{host}: over: {what}", text) for what, text in over)]


def patience(state: State, problems: Sequence[Problem], now: float) -> float:
    """Seconds until one of these problems has gone on long enough to be told; 0 where all have been."""
    incidents = state.get("incidents", {})
    waits = [problem.lasts - (now - incidents[problem.key]["since"]) for problem in problems if incidents[problem.key]["told"] is None]
    return max(min(waits, default=0.0), 0.0)


def enqueue(state: State, messages: Sequence[Message], targets: int, now: float) -> None:
    """Have messages sent to all targets."""
    queue = state.setdefault("queue", [])
    queue += [{"title": one.title, "body": one.body, "at": now, "targets": [*range(targets)]} for one in messages]
    del queue[:-LONGEST_QUEUE]


def due(state: State, now: float) -> list[dict[str, Any]]:
    """The messages that some target has not had, without those that have become too old."""
    queue: list[dict[str, Any]] = [one for one in state.get("queue", []) if one["targets"] and now - one["at"] < GIVEN_UP]
    state["queue"] = queue
    return queue


def full_at(samples: Sequence[tuple[float, float]], now: float) -> float:
    """When something will be full, as it has grown since the first sample; 0 where it does not grow.

    :param samples: moments, with the part that was used then (0 to 1), in order.
    """
    if len(samples) < 2:
        return 0.0
    (began, first), (_at, last) = samples[0], samples[-1]
    grown, passed = last - first, samples[-1][0] - began
    return now + (1 - last) * passed / grown if grown > 0.001 and passed >= 60 else 0.0
