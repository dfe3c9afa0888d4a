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


def requests(names: Sequence[str], since: float, log: str = LOG) -> dict[str, dict[str, Any]]:
    """Of each app how many `requests` it has answered since then, how many with a status of 5xx (`errors`), and the seconds within which 50 and 99 of 100
    were answered (`p50`, `p99`). Health checks, and files that nginx serves itself, do not count."""
    counts, errors = dict.fromkeys(names, 0), dict.fromkeys(names, 0)
    seconds: dict[str, list[float]] = {name: [] for name in names}
    for line in recent(since, log):
        found = traffic.LINE.search(line)
        if not found or found["app"] not in counts or (PROBE in line and line.startswith(FROM_HERE)):
            continue
        status = int(found["status"])
        counts[found["app"]] += 1
        errors[found["app"]] += status >= 500
        if status != TAKEN_OVER:
            seconds[found["app"]].append(float(found["seconds"]))
    told = {}
    for name in names:
        taken = sorted(seconds[name])
        told[name] = {"requests": counts[name], "errors": errors[name], "p50": percentile(taken, 0.5), "p99": percentile(taken, 0.99)}
    return told
