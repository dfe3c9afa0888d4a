"""What is looked at of an app before anything is touched: whose directory, user and data it finds, and how its live release is."""

import os
import pwd
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.plainstack.web.plugins.module_utils.host import inspect as logic
from ansible_collections.plainstack.web.plugins.module_utils.host.inspect import going_back, inspect, obstacles
from ansible_collections.plainstack.web.plugins.module_utils.host.shared import new_uid

from tests.unit.fakes import NEW, OLD, OLDER, Answers, LocalApp, Systemd, make_live, real_root, release

NOBODY = 942


@pytest.mark.parametrize("found", [[], ["releases", "live"], ["shared"]])
def test_a_directory_of_an_app(app: LocalApp, found: list[str]) -> None:
    for name in ("releases", "shared"):
        os.rmdir(f"{app.root}/{name}")
    for name in found:
        os.mkdir(f"{app.root}/{name}")
    assert obstacles(app) == ([], [])


def test_a_directory_of_something_else(app: LocalApp) -> None:
    """Such as /srv/git, where no user is named so."""
    for name in ("releases", "shared"):
        os.rmdir(f"{app.root}/{name}")
    os.mkdir(f"{app.root}/project.git")
    assert "give the app another 'name'" in obstacles(app)[0][0]


@real_root
def test_a_directory_that_is_not_of_root(app: LocalApp) -> None:
    os.chown(app.root, NOBODY, NOBODY)
    assert f"'chown root:root {app.root}'" in obstacles(app)[0][0]


@real_root
@pytest.mark.parametrize(("where", "again"), [("srv/shared", True), ("removed/shared", False)])
def test_the_uid_of_a_new_user(app: LocalApp, where: str, again: bool) -> None:
    """Its own data's; never that of another app's data, whose user is gone."""
    assert new_uid(app.base, app.shared) == 0
    data = Path(app.base, where)
    data.mkdir(parents=True, exist_ok=True)
    os.chown(data, NOBODY, NOBODY)
    assert (new_uid(app.base, app.shared) == NOBODY) is again
    assert new_uid(app.base, app.shared) != 0
    assert new_uid(app.base) not in (0, NOBODY), "for the user that builds"


@real_root
def test_the_group_of_a_removed_apps_code_is_not_used_again(app: LocalApp) -> None:
    code = Path(app.base, "removed/releases/1")
    code.mkdir(parents=True)
    os.chown(code, 0, NOBODY)
    assert new_uid(app.base, app.shared) not in (0, NOBODY)


@real_root
@pytest.mark.parametrize("state", ["active", "failed"])
def test_data_that_is_nobodys(app: LocalApp, systemd: Systemd, monkeypatch: pytest.MonkeyPatch, state: str) -> None:
    """Refused before anything else, with what is so of the live release."""
    os.chown(app.shared, NOBODY, NOBODY)
    Path(app.shared, "notes.db").touch()
    make_live(app, systemd, OLD)
    systemd.states[app.unit(OLD, "service")] = state
    user = pwd.struct_passwd(("hello", "x", 1234, 1234, "", app.root, "/bin/false"))
    monkeypatch.setattr(logic, "user_of", lambda _app: user)
    [problem], _warnings = obstacles(app)
    assert f"{app.shared} belongs to uid {NOBODY} (no user of this system)" in problem
    assert f"chown -hR hello:hello {app.shared}" in problem
    assert (f"{OLD} still serves." in problem, f"{OLD} is live, but does not run: its unit is failed." in problem) == (state == "active", state == "failed")


def test_the_name_of_another_user(app: LocalApp, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logic, "user_of", lambda _app: pwd.struct_passwd(("hello", "x", 7, 7, "", "/home/hello", "/bin/sh")))
    assert obstacles(app)[0] == ["The user hello belongs to something else (its home is /home/hello); give the app another 'name'."]


@pytest.fixture
def answers(monkeypatch: pytest.MonkeyPatch) -> Answers:
    """What comes of the live release's own socket and of nginx."""
    found = Answers()
    monkeypatch.setattr(logic, "ask_instance", found)
    monkeypatch.setattr(logic, "ask_nginx", lambda health, timeout: found("nginx", health, timeout))
    return found


def look(app: LocalApp, nginx: bool = True, **wanted: Any) -> dict[str, Any]:
    return inspect(app, wanted, "hello.example.com", tls=True, nginx=nginx)


def test_a_host_without_the_app(app: LocalApp, systemd: Systemd, answers: Answers) -> None:
    assert look(app, digest="x", config={}, environment="") == {
        "live": "",
        "running": [],
        "releases": [],
        "matches": [],
        "archive": False,
        "linked": True,
        "enabled": True,
        "unhealthy": "",
    }
    assert answers.asked == []


def test_what_there_is(app: LocalApp, systemd: Systemd, answers: Answers) -> None:
    """Which releases are what is wanted, and which was migrated for; the live one is probed as it was deployed."""
    release(app, OLDER, sequence=1, verdict="bad", reason="it leaks", digest="x", config={"module": "a"})
    release(app, OLD, sequence=2, digest="x", config={"module": "a"}, migrate=1)
    release(app, NEW, sequence=3, digest="x", config={"module": "b", "health_path": "/up"}, event="deploy", verdict="good")
    make_live(app, systemd, NEW)
    for identifier in (OLDER, OLD, NEW):
        Path(app.environment(identifier)).write_text("", encoding="utf-8")
    found = look(app, digest="x", config={"module": "a"}, environment="")
    assert (found["live"], found["running"], found["matches"], found["unhealthy"]) == (NEW, [NEW], [OLDER, OLD], "")
    assert [(one["id"], one["sequence"], one["bad"], one["migrated"]) for one in found["releases"]] == [
        (OLDER, 1, "it leaks", False),
        (OLD, 2, "", True),
        (NEW, 3, "", False),
    ]
    assert [(path, health.path, health.host) for path, health, _timeout in answers.asked] == [
        (app.socket(NEW), "/up", "hello.example.com"),
        ("nginx", "/up", "hello.example.com"),
    ]


@pytest.mark.parametrize(("wrong", "says"), [(["answered 500"], "answered 500"), (["", "answered 502"], "answered 502")])
def test_a_live_release_that_is_ill(app: LocalApp, systemd: Systemd, answers: Answers, wrong: list[str], says: str) -> None:
    release(app, NEW, sequence=1)
    make_live(app, systemd, NEW)
    answers.wrong = wrong
    assert look(app)["unhealthy"] == says


def test_a_server_whose_nginx_does_not_have_the_app(app: LocalApp, systemd: Systemd, answers: Answers) -> None:
    release(app, NEW, sequence=1)
    make_live(app, systemd, NEW)
    assert look(app, nginx=False)["unhealthy"] == ""
    assert [path for path, *_ in answers.asked] == [app.socket(NEW)]


def test_a_live_release_that_does_not_run(app: LocalApp, systemd: Systemd, answers: Answers) -> None:
    release(app, NEW, sequence=1)
    make_live(app, systemd, NEW)
    systemd.states.clear()
    assert (look(app)["unhealthy"], answers.asked) == ("does not run", [])


@pytest.mark.parametrize(("pending", "back"), [(None, ""), ({"event": "deploy"}, ""), ({"event": "rollback", "confirmed": True}, NEW)])
def test_a_rollback_that_is_going_on(app: LocalApp, systemd: Systemd, pending: dict[str, Any] | None, back: str) -> None:
    release(app, NEW, sequence=1, pending=pending)
    make_live(app, systemd, NEW)
    assert going_back(app) == back
