"""What the operator reads when the archive would not have what the definition names."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ansible import constants  # type: ignore[attr-defined]
from ansible.plugins.action import ActionBase
from ansible_collections.plainstack.web.plugins.action.archive import ActionModule


def run(directory: Path, monkeypatch: pytest.MonkeyPatch, static: dict[str, str]) -> dict[str, Any]:
    monkeypatch.setattr(ActionBase, "run", lambda *_arguments: {})
    monkeypatch.setattr(constants, "DEFAULT_LOCAL_TMP", str(directory))
    action = ActionModule.__new__(ActionModule)
    arguments = {"sources": {"hello": str(directory / "source")}, "static": {"hello": static}, "requirements": {"hello": "requirements.txt"}}
    action._task = SimpleNamespace(args=arguments)
    return action.run(None, {})


def test_nothing_is_sent_that_the_server_would_refuse_minutes_later(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "source/web").mkdir(parents=True)
    (tmp_path / "source/wsgi.py").touch()
    refused = run(tmp_path, monkeypatch, {"/static": "web"})
    assert refused["failed"] is True
    for words in (
        "The sources cannot be deployed; nothing was touched.\n",
        "  - app 'hello': 'requirements.txt' in 'requirements' is not deployed",
        "  - app 'hello': 'web' in 'static' has no file that is deployed",
        "run the same command again",
    ):
        assert words in refused["msg"]
    assert not list(tmp_path.glob("*.tar.gz"))
    (tmp_path / "source/requirements.txt").touch()
    (tmp_path / "source/web/site.css").touch()
    assert run(tmp_path, monkeypatch, {"/static": "web"})["archives"]["hello"]["path"].endswith(".tar.gz")
