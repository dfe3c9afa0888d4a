"""The modules `instance`, `rollback` and `hook`, as Ansible runs them, on a host that only pretends."""

import contextlib
import json
import os
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.testing import patch_module_args
from ansible_collections.plainstack.web.plugins.module_utils import instance as instance_logic
from ansible_collections.plainstack.web.plugins.module_utils.environment import encode
from ansible_collections.plainstack.web.plugins.module_utils.lock import Holder, acquire
from ansible_collections.plainstack.web.plugins.module_utils.systemd import InstanceError, running
from ansible_collections.plainstack.web.plugins.modules import hook, instance, rollback

from tests.unit.fakes import NEW, OLD, OLDER, Answers, LocalApp, Systemd, events, make_live, release

STATES = ("started", "switched", "confirmed", "retired", "undone")
Run = Callable[..., dict[str, Any]]
OTHER = Holder("4567ef00", "ann", "desk", "rollback.yml", "2026-01-01T00:00:05Z")
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
def run(app: LocalApp, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run a module; what it says."""
    for module in (hook, instance, rollback):
        monkeypatch.setattr(module, "App", lambda _name: app)

    def run_module(module: Any, check: bool = False, **options: Any) -> dict[str, Any]:
        arguments = {"app": "hello", "_ansible_check_mode": check, "_ansible_diff": True, **options}
        with patch_module_args(arguments), pytest.raises(SystemExit):
            module.main()
        result: dict[str, Any] = json.loads(capsys.readouterr().out)
        return result

    return run_module


def go_live(run: Run, **options: Any) -> list[dict[str, Any]]:
    """What each step says."""
    switched = run(instance, state="switched", **options)
    return [switched, *(run(instance, state=state, before=switched["before"], **options) for state in ("confirmed", "retired"))]


# rollback


def test_rollback(app: LocalApp, host: Systemd, run: Run, own: Answers) -> None:
    """The release before is started and asked as it was deployed; the traffic stays."""
    result = run(rollback, host="hello.example.com")
    assert (result["changed"], result["id"], result["live"], result["revision"]) == (True, OLD, NEW, "0123456789abcdef")
    assert result["config"]["timeout"] == 9
    assert result["diff"]["before"] == f"{NEW}\n"
    assert result["diff"]["after"] == f"{OLD}\n"
    [(_path, health, _timeout)] = own.asked
    assert (health.path, health.host, health.timeout) == ("/up", "hello.example.com", 7)
    assert (app.live_id(), running(app)) == (NEW, [OLD, NEW])


def test_rollback_in_check_mode(app: LocalApp, host: Systemd, run: Run) -> None:
    result = run(rollback, check=True)
    assert (result["changed"], result["id"], running(app), host.calls) == (True, OLD, [NEW], [])
    assert not os.path.exists(f"{app.lock}.step")
    assert run(rollback, check=True, _ansible_diff=False)["diff"] == {}, "a look before the rollback itself, which shows it"


@pytest.mark.usefixtures("host")
def test_where_there_is_no_way_back_the_user_is_shown_what_there_is(run: Run) -> None:
    result = run(rollback, release=OLDER)
    assert result["failed"]
    assert result["msg"].splitlines() == [
        f"hello: {OLDER} is marked bad: it leaks. Nothing was touched.",
        "What has been live on this host, the last first:",
        f"  {NEW}  went live ?  no revision  live",
        f"  {OLD}  went live ?  0123456789ab  good",
        f"  {OLDER}  went live 20260101T000000Z  no revision  bad: it leaks",
        "Next: name a good one with -e release=<id>, or check out the code that you want and deploy it.",
    ]


@pytest.mark.usefixtures("systemd")
def test_a_host_without_releases(run: Run) -> None:
    assert "the last first:\n  none\n" in run(rollback)["msg"]


def test_a_rollback_to_a_release_for_a_python_that_is_gone(app: LocalApp, host: Systemd, run: Run) -> None:
    """It says so before anything is started, instead of calling the app broken."""
    app.note(OLD, python="3.2.1")
    result = run(rollback)
    assert (
        f"{OLD} was built for Python 3.2, and this host has it no more, so it cannot start.\nNext: check out revision 0123456789ab and deploy" in result["msg"]
    )
    assert result["msg"].endswith("Nothing was touched.")
    assert running(app) == [NEW]


@pytest.mark.usefixtures("host")
def test_a_release_whose_python_has_an_odd_name_does_nothing_to_a_terminal(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """A package may have put another link in the place of its environment's Python."""
    monkeypatch.setattr(rollback, "python_gone", lambda *_arguments: "this host has \x1b[2J")
    assert run(rollback)["msg"] == "this host has \\x1b[2J\nNothing was touched."


def test_a_rollback_to_what_does_not_start(app: LocalApp, host: Systemd, run: Run, own: Answers) -> None:
    own.wrong = ["answered 500"]
    result = run(rollback)
    assert result["failed"]
    assert f"{NEW} still serves." in result["msg"]
    assert running(app) == [NEW]


@pytest.mark.parametrize(("orphan", "leads_to"), [((OLD, "rollback"), OLD), (("20260109T000000Z-99999999", "deploy"), NEW)], ids=["rollback", "deploy"])
@pytest.mark.usefixtures("own")
def test_what_a_killed_run_ends_while_this_one_waits(
    app: LocalApp, host: Systemd, run: Run, monkeypatch: pytest.MonkeyPatch, orphan: tuple[str, str], leads_to: str
) -> None:
    """A rollback that it ends is not done once more; after a deploy the way back is from there."""
    identifier, event = orphan
    if event == "deploy":
        release(app, identifier)

    @contextlib.contextmanager
    def step(_app: LocalApp, _token: str) -> Iterator[None]:
        go_live(run, id=identifier, event=event)
        yield None

    with monkeypatch.context() as patch:
        patch.setattr(rollback, "step", step)
        result = run(rollback)
    assert (result["id"], app.live_id()) == (leads_to, identifier)


# All


@pytest.mark.parametrize(
    ("module", "options"),
    [(rollback, {}), *((instance, {"id": NEW, "state": state}) for state in STATES), (hook, {"id": NEW, "hook": "migrate", "command": encode("true")})],
    ids=["rollback", *STATES, "hook"],
)
def test_nothing_is_done_while_another_run_works_on_the_app(app: LocalApp, host: Systemd, run: Run, module: Any, options: dict[str, Any]) -> None:
    acquire(app, OTHER, 0)
    result = run(module, run="0123abcd", **options)
    assert result["failed"]
    assert "locked by rollback.yml of ann on desk" in result["msg"]
    assert host.calls == []


# instance


@pytest.mark.usefixtures("own")
def test_nothing_is_pending_once_a_release_is_live_and_the_others_have_stopped(app: LocalApp, host: Systemd, run: Run) -> None:
    switched, confirmed, retired = go_live(run, id=OLD, event="rollback")
    assert (switched["before"], switched["live"], confirmed["changed"], retired["retired"]) == (NEW, OLD, True, [NEW])
    assert "pending" not in app.story(OLD)


@pytest.mark.parametrize(
    ("state", "identifier", "changed"),
    [(state, identifier, identifier == OLD and state != "undone") for state in STATES for identifier in (NEW, OLD)],
)
def test_instance_in_check_mode(app: LocalApp, host: Systemd, run: Run, state: str, identifier: str, changed: bool) -> None:
    """NEW is live; what would change is what a deploy of OLD changes."""
    plan = run(instance, check=True, state=state, id=identifier)
    assert (plan["changed"], plan["before"]) == (changed, NEW)
    assert host.calls == []


@pytest.mark.usefixtures("own", "host")
def test_started(app: LocalApp, run: Run) -> None:
    assert run(instance, state="started", id=OLD)["changed"] is True
    assert run(instance, state="started", id=OLD)["changed"] is False
    assert (app.live_id(), running(app)) == (NEW, [OLD, NEW])


@pytest.mark.usefixtures("own", "host")
def test_live(app: LocalApp, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(instance_logic, "drain", lambda path, seconds: 3)
    warnings: list[str] = []
    monkeypatch.setattr(AnsibleModule, "warn", lambda _module, message: warnings.append(message))
    _switched, _confirmed, first = go_live(run, id=OLD, event="rollback", keep=2)
    assert (first["changed"], first["retired"], first["cut"], first["pruned"]) == (True, [NEW], 3, [OLDER])
    assert warnings == ["hello: 3 requests took longer than 'timeout' and were cut off."]
    assert (app.live_id(), running(app)) == (OLD, [OLD])
    again = go_live(run, id=OLD, event="rollback", keep=2)
    assert [step["changed"] for step in again] == [False, False, False]
    assert (again[2]["retired"], again[2]["cut"], again[2]["pruned"]) == ([], 0, [])


@pytest.mark.usefixtures("own", "host")
def test_the_time_since_the_switch_is_off_the_time_to_drain(app: LocalApp, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    drained: list[float] = []

    def drain(_path: str, seconds: float) -> int:
        drained.append(seconds)
        return 0

    monkeypatch.setattr(instance_logic, "drain", drain)
    clock = iter([100.0, 104.5, 200.0])
    monkeypatch.setattr(instance, "uptime", lambda: next(clock))
    switched = run(instance, state="switched", id=OLD)
    run(instance, state="retired", id=OLD, since=switched["uptime"])
    run(instance, state="switched", id=NEW)
    run(instance, state="retired", id=NEW)
    assert drained == [25.5, 9]


@pytest.mark.parametrize(("through", "asked"), [(True, 1), (False, 0)])
@pytest.mark.usefixtures("own", "host")
def test_nginx_is_asked_where_it_is_there(run: Run, nginx: Answers, through: bool, asked: int) -> None:
    run(instance, state="confirmed", id=NEW, through_nginx=through)
    assert len(nginx.asked) == asked


@pytest.mark.usefixtures("own")
def test_what_is_undone_because_another_server_failed(app: LocalApp, host: Systemd, run: Run) -> None:
    """Before its switch, after it and after its confirmation; the release is bad then, and the one from before good."""
    run(instance, state="started", id=OLD)
    undone = run(instance, state="undone", id=OLD)
    assert (undone["changed"], undone["live"], running(app)) == (True, NEW, [NEW])
    for steps in (["switched"], ["switched", "confirmed"]):
        for state in steps:
            run(instance, state=state, id=OLD, event="rollback")
        undone = run(instance, state="undone", id=OLD, event="rollback", reason="the rollout failed on web2")
        assert (undone["changed"], undone["live"], app.live_id(), running(app)) == (True, NEW, NEW, [NEW])
        assert (app.story(OLD)["reason"], app.story(NEW)["verdict"]) == ("the rollout failed on web2", "good")
        assert run(instance, state="undone", id=OLD, event="rollback")["changed"] is False
    assert [event["event"] for event in events(app)] == ["back", "rollback", "back"]


@pytest.mark.usefixtures("own", "host")
def test_what_was_live_before_stays_so_whatever_happens_elsewhere(app: LocalApp, run: Run) -> None:
    for state in ("switched", "confirmed", "undone"):
        assert run(instance, state=state, id=NEW)["changed"] is False
    assert (app.live_id(), running(app), "verdict" in app.story(NEW)) == (NEW, [NEW], False)


# hook


@pytest.fixture
def hooks(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    """What was run; a command `false` fails."""
    ran: list[tuple[Any, ...]] = []

    def run_hook(app: LocalApp, *arguments: Any) -> str:
        ran.append(arguments)
        if arguments[2] == "false":
            raise InstanceError("hello: the hook failed\nno such table")
        return "done"

    monkeypatch.setattr(hook, "run_hook", run_hook)
    return ran


@pytest.mark.usefixtures("host")
def test_a_migration_is_run_once_for_a_release(app: LocalApp, run: Run, hooks: list[tuple[Any, ...]]) -> None:
    options = {"hook": "migrate", "command": encode("true"), "timeout": 7}
    assert run(hook, check=True, id=OLD, **options)["changed"] is True
    assert hooks == []
    assert (run(hook, id=OLD, **options)["output"], run(hook, id=OLD, **options)["changed"]) == ("done", False)
    app.note(OLD, sequence=9)
    assert run(hook, id=OLD, **options)["changed"] is False
    assert run(hook, id=NEW, **options)["changed"] is True
    assert hooks == [(OLD, "migrate", "true", 7), (NEW, "migrate", "true", 7)]


@pytest.mark.usefixtures("host")
def test_after_live_is_run_each_time_a_release_goes_live(app: LocalApp, run: Run, hooks: list[tuple[Any, ...]]) -> None:
    options = {"hook": "after_live", "command": encode("true"), "id": NEW}
    assert [run(hook, **options)["changed"] for _ in range(2)] == [True, False]
    app.note(NEW, sequence=4)
    assert [run(hook, **options)["changed"] for _ in range(2)] == [True, False]
    assert len(hooks) == 2


@pytest.mark.usefixtures("own", "host", "hooks")
def test_a_rollback_whose_hook_failed_is_not_done_twice(run: Run) -> None:
    for _ in range(2):
        assert run(rollback)["id"] == OLD
        go_live(run, id=OLD, event="rollback")
        assert "run the same command again" in run(hook, id=OLD, hook="after_live", command=encode("false"))["msg"]


@pytest.mark.parametrize(("name", "says"), [("migrate", f"{NEW} still serves."), ("after_live", f"{OLD} is live and stays so.")])
@pytest.mark.usefixtures("host", "hooks")
def test_a_hook_that_failed_is_run_again(app: LocalApp, run: Run, name: str, says: str) -> None:
    result = run(hook, id=OLD, hook=name, command=encode("false"))
    assert result["failed"]
    assert says in result["msg"]
    assert f"Where it is set: '{name}' of the app in the inventory." in result["msg"]
    assert [(event["event"], event["reason"]) for event in events(app)] == [("failed", "hello: the hook failed")]
    assert run(hook, id=OLD, hook=name, command=encode("true"))["changed"] is True
