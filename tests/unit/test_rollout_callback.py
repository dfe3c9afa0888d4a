"""What the callback makes of Ansible's events, and what it leaves to Ansible's own."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ansible.plugins.callback.default import CallbackModule as Default
from ansible.utils.display import Display
from ansible_collections.plainstack.web.plugins.callback.rollout import PLAYBOOKS, CallbackModule, undone
from ansible_collections.plainstack.web.plugins.plugin_utils import screen

SAID = "hello: it cannot be.\nIts log:\n  x\nNext: y"
STEP = "plainstack.web.step"


class Stats:
    """Of one host."""

    def __init__(self, **counts: int) -> None:
        self.processed, self.counts = {"web1": 1}, counts
        self.custom: dict[str, Any] = {}

    def summarize(self, _host: str) -> dict[str, int]:
        return {**dict.fromkeys(("ok", "failures", "unreachable", "changed", "skipped", "rescued", "ignored"), 0), **self.counts}


def task(action: str = STEP, rescue: tuple[Any, ...] = (), name: str = "role : Do it", **more: Any) -> Any:
    """A task in a block with a rescue, or without one."""
    around = SimpleNamespace(_uuid="block", rescue=[], _parent=SimpleNamespace(_uuid="outer", rescue=list(rescue), _parent=None))
    facts = {
        "loop": None,
        "delegate_to": None,
        "run_once": False,
        "ignore_errors": False,
        "ignore_unreachable": False,
        "args": {"step": "start"},
        "_role": None,
        "_uuid": name,
    }
    made = SimpleNamespace(**{**facts, "resolved_action": action, "action": action, "no_log": False, "check_mode": False, "_parent": around, **more})
    made.get_name = lambda: name
    made.get_path = lambda: "/x.yml:1"
    return made


TAKEN_BACK = (SimpleNamespace(_uuid="r", action="ansible.builtin.include_tasks"),)
NOTED = (SimpleNamespace(_uuid="r", action="plainstack.web.failed"),)


def result(of: Any, host: str = "web1", **said: Any) -> Any:
    return SimpleNamespace(task=of, task_name="Do it", result=said, host=SimpleNamespace(get_name=lambda: host), _host=host)


def play(name: str, file: str = f"{PLAYBOOKS}/rollout.yml") -> Any:
    return SimpleNamespace(get_name=lambda: name, get_path=lambda: f"{file}:1", vars={}, check_mode=False, strategy="linear")


@pytest.fixture
def callback(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[CallbackModule]:
    """The callback, with a cache of its own; Ansible's display is as before afterwards."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr("ansible.context.CLIARGS", {"check": False})
    display = Display()
    monkeypatch.setattr(display, "verbosity", 0)
    before = dict(vars(display))
    made = CallbackModule()
    off = {"display_failed_stderr": False, "show_per_host_start": False, "check_mode_markers": False, "show_custom_stats": False}
    on = {
        "display_ok_hosts": True,
        "display_skipped_hosts": True,
        "show_task_path_on_failure": False,
        "result_format": "yaml",
        "pretty_results": None,
        "result_yaml_line_width": "default",
    }
    monkeypatch.setattr(made, "get_option", {**off, **on}.get)
    yield made
    if made._log:
        made._log.close()
    for name in ("display", "prompt_until"):
        if name not in before:
            vars(display).pop(name, None)


def log(directory: Path) -> str:
    [file] = (directory / "plainstack" / "logs").iterdir()
    assert (stat.S_IMODE(file.stat().st_mode), stat.S_IMODE(file.parent.stat().st_mode)) == (0o600, 0o700)
    return file.read_text(encoding="utf-8")


def one(made: CallbackModule, of: Any, *hosts: str) -> None:
    """A task begins."""
    made.v2_playbook_on_task_start(of, False)
    for host in hosts or ("web1",):
        made.v2_runner_on_start(SimpleNamespace(get_name=lambda host=host: host), of)


