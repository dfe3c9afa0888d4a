"""The log of deploys and rollbacks."""

import json
import os
import re
from pathlib import Path

import pytest
from ansible_collections.plainstack.web.plugins.module_utils.history import append, now

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
def test_everybody_may_read_it(app: LocalApp) -> None:
    append(app, "deploy", OLD)
    assert oct(os.stat(app.history).st_mode & 0o7777) == "0o644"
    assert oct(os.stat(os.path.dirname(app.history)).st_mode & 0o7777) == "0o755"


def test_a_disk_that_cannot_be_written(app: LocalApp) -> None:
    Path(app.base, "log").touch()
    with pytest.raises(OSError, match="log"):
        append(app, "deploy", OLD)
