"""The module `step`, as Ansible runs it, on a host that only pretends."""

import json
import os
import pwd
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.testing import patch_module_args
from ansible_collections.plainstack.web.plugins.module_utils.environment import encode
from ansible_collections.plainstack.web.plugins.module_utils.host import hook, sandbox, steps
from ansible_collections.plainstack.web.plugins.module_utils.host import instance as instance_logic
from ansible_collections.plainstack.web.plugins.module_utils.host.build import BuildError, Plan
from ansible_collections.plainstack.web.plugins.module_utils.host.lock import Holder, acquire
from ansible_collections.plainstack.web.plugins.module_utils.host.systemd import InstanceError, running
from ansible_collections.plainstack.web.plugins.modules import step

from tests.unit.fakes import NEW, OLD, OLDER, Answers, Clock, LocalApp, Systemd, events, make_live, release

STEPS = ("start", "switch", "confirm", "retire", "undo")
Run = Callable[..., dict[str, Any]]
OTHER = Holder("4567ef00", "ann", "desk", "rollback.yml", "2026-01-01T00:00:05Z")
ORDER = {
    "name": "hello",
    "event": "deploy",
    "host": "hello.example.com",
    "tls": True,
    "nginx": True,
    "keep": 5,
    "health_path": "/up",
    "start_timeout": 7,
    "timeout": 30,
    "confirm_seconds": 0,
    "migrate": "",
    "after_live": "",
    "hook_timeout": 7,
    "reason": "the rollout failed on web2",
    "files": {},
    "fleet": False,
    "leads": True,
}
pytestmark = pytest.mark.usefixtures("nginx")


@pytest.fixture
def host(app: LocalApp, systemd: Systemd) -> Systemd:
    """NEW is live, OLD was before it and OLDER is bad."""
    release(app, OLDER, sequence=1, verdict="bad", reason="it leaks", went_live="20260101T000000Z")
    release(app, OLD, sequence=2, revision="0123456789abcdef", config={"health_path": "/up", "start_timeout": 7, "timeout": 9})
    release(app, NEW, sequence=3)
    make_live(app, systemd, NEW)
    return systemd


