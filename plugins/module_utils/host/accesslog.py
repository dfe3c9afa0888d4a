"""What the last lines of nginx's access log say: how many requests each app has answered, and how long they took."""

from __future__ import annotations

import datetime
import functools
import math
import re
from collections.abc import Iterator, Sequence
from typing import Any

from ansible_collections.plainstack.web.plugins.module_utils import traffic
from ansible_collections.plainstack.web.plugins.module_utils.host.tail import backwards

LOG = "/var/log/nginx/access.log"
# The first quotation mark of a line begins the request: nginx escapes those in what clients send
STAMP = re.compile(r'^[^"]*\[([^\]"]+)\] "')
MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
PROBE = ' "Plainstack" '  # Plainstack's own health checks
FROM_HERE = "127.0.0.1 "
MOST = 2**25  # bytes that are read at most
MINUTES = 60
TAKEN_OVER = 101  # a WebSocket: its time is how long it was open


@functools.lru_cache(maxsize=64)
def _parse(stamp: str) -> float:
    day, month, rest = stamp.split("/", 2)
    # The months are English whatever the language of this process, which %b would be read in
    return datetime.datetime.strptime(f"{day} {MONTHS.index(month) + 1} {rest}", "%d %m %Y:%H:%M:%S %z").timestamp()


def moment(line: str) -> float:
    """When a request ended, in seconds since 1970; 0 where the line is none of nginx's."""
    found = STAMP.match(line)
    try:
        return _parse(found[1]) if found else 0.0
    except ValueError:
        return 0.0


def recent(since: float, log: str = LOG) -> Iterator[str]:
    """The lines of requests that ended after a moment, the last one first."""
    for path in (log, f"{log}.1"):
        for line in backwards(path, MOST):
            at = moment(line)
            if at and at < since:
                return
            if at:
                yield line


def percentile(values: Sequence[float], part: float) -> float:
    """The value that this part of sorted values does not exceed; 0 where there are none."""
    return values[max(0, math.ceil(len(values) * part) - 1)] if values else 0.0


def _answered(names: Sequence[str], since: float, log: str) -> Iterator[tuple[str, float, int, float]]:
    """Of each request that one of the apps has answered since then: the app, when it ended, its status, and the seconds that it took."""
    for line in recent(since, log):
        found = traffic.LINE.search(line)
        if found and found["app"] in names and not (PROBE in line and line.startswith(FROM_HERE)):
            yield found["app"], moment(line), int(found["status"]), float(found["seconds"])


def requests(names: Sequence[str], since: float, log: str = LOG) -> dict[str, dict[str, Any]]:
    """Of each app how many `requests` it has answered since then, how many with a status of 5xx (`errors`), and the seconds within which 50 and 99 of 100
    were answered (`p50`, `p99`). Health checks, and files that nginx serves itself, do not count."""
    counts, errors = dict.fromkeys(names, 0), dict.fromkeys(names, 0)
    seconds: dict[str, list[float]] = {name: [] for name in names}
    for name, _at, status, taken in _answered(names, since, log):
        counts[name] += 1
        errors[name] += status >= 500
        if status != TAKEN_OVER:
            seconds[name].append(taken)
    told = {}
    for name in names:
        ordered = sorted(seconds[name])
        told[name] = {"requests": counts[name], "errors": errors[name], "p50": percentile(ordered, 0.5), "p99": percentile(ordered, 0.99)}
    return told


def minutes(names: Sequence[str], now: float, log: str = LOG) -> dict[str, list[dict[str, Any]]]:
    """The same of each app for each of the last 60 minutes, the oldest first, each with the moment at which it begins (`time`)."""
    first = (int(now) // 60 - MINUTES + 1) * 60
    counts, errors = ({name: [0] * MINUTES for name in names} for _ in range(2))
    seconds: dict[str, list[list[float]]] = {name: [[] for _ in range(MINUTES)] for name in names}
    for name, at, status, taken in _answered(names, first, log):
        place = int(at - first) // 60
        if place >= MINUTES:  # a clock that was put back
            continue
        counts[name][place] += 1
        errors[name][place] += status >= 500
        if status != TAKEN_OVER:
            seconds[name][place].append(taken)
    told: dict[str, list[dict[str, Any]]] = {}
    for name in names:
        told[name] = []
        for place in range(MINUTES):
            ordered = sorted(seconds[name][place])
            met = {"requests": counts[name][place], "errors": errors[name][place], "p50": percentile(ordered, 0.5), "p99": percentile(ordered, 0.99)}
            told[name].append({"time": first + place * 60, **met})
    return told
