"""An app whose paths are all below a temporary directory."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from ansible_collections.plainstack.web.plugins.module_utils import instance
from ansible_collections.plainstack.web.plugins.module_utils.layout import App


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


@dataclass(frozen=True)
class LocalApp(App):
    """The app of a server, in a directory of its own."""

    base: str = ""

    @property
    def root(self) -> str:
        return f"{self.base}/srv"

    @property
    def sockets(self) -> str:
        return f"{self.base}/run"

    @property
    def settings(self) -> str:
        return f"{self.base}/etc"

    def drop_in(self, identifier: str) -> str:
        return f"{instance.UNITS}/{self.unit(identifier, 'service')}.d"


@pytest.fixture
def app(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> LocalApp:
    """An app without any release."""
    for name in ("srv/releases", "srv/shared", "run", "etc", "units"):
        (tmp_path / name).mkdir(parents=True)
    monkeypatch.setattr(instance, "UNITS", str(tmp_path / "units"))
    return LocalApp("hello", str(tmp_path))
