"""Data is saved while it changes, lost, and comes back; it moves to another server. The tests run in this order."""

from __future__ import annotations

import json
import re
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from support import ROOT, Connection, Run, Site, ask, check_message, unchecked
from vm import Vm, of_inventory

SCENARIO = Path(__file__).parents[1]
HOSTS: dict[str, Any] = yaml.safe_load((SCENARIO / "inventory" / "hosts.yml").read_text(encoding="utf-8"))
NAMES = list(HOSTS["app_servers"]["hosts"])
SHARED = "/srv/book/shared"
PASSWORD = "RESTIC_PASSWORD='swordfish in a snapshot' restic --no-cache --repo rest:http://10.213.1.78:8000/"
FIRST, SECOND = (of_inventory(HOSTS, name) for name in NAMES)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """What was deployed."""
    directory = tmp_path_factory.mktemp("backup")
    shutil.copytree(SCENARIO / "app", directory / "source")
    (directory / "inventory" / "group_vars").mkdir(parents=True)
    (directory / "inventory" / "group_vars" / "lab.yml").symlink_to(ROOT / "lab" / "vars.yml")
    given = yaml.safe_load((SCENARIO / "inventory" / "group_vars" / "all.yml").read_text(encoding="utf-8"))
    apps = [{**app, "source": str(directory / "source")} for app in given.pop("apps")]
    site = Site(directory / "inventory", apps, HOSTS, variables=given)
    yield site
    site.end()


def play(site: Site, command: str, *arguments: str) -> Run:
    """Run one of the commands, and see that nobody has printed the password."""
    done = site.start(f"plainstack.web.{command}", *arguments).wait()
    assert "swordfish" not in done.output
    return done


def guests(server: Vm, path: str = "/", method: str = "GET") -> int:
    """How many have signed the book of a server."""
    answer = ask(Connection("book.test", server.https_port, unchecked()), "book.test", path, method, None, None, dict)
    assert answer.status == 200
    return int(answer.body)


def id_of(run: Run, server: Vm) -> str:
    """The snapshot that a backup has made of a server."""
    [found] = re.findall(rf"(?m)^{server.name}: book: snapshot ([0-9a-f]{{8}}), with 1 SQLite database$", run.output)
    return str(found)


def test_what_was_set_up_stays(site: Site) -> None:
    """A second run makes a snapshot of each server, and changes nothing else; with --check not even that."""
    for server in (FIRST, SECOND):
        guests(server, "/ada", "POST")
    assert play(site, "backup", "-v").code == 0
    done = play(site, "backup", "-v")
    assert (done.code, done.changed) == (0, len(NAMES)), done.output
    assert play(site, "backup", "--check", "-v").changed == 0
    assert {server.do("systemctl is-active plainstack-backup.timer") for server in (FIRST, SECOND)} == {"active"}


