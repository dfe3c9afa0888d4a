"""Wait until an instance has nothing to do."""

from __future__ import annotations

import re
import sys
import time

from ansible_collections.plainstack.web.plugins.module_utils.layout import read

# The kernel's SS_CONNECTING, of a connection that is not accepted yet, and SS_CONNECTED; a listening socket has 01
OPEN = ("02", "03")
# Just as the kernel writes it: an app chooses the names of its own sockets, ends of lines in them too. In the 107 bytes of one is no room for a whole line
# with the path of another app's, on 64 bits
WORD = 16 if sys.maxsize > 2**32 else 8
LINE = re.compile(rf"[0-9A-Fa-f]{{{WORD}}}:( [0-9A-F]{{8}}){{3}} [0-9A-F]{{4}} ([0-9A-F]{{2}}) [ 0-9]{{4,}}[0-9] (/.*)")


def connections(path: str, table: str = "/proc/net/unix") -> int:
    """Connections to a unix socket, those in its accept queue included.

    nginx opens one for each request and closes it after the answer, so that these are the requests that are not over.
    """
    count = 0
    for line in (read(table) or "").split("\n"):
        found = LINE.fullmatch(line)
        if found and found[3] == path and found[2] in OPEN:
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
