"""How an app and its server are looked at: nothing is started, nothing is changed."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.plainstack.web.plugins.module_utils import layout
from ansible_collections.plainstack.web.plugins.module_utils.host import history, status
from ansible_collections.plainstack.web.plugins.module_utils.host import inspect as inspection
from ansible_collections.plainstack.web.plugins.module_utils.host import systemd as systemd_module
from ansible_collections.plainstack.web.plugins.module_utils.host.health import Health
from ansible_collections.plainstack.web.plugins.module_utils.host.status import last_failure, of_app, parse_timers, parse_units
from ansible_collections.plainstack.web.plugins.module_utils.layout import App

from tests.unit.fakes import NEW, OLD, OLDER, LocalApp, Systemd, release

SHOWN = f"""
Id=hello@{OLD}.service
ActiveState=active
SubState=running
Result=success
NRestarts=2
MemoryCurrent=1048576
ActiveEnterTimestamp=@1795780800

Id=hello.beat.1@{OLD}.service
ActiveState=activating
SubState=auto-restart
Result=exit-code
NRestarts=7
MemoryCurrent=[not set]
ActiveEnterTimestamp=

Id=hello.tick@{OLD}.service
ActiveState=inactive
SubState=dead
Result=success
MemoryCurrent=18446744073709551615
ActiveEnterTimestamp=n/a

Id=hello.tick@{OLD}.timer
ActiveState=active
SubState=waiting
Result=success
ActiveEnterTimestamp=@1795780801

Id=hello@{OLDER}.service
ActiveState=failed
SubState=failed

Id=hello.beat.1@{OLDER}.service
ActiveState=deactivating
SubState=stop-sigterm

Id=hello-two@{OLD}.service
ActiveState=active
SubState=running
"""


def test_units() -> None:
    """Each once; of other releases those that still run; of no other app."""
    timers = parse_timers(json.dumps([{"unit": f"hello.tick@{OLD}.timer", "next": 1795824000000000, "last": 0}]))
    found = parse_units(SHOWN.strip(), App("hello"), OLD, timers)
    assert [(one["kind"], one["name"], one["release"], one["state"], one["restarts"], one["memory"], one["since"], one["next"]) for one in found] == [
        ("process", "beat", OLDER, "deactivating", 0, None, None, None),
        ("process", "beat", OLD, "activating", 7, None, None, None),
        ("job", "tick", OLD, "inactive", 0, None, None, None),
        ("timer", "tick", OLD, "active", 0, None, 1795780801, 1795824000.0),
        ("instance", "hello", OLD, "active", 2, 1048576, 1795780800, None),
    ]


@pytest.mark.parametrize("text", ["", "[]", "Failed to list"])
def test_no_timers(text: str) -> None:
    assert parse_timers(text) == {}


def test_the_last_failure(app: LocalApp) -> None:
    """Of the log of deploys, whatever else is in it."""
    assert last_failure(app) is None
    history.append(app, "failed", NEW, reason="first", by="anna")
    history.append(app, "back", NEW, reason="second", to=OLD)
    history.append(app, "deploy", OLD)
    with open(app.history, "a", encoding="utf-8") as stream:
        stream.write('{"event": "fai\n[]\n')
    told = last_failure(app)
    assert told is not None
    assert (told["event"], told["release"], told["reason"], told["by"]) == ("back", NEW, "second", "")


@pytest.fixture
def asked(host: Systemd, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The sockets that were asked; all answer well."""
    found: list[str] = []

    def ask(path: str, health: Health, _timeout: float) -> str:
        found.append(f"{path} {health.path} {health.host}")
        return ""

    monkeypatch.setattr(status, "ask_instance", ask)
    monkeypatch.setattr(status, "units", lambda app, live: [{"unit": unit, "state": state, "memory": 5} for unit, state in host.states.items()])
    return found


def test_a_healthy_app(app: LocalApp, asked: list[str]) -> None:
    app.note(OLD, config={"health_path": "/healthz", "workers": 2}, revision="abc", deployed_by="anna")
    Path(app.environment(OLD)).write_text('A="1"\n')
    found = of_app(app, "hello.test", {"config": {"workers": 2, "threads": 4}, "environment": 'A="2"\n'})
    assert (found["live"], found["unhealthy"], found["revision"], found["deployed_by"]) == (OLD, "", "abc", "anna")
    assert found["differs"] == ["threads", "env or secrets"]
    assert found["memory"] == 5 * len([one for one in found["units"] if one])
    assert asked == [f"{app.socket(OLD)} /healthz hello.test"]


