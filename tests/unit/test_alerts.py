"""Alerts: what is told and when, what is looked at, and that a target that fails costs nothing but its own messages."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.plainstack.web.plugins.action import alerts as action
from ansible_collections.plainstack.web.plugins.action import program
from ansible_collections.plainstack.web.plugins.module_utils import layout
from ansible_collections.plainstack.web.plugins.module_utils.host import accesslog, alerts, backup, history, maintenance, memory, status
from ansible_collections.plainstack.web.plugins.module_utils.host.incidents import (
    OVER_AFTER,
    Message,
    Problem,
    State,
    advance,
    due,
    enqueue,
    full_at,
    patience,
    span,
)

from tests.unit.fakes import NEW, OLD, LocalApp, Systemd, make_live, release

CRASH = Problem("unit hello beat", "hello: the process beat has ended", "journalctl --unit=x", detail="last words")
SLOW = Problem("health hello", "hello: answered 502", "look", lasts=30)


def told(state: State, *problems: Problem, at: float, reminder: float = 3600) -> list[str]:
    return [message.title for message in advance(state, "web1", problems, at, "20260101T000000Z", reminder)]


def test_once_as_it_begins_and_once_when_it_is_over() -> None:
    state: State = {}
    assert told(state, CRASH, at=0) == ["web1: hello: the process beat has ended"]
    assert told(state, CRASH, at=30) == []
    assert told(state, at=60) == []
    assert told(state, at=60 + OVER_AFTER) == ["web1: over: hello: the process beat has ended"]
    assert state["incidents"] == {}
    assert told(state, at=300) == []


def test_one_that_comes_and_goes() -> None:
    """The second time within an hour it must be away for longer."""
    state: State = {}
    told(state, CRASH, at=0)
    told(state, at=30)
    assert len(told(state, at=90)) == 1
    assert len(told(state, CRASH, at=300)) == 1
    for at in (330, 450):
        assert told(state, at=at) == []
    told(state, CRASH, at=600)
    told(state, at=630)
    assert told(state, at=1000) == []
    assert told(state, at=1600) == ["web1: over: hello: the process beat has ended"]
    told(state, at=5300)
    assert state["ended"] == {}


def test_many_that_are_over_at_once() -> None:
    state: State = {}
    many = [Problem(f"unit {name} x", f"{name} has ended", "") for name in ("a", "b", "c", "d")]
    assert told(state, *many, at=0) == ["web1: 4 problems"]
    told(state, at=30)
    assert told(state, at=100) == ["web1: over: 4 problems"]


def test_what_is_in_a_message() -> None:
    [begun] = advance(state := State(), "web1", [CRASH], 0, "20260101T000000Z", 0)
    assert begun.body == "hello: the process beat has ended\nSince: 20260101T000000Z\nNext: journalctl --unit=x\n\nlast words"
    advance(state, "web1", [], 400, "", 0)
    [over] = advance(state, "web1", [], 500, "", 0)
    assert over.body == "It has ended, after 6 min.\nIt had begun: 20260101T000000Z"


def test_what_comes_and_goes_is_one() -> None:
    state: State = {}
    assert len(told(state, CRASH, at=0)) == 1
    for at in range(30, 600, 60):
        assert told(state, at=at) == told(state, CRASH, at=at + 30) == []


def test_what_does_not_last_is_not_told() -> None:
    state: State = {}
    assert told(state, SLOW, at=0) == told(state, at=20) == told(state, SLOW, at=40) == []
    assert told(state, SLOW, at=70) == ["web1: hello: answered 502"]


def test_reminders() -> None:
    state: State = {}
    told(state, CRASH, at=0)
    assert told(state, CRASH, at=3599) == []
    assert told(state, CRASH, at=3600) == ["web1: still: hello: the process beat has ended"]
    assert told(state, CRASH, at=7100) == []
    assert told(state, CRASH, at=99999, reminder=0) == []


def test_many_at_once_are_one_message() -> None:
    many = [Problem(f"unit {number}", f"{number} has ended", "x") for number in range(5)]
    [message] = advance({}, "web1", many, 0, "", 0)
    assert message.title == "web1: 5 problems"
    assert message.body.count("has ended") == 5


@pytest.mark.parametrize(("seconds", "said"), [(5, "5 s"), (119, "119 s"), (120, "2 min"), (7300, "2 h"), (200000, "2 d")])
def test_spans(seconds: float, said: str) -> None:
    assert span(seconds) == said


def test_when_it_will_be_full() -> None:
    assert full_at([(0, 0.5), (1000, 0.75)], 1000) == 2000
    assert full_at([(0, 0.5), (1000, 0.5)], 1000) == full_at([(0, 0.9), (1000, 0.5)], 1000) == full_at([(0, 0.9)], 1000) == 0


# Sending


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    """What was sent to which target; `bad` fails."""
    found: list[tuple[str, str]] = []

    def send(target: str, title: str, _body: str) -> str:
        found.append((target, title))
        return "refused" if target == "bad" else ""

    monkeypatch.setattr(alerts, "send", send)
    return found


def test_a_target_that_fails_keeps_none_waiting(sent: list[tuple[str, str]], capsys: pytest.CaptureFixture[str]) -> None:
    """It is asked once a look, and gets what it has missed once it works."""
    state: State = {}
    enqueue(state, [Message("one", ""), Message("two", "")], 2, 0)
    alerts.deliver(state, ["bad", "good"], 0, lambda: None)
    assert sent == [("bad", "one"), ("good", "one"), ("good", "two")]
    assert [one["targets"] for one in state["queue"]] == [[0], [0]]
    assert "target 1: refused" in capsys.readouterr().err
    sent.clear()
    alerts.deliver(state, ["good", "good"], 30, lambda: None)
    assert (sent, state["queue"]) == ([("good", "one"), ("good", "two")], [])


def test_one_that_failed_the_last_time_is_asked_last(sent: list[tuple[str, str]]) -> None:
    """It may keep this waiting for a minute."""
    state: State = {"failing": {"0": "refused"}}
    enqueue(state, [Message("one", ""), Message("two", "")], 2, 0)
    alerts.deliver(state, ["bad", "good"], 0, lambda: None)
    assert sent == [("good", "one"), ("good", "two"), ("bad", "one")]


def test_a_disk_that_is_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was told is kept in memory then, and on the disk again as soon as there is room."""
    disk, memory_ = tmp_path / "disk" / "state.json", tmp_path / "state.json"
    monkeypatch.setattr(alerts, "STATE", str(disk))
    monkeypatch.setattr(alerts, "IN_MEMORY", str(memory_))
    written = layout.write

    def write(path: str, *given: Any) -> None:
        if path == str(disk):
            raise OSError(28, "No space left on device")
        written(path, *given)

    alerts.save({"number": 1})
    monkeypatch.setattr(alerts, "write", write)
    alerts.save({"number": 2})
    assert alerts.load() == {"number": 2}
    monkeypatch.setattr(alerts, "write", written)
    alerts.save({"number": 3})
    assert (alerts.load(), memory_.exists()) == ({"number": 3}, False)


