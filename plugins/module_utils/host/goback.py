"""A server of a fleet that its run has lost goes back by itself: the fleet is of one release again, without a person.

It is started with the switch and ends once the fleet has agreed on the release, or the run has ended in another way. It runs for
itself, as a unit of systemd, from the text of this file: it imports nothing of Plainstack.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import subprocess
import sys
import time

SILENCE = 50  # seconds without a sign of life of the run; the renewals of its lock are at most 40 s apart
REASON = "the connection to its run was lost before the fleet had agreed on it"


def _read(path: str) -> str:
    with contextlib.suppress(OSError), open(path, encoding="utf-8") as stream:
        return stream.read()
    return ""


def _json(path: str) -> dict[str, object]:
    with contextlib.suppress(ValueError):
        found = json.loads(_read(path) or "{}")
        return found if isinstance(found, dict) else {}
    return {}


def _write(path: str, text: str) -> None:
    status = os.stat(path)
    with open(f"{path}.back", "w", encoding="utf-8", opener=lambda name, flags: os.open(name, flags, 0o600)) as stream:
        stream.write(text)
    os.chown(f"{path}.back", status.st_uid, status.st_gid)
    os.chmod(f"{path}.back", status.st_mode & 0o7777)
    os.rename(f"{path}.back", path)


def _relink(path: str, target: str) -> None:
    with contextlib.suppress(FileNotFoundError):
        os.unlink(f"{path}.back")
    os.symlink(target, f"{path}.back")
    os.rename(f"{path}.back", path)


def waits(lock: str, token: str, identifier: str, uptime: float) -> str:
    """Why nothing is to be done: `agreed`, or `ended`; `heard` while the run goes on; empty where it is lost.

    :param lock: path of the app's lock; beside it is what the run has noted.
    """
    noted = _json(f"{lock}.run")
    if noted.get("run") != token or noted.get("id") != identifier or noted.get("agreed"):
        return "agreed"
    if _json(lock).get("token") != token:
        return "ended"  # by itself or killed, and its machine has said so; the next run finishes it
    try:
        return "heard" if uptime - float(_read(f"{lock}.beat")) < SILENCE else ""
    except ValueError:
        return ""


def back(name: str, root: str, sockets: str, log: str, units_in: str, identifier: str, before: str) -> bool:
    """Give the traffic back to the release from before, if that still runs; whether it has it."""
    beside = {one: [f"{name}@{one}.target"] if os.path.exists(f"{units_in}/{name}@{one}.target") else [] for one in (identifier, before)}
    units = {one: [f"{name}@{one}.service", f"{name}@{one}.socket", *beside[one]] for one in (identifier, before)}
    live = os.path.basename(os.readlink(f"{root}/live.sock")).removesuffix(".sock")
    if live != identifier or subprocess.run(["systemctl", "is-active", "--quiet", units[before][0]], check=False).returncode:
        return False
    _relink(f"{root}/live.sock", f"{sockets}/{before}.sock")
    _relink(f"{root}/live", f"{root}/releases/{before}")
    with contextlib.suppress(OSError):
        marker = f"{root}/releases/{identifier}/release.json"
        story = {key: value for key, value in _json(marker).items() if key != "pending"}
        _write(marker, json.dumps({**story, "verdict": "bad", "reason": REASON}, indent=2, sort_keys=True) + "\n")
        now = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
        with open(log, "a", encoding="utf-8") as stream:
            stream.write(json.dumps({"time": now, "event": "back", "app": name, "release": identifier, "to": before, "reason": REASON}) + "\n")
    if beside[identifier]:
        subprocess.run(["systemctl", "stop", *beside[identifier], f"{name}.*.alone@{identifier}.service"], check=False)
    if beside[before]:
        subprocess.run(["systemctl", "start", *beside[before]], check=False)
    subprocess.run(["systemctl", "enable", "--quiet", *units[before]], check=False)
    subprocess.run(["systemctl", "disable", "--quiet", *units[identifier]], check=False)
    return True


def main(name: str, root: str, sockets: str, log: str, units_in: str, lock: str, token: str, identifier: str, before: str) -> None:
    """Watch until it is decided."""
    while True:
        why = waits(lock, token, identifier, float(_read("/proc/uptime").split()[0]))
        if why in ("agreed", "ended"):
            return
        if not why:
            with open(f"{lock}.step", "a", encoding="utf-8") as stream, contextlib.suppress(BlockingIOError):
                fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)  # no step of a run is going on
                back(name, root, sockets, log, units_in, identifier, before)
                return
        time.sleep(2)


if __name__ == "__main__":
    main(*sys.argv[1:])
