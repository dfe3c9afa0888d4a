"""One run at a time for each app; a run that died does not block the next for long."""

import fcntl
import json
import os
import stat
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from ansible.module_utils.testing import patch_module_args
from ansible_collections.plainstack.web.plugins.action.inspect import RENEWAL
from ansible_collections.plainstack.web.plugins.module_utils.host import lock
from ansible_collections.plainstack.web.plugins.module_utils.host.lock import (
    GUARD,
    LEASE,
    SHARED,
    STEP,
    Holder,
    LockError,
    acquire,
    holder,
    release,
    renew,
    shared,
    step,
)
from ansible_collections.plainstack.web.plugins.module_utils.layout import write
from ansible_collections.plainstack.web.plugins.modules import certificate

from tests.unit.fakes import LocalApp

MINE = Holder("0123abcd", "me", "laptop", "deploy.yml", "2026-01-01T00:00:00Z")
OTHER = Holder("4567ef00", "ann", "desk", "rollback.yml", "2026-01-01T00:00:05Z")


class Uptime:
    """Stands in for the module time, without a clock: the uptime goes on by itself when somebody sleeps, and nothing else is asked."""

    def __init__(self) -> None:
        self.now = 5000.0
        self.lives: LocalApp | None = None  # whose holder renews its lock

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        assert self.now < 10_000, "it waits for ever"
        if self.lives and self.now % RENEWAL == 0:
            renew(self.lives)


