"""Backups: what is found and copied, what restic is asked, what is said; and a restore, which an app cannot lead elsewhere."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import pwd
import re
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.plainstack.web.plugins.module_utils.controller import backup as controller
from ansible_collections.plainstack.web.plugins.module_utils.host import backup, databases, lock, restic, restore, steps
from ansible_collections.plainstack.web.plugins.module_utils.host import systemd as systemd_module
from ansible_collections.plainstack.web.plugins.module_utils.host.instance import Work
from ansible_collections.plainstack.web.plugins.module_utils.host.lock import Holder, LockError, acquire
from ansible_collections.plainstack.web.plugins.module_utils.host.restic import Repository, ResticError
from ansible_collections.plainstack.web.plugins.module_utils.host.systemd import InstanceError
from ansible_collections.plainstack.web.plugins.module_utils.layout import make_directory

from tests.unit.fakes import OLD, Answers, LocalApp, Systemd, make_live, real_root, release

REPOSITORY = Repository("/backups", "swordfish", {"KEY": "value"})
RUN = Holder("token", "ada", "desk", "restore", "now")
SUMMARY = '{"message_type":"status"}\n{"message_type":"summary","snapshot_id":"0123456789abcdef"}\n'


def database(path: Path, rows: int = 3, wal: bool = True) -> sqlite3.Connection:
    path.parent.mkdir(parents=True, exist_ok=True)
    found = sqlite3.connect(path)
    if wal:
        found.execute("PRAGMA journal_mode=WAL")
    with found:
        found.execute("CREATE TABLE t (n)")
        found.executemany("INSERT INTO t VALUES (?)", [(number,) for number in range(rows)])
    return found


def rows(path: Path | str) -> int:
    with contextlib.closing(sqlite3.connect(path)) as found:
        [count] = found.execute("SELECT count(*) FROM t").fetchone()
    return int(count)


# Databases


def test_databases_are_found_and_nothing_else(tmp_path: Path) -> None:
    for name in ("a.db", "deep/er/b [x]*.sqlite3", "line\nfeed"):
        database(tmp_path / name).close()
    (tmp_path / "short").write_bytes(databases.MAGIC)
    (tmp_path / "other").write_bytes(b"x" * 1024)
    (tmp_path / "empty").touch()
    (tmp_path / "link.db").symlink_to(tmp_path / "a.db")
    (tmp_path / "linked").symlink_to(tmp_path / "deep")
    os.mkfifo(tmp_path / "pipe")
    assert {*databases.find(str(tmp_path))} == {"a.db", "deep/er/b [x]*.sqlite3", "line\nfeed"}


def test_a_copy_is_of_one_moment(app: LocalApp) -> None:
    """What is not committed yet is not in it, and what is only in the log beside the database is."""
    shared = Path(app.shared)
    found = database(shared / "a.db")
    found.execute("BEGIN")
    found.execute("INSERT INTO t VALUES (9)")
    with backup._copies(app, pwd.getpwuid(0)) as (directory, paths):
        assert paths == ["a.db"]
        assert os.listdir(directory) == ["a.db"]
        assert rows(f"{directory}/a.db") == 3
    assert os.listdir(backup.COPIES) == []
    found.close()


@pytest.fixture(autouse=True)
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where Plainstack keeps something of its own."""
    for module, name in ((backup, "CONFIG"), (backup, "STATE"), (backup, "COPIES"), (restic, "CACHE")):
        monkeypatch.setattr(module, name, str(tmp_path / "own" / name.lower()))


def test_what_only_looks_like_a_database_is_a_file(app: LocalApp) -> None:
    Path(app.shared, "fake").write_bytes(databases.MAGIC + b"x" * 1008)
    with backup._copies(app, pwd.getpwuid(0)) as (directory, paths):
        assert (paths, os.listdir(directory)) == ([], [])


def test_a_database_that_nobody_lets_be_read_is_said(app: LocalApp, monkeypatch: pytest.MonkeyPatch) -> None:
    found = database(Path(app.shared, "a.db"), wal=False)
    found.execute("BEGIN EXCLUSIVE")
    monkeypatch.setattr(backup, "getsource", lambda module: Path(module.__file__).read_text(encoding="utf-8").replace("PATIENCE = 60", "PATIENCE = 0.1"))
    with (
        pytest.raises(backup.BackupError, match=r"the database a\.db cannot be copied: another program has locked it for 0\.1 s"),
        backup._copies(app, pwd.getpwuid(0)),
    ):
        pass
    found.close()


