"""What runs beside the web server: how it is written, what is wrong with it, and that it follows the traffic."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.plainstack.web.plugins.module_utils import layout
from ansible_collections.plainstack.web.plugins.module_utils.controller.definition import check_processes, with_defaults
from ansible_collections.plainstack.web.plugins.module_utils.controller.orders import processes
from ansible_collections.plainstack.web.plugins.module_utils.host import processes as processes_of_host
from ansible_collections.plainstack.web.plugins.module_utils.host.instance import Work, confirm, prune, switch
from ansible_collections.plainstack.web.plugins.module_utils.host.processes import ended, take_over, unknown_schedules, working
from ansible_collections.plainstack.web.plugins.module_utils.host.systemd import InstanceError
from ansible_collections.plainstack.web.plugins.module_utils.layout import App, write

from tests.unit.fakes import NEW, OLD, OLDER, Clock, LocalApp, Systemd, make_live, release

WHOLE = with_defaults(
    {
        "name": "hello",
        "processes": {"worker": {"command": "work", "count": 2}, "clock": {"command": "tick", "overlap": False}, "far": {"command": "x", "hosts": "others"}},
        "timers": {"nightly": {"command": "clean", "schedule": "03:00"}},
    }
)


# As the controller has it


def test_units_of_processes() -> None:
    found = processes(WHOLE, NEW, {"workers"})
    assert [one["unit"] for one in found] == [
        f"hello.worker.1@{NEW}.service",
        f"hello.worker.2@{NEW}.service",
        f"hello.clock.alone@{NEW}.service",
        f"hello.nightly@{NEW}.timer",
    ]
    assert f"hello.far.1@{NEW}.service" in [one["unit"] for one in processes(WHOLE, NEW, {"others"})]
    assert (found[0]["stop_timeout"], found[0]["stop_signal"], found[-1]["timeout"]) == (60, "SIGTERM", 3600)


@pytest.mark.parametrize(
    ("command", "word"),
    [("work -v", '"work -v"'), ('echo "$HOME" 50%', r'"echo \"$$HOME\" 50%%"'), ("a\\b\nc\td", r'"a\\b\nc\td"'), ("it's; x", '"it\'s; x"')],
)
def test_a_command_is_one_word_to_systemd(command: str, word: str) -> None:
    app = {**WHOLE, "processes": {"worker": {**WHOLE["processes"]["worker"], "command": command}}}
    assert processes(app, NEW, ())[0]["command"] == word


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"processes": {"worker": {}}}, "app 'hello', 'worker' in 'processes': 'command' is missing."),
        ({"processes": {"worker": "work"}}, "app 'hello': 'worker' in 'processes' must be a mapping, not 'work'."),
        ({"processes": {"worker": {"command": "w", "cuont": 2}}}, "app 'hello', 'worker' in 'processes': unknown key 'cuont'; did you mean 'count'?"),
        ({"processes": {"worker": {"command": "w", "count": 65}}}, "app 'hello', 'worker' in 'processes': 'count' is 65; it must be 1 to 64."),
        ({"processes": {"worker": {"command": "w\x1b"}}}, "app 'hello', 'worker' in 'processes': 'command' has the character U+001B"),
        ({"processes": {"worker": {"command": "w", "count": 2, "overlap": False}}}, "of what may not overlap there is one; remove 'count' or 'overlap'."),
        ({"processes": {"worker": {"command": "w", "stop_signal": "KILL"}}}, "'stop_signal' is 'KILL'; it must be a signal such as SIGTERM or SIGINT."),
        ({"processes": {"worker": {"command": "w", "hosts": "a b"}}}, "'hosts' is 'a b', which is no name of a group."),
        ({"processes": {"web": {"command": "w"}}}, "'web' in 'processes' must be lower-case letters"),
        ({"timers": {"a.b": {"command": "w", "schedule": "daily"}}}, "'a.b' in 'timers' must be lower-case letters"),
        ({"timers": {"a": {"command": "w"}}}, "app 'hello', 'a' in 'timers': 'schedule' is missing."),
        ({"timers": {"a": {"command": "w", "schedule": "da\tily"}}}, "'schedule' has the character U+0009"),
        ({"timers": {"a": {"command": "w", "schedule": "daily; x"}}}, "'schedule' is 'daily; x'; it must be a calendar event of systemd"),
        ({"processes": {"a": {"command": "w"}}, "timers": {"a": {"command": "w", "schedule": "daily"}}}, "'a' is in both 'processes' and 'timers'"),
    ],
)
def test_what_is_wrong_is_said(given: dict[str, Any], said: str) -> None:
    [problem] = check_processes(given, "app 'hello'")
    assert said in problem


def test_what_is_right() -> None:
    assert check_processes({"processes": WHOLE["processes"], "timers": WHOLE["timers"]}, "app 'hello'") == []
    assert check_processes({}, "app 'hello'") == []


# As a host has it


def units(app: App, identifier: str) -> list[str]:
    """Those of the fake systemd's target."""
    return Systemd.beside(app.unit(identifier, "target"))