def test_what_nobody_takes_is_given_up() -> None:
    state: State = {}
    for number in range(150):
        enqueue(state, [Message(str(number), "")], 1, number)
    assert due(state, 150)[0]["title"] == "50"
    assert due(state, 90000) == []


def test_a_target_that_was_taken_away(sent: list[tuple[str, str]]) -> None:
    state: State = {}
    enqueue(state, [Message("one", "")], 2, 0)
    alerts.deliver(state, ["good"], 0, lambda: None)
    assert (sent, state["queue"]) == ([("good", "one")], [])


def test_how_it_is_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    """The URL is in a file that only the sender's own user gets, the words of the app are in no command line, and an error does not show the URL."""
    asked: dict[str, Any] = {}

    def run(words: Sequence[str], **given: Any) -> subprocess.CompletedProcess[str]:
        asked.update(words=words, **given)
        return subprocess.CompletedProcess(words, 1, "could not notify ntfy://user:swordfish@host/topic\n", "")

    monkeypatch.setattr(subprocess, "run", run)
    assert alerts.send("ntfy://user:swordfish@host/topic", "a\ntitle", "words \x1b[2J of the app") == "could not notify (the target)"
    assert "--property=DynamicUser=yes" in asked["words"]
    assert not any("words" in word or "a title" in word or "swordfish" in word for word in asked["words"])
    assert asked["input"] == "ntfy://user:swordfish@host/topic\na title\n" + r"words \x1b[2J of the app"