@pytest.fixture(autouse=True)
def uptime(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Uptime:
    fake = Uptime()
    monkeypatch.setattr(lock, "LOCKS", str(tmp_path / "locks"))
    monkeypatch.setattr(lock, "time", fake)
    monkeypatch.setattr(lock, "uptime", lambda: fake.now)
    return fake


def test_take_and_give_back(app: LocalApp) -> None:
    assert holder(app) is None
    acquire(app, MINE, 0)
    assert holder(app) == MINE
    release(app, MINE.token)
    assert holder(app) is None
    assert not os.path.exists(app.lock)
    release(app, MINE.token)


def test_another_run_is_kept_out_and_told_who_it_is(app: LocalApp, uptime: Uptime) -> None:
    acquire(app, OTHER, 0)
    uptime.now += 3
    uptime.lives = app
    with pytest.raises(LockError) as error:
        acquire(app, MINE, 0)
    assert "the app 'hello' is locked by rollback.yml of ann on desk, since 2026-01-01T00:00:05Z (last sign of life 0 s ago)" in str(error.value)
    assert "-e lock_wait=600" in str(error.value)
    assert f"'sudo rm {app.lock}' on the host frees the lock" in str(error.value)
    release(app, MINE.token)
    assert holder(app) == OTHER


def test_the_same_run_may_take_it_twice(app: LocalApp) -> None:
    acquire(app, MINE, 0)
    acquire(app, MINE, 0)
    assert holder(app) == MINE


@pytest.mark.parametrize(("after", "free"), [(0, False), (RENEWAL, False), (LEASE - 1, False), (LEASE + 1, True), (9999, True)])
def test_a_lease_ends_without_a_sign_of_life(app: LocalApp, uptime: Uptime, after: int, free: bool) -> None:
    acquire(app, OTHER, 0)
    uptime.now += after
    assert (holder(app) is None) is free
    if free:
        acquire(app, MINE, 0)
        assert holder(app) == MINE


def test_a_sign_of_life_prolongs_it(app: LocalApp, uptime: Uptime) -> None:
    acquire(app, MINE, 0)
    for _ in range(5):
        uptime.now += LEASE - 1
        assert holder(app) == MINE
        renew(app)


@pytest.mark.parametrize("wait", [0, 30, 600])
def test_a_run_that_died_is_waited_for(app: LocalApp, uptime: Uptime, wait: int) -> None:
    """Ctrl-C and the same command again: it must not have to be given a third time."""
    acquire(app, OTHER, 0)
    began = uptime.now
    acquire(app, MINE, wait)
    assert holder(app) == MINE
    assert uptime.now - began == pytest.approx(LEASE, abs=1)


@pytest.mark.parametrize(("wait", "took"), [(0, RENEWAL), (3, RENEWAL), (100, 100), (600, 600)])
def test_a_run_that_lives_is_waited_for_as_long_as_was_said(app: LocalApp, uptime: Uptime, wait: int, took: int) -> None:
    """But for its next sign of life."""
    acquire(app, OTHER, 0)
    began, uptime.lives = uptime.now, app
    with pytest.raises(LockError, match=r"locked by rollback\.yml"):
        acquire(app, MINE, wait)
    assert uptime.now - began == pytest.approx(took, abs=1)
    assert holder(app) == OTHER


def test_the_lock_is_taken_when_the_other_run_ends(app: LocalApp, uptime: Uptime, monkeypatch: pytest.MonkeyPatch) -> None:
    acquire(app, OTHER, 0)
    monkeypatch.setattr(uptime, "sleep", lambda _seconds: release(app, OTHER.token))
    acquire(app, MINE, 0)
    assert holder(app) == MINE


def test_what_takes_the_lock_sees_no_moment_without_its_sign_of_life(app: LocalApp, uptime: Uptime, monkeypatch: pytest.MonkeyPatch) -> None:
    """The lock of a run that died long ago is still there: with the new name in it, it must live at once."""
    acquire(app, OTHER, 0)
    uptime.now += 9999
    seen = []

    def watched(path: str, content: str, mode: int) -> None:
        write(path, content, mode)
        seen.append(holder(app))

    monkeypatch.setattr(lock, "write", watched)
    acquire(app, MINE, 0)
    assert None not in seen
    assert seen[-1] == MINE


def test_the_clock_does_not_matter(app: LocalApp) -> None:
    """Nothing but the uptime is asked (the fake knows nothing else), and no time of a file."""
    acquire(app, MINE, 0)
    for name in (app.lock, f"{app.lock}.beat"):
        os.utime(name, (0, 0))
    assert holder(app) == MINE


@pytest.mark.parametrize("beat", ["", "x", "12:00", None])
def test_a_sign_of_life_that_cannot_be_read_is_none(app: LocalApp, beat: str | None) -> None:
    acquire(app, OTHER, 0)
    os.unlink(f"{app.lock}.beat")
    if beat is not None:
        Path(f"{app.lock}.beat").write_text(beat)
    assert holder(app) is None


def test_what_the_controller_renews_is_understood(app: LocalApp, uptime: Uptime) -> None:
    acquire(app, MINE, 0)
    uptime.now += 3 * LEASE
    Path(f"{app.lock}.beat").write_text(f"{uptime.now - 5:.0f}\n")
    assert holder(app) == MINE


@pytest.mark.usefixtures("umask")
def test_nobody_but_root_can_open_a_lock(app: LocalApp) -> None:
    """Whoever can open a file can lock it, and hold up every run."""
    acquire(app, MINE, 0)
    with step(app, MINE.token), shared("configuration"):
        pass
    directory = Path(app.lock).parent
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    assert {path.name for path in directory.iterdir()} == {"hello", "hello.beat", "hello.guard", "hello.step", ".configuration"}
    assert json.loads(Path(app.lock).read_text())["by"] == "me"


def test_a_process_that_stops_while_it_takes_the_lock_is_not_waited_for_for_ever(app: LocalApp, uptime: Uptime) -> None:
    began = uptime.now
    acquire(app, MINE, 0)
    with open(f"{app.lock}.guard") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        with pytest.raises(LockError, match=r"another process is just taking the lock of 'hello'(?s:.*)'sudo lslocks .*/hello\.guard'"):
            acquire(app, MINE, 600)
    assert uptime.now - began == pytest.approx(GUARD, abs=1)


def test_a_run_that_has_ended_gets_no_lock(app: LocalApp) -> None:
    """It was killed while it waited, and the other run ends only now."""
    with pytest.raises(LockError, match="has ended while it waited"):
        acquire(app, MINE, 600, given_up=lambda: True)
    assert not os.path.exists(app.lock)


@pytest.mark.parametrize(("listens", "said"), [(True, "False"), (False, "True")])
def test_a_run_has_ended_when_nobody_listens(tmp_path: Path, listens: bool, said: str) -> None:
    code = f"import time; time.sleep(0.3); from {lock.__name__} import abandoned; open({str(tmp_path / 'said')!r}, 'w').write(str(abandoned()))"
    environment = {**os.environ, "PYTHONPATH": "collections"}
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, env=environment) as process:
        assert process.stdout
        if not listens:
            process.stdout.close()
        process.wait()
    assert (tmp_path / "said").read_text() == said


