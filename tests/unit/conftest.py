"""Fixtures: an app whose paths are all below a temporary directory, on a host that only pretends."""

import grp
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from ansible_collections.plainstack.web.plugins.module_utils import layout
from ansible_collections.plainstack.web.plugins.module_utils.host import history, instance, lock, memory
from ansible_collections.plainstack.web.plugins.module_utils.host import systemd as systemd_module
from ansible_collections.plainstack.web.plugins.module_utils.host.instance import Work

from tests.unit.fakes import NEW, OLD, OLDER, Answers, Clock, LocalApp, Systemd, make_app, make_live, make_work, release


def pytest_configure() -> None:
    """Files on a server belong to root. Who is not root is root of a user namespace, which is enough to test it."""
    user, group = os.geteuid(), os.getegid()
    if user == 0:
        return
    try:
        os.unshare(os.CLONE_NEWUSER)
        Path("/proc/self/setgroups").write_text("deny")
        Path("/proc/self/uid_map").write_text(f"0 {user} 1")
        Path("/proc/self/gid_map").write_text(f"0 {group} 1")
    except OSError as error:
        pytest.exit(f"This system lets nobody but root make user namespaces ({error}); run the tests as root.", returncode=1)


@pytest.fixture(params=[0o077, 0o000], ids=["umask 077", "umask 000"])
def umask(request: pytest.FixtureRequest) -> Iterator[None]:
    """The two umasks that harm: one hides files from services, one opens them to everybody."""
    before = os.umask(request.param)
    yield
    os.umask(before)


@pytest.fixture
def app(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> LocalApp:
    """An app without any release."""
    monkeypatch.setattr(layout, "UNITS", str(tmp_path / "units"))
    monkeypatch.setattr(lock, "LOCKS", str(tmp_path / "locks"))
    monkeypatch.setattr(layout, "APPS", str(tmp_path / "apps"))
    monkeypatch.setattr(history, "READERS", grp.getgrgid(0).gr_name)  # the one group that a user namespace has
    return make_app(tmp_path)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The time for instances; nothing really waits."""
    clock = Clock()
    monkeypatch.setattr(instance, "time", clock)
    return clock


@pytest.fixture
def systemd(app: LocalApp, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> Systemd:
    """A systemd that only pretends, with memory for every instance; nothing is left to drain."""
    fake = Systemd()
    monkeypatch.setattr(systemd_module, "systemctl", fake)
    monkeypatch.setattr(systemd_module, "log", lambda unit, ended: f"last words of {unit}")
    monkeypatch.setattr(systemd_module, "ask_instance", lambda path, health, timeout: "")
    monkeypatch.setattr(memory, "check", lambda app: None)
    monkeypatch.setattr(instance, "drain", lambda path, seconds: 0)
    return fake


@pytest.fixture
def own(monkeypatch: pytest.MonkeyPatch) -> Answers:
    """What an instance answers on its own socket; nothing is wrong."""
    answers = Answers()
    monkeypatch.setattr(instance, "ask_instance", answers)
    return answers


@pytest.fixture
def nginx(monkeypatch: pytest.MonkeyPatch) -> Answers:
    """What comes through nginx; nothing is wrong."""
    answers = Answers()
    monkeypatch.setattr(instance, "ask_nginx", answers)
    return answers


@pytest.fixture
def work(app: LocalApp) -> Work:
    """For whom a warning is an error."""
    return make_work(app)


@pytest.fixture
def host(app: LocalApp, systemd: Systemd) -> Systemd:
    """OLD is live, OLDER was before it, and NEW is there and runs."""
    release(app, OLDER, sequence=1, verdict="good")
    release(app, OLD, sequence=2, verdict="good")
    release(app, NEW, revision="abc", dirty=True)
    make_live(app, systemd, OLD)
    systemd.run(app, NEW)
    return systemd
