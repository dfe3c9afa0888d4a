"""The parts of a run under load: what each one's responses were, how that compares with the steady state, and the table of it."""

from __future__ import annotations

import datetime
import textwrap
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from clients import Response

TIMES_STEADY = 3  # the worst response of a switch may be this many times the worst of the steady state
OUTCOME = "Every answer that was not status 200 with the right body counts as failed, and so does no answer."


@dataclass(frozen=True)
class Part:
    """One thing that was done under load; all times on the monotonic clock.

    `window` is what is compared with the steady state: from a second before the new release's first response until a second
    after the old one was stopped, or the whole part where nothing is switched. `reloads`: nginx is reloaded in it.
    """

    name: str
    began: float
    ended: float
    window: tuple[float, float]
    reloads: bool = False


@dataclass(frozen=True)
class Figures:
    """Of some responses: how many, what failed, how many were sent twice, the longest in milliseconds."""

    responses: int
    failures: Counter[str]
    resent: int
    worst: float

    @property
    def failed(self) -> int:
        return self.failures.total()


def figures(responses: Sequence[Response]) -> Figures:
    """What they come to."""
    failures = Counter(f"{response.kind}: {response.failure}" for response in responses if response.failure)
    worst = max((response.seconds for response in responses), default=0.0)
    return Figures(len(responses), failures, sum(response.resent for response in responses), worst * 1000)


@dataclass
class Log:
    """What happened on one server: its system, the responses of the load, the parts, and the control's responses."""

    system: str
    responses: list[Response] = field(default_factory=list, repr=False)
    parts: list[Part] = field(default_factory=list)
    control: list[Response] = field(default_factory=list, repr=False)

    def of(self, part: Part) -> Figures:
        """All that was asked during a part."""
        return figures([response for response in self.responses if part.began <= response.start < part.ended])

    def during(self, part: Part) -> Figures:
        """All that was open at some moment of the part's window."""
        first, last = part.window
        return figures([response for response in self.responses if response.end >= first and response.start <= last])

    def steady(self) -> Figures:
        """All that no window touches: nothing happens, or Ansible builds a release."""
        windows = [part.window for part in self.parts]
        return figures([response for response in self.responses if all(response.end < first or response.start > last for first, last in windows)])

    def too_slow(self) -> list[str]:
        """The parts whose worst response was too long, with the figures."""
        limit = TIMES_STEADY * self.steady().worst
        worsts = {part.name: self.during(part).worst for part in self.parts}
        return [f"{name}: {worst:.0f} ms; {TIMES_STEADY} times the steady state's worst is {limit:.0f} ms" for name, worst in worsts.items() if worst > limit]

    def good(self, parts: int, responses: int) -> bool:
        """Whether there are so many parts and responses, none of them failed or too late, and the control has seen some fail."""
        found = figures(self.responses)
        whole = len(self.parts) == parts and found.responses >= responses
        return whole and found.failed == 0 and not self.too_slow() and figures(self.control).failed > 0

    def table(self) -> str:
        """The figures as a Markdown table."""
        rows = [["Part", "Responses", "Failed", "Resent", "Worst, ms"], ["---", "--:", "--:", "--:", "--:"]]
        for part in self.parts:
            found = self.of(part)
            rows.append([part.name, f"{found.responses:,}", f"{found.failed}", f"{found.resent}", f"{self.during(part).worst:.0f}"])
        rest = figures([response for response in self.responses if not any(part.began <= response.start < part.ended for part in self.parts)])
        rows.append(["before, between and after them", f"{rest.responses:,}", f"{rest.failed}", f"{rest.resent}", ""])
        whole = figures(self.responses)
        rows.append(["**all**", f"**{whole.responses:,}**", f"**{whole.failed}**", f"**{whole.resent}**", f"steady state: {self.steady().worst:.0f}"])
        found = figures(self.control)
        rows.append(["control: `systemctl restart`, twice", f"{found.responses:,}", f"**{found.failed}**", f"{found.resent}", f"{found.worst:.0f}"])
        return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def write(logs: Sequence[Log], path: Path, load: str) -> None:
    """Keep the figures for the docs.

    :param load: what the load is, as a sentence.
    """
    responses = sum(len(log.responses) for log in logs)
    failed = sum(figures(log.responses).failed for log in logs)
    what = f"""{load} {OUTCOME} *Resent* are requests that came to a kept connection which nginx closed at that moment,
because it was being reloaded; HTTP clients send them again on a new one (RFC 9112, section 9.3.1), and so does this load, once.
*Worst* is the longest response between a second before the switch and a second after the old release was stopped, or of the
whole part where nothing is switched. The steady state's is of all the rest of the run, in which Ansible builds releases on the
same cores. The test fails when a part's worst is more than {TIMES_STEADY} times the steady state's, when one request fails, or when one is
resent in a part without a reload."""
    sections = "\n\n".join(f"## {log.system}\n\n{log.table()}" for log in logs)
    path.parent.mkdir(exist_ok=True)
    path.write_text(
        f"""# Releases under load

Written by `molecule test --scenario-name release` on {datetime.datetime.now(datetime.UTC):%Y-%m-%d}: {failed} of {responses:,} requests failed while
everything below was done to the servers, one after the other.

{textwrap.fill(what, 120, break_on_hyphens=False)}

The control is the same app with the same Gunicorn settings in a plain unit that binds its socket itself, behind the same nginx,
under the same load: what a deploy that ends in `systemctl restart` does to its visitors.

{sections}
""",
        encoding="utf-8",
    )
