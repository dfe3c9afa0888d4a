"""Wait until an instance has nothing to do."""

from __future__ import annotations

import time

from ansible_collections.plainstack.web.plugins.module_utils.layout import read

# The kernel's SS_CONNECTING, of a connection that is not accepted yet, and SS_CONNECTED; a listening socket has 01
OPEN = ("02", "03")


def connections(path: str, table: str = "/proc/net/unix") -> int:
    """Connections to a unix socket, those in its accept queue included.

    nginx opens one for each request and closes it after the answer, so that these are the requests that are not over.
    """
    count = 0
    for line in (read(table) or "").splitlines():
        fields = line.split(maxsplit=7)
        if len(fields) == 8 and fields[7] == path and fields[5] in OPEN:
            count += 1
    return count


def drain(path: str, seconds: float) -> int:
    """Wait until no request is left.

    :param seconds: the most to wait.
    :returns: how many requests were left when the time was over.
    """
    deadline = time.monotonic() + seconds
    time.sleep(0.1)  # nginx may have followed the link just before the switch and connect only now
    while (left := connections(path)) and time.monotonic() < deadline:
        time.sleep(0.05)
    return left