# What is looked at

MARKS = {
    "unhealthy_seconds": 30,
    "errors_percent": 5,
    "p99_seconds": 2,
    "full_percent": 90,
    "reboot_days": 7,
    "reminder_hours": 24,
    "slow_seconds": 120,
}


def unit(name: str = "hello", kind: str = "instance", **changes: Any) -> dict[str, Any]:
    whole = {"unit": f"hello.{name}@{OLD}.service", "kind": kind, "name": name, "release": OLD, "state": "active", "substate": "running", "result": ""}
    return {**whole, "restarts": 0, "since": 1000.0, **changes}


@pytest.fixture
def app(app: LocalApp, systemd: Systemd, monkeypatch: pytest.MonkeyPatch) -> LocalApp:
    release(app, OLD, sequence=1, verdict="good")
    make_live(app, systemd, OLD)
    monkeypatch.setattr(alerts, "App", lambda _name: app)
    monkeypatch.setattr(maintenance, "state", lambda _app: {})
    monkeypatch.setattr("ansible_collections.plainstack.web.plugins.module_utils.host.systemd.log", lambda name, *_arguments, **_named: f"last words of {name}")
    return app


@pytest.mark.parametrize(
    ("looks", "said"),
    [
        ([unit()], []),
        ([unit(state="failed")], ["hello: the app hello has ended"]),
        ([unit("beat", "process", state="activating", substate="auto-restart", restarts=9)], ["hello: the process beat ends again and again"]),
        ([unit("tick", "job", state="failed", result="exit-code")], ["hello: the run of the timer tick has failed"]),
        ([unit("tick", "job", state="inactive", result="success")], []),
        ([unit("tick", "timer", state="inactive")], []),
        ([unit("tick", "timer", state="failed")], ["hello: the timer tick has failed"]),
        ([unit("beat", "process", state="inactive")], []),  # somebody has stopped it
        ([unit("beat", "process", state="inactive", since=None)], ["hello: the process beat has ended"]),  # it was never started
        ([unit(state="inactive")], ["hello: the app hello has ended"]),
        ([unit("beat", "process", state="failed"), unit("beat", "process", state="failed", unit="2")], ["hello: the process beat has ended"]),
        ([unit("beat", "process", state="deactivating", release=NEW)], []),
    ],
)
def test_units(app: LocalApp, looks: list[dict[str, Any]], said: list[str]) -> None:
    found = list(alerts._units(app, {}, looks))
    assert [problem.what.split(" (")[0] for problem in found] == said
    assert all("last words of" in problem.detail for problem in found)