def test_what_the_apps_share_is_worked_on_by_one_at_a_time(uptime: Uptime) -> None:
    began = uptime.now
    with (
        shared("configuration"),
        pytest.raises(LockError, match=r"another run works on the configuration of this host; waited for"),
        shared("configuration"),
    ):
        pytest.fail("it went on")
    assert uptime.now - began == pytest.approx(SHARED, abs=1)
    with shared("configuration"), shared("certificates"):
        pass


def test_certificates_are_ordered_by_one_run_at_a_time(capsys: pytest.CaptureFixture[str]) -> None:
    given = {"certificates": [{"name": "hello", "domains": ["hello.example.com"]}], "server": "https://acme.example.com/dir", "webroot": "/nowhere"}
    with shared("certificates"), patch_module_args(given), pytest.raises(SystemExit):
        certificate.main()
    assert "another run works on the certificates of this host" in json.loads(capsys.readouterr().out)["msg"]


@pytest.mark.parametrize("take", [False, True])
def test_a_step_of_a_run(app: LocalApp, take: bool) -> None:
    """Where a role is used alone nobody has taken a lock."""
    if take:
        acquire(app, MINE, 0)
    with step(app, MINE.token if take else "") as run:
        assert run == (MINE if take else None)


@pytest.mark.parametrize("token", ["", MINE.token])
def test_no_step_in_another_run(app: LocalApp, token: str) -> None:
    acquire(app, OTHER, 0)
    with pytest.raises(LockError, match=r"the app 'hello' is locked by rollback\.yml of ann on desk"), step(app, token):
        pytest.fail("it went on")


def test_a_step_is_a_sign_of_life(app: LocalApp, uptime: Uptime) -> None:
    acquire(app, MINE, 0)
    uptime.now += LEASE - 1
    with step(app, MINE.token):
        uptime.now += LEASE - 1
    uptime.now += LEASE - 1
    assert holder(app) == MINE


def test_no_step_after_the_lock_was_lost(app: LocalApp, uptime: Uptime) -> None:
    acquire(app, MINE, 0)
    uptime.now += LEASE + 1
    with pytest.raises(LockError, match="this run has lost its lock on 'hello'"), step(app, MINE.token):
        pytest.fail("it went on")


def test_two_steps_are_never_at_once(app: LocalApp) -> None:
    """Also where the first one's run has lost its lock: it is not over yet."""

    def at_work() -> bool:
        with open(f"{app.lock}.step") as other:
            try:
                fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return True
            return False

    acquire(app, MINE, 0)
    with step(app, MINE.token):
        assert at_work()
    assert not at_work()
    with pytest.raises(LockError), step(app, replace(MINE, token="x").token):
        pass
    assert not at_work()


def test_a_step_that_does_not_end_is_not_waited_for_for_ever(app: LocalApp, uptime: Uptime) -> None:
    """A killed run may still drain on the host."""
    began = uptime.now
    with step(app, ""), pytest.raises(LockError, match=r"a step of an earlier run of 'hello'(?s:.*)lslocks .*/hello\.step"), step(app, ""):
        pytest.fail("it went on")
    assert uptime.now - began == pytest.approx(STEP, abs=1)


def test_a_step_waits_for_the_one_before(app: LocalApp, uptime: Uptime, monkeypatch: pytest.MonkeyPatch) -> None:
    first = step(app, "")
    first.__enter__()
    monkeypatch.setattr(uptime, "sleep", lambda _seconds: first.__exit__(None, None, None))
    with step(app, "") as run:
        assert run is None
