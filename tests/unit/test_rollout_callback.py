"""What the callback leaves out, of what Ansible would show."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from ansible.plugins.callback.default import CallbackModule as Default
from ansible_collections.plainstack.web.plugins.callback.once import CallbackModule

SAID = "hello: it cannot be.\nIts log:\n  x\nNext: y"


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What Ansible is given to show."""
    found: list[dict[str, Any]] = []
    monkeypatch.setattr(Default, "v2_runner_on_failed", lambda _callback, result, ignore_errors: found.append(result.result))
    return found


def fail(action: str, said: str, rescue: bool) -> None:
    around = SimpleNamespace(rescue=[], _parent=SimpleNamespace(rescue=["undo"] if rescue else [], _parent=None))
    task = SimpleNamespace(resolved_action=action, _parent=around)
    result = SimpleNamespace(task=task, result={"msg": said, "failed": True, "exception": "Task failed", "apps": {"hello": {"failed": said}}})
    CallbackModule.__new__(CallbackModule).v2_runner_on_failed(result)


@pytest.mark.parametrize("action", ["plainstack.web.step", "plainstack.web.inspect", "plainstack.web.site"])
def test_an_error_of_ours_comes_without_its_place_in_a_playbook(shown: list[dict[str, Any]], action: str) -> None:
    fail(action, SAID, rescue=False)
    assert (shown[0]["msg"], "exception" in shown[0]) == (SAID, False)


def test_what_the_run_ends_with_is_not_shown_twice(shown: list[dict[str, Any]]) -> None:
    fail("plainstack.web.step", SAID, rescue=True)
    assert shown == [{"msg": "hello: it cannot be."}]


@pytest.mark.parametrize(("action", "said", "rescue"), [("ansible.builtin.command", SAID, True), ("plainstack.web.step", "a crash of the module", True)])
def test_all_else_is_shown_as_ever(shown: list[dict[str, Any]], action: str, said: str, rescue: bool) -> None:
    fail(action, said, rescue)
    assert (shown[0]["msg"], shown[0]["exception"]) == (said, "Task failed")


def test_only_steps_are_shown_again(shown: list[dict[str, Any]]) -> None:
    """What else fails in a rescued block, such as the firewall, is noted by its name."""
    fail("plainstack.web.configuration", SAID, rescue=True)
    assert shown[0]["msg"] == SAID
