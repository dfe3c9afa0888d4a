"""Whether a second instance of an app fits into the host's memory beside the live one."""

from __future__ import annotations

import contextlib
import re

from ansible_collections.plainstack.web.plugins.module_utils import layout
from ansible_collections.plainstack.web.plugins.module_utils.host import systemd
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


def promised(app: App, identifier: str) -> str:
    """What to say where the apps of the host may together use more than it has; empty where they cannot.

    :param identifier: of the release that is to be started.
    """
    units = {other.name: other.unit(other.live_id(), "service") for other in layout.apps() if other.live_id()}
    units[app.name] = app.unit(identifier, "service")
    has = total()
    limits = {name: min(systemd.limit(unit) or has, has) for name, unit in sorted(units.items())}
    if len(limits) < 2 or sum(limits.values()) <= has:
        return ""
    each = ", ".join(f"{name} {size // 2**20}" for name, size in limits.items())
    return (
        f"The apps of this host may use more memory than it has: {each} of {has // 2**20} MiB. One that grows leaves no room for deploys of the others. "
        f"Where it is set: 'memory_max' of each app. Next: choose figures that add up to less than 100 %, such as {80 // len(limits)}% each, and deploy again."
    )


def _held(app: App, identifier: str) -> int:
    """Bytes of an instance's processes and of its files in memory."""
    group = systemd.show(app.unit(identifier, "service"), "ControlGroup")["ControlGroup"]
    stat = next((text for root in ("/sys/fs/cgroup", "/sys/fs/cgroup/memory") if (text := read(f"{root}{group}/memory.stat"))), None)  # cgroup v2; v1
    return sum(_field(stat, name) for name in ("anon", "rss", "shmem"))


def holders(most: int = 4) -> list[str]:
    """What the apps of the host hold, the largest first."""
    held = {f"{app.name} ({identifier})": _held(app, identifier) for app in layout.apps() for identifier in systemd.running(app)}
    return [f"{name} {size // 2**20} MiB" for name, size in sorted(held.items(), key=lambda one: -one[1])[:most] if size >= 2**20]


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
            f"{free // 2**20} MiB of {total() // 2**20} are available. {systemd.serving(app)}\n"
            f"The apps hold: {', '.join(holders()) or 'less than a MiB'}.\n"
            "Where it is set: 'workers', 'threads' and 'preload' of the app, fewer workers need less; 'memory_max' of an app that holds too much.\n"
            "Next: 'ps -eo rss,user,args --sort -rss | head' on the host shows who uses the memory; make room, or give the host more."
        )