def test_an_app_of_which_nothing_is_known_ends_no_look(app: LocalApp, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether it was stopped cannot be asked, as systemd does not answer: its check says so."""

    def broken(_app: object) -> bool:
        raise OSError("systemctl does not answer")

    monkeypatch.setattr(maintenance, "paused", broken)
    state: State = {}
    alerts.rest({"apps": [ABOUT]}, state, 0)
    assert state["rested"] == {}


def test_one_that_was_started_again_meanwhile(app: LocalApp) -> None:
    """systemd has done so before anybody looked; that it ever was, long ago, says nothing."""
    state: State = {}
    assert list(alerts._units(app, state, [unit(restarts=7)])) == []
    assert list(alerts._units(app, state, [unit(restarts=7)])) == []
    assert len(list(alerts._units(app, state, [unit(restarts=8)]))) == 1
    assert list(alerts._units(app, state, [unit(restarts=8)])) == []


ABOUT = {"name": "hello", "host": "hello.test", "tls": True, "nginx": True}


@pytest.mark.parametrize("nginx", [True, False])
def test_a_site_that_is_bad(app: LocalApp, monkeypatch: pytest.MonkeyPatch, nginx: bool) -> None:
    monkeypatch.setattr(status, "units", lambda *_given: [])
    monkeypatch.setattr(alerts, "ask_nginx", lambda *_given: "answered 502")
    found = list(alerts._app(app, {**ABOUT, "nginx": nginx}, MARKS, {}))
    assert [(problem.what, problem.lasts) for problem in found] == ([(f"hello: hello.test/ answered 502 (release {OLD})", 30)] if nginx else [])


@pytest.mark.parametrize("why", ["stopped", "maintenance", "no release"])
def test_what_is_meant_not_to_run(app: LocalApp, monkeypatch: pytest.MonkeyPatch, why: str) -> None:
    monkeypatch.setattr(status, "units", lambda *_given: [unit(state="inactive")])
    monkeypatch.setattr(alerts, "ask_nginx", lambda *_given: "answered 502")
    if why == "stopped":
        app.note(OLD, halted={"time": "x"})
    elif why == "maintenance":
        monkeypatch.setattr(maintenance, "state", lambda _app: {"time": "x"})
    else:
        os.unlink(app.live_socket)
    assert list(alerts._app(app, ABOUT, MARKS, {})) == []


def test_what_was_wrong_with_what_is_stopped_is_forgotten(app: LocalApp, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody is told that it is well again; and what visitors get while it is stopped is no problem, nor is it when it has just been started."""
    asked: list[list[str]] = []
    monkeypatch.setattr(alerts, "_app", lambda *_given: iter([]))
    monkeypatch.setattr(alerts, "_host", lambda *_given: iter([]))
    monkeypatch.setattr(alerts, "_room", lambda *_given: iter([]))

    def requests(names: Sequence[str], *_given: Any) -> Iterator[Problem]:
        asked.append([*names])
        return iter([])

    monkeypatch.setattr(alerts, "_requests", requests)
    config = {"apps": [ABOUT], "marks": MARKS, "serves": True, "domains": [], "neighbours": [], "balanced": {}}
    state: State = {}
    told(state, CRASH, SLOW, Problem("nginx", "nginx has ended", ""), at=0)
    alerts.rest(config, state, 10)
    assert len(state["incidents"]) == 3
    app.note(OLD, halted={"time": "x"})
    state["slow"] = {"at": 5.0, "found": [vars(Problem("errors hello", "5xx", "")), vars(Problem("certificate x", "old", ""))]}
    alerts.rest(config, state, 20)
    assert ([*state["incidents"]], [one["key"] for one in state["slow"]["found"]]) == (["nginx"], ["certificate x"])
    state["slow"]["found"] = []
    app.note(OLD, halted=None)
    for now in (20 + alerts.WINDOW - 1, 20 + 2 * alerts.WINDOW):
        alerts.rest(config, state, now)
        alerts.problems(config, state, now)
    assert asked == [[], ["hello"]]


@pytest.mark.parametrize(
    ("met", "keys"),
    [
        ({"requests": 100, "errors": 5, "p99": 0.1}, ["errors hello"]),
        ({"requests": 100, "errors": 4, "p99": 2.0}, ["p99 hello"]),
        ({"requests": 19, "errors": 19, "p99": 9.0}, []),
        ({"requests": 100, "errors": 4, "p99": 1.9}, []),
    ],
)
def test_requests(app: LocalApp, monkeypatch: pytest.MonkeyPatch, met: dict[str, Any], keys: list[str]) -> None:
    monkeypatch.setattr(accesslog, "requests", lambda names, _since: dict.fromkeys(names, met))
    assert [problem.key for problem in alerts._requests(["hello"], MARKS, 0)] == keys


def test_room(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the hour at which it will be full."""

    class Disk:
        f_blocks, f_bavail, f_files, f_favail = 100, 50, 100, 99

    monkeypatch.setattr(alerts, "_disks", lambda: [("/srv", Disk)])
    monkeypatch.setattr(memory, "total", lambda: 100)
    monkeypatch.setattr(memory, "available", lambda: 50)
    state: State = {}
    assert list(alerts._room(state, MARKS, 0)) == []
    Disk.f_bavail = 10
    [found] = alerts._room(state, MARKS, 4000)
    assert found.what == "the disk of /srv is 90% full; as it has grown, full at 1970-01-01 01:23 UTC"
    assert found.then.startswith("du -xh --max-depth=2 /srv ")
    for at in range(60):
        list(alerts._room(state, MARKS, 5000 + at * 1000))
    assert len(state["samples"]["the disk of /srv"]) == alerts.SAMPLES


@pytest.mark.parametrize(
    ("refusing", "said"),
    [
        ([], []),
        (["10.0.0.1"], []),
        (["10.0.0.1", "10.0.0.2"], ["balanced hello"]),
        (["10.0.0.1", "10.0.0.2", "10.0.0.3"], ["balanced hello", "balanced shop"]),
    ],
)
def test_servers_that_a_load_balancer_does_not_reach(monkeypatch: pytest.MonkeyPatch, refusing: list[str], said: list[str]) -> None:
    """A problem where none of an app's takes a connection; each is asked once."""
    asked: list[str] = []

    def answers(address: str, port: int) -> OSError | None:
        assert port == 80
        asked.append(address)
        return ConnectionRefusedError(111, "Connection refused") if address in refusing else None

    monkeypatch.setattr(alerts, "_answers", answers)
    found = list(alerts._balanced({"hello": ["10.0.0.1", "10.0.0.2"], "shop": ["10.0.0.2", "10.0.0.3"], "none": []}))
    assert [problem.key for problem in found] == said
    assert sorted(asked) == ["10.0.0.1", "10.0.0.2", "10.0.0.3"]
    assert all("10.0.0.2: [Errno 111] Connection refused" in problem.what for problem in found)


def test_nginx_that_ends_again_and_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """systemd has started it before anybody looks; a restart by hand takes a moment and is no problem."""
    shown = {"ActiveState": "active", "NRestarts": "2"}
    monkeypatch.setattr(status, "REBOOT", "/none")
    monkeypatch.setattr("ansible_collections.plainstack.web.plugins.module_utils.host.systemd.show", lambda *_given: shown)
    monkeypatch.setattr("ansible_collections.plainstack.web.plugins.module_utils.host.systemd.log", lambda *_given, **_named: "last words")
    state: State = {}
    assert list(alerts._host(MARKS, 0, True, state)) == []
    shown["NRestarts"] = "3"
    [again] = alerts._host(MARKS, 0, True, state)
    assert (again.what, again.lasts) == ("nginx has ended, and systemd has started it again", 0)
    assert list(alerts._host(MARKS, 0, True, state)) == []
    shown.update(ActiveState="inactive", NRestarts="0")
    [stopped] = alerts._host(MARKS, 0, True, state)
    assert (stopped.what, stopped.lasts) == ("nginx does not run: its unit is inactive", 10)
    assert list(alerts._host(MARKS, 0, False, state)) == []


def test_each_disk_is_looked_at_once(app: LocalApp, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also one that an app's data is on."""
    devices = {"/": 1, "/var": 1, "/tmp": 2, layout.APPS: 1, os.path.realpath(app.shared): 3}
    monkeypatch.setattr(layout, "apps", lambda: [app])
    monkeypatch.setattr("os.stat", lambda path: os.stat_result((0, 0, devices[path], 0, 0, 0, 0, 0, 0, 0)))
    monkeypatch.setattr("os.statvfs", lambda path: path)
    assert [path for path, _disk in alerts._disks()] == ["/", "/tmp", os.path.realpath(app.shared)]


def test_a_certificate_that_is_not_renewed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(status, "certificate", lambda _name: {"error": "", "covers": True, "begins": 0, "ends": 90 * 86400})
    assert list(alerts._certificates(["hello.test"], 62 * 86400)) == []
    monkeypatch.setattr(status, "certificate", lambda _name: {"error": "", "covers": False})
    assert [problem.key for problem in alerts._certificates(["hello.test"], 0)] == ["covers hello.test"]
    monkeypatch.setattr(status, "certificate", lambda _name: {"error": "", "covers": True, "begins": 0, "ends": 90 * 86400})
    [found] = alerts._certificates(["hello.test"], 64 * 86400)
    assert found.what == "the certificate of hello.test is past two thirds of its life, and ends on 1970-04-01"


def test_a_backup_that_is_not_made(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backup, "overdue", lambda now: {"hello": f"the backup failed: no room\nmore, {now}"})
    [found] = alerts._backups(7.0)
    assert (found.key, found.what, found.detail) == ("backup hello", "hello: the backup failed: no room", "the backup failed: no room\nmore, 7.0")


def test_a_check_that_fails_itself_ends_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_given: Any) -> Iterator[Problem]:
        raise RuntimeError("oh")
        yield

    monkeypatch.setattr(alerts, "_host", broken)
    monkeypatch.setattr(alerts, "_room", lambda *_given: iter([CRASH]))
    monkeypatch.setattr(alerts, "_requests", lambda *_given: iter([SLOW]))
    config = {"apps": [], "marks": MARKS, "serves": True, "domains": [], "neighbours": [], "balanced": {}}
    state: State = {}
    found = alerts.problems(config, state, 1000)
    assert [problem.key for problem in found] == ["check host", CRASH.key, SLOW.key]
    monkeypatch.setattr(alerts, "_requests", lambda *_given: iter([]))
    assert SLOW in alerts.problems(config, json.loads(json.dumps(state)), 1060), "until the next time"
    assert SLOW not in alerts.problems(config, state, 1130)


def test_what_was_deployed(app: LocalApp) -> None:
    """Since the last look; what went well is told by one server."""
    config = {"host": "web1", "apps": [ABOUT], "tells_deploys": True}
    state: State = {}
    history.append(app, "deploy", OLD, by="ann", origin="desk")
    assert alerts.events(config, state) == [], "of before there were alerts"
    history.append(app, "failed", NEW, by="ann", origin="desk", reason="its process ended")
    history.append(app, "rollback", OLD, by="ann", origin="desk", revision="0123456789abcdef", dirty=True)
    first, second = alerts.events(config, state)
    assert first.title == f"web1: hello: {NEW} failed"
    assert "its process ended\nNext: ansible-playbook plainstack.web.releases -e app=hello" in first.body
    assert (second.title, "Revision: 0123456789ab with changes" in second.body) == (f"web1: hello: {OLD} is live again", True)
    assert alerts.events(config, state) == []
    for event in ("deploy", "failed", "begin"):
        history.append(app, event, NEW, told="elsewhere")
    assert alerts.events(config, state) == []
    history.append(app, "deploy", NEW)
    history.append(app, "back", NEW, reason="it died")
    assert [message.title for message in alerts.events({**config, "tells_deploys": False}, state)] == [f"web1: hello: {NEW} was taken back"]


def test_what_has_begun(app: LocalApp) -> None:
    """Only while it is under way, and by the server that tells what went well."""
    config = {"host": "web1", "apps": [ABOUT], "tells_deploys": True}
    state: State = {}
    history.append(app, "deploy", OLD)
    alerts.events(config, state)
    history.append(app, "begin", NEW, of="rollback", by="ann", origin="desk")
    silent = json.loads(json.dumps(state))
    [begun] = alerts.events(config, state)
    assert (begun.title, begun.body.startswith("rollback by ann on desk at ")) == (f"web1: hello: {NEW} is on its way", True)
    assert alerts.events({**config, "tells_deploys": False}, silent) == []
    history.append(app, "rollback", NEW)
    history.append(app, "begin", OLD, of="deploy")
    history.append(app, "failed", OLD, reason="it was not built")
    assert [message.title for message in alerts.events(config, state)] == [f"web1: hello: {NEW} is live again", f"web1: hello: {OLD} failed"]


def test_it_looks_again_at_what_may_be_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """As soon as it is known; but for what takes long there is the next look."""
    for wanted, looks in ((12.0, 2), (0.0, 1), (600.0, 1)):
        done: list[float] = []
        monkeypatch.setattr(alerts, "look", lambda wanted=wanted, done=done: done.append(0) or wanted)
        monkeypatch.setattr(time, "sleep", done.append)
        assert alerts.main([]) == 0
        assert done == ([0, wanted, 0] if looks == 2 else [0])


def test_how_long_until_it_is_known() -> None:
    state: State = {}
    lasting = [Problem("a", "a", "", lasts=20), Problem("b", "b", "", lasts=50), Problem("c", "c", "")]
    for now, seconds in ((0, 20), (15, 5), (20, 30), (50, 0)):
        advance(state, "web1", lasting, now, "", 0)
        assert patience(state, lasting, now) == seconds


# What is put on a host


def test_the_program_is_the_same_for_the_same_code(tmp_path: Path) -> None:
    assert program.archive("alerts") == program.archive("alerts")
    path = tmp_path / "alerts.pyz"
    path.write_bytes(program.archive("alerts"))
    assert zipfile.ZipFile(path).testzip() is None
    name = "ansible_collections.plainstack.web.plugins.module_utils.host.alerts"
    code = f"import importlib, sys; sys.path.insert(0, {str(path)!r}); print(importlib.import_module({name!r}).__file__)"
    done = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout.startswith(str(path)), done.stderr


@pytest.mark.parametrize(
    ("host", "balancers", "workers", "expected"),
    [
        ("web1", [], [], {"domains": ["hello.test", "www.hello.test"], "serves": True, "neighbours": [["web2", "10.0.0.2", 80]], "balanced": {}}),
        ("web2", [], [], {"domains": ["hello.test", "www.hello.test"], "serves": True, "neighbours": [["web1", "10.0.0.1", 80]], "balanced": {}}),
        ("lb", ["lb"], [], {"serves": True, "balanced": {"hello": ["10.0.0.1", "10.0.0.2"]}, "neighbours": [["web1", "10.0.0.1", 80]]}),
        ("web1", ["lb"], [], {"domains": [], "serves": True, "neighbours": [["web2", "10.0.0.2", 80]], "balanced": {}}),
        ("web1", [], ["web2"], {"domains": ["hello.test", "www.hello.test"], "serves": True, "neighbours": [["web2", "10.0.0.2", 2222]], "balanced": {}}),
        ("web2", [], ["web2"], {"domains": [], "serves": False, "neighbours": [["web1", "10.0.0.1", 80]], "balanced": {}}),
    ],
)
def test_what_is_watched(host: str, balancers: list[str], workers: list[str], expected: Mapping[str, Any]) -> None:
    servers, web = ["web1", "web2"], {"hello": [one for one in ("web1", "web2") if one not in workers]}
    plan = {"servers": servers, "workers": workers, "balancers": balancers, "hosts": {"hello": servers}, "web": web}
    known: dict[str, dict[str, Any]] = {"web1": {"ansible_host": "10.0.0.1"}, "web2": {"private_address": "10.0.0.2", "ansible_port": 2222}}

    app = {"name": "hello", "domains": ["hello.test"], "aliases": ["www.hello.test"]}
    found = action.of_host(host, [app], plan, lambda name: known.get(name, {}))
    assert {key: found[key] for key in expected} == expected
    watched = [{"name": "hello", "host": "hello.test", "tls": not balancers, "nginx": host in web["hello"]}]
    assert found["watched"] == (watched if host in servers else [])