def test_saved_while_it_changes_and_lost(site: Site) -> None:
    """What was in the book when it was saved comes back, with all that is beside it; what the app had meanwhile is kept."""
    app = "runuser -u book -- bash -c"
    SECOND.do(
        f"""{app} 'cd {SHARED} && mkdir -p "up loads/[a]" && echo one > "up loads/[a]/*.txt" && ln -sfn /etc/passwd link && chmod 640 "up loads/[a]/*.txt"'"""
    )
    counts, over = list[int](), threading.Event()

    def sign() -> None:
        while not over.wait(0.01):
            counts.append(guests(SECOND, "/guest", "POST"))

    thread = threading.Thread(target=sign)
    thread.start()
    try:
        begun = guests(SECOND)
        done = play(site, "backup", "-e", "app=book")
        ended = guests(SECOND)
    finally:
        over.set()
        thread.join()
    assert done.code == 0, done.output
    assert ended > begun + 10
    for _time in range(5):
        guests(SECOND, "/late", "POST")
    SECOND.do(f"rm -r '{SHARED}/up loads' {SHARED}/link; {app} 'echo new > {SHARED}/new'")
    identifier, inside = id_of(done, SECOND), guests(SECOND)
    done = play(site, "restore", "-e", f"on={SECOND.name}")
    assert done.code == 0, done.output
    assert f"{SECOND.name}: book has the data of the snapshot {identifier} (" in done.output
    assert begun <= guests(SECOND) <= ended < inside
    assert SECOND.do(f"cat '{SHARED}/up loads/[a]/*.txt'; stat --format='%U %a' '{SHARED}/up loads/[a]/*.txt' {SHARED}; readlink {SHARED}/link") == (
        "one\nbook 640\nbook 750\n/etc/passwd"
    )
    assert SECOND.do(f"sqlite3 {SHARED}/data/guests.db 'PRAGMA integrity_check'" if SECOND.run("command -v sqlite3").returncode == 0 else "echo ok") == "ok"
    assert SECOND.run(f"test -e {SHARED}/new").returncode == 1
    [aside] = SECOND.do(f"ls -d {SHARED}.*").splitlines()
    assert f"sudo rm -r {aside}" in done.output
    assert SECOND.do(f"cat {aside}/new; ls /var/lib/plainstack-backup/databases; find {SHARED} ! -user book") == "new"
    SECOND.do(f"rm -r {aside}")
    assert SECOND.look("book").untidy() == {}
    assert guests(SECOND, "/after", "POST") == guests(SECOND)


def test_data_that_the_app_cannot_use(site: Site) -> None:
    """It goes on with what it had."""
    before, live = guests(FIRST), FIRST.look("book").live
    FIRST.do(f"cp -a {SHARED} /srv/kept")
    plague = f"import sqlite3; c = sqlite3.connect('{SHARED}/data/guests.db'); c.execute('INSERT INTO guests VALUES (?)', ('plague',)); c.commit()"
    FIRST.do(f'runuser -u book -- python3 -c "{plague}"')
    identifier = id_of(play(site, "backup"), FIRST)
    FIRST.do(f"systemctl stop 'book@*.socket' 'book@*.service'; rm -r {SHARED}; mv /srv/kept {SHARED}; systemctl start book@{live}.socket book@{live}.service")
    assert guests(FIRST) == before
    done = play(site, "restore", "-e", f"on={FIRST.name}", "-e", f"snapshot={identifier}")
    check_message(done, "did not become healthy", "That was with the data of the snapshot; the app goes on with the data that it had.")
    assert guests(FIRST) == before
    assert FIRST.do("ls /srv/book | grep shared") == "shared"
    assert FIRST.look("book").untidy() == {}


def test_the_timer(site: Site) -> None:
    """What it starts does the same, over a restart of the server, too."""
    assert FIRST.podman("stop", "--time=10", "{}").returncode == 0
    assert FIRST.podman("start", "{}").returncode == 0
    FIRST.until("it is back", "systemctl is-active repository plainstack-backup.timer", 60)
    FIRST.do("systemctl start plainstack-backup.service")
    state = json.loads(FIRST.do("cat /var/lib/plainstack-backup/state.json"))["book"]
    assert (state["error"], len(state["snapshot"])) == ("", 8)
    assert f"book: snapshot {state['snapshot']}, with 1 databases" in FIRST.do("journalctl --unit=plainstack-backup --output=cat --quiet")
    listed = [one["hostname"] for one in json.loads(SECOND.do(f"{PASSWORD} snapshots --json"))]
    assert listed.count(FIRST.name) == 1, "of a day one is kept"
    assert listed.count(SECOND.name) > 1, "of each server by its own timer"


def test_data_of_another_server(site: Site) -> None:
    """It belongs to the app's user there, which has another number."""
    numbers = [server.do("id -u book") for server in (FIRST, SECOND)]
    assert numbers[0] != numbers[1]
    check_message(play(site, "restore", "-e", f"of={FIRST.name}"), "Which server is to get the data? book is on")
    before = guests(FIRST)
    assert guests(SECOND) != before
    done = play(site, "restore", "-e", f"of={FIRST.name}", "-e", f"on={SECOND.name}", "--check")
    assert (done.code, "would get the data" in done.output, guests(SECOND) != before) == (0, True, True)
    assert play(site, "restore", "-e", f"of={FIRST.name}", "-e", f"on={SECOND.name}").code == 0
    assert guests(SECOND) == before
    assert SECOND.do(f"find {SHARED} ! -user book; stat --format=%u {SHARED}/data/guests.db") == numbers[1]


