"""What the action `step` sends to a host, and what it does not."""

import asyncio
import json
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ansible import constants  # type: ignore[attr-defined]
from ansible.errors import AnsibleConnectionFailure
from ansible.parsing.dataloader import DataLoader
from ansible.plugins.action import ActionBase
from ansible.template import Templar
from ansible_collections.plainstack.web.plugins.action import decide, step
from ansible_collections.plainstack.web.plugins.module_utils.controller import decide as logic
from ansible_collections.plainstack.web.plugins.module_utils.controller.definition import normalise
from ansible_collections.plainstack.web.plugins.module_utils.environment import decode, render
from ansible_collections.plainstack.web.plugins.plugin_utils import run as run_files

OLD, NEW = "20260102T000000Z-bbbbbbbb", "20260103T000000Z-cccccccc"
APP = {"name": "hello", "source": ".", "module": "wsgi:app", "domains": ["hello.example.com"], "requirements": "requirements.txt"}
WEB = {"hello": ["web1", "web2", "web3"]}
ORDER = {
    "name": "hello",
    "id": NEW,
    "build": ["web1"],
    "act": ["web1", "web2"],
    "before": {"web1": OLD, "web2": OLD, "web3": NEW},
    "migrate": "web2",
    "migrated": False,
    "reference": "",
    "agreed": False,
    "first": "web1",
    "configs": {},
    "revision": "",
}
Sent = list[dict[str, Any]]


@pytest.fixture
def sent() -> Sent:
    """The orders that were sent to the host, one list a call, with the step as `step`."""
    return []