def test_a_database_that_is_gone_meanwhile_is_none(app: LocalApp, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backup, "_find", lambda *_given: ["gone/a.db"])
    with backup._copies(app, pwd.getpwuid(0)) as (_directory, paths):
        assert paths == []


def test_a_database_that_there_is_no_room_for_is_said(app: LocalApp, monkeypatch: pytest.MonkeyPatch) -> None:
    database(Path(app.shared, "a.db")).close()
    monkeypatch.setattr(backup, "SPARE", 2**60)
    with pytest.raises(backup.BackupError, match=r"the database a\.db has 0 MiB, copies of it need twice as much"), backup._copies(app, pwd.getpwuid(0)):
        pass


@pytest.mark.parametrize(("text", "said"), [("import time; time.sleep(60)", "did not end within 1 s"), ("print('x' * 99999)", "cannot be found")])
def test_what_runs_as_the_apps_user_is_bounded(app: LocalApp, monkeypatch: pytest.MonkeyPatch, text: str, said: str) -> None:
    """It is in the app's hand."""
    make_directory(backup.COPIES, 0o700)
    monkeypatch.setattr(backup, "getsource", lambda _module: text)
    monkeypatch.setattr(backup, "FOUND_WITHIN", 1)
    monkeypatch.setattr(backup, "LISTED", 1000)
    with pytest.raises(backup.BackupError, match=said):
        backup._find(app, pwd.getpwuid(0))


@real_root
def test_an_apps_files_are_opened_by_its_user(app: LocalApp) -> None:
    """What it cannot read itself, it cannot have read."""
    nobody = pwd.getpwnam("nobody")
    database(Path(app.shared, "root.db")).close()
    os.chmod(f"{app.shared}/root.db", 0o600)
    make_directory(backup.COPIES, 0o700)
    for directory in (app.base, os.path.dirname(app.shared), app.shared, *map(str, Path(app.base).parents[:3])):
        os.chmod(directory, 0o755)
    assert backup._find(app, nobody) == []


@pytest.mark.parametrize("path", ["", "/etc/shadow", "../x", "a/../../x", "a//b", "./a", "a/.."])
def test_a_path_that_leads_elsewhere(path: str) -> None:
    assert not backup._inside(path)
    assert backup._inside("a/b..c/.d")


def test_a_pattern_is_one_path() -> None:
    """As Go's filepath.Match takes it, which restic uses."""
    assert backup.pattern("/a/[b]*?\\.db") == "/a/\\[b]\\*\\?\\\\.db"
    assert backup.pattern("/plain-path.db") == "/plain-path.db"


# What restic is asked


class Restic:
    """Stands in for systemd-run with restic."""

    def __init__(self, *answers: tuple[int, str, str]) -> None:
        self.answers, self.words, self.environment = list(answers), list[list[str]](), ""

    def __call__(self, words: Sequence[str], **_options: Any) -> subprocess.CompletedProcess[str]:
        self.words.append([*words])
        [file] = [word.split("=", 2)[2] for word in words if word.startswith("--property=EnvironmentFile=")]
        self.environment = Path(file).read_text(encoding="utf-8")
        assert os.stat(file).st_mode & 0o777 == 0o600
        code, out, err = self.answers.pop(0)
        return subprocess.CompletedProcess(list(words), code, out, err)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Restic:
    fake = Restic()
    monkeypatch.setattr("subprocess.run", fake)
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    return fake


@real_root
def test_no_secret_is_in_a_command(asked: Restic) -> None:
    asked.answers = [(0, "said", "")]
    assert restic.run(REPOSITORY, "cat", "config") == ("said", "")
    assert "swordfish" not in " ".join(asked.words[0])
    assert {'RESTIC_PASSWORD="swordfish"', 'KEY="value"', 'RESTIC_REPOSITORY="/backups"'} <= {*asked.environment.splitlines()}
    assert "--property=TemporaryFileSystem=/" in asked.words[0]
    assert "--property=BindPaths=/backups" in asked.words[0]
    seen = [
        word.split("=", 2)[2].removeprefix("-").split(":")[0] for word in asked.words[0] if word.startswith(("--property=BindReadOnly", "--property=BindP"))
    ]
    assert not [path for path in seen if "/etc/shadow".startswith(path) or "/proc".startswith(path) or "/root".startswith(path)]


