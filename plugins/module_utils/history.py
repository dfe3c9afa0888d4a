"""The log of an app's deploys and rollbacks on a host: one JSON object a line, only ever appended to."""

from __future__ import annotations

import json
import os
import time
from typing import Any

from ansible_collections.plainstack.web.plugins.module_utils.layout import App, make_directory


def now() -> str:
    """The time in UTC, as ids and release.json have it."""
    return time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())


def append(app: App, event: str, release: str, **facts: Any) -> None:
    """Note an event.

    :param event: `deploy`, `rollback`, `back` (taken back after the switch) or `failed` (before it).
    :param release: id of the release that it is about.
    :param facts: what else is known, such as who and why.
    :raises OSError: when the disk is full.
    """
    make_directory(os.path.dirname(app.history))
    line = json.dumps({"time": now(), "event": event, "app": app.name, "release": release, **facts}) + "\n"
    handle = os.open(app.history, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        os.fchmod(handle, 0o644)  # whatever the umask
        os.write(handle, line.encode())
    finally:
        os.close(handle)
