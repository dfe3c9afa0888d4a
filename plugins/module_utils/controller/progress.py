"""What a rollout shows while it goes on: its phases, a line each. Pure functions of events and moments; no terminal, nothing of Ansible's."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

ROLLOUT, PLAIN, FOREIGN = "rollout", "plain", ""
# Playbooks whose runs have phases, and the events that they are for
EVENTS = {"deploy", "restart", "rollback", "scale", "start", "stop", "teardown", "upgrade"}
ROLLOUTS = {"begin", "plan", "rollout", *EVENTS}
# Where a task's phase is found: its play, the step that it does, its role, its action
PLAYS = {"Set up the load balancers": "balancers", "Tell the load balancers": "balancers", "Upgrade the app servers": "upgrade"}
STEPS = {"agree": "confirm", "after_live": "hooks"}  # all others have the name of their phase
ROLES = {"nginx": "nginx", "certbot": "certificates", "firewall": "firewall", "python": "prepare"}
ACTIONS = {"plan": "plan", "inspect": "inspect", "packages": "prepare", "fetch": "fetch", "traffic": "canary", "teardown": "remove"}
ALWAYS = {"plan", "inspect"}  # shown also when they took no time and did nothing
ASKING = {"inspect"}  # ssh may ask on the terminal whether a host is known: the line is not drawn again meanwhile
SERVERS = {"inspect", "upgrade"}  # all servers are named, also those on which nothing changed
SLOW = 2.0  # seconds from which a phase that did nothing is shown
WIDTH = 24  # of the column with the names of phases
NARROW = 60  # columns below which there is none
WIDE = 100  # columns of an output that is no terminal
SHOWN = 20  # lines of what a program said
MARGIN = 2

LOCAL = "localhost"

WORST = NOTHING, OK, CHANGED, FAILED, LOST = "", "ok", "changed", "failed", "lost"


def kind(playbook: str, ours: str, variables: Mapping[str, Any]) -> str:
    """What a play is: part of a rollout, of another playbook of the collection, or somebody else's.

    :param playbook: the path of its file.
    :param ours: the directory of the collection's playbooks.
    :param variables: the play's; `plainstack_event` is what the run is for.
    """
    if os.path.dirname(playbook) != ours:
        return FOREIGN
    name = os.path.splitext(os.path.basename(playbook))[0]
    return ROLLOUT if name in ROLLOUTS and variables.get("plainstack_event", "deploy") in EVENTS else PLAIN


def phase(play: str, role: str, action: str, step: str, before: str) -> str:
    """The phase that a task belongs to; none for the result.

    :param role: without its collection; empty where the task is of none.
    :param action: the same.
    :param step: the option `step` of the action `step`.
    :param before: the phase of the task before, which lasts where nothing else is known.
    """
    if action == "summary":
        return ""
    if play in PLAYS:
        return PLAYS[play]
    if action == "step":
        return STEPS.get(step, step)
    return ROLES.get(role) or ACTIONS.get(action) or before


def cause(result: Mapping[str, Any], task: str) -> str:
    """What a task that failed has to say; our errors are whole, of a program its last words come along.

    :param task: its name, where it says nothing.
    """
    said = str(result.get("msg") or result.get("censored") or result.get("reason") or "").strip()
    if "\n" in said:
        return said
    words = [str(result.get(key) or "").strip() for key in ("stderr", "module_stderr", "stdout", "module_stdout")]
    last = [line for text in words if text and not said.endswith(text) for line in text.splitlines()][-SHOWN:]
    return "\n".join([f"{task}: {said or 'it failed'}", *last])


def numbers(stats: Mapping[str, int]) -> str:
    """Ansible's own figures."""
    return " ".join(f"{name}={count}" for name, count in stats.items())


def end(seconds: float, stats: Mapping[str, int], check: bool, log: str) -> list[str]:
    """The last lines of a run.

    :param stats: of all hosts together; see `totals`.
    :param check: whether it was a dry run.
    :param log: the file with Ansible's output; empty where there is none.
    """
    count = stats["changed"]
    would = "would change" if check else "changed"
    what = f"{'Nothing' if not count else '1 task' if count == 1 else f'{count} tasks'} {would}{' something' if count else ''}"
    if stats["failed"] or stats["unreachable"]:
        what = "Failed"
    return [f"{what}, in {seconds:.1f} s: {numbers(stats)}", *([f"Ansible's output: {log}"] if log else [])]


def totals(hosts: Sequence[Mapping[str, int]]) -> dict[str, int]:
    """The figures of a run, from those that Ansible has of each host, with the names that its recap gives them."""
    names = {"ok": "ok", "changed": "changed", "unreachable": "unreachable", "failures": "failed", "skipped": "skipped", "rescued": "rescued"}
    return {name: sum(host[key] for host in hosts) for key, name in {**names, "ignored": "ignored"}.items()}


