"""Where a command is run, and what is said of it. Pure functions."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from ansible_collections.plainstack.web.plugins.module_utils.text import plain

TIMEOUT, LONGEST = 600, 86400  # seconds
ALL = "all"


class CommandError(ValueError):
    """Why the command cannot be run; nothing was."""


def timeout(text: str) -> int:
    """Seconds that the command has.

    :raises CommandError: when it is no such number.
    """
    if not text:
        return TIMEOUT
    if not re.fullmatch("[0-9]{1,5}", text) or not 1 <= int(text) <= LONGEST:
        raise CommandError(
            f"command_timeout is '{plain(text)}': it must be a number of seconds from 1 to {LONGEST}. Nothing was run.\n"
            "Where it is set: -e command_timeout=... of the command."
        )
    return int(text)


def choose(name: str, on: str, servers: Sequence[str], seen: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """The servers to run a command on.

    :param on: the one to run it on, or `all`; the first that has a live release when empty.
    :param servers: those of the app, in the order of the inventory.
    :param seen: by server what the module `releases` saw.
    :raises CommandError: when there is none.
    """
    if on and on != ALL and on not in servers:
        raise CommandError(
            f"on is '{plain(on)}': {name} is on {', '.join(servers)}. Nothing was run.\nWhere it is set: -e on=... of the command.\n"
            "Next: one of these, or all; without it, the first that has a live release."
        )
    live = [server for server in servers if on in ("", ALL, server) and seen.get(server, {}).get("apps", {}).get(name, {}).get("live")]
    why = [f"  {server}: {seen.get(server, {}).get('error') or 'no release is live'}" for server in servers if on in ("", ALL, server) and server not in live]
    if not live or (on == ALL and why):
        listed = plain("\n".join(why))
        where = "on any server" if on == "" else f"on {on}" if on != ALL else "on all servers"
        raise CommandError(f"{name}: the command cannot be run {where}; nothing was run.\n{listed}\nNext: ansible-playbook plainstack.web.status")
    return live if on == ALL else live[:1]


def text(name: str, done: Mapping[str, Mapping[str, Any]]) -> tuple[str, str]:
    """What a command has printed, and what is said where it failed; empty where it did not.

    :param done: by server what the module `run` returned.
    """
    said, failed = [], []
    for server, one in done.items():
        head = f"{server}:\n" if len(done) > 1 else ""
        if one.get("error"):
            failed.append(f"{server}: {one['error']}")
        elif "code" not in one:
            said.append(f"{name}: the command would be run on {server}")
        elif one["code"]:
            why = "was ended, as its time was over," if one["over"] else f"ended with exit code {one['code']}"
            failed.append(f"{name}: the command {why} on {server}, in the release {one['release']}.\n{one['output'] or '(it wrote nothing)'}")
        else:
            said.append(f"{head}{one['output']}")
    return plain("\n".join(said)), plain("\n".join(failed))