@pytest.fixture
def action(tmp_path: Path, sent: Sent, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The action with options; the answer of the module is `answer`."""
    monkeypatch.setattr(constants, "DEFAULT_LOCAL_TMP", str(tmp_path))
    monkeypatch.setattr(ActionBase, "run", lambda *_arguments: {})
    task = step.ActionModule.__new__(step.ActionModule)
    task.answer = {}
    task._task = SimpleNamespace(args={}, check_mode=False)
    task._connection = SimpleNamespace(_shell=SimpleNamespace(join_path=lambda *parts: "/".join(parts), tmpdir=""))
    task._templar = Templar(loader=DataLoader(), variables={"ansible_managed": "Ansible managed"})

    def module(_name: str, given: dict[str, Any], **_named: Any) -> dict[str, Any]:
        orders = json.loads(decode(given["orders"]))
        sent.append({"step": given["step"], "run": given["run"], "steps": [*orders], "orders": orders.get(given["step"], [])})
        done = {name: {order["name"]: {"id": order["id"], "changed": True} for order in listed} for name, listed in orders.items()}
        return {"changed": True, "apps": done.pop(given["step"], {}), "along": done, **task.answer}

    task._execute_module = module
    task._make_tmp_path = lambda: "/tmp/x"
    task._transfer_file = lambda *_arguments: None
    return task


@pytest.fixture
def run(tmp_path: Path, action: Any) -> Any:
    """A run with a decision; the result of a step on a host."""
    archive = tmp_path / "hello.tar.gz"
    archive.write_bytes(b"bytes")
    archives = {"hello": {"path": str(archive), "digest": "d", "id": NEW, "story": {"revision": "abc"}}}
    run_files.save(
        run_files.PLAN, {"event": "deploy", "apps": ["hello"], "archives": archives, "servers": ["web1", "web2", "web3"], "balancers": [], "web": WEB}
    )
    [app] = normalise([{**APP, "migrate": "flask db upgrade", "after_live": "warm", "secrets": {"TOKEN": "swordfish"}}], "/nowhere", sources=False)
    release = {"id": NEW, "sequence": 3, "after_live": 3, "config": {}}
    for host in ("web1", "web2", "web3"):
        seen = {"hello": {"live": "", "releases": [release] if host == "web3" else []}}
        run_files.note(host, apps=[app], seen=seen, did={}, left=[], token="0123abcd", build_environment={"UV_DEFAULT_INDEX": "x"})
    run_files.save(run_files.DECISION, {"orders": [ORDER], "canaries": [], "servers": ["web1", "web2", "web3"]})

    def do(name: str, host: str, **arguments: Any) -> dict[str, Any]:
        action._task.args = {"step": name, **arguments}
        result: dict[str, Any] = action.run(None, {"inventory_hostname": host, "ansible_play_hosts": ["web1", "web2", "web3"], "groups": {"all": [host]}})
        return result

    return do


@pytest.mark.parametrize(
    ("lost", "failed", "reached", "cause", "teller"),
    [
        ([], ["web2"], ["web2"], "web2: it is ill", "web2"),  # Ansible takes the others for failed, too
        (["web3"], [], ["web1"], "web3 was lost: its connection ended.", "web1"),
        (["web3"], ["web2"], ["web2"], "web3 was lost: its connection ended.\nweb2: it is ill", "web2"),
        ([], [], ["web1", "web3"], "web2 was lost: its connection ended.", "web1"),  # in a task of somebody else's
    ],
)
def test_what_a_rollout_has_failed_of(
    run: Any, action: Any, sent: Sent, lost: list[str], failed: list[str], reached: list[str], cause: str, teller: str
) -> None:
    """A server that only waits for the others does not count as lost, and one reachable server sends the alert."""

    def gone(*_arguments: Any, **_named: Any) -> dict[str, Any]:
        raise AnsibleConnectionFailure("no route to host")

    module = action._execute_module
    for host in ("web1", "web2", "web3"):
        run_files.note(host, seen={"hello": {"live": "", "releases": []}}, apps=run_files.of_host("web1")["apps"])
    run_files.save(run_files.DECISION, {**run_files.load(run_files.DECISION), "orders": [{**ORDER, "act": ["web1", "web2", "web3"]}]})
    for host in ("web1", "web2", "web3"):
        action._execute_module = gone if host in lost else module
        with pytest.raises(AnsibleConnectionFailure) if host in lost else nullcontext():
            run("start", host)
    results = {host: {"ansible_failed_result": {"msg": "it is ill"}} if host in failed else {} for host in ("web1", "web2", "web3")}
    decide.ActionModule._decide_undo(run_files.load(run_files.PLAN), {"hostvars": SimpleNamespace(raw_get=results.get), "ansible_play_hosts": reached})
    decision = run_files.load(run_files.DECISION)
    assert (decision["cause"], decision["tellers"][0]) == (cause, teller)
    action._execute_module = module
    for host in {"web1", "web2", "web3"} - {*lost}:
        run("undo", host)
    orders = [order for one in sent if one["step"] == "undo" for order in one["orders"]]
    assert [order["cause"] for order in orders if order["cause"]] == [cause.splitlines()[0]]
    assert [order["leads"] for one in sent if one["step"] == "start" for order in one["orders"]] == [True, False, False][: 3 - len(lost)]


@pytest.mark.parametrize("name", ["stage", "start", "switch", "confirm", "undo", "retire", "migrate"])
def test_a_host_with_nothing_to_do_is_not_contacted(run: Any, sent: Sent, name: str) -> None:
    assert run(name, "web3") == {"changed": False, "apps": {}}
    assert sent == []


def test_what_is_sent_to_build(run: Any, sent: Sent) -> None:
    """The archive to the host that lacks the release, and to no other."""
    run("stage", "web1")
    run("stage", "web2")
    first, second = (call["orders"][0] for call in sent)
    assert (sent[0]["run"], first["id"], first["content"] != "", second["content"]) == ("0123abcd", NEW, True, "")
    assert (first["digest"], first["environment"], first["build_environment"]) == ("d", 'TOKEN="swordfish"\n', {"UV_DEFAULT_INDEX": "x"})
    assert "find" not in first


def test_a_large_archive_is_copied(run: Any, sent: Sent, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(step, "INLINE", 2)
    run("stage", "web1")
    [order] = sent[0]["orders"]
    assert (order["archive"], order["content"]) == ("/tmp/x/hello.tar.gz", "")


def test_units_come_with_the_start(run: Any, sent: Sent) -> None:
    run("start", "web1")
    [order] = sent[0]["orders"]
    paths = [f"/etc/systemd/system/hello@{NEW}.socket", f"/etc/systemd/system/hello@{NEW}.service", f"/etc/plainstack/hello/{NEW}/gunicorn.conf.py"]
    assert [*order["files"]] == paths
    assert "User=hello\n" in order["files"][paths[1]]
    assert 'wsgi_app = "wsgi:app"' in order["files"][paths[2]]
    assert order["migrated"] is True, "another server has migrated by now"


def test_units_of_what_runs_beside_the_web_server_come_along(run: Any, action: Any, sent: Sent) -> None:
    """Those of the host alone: it is in the group `all` and in no other."""
    known = run_files.of_host("web1")
    runs = {"command": "work $A", "hosts": "", "count": 1, "stop_timeout": 77, "stop_signal": "SIGINT", "overlap": True}
    timer = {"command": "clean", "hosts": "all", "schedule": "Mon 03:00", "timeout": 99}
    [app] = known["apps"]
    beside = {"processes": {"worker": runs, "far": {**runs, "hosts": "others"}}, "timers": {"nightly": timer}}
    run_files.note("web1", apps=[{**app, **beside}])
    run("start", "web1")
    files = sent[0]["orders"][0]["files"]
    names = [path.rpartition("/")[2] for path in files]
    worker, nightly = f"hello.worker.1@{NEW}.service", f"hello.nightly@{NEW}"
    assert names[3:] == [f"hello@{NEW}.target", worker, f"{nightly}.service", f"{nightly}.timer"]
    text = {name: set(content.splitlines()) for name, content in zip(names, files.values(), strict=True)}
    assert f"Wants={worker} {nightly}.timer" in text[f"hello@{NEW}.target"]
    assert {"KillSignal=SIGINT", "TimeoutStopSec=77", "Restart=always", "User=hello", "PrivateUsers=true"} <= text[worker]
    assert any(line.endswith('/bin/bash -c "work $$A"') for line in text[worker])
    assert {"Type=oneshot", "TimeoutStartSec=99", "User=hello", "PrivateUsers=true"} <= text[f"{nightly}.service"]
    assert "OnCalendar=Mon 03:00" in text[f"{nightly}.timer"]
    # Told to stop with the others, what is given its own time; a job that a timer has begun is left to its end
    part = "PartOf=hello@%i.target"
    assert [name for name in names[4:] if part in text[name]] == [worker, f"{nightly}.timer"]


def test_a_worker_server(run: Any, action: Any, sent: Sent) -> None:
    """What names no group does not run there, and Gunicorn only answers the gate."""
    plan = run_files.load(run_files.PLAN)
    run_files.save(run_files.PLAN, {**plan, "web": {"hello": ["web2", "web3"]}})
    runs = {"command": "work", "hosts": "", "count": 1, "stop_timeout": 77, "stop_signal": "SIGINT", "overlap": True}
    for host in ("web1", "web2"):
        known = run_files.of_host(host)
        [app] = known["apps"]
        run_files.note(host, apps=[{**app, "workers": 7, "processes": {"worker": runs, "far": {**runs, "hosts": "all"}}}])
        run("start", host)
    for call, nginx, workers, beside in ((sent[0], False, 1, ["far"]), (sent[1], True, 7, ["far", "worker"])):
        [order] = call["orders"]
        assert order["nginx"] is nginx
        assert f"\nworkers = {workers}\n" in next(text for path, text in order["files"].items() if path.endswith("gunicorn.conf.py"))
        assert sorted(path.split(".")[1] for path in order["files"] if ".1@" in path) == beside


def test_processes_that_are_given_are_looked_at(action: Any, sent: Sent) -> None:
    action._task.args = {"step": "start", "apps": [{"name": "hello", "release": NEW, "processes": {"worker": {}}}]}
    result = action.run(None, {"inventory_hostname": "web1", "groups": {}})
    assert result["msg"] == "app 'hello', 'worker' in 'processes': 'command' is missing.\nWhere it is set: 'apps' of the task."
    assert sent == []


def test_who_migrates(run: Any, sent: Sent) -> None:
    for host in ("web1", "web2"):
        run("migrate", host)
    [call] = sent
    assert call["orders"][0]["migrate"] == "flask db upgrade"


def test_a_hook_is_run_by_the_first_server(run: Any, sent: Sent) -> None:
    for host in ("web1", "web2", "web3"):
        run("after_live", host)
    assert len(sent) == 1


def test_scale_with_nothing_to_do(run: Any, sent: Sent) -> None:
    """Nothing was fetched from the server that has it."""
    plan = run_files.load(run_files.PLAN)
    run_files.save(run_files.PLAN, {**plan, "event": "scale"})
    order = {**ORDER, "reference": "web3", "build": [], "act": [], "first": "web3"}
    run_files.save(run_files.DECISION, {"orders": [order], "canaries": [], "servers": ["web3"]})
    for name in ("stage", "start", "switch", "confirm", "retire", "after_live"):
        run(name, "web3")
    assert sent == []
    release = {"id": NEW, "sequence": 4, "after_live": 3, "config": {}}
    run_files.note("web3", seen={"hello": {"live": NEW, "releases": [release]}})
    run("after_live", "web3")
    assert [call["step"] for call in sent] == ["after_live"], "the hook that had failed"


def test_a_hook_that_was_run_is_not_run_again(run: Any, sent: Sent) -> None:
    run_files.save(run_files.DECISION, {"orders": [{**ORDER, "first": "web3"}], "canaries": [], "servers": ["web3"]})
    run("after_live", "web3")
    assert sent == []


def test_what_was_done_is_kept(run: Any, action: Any) -> None:
    """Of a step that failed, too, for the apps that it came to."""
    action.answer = {"failed": True, "msg": "it cannot", "apps": {"hello": {"id": NEW, "changed": True, "failed": "it cannot"}}}
    assert run("start", "web1")["failed"]
    known = run_files.of_host("web1")
    assert (known["did"]["start"]["hello"]["failed"], known["left"]) == ("it cannot", [])


@pytest.mark.parametrize("name", ["undo", "retire", "after_live"])
def test_what_fails_and_ends_nothing(run: Any, action: Any, capsys: pytest.CaptureFixture[str], name: str) -> None:
    """It is shown, and the end of the run names it."""
    said = f"{name}: it cannot\nNext: fix it"
    action.answer = {"failed": True, "msg": said, "apps": {"hello": {"id": NEW, "changed": True, "failed": said}}}
    result = run(name, "web1")
    assert "failed" not in result
    assert run_files.of_host("web1")["left"] == [f"{name} of hello: {name}: it cannot"]
    assert f"web1: {said}" in capsys.readouterr().err


@pytest.mark.parametrize(("name", "along"), [("stage", []), ("migrate", ["start"]), ("start", []), ("switch", ["confirm", "retire"])])
def test_what_is_done_along_with_a_step_on_a_server_of_its_own(run: Any, sent: Sent, name: str, along: list[str]) -> None:
    """And then not once more; where other servers have to be waited for, each step is one of its own."""
    run(name, "web2")
    run_files.save(run_files.DECISION, {"orders": [ORDER], "canaries": [], "servers": ["web2"]})
    run_files.note("web2", did={})
    run(name, "web2")
    assert [call["steps"] for call in sent] == [[name], [name, *along]]
    for other in along:
        assert run(other, "web2") == {"changed": False, "apps": {}}
    assert {*run_files.of_host("web2")["did"]} == {name, *along}


def test_the_hook_comes_along_with_the_end_of_the_old_release(run: Any, sent: Sent) -> None:
    """On the first server of a fleet, and once."""
    run("retire", "web1")
    run("retire", "web2")
    run("after_live", "web1")
    assert [call["steps"] for call in sent] == [["retire", "after_live"], ["retire"]]


def test_the_hook_runs_once_on_a_server_of_its_own(run: Any, sent: Sent) -> None:
    run_files.save(run_files.DECISION, {"orders": [ORDER], "canaries": [], "servers": ["web1"]})
    for name in ("switch", "confirm", "retire"):
        run(name, "web1")
    assert [call["steps"] for call in sent] == [["switch", "confirm", "retire", "after_live"]]


@pytest.mark.parametrize("name", ["start", "migrate"])
@pytest.mark.parametrize("servers", [["web2"], ["web1", "web2"]])
def test_an_app_that_is_new_is_switched_once_it_runs(run: Any, sent: Sent, name: str, servers: list[str]) -> None:
    """Before there is a site, and confirmed once there is."""
    run_files.save(run_files.DECISION, {"orders": [{**ORDER, "before": {"web1": OLD, "web2": ""}}], "canaries": [], "servers": servers})
    for one in (name, "start", "switch", "confirm"):
        run(one, "web2")
    alone = len(servers) == 1
    begin = [["migrate", "start", "switch"]] if name == "migrate" and alone else [["migrate"]] if name == "migrate" else []
    rest = [] if begin and alone else [["start", "switch"]]
    assert [call["steps"] for call in sent] == [*begin, *rest, ["confirm", "retire"] if alone else ["confirm"]]


@pytest.mark.parametrize(("name", "ends"), [("confirm", True), ("retire", False)])
def test_what_fails_along_with_a_step(run: Any, action: Any, name: str, ends: bool) -> None:
    run_files.save(run_files.DECISION, {"orders": [ORDER], "canaries": [], "servers": ["web1"]})
    failed = {name: {"hello": {"id": NEW, "changed": True, "failed": "it cannot"}}}
    action.answer = {"failed": True, "msg": "it cannot", "along": failed}
    assert run("switch", "web1").get("failed", False) == ends
    assert run_files.of_host("web1")["left"] == ([] if ends else ["retire of hello: it cannot"])


@pytest.mark.parametrize(("failed", "check_mode", "noted"), [(False, False, True), (True, False, False), (False, True, False)])
def test_a_step_is_noted_as_a_renewal(run: Any, action: Any, failed: bool, check_mode: bool, noted: bool) -> None:
    """Then the process that holds the locks need not renew them."""
    action.answer, action._task.check_mode = ({"failed": True} if failed else {}), check_mode
    assert step.silence("0123abcd") == float("inf")
    run("start", "web1")
    assert (step.silence("0123abcd") < 10) is noted


def test_what_has_the_traffic_is_said_right_after_the_switch(run: Any, action: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """Where the connection is lost from then on, nothing can be said any more. Once, and not in check mode."""
    said = f"hello: {NEW}\nA server whose connection is lost from here on goes back by itself within a minute"
    run("switch", "web1")
    assert said in capsys.readouterr().out
    run("switch", "web2")
    action._task.check_mode = True
    run("switch", "web1")
    assert said not in capsys.readouterr().out


def test_what_one_server_has_is_said(run: Any, action: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """It does not go back by itself: there is no other that may have another release."""
    action._task.args = {"step": "switch"}
    action.run(None, {"inventory_hostname": "web1", "ansible_play_hosts": ["web1"], "groups": {"workers": ["web1"]}})
    assert f"hello: {NEW}\nA server whose connection is lost from here on has this live" in capsys.readouterr().out


def test_a_rollback_goes_by_the_settings_of_the_release(run: Any, sent: Sent) -> None:
    plan = run_files.load(run_files.PLAN)
    run_files.save(run_files.PLAN, {**plan, "event": "rollback"})
    run_files.save(run_files.DECISION, {"orders": [{**ORDER, "configs": {"web1": {"health_path": "/up", "timeout": 7}}}], "servers": ["web1"]})
    run("start", "web1")
    run("confirm", "web1")
    start, confirm = (call["orders"][0] for call in sent)
    assert (start["event"], start["health_path"], start["timeout"], start["files"], confirm["confirm_seconds"]) == ("rollback", "/up", 7, {}, 0)


# Without a run


@pytest.mark.parametrize(
    ("environment", "words"),
    [
        ({"TOKEN": "swordfish\ufffe"}, "'TOKEN' has the character U+FFFE"),
        ({"TOKEN=swordfish": 1}, "'TOKEN' is not a name for an environment variable"),
        ({"TOKEN": "swordfish" * 20_000}, "'TOKEN' has 180006 bytes with its name"),
        ({f"T{number}": "swordfish" * 1000 for number in range(200)}, "the variables have "),
    ],
)
def test_what_systemd_would_refuse_is_not_sent(action: Any, sent: Sent, environment: dict[str, Any], words: str) -> None:
    """Whoever uses the role alone has no other check; systemd's own message would have the value."""
    action._task.args = {"step": "stage", "apps": [{"name": "hello", "env": environment}]}
    result = action.run(None, {"inventory_hostname": "web1", "groups": {"workers": ["web1"], "others": ["web2"]}})
    assert result.get("failed") is True
    assert words in result["msg"]
    assert "swordfish" not in result["msg"]
    assert sent == []


def test_with_a_bundle_the_server_gets_no_credentials_of_an_index(action: Any, sent: Sent, tmp_path: Path) -> None:
    (tmp_path / "a.tar.gz").write_bytes(b"x")
    archive = {"path": str(tmp_path / "a.tar.gz"), "digest": "d", "id": NEW, "story": {}}
    given = {"UV_INDEX_INNER_PASSWORD": "swordfish", "PIP_INDEX_URL": "https://u:swordfish@x/", "UV_DEFAULT_INDEX": "x", "HTTPS_PROXY": "http://proxy:3128"}
    action._task.args = {"step": "stage", "apps": [{"name": "hello", "archive": archive, "bundle": True}], "build_environment": given}
    action.run(None, {"inventory_hostname": "web1", "groups": {}})
    [order] = sent[0]["orders"]
    assert (order["build_environment"], order["config"]["bundle"]) == ({"HTTPS_PROXY": "http://proxy:3128"}, True)
    assert "swordfish" not in str(sent)


def test_apps_that_are_given(action: Any, sent: Sent, tmp_path: Path) -> None:
    """With the defaults of the definition; a release that is what is asked for is looked for on the host."""
    (tmp_path / "a.tar.gz").write_bytes(b"x")
    archive = {"path": str(tmp_path / "a.tar.gz"), "digest": "d", "id": NEW, "story": {}}
    app = {"name": "hello", "archive": archive, "env": {"A": "1"}}
    action._task.args = {"step": "stage", "apps": [app], "build_environment": {"UV_OFFLINE": "1"}}
    assert action.run(None, {"inventory_hostname": "web1", "groups": {"workers": ["web1"], "others": ["web2"]}})["apps"] == {
        "hello": {"id": NEW, "changed": True}
    }
    action._task.args = {"step": "confirm", "apps": [{"name": "hello", "release": NEW, "health_path": "/up"}], "through_nginx": False}
    action.run(None, {"inventory_hostname": "web1", "groups": {"workers": ["web1"], "others": ["web2"]}})
    stage, confirm = (call["orders"][0] for call in sent)
    assert (stage["find"], stage["environment"], stage["requirements"], stage["build_environment"]) == (
        True,
        'A="1"\n',
        "requirements.txt",
        {"UV_OFFLINE": "1"},
    )
    assert (confirm["id"], confirm["health_path"], confirm["nginx"], confirm["keep"]) == (NEW, "/up", False, 5)


def test_a_misspelt_key(action: Any) -> None:
    action._task.args = {"step": "start", "apps": [{"name": "hello", "release": NEW, "helth_path": "/"}]}
    assert (
        "hello: unknown key 'helth_path' in 'apps'."
        in action.run(None, {"inventory_hostname": "web1", "groups": {"workers": ["web1"], "others": ["web2"]}})["msg"]
    )


def configured(action: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, own: str = "", **changes: Any) -> dict[str, Any]:
    """What Gunicorn's settings are, with a file of the app's own."""
    (tmp_path / "gunicorn.conf.py").write_text(own, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    given = {**APP, "gunicorn_config": "gunicorn.conf.py" if own else None, **changes}
    app, *_root = normalise([given, *([{**APP, "name": "root"}] if "path" in changes else [])], "/nowhere", sources=False)
    action._groups = set()
    [text] = [text for path, text in action._files(app, NEW).items() if path.endswith("gunicorn.conf.py")]
    found: dict[str, Any] = {}
    exec(text, found)
    return found


def test_what_gunicorns_own_file_may_not_set_is_named_at_once(action: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(RuntimeError, match=r"gunicorn\.conf\.py sets .*; remove: workers \(use 'workers'\), bind$"):
        configured(action, tmp_path, monkeypatch, "bind = ':8000'\nworkers = 3\nloglevel = 'debug'\n")


def test_hooks_of_gunicorns_own_file_are_called_besides(action: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = "called = []\ndef post_fork(server, worker): called.append('fork')\ndef post_worker_init(worker): called.append('init')\nproc_name = 'shop'\n"
    found = configured(action, tmp_path, monkeypatch, own, gunicorn={"proc_name": "other"})
    worker = SimpleNamespace(app=SimpleNamespace(callable=lambda environ, _start: environ), wsgi=None)
    found["post_worker_init"](worker)
    assert (found["called"], found["proc_name"], found["worker_class"]) == (["init"], "other", "gthread")
    assert "own_post_fork" in found["post_fork"].__code__.co_names  # it writes into /proc of the test's own process besides


@pytest.mark.parametrize(("path", "expected"), [("/api", ("/api", "")), ("/api/x", ("/api", "/x")), ("/apix", ("", "/apix")), ("/", ("", "/"))])
def test_a_wsgi_app_is_told_its_prefix(action: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: str, expected: tuple[str, str]) -> None:
    found = configured(action, tmp_path, monkeypatch, path="/api", health_path="/api", strip_path=True)
    worker = SimpleNamespace(app=SimpleNamespace(callable=lambda environ, _start: environ), wsgi=None)
    found["post_worker_init"](worker)
    environ = worker.wsgi({"PATH_INFO": path, "SCRIPT_NAME": "", "HTTP_X_REAL_IP": "192.0.2.1"}, None)
    assert (environ["SCRIPT_NAME"], environ["PATH_INFO"]) == expected
    assert environ["REMOTE_ADDR"] == "192.0.2.1"


@pytest.mark.parametrize("of_gunicorn", [True, False])
def test_an_asgi_app_is_told_its_prefix(action: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, of_gunicorn: bool) -> None:
    """The path stays whole, as ASGI has it; on Gunicorn's own worker, and on Uvicorn's."""
    found = configured(action, tmp_path, monkeypatch, server="asgi", path="/api", health_path="/api", strip_path=True)
    seen: list[dict[str, Any]] = []

    async def app(scope: dict[str, Any], _receive: None, _send: None) -> None:
        seen.append(scope)

    worker = SimpleNamespace(app=SimpleNamespace(callable=app), wsgi=app, **({"asgi": app} if of_gunicorn else {}))
    found["post_worker_init"](worker)
    asyncio.run((worker.asgi if of_gunicorn else worker.wsgi)({"type": "http", "path": "/api/x", "headers": [(b"x-real-ip", b"192.0.2.1")]}, None, None))
    assert [(scope["root_path"], scope["path"], scope["client"]) for scope in seen] == [("/api", "/api/x", ("192.0.2.1", 0))]


def test_a_worker_server_is_no_canary(run: Any, action: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody's requests go there, and so there would be nothing to compare with."""
    plan = {**run_files.load(run_files.PLAN), "workers": ["web3"], "canary": "50%", "event": "upgrade"}
    for host in ("web1", "web2", "web3"):
        run_files.note(host, left_out=False)
    monkeypatch.setattr(logic, "upgrade", lambda *_given: None)
    monkeypatch.setattr(logic, "parse", lambda found: found)
    assert decide.ActionModule._decide_orders(plan, {})["canaries"] == ["web1"]


# Restart, start and stop


def planned(event: str, process: str = "", **order: Any) -> None:
    """A run of that kind."""
    run_files.save(run_files.PLAN, {**run_files.load(run_files.PLAN), "event": event, "process": process, "archives": {}})
    whole = {**ORDER, "migrate": "", "before": dict.fromkeys(WEB["hello"], OLD), **order}
    run_files.save(run_files.DECISION, {"orders": [whole], "canaries": [], "servers": WEB["hello"]})


@pytest.mark.parametrize(("story", "restarts"), [({}, OLD), ({"restarts": "20260101T000000Z-bbbbbbbb"}, "20260101T000000Z-bbbbbbbb")])
def test_a_restart_is_built_from_what_is_live(run: Any, sent: Sent, tmp_path: Path, story: dict[str, str], restarts: str) -> None:
    """It says what it was made of, and no hook is run for it."""
    planned("restart", reference="web1", act=["web1", "web2"])
    config = {"plainstack": "0.1.0", "workers": 7}
    found = {
        "id": OLD,
        "story": {"digest": 64 * "a", "config": config, "reproducible": True, **story},
        "environment": render({"TOKEN": "of-then"}),
        "path": str(tmp_path / "hello.tar.gz"),
    }
    run_files.save("reference-hello", found)
    for name in ("stage", "start", "after_live"):
        assert "failed" not in run(name, "web1")
    staged, started = (call["orders"][0] for call in sent)
    assert (staged["event"], staged["id"], staged["story"]["restarts"], staged["config"]) == ("restart", NEW, restarts, config)
    assert "of-then" in staged["environment"]
    assert started["migrated"] is False
    assert any(path.endswith(f"hello@{NEW}.service") for path in started["files"])


def test_what_may_get_other_versions_is_no_restart_of_the_same(run: Any, sent: Sent, tmp_path: Path) -> None:
    """Then what was restarted is something to go back to."""
    planned("restart", reference="web1", act=["web1"])
    story = {"digest": 64 * "a", "config": {"plainstack": "0.1.0"}, "reproducible": False}
    run_files.save("reference-hello", {"id": OLD, "story": story, "environment": "", "path": str(tmp_path / "hello.tar.gz")})
    run("stage", "web1")
    assert "restarts" not in sent[0]["orders"][0]["story"]


def test_a_killed_restart_is_finished_as_it_is(run: Any, sent: Sent) -> None:
    planned("restart", act=["web1"], configs={"web1": {"timeout": 77}})
    run("start", "web1")
    assert (sent[0]["orders"][0]["files"], sent[0]["orders"][0]["timeout"], sent[0]["orders"][0]["event"]) == ({}, 77, "restart")


def test_a_start_changes_no_unit(run: Any, sent: Sent) -> None:
    planned("start", act=["web1"], configs={"web1": {"timeout": 77}})
    run("start", "web1")
    run("after_live", "web1")
    [call] = sent
    assert (call["orders"][0]["files"], call["orders"][0]["timeout"]) == ({}, 77)


@pytest.mark.parametrize(
    ("event", "process", "name", "reached"),
    [
        ("stop", "", "stop", ["web1", "web2"]),
        ("stop", "worker", "stop", ["web1", "web2"]),
        ("start", "", "process", []),
        ("restart", "worker", "process", ["web1", "web2"]),
    ],
)
def test_who_is_told_to_stop(run: Any, sent: Sent, event: str, process: str, name: str, reached: list[str]) -> None:
    """Those that have a release, whatever is to go live."""
    planned(event, process, act=[], before={"web1": OLD, "web2": OLD, "web3": ""})
    for host in WEB["hello"]:
        run(name, host)
    assert [call["orders"][0]["process"] for call in sent] == [process] * len(reached)
    assert all(call["orders"][0]["event"] == event for call in sent)
