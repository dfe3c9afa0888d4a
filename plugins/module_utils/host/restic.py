"""Run restic as root, where it sees nothing but the system's programs and what is to be saved or restored.

An app may put a link in the place of a directory while that is read: whatever it leads to, no secret is there.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import secrets
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ansible_collections.plainstack.web.plugins.module_utils.environment import render
from ansible_collections.plainstack.web.plugins.module_utils.layout import make_directory, write
from ansible_collections.plainstack.web.plugins.module_utils.text import plain

CACHE = "/var/cache/plainstack-backup"
LONGEST = 12 * 3600  # seconds for one command
# Seconds for commands that somebody waits for: by itself restic asks a repository that cannot be reached for a quarter of an hour
WITHIN = {"cat": 60, "init": 60}
LOCKED_FOR = 600.0  # seconds to wait for another server that works on the repository, while somebody waits
AGAIN_AFTER = 10.0  # seconds between two tries
SHOWN = 15  # lines of what it says
# Programs, their libraries, and what they need for names and certificates of servers
SYSTEM: tuple[str, ...] = ("/usr", "/bin", "/sbin", "/lib", "/lib64", "/etc/ssl", "/etc/ca-certificates", "/etc/resolv.conf", "/run/systemd/resolve")
SYSTEM += ("/etc/nsswitch.conf", "/etc/hosts", "/etc/passwd", "/etc/group", "/etc/localtime")
PROPERTIES = (
    "TemporaryFileSystem=/",
    "PrivateDevices=yes",
    "PrivateTmp=yes",
    "NoNewPrivileges=yes",
    "CapabilityBoundingSet=CAP_CHOWN CAP_DAC_OVERRIDE CAP_DAC_READ_SEARCH CAP_FOWNER",
    "RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_NETLINK",
    "WorkingDirectory=/",
    "Nice=10",
    "IOSchedulingClass=idle",
)
NO_PATH = re.compile(r"[\s:\"'%\\]")  # what has a meaning for systemd
PARTLY = 3  # exit status of a backup without some files


class ResticError(Exception):
    """It failed; the message is what it says."""


class SilentError(ResticError):
    """The repository cannot be reached."""


@dataclass(frozen=True)
class Repository:
    """Where the snapshots are, as restic names it, the password that encrypts them, and what else its program needs, such as keys of a cloud."""

    location: str
    password: str
    environment: Mapping[str, str]
    patience: float = LOCKED_FOR

    @property
    def directory(self) -> str:
        """The one on this host; empty where it is elsewhere."""
        path = self.location.removeprefix("local:")
        return path if path.startswith("/") else ""


def _run(repository: Repository, words: Sequence[str], reads: Mapping[str, str], writes: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    unit = f"plainstack-restic-{secrets.token_hex(4)}"
    environment = f"/run/{unit}.environment"
    binds = [*(f"BindReadOnlyPaths=-{path}" for path in SYSTEM), *(f"BindReadOnlyPaths={path}:{place}" for path, place in reads.items())]
    binds += [f"BindPaths={path}:{place}" for path, place in {**writes, CACHE: CACHE}.items()]
    binds += [f"BindPaths={repository.directory}"] if repository.directory else []
    command = ["systemd-run", "--quiet", "--wait", "--collect", "--pipe", f"--unit={unit}.service", "--description=restic"]
    limit = WITHIN.get(words[0], LONGEST)
    command += [f"--property={one}" for one in (*PROPERTIES, f"RuntimeMaxSec={limit}", f"EnvironmentFile={environment}", *binds)]
    variables = {"HOME": "/", "RESTIC_REPOSITORY": repository.location, "RESTIC_PASSWORD": repository.password, "RESTIC_CACHE_DIR": CACHE}
    variables["RESTIC_PROGRESS_FPS"] = "0.01"  # or it says 60 times a second how far it is
    make_directory(CACHE, 0o700)
    write(environment, render({**repository.environment, **variables}), 0o600)
    try:
        return subprocess.run(
            [*command, "/usr/bin/restic", *words], stdin=subprocess.DEVNULL, capture_output=True, encoding="utf-8", errors="replace", check=False
        )
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(environment)


def _said(text: str) -> str:
    """The last lines of what it complains of; with `--json`, its newer versions do so in JSON."""
    lines = []
    for line in text.strip().split("\n")[-SHOWN:]:
        with contextlib.suppress(ValueError, KeyError, TypeError):
            told = json.loads(line)
            line = str(told["message"]) if "message" in told else f"{told['item']}: {told['error']['message']}"
        lines.append(line)
    return plain("\n".join(lines))


def run(
    repository: Repository, *words: str, reads: Mapping[str, str] | None = None, writes: Mapping[str, str] | None = None, good: Sequence[int] = (0,)
) -> tuple[str, str]:
    """Run a command of restic; what it printed, and what it complained of.

    :param reads: by a path of the host, where restic is to see it, read-only; `writes` the same for what it may change.
    :param good: its exit statuses that are no failure.
    :raises ResticError: when it fails, also where another command has the repository locked for longer than its `patience`.
    """
    deadline = time.monotonic() + repository.patience
    while True:
        began = time.monotonic()
        done = _run(repository, words, reads or {}, writes or {})
        if done.returncode in good:
            return done.stdout, _said(done.stderr)
        said = _said(done.stderr or done.stdout)
        if words[0] in WITHIN and time.monotonic() >= began + WITHIN[words[0]]:
            why = [line for line in said.splitlines() if "retrying" in line][-1:]
            raise SilentError(": ".join([f"no answer within {WITHIN[words[0]]} s", *why]))
        if "repository is already locked" not in said or time.monotonic() >= deadline:
            raise ResticError(said or f"restic {words[0]} ended with exit status {done.returncode}")
        time.sleep(AGAIN_AFTER)


def initialise(repository: Repository) -> bool:
    """Make the repository where there is none; whether there was none.

    :raises ResticError: when it can be neither read nor made.
    """
    if NO_PATH.search(repository.directory):
        raise ResticError(f"the path {repository.directory} has a character that no path of a repository may have here: blanks, colons, quotes, % and \\")
    if repository.directory and not os.path.isdir(repository.directory):
        make_directory(repository.directory, 0o700)
    try:
        run(repository, "cat", "config")
        return False
    except SilentError:
        raise
    except ResticError as unread:
        try:
            run(repository, "init")
            return True
        except ResticError as error:
            # Where it is there, the first of the two says why it cannot be read
            raise (unread if "already" in str(error) else error) from error


def room(repository: Repository, snapshot: str) -> int:
    """Bytes that a snapshot needs where it is restored."""
    printed, _complaints = run(repository, "stats", "--json", "--mode=restore-size", snapshot)
    return int(json.loads(printed)["total_size"])


def snapshots(repository: Repository, host: str, app: str) -> list[dict[str, Any]]:
    """The snapshots of an app on a server, or on any, the oldest first: each with `id`, `time`, `paths` and so on.

    :raises SilentError: where the repository cannot be reached, soon.
    """
    run(repository, "cat", "config")
    printed, _complaints = run(repository, "snapshots", "--json", *([f"--host={host}"] if host else []), f"--tag=plainstack,{app}")
    found: list[dict[str, Any]] = json.loads(printed) or []
    return sorted(found, key=lambda one: str(one["time"]))
