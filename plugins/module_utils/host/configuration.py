"""Files of a service, written together: validated as a whole, put back when they are invalid, loaded when they are not."""

from __future__ import annotations

import contextlib
import grp
import hashlib
import json
import os
import subprocess
from collections.abc import Mapping, Sequence
from typing import Any

from ansible_collections.plainstack.web.plugins.module_utils.layout import make_directory, read, write
from ansible_collections.plainstack.web.plugins.module_utils.stamp import STAMPS, text
from ansible_collections.plainstack.web.plugins.module_utils.text import plain

UNITS = "/etc/systemd/"
BEGINNING = 5  # lines

File = Mapping[str, Any]


class ConfigurationError(Exception):
    """The files cannot be used; the message says why, what is in use now, and what to do."""


def run(command: Sequence[str]) -> tuple[int, str]:
    """Exit code and everything that a command prints; 127 where there is no such command."""
    try:
        done = subprocess.run(command, capture_output=True, encoding="utf-8", errors="replace", check=False)
    except FileNotFoundError as error:
        return 127, str(error)
    return done.returncode, plain((done.stdout + done.stderr).strip())


def _group(file: File) -> int:
    """Id of the group that may read a file."""
    return grp.getgrnam(file.get("group", "root")).gr_gid


def differs(file: File) -> bool:
    """Whether a file is not yet as wanted."""
    try:
        status = os.stat(file["dest"])
    except FileNotFoundError:
        return True
    return (status.st_mode & 0o7777, status.st_uid, status.st_gid) != (int(file["mode"], 8), 0, _group(file)) or read(file["dest"]) != file["content"]


def _lines(path: str) -> tuple[str, str]:
    """Mode and owner of a file, and its digest; empty where it cannot be read."""
    try:
        status = os.stat(path)
        with open(path, "rb") as stream:
            found = hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError:
        return "", ""
    try:
        group = grp.getgrgid(status.st_gid).gr_name
    except KeyError:  # as stat(1) has it
        group = "UNKNOWN"
    return f"{status.st_mode & 0o7777:o} {status.st_uid} {group}", f"{found}  {path}"


def seen(stamp: str) -> list[str]:
    """How the files of a stamp and its service are, line by line as the quick look of the action plugin `configuration` says it."""
    known = json.loads(stamp)
    found = [_lines(path) for path in known["files"]]
    lines = ["there" for path in known["first"] if os.path.exists(path)]
    lines += [mode for mode, _digest in found] + [digest for _mode, digest in found]
    if known["service"]:
        lines += [run(["systemctl", verb, known["service"]])[1] for verb in ("is-active", "is-enabled")]
    return [*lines, stamp]


def all_seen() -> dict[str, list[str]]:
    """The same of everything that was ever configured, by its name; but those of apps, which their steps look at."""
    found = {}
    for name in sorted(os.listdir(STAMPS)) if os.path.isdir(STAMPS) else []:
        with contextlib.suppress(ValueError, KeyError, TypeError):  # of a version that wrote only a digest
            if not name.startswith("gunicorn-"):
                found[name] = seen(read(f"{STAMPS}/{name}") or "")
    return found


def difference(file: File) -> dict[str, str]:
    """The diff of a file, in which Ansible takes nothing but UTF-8. Of a file that is new, only the beginning: all of it would be the diff."""
    before, after = read(file["dest"]), file["content"]
    lines = after.splitlines(keepends=True)
    if before is None and len(lines) > BEGINNING + 1:
        after = "".join(lines[:BEGINNING]) + f"... and {len(lines) - BEGINNING} more lines\n"
    shown = (before or "").encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    return {"before_header": file["dest"], "after_header": file["dest"], "before": shown, "after": after}


def _write(name: str, changed: Sequence[File], commands: Sequence[Sequence[str]]) -> None:
    """Write the files and validate the whole; put back what was there when it is invalid."""
    before = {file["dest"]: (read(file["dest"]), os.stat(file["dest"]).st_mode & 0o7777 if os.path.exists(file["dest"]) else 0) for file in changed}
    failed = ""
    try:
        for file in changed:
            if not os.path.isdir(os.path.dirname(file["dest"])):
                make_directory(os.path.dirname(file["dest"]))
            write(file["dest"], file["content"], int(file["mode"], 8), gid=_group(file))
        for command in commands:
            code, said = run(command)
            if code:
                failed = f"{' '.join(command)} says:\n{said}"
                break
    except OSError as error:
        failed = str(error)
    if failed:
        for path, (content, mode) in before.items():
            if content is not None:
                write(path, content, mode, gid=next(_group(file) for file in changed if file["dest"] == path))
            elif os.path.exists(path):
                os.unlink(path)
        state = "what was there before is back and still in use" if before else "an interrupted run left it, and it is not loaded"
        raise ConfigurationError(
            f"The configuration '{name}' is invalid; {state}.\n"
            f"{failed}\nWhat was to change: {', '.join(before) or 'nothing'}.\n"
            "Next: where the message names a file of yours, fix or remove it; otherwise check the app's settings in the inventory. "
            "Then run the same command again."
        )


def configure(
    name: str,
    files: Sequence[File],
    *,
    secret: Sequence[File] = (),
    first: Sequence[File] = (),
    validate: Sequence[Sequence[str]] = (),
    service: str = "",
    check: bool = False,
) -> dict[str, Any]:
    """Bring the files of a service up to date, and have it load them.

    :param files: each with `dest`, `content`, `mode` (text, octal) and perhaps `group` (its name; root's otherwise).
    :param secret: the same, without a diff.
    :param first: the same for files that are written where they are missing, and left alone otherwise.
    :param validate: commands that accept the whole.
    :param service: the unit that uses them; empty for files that nothing loads.
    :param check: only say what would change.
    :returns: `changed`, `diff` (a list) and `written` (paths).
    :raises ConfigurationError: with what was there before put back.
    """
    whole = [*files, *secret]
    hidden = {file["dest"] for file in secret}
    stamp, wanted = f"{STAMPS}/{name}", text(whole, first, service)
    changed = [file for file in whole if differs(file)] + [file for file in first if not os.path.exists(file["dest"])]
    loaded = read(stamp)
    unapplied = loaded != wanted
    active = not service or run(["systemctl", "is-active", "--quiet", service])[0] == 0
    enabled = not service or run(["systemctl", "is-enabled", "--quiet", service])[0] == 0
    result = {
        "changed": bool(changed) or unapplied or not active or not enabled,
        "diff": [difference(file) for file in changed if file["dest"] not in hidden],
        "written": [file["dest"] for file in changed],
    }
    if check or not result["changed"]:
        return result
    if changed or unapplied:
        _write(name, changed, validate)
    commands = []
    if any(file["dest"].startswith(UNITS) for file in (changed or whole)):
        commands.append(["systemctl", "daemon-reload"])
    if service and not active:
        commands.append(["systemctl", "unmask", "--quiet", "--runtime", service])  # installing it may have been interrupted
    if not enabled:
        commands.append(["systemctl", "enable", "--quiet", service])
    if service:
        # What runs before its first configuration is the package's: it may have ports and settings that no reload changes
        verb = "start" if not active else "restart" if loaded is None else "reload-or-restart"
        commands.append(["systemctl", verb, service])
    for command in commands:
        code, said = run(command)
        if code:
            unit = service or "systemd"
            raise ConfigurationError(
                f"{' '.join(command)} failed: {said}\nNext: journalctl --unit={unit} on the host tells why; then run the same command again."
            )
    make_directory(STAMPS, 0o700)
    write(stamp, wanted, 0o600)
    return result