def with_target(app: App, *identifiers: str) -> None:
    for identifier in identifiers:
        write(app.unit_file(identifier, "target"), "")


@pytest.fixture
def two(app: LocalApp, host: Systemd) -> Systemd:
    """OLD is live with what runs beside it; NEW has such, too."""
    with_target(app, OLD, NEW)
    take_over(app, OLD)
    return host


@pytest.mark.usefixtures("own", "nginx")
def test_they_begin_and_come_up_at_boot_with_the_switch(app: LocalApp, two: Systemd, work: Work) -> None:
    switch(work, NEW, "deploy", 5)
    assert app.unit(NEW, "target") in two.enabled()
    assert not {*units(app, NEW)} & {*two.states}
    assert take_over(app, NEW) is True
    assert {*units(app, NEW)} <= {*two.states}
    worker, *once = units(app, OLD)
    assert worker in two.states, "it works on until the old release is stopped"
    assert not {*once} & {*two.states}
    assert take_over(app, NEW) is False
    assert working(app) == {OLD, NEW}


def test_where_there_are_none_nothing_is_asked_for(app: LocalApp, host: Systemd) -> None:
    assert take_over(app, OLD) is False
    assert ended(app, OLD) == ""
    assert host.calls == []


@pytest.mark.parametrize("seconds", [0, 2])
@pytest.mark.parametrize("state", ["failed", "restarted"])
@pytest.mark.usefixtures("own", "nginx")
def test_one_that_ends_takes_the_release_back(app: LocalApp, two: Systemd, clock: Clock, work: Work, seconds: float, state: str) -> None:
    _, before = switch(work, NEW, "deploy", 5)
    take_over(app, NEW)
    worker = units(app, NEW)[0]
    if state == "failed":
        two.states[worker] = "failed"
    else:
        two.restarts[worker] = 1
    with pytest.raises(InstanceError) as error:
        confirm(work, NEW, "deploy", before, seconds, 5)
    assert f"the release {NEW} failed: its process 'worker' ended.\nThe last lines of its log:\nlast words of {worker}\n" in str(error.value)
    assert f"The traffic is back on {OLD}" in str(error.value)
    assert clock.now < 1002
    assert app.live_id() == OLD
    assert {*units(app, OLD)} <= {*two.states}
    assert not {*units(app, NEW)} & {*two.states}


@pytest.mark.usefixtures("own", "nginx")
def test_one_that_ended_long_ago_takes_nothing_back(app: LocalApp, two: Systemd, work: Work) -> None:
    two.restarts[units(app, OLD)[0]] = 3
    confirm(work, OLD, "deploy", "", 2, 5)
    assert app.live_id() == OLD


def test_a_timer_that_fails_is_no_process_that_ends(app: LocalApp, two: Systemd) -> None:
    two.states[f"hello.tick@{OLD}.service"] = "failed"
    assert ended(app, OLD) == ""


def test_a_release_stays_until_its_jobs_have_ended(app: LocalApp, two: Systemd) -> None:
    worker = f"hello.worker.1@{OLDER}.service"
    two.states[worker] = "deactivating"
    release(app, "20251231T000000Z-dddddddd", sequence=0)
    assert OLDER not in prune(app, 2)
    del two.states[app.unit(NEW, "service")], two.states[app.unit(NEW, "socket")]
    release(app, "20260104T000000Z-eeeeeeee", sequence=9, verdict="good")
    make_live(app, two, "20260104T000000Z-eeeeeeee")
    del two.states[app.unit(OLD, "service")], two.states[app.unit(OLD, "socket")]
    assert OLDER not in prune(app, 2)
    del two.states[worker]
    assert OLDER in prune(app, 2)