@pytest.fixture
def call(app: LocalApp, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run the module with orders; the whole of what it says."""
    for module in (step, steps):
        monkeypatch.setattr(module, "App", lambda _name: app)

    def run_module(name: str, *orders: dict[str, Any], check: bool = False, token: str = "", along: Sequence[str] = ()) -> dict[str, Any]:
        whole = {key: [{**ORDER, **order} for order in orders] for key in (name, *along)}
        arguments = {"step": name, "orders": encode(json.dumps(whole)), "run": token, "_ansible_check_mode": check, "_ansible_diff": True}
        with patch_module_args(arguments), pytest.raises(SystemExit):
            step.main()
        result: dict[str, Any] = json.loads(capsys.readouterr().out)
        return result

    return run_module


@pytest.fixture
def run(call: Run) -> Run:
    """Run the module for the app; what it says of it, and whether the module failed with which message."""

    def run_step(name: str, identifier: str, check: bool = False, token: str = "", **changes: Any) -> dict[str, Any]:
        result = call(name, {"id": identifier, **changes}, check=check, token=token)
        return {**result.get("apps", {}).get("hello", {}), "failed": result.get("failed", False), "msg": result.get("msg", "")}

    return run_step


def go_live(run: Run, identifier: str, **changes: Any) -> list[dict[str, Any]]:
    """What each step says."""
    return [run(name, identifier, **changes) for name in ("switch", "confirm", "retire")]


@pytest.mark.parametrize("name", [*STEPS, "migrate"])
def test_nothing_is_done_while_another_run_works_on_the_app(app: LocalApp, host: Systemd, run: Run, name: str) -> None:
    acquire(app, OTHER, 0)
    result = run(name, NEW, token="0123abcd")
    assert result["failed"]
    assert "locked by rollback.yml of ann on desk" in result["msg"]
    assert host.calls == []


def test_a_rollback_to_a_release_for_a_python_that_is_gone(app: LocalApp, host: Systemd, run: Run) -> None:
    """It says so before anything is started, instead of calling the app broken."""
    app.note(OLD, python="3.2.1")
    result = run("start", OLD, event="rollback")
    assert (
        f"{OLD} was built for Python 3.2, and this host has it no more, so it cannot start.\nNext: check out revision 0123456789ab and deploy" in result["msg"]
    )
    assert result["msg"].endswith("Nothing was touched.")
    assert running(app) == [NEW]


def test_what_does_not_start(app: LocalApp, host: Systemd, run: Run, own: Answers) -> None:
    own.wrong = ["answered 500"]
    result = run("start", OLD, event="rollback")
    assert result["failed"]
    assert f"{NEW} still serves." in result["msg"]
    assert running(app) == [NEW]
    [(_path, health, *_)] = own.asked[:1]
    assert (health.path, health.host, health.timeout) == ("/up", "hello.example.com", 7)


@pytest.mark.usefixtures("own", "host")
def test_what_was_done_before_a_step_failed_is_said(app: LocalApp, call: Run, own: Answers) -> None:
    """Of two apps; the second is not come to unless that is no harm."""
    own.wrong = ["", "answered 500"]
    result = call("start", {"id": OLD}, {"id": OLDER, "name": "other"}, {"id": NEW, "name": "third"})
    assert result["failed"]
    assert (result["apps"]["hello"]["id"], result["apps"]["hello"]["changed"]) == (OLD, True)
    assert "answered 500" in result["apps"]["other"]["failed"]
    assert "third" not in result["apps"]


@pytest.mark.parametrize("name", ["undo", "retire", "after_live"])
@pytest.mark.usefixtures("own", "host")
def test_what_fails_for_one_app_is_done_for_the_others(call: Run, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    asked: list[str] = []

    def do(order: dict[str, Any], _work: Any, _check: bool) -> dict[str, Any]:
        asked.append(order["name"])
        if order["name"] == "hello":
            raise InstanceError("hello: it cannot be")
        return {"changed": True}

    monkeypatch.setitem(steps.STEPS, name, do)
    result = call(name, {"id": NEW}, {"id": NEW, "name": "other"})
    assert (result["failed"], result["msg"], asked) == (True, "hello: it cannot be", ["hello", "other"])
    assert result["apps"]["other"] == {"id": NEW, "changed": True}


@pytest.mark.parametrize(("failing", "came_to"), [("", ["switch", "confirm", "retire"]), ("switch", ["switch"]), ("confirm", ["switch", "confirm"])])
def test_steps_that_are_done_along_with_one(call: Run, monkeypatch: pytest.MonkeyPatch, failing: str, came_to: list[str]) -> None:
    """Each for all apps before the next; one that fails ends it, and what was done until then is said."""

    def do(name: str) -> Any:
        def step_of(_order: dict[str, Any], _work: Any, _check: bool) -> dict[str, Any]:
            if name == failing:
                raise InstanceError(f"{name}: it cannot be")
            return {"changed": True}

        return step_of

    for name in ("switch", "confirm", "retire"):
        monkeypatch.setitem(steps.STEPS, name, do(name))
    result = call("switch", {"id": NEW}, {"id": NEW, "name": "other"}, along=["confirm", "retire"])
    assert ["switch", *result["along"]] == came_to
    assert result.get("failed", False) == bool(failing)
    both = {"hello", "other"}
    assert all({*apps} == both for apps in [result["apps"], *result["along"].values()][: len(came_to) - bool(failing)])


@pytest.mark.usefixtures("own")
def test_nothing_is_pending_once_a_release_is_live_and_the_others_have_stopped(app: LocalApp, host: Systemd, run: Run) -> None:
    switched, confirmed, retired = go_live(run, OLD, event="rollback")
    assert (switched["before"], app.live_id(), confirmed["changed"], retired["retired"]) == (NEW, OLD, True, [NEW])
    assert "pending" not in app.story(OLD)


@pytest.mark.parametrize(
    ("name", "identifier", "changed"),
    [(name, identifier, identifier == OLD and name != "undo") for name in STEPS for identifier in (NEW, OLD)],
)
def test_check_mode(app: LocalApp, host: Systemd, run: Run, name: str, identifier: str, changed: bool) -> None:
    """NEW is live; what would change is what a deploy of OLD changes."""
    assert run(name, identifier, check=True)["changed"] is changed
    assert host.calls == []
    assert not os.path.exists(f"{app.lock}.step")


@pytest.mark.usefixtures("own", "host")
def test_started(app: LocalApp, run: Run) -> None:
    assert run("start", OLD)["changed"] is True
    assert run("start", OLD)["changed"] is False
    assert (app.live_id(), running(app), "migrate" in app.story(OLD)) == (NEW, [OLD, NEW], False)


@pytest.mark.usefixtures("own", "host")
def test_that_another_server_has_migrated_is_noted(app: LocalApp, run: Run) -> None:
    """So that it is known although that server is lost later."""
    run("start", OLD, migrated=True)
    assert app.story(OLD)["migrate"] == 1
    assert run("migrate", OLD)["changed"] is False


@pytest.mark.usefixtures("own", "host")
def test_live(app: LocalApp, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(instance_logic, "drain", lambda path, seconds: 3)
    warnings: list[str] = []
    monkeypatch.setattr(AnsibleModule, "warn", lambda _module, message: warnings.append(message))
    _switched, _confirmed, first = go_live(run, OLD, event="rollback", keep=2)
    assert (first["changed"], first["retired"], first["cut"], first["pruned"]) == (True, [NEW], 3, [OLDER])
    assert warnings == ["hello: 3 requests took longer than 'timeout' and were cut off."]
    assert (app.live_id(), running(app)) == (OLD, [OLD])
    again = go_live(run, OLD, event="rollback", keep=2)
    assert [one["changed"] for one in again] == [False, False, False]
    assert (again[2]["retired"], again[2]["cut"], again[2]["pruned"]) == ([], 0, [])


@pytest.mark.usefixtures("own", "host")
def test_the_time_since_the_switch_is_off_the_time_to_drain(app: LocalApp, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where this run has switched; an earlier one's switch is long ago, or before a reboot."""
    drained: list[float] = []

    def drain(_path: str, seconds: float) -> int:
        drained.append(seconds)
        return 0

    monkeypatch.setattr(instance_logic, "drain", drain)
    clock = iter([100.0, 104.5, 200.0])
    monkeypatch.setattr(steps, "uptime", lambda: next(clock))
    run("switch", OLD)
    run("retire", OLD)
    run("switch", NEW)
    os.unlink(f"{app.lock}.run")
    run("retire", NEW)
    assert drained == [25.5, 9]


@pytest.mark.usefixtures("host")
def test_a_release_is_watched_where_nginx_does_not_have_it(app: LocalApp, run: Run, own: Answers, nginx: Answers, clock: Clock) -> None:
    """Over its own socket, and what is wrong there takes it back."""
    run("start", OLDER)
    own.asked.clear()
    run("switch", OLDER, nginx=False)
    own.wrong, asked = ["answered 500"], len(own.asked)
    failed = run("confirm", OLDER, nginx=False, confirm_seconds=2)
    assert "s after the switch: /up answered 500" in failed["msg"]
    assert {path for path, *_ in own.asked[asked:]} == {app.socket(OLDER)}
    assert (app.live_id(), nginx.asked) == (NEW, [])


@pytest.mark.usefixtures("own")
def test_what_is_undone_because_another_server_failed(app: LocalApp, host: Systemd, run: Run) -> None:
    """Before its switch, after it and after its confirmation; the release is bad then, and the one from before good."""
    run("start", OLD)
    undone = run("undo", OLD)
    assert (undone["changed"], undone["serving"], running(app)) == (True, f"{NEW} still serves.", [NEW])
    for names in (["switch"], ["switch", "confirm"]):
        for name in names:
            run(name, OLD, event="rollback")
        undone = run("undo", OLD, event="rollback")
        assert (undone["changed"], app.live_id(), running(app)) == (True, NEW, [NEW])
        assert (app.story(OLD)["reason"], app.story(NEW)["verdict"]) == ("the rollout failed on web2", "good")
        assert run("undo", OLD, event="rollback")["changed"] is False
    assert [event["event"] for event in events(app)] == ["back", "rollback", "back"]


@pytest.mark.usefixtures("own", "host")
def test_why_it_was_undone_is_logged_once(app: LocalApp, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the server that is to tell it; where a step has logged it already, and nobody else is to, not again. Also where undoing fails."""
    causes = {"cause": "web2: it is ill"}
    run("undo", NEW, **causes)
    run("undo", NEW, **causes)
    assert [(one["event"], one["reason"]) for one in events(app)] == [("failed", "web2: it is ill")]

    def fail(*_given: Any) -> bool:
        raise InstanceError("systemctl does not answer")

    monkeypatch.setattr(instance_logic, "undo", fail)
    assert run("undo", OLD, **causes)["msg"] == "systemctl does not answer"
    assert [(one["event"], one["release"]) for one in events(app)[1:]] == [("failed", OLD)]


@pytest.mark.usefixtures("own", "host")
def test_what_was_live_before_stays_so_whatever_happens_elsewhere(app: LocalApp, run: Run) -> None:
    for name in ("switch", "confirm", "undo"):
        assert run(name, NEW)["changed"] is False
    assert (app.live_id(), running(app), "verdict" in app.story(NEW)) == (NEW, [NEW], False)


@pytest.mark.usefixtures("own", "host")
def test_what_another_run_has_noted_does_not_count(app: LocalApp, run: Run) -> None:
    acquire(app, OTHER, 0)
    steps.remember(app, OTHER, OLD, before=OLDER, uptime=1.0)
    assert steps.recall(app, OTHER, OLD)["before"] == OLDER
    assert steps.recall(app, OTHER, NEW) == {}
    assert steps.recall(app, None, OLD) == {}


# stage


STAGE = {"digest": "x", "config": {}, "environment": "", "archive": "/none", "requirements": "requirements.txt", "python": "system", "shared": [], "static": {}}
BUILD = {**STAGE, "story": {}, "build": "source", "build_environment": {}, "server_build": "", "env": {}}


@pytest.fixture
def built(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The releases that were built."""
    ids: list[str] = []

    def build(plan: Plan, _archive: str, _uid: int, _gid: int) -> list[str]:
        ids.append(plan.identifier)
        return ["a\x1b[2Jwarning"]

    monkeypatch.setattr(sandbox, "stop", lambda _app: None)
    monkeypatch.setattr(steps, "build", build)
    monkeypatch.setattr(steps, "user_of", lambda _app: pwd.getpwuid(0))
    return ids


@pytest.mark.parametrize("identifier", ["../../etc", f"{NEW}/../x", f"{NEW}\n", "", "live"])
@pytest.mark.usefixtures("host")
def test_an_id_that_is_none(run: Run, built: list[str], identifier: str) -> None:
    """It may come from another server of the fleet, and becomes part of paths."""
    assert run("stage", identifier, **BUILD)["msg"] == f"hello: {identifier!r} is no id of a release."
    assert built == []


@pytest.mark.usefixtures("host")
def test_what_is_there_is_not_built(run: Run, built: list[str]) -> None:
    fresh = "20260109T000000Z-99999999"
    assert (run("stage", OLD, **BUILD)["changed"], built) == (False, [])
    assert (run("stage", fresh, check=True, **BUILD)["changed"], built) == (True, [])
    assert (run("stage", fresh, **BUILD)["built"], built) == (True, [fresh])


@pytest.mark.usefixtures("built")
def test_that_a_release_is_on_its_way_is_logged(app: LocalApp, host: Systemd, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """With what it is; and that it could not be built. What is there already is no news."""
    new, other = "20260401T000000Z-00000001", "20260401T000000Z-00000002"
    run("stage", NEW, **BUILD)
    run("start", NEW)
    assert events(app) == []
    run("stage", new, **BUILD)
    assert [(one["event"], one["release"], one["of"]) for one in events(app)] == [("begin", new, "deploy")]

    def fail(*_given: Any) -> list[str]:
        raise BuildError("No such package\nNext: correct it")

    monkeypatch.setattr(steps, "build", fail)
    run("stage", other, **BUILD)
    assert [(one["event"], one["release"], one.get("reason")) for one in events(app)[1:]] == [("begin", other, None), ("failed", other, "No such package")]
    run("start", OLD, event="rollback")
    assert [(one["release"], one["of"]) for one in events(app) if one["event"] == "begin"][2:] == [(OLD, "rollback")]


@pytest.mark.usefixtures("host")
def test_what_is_asked_for_is_found_without_a_run(app: LocalApp, run: Run, built: list[str]) -> None:
    """The live one before a newer one."""
    for identifier in (OLDER, OLD, NEW):
        app.note(identifier, digest="x", config={})
        Path(app.environment(identifier)).write_text("", encoding="utf-8")
    found = run("stage", "20260109T000000Z-99999999", find=True, **BUILD)
    assert (found["changed"], found["id"], built) == (False, NEW, [])


@pytest.mark.usefixtures("umask", "systemd")
def test_the_directories_of_an_app_show_others_nothing(app: LocalApp, run: Run, built: list[str]) -> None:
    """nginx may pass to the static files, and nobody but root and the app sees what is there."""
    for name in ("releases", "shared", ""):
        os.rmdir(f"{app.root}/{name}")
    assert run("stage", NEW, **BUILD)["built"] is True
    assert [oct(os.stat(path).st_mode & 0o7777) for path in (app.root, app.releases, app.shared)] == ["0o751", "0o751", "0o750"]


@pytest.mark.usefixtures("systemd")
@pytest.mark.parametrize("fails", [False, True])
def test_a_name_of_a_file_does_nothing_to_a_terminal(run: Run, built: list[str], monkeypatch: pytest.MonkeyPatch, fails: bool) -> None:
    """The app names what is in its `shared`, and a package what it leaves in a release."""

    def fail(*_arguments: object) -> list[str]:
        raise BuildError("name\x1b[2J\x9b31m")

    warned: list[str] = []
    monkeypatch.setattr(AnsibleModule, "warn", lambda _module, message: warned.append(message))
    if fails:
        monkeypatch.setattr(steps, "build", fail)
    said = run("stage", NEW, **BUILD)["msg"] + "".join(warned)
    assert ("name" in said or "warning" in said, "\x1b" in said or "\x9b" in said) == (True, False)


@pytest.mark.parametrize(("found", "uid"), [("", []), ("942", ["--uid", "942"])])
def test_the_user_of_an_app(app: LocalApp, monkeypatch: pytest.MonkeyPatch, found: str, uid: list[str]) -> None:
    """With a uid that is free of other apps' data."""
    ran: list[list[str]] = []

    def execute(command: list[str], **_named: Any) -> subprocess.CompletedProcess[str]:
        ran.append(command)
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(steps, "new_uid", lambda _apps, _own: int(found or 0))
    monkeypatch.setattr(subprocess, "run", execute)
    steps._make_user(app)
    [command] = ran
    assert command[0] == "useradd"
    assert {"--system", "--no-create-home"} <= {*command}
    assert command[-len(uid) - 1 :] == [*uid, "hello"]


# hooks


@pytest.fixture
def hooks(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    """What was run; a command `false` fails."""
    ran: list[tuple[Any, ...]] = []

    def run_hook(app: LocalApp, *arguments: Any) -> str:
        ran.append(arguments)
        if arguments[2] == "false":
            raise InstanceError("hello: the hook failed\nno such table")
        return "done"

    monkeypatch.setattr(hook, "run", run_hook)
    return ran


@pytest.mark.usefixtures("host")
def test_a_migration_is_run_once_for_a_release(app: LocalApp, run: Run, hooks: list[tuple[Any, ...]]) -> None:
    assert run("migrate", OLD, check=True, migrate="true")["changed"] is True
    assert hooks == []
    assert (run("migrate", OLD, migrate="true")["output"], run("migrate", OLD, migrate="true")["changed"]) == ("done", False)
    app.note(OLD, sequence=9)
    assert run("migrate", OLD, migrate="true")["changed"] is False
    assert run("migrate", NEW, migrate="true")["changed"] is True
    assert hooks == [(OLD, "migrate", "true", 7), (NEW, "migrate", "true", 7)]


@pytest.mark.usefixtures("host")
def test_after_live_is_run_each_time_a_release_goes_live(app: LocalApp, run: Run, hooks: list[tuple[Any, ...]]) -> None:
    assert [run("after_live", NEW, after_live="true")["changed"] for _ in range(2)] == [True, False]
    app.note(NEW, sequence=4)
    assert [run("after_live", NEW, after_live="true")["changed"] for _ in range(2)] == [True, False]
    assert len(hooks) == 2


@pytest.mark.parametrize(("name", "says"), [("migrate", f"{NEW} still serves."), ("after_live", f"{OLD} is live and stays so.")])
@pytest.mark.usefixtures("host", "hooks")
def test_a_hook_that_failed_is_run_again(app: LocalApp, run: Run, name: str, says: str) -> None:
    result = run(name, OLD, **{name: "false"})
    assert result["failed"]
    assert says in result["msg"]
    assert f"Where it is set: '{name}' of the app in the inventory." in result["msg"]
    assert [(event["event"], event["reason"]) for event in events(app)] == [("failed", "hello: the hook failed")]
    assert run(name, OLD, **{name: "true"})["changed"] is True


# Stop


@pytest.mark.usefixtures("own")
def test_stopped_until_it_is_started(app: LocalApp, host: Systemd, run: Run) -> None:
    """Also after a reboot; it stays what is live."""
    assert run("stop", NEW, process="", check=True)["changed"] is True
    assert running(app) == [NEW]
    found = run("stop", NEW, process="")
    assert (found["changed"], found["result"]) == (True, "stopped")
    assert (running(app), host.enabled(), app.live_id()) == ([], [], NEW)
    assert app.story(NEW)["halted"]["time"]
    assert [event["event"] for event in events(app)] == ["stop"]
    assert run("stop", NEW, process="")["changed"] is False
    assert run("start", NEW)["changed"] is True
    assert run("switch", NEW)["changed"] is True
    assert app.unit(NEW, "service") in host.enabled()
    assert "halted" not in app.story(NEW)
    assert [event["event"] for event in events(app)] == ["stop", "start"]


@pytest.mark.usefixtures("own")
def test_after_a_restart_no_hook_is_left_to_run(app: LocalApp, host: Systemd, run: Run) -> None:
    again = "20260104T000000Z-cccccccc"
    release(app, again)
    for name in ("start", "switch", "confirm"):
        assert not run(name, again, event="restart")["failed"]
    story = app.story(again)
    assert (story["event"], story["after_live"] == story["sequence"] > 0) == ("restart", True)


def test_stopped_with_what_a_killed_run_has_left(app: LocalApp, host: Systemd, run: Run) -> None:
    host.run(app, OLD)
    run("stop", NEW, process="")
    assert running(app) == []


@pytest.mark.usefixtures("own")
def test_a_rollback_marks_all_that_has_the_same_content(app: LocalApp, host: Systemd, run: Run) -> None:
    """The release that was restarted may still be there, with a job that goes on."""
    again = "20260104T000000Z-cccccccc"
    release(app, again, sequence=4, restarts=NEW, verdict="good")
    make_live(app, host, again)
    for name in ("start", "switch", "confirm", "retire"):
        run(name, OLD, event="rollback")
    assert [app.story(one).get("verdict") for one in (again, NEW)] == ["bad", "bad"]