@pytest.mark.parametrize("state", ["inactive", "failed", "activating"])
def test_what_does_not_run_is_not_asked(app: LocalApp, host: Systemd, asked: list[str], state: str) -> None:
    """Its socket, which systemd holds, would start it."""
    host.states[app.unit(OLD, "service")] = state
    assert of_app(app, "hello.test", None)["unhealthy"] == f"does not run: its unit is {state}"
    assert asked == []


@pytest.mark.usefixtures("asked")
def test_no_release(app: LocalApp) -> None:
    os.unlink(app.live_socket)
    assert of_app(app, "hello.test", None)["unhealthy"] == "no release is live"


@pytest.mark.usefixtures("asked")
def test_a_live_release_that_is_gone(app: LocalApp) -> None:
    os.unlink(app.marker(OLD))
    assert of_app(app, "hello.test", {"config": {}, "environment": ""})["unhealthy"] == f"its release {OLD} is gone"


@pytest.mark.usefixtures("host")
def test_releases_are_told_without_a_probe(app: LocalApp, monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_arguments: Any) -> str:
        raise AssertionError("a socket was asked")

    monkeypatch.setattr(inspection, "ask_instance", never)
    app.note(NEW, deployed_by="anna", dirty=True)
    found = inspection.releases(app)
    assert (found["live"], [one["id"] for one in found["releases"]]) == (OLD, [OLDER, OLD, NEW])
    assert (found["releases"][2]["deployed_by"], found["releases"][2]["dirty"], found["releases"][0]["deployed_by"]) == ("anna", True, "")


def test_a_reboot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(status, "REBOOT", str(tmp_path / "reboot-required"))
    assert status.reboot() == {"required": False, "packages": []}
    (tmp_path / "reboot-required").touch()
    (tmp_path / "reboot-required.pkgs").write_text("linux\nopenssl\nlinux\n")
    assert status.reboot() == {"required": True, "packages": ["linux", "openssl"]}


def test_units_are_asked_for_by_their_names(app: LocalApp, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also those that systemd has not loaded, which no pattern finds."""
    assert str(tmp_path / "units") == layout.UNITS
    for name in (f"hello.beat.1@{OLD}.service", f"hello.tick@{OLD}.timer", f"hello.beat.1@{OLDER}.service"):
        (tmp_path / "units" / name).touch()
    calls: list[tuple[str, ...]] = []

    def systemctl(*words: str, check: bool) -> str:
        calls.append(words)
        return ""

    monkeypatch.setattr(systemd_module, "systemctl", systemctl)
    release(app, OLD)
    assert status.units(app, OLD) == []
    [named] = [{word for word in words if not word.startswith("-")} for words in calls if words[0] == "show"]
    assert named == {"show", f"hello@{OLD}.service", f"hello.beat.1@{OLD}.service", f"hello.tick@{OLD}.timer", "hello@*.service", "hello.*@*"}


@pytest.mark.parametrize(
    ("config", "processes", "expected"),
    [
        ({"server": "wsgi", "threads": 4}, 6, 20),
        ({"server": "wsgi", "threads": 4}, 1, None),
        ({"server": "asgi", "threads": 4}, 6, None),
        ({"server": "wsgi", "threads": 4, "gunicorn": {"worker_class": "sync"}}, 6, None),
        ({"server": "wsgi", "threads": 4, "gunicorn_config": "gunicorn.py"}, 6, None),
        ({}, 6, None),
    ],
)
def test_how_many_requests_are_taken_at_once(
    app: LocalApp, monkeypatch: pytest.MonkeyPatch, config: dict[str, Any], processes: int, expected: int | None
) -> None:
    """By what serves; where that is not Gunicorn's threads nobody knows."""
    monkeypatch.setattr("ansible_collections.plainstack.web.plugins.module_utils.host.systemd.processes", lambda *_given: ["1"] * processes)
    assert status._at_once(app, OLD, config) == expected
