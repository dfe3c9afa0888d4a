"""The log of deploys and rollbacks."""

import json
import os
import re
from pathlib import Path

import pytest
from ansible_collections.plainstack.web.plugins.module_utils.host import history
from ansible_collections.plainstack.web.plugins.module_utils.host.history import append, now

from tests.unit.fakes import NEW, OLD, LocalApp


def test_now() -> None:
    assert re.fullmatch(r"20\d{6}T\d{6}Z", now())


def test_a_line_for_each_event(app: LocalApp) -> None:
    append(app, "deploy", OLD, by="me")
    first = Path(app.history).read_text()
    append(app, "back", NEW, to=OLD, reason="of\nno use")
    text = Path(app.history).read_text()
    assert text.startswith(first)
    assert [{**json.loads(line), "time": ""} for line in text.splitlines()] == [
        {"time": "", "event": "deploy", "app": "hello", "release": OLD, "by": "me"},
        {"time": "", "event": "back", "app": "hello", "release": NEW, "to": OLD, "reason": "of\nno use"},
    ]


@pytest.mark.usefixtures("umask")
def test_those_who_read_logs_may_read_it(app: LocalApp) -> None:
    """Also one that a former version had made readable to everybody."""
    os.makedirs(os.path.dirname(app.history), mode=0o755)
    Path(app.history).touch(mode=0o644)
    append(app, "deploy", OLD)
    assert [oct(os.stat(path).st_mode & 0o7777) for path in (app.history, os.path.dirname(app.history))] == ["0o640", "0o750"]


def test_it_does_not_grow_without_end(app: LocalApp, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(history, "LARGEST", 1000)
    for number in range(100):
        append(app, "deploy", OLD, number=number)
    kept = [json.loads(line)["number"] for path in (f"{app.history}.1", app.history) for line in Path(path).read_text().splitlines()]
    assert kept == list(range(kept[0], 100)), "the latest, without a gap"
    assert sum(path.stat().st_size for path in Path(app.history).parent.iterdir()) < 2500


def test_a_disk_that_cannot_be_written(app: LocalApp) -> None:
    Path(app.base, "log").touch()
    with pytest.raises(OSError, match="log"):
        append(app, "deploy", OLD)


def test_what_a_release_has_come_to(app: LocalApp) -> None:
    """A failure is noted once; one that another server was to tell does not count."""
    assert (history.failed(app, NEW), history.begins(app)) == (False, 0.0)
    append(app, "begin", NEW, of="deploy")
    assert history.failed(app, NEW) is False
    append(app, "failed", NEW, reason="x")
    append(app, "deploy", OLD)
    assert history.failed(app, NEW) is True
    append(app, "back", NEW, told="elsewhere")
    assert history.failed(app, NEW) is False
    Path(f"{app.history}.1").write_text('{}\nx\n{"time": "19700101T000140Z"}\n{"time": "19700101T000150Z"}\n', encoding="utf-8")
    assert history.begins(app) == 100.0
