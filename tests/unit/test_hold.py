"""What the controller has a host's shell do with the locks of a run, and how it notices the end of ansible-playbook."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from ansible_collections.plainstack.web.plugins.action.preflight import LOCKS, RELEASE, RENEW, ActionModule
from ansible_collections.plainstack.web.plugins.module_utils.layout import write
from ansible_collections.plainstack.web.plugins.module_utils.lock import Holder, acquire, holder, uptime
from ansible_collections.plainstack.web.plugins.module_utils.lock import release as give_back

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
    write(f"{app.lock}.beat", f"{int(uptime()) - 39}\n")
    shell(app, RENEW, f"{app.sockets}/none")
    assert uptime() - float(Path(f"{app.lock}.beat").read_text()) < 3
    assert holder(app) == MINE
    assert sorted(os.listdir(app.sockets)) == ["lock", "lock.beat"]


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
    shell(app, do, f"{app.sockets}/none")
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


@pytest.mark.parametrize("with_pidfd", [True, False], ids=["linux", "elsewhere"])
def test_the_end_of_ansible_playbook(monkeypatch: pytest.MonkeyPatch, with_pidfd: bool) -> None:
    if not with_pidfd:
        monkeypatch.delattr(os, "pidfd_open")
        monkeypatch.setattr(time, "sleep", lambda _seconds: None)
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        assert ActionModule._ended(process.pid, 0.01) is False
    assert ActionModule._ended(process.pid, 1) is True