def test_a_file_of_this_machine(site: Site, tmp_path: Path) -> None:
    """Encrypted, and enough to go on with on another server."""
    done = play(site, "backup", "-e", f"to={tmp_path}")
    assert done.code == 0, done.output
    [file] = tmp_path.glob(f"{SECOND.name}-*.tar")
    assert f"{SECOND.name}: written to {file}" in done.output
    assert b"guests" not in file.read_bytes()
    assert {server.do("ls /var/tmp | grep plainstack || :") for server in (FIRST, SECOND)} == {""}
    saved = guests(SECOND)
    for _time in range(3):
        guests(FIRST, "/more", "POST")
    assert guests(FIRST) != saved
    done = play(site, "restore", "-e", f"file={file}", "-e", f"on={FIRST.name}")
    assert done.code == 0, done.output
    assert guests(FIRST) == saved
    assert FIRST.do("ls /var/tmp | grep plainstack || :") == ""
    check_message(play(site, "restore", "-e", "file=/none.tar", "-e", f"on={FIRST.name}"), "/none.tar cannot be read: there is no such file")


def test_what_restic_sees(site: Site) -> None:
    """An app may have it follow a link: no secret is where that could lead."""
    program = "import sys; sys.path.insert(0, '/usr/local/lib/plainstack/backup.pyz'); "
    program += "from ansible_collections.plainstack.web.plugins.module_utils.host import backup, restic; c = backup.config(); "
    program += "r = restic.Repository(c['repository'], c['password'], dict()); restic.run(r, 'backup', '--dry-run', *sys.argv[1:])"
    for path in ("/etc/shadow", "/etc/plainstack-backup/config.json", "/proc/self/environ", "/srv/book/releases", "/root"):
        done = FIRST.run(f'test -e {path} && python3 -I -c "{program}" {path}')
        assert "directories/files do not exist" in done.stderr, (path, done.stderr)


def test_what_cannot_be_done(site: Site) -> None:
    """Nothing was touched, and it says why; the timer's failure is kept."""
    check_message(play(site, "restore", "-e", "snapshot=beef", "-e", f"on={FIRST.name}"), "there is no snapshot beef of it from the server backup12.")
    right = site.variables["backup_password"]
    site.variables["backup_password"] = ""
    check_message(play(site, "backup"), "There is no password to encrypt the backups with.")
    site.variables["backup_password"] = "a wrong one"
    check_message(play(site, "backup"), "wrong password or no key found")
    site.variables["backup_password"] = right
    assert play(site, "backup").code == 0
    SECOND.do("sed -i 's/swordfish in a/another/' /etc/plainstack-backup/config.json")
    assert SECOND.run("systemctl start plainstack-backup.service").returncode != 0
    state = json.loads(SECOND.do("cat /var/lib/plainstack-backup/state.json"))["book"]
    assert "wrong password or no key found" in state["error"]
    assert state["at"] > 0
    FIRST.do("systemctl stop repository")
    check_message(play(site, "restore", "-e", f"on={SECOND.name}"), "the snapshots cannot be read: no answer within 60 s", "Nothing was touched.")
    FIRST.do("systemctl start repository")


def test_removed(site: Site) -> None:
    """The snapshots stay."""
    site.variables["backup_repository"] = ""
    done = play(site, "backup", "-v")
    assert (done.code, done.changed > 0) == (0, True), done.output
    for server in (FIRST, SECOND):
        left = "/etc/plainstack-backup /var/lib/plainstack-backup /var/cache/plainstack-backup /etc/systemd/system/plainstack-backup.*"
        assert server.do(f"ls -d {left} 2>/dev/null || :") == ""
    assert play(site, "backup", "-v").changed == 0
    assert len(json.loads(SECOND.do(f"{PASSWORD} snapshots --json"))) >= len(NAMES)
