"""What the controller has a host's shell do with the locks of a run, and that it does so only while ansible-playbook runs."""

import contextlib
import fcntl
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from ansible_collections.plainstack.web.plugins.action import inspect
from ansible_collections.plainstack.web.plugins.action.inspect import LOCKS, RELEASE, RENEW, RENEWAL, TAKEN, ActionModule
from ansible_collections.plainstack.web.plugins.module_utils.controller.process import Process, ready
from ansible_collections.plainstack.web.plugins.module_utils.host.lock import Holder, acquire, holder, uptime
from ansible_collections.plainstack.web.plugins.module_utils.host.lock import release as give_back
from ansible_collections.plainstack.web.plugins.module_utils.layout import write

from tests.unit.fakes import LocalApp

MINE = Holder("0123456789abcdef", "me", "laptop", "deploy.yml", "2026-01-01T00:00:00Z")
OTHER = Holder("fedcba9876543210", "ann", "desk", "deploy.yml", "2026-01-01T00:00:00Z")


def shell(app: LocalApp, do: str, *more: str) -> None:
    """Renew or release the locks of this run."""
    paths = " ".join([app.lock, *more])
    done = subprocess.run(["sh", "-c", LOCKS.format(paths=paths, token=MINE.token, do=do)], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("", "")


def test_renew(app: LocalApp) -> None:
    acquire(app, MINE, 0)
    write(f"{app.lock}.beat", f"{int(uptime()) - 99}\n")
    shell(app, RENEW, f"{app.lock}-none")
    assert uptime() - float(Path(f"{app.lock}.beat").read_text()) < 3
    assert holder(app) == MINE
    assert sorted(os.listdir(os.path.dirname(app.lock))) == ["hello", "hello.beat", "hello.guard"]


def test_release(app: LocalApp) -> None:
    acquire(app, MINE, 0)
    shell(app, RELEASE)
    assert holder(app) is None
    give_back(app, MINE.token)


@pytest.mark.parametrize("do", [RENEW, RELEASE])
def test_the_lock_of_another_run_is_left_alone(app: LocalApp, do: str) -> None:
    """This run's lease was over, and somebody else has taken the lock since."""
    acquire(app, OTHER, 0)
    write(f"{app.lock}.beat", "5\n")
    shell(app, do, f"{app.lock}-none")
    assert Path(f"{app.lock}.beat").read_text() == "5\n"
    assert MINE.token not in Path(app.lock).read_text()


def test_there_is_no_moment_without_a_sign_of_life(app: LocalApp, tmp_path: Path) -> None:
    acquire(app, MINE, 0)
    slow = tmp_path / "bin/cut"
    slow.parent.mkdir()
    slow.write_text(f'#!/bin/sh\ncat {app.lock}.beat > {tmp_path}/seen\nexec /usr/bin/cut "$@"\n')
    slow.chmod(0o755)
    shell(app, f"PATH={slow.parent}:$PATH; {RENEW}")
    assert (tmp_path / "seen").read_text().strip()


# ansible-playbook, its worker, and in place of the commands on the host a file with what they would do there. The worker says its number,
# and what becomes of it when it has taken the locks
RUN = """
import os, sys, time
from pathlib import Path
from ansible_collections.plainstack.web.plugins.action.inspect import RENEW, ActionModule
case, said = sys.argv[1], Path(sys.argv[2])
playbook = os.getpid()
if os.fork():
    time.sleep(60 if case == "waits" else 1)
    os._exit(0)
os.setsid()
if case == "late":
    while os.getppid() == playbook:
        time.sleep(0.05)
action = ActionModule.__new__(ActionModule)
action._low_level_execute_command = lambda command: said.open("a").write("renew\\n" if RENEW in command else "release\\n")
tell = action._hold(["hello"], "0123456789abcdef", playbook)
said.write_text(f"{os.getpid()}\\n")
if case == "waits":
    time.sleep(60)
os.write(tell, b"t" if case == "taken" else b"r")
"""


@pytest.mark.parametrize(
    ("case", "wanted"),
    [
        ("waits", ["release", "release"]),  # killed while it waits for the locks
        ("taken", ["release"]),
        ("refused", []),
        ("late", None),  # killed before the worker has begun: it asks for nothing
    ],
)
def test_the_locks_end_with_ansible_playbook(tmp_path: Path, case: str, wanted: list[str] | None) -> None:
    said = tmp_path / "said"
    with subprocess.Popen([sys.executable, "-c", RUN, case, str(said)], env={**os.environ, "PYTHONPATH": "collections"}) as process:
        while case == "waits" and not said.exists():
            time.sleep(0.05)
        if case == "waits":
            process.kill()
    end = time.monotonic() + 30
    while processes(str(said)) and time.monotonic() < end:
        time.sleep(0.05)
    assert processes(str(said)) == []
    assert (said.read_text().splitlines()[1:] if said.exists() else None) == wanted


def processes(word: str) -> list[str]:
    """The processes that have a word in their command."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            if word in path.read_text() and "Z" not in (path.parent / "stat").read_text().rsplit(")", 1)[1][:3]:
                found.append(path.parent.name)
    return found


@pytest.mark.parametrize(("silent", "renews"), [(RENEWAL + 1, True), (RENEWAL - 1, False)])
def test_the_holder_renews_only_where_no_step_has(monkeypatch: pytest.MonkeyPatch, silent: float, renews: bool) -> None:
    """With hundreds of servers, an SSH for each of them every few seconds would be what the controller does."""
    monkeypatch.setattr(inspect, "RENEWAL", 0.05)
    monkeypatch.setattr(inspect, "silence", lambda _token: 0.05 + silent - RENEWAL)
    told, tell = os.pipe()
    runs, ends = os.pipe()
    asked: list[str] = []
    action = ActionModule.__new__(ActionModule)
    monkeypatch.setattr(action, "_on_the_host", lambda command, locks, token: asked.append(f"{command == RENEW} {locks} {token}"))
    os.write(tell, TAKEN)
    with open(runs) as run:
        threading.Timer(0.5, os.close, [ends]).start()
        assert action._renew(run, told, "/run/lock", MINE.token) == TAKEN  # type: ignore[arg-type]
    for number in (told, tell):
        os.close(number)
    assert set(asked) == ({f"True /run/lock {MINE.token}"} if renews else set())
    assert len(asked) >= 2 * renews


def test_a_run_with_very_many_servers_is_watched_too() -> None:
    """Its files have numbers that select(2) does not take."""
    with subprocess.Popen(["sleep", "60"]) as child:
        process = Process(child.pid)
        process._handle = fcntl.fcntl(process.fileno(), fcntl.F_DUPFD, 1100)
        told, tell = os.pipe()
        high = fcntl.fcntl(told, fcntl.F_DUPFD, 1100)
        assert ready([process.fileno(), high], 0) == set()
        os.write(tell, b"x")
        assert ready([process.fileno(), high], 5) == {high}
        assert not process.ended()
        child.kill()
        child.wait()
        assert process.ended()
        os.close(tell)
        assert ready([process.fileno(), high], 5) == {process.fileno(), high}