def test_nothing_of_a_removed_release_is_left(app: LocalApp, host: Systemd, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(layout, "STAMPS", str(tmp_path / "stamps"))
    os.mkdir(tmp_path / "stamps")
    with_target(app, OLDER, OLD)
    files = [f"{layout.UNITS}/{unit}" for unit in units(app, OLDER)] + [f"{tmp_path}/stamps/stamp-hello.tick@{OLDER}.timer", app.unit_file(OLDER, "target")]
    others = [f"{layout.UNITS}/{unit}" for unit in units(app, OLD)] + [f"{layout.UNITS}/hello2.worker.1@{OLDER}.service"]
    for file in files + others:
        write(file, "")
    app.remove(OLDER)
    assert [file for file in files if os.path.exists(file)] == []
    assert [file for file in others if not os.path.exists(file)] == []


@pytest.mark.parametrize(("schedule", "said"), [("daily", ""), ("Mon..Fri 03:00", ""), ("dayly", "'schedule' of the timer 'a' is 'dayly', and systemd says: ")])
def test_schedules_are_those_of_systemd(app: LocalApp, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, schedule: str, said: str) -> None:
    program = tmp_path / "bin/systemd-analyze"
    program.parent.mkdir()
    program.write_text('#!/bin/sh\n[ "$1 $2" = "calendar --" ] || exit 9\n[ "$3" != dayly ] || { echo "Failed to parse" >&2; exit 1; }\n', encoding="utf-8")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    assert subprocess.run(["systemd-analyze"], check=False).returncode == 9
    found = unknown_schedules(app, {"a": {"schedule": schedule}})
    assert len(found) == bool(said)
    assert said in "".join(found)


# One process alone


@pytest.fixture
def three(app: LocalApp, two: Systemd, monkeypatch: pytest.MonkeyPatch) -> Systemd:
    """OLD is live, with three workers and a timer."""
    monkeypatch.setattr(processes_of_host, "time", Clock())
    for place in ("1", "2", "10"):
        write(f"{layout.UNITS}/hello.worker.{place}@{OLD}.service", "")
        two.states[f"hello.worker.{place}@{OLD}.service"] = "active"
    write(f"{layout.UNITS}/hello.tick@{OLD}.service", "")
    write(f"{layout.UNITS}/hello.tick@{OLD}.timer", "")
    two.calls.clear()
    return two


WORKERS = [f"hello.worker.{place}@{OLD}.service" for place in ("1", "2", "10")]


def test_processes_are_restarted_one_after_the_other(app: LocalApp, three: Systemd) -> None:
    three.restarts[WORKERS[1]] = 4  # of its past
    assert processes_of_host.start(app, OLD, "worker", True, False) is True
    assert [call for call in three.calls if call.startswith("restart")] == [f"restart {unit}" for unit in WORKERS]


def test_only_what_does_not_run_is_started(app: LocalApp, three: Systemd, monkeypatch: pytest.MonkeyPatch) -> None:
    assert processes_of_host.start(app, OLD, "worker", False, False) is False
    del three.states[WORKERS[1]]
    asked = three.calls.copy()
    assert processes_of_host.start(app, OLD, "worker", False, True) is True
    assert three.calls == asked, "check mode"
    assert processes_of_host.start(app, OLD, "worker", False, False) is True
    assert [call for call in three.calls if call.startswith("start")] == [f"start {WORKERS[1]}"]


def test_one_that_ends_right_after_its_restart_leaves_the_others(app: LocalApp, three: Systemd, monkeypatch: pytest.MonkeyPatch) -> None:
    class Ends(Clock):
        def sleep(self, seconds: float) -> None:
            three.states[WORKERS[0]] = "failed"

    monkeypatch.setattr(processes_of_host, "time", Ends())
    with pytest.raises(InstanceError) as error:
        processes_of_host.start(app, OLD, "worker", True, False)
    assert f"hello: the process 'worker' has ended right after its start.\nThe last lines of its log:\nlast words of {WORKERS[0]}\n" in str(error.value)
    assert f"\nNot touched: {WORKERS[1]}, {WORKERS[2]}.\n" in str(error.value)


def test_stopped(app: LocalApp, three: Systemd) -> None:
    assert processes_of_host.stop(app, OLD, "worker", True) is True
    assert {*WORKERS} <= {*three.states}
    assert processes_of_host.stop(app, OLD, "worker", False) is True
    assert not {*WORKERS} & {*three.states}
    assert processes_of_host.stop(app, OLD, "worker", False) is False


def test_a_timer_is_started_and_stopped_not_its_job(app: LocalApp, three: Systemd) -> None:
    three.states[f"hello.tick@{OLD}.timer"] = "active"
    assert processes_of_host.stop(app, OLD, "tick", False) is True
    assert three.calls[0] == f"stop hello.tick@{OLD}.timer"