@real_root
def test_a_repository_that_is_worked_on_is_waited_for(asked: Restic) -> None:
    asked.answers = [(11, "", "unable to create lock: repository is already locked by PID 7"), (0, "", "")]
    restic.run(REPOSITORY, "forget")
    assert len(asked.words) == 2
    asked.answers = [(11, "", "repository is already locked")]
    with pytest.raises(ResticError, match="already locked"):
        restic.run(dataclasses.replace(REPOSITORY, patience=0), "forget")


CANCELLED = '{"message_type":"exit_error","code":1,"message":"Fatal: unable to open config file: context canceled"}'


@real_root
def test_a_complaint_in_json_is_read(asked: Restic) -> None:
    asked.answers = [(10, "", CANCELLED)]
    with pytest.raises(ResticError, match=r"^Fatal: unable to open config file: context canceled$"):
        restic.run(REPOSITORY, "backup")
    gone = '{"message_type":"error","error":{"message":"lstat: no such file"},"during":"archival","item":"/srv/a/shared/x\u0085y"}'
    asked.answers = [(3, "", gone)]
    assert restic.run(REPOSITORY, "backup", good=(0, 3))[1] == "/srv/a/shared/x\\x85y: lstat: no such file"


@real_root
def test_a_repository_that_cannot_be_reached_is_not_asked_for_ever(asked: Restic, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor is one made in its place."""
    monkeypatch.setattr(restic, "WITHIN", {"cat": 0})
    asked.answers = [(143, "", "Head: retrying after 1 s: connection refused\n" + CANCELLED)]
    with pytest.raises(restic.SilentError, match=r"^no answer within 0 s: Head: retrying after 1 s: connection refused$"):
        restic.initialise(REPOSITORY)
    assert "--property=RuntimeMaxSec=0" in asked.words[0]
    asked.answers = [(0, "", "")]
    restic.run(REPOSITORY, "backup")
    assert f"--property=RuntimeMaxSec={restic.LONGEST}" in asked.words[-1]


@pytest.mark.parametrize("path", ["/back ups", "/a:b", "/100%", "/a\\b"])
def test_a_path_that_systemd_would_read_otherwise(path: str) -> None:
    with pytest.raises(ResticError, match="has a character that no path of a repository may have here"):
        restic.initialise(Repository(path, "swordfish", {}))


@real_root
def test_a_repository_is_made_where_there_is_none(asked: Restic, tmp_path: Path) -> None:
    repository = Repository(str(tmp_path / "new"), "swordfish", {})
    asked.answers = [(0, "", "")]
    assert not restic.initialise(repository)
    assert os.stat(tmp_path / "new").st_mode & 0o777 == 0o700
    asked.answers = [(1, "", "no config"), (0, "", "")]
    assert restic.initialise(repository)
    asked.answers = [(1, "", "Fatal: wrong password"), (1, "", "Fatal: config already exists")]
    with pytest.raises(ResticError, match="wrong password"):
        restic.initialise(repository)
    asked.answers = [(1, "", "no config"), (1, "", "no route to host")]
    with pytest.raises(ResticError, match="no route"):
        restic.initialise(repository)


@pytest.fixture
def left_out() -> list[list[str]]:
    """The lines of the list of what restic is not to save, of each of its runs."""
    return []


@pytest.fixture
def saved(app: LocalApp, left_out: list[list[str]], monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, ...]]:
    """What restic was asked, which has saved all."""
    asked: list[tuple[str, ...]] = []

    def run(_repository: Repository, *words: str, reads: dict[str, str] | None = None, **_options: Any) -> tuple[str, str]:
        asked.append(words)
        left_out.append([line for path, place in (reads or {}).items() if place == "/left-out" for line in Path(path).read_text().splitlines()])
        return (SUMMARY, "error: file vanished\n" * 9) if words[0] == "backup" else ("", "")

    monkeypatch.setattr(restic, "run", run)
    monkeypatch.setattr(backup, "App", lambda _name: app)
    monkeypatch.setattr(backup, "user_of", lambda _app: pwd.getpwuid(0))
    return asked


WHERE = {"repository": "/backups", "password": "x", "environment": {}}
SETTINGS: dict[str, Any] = {"host": "web1", "apps": ["hello"], **WHERE, "keep": {"daily": 7, "yearly": 2}, "hours": 26}


def test_what_is_saved_and_kept(app: LocalApp, saved: list[tuple[str, ...]], left_out: list[list[str]]) -> None:
    database(Path(app.shared, "d[1]", "a$.db")).close()
    done = backup.save_all(SETTINGS)
    assert done == {"hello": {"id": "01234567", "databases": 1, "unread": "\n".join(["error: file vanished"] * backup.SHOWN)}}
    [unlocked, words, forgotten] = saved
    assert unlocked == ("unlock",), "which removes what killed ones have left, and no other"
    assert "--exclude-file=/left-out" in words
    base = f"{app.shared}/d\\[1]/a$$.db"
    assert left_out == [[], [base, f"{base}-wal", f"{base}-shm", f"{base}-journal"], []]
    assert words[-2:] == (app.shared, f"{app.shared}.databases")
    assert {"--host=web1", "--tag=plainstack", "--tag=hello"} <= {*words}
    assert forgotten == ("forget", "--prune", "--host=web1", "--tag=plainstack", "--keep-daily=7", "--keep-yearly=2")


def test_nothing_is_forgotten_where_nothing_was_saved_or_all_is_kept(app: LocalApp, saved: list[tuple[str, ...]], monkeypatch: pytest.MonkeyPatch) -> None:
    backup.save_all({**SETTINGS, "keep": {}})
    monkeypatch.setattr(backup, "user_of", lambda _app: None)
    assert backup.save_all(SETTINGS)["hello"]["error"] == "it is not on this server yet: deploy it first"
    assert [words[0] for words in saved] == ["unlock", "backup", "unlock"]


def test_a_failure_is_kept_and_is_none_of_the_others(app: LocalApp, saved: list[tuple[str, ...]], monkeypatch: pytest.MonkeyPatch) -> None:
    def save(_repository: Repository, _host: str, name: str) -> dict[str, Any]:
        if name == "bad":
            raise backup.BackupError("the disk is full")
        return {"id": "01234567", "databases": 0, "unread": ""}

    monkeypatch.setattr(backup, "save", save)
    Path(backup.CONFIG).parent.mkdir()
    Path(backup.CONFIG).write_text(json.dumps({**SETTINGS, "apps": ["bad", "good"]}), encoding="utf-8")
    backup.note({"bad": {"id": "before", "databases": 0, "unread": ""}, "gone": {"id": "x", "databases": 0, "unread": ""}}, 1000.0)
    assert backup.main([]) == 1
    known = backup.state()
    assert known["bad"] == {"at": 1000.0, "snapshot": "before", "error": "the disk is full"}
    assert (known["good"]["snapshot"], known["good"]["error"]) == ("01234567", "")
    assert backup.overdue(known["good"]["at"] + 3600) == {"bad": "the backup failed: the disk is full"}
    assert backup.overdue(known["good"]["at"] + 40 * 3600)["good"] == "the last backup was made 40 hours ago"
    Path(backup.STATE).write_text("{", encoding="utf-8")
    set_up = os.stat(backup.CONFIG).st_mtime
    assert backup.overdue(set_up + 3600) == {}, "none is due yet"
    assert backup.overdue(set_up + 27 * 3600) == dict.fromkeys(("bad", "good"), "there is no backup yet")


def test_an_app_that_was_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The role was not run since: nothing is wrong with its backups, and the timer does not fail because of it."""
    monkeypatch.setattr(backup, "user_of", lambda app: None if app.name == "removed" else "its user")
    monkeypatch.setattr(backup, "CONFIG", str(tmp_path / "config.json"))
    monkeypatch.setattr(backup, "STATE", str(tmp_path / "state.json"))
    (tmp_path / "config.json").write_text(json.dumps({"apps": ["hello", "removed"], "hours": 26}))
    saved: list[list[str]] = []

    def save_all(settings: dict[str, Any], _patience: float) -> dict[str, Any]:
        saved.append(settings["apps"])
        return {name: {"id": "0123456789", "databases": 0, "unread": ""} for name in settings["apps"]}

    monkeypatch.setattr(backup, "save_all", save_all)
    assert (backup.main([]), saved) == (0, [["hello"]])
    assert [*backup.overdue(2**40)] == ["hello"]


# Restore


def test_a_snapshot_is_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    found = [{"id": "aa11", "time": "2026-01-01"}, {"id": "aa22", "time": "2026-01-02"}, {"id": "bb33", "time": "2026-01-03"}]
    monkeypatch.setattr(restic, "snapshots", lambda *_given: found)
    assert restore.choose(REPOSITORY, "web1", "hello", "")["id"] == "bb33"
    assert restore.choose(REPOSITORY, "web1", "hello", "aa1")["id"] == "aa11"
    with pytest.raises(restore.RestoreError, match=r"(?s)no snapshot cc of it from the server web1.*aa11  2026-01-01.*Nothing was touched"):
        restore.choose(REPOSITORY, "web1", "hello", "cc")


def test_no_link_leads_a_copy_elsewhere(tmp_path: Path) -> None:
    """The app may have put one there between the two looks at its data."""
    shared, copies, elsewhere = tmp_path / "shared", tmp_path / "copies", tmp_path / "elsewhere"
    for directory in (shared / "d", copies / "d", copies / "deep" / "er", elsewhere):
        directory.mkdir(parents=True)
    for name in ("d/a.db", "deep/er/b.db", "c.db"):
        (copies / name).write_text(name)
    (shared / "c.db").symlink_to(elsewhere / "stays")
    (shared / "d" / "a.db-wal").write_text("of another time")
    restore.merge(str(shared), str(copies))
    assert {str(path.relative_to(shared)): path.read_text() for path in shared.rglob("*.db*")} == {name: name for name in ("d/a.db", "deep/er/b.db", "c.db")}
    shutil.rmtree(shared / "d")
    (shared / "d").symlink_to(elsewhere)
    (copies / "d/a.db").write_text("again")
    with pytest.raises(OSError, match=r"Not a directory|Too many levels"):
        restore.merge(str(shared), str(copies))
    assert os.listdir(elsewhere) == []


@real_root
def test_owners_are_those_of_this_server(tmp_path: Path) -> None:
    top = tmp_path / "shared"
    (top / "d").mkdir(parents=True)
    (top / "d" / "own").touch()
    (top / "d" / "own").chmod(0o4750)
    (top / "d" / "of root").touch()
    (top / "link").symlink_to("/etc/passwd")
    for path in (top, top / "d", top / "d" / "own", top / "link"):
        os.chown(path, 999, 998, follow_symlinks=False)
    restore.give(str(top), os.lstat(top), pwd.getpwnam("nobody"))
    nobody = pwd.getpwnam("nobody")
    assert {os.lstat(path).st_uid for path in (top, top / "d", top / "d" / "own", top / "link")} == {nobody.pw_uid}
    assert {os.lstat(path).st_gid for path in (top, top / "d" / "own")} == {nobody.pw_gid}
    assert (os.stat(top / "d" / "of root").st_uid, os.stat("/etc/passwd").st_uid) == (0, 0)
    assert os.stat(top / "d" / "own").st_mode & 0o7777 == 0o750


@real_root
def test_what_is_fetched_is_the_users(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The copies of databases, too."""

    def run(_repository: Repository, *_words: str, writes: dict[str, str], **_options: Any) -> tuple[str, str]:
        [target] = writes
        assert _words[0] == "restore"
        for path in ("srv/a/shared/d/file", "srv/a/shared.databases/d/a.db"):
            Path(target, path).parent.mkdir(parents=True)
            Path(target, path).write_text(path)
        for path in ("srv/a/shared", "srv/a/shared/d", "srv/a/shared/d/file", "srv/a/shared.databases/d/a.db"):
            os.chown(f"{target}/{path}", 999, 998)
        return "", ""

    monkeypatch.setattr(restic, "run", run)
    monkeypatch.setattr(restic, "room", lambda *_given: 2**62)
    (tmp_path / "target").mkdir()
    snapshot = {"id": "0123", "short_id": "0123", "paths": ["/srv/a/shared.databases", "/srv/a/shared"]}
    with pytest.raises(restore.RestoreError, match="it needs 4398046511104 MiB beside the data that the app has"):
        restore.fetch(REPOSITORY, snapshot, str(tmp_path / "target"), pwd.getpwnam("nobody"))
    monkeypatch.setattr(restic, "room", lambda *_given: 0)
    found = restore.fetch(REPOSITORY, snapshot, str(tmp_path / "target"), nobody := pwd.getpwnam("nobody"))
    owners = {str(path.relative_to(found)): (path.stat().st_uid, path.stat().st_gid) for path in [Path(found), *Path(found).rglob("*")]}
    assert owners == dict.fromkeys((".", "d", "d/file", "d/a.db"), (nobody.pw_uid, nobody.pw_gid))


ORDER = {"name": "hello", "health_path": "/healthz", "host": "hello.test", "start_timeout": 3, "tls": True, "nginx": True, "keep": 3}


@pytest.fixture
def fetched(app: LocalApp, work: Work, monkeypatch: pytest.MonkeyPatch) -> LocalApp:
    """An app that runs with old data, and a snapshot with new data that can be fetched."""
    monkeypatch.setattr(steps, "work_of", lambda _order, _run, _warn: work)
    monkeypatch.setattr(restore, "user_of", lambda _app: pwd.getpwuid(0))
    monkeypatch.setattr(restore, "choose", lambda *_given: {"id": "0123456789", "short_id": "01234567", "time": "2026-01-01T00:00:00Z", "paths": [app.shared]})
    Path(app.shared, "data").write_text("old", encoding="utf-8")

    def run(_repository: Repository, *_words: str, writes: dict[str, str], **_options: Any) -> tuple[str, str]:
        [target] = writes
        os.makedirs(f"{target}{app.shared}")
        Path(f"{target}{app.shared}/data").write_text("new", encoding="utf-8")
        return "", ""

    monkeypatch.setattr(restic, "run", run)
    monkeypatch.setattr(restic, "room", lambda *_given: 0)

    def stop(app: LocalApp) -> list[str]:
        systemd_module.systemctl("stop", app.unit(OLD, "socket"), app.unit(OLD, "service"), check=False)
        return []

    monkeypatch.setattr(restore, "stop", stop)
    return app


def give_back(wanted: dict[str, str] | None = None, check: bool = False) -> dict[str, Any]:
    return restore.restore(REPOSITORY, ORDER, RUN, wanted or {"host": "web1", "snapshot": ""}, check, print)


def state_of(app: LocalApp) -> tuple[str, list[str]]:
    return Path(app.shared, "data").read_text(encoding="utf-8"), sorted(name for name in os.listdir(app.root) if name.startswith("shared"))


@pytest.fixture
def running(fetched: LocalApp, systemd: Systemd, own: Answers) -> LocalApp:
    """It is healthy."""
    release(fetched, OLD)
    make_live(fetched, systemd, OLD)
    return fetched


def test_the_data_is_exchanged_while_the_app_is_stopped(running: LocalApp, systemd: Systemd) -> None:
    systemd.calls.clear()
    done = give_back()
    [aside] = [name for name in state_of(running)[1] if name != "shared"]
    assert state_of(running)[0] == "new"
    assert Path(running.root, aside, "data").read_text(encoding="utf-8") == "old"
    assert (done["snapshot"], done["aside"], done["runs"]) == ("01234567", f"{running.root}/{aside}", True)
    stop, start = (systemd.calls.index(f"{verb} {running.unit(OLD, 'service')}") for verb in ("stop", "start"))
    assert stop < start
    assert systemd.states[running.unit(OLD, "service")] == "active"
    assert "halted" not in running.story(OLD)
    assert not os.path.exists(running.lock)


def test_with_check_nothing_is_done(running: LocalApp, systemd: Systemd) -> None:
    systemd.calls.clear()
    assert give_back(check=True)["snapshot"] == "01234567"
    assert (state_of(running), systemd.calls) == (("old", ["shared"]), [])


def test_what_was_stopped_stays_stopped(running: LocalApp, systemd: Systemd) -> None:
    running.note(OLD, halted={"time": "x"})
    systemd.calls.clear()
    assert give_back()["runs"] is False
    assert (state_of(running)[0], [call for call in systemd.calls if call.startswith("start")]) == ("new", [])


def test_data_that_the_app_cannot_use_is_taken_back(running: LocalApp, systemd: Systemd, monkeypatch: pytest.MonkeyPatch) -> None:
    switch = steps.switch

    def ill(order: Any, work: Work, check: bool) -> dict[str, Any]:
        if Path(running.shared, "data").read_text(encoding="utf-8") == "new":
            raise InstanceError("hello: did not become healthy")
        return switch(order, work, check)

    monkeypatch.setattr(steps, "switch", ill)
    with pytest.raises(restore.RestoreError, match=r"(?s)did not become healthy.*the app goes on with the data that it had"):
        give_back()
    assert state_of(running) == ("old", ["shared"])
    assert systemd.states[running.unit(OLD, "service")] == "active"


def test_a_snapshot_that_cannot_be_fetched_touches_nothing(running: LocalApp, systemd: Systemd, monkeypatch: pytest.MonkeyPatch) -> None:
    def run(*_words: Any, **_options: Any) -> tuple[str, str]:
        raise ResticError("no space left on device")

    monkeypatch.setattr(restic, "run", run)
    systemd.calls.clear()
    with pytest.raises(restore.RestoreError, match=r"(?s)cannot be fetched: no space left on device.*goes on with the data that it has"):
        give_back()
    assert (state_of(running), systemd.calls) == (("old", ["shared"]), [])


def test_another_run_is_not_disturbed(running: LocalApp, systemd: Systemd, monkeypatch: pytest.MonkeyPatch) -> None:
    acquire(running, Holder("other", "bob", "desk", "deploy", "now"), 0, lambda: False)
    monkeypatch.setattr(lock, "acquire", lambda *_given: None)  # it would wait; the step looks once more
    systemd.calls.clear()
    with pytest.raises(LockError, match="locked by deploy of bob"):
        give_back()
    assert (state_of(running), systemd.calls) == (("old", ["shared"]), [])


def test_whatever_goes_wrong_after_the_exchange_the_old_data_is_kept(running: LocalApp, systemd: Systemd, monkeypatch: pytest.MonkeyPatch) -> None:
    """The disk is full as the app is to start, and nothing can be exchanged back."""
    exchange, turns = restore.exchange, list[str]()

    def once(one: str, other: str) -> None:
        turns.append(one)
        if len(turns) > 1:
            raise OSError("broken")
        exchange(one, other)

    def full(*_given: Any, **_more: Any) -> dict[str, Any]:
        raise OSError("no space left")

    monkeypatch.setattr(restore, "exchange", once)
    monkeypatch.setattr(steps, "switch", full)
    with pytest.raises(OSError, match="broken"):
        give_back()
    [aside] = [name for name in state_of(running)[1] if name != "shared"]
    assert Path(running.root, aside, "data").read_text(encoding="utf-8") == "old"


def test_what_killed_runs_have_left_goes_and_nothing_else(tmp_path: Path) -> None:
    """Not what a run that goes on has, nor what any app had before."""
    shared = tmp_path / "shared"
    for name in ("shared", "shared.restore-killed", "shared.before-20260101T000000Z"):
        (tmp_path / name).mkdir()
    with restore.beside(str(shared)) as one, restore.beside(str(shared)) as other:
        assert one != other
        assert {path.name for path in tmp_path.iterdir()} == {"shared", "shared.before-20260101T000000Z", Path(one).name, Path(other).name}
    assert {path.name for path in tmp_path.iterdir()} == {"shared", "shared.before-20260101T000000Z"}


def test_a_disk_of_its_own_at_or_below_the_data(fetched: LocalApp, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = "36 35 98:0 / / rw - ext4 /dev/a rw\n37 36 98:0 / {} rw - ext4 /dev/b rw\n"
    for place, found in ((fetched.shared, True), (f"{fetched.shared}/me\\040dia", True), (f"{fetched.shared}-other", False), ("/", False)):
        monkeypatch.setattr(restore, "read", {"/proc/self/mountinfo": lines.format(place)}.get)
        assert restore.mounted(fetched.shared) == (place.replace("\\040", " ") if found else "")
    monkeypatch.setattr(restore, "mounted", lambda path: f"{path}/media")
    with pytest.raises(restore.RestoreError, match=r"a disk of its own is mounted at .*/shared/media"):
        give_back()


def test_an_app_that_is_not_there(fetched: LocalApp) -> None:
    shutil.rmtree(fetched.shared)
    with pytest.raises(restore.RestoreError, match="deploy it, then run the same command again"):
        give_back()


# The controller


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({}, "There is no place for backups"),
        ({"repository": "/backups"}, "There is no password"),
    ],
)
def test_what_is_missing_is_said(given: dict[str, Any], said: str) -> None:
    with pytest.raises(controller.BackupError, match=said):
        controller.repository(given, local=False)


def test_a_file_needs_no_repository() -> None:
    assert controller.repository({"password": "x", "environment": {"KEY": 1}}, local=True) == {"repository": "", "password": "x", "environment": {}}
    assert controller.repository({"repository": "r", "password": "x", "environment": {"KEY": 1}}, local=False)["environment"] == {"KEY": "1"}


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"host": "web9"}, "hello is on web1, web2"),
        ({"of": "web1; id"}, "that is no name of a server"),
        ({"snapshot": "--help"}, "it must be an id"),
        ({"of": "old"}, "Which server is to get the data"),
        ({"file": "x.tar"}, "Which server is to get the data"),
        ({"snapshot": "abcd"}, "Which server is to get the data"),
    ],
)
def test_what_is_not_clear_is_said(given: dict[str, Any], said: str) -> None:
    with pytest.raises(controller.BackupError, match=re.escape(said)):
        controller.chosen("hello", given, ["web1", "web2"])


def test_who_gets_the_data() -> None:
    assert controller.chosen("hello", {}, ["web1", "web2"]) == ["web1", "web2"]
    assert controller.chosen("hello", {"of": "web1", "host": "web2"}, ["web1", "web2"]) == ["web2"]
    assert controller.chosen("hello", {"file": "x.tar"}, ["web1"]) == ["web1"]


def test_what_is_said_of_a_backup() -> None:
    seen: dict[str, dict[str, Any]] = {
        "web1": {"apps": {"a": {"id": "01", "databases": 2, "unread": "x vanished"}, "b": {"error": "full"}}, "local": "/b/web1.tar"},
        "web2": {"error": "cannot be reached"},
    }
    said, failed = controller.saved(seen)
    assert said == "web1: a: snapshot 01, with 2 SQLite databases\nweb1: a: x vanished\nweb1: written to /b/web1.tar"
    assert failed == "web1: b: full\nweb2: cannot be reached\nNext: correct that, then run the same command again."
    assert controller.saved({}) == ("", "")


def test_what_is_said_of_a_restore() -> None:
    done = {"snapshot": "01", "time": "2026", "aside": "/srv/a/shared.before", "runs": False}
    said, failed = controller.restored("a", {"web1": done, "web2": {"error": "locked"}}, check=False)
    assert said.splitlines() == [
        "web1: a has the data of the snapshot 01 (2026 UTC)",
        "web1: what it had is in /srv/a/shared.before; when it is not needed any more: sudo rm -r /srv/a/shared.before",
        "web1: a was stopped before, and still is; to start it: ansible-playbook plainstack.web.start -e app=a",
    ]
    assert failed == "web2: locked"
    assert controller.restored("a", {"web1": done}, check=True)[0] == "web1: a would get the data of the snapshot 01 (2026 UTC)"


def test_the_program_runs_from_its_file(tmp_path: Path) -> None:
    """With nothing but the standard library."""
    from ansible_collections.plainstack.web.plugins.action import program

    (tmp_path / "backup.pyz").write_bytes(program.archive("backup"))
    done = subprocess.run([sys.executable, "-I", "-c", f"import sys; sys.path.insert(0, '{tmp_path}/backup.pyz'); {IMPORT}"], capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, b"")


IMPORT = 'import ansible_collections.plainstack.web.plugins.module_utils.host.backup as b; assert b.getsource(b.databases).startswith(\'"""Find SQLite\')'