def listed(hosts: Sequence[str], room: int) -> str:
    """The hosts by name, or how many they are where there is no room for that."""
    names = ", ".join(hosts)
    return names if len(names) <= max(room, 12) or len(hosts) == 1 else f"{len(hosts)} servers"


@dataclass
class Phase:
    """A phase that goes on: when it began, what came of it on each host, which tasks changed something and where."""

    name: str
    began: float
    names: list[str] = field(default_factory=list)
    hosts: dict[str, str] = field(default_factory=dict)
    changes: dict[str, list[str]] = field(default_factory=dict)

    def on(self, *outcomes: str) -> list[str]:
        """The servers of which that came."""
        return [host for host, outcome in self.hosts.items() if outcome in outcomes and host != LOCAL]


def _named(phase: Phase, width: int) -> str:
    """Its names, in a column where there is room for one."""
    names = ", ".join(phase.names)
    return names.ljust(WIDTH) if width >= NARROW else names


class Progress:
    """The phases of a run, one after the other.

    :param check: whether it is a dry run; its lines say which tasks would change something.
    """

    def __init__(self, check: bool = False) -> None:
        self._check = check
        self._phase: Phase | None = None
        self._waiting: dict[str, None] = {}
        self._asked = 0

    @property
    def name(self) -> str:
        """The phase that goes on; empty where none does."""
        return self._phase.name if self._phase else ""

    @property
    def steady(self) -> bool:
        """Whether the current line must stay as it is."""
        return self.name in ASKING

    def task(self, name: str, now: float, width: int) -> list[str]:
        """A task of a phase begins; the lines of the phase before where it has ended."""
        self._waiting, self._asked = {}, 0
        if name == self.name:
            return []
        lines = self.finish(now, width)
        if name:
            self._phase = Phase(name, now, [name])
        return lines

    def started(self, host: str) -> None:
        """The task begins on a host."""
        self._waiting[host] = None
        self._asked += 1
        if self._phase:
            self._phase.hosts.setdefault(host, NOTHING)

    def done(self, host: str, outcome: str, task: str = "", along: Sequence[str] = ()) -> None:
        """The task has ended on a host.

        :param task: its name.
        :param along: the steps that were done along with it.
        """
        self._waiting.pop(host, None)
        if not self._phase or not outcome:
            return
        self._phase.hosts[host] = max(self._phase.hosts.get(host, NOTHING), outcome, key=WORST.index)
        self._phase.names = [*dict.fromkeys([*self._phase.names, *(STEPS.get(step, step) for step in along)])]
        if outcome == CHANGED:
            self._phase.changes.setdefault(task, []).append(host)

    def current(self, now: float, width: int) -> str:
        """The line of the phase that goes on, no wider than the terminal; empty where none does.

        Another thread than that of the events may call it.
        """
        phase, waiting = self._phase, [host for host in list(self._waiting) if host != LOCAL]
        if not phase:
            return ""
        seconds = "" if phase.name in ASKING else f" {now - phase.began:>5.0f} s  "
        text = f"{_named(phase, width)}{seconds}"
        if seconds and 0 < len(waiting) < self._asked:
            text += f"{self._asked - len(waiting)} of {self._asked} servers, waiting for "
        return (text + listed(waiting, width - len(text) - MARGIN))[: max(width - 1, 1)].rstrip()

    def finish(self, now: float, width: int) -> list[str]:
        """The lines of the phase that has ended; none where nothing was done in it, and quickly."""
        ended, self._phase = self._phase, None
        if not ended:
            return []
        seconds, failed, lost = now - ended.began, ended.on(FAILED), ended.on(LOST)
        acted, wrong = ended.on(OK, CHANGED), {FAILED, LOST} & {*ended.hosts.values()}
        if not (acted or wrong or ended.name in ALWAYS or seconds >= SLOW):
            return []
        text = f"{_named(ended, width)} {seconds:>5.1f} s  "
        room = width - len(text) - MARGIN
        parts = [f"failed on {listed(failed, room)}"] if failed else ["failed"] if wrong and not lost else []
        parts += [f"lost {listed(lost, room)}"] if lost else []
        parts += [listed(acted, room)] if acted and not parts else []
        if not parts and ended.name not in ALWAYS:
            parts = ["nothing to do"]
        changes = [f"  would change: {task} ({listed(hosts, room)})" for task, hosts in ended.changes.items()] if self._check else []
        return [(text + "; ".join(parts)).rstrip(), *changes]
