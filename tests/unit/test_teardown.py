"""All of an app is removed, whatever is in its directories, and an interrupted removal is finished."""

import grp
import json
import os
import pwd
from pathlib import Path
from types import SimpleNamespace

import pytest
from ansible_collections.plainstack.web.plugins.module_utils import layout
from ansible_collections.plainstack.web.plugins.module_utils.host import sandbox, teardown
from ansible_collections.plainstack.web.plugins.module_utils.host.teardown import TeardownError, paths, present

from tests.unit.fakes import NEW, OLD, LocalApp, Systemd, make_live, release


@pytest.fixture
def ran(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, ...]]:
    """The programs that were run."""
    found: list[tuple[str, ...]] = []
    monkeypatch.setattr(teardown, "_run", lambda *command: found.append(command))
    return found


@pytest.fixture
def host(app: LocalApp, systemd: Systemd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ran: list[tuple[str, ...]]) -> Path:
    """A host with the app and another one, whose name begins like the first's; its directory."""
    monkeypatch.setattr(sandbox, "stop", lambda _app: None)
    monkeypatch.setattr(layout, "STAMPS", str(tmp_path / "stamps"))
    monkeypatch.setattr(layout, "APPS", str(tmp_path / "srv"))
    monkeypatch.setattr(teardown, "SITES", str(tmp_path / "sites.json"))
    monkeypatch.setattr(teardown, "CONFIGURATION", str(tmp_path / "sites.conf"))
    monkeypatch.setattr(teardown, "ELSEWHERE", (f"{tmp_path}/passwords/{{}}", f"{tmp_path}/certificates/{{}}.pem"))
    monkeypatch.setattr(teardown, "lineages", lambda: dict.fromkeys(("hello", "hello-0a1b2c3d", "hello-world", "hello-ffffffff")))
    monkeypatch.setattr(pwd, "getpwnam", lambda name: SimpleNamespace(pw_dir=app.root if ("userdel", name) not in ran else "/"))
    release(app, OLD, sequence=1)
    release(app, NEW, sequence=2)
    make_live(app, systemd, NEW)
    for name in ("stamps", "passwords", "certificates", "cache/hello", "log", "nginx"):
        (tmp_path / name).mkdir(parents=True, exist_ok=True)
    systemd.states["plainstack-run-0a1b2c3d-hello.service"] = "active"
    for name in ("hello", "hello-world"):
        for unit in (f"plainstack-migrate-{name}", f"plainstack-run-0a1b2c3d-{name}"):
            (tmp_path / f"{unit}.service.environment").write_text("")
        for path in (f"units/{name}@{NEW}.service", f"units/{name}.worker.1@{NEW}.service", f"stamps/stamp-{name}.tick@{NEW}.timer", f"passwords/{name}"):
            (tmp_path / path).write_text("")
    (tmp_path / f"units/multi-user.target.wants/hello-world@{NEW}.service").symlink_to(f"../hello-world@{NEW}.service")
    Path(app.history).write_text("{}\n")
    (tmp_path / "sites.json").write_text(json.dumps({"example.com": "hello-world"}))
    (tmp_path / "sites.conf").write_text("ssl_certificate /etc/letsencrypt/live/hello-ffffffff/fullchain.pem;")
    (tmp_path / "precious").write_text("of root")
    Path(app.shared, "link").symlink_to(tmp_path / "precious")
    Path(app.shared, "data").write_text("data")
    return tmp_path


def everything(host: Path) -> set[str]:
    return {str(path.relative_to(host)) for path in host.rglob("*")}


def test_an_app_is_removed(app: LocalApp, host: Path, ran: list[tuple[str, ...]], systemd: Systemd) -> None:
    """And nothing of the other; a certificate that a site has stays. Then there is nothing to do."""
    removed = teardown.teardown(app, True)
    left = everything(host)
    assert not [path for path in left if "hello" in path.replace("hello-world", "")]
    others = (f"units/hello-world@{NEW}.service", f"units/multi-user.target.wants/hello-world@{NEW}.service", "passwords/hello-world", "precious")
    assert {"plainstack-migrate-hello-world.service.environment", "plainstack-run-0a1b2c3d-hello-world.service.environment"} <= left
    assert {*others, f"stamps/stamp-hello-world.tick@{NEW}.timer", f"units/hello-world.worker.1@{NEW}.service"} <= left
    assert ran == [*(("certbot", "delete", "--non-interactive", "--cert-name", name) for name in ("hello", "hello-0a1b2c3d")), ("userdel", "hello")]
    assert not os.path.exists(app.root)
    assert "user hello" in removed
    assert (host / "precious").read_text() == "of root"
    assert systemd.states == {}


