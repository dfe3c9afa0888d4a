"""A release is immutable, complete, described, and the same for the same input."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from testinfra.host import Host

INVENTORY = Path(__file__).parents[2] / "inventory"
APPS = ("app-hashed", "app-uvlock", "app-pylock", "app-loose")
EVERY = (*APPS, "app-hostile")


def release(host: Host, app: str) -> str:
    found = host.check_output("ls -d /srv/%s/releases/*", app).split()
    assert len(found) == 1, "a second run with the same input made another release"
    return str(found[0])


def story(host: Host, app: str) -> dict[str, Any]:
    told: dict[str, Any] = json.loads(host.file(f"{release(host, app)}/release.json").content_string)
    return told


@pytest.mark.parametrize("app", APPS)
def test_environment_works_at_its_place(host: Host, app: str) -> None:
    path = release(host, app)
    assert host.check_output("head -1 %s/.venv/bin/gunicorn", path) == f"#!{path}/.venv/bin/python"
    assert "gunicorn" in host.check_output("runuser -u %s -- %s/.venv/bin/gunicorn --version", app, path)


@pytest.mark.parametrize("app", APPS)
def test_story_tells_what_was_installed(host: Host, app: str) -> None:
    told = story(host, app)
    assert told["packages"]["gunicorn"]
    assert told["reproducible"] is (app != "app-loose")
    assert told["python"] == host.check_output("/usr/bin/python3 -c 'import platform; print(platform.python_version())'")
    assert told["id"] == release(host, app).rsplit("/", 1)[1]


@pytest.mark.parametrize("app", EVERY)
def test_root_and_the_app_can_read_and_only_root_can_write(host: Host, app: str) -> None:
    path = release(host, app)
    assert host.check_output("find %s ! -user root -o -perm /6022 ! -type l", path) == ""
    assert host.check_output("find %s -mindepth 1 -perm /007 ! -type l ! -path '*/uploads'", path) == ""
    assert host.check_output("find %s -mindepth 1 ! -type l ! -group %s ! -path '*/uploads' ! -name .archive.tar.gz", path, app) == ""
    assert host.run("runuser -u %s -- cat %s/requirements.txt %s/release.json %s/pyproject.toml", app, path, path, path).stdout
    assert host.run("runuser -u %s -- touch %s/written", app, path).rc != 0
    for name in ("requirements.txt", "release.json", ".archive.tar.gz", ".venv/pyvenv.cfg"):
        assert host.run("runuser -u www-data -- cat %s/%s", path, name).rc != 0
    assert host.run("runuser -u www-data -- ls %s /srv/%s /etc/plainstack/%s", path, app, app).stdout == ""


def test_nothing_of_a_package_runs_as_root_or_reaches_what_is_not_its_own(host: Host) -> None:
    """A build backend and a .pth file that try everything; see hostile/evil.py."""
    path = release(host, "app-hostile")
    found = host.check_output("cat %s/attack-*.json", path).replace("}{", "}\n{").splitlines()
    assert found, "the hostile build backend was not run"
    builder = int(host.check_output("id -u plainstack-build"))
    for attack in map(json.loads, found):
        status = attack.pop("status")
        assert {name: value for name, value in status.items() if name.startswith("Cap") and int(value, 16)} == {}
        assert status["NoNewPrivs"] == "1"
        assert attack == {
            "uid": builder,
            "written": [],
            "listed": [],
            "linked": [],
            "unix socket": False,
            "set-uid": False,
            "secret": True,
            "processes": [],
        }


def test_nothing_of_a_build_is_left(host: Host) -> None:
    """No process, no file with the credentials of the index, and no link of the package's that root followed."""
    assert host.run("pgrep -u plainstack-build").rc != 0
    assert host.run("pgrep -f 'sleep 753[1]'").rc != 0
    assert host.check_output("ls /run | grep plainstack-build || :") == ""
    assert host.run("grep -r swordfis[h] /srv /etc/plainstack /var/log/plainstack /run/plainstack /etc/systemd").stdout == ""
    assert host.run("journalctl --no-pager | grep -q swordfis[h]").rc != 0
    shadow = host.file("/etc/shadow")
    assert (shadow.user, shadow.group, shadow.mode) == ("root", "shadow", 0o640)
    own = "-path /var/cache/plainstack/build/app-hostile -o -path /srv/app-hostile/releases"
    assert host.check_output(f"find / -xdev '(' {own} ')' -prune -o -name evil -newer /opt/plainstack/uv.txt -print") == ""


def test_each_app_has_its_own_cache(host: Host) -> None:
    assert host.check_output("stat -c '%U %a' /var/cache/plainstack/build/*").splitlines() == ["plainstack-build 700"] * len(EVERY)


@pytest.mark.parametrize("app", APPS)
def test_everything_is_compiled(host: Host, app: str) -> None:
    """The app cannot write its bytecode: what is not compiled here is compiled at each start."""
    assert host.run("test -e %s/__pycache__/wsgi.*.pyc", release(host, app)).rc == 0
    assert int(host.check_output("find %s/.venv -name 'app.*.pyc' | wc -l", release(host, app))) > 0


@pytest.mark.parametrize("app", APPS)
def test_environment_file_is_for_root_only(host: Host, app: str) -> None:
    environment = host.file(f"/etc/plainstack/{app}/{story(host, app)['id']}/environment")
    assert (environment.user, environment.mode, environment.content_string) == ("root", 0o600, 'GREETING="hello"\n')


@pytest.mark.parametrize("app", APPS)
def test_shared_directory_is_outside_of_the_release(host: Host, app: str) -> None:
    assert host.file(f"{release(host, app)}/uploads/images").linked_to == f"/srv/{app}/shared/uploads/images"
    assert host.run("runuser -u %s -- touch %s/uploads/images/kept", app, release(host, app)).rc == 0


def test_another_user_cannot_read_what_is_shared(host: Host) -> None:
    assert host.run("runuser -u app-hashed -- ls /srv/app-uvlock/shared").rc != 0


def test_all_hosts_have_the_same_id(host: Host) -> None:
    """One id from the controller; the scenario's hosts were deployed in one run."""
    names = ["ansible://debian12", "ansible://debian13"]
    ids = {story(host.get_host(f"{name}?ansible_inventory={INVENTORY}&sudo=True"), "app-hashed")["id"] for name in names}
    assert len(ids) == 1