def test_a_release(callback: CallbackModule, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    callback.v2_playbook_on_play_start(play("Roll out"))
    one(callback, task())
    callback.v2_runner_on_ok(result(task(), changed=True, apps={"hello": {}}, along={"switch": {}}))
    one(callback, task("plainstack.web.summary"))
    callback.v2_runner_on_ok(result(task("plainstack.web.summary"), msg="the table", changed=False, _ansible_verbose_always=True))
    callback.v2_playbook_on_stats(Stats(ok=2, changed=1))
    shown = capsys.readouterr().out.splitlines()
    assert shown[0].split() == ["start,", "switch", "0.0", "s", "web1"]
    assert shown[1:4] == ["", "the table", ""]
    assert shown[4].startswith("1 task changed something, in 0.")
    assert shown[4].endswith(": ok=2 changed=1 unreachable=0 failed=0 skipped=0 rescued=0 ignored=0")
    assert shown[5].startswith(f"Ansible's output: {tmp_path}/plainstack/logs/")
    assert len(shown) == 6
    assert [line.rstrip("* ") for line in log(tmp_path).split("\n") if line and not line.startswith(" ")][:3] == [
        "PLAY [Roll out]",
        "TASK [role : Do it]",
        "changed: [web1]",
    ]
    assert "PLAY RECAP" in log(tmp_path)


def test_of_an_undone_rollout_the_cause_comes_once(callback: CallbackModule, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    callback.v2_playbook_on_play_start(play("Roll out"))
    one(callback, task(rescue=TAKEN_BACK), "web1", "web2", "web3")
    callback.v2_runner_on_ok(result(task(rescue=TAKEN_BACK), "web1", changed=True))
    callback.v2_runner_on_failed(result(task(rescue=TAKEN_BACK), "web2", msg=SAID, failed=True))
    callback.v2_runner_on_ok(result(task(rescue=TAKEN_BACK), "web3", changed=True))
    one(callback, task("plainstack.web.summary", run_once=True))
    callback.v2_runner_on_failed(result(task("plainstack.web.summary", run_once=True), msg=f"web2: {SAID}\nThe rollout is undone.", failed=True))
    callback.v2_playbook_on_stats(Stats(ok=2, failures=1))
    shown = capsys.readouterr().out
    assert "start                      0.0 s  failed on web2\n" in shown
    assert (shown.count("it cannot be."), shown.count("fatal"), "Failed, in 0." in shown) == (1, 0, True)
    assert log(tmp_path).count("it cannot be.") == 2, "the log has all"


@pytest.mark.parametrize(("hosts", "said"), [(("web1",), SAID), (("web1", "web2"), f"web1: {SAID}")])
def test_an_error_names_the_server_where_there_are_several(
    callback: CallbackModule, capsys: pytest.CaptureFixture[str], hosts: tuple[str, ...], said: str
) -> None:
    callback.v2_playbook_on_play_start(play("Roll out"))
    one(callback, task(rescue=NOTED), *hosts)
    callback.v2_runner_on_failed(result(task(rescue=NOTED), msg=SAID))
    callback.v2_runner_on_failed(result(task(rescue=NOTED), msg=SAID))
    shown = capsys.readouterr().out
    assert shown == f"start                      0.0 s  failed on web1\n\n{said}\n"


def test_a_server_that_is_lost(callback: CallbackModule, capsys: pytest.CaptureFixture[str]) -> None:
    callback.v2_playbook_on_play_start(play("Roll out"))
    one(callback, task())
    callback.v2_runner_on_unreachable(result(task(), msg="Connection closed", unreachable=True))
    callback.v2_playbook_on_stats(Stats(unreachable=1))
    shown = capsys.readouterr().out
    assert "web1 was lost: Do it: Connection closed\n" in shown
    assert "start                      0.0 s  lost web1\n" in shown
    assert "\nFailed, in 0." in shown


def test_what_is_ignored_is_in_the_log_alone(callback: CallbackModule, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    callback.v2_playbook_on_play_start(play("Roll out"))
    one(callback, task())
    callback.v2_runner_on_failed(result(task(), msg=SAID), ignore_errors=True)
    assert capsys.readouterr().out == ""
    assert "it cannot be." in log(tmp_path)


def test_of_another_playbook_of_the_collection_only_the_result(callback: CallbackModule, capsys: pytest.CaptureFixture[str]) -> None:
    callback.v2_playbook_on_play_start(play("Look", f"{PLAYBOOKS}/status.yml"))
    one(callback, task("plainstack.web.status"))
    callback.v2_runner_on_ok(result(task("plainstack.web.status"), msg='{"servers": []}', _ansible_verbose_always=True))
    callback.v2_playbook_on_stats(Stats(ok=1))
    assert capsys.readouterr().out == '{"servers": []}\n'


def test_what_is_said_in_a_phase_comes_below_its_line(callback: CallbackModule, capsys: pytest.CaptureFixture[str]) -> None:
    """Of each server, and once."""
    callback.v2_playbook_on_play_start(play("Remove it from the servers", f"{PLAYBOOKS}/teardown.yml"))
    one(callback, task("plainstack.web.teardown"), "web1", "web2")
    for host in ("web1", "web2"):
        callback.v2_runner_on_ok(result(task("plainstack.web.teardown"), host, msg=f"{host}: gone", changed=True, _ansible_verbose_always=True))
    callback.v2_playbook_on_stats(Stats(ok=2, changed=2))
    assert capsys.readouterr().out.splitlines()[:4] == ["remove                     0.0 s  web1, web2", "web1: gone", "web2: gone", ""]


def test_a_play_from_elsewhere_is_ansibles(callback: CallbackModule, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    callback.v2_playbook_on_play_start(play("Mine", "/home/me/site.yml"))
    one(callback, task("ansible.builtin.ping"))
    callback.v2_runner_on_ok(result(task("ansible.builtin.ping"), changed=False))
    callback.v2_playbook_on_stats(Stats(ok=1))
    shown = capsys.readouterr().out
    assert [word in shown for word in ("PLAY [Mine]", "TASK [role : Do it]", "ok: [web1]", "PLAY RECAP")] == [True] * 4
    assert not (tmp_path / "plainstack").exists()


def test_ours_among_others(callback: CallbackModule, capsys: pytest.CaptureFixture[str]) -> None:
    callback.v2_playbook_on_play_start(play("Roll out"))
    callback.v2_playbook_on_play_start(play("Mine", "/home/me/site.yml"))
    callback.v2_playbook_on_stats(Stats(ok=1))
    shown = capsys.readouterr().out
    assert [word in shown for word in ("PLAY [Roll out]", "PLAY [Mine]", "PLAY RECAP", "Nothing changed, in 0.")] == [False, True, True, True]


def test_each_playbook_of_a_run_has_its_own(callback: CallbackModule, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for _number in range(2):
        callback.v2_playbook_on_play_start(play("Roll out"))
        Display().display("meanwhile")
        callback.v2_playbook_on_stats(Stats(ok=1))
        (file,) = (tmp_path / "plainstack" / "logs").iterdir()
        assert file.read_text(encoding="utf-8").count("meanwhile") == 1
        file.unlink()
    shown = capsys.readouterr().out
    assert [shown.count(word) for word in ("meanwhile", "Nothing changed", "PLAY")] == [2, 2, 0]


def test_with_v_it_is_ansibles(callback: CallbackModule, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(Display(), "verbosity", 1)
    callback.v2_playbook_on_play_start(play("Roll out"))
    callback.v2_playbook_on_stats(Stats(ok=1))
    assert ["PLAY" in line for line in capsys.readouterr().out.splitlines() if line][:2] == [True, True]
    assert not (tmp_path / "plainstack").exists()


def test_what_is_said_meanwhile_is_shown_and_logged(callback: CallbackModule, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    callback.v2_playbook_on_play_start(play("Roll out"))
    Display().display("from a worker")
    Display().warning("take care of this one")
    shown = capsys.readouterr()
    assert shown.out == "from a worker\n"
    assert "take care of this one" in shown.err
    assert [text in log(tmp_path) for text in ("from a worker", "take care of this one")] == [True, True]


def test_logs_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    directory = tmp_path / "plainstack" / "logs"
    directory.mkdir(parents=True)
    for number in range(30):
        (file := directory / f"2020{number:02}.log").write_text("", encoding="utf-8")
        if number:  # the first is of a run that goes on
            os.utime(file, (0, 0))
    made = screen.Log()
    made.close()
    left = sorted(path.name for path in directory.iterdir())
    assert (len(left), left[:2], left[-1]) == (screen.KEPT + 1, ["202000.log", "202011.log"], Path(made.path).name)


def test_a_run_goes_on_without_a_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "plainstack").write_text("no directory", encoding="utf-8")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    made = screen.Log()
    made.write("x")
    assert (made.path, made.shown) == ("", "")


def test_which_failures_take_a_rollout_back() -> None:
    assert (undone(task(rescue=TAKEN_BACK)), undone(task(rescue=NOTED)), undone(task())) == (True, False, False)
    within = task()
    within._parent = SimpleNamespace(_uuid="block", rescue=[within], _parent=None)
    assert not undone(within), "it is in the rescue itself"


@pytest.fixture
def ansibles(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What Ansible is given to show."""
    found: list[dict[str, Any]] = []
    monkeypatch.setattr(Default, "v2_runner_on_failed", lambda _callback, result, ignore_errors: found.append(result.result))
    return found


@pytest.mark.parametrize("action", [STEP, "plainstack.web.inspect", "plainstack.web.site"])
def test_with_v_an_error_of_ours_comes_without_its_place_in_a_playbook(ansibles: list[dict[str, Any]], callback: CallbackModule, action: str) -> None:
    callback.v2_runner_on_failed(result(task(action), msg=SAID, exception="Task failed"))
    assert (ansibles[0]["msg"], "exception" in ansibles[0]) == (SAID, False)


def test_with_v_what_the_run_ends_with_is_not_shown_twice(ansibles: list[dict[str, Any]], callback: CallbackModule) -> None:
    callback.v2_runner_on_failed(result(task(rescue=TAKEN_BACK), msg=SAID, exception="Task failed", apps={"hello": {"failed": SAID}}))
    assert ansibles == [{"msg": "hello: it cannot be."}]


@pytest.mark.parametrize(("action", "said"), [("ansible.builtin.command", SAID), (STEP, "a crash of the module")])
def test_with_v_all_else_is_shown_as_ever(ansibles: list[dict[str, Any]], callback: CallbackModule, action: str, said: str) -> None:
    callback.v2_runner_on_failed(result(task(action, rescue=TAKEN_BACK), msg=said, exception="Task failed"))
    assert (ansibles[0]["msg"], ansibles[0]["exception"]) == (said, "Task failed")


def test_with_v_only_steps_are_shown_again(ansibles: list[dict[str, Any]], callback: CallbackModule) -> None:
    """What else fails in a rescued block, such as the firewall, is noted by its name."""
    callback.v2_runner_on_failed(result(task("plainstack.web.configuration", rescue=NOTED), msg=SAID))
    assert ansibles[0]["msg"] == SAID