def test_data_is_kept(app: LocalApp, host: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It belongs to root then, and what its links lead to is as it was."""
    given: list[str] = []
    monkeypatch.setattr(teardown, "ROOT", (4711, 4712))
    monkeypatch.setattr(
        os, "chown", lambda name, *owner, dir_fd, follow_symlinks: given.append(name) if (owner, follow_symlinks) == ((4711, 4712), False) else None
    )
    teardown.teardown(app, False)
    assert sorted(given) == [".", "data", "link"]
    assert Path(app.shared, "data").read_text() == "data"


def test_what_is_interrupted_is_finished(app: LocalApp, host: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After each thing that goes."""
    remove, turns = teardown._remove, len(paths(app))
    for turn in range(turns):
        done = 0

        def interrupted(path: str, last: int = turn % 3) -> None:
            nonlocal done
            if done == last:
                raise KeyboardInterrupt
            done += 1
            remove(path)

        monkeypatch.setattr(teardown, "_remove", interrupted)
        try:
            teardown.teardown(app, True)
            break
        except KeyboardInterrupt:
            continue
    monkeypatch.setattr(teardown, "_remove", remove)
    teardown.teardown(app, True)
    monkeypatch.setattr(teardown, "lineages", dict)
    assert present(app, True) == []
    assert not os.path.exists(app.root)


def test_an_app_with_a_site_stays(app: LocalApp, host: Path) -> None:
    (host / "sites.json").write_text(json.dumps({"example.com/shop": "hello"}))
    before = everything(host)
    with pytest.raises(TeardownError, match="still has a site of hello; nothing was touched"):
        teardown.teardown(app, True)
    assert everything(host) == before


def test_what_cannot_be_removed(app: LocalApp, host: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: str) -> None:
        raise PermissionError(1, "Operation not permitted", path)

    monkeypatch.setattr(teardown, "_remove", refuse)
    with pytest.raises(TeardownError, match=r"cannot be removed: .*Operation not permitted.*\nNext: correct that"):
        teardown.teardown(app, True)


def test_what_would_be_removed(app: LocalApp, host: Path) -> None:
    before = everything(host)
    assert {app.releases, app.shared, "certificate hello", "user hello"} <= {*present(app, True)}
    assert app.shared not in present(app, False)
    assert everything(host) == before


def test_data_from_before_a_restore_goes_with_it(app: LocalApp, host: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = Path(f"{app.shared}.before-20260101T000000Z")
    before.mkdir()
    given: list[str] = []
    monkeypatch.setattr(teardown, "_give_to_root", given.append)
    teardown.teardown(app, False)
    assert given == [app.shared, str(before)]
    assert {app.shared, str(before)} <= {*teardown.teardown(app, True)}
    assert not before.exists()


def test_data_that_cannot_be_removed(app: LocalApp, host: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk of its own is mounted there; that is no traceback."""
    remove = teardown._remove

    def busy(path: str) -> None:
        if path == app.shared:
            raise OSError(16, "Device or resource busy", path)
        remove(path)

    monkeypatch.setattr(teardown, "_remove", busy)
    with pytest.raises(TeardownError, match=r"shared cannot be removed: .*Device or resource busy.*\nNext: correct that"):
        teardown.teardown(app, True)


@pytest.mark.parametrize(("primary_of", "goes"), [("nobody", True), ("somebody", False)])
def test_a_group_that_is_left(app: LocalApp, host: Path, ran: list[tuple[str, ...]], monkeypatch: pytest.MonkeyPatch, primary_of: str, goes: bool) -> None:
    """With the group there, the app's user could not be made again; one that a user has for his own stays."""

    def group(_name: str) -> SimpleNamespace:
        if ("groupdel", "hello") in ran:
            raise KeyError("hello")
        return SimpleNamespace(gr_gid=997)

    users = [SimpleNamespace(pw_gid=997 if primary_of == "somebody" else 0)]
    monkeypatch.setattr(grp, "getgrnam", group)
    monkeypatch.setattr(pwd, "getpwall", lambda: users)
    removed = teardown.teardown(app, False)
    assert (("groupdel", "hello") in ran, "group hello" in removed) == (goes, goes)
    assert ran[-2:] == [("userdel", "hello"), ("groupdel", "hello")] if goes else ran[-1] == ("userdel", "hello")
    # Once more, where only the data is left
    assert ("group hello" in teardown.teardown(app, False)) is False


@pytest.mark.usefixtures("ran")
def test_nothing_of_the_system_is_taken_for_an_apps(app: LocalApp, host: Path, systemd: Systemd, monkeypatch: pytest.MonkeyPatch) -> None:
    """The name may be a wrong one: there are units such as user@1000.service, and /srv may have others' directories."""
    for path in ("units/hello@.service.d", "units/hello@1000.service", "units/multi-user.target.wants/hello@tty1.service"):
        (host / path).write_text("")
    systemd.states |= {"hello@1000.service": "active", "hello@tty1.service": "active"}
    monkeypatch.setattr(pwd, "getpwnam", lambda name: SimpleNamespace(pw_dir="/"))
    before = everything(host)
    with pytest.raises(TeardownError, match="is no app of Plainstack's on this host: it has no user of that name; nothing was touched"):
        teardown.teardown(app, True)
    assert everything(host) == before
    monkeypatch.setattr(teardown, "_check", lambda _app: None)
    teardown.teardown(app, False)
    assert {"units/hello@.service.d", "units/hello@1000.service", "units/multi-user.target.wants/hello@tty1.service"} <= everything(host)
    assert {"hello@1000.service", "hello@tty1.service"} <= {*systemd.states}


def test_drop_ins_for_all_releases_go_with_the_app(app: LocalApp, host: Path) -> None:
    (host / "units/hello@.service.d").mkdir()
    teardown.teardown(app, True)
    assert not (host / "units/hello@.service.d").exists()


def test_a_certificate_that_another_site_has_stays(app: LocalApp, host: Path) -> None:
    (host / "certificates/hello.pem").write_text("")
    (host / "sites.conf").write_text(f"ssl_certificate {host}/certificates/hello.pem;")
    teardown.teardown(app, True)
    assert (host / "certificates/hello.pem").exists()
    (host / "sites.conf").write_text("")
    assert f"{host}/certificates/hello.pem" in teardown.teardown(app, True)


def test_the_guard_of_another_app_goes_on(app: LocalApp, host: Path, systemd: Systemd) -> None:
    """It takes that one back where its run is lost."""
    systemd.states |= {"plainstack-lost-hello-0a1b2c3d.service": "active", "plainstack-lost-hello-world-0a1b2c3d.service": "active"}
    teardown.teardown(app, True)
    assert [*systemd.states] == ["plainstack-lost-hello-world-0a1b2c3d.service"]
