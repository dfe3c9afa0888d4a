"""What the action `release` sends to a host, and what it does not."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ansible.plugins.action import ActionBase
from ansible_collections.plainstack.web.plugins.action import release
from ansible_collections.plainstack.web.plugins.module_utils.environment import decode

Call = tuple[str, dict[str, Any]]


@pytest.fixture
def calls() -> list[Call]:
    """The modules that were run, with their options."""
    return []


@pytest.fixture
def action(tmp_path: Path, calls: list[Call], monkeypatch: pytest.MonkeyPatch) -> Any:
    """The action for an app that is new on the host, and whose archive goes along; `args` are its options, `uid` what the module asks for."""
    (tmp_path / "archive").write_bytes(b"bytes")
    task = release.ActionModule.__new__(release.ActionModule)
    task.uid = 0
    task._task = SimpleNamespace(args={"app": "hello", "archive": str(tmp_path / "archive")})
    task._connection = SimpleNamespace(_shell=SimpleNamespace(join_path="/".join, tmpdir="/tmp/x"))

    def module(name: str, given: dict[str, Any], **_named: Any) -> dict[str, Any]:
        calls.append((name.rsplit(".", 1)[-1], given))
        return {"needs_archive": not given.get("fetched"), "needs_user": True, "uid": task.uid} if name == "plainstack.web.release" else {}

    monkeypatch.setattr(ActionBase, "run", lambda *_arguments: {})
    for name, stand_in in {
        "_execute_module": module,
        "_make_tmp_path": lambda: "/tmp/x",
        "_transfer_file": lambda *_arguments: None,
        "_remove_tmp_path": lambda _path: None,
    }.items():
        monkeypatch.setattr(task, name, stand_in)
    monkeypatch.setattr(task._connection._shell, "join_path", lambda *parts: "/".join(parts))
    return task


@pytest.mark.parametrize(
    ("environment", "words"),
    [
        ({"TOKEN": "swordfish\ufffe"}, "'TOKEN' has the character U+FFFE"),
        ({"TOKEN=swordfish": 1}, "'TOKEN' is not a name for an environment variable"),
        ({"TOKEN": "swordfish" * 20_000}, "'TOKEN' has 180006 bytes with its name"),
        ({f"T{number}": "swordfish" * 1000 for number in range(200)}, "the variables have "),
    ],
)
def test_what_systemd_would_refuse_is_not_sent(action: Any, calls: list[Call], environment: dict[str, Any], words: str) -> None:
    """Whoever uses the role alone has no other check; systemd's own message would have the value."""
    action._task.args["environment"] = environment
    result = action.run(None, {})
    assert result.get("failed") is True
    assert words in result["msg"]
    assert "swordfish" not in result["msg"]
    assert calls == []


@pytest.mark.parametrize("uid", [0, 942])
def test_a_new_user_gets_the_uid_that_is_free_of_data(action: Any, calls: list[Call], uid: int) -> None:
    action.uid = uid
    action._task.args["environment"] = {"TOKEN": "swordfish"}
    action.run(None, {})
    assert [name for name, _given in calls] == ["release", "user", "release"]
    assert (calls[1][1]["name"], calls[1][1].get("uid", 0), calls[1][1]["home"]) == ("hello", uid, "/srv/hello")
    assert {decode(given["environment"]) for name, given in calls if name == "release"} == {'TOKEN="swordfish"\n'}
