"""A server that its run has lost goes back by itself; as a program of its own, from the text of the module."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from inspect import getsource
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.plainstack.web.plugins.module_utils import layout
from ansible_collections.plainstack.web.plugins.module_utils.host import goback, steps
from ansible_collections.plainstack.web.plugins.module_utils.host.instance import confirm, switch
from ansible_collections.plainstack.web.plugins.module_utils.host.lock import Holder, acquire, uptime
from ansible_collections.plainstack.web.plugins.module_utils.host.systemd import InstanceError
from ansible_collections.plainstack.web.plugins.module_utils.layout import write

from tests.unit.fakes import NEW, OLD, Answers, LocalApp, Systemd, make_live, make_work, release

RUN = Holder("0123abcd", "me", "laptop", "deploy.yml", "2026-01-01T00:00:00Z")


@pytest.fixture
def switched(app: LocalApp, systemd: Systemd, own: Answers, nginx: Answers) -> LocalApp:
    """The run has switched from OLD to NEW, and noted it."""
    release(app, OLD, sequence=1, verdict="good")
    release(app, NEW)
    make_live(app, systemd, OLD)
    acquire(app, RUN, 0)
    work = make_work(app)
    systemd.run(app, NEW)
    switch(work, NEW, "deploy", 5)
    steps.remember(app, RUN, NEW, before=OLD, uptime=uptime())
    return app


@pytest.fixture
def systemctl(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], list[str]]:
    """What was asked of a systemd on which everything is active but what a file `dead` names."""
    program = tmp_path / "bin/systemctl"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\necho "$*" >> {tmp_path}/asked\ncase $1 in is-active) ! grep -qsxF "$3" {tmp_path}/dead ;; esac\n', encoding="utf-8")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    return lambda: (tmp_path / "asked").read_text(encoding="utf-8").splitlines() if (tmp_path / "asked").exists() else []


def silent(app: LocalApp, seconds: float) -> None:
    write(f"{app.lock}.beat", f"{uptime() - seconds}\n")


def watch(app: LocalApp) -> None:
    """Run the text of the module, as systemd does."""
    arguments = [app.name, app.root, app.sockets, app.history, layout.UNITS, app.lock, RUN.token, NEW, OLD]
    subprocess.run([sys.executable, "-I", "-c", getsource(goback), *arguments], check=True, timeout=20)


def test_it_goes_back(switched: LocalApp, systemctl: Callable[[], list[str]]) -> None:
    silent(switched, goback.SILENCE + 1)
    os.makedirs(os.path.dirname(switched.history), exist_ok=True)
    mode = os.stat(switched.marker(NEW)).st_mode
    watch(switched)
    assert (switched.live_id(), os.readlink(switched.live)) == (OLD, switched.release(OLD))
    story = switched.story(NEW)
    assert (story["verdict"], story["reason"], "pending" in story, os.stat(switched.marker(NEW)).st_mode) == ("bad", goback.REASON, False, mode)
    assert systemctl() == [
        f"is-active --quiet hello@{OLD}.service",
        f"enable --quiet hello@{OLD}.service hello@{OLD}.socket",
        f"disable --quiet hello@{NEW}.service hello@{NEW}.socket",
    ]
    last: dict[str, Any] = json.loads(Path(switched.history).read_text(encoding="utf-8").splitlines()[-1])
    assert (last["event"], last["release"], last["to"]) == ("back", NEW, OLD)


def test_what_runs_beside_the_web_server_goes_back_too(switched: LocalApp, systemctl: Callable[[], list[str]]) -> None:
    """What may not overlap has ended before it begins in the other release."""
    for identifier in (OLD, NEW):
        write(switched.unit_file(identifier, "target"), "")
    silent(switched, goback.SILENCE + 1)
    watch(switched)
    assert systemctl() == [
        f"is-active --quiet hello@{OLD}.service",
        f"stop hello@{NEW}.target hello.*.alone@{NEW}.service",
        f"start hello@{OLD}.target",
        f"enable --quiet hello@{OLD}.service hello@{OLD}.socket hello@{OLD}.target",
        f"disable --quiet hello@{NEW}.service hello@{NEW}.socket hello@{NEW}.target",
    ]


@pytest.mark.parametrize("why", ["agreed", "ended", "another run", "noted anew"])
def test_it_stays_where_the_run_is_over(switched: LocalApp, systemctl: Callable[[], list[str]], why: str) -> None:
    silent(switched, goback.SILENCE + 1)
    if why == "agreed":
        steps.remember(switched, RUN, NEW, before=OLD, agreed=True)
    elif why == "ended":
        os.unlink(switched.lock)
    elif why == "another run":
        write(switched.lock, json.dumps({"token": "other"}))
    else:
        steps.remember(switched, RUN, OLD)
    watch(switched)
    assert (switched.live_id(), systemctl()) == (NEW, [])


def test_it_waits_while_the_run_is_heard(switched: LocalApp) -> None:
    now = uptime()
    silent(switched, goback.SILENCE - 5)
    assert goback.waits(switched.lock, RUN.token, NEW, now) == "heard"
    assert goback.waits(switched.lock, RUN.token, NEW, now + 6) == ""


def test_nothing_is_given_to_what_does_not_run(switched: LocalApp, systemctl: Callable[[], list[str]], tmp_path: Path) -> None:
    (tmp_path / "dead").write_text(f"hello@{OLD}.service\n", encoding="utf-8")
    silent(switched, goback.SILENCE + 1)
    watch(switched)
    assert (switched.live_id(), switched.story(NEW).get("verdict")) == (NEW, None)


def test_a_run_that_is_heard_again_does_not_confirm_what_has_gone_back(switched: LocalApp, systemctl: Callable[[], list[str]]) -> None:
    """nginx answers well, with the release from before."""
    silent(switched, goback.SILENCE + 1)
    watch(switched)
    order = {"id": NEW, "event": "deploy", "confirm_seconds": 0, "keep": 5}
    for do in (steps.confirm, steps.agree):
        with pytest.raises(InstanceError, match=rf"{NEW} has not the traffic any more, {OLD} has"):
            do(order, make_work(switched), False)
    assert "event" not in switched.story(NEW)


def test_it_is_started_with_the_switch_of_a_fleet(app: LocalApp, monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[list[str]] = []

    def run(command: list[str], **_named: Any) -> subprocess.CompletedProcess[str]:
        started.append(command)
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(subprocess, "run", run)
    work = make_work(app)
    for fleet, before, token in ((False, OLD, True), (True, "", True), (True, OLD, False), (True, OLD, True)):
        of_run = type(work)(app, work.health, RUN if token else None, work.warn)
        steps._go_back_if_lost({"id": NEW, "fleet": fleet}, of_run, before)
    [command] = started
    assert command[:4] == ["systemd-run", "--quiet", "--collect", "--unit=plainstack-lost-hello-0123abcd"]
    assert command[-2:] == [NEW, OLD]


def test_confirmed_is_agreed(switched: LocalApp) -> None:
    work = type(make_work(switched))(switched, make_work(switched).health, RUN, print)
    confirm(work, NEW, "deploy", OLD, 0, 5)
    steps.agree({"id": NEW}, work, False)
    assert goback.waits(switched.lock, RUN.token, NEW, uptime() + 999) == "agreed"
    assert steps.recall(switched, RUN, NEW)["before"] == OLD
