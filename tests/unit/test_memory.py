"""Whether a second instance fits beside the live one."""

from pathlib import Path

import pytest
from ansible_collections.plainstack.web.plugins.module_utils import layout
from ansible_collections.plainstack.web.plugins.module_utils.host import memory, systemd
from ansible_collections.plainstack.web.plugins.module_utils.layout import relink

from tests.unit.fakes import NEW, OLD, LocalApp, make_app

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
    monkeypatch.setattr(memory, "holders", lambda: ["shop (1) 250 MiB"])
    monkeypatch.setattr(systemd, "serving", lambda app: "what serves")


def test_no_room(app: LocalApp, monkeypatch: pytest.MonkeyPatch) -> None:
    relink(app.live_socket, app.socket(OLD))
    holds(monkeypatch, live=201, available=200)
    with pytest.raises(systemd.InstanceError) as error:
        memory.check(app)
    assert f"It needs about 201 MiB, as much as {OLD} holds; 200 MiB of 512 are available. what serves\n" in str(error.value)
    assert "The apps hold: shop (1) 250 MiB." in str(error.value)


def test_room(app: LocalApp, monkeypatch: pytest.MonkeyPatch) -> None:
    relink(app.live_socket, app.socket(OLD))
    holds(monkeypatch, live=200, available=200)
    memory.check(app)


def test_the_first_instance_is_beside_nothing(app: LocalApp, monkeypatch: pytest.MonkeyPatch) -> None:
    holds(monkeypatch, live=200, available=0)
    memory.check(app)


def two_apps(app: LocalApp, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> LocalApp:
    """Beside the app there is the shop; of both, OLD is live."""
    shop = make_app(tmp_path / "shop", "shop")
    for one in (app, shop):
        relink(one.live_socket, one.socket(OLD))
    monkeypatch.setattr(layout, "apps", lambda: [app, shop])
    monkeypatch.setattr(memory, "total", lambda: 1000 * MIB)
    return shop


@pytest.mark.parametrize(
    ("limits", "says"),
    [
        ({f"hello@{NEW}": 800, f"shop@{OLD}": 800}, "hello 800, shop 800 of 1000 MiB"),
        ({f"hello@{NEW}": None, f"shop@{OLD}": 100}, "hello 1000, shop 100 of 1000 MiB"),
        ({f"hello@{NEW}": 9000, f"shop@{OLD}": 100}, "hello 1000, shop 100 of 1000 MiB"),
        ({f"hello@{NEW}": 400, f"shop@{OLD}": 600}, ""),
    ],
)
def test_what_the_apps_may_use_together(app: LocalApp, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limits: dict[str, int | None], says: str) -> None:
    two_apps(app, tmp_path, monkeypatch)
    monkeypatch.setattr(systemd, "limit", lambda unit: (size := limits[unit.removesuffix(".service")]) and size * MIB)
    said = memory.promised(app, NEW)
    assert says in said
    assert bool(said) is bool(says)
    assert not said or ("'memory_max' of each app" in said and "such as 40% each" in said)


def test_one_app_may_use_all_there_is(app: LocalApp, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layout, "apps", lambda: [app])
    monkeypatch.setattr(systemd, "limit", lambda unit: None)
    assert memory.promised(app, NEW) == ""


@pytest.mark.parametrize(
    ("root", "stat"), [("/sys/fs/cgroup", "anon {}\nfile 99999999\nshmem {}\n"), ("/sys/fs/cgroup/memory", "cache 99999999\nrss {}\nshmem {}\n")]
)
def test_who_holds_the_memory(app: LocalApp, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, root: str, stat: str) -> None:
    """Files in /dev/shm are in no process, and count."""
    shop = two_apps(app, tmp_path, monkeypatch)
    monkeypatch.setattr(systemd, "running", lambda one: [OLD, NEW] if one == shop else [OLD])
    monkeypatch.setattr(systemd, "show", lambda unit, _property: {"ControlGroup": f"/{unit}"})
    held = {app.unit(OLD, "service"): (10, 1), shop.unit(OLD, "service"): (20, 200)}
    files = {f"{root}/{unit}/memory.stat": stat.format(processes * MIB, files * MIB) for unit, (processes, files) in held.items()}
    monkeypatch.setattr(memory, "read", files.get)
    assert memory.holders() == [f"shop ({OLD}) 220 MiB", f"hello ({OLD}) 11 MiB"]
