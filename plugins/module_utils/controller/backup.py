"""The options of a backup or a restore, checked, and what is said of it. Pure functions."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from ansible_collections.plainstack.web.plugins.module_utils.text import plain

SNAPSHOT = re.compile(r"[0-9a-f]{4,64}")
SERVER = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.:-]*")


class BackupError(ValueError):
    """An option or a setting is wrong; nothing was touched."""


def repository(given: Mapping[str, Any], local: bool) -> dict[str, Any]:
    """Where the snapshots are, and what they are encrypted with.

    :param given: `repository`, `password` and `environment`, as the inventory has them.
    :param local: whether they are in a file on this machine instead.
    :raises BackupError: where something is missing.
    """
    if not (local or given.get("repository")):
        raise BackupError(
            "There is no place for backups; nothing was touched.\n"
            "Where it is set: 'backup_repository' in the inventory, as restic names it, such as rclone:offsite:backups.\n"
            "Next: set it and 'backup_password'; or the same command with a directory or file of this machine: -e to=... to back up, -e file=... to restore."
        )
    if not given.get("password"):
        raise BackupError(
            "There is no password to encrypt the backups with; nothing was touched.\nWhere it is set: 'backup_password' in the inventory, in a vault.\n"
            "Next: set it, and keep a copy of it elsewhere: without it nobody can read the backups."
        )
    environment = {str(name): str(value) for name, value in dict(given.get("environment") or {}).items()}
    return {"repository": "" if local else str(given["repository"]), "password": str(given["password"]), "environment": {} if local else environment}


def chosen(name: str, given: Mapping[str, Any], servers: Sequence[str]) -> list[str]:
    """The servers that get the data of a snapshot.

    :param name: of the app.
    :param given: `host`, `of`, `snapshot` and `file` of the task; empty where they were not given.
    :param servers: those of the app.
    :raises BackupError: where that is not clear, or one of them is wrong.
    """
    on, of, snapshot = (str(given.get(key) or "") for key in ("host", "of", "snapshot"))
    if on and on not in servers:
        raise BackupError(f"on is '{plain(on)}': {name} is on {', '.join(servers)}. Nothing was touched.\nWhere it is set: -e on=... of the command.")
    if of and not SERVER.fullmatch(of):
        raise BackupError(f"of is '{plain(of)}': that is no name of a server. Nothing was touched.\nWhere it is set: -e of=... of the command.")
    if snapshot and not SNAPSHOT.fullmatch(snapshot):
        raise BackupError(
            f"snapshot is '{plain(snapshot)}': it must be an id as 'backup' and 'restore' print it. Nothing was touched.\n"
            "Where it is set: -e snapshot=... of the command."
        )
    if (of or snapshot or given.get("file")) and not on and len(servers) > 1:
        raise BackupError(
            f"Which server is to get the data? {name} is on {', '.join(servers)}; nothing was touched.\nNext: the same command with -e on={servers[0]}"
        )
    return [on] if on else list(servers)


def saved(seen: Mapping[str, Mapping[str, Any]]) -> tuple[str, str]:
    """What was backed up, and what is said where that failed; empty where it did not.

    :param seen: by server what the module has done, and the `local` file that has it, if any.
    """
    said, failed = [], []
    for server, one in seen.items():
        if one.get("error"):
            failed.append(f"{server}: {one['error']}")
        for name, did in one.get("apps", {}).items():
            if "error" in did:
                failed.append(f"{server}: {name}: {did['error']}")
                continue
            count = did["databases"]
            said.append(f"{server}: {name}: snapshot {did['id']}{f', with {count} SQLite database' if count else ''}{'s' if count > 1 else ''}")
            said += [f"{server}: {name}: {line}" for line in did["unread"].splitlines()]
            failed += [f"{server}: {name}: old snapshots were not removed: {did['kept']}"] if "kept" in did else []
        said += [f"{server}: written to {one['local']}"] if one.get("local") and not one.get("error") else []
    return plain("\n".join(said)), plain("\n".join([*failed, *(["Next: correct that, then run the same command again."] if failed else [])]))


def restored(name: str, seen: Mapping[str, Mapping[str, Any]], check: bool) -> tuple[str, str]:
    """What was restored, and what is said where that failed; empty where it did not.

    :param name: of the app.
    :param seen: by server what the module has done.
    """
    said, failed = [], []
    for server, one in seen.items():
        if one.get("error"):
            failed.append(f"{server}: {one['error']}")
        elif check:
            said.append(f"{server}: {name} would get the data of the snapshot {one['snapshot']} ({one['time']} UTC)")
        elif one.get("snapshot"):
            said.append(f"{server}: {name} has the data of the snapshot {one['snapshot']} ({one['time']} UTC)")
            said.append(f"{server}: what it had is in {one['aside']}; when it is not needed any more: sudo rm -r {one['aside']}")
            if not one["runs"]:
                said.append(f"{server}: {name} was stopped before, and still is; to start it: ansible-playbook plainstack.web.start -e app={name}")
    return plain("\n".join(said)), plain("\n".join(failed))
