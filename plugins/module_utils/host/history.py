"""The log of an app's deploys and rollbacks on a host: one JSON object a line. Two files of bounded size."""

from __future__ import annotations

import calendar
import contextlib
import grp
import json
import os
import time
from collections.abc import Iterator
from typing import Any

from ansible_collections.plainstack.web.plugins.module_utils.host.tail import backwards
from ansible_collections.plainstack.web.plugins.module_utils.layout import App, make_directory

READERS = "adm"  # the group that reads logs on Debian and Ubuntu
BAD = ("failed", "back")  # events of what did not go well
LARGEST = 2**20  # bytes; what is older stays in one more file


def now() -> str:
    """The time in UTC, as ids and release.json have it."""
    return time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())


def _lines(path: str) -> Iterator[dict[str, Any]]:
    """The lines that are whole, the last one first."""
    for line in backwards(path, LARGEST):
        with contextlib.suppress(ValueError):
            told = json.loads(line)
            if isinstance(told, dict):
                yield told


def failed(app: App, release: str) -> bool:
    """Whether the last that is noted of a release is that it failed, and nobody else is to tell that."""
    last = next((told for told in _lines(app.history) if told.get("release") == release), {})
    return last.get("event") in BAD and last.get("told") != "elsewhere"


def begins(app: App) -> float:
    """When the first event was that is still noted, in seconds since 1970; 0 where there is none."""
    for path in (f"{app.history}.1", app.history):
        for told in reversed([*_lines(path)]):
            with contextlib.suppress(ValueError):
                return float(calendar.timegm(time.strptime(str(told.get("time")), "%Y%m%dT%H%M%SZ")))
    return 0.0


def append(app: App, event: str, release: str, **facts: Any) -> None:
    """Note an event.

    :param event: `begin` of what is to come (`of` says what), `deploy`, `restart`, `rollback`, `back` (taken back after the switch), `failed` (before it),
        `stop`, `start` or `restore`.
    :param release: id of the release that it is about.
    :param facts: what else is known, such as who and why; `told` is `elsewhere` where another server of the fleet sends the alert.
    :raises OSError: when the disk is full.
    """
    group = grp.getgrnam(READERS).gr_gid
    make_directory(os.path.dirname(app.history), 0o750, gid=group)
    line = json.dumps({"time": now(), "event": event, "app": app.name, "release": release, **facts}) + "\n"
    with contextlib.suppress(FileNotFoundError):
        if os.stat(app.history).st_size > LARGEST:
            os.rename(app.history, f"{app.history}.1")
    handle = os.open(app.history, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o640)
    try:
        os.fchown(handle, 0, group)
        os.fchmod(handle, 0o640)  # whatever the umask
        os.write(handle, line.encode())
    finally:
        os.close(handle)
