"""Whether a second instance fits beside the live one."""

import pytest
from ansible_collections.plainstack.web.plugins.module_utils import memory, systemd
from ansible_collections.plainstack.web.plugins.module_utils.layout import relink

from tests.unit.fakes import OLD, LocalApp

MIB = 2**20
MEMINFO = "MemTotal:        2048000 kB\nMemFree:          100000 kB\nMemAvailable:    1024000 kB\n"
V2, V1 = "/sys/fs/cgroup", "/sys/fs/cgroup/memory"
STATISTICS = f"anon 1\ninactive_file {10 * MIB}\ntotal_inactive_file 7\nactive_file {5 * MIB}\n"


def v2(limit: str, use: int) -> dict[str, str]:
    return {f"{V2}/memory.max": limit, f"{V2}/memory.current": str(use), f"{V2}/memory.stat": STATISTICS}


def v1(limit: int, use: int) -> dict[str, str]:
    return {f"{V1}/memory.limit_in_bytes": str(limit), f"{V1}/memory.usage_in_bytes": f"{use}\n", f"{V1}/memory.stat": STATISTICS}


@pytest.mark.parametrize(
    ("files", "total", "available"),
    [
        ({}, 2000, 1000),
        (v2("max\n", 100 * MIB), 2000, 1000),
        (v2(f"{500 * MIB}\n", 100 * MIB), 500, 415),  # what only caches files is free
        (v2(f"{8000 * MIB}\n", 100 * MIB), 2000, 1000),
        (v2(f"{1500 * MIB}\n", 0), 1500, 1000),
        (v1(500 * MIB, 100 * MIB), 500, 415),
        (v1(9223372036854771712, 100 * MIB), 2000, 1000),
        ({f"{V2}/memory.max": f"{500 * MIB}"}, 500, 1000),  # a limit without figures of its use
    ],
    ids=["no group", "v2 without limit", "v2", "v2 above the machine", "v2 between", "v1", "v1 without limit", "no use"],
)
def test_figures(monkeypatch: pytest.MonkeyPatch, files: dict[str, str], total: int, available: int) -> None:
    monkeypatch.setattr(memory, "read", {"/proc/meminfo": MEMINFO, **files}.get)
    assert (memory.total() // MIB, memory.available() // MIB) == (total, available)


def holds(monkeypatch: pytest.MonkeyPatch, live: int, available: int) -> None:
    """The live instance holds so many MiB, and so many are available."""
    monkeypatch.setattr(systemd, "memory", lambda app, identifier: {OLD: live * MIB}[identifier])
    monkeypatch.setattr(memory, "available", lambda: available * MIB)
    monkeypatch.setattr(memory, "total", lambda: 512 * MIB)


def test_no_room(app: LocalApp, monkeypatch: pytest.MonkeyPatch) -> None:
    relink(app.live_socket, app.socket(OLD))
    holds(monkeypatch, live=201, available=200)
    with pytest.raises(systemd.InstanceError) as error:
        memory.check(app)
    assert f"It needs about 201 MiB, as much as {OLD} holds; 200 MiB of 512 are available. {OLD} still serves." in str(error.value)


def test_room(app: LocalApp, monkeypatch: pytest.MonkeyPatch) -> None:
    relink(app.live_socket, app.socket(OLD))
    holds(monkeypatch, live=200, available=200)
    memory.check(app)


def test_the_first_instance_is_beside_nothing(app: LocalApp, monkeypatch: pytest.MonkeyPatch) -> None:
    holds(monkeypatch, live=200, available=0)
    memory.check(app)
