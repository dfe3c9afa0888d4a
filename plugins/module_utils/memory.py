"""Whether a second instance of an app fits into the host's memory beside the live one."""

from __future__ import annotations

import contextlib
import re

from ansible_collections.plainstack.web.plugins.module_utils import systemd
from ansible_collections.plainstack.web.plugins.module_utils.layout import App, read

# Of cgroup v2 and v1: the limit and the use of the group that this machine is, where it is a container
LIMITS = (
    ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current"),
    ("/sys/fs/cgroup/memory/memory.limit_in_bytes", "/sys/fs/cgroup/memory/memory.usage_in_bytes"),
)
STATISTICS = ("/sys/fs/cgroup/memory.stat", "/sys/fs/cgroup/memory/memory.stat")


def _field(text: str | None, name: str) -> int:
    found = re.search(rf"^{name}:?\s+(\d+)", text or "", re.MULTILINE)
    return int(found[1]) if found else 0


def total() -> int:
    """Bytes of memory, by the control group's limit where it is lower than the machine's."""
    sizes = [_field(read("/proc/meminfo"), "MemTotal") * 1024]
    for limit, _use in LIMITS:
        with contextlib.suppress(ValueError):  # "max", or no such file
            sizes.append(int(read(limit) or ""))
    return min(sizes)


def available() -> int:
    """Bytes that programs can still get without swapping."""
    sizes = [_field(read("/proc/meminfo"), "MemAvailable") * 1024]
    for (limit, use), statistics in zip(LIMITS, STATISTICS, strict=True):
        with contextlib.suppress(ValueError):
            # What only caches files is given up when it is needed
            cache = _field(read(statistics), "inactive_file") + _field(read(statistics), "active_file")
            sizes.append(int(read(limit) or "") - int(read(use) or "") + cache)
    return min(sizes)


def check(app: App) -> None:
    """Refuse to start an instance beside the live one where there is no room for it.

    :raises systemd.InstanceError: with the figures.
    """
    live = app.live_id()
    needed = systemd.memory(app, live) if live else 0
    free = available()
    if needed > free:
        raise systemd.InstanceError(
            f"{app.name}: a new instance does not fit beside the live one. It needs about {needed // 2**20} MiB, as much as {live} holds; "
            f"{free // 2**20} MiB of {total() // 2**20} are available. {live} still serves.\n"
            "Where it is set: 'workers', 'threads' and 'preload' of the app; fewer workers need less.\n"
            "Next: 'ps -eo rss,user,args --sort -rss | head' on the host shows who uses the memory; make room, or give the host more."
        )
