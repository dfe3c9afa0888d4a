"""The lines of all servers in one order, as text. Pure functions."""

from __future__ import annotations

import datetime
import re
from collections.abc import Mapping
from typing import Any

from ansible_collections.plainstack.web.plugins.module_utils.text import plain

LINES, MOST_LINES = 200, 10_000
LEVELS = ("debug", "info", "warning", "error")
REQUEST = re.compile("[A-Za-z0-9_-]{8,64}")
SOURCES = ("app", "access", "error", "deploys")


class WrongOptionError(ValueError):
    """An option of the command is wrong; the message says which, and what it may be."""


def _wrong(name: str, value: str, what: str) -> WrongOptionError:
    return WrongOptionError(f"{name} is '{plain(value)}': it must be {what}. Nothing was read.\nWhere it is set: -e {name}=... of the command.")


def options(given: Mapping[str, Any]) -> dict[str, Any]:
    """The options for the servers, checked; whether `since` and `until` are times, systemd says there.

    :raises WrongOptionError: when one of them is wrong.
    """
    lines, level, source, request = (str(given.get(name) or "") for name in ("lines", "level", "source", "request"))
    if lines and not (re.fullmatch("[0-9]{1,5}", lines) and 1 <= int(lines) <= MOST_LINES):
        raise _wrong("lines", lines, f"a number from 1 to {MOST_LINES}")
    if level and level not in LEVELS:
        raise _wrong("level", level, f"one of {', '.join(LEVELS)}")
    sources = [one.strip() for one in source.split(",")] if source else list(SOURCES)
    if wrong := [one for one in sources if one not in SOURCES]:
        raise _wrong("source", wrong[0], f"one of {', '.join(SOURCES)}, or several with commas between")
    if request and not REQUEST.fullmatch(request):
        raise _wrong("request", request, "the id of a request, as X-Request-ID of its answer has it")
    return {
        "since": str(given.get("since") or "1h"),
        "before": str(given.get("before") or ""),
        "lines": int(lines or LINES),
        "level": level or LEVELS[0],
        "sources": list(dict.fromkeys(sources)),
        "request": request,
    }


def _moment(at: float) -> str:
    return datetime.datetime.fromtimestamp(at, datetime.UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"


def text(seen: Mapping[str, Mapping[str, Any]], lines: int) -> str:
    """The last lines of all servers in time order, each with its time in UTC, its server and its source.

    :param seen: by server what the module `logs` saw: `lines` by the name of the app; its `error` where it could not.
    """
    width = max(map(len, seen), default=0)
    several = len({name for one in seen.values() for name in one.get("lines", {})}) > 1
    found = []
    for server, one in seen.items():
        for name, of_app in one.get("lines", {}).items():
            for line in of_app:
                label = f"{name}: {line['source']}" if several and line["source"] in ("nginx access", "nginx error", "deploys") else line["source"]
                found.append((line["at"], server, " ".join(label.split()), line["text"]))
    found.sort(key=lambda line: line[0])
    # What an app writes must not pass for a line of another server
    shown = [f"{_moment(at)} {server.ljust(width)} {label}: {part}" for at, server, label, said in found for part in said.splitlines() or [""]][-lines:]
    shown = shown or ["There is no such line."]
    shown += [f"{server}: {one['error']}" for server, one in seen.items() if one.get("error")]
    shown += [
        f"{server}: the journal of {name} is so long that nothing before {_moment(at)} was looked at.\nNext: -e until=@{int(at) + 1} looks at what was before"
        for server, one in seen.items()
        for name, at in one.get("cut", {}).items()
    ]
    return "\n".join(map(plain, shown))
