"""What visitors met within some time, read from nginx's access log, and whether a canary does worse than the rest. Pure but for reading."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

# The format `plainstack` of nginx.conf: status, then at its end the time that the app has taken, and its socket
LINE = re.compile(r'" (?P<status>\d{3}) \d+ ".*" ".*" \S+ [\d.]+ (?P<seconds>[\d.]+) unix:/srv/(?P<app>[^/]+)/live\.sock')
ENOUGH = 20  # requests without which nobody is judged
MORE_ERRORS = 0.01  # share of answers 5xx that a canary may have more than the rest
SLOWER, SLOWER_BY = 1.5, 0.1  # the canary's p95 may be so many times the rest's, and so many seconds more


@dataclass(frozen=True)
class Traffic:
    """Requests that the app answered, how many with a status of 5xx, and the time in seconds within which 95 of 100 were answered."""

    requests: int
    errors: int
    p95: float

    @property
    def share(self) -> float:
        """Share of errors, 0 to 1."""
        return self.errors / self.requests if self.requests else 0.0


def read(lines: Iterable[str], app: str) -> Traffic:
    """What lines of the log say about an app; files that nginx serves itself do not count."""
    statuses, seconds = [], []
    for line in lines:
        found = LINE.search(line)
        if found and found["app"] == app:
            statuses.append(int(found["status"]))
            seconds.append(float(found["seconds"]))
    seconds.sort()
    p95 = seconds[math.ceil(len(seconds) * 0.95) - 1] if seconds else 0.0
    return Traffic(len(statuses), sum(status >= 500 for status in statuses), p95)


def together(parts: Sequence[Traffic]) -> Traffic:
    """The traffic of several servers; their slowest p95 stands for all."""
    return Traffic(sum(part.requests for part in parts), sum(part.errors for part in parts), max((part.p95 for part in parts), default=0.0))


def worse(canary: Traffic, rest: Traffic) -> str:
    """Why the canary is worse than the rest; empty when it is not, or when there is too little to tell."""
    if canary.requests < ENOUGH:
        return ""
    if canary.share > rest.share + MORE_ERRORS:
        return (
            f"{canary.errors} of {canary.requests} answers were errors (5xx), {canary.share:.1%}; "
            f"on the rest {rest.errors} of {rest.requests}, {rest.share:.1%}; {MORE_ERRORS:.0%} more is allowed"
        )
    if rest.requests >= ENOUGH and canary.p95 > rest.p95 * SLOWER + SLOWER_BY:
        return f"95 of 100 requests took up to {canary.p95:.2f} s, on the rest up to {rest.p95:.2f} s; {SLOWER} times as long and {SLOWER_BY} s more is allowed"
    return ""
