"""Try everything, and write down in the release what came of it."""

from __future__ import annotations

import json
import os
import pathlib
import socket
import subprocess
from collections.abc import Callable

WRITE = (
    "/etc",
    "/run",
    "/run/lock",
    "/srv",
    "/srv/other/shared",
    "/var/cache/plainstack",
    "/var/cache/plainstack/build/app-hashed",
    "/var/lib",
    "/usr/local/bin",
)
READ = ("/etc/shadow", "/srv/app-hashed", "/srv/other", "/etc/plainstack", "/var/cache/plainstack/build/app-hashed", "/run/plainstack", "/root", "/proc/1/root")


def _fails(action: Callable[[], object]) -> bool:
    try:
        action()
    except OSError:
        return True
    return False


def _own_release() -> pathlib.Path:
    """The one release that the mount namespace shows."""
    return next(pathlib.Path("/srv").glob("*/releases/*"))


def attack(who: str) -> None:
    """What succeeds is written to attack-<who>.json in the release."""
    try:
        release = _own_release()
        done = {
            "uid": os.getuid(),
            "status": {
                line.split(":")[0]: line.split(":")[1].strip()
                for line in pathlib.Path("/proc/self/status").read_text().splitlines()
                if "Cap" in line or "NoNew" in line
            },
            "written": [path for path in WRITE if not _fails(lambda path=path: pathlib.Path(path, "evil").write_text("x"))],
            "listed": [path for path in READ if not _fails(lambda path=path: os.listdir(path) if os.path.isdir(path) else open(path).close())],
            "linked": [
                path for path in ("/etc/shadow", "/etc/passwd") if not _fails(lambda path=path: os.link(path, release / f"link-{os.path.basename(path)}"))
            ],
            "unix socket": not _fails(lambda: socket.socket(socket.AF_UNIX)),
            "set-uid": not _fails(lambda: os.chmod(_touched(release / f"setuid-{who}"), 0o4755)),
            "secret": "UV_EVIL" in os.environ,
            "processes": [pid for pid in os.listdir("/proc") if pid.isdigit() and os.stat(f"/proc/{pid}").st_uid == 0],
        }
        (release / f"attack-{who}.json").write_text(json.dumps(done))
        (release / f"shadow-{who}").symlink_to("/etc/shadow")
        os.chmod(_touched(release / f"open-{who}"), 0o666)
        # One that outlives the build, and ignores being asked to end
        subprocess.Popen(
            ["/bin/sh", "-c", "trap '' TERM HUP; sleep 7531; sleep 7531"], start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
    except (OSError, StopIteration):
        pass


def _touched(path: pathlib.Path) -> pathlib.Path:
    path.write_text("x")
    return path
