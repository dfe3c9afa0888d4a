"""Where a release is built: a transient unit of a user that can write the new release and its app's cache, and nothing else.

Build backends, `.pth` files and whatever else comes with a package run here, never as root.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import re
import shlex
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ansible_collections.plainstack.web.plugins.module_utils.environment import render
from ansible_collections.plainstack.web.plugins.module_utils.host import memory, systemd
from ansible_collections.plainstack.web.plugins.module_utils.host.shared import new_uid
from ansible_collections.plainstack.web.plugins.module_utils.layout import APPS, App, write
from ansible_collections.plainstack.web.plugins.module_utils.text import plain

USER = "plainstack-build"
RUN = "/run"
SECONDS = 3600  # until a build is killed
SHOWN = 64 * 1024  # bytes of its output that are kept: the last ones
LEAST_MEMORY = 256 * 2**20
SANDBOX = (
    f"User={USER}",
    "UMask=0077",
    "NoNewPrivileges=true",
    "CapabilityBoundingSet=",
    "AmbientCapabilities=",
    "ProtectSystem=strict",
    "ReadOnlyPaths=/run",
    "TemporaryFileSystem=/srv:ro",
    "TemporaryFileSystem=/var/cache/plainstack:ro",
    "TemporaryFileSystem=/dev/shm:mode=1777,size=64M,nosuid,nodev",
    "InaccessiblePaths=-/etc/plainstack -/run/plainstack -/var/lib/plainstack -/var/log/plainstack",
    "PrivateTmp=true",
    "PrivateDevices=true",
    # A namespace of its own: builds of two apps have the same user, and could look into each other's processes
    "PrivateUsers=true",
    "PrivateIPC=true",
    "PrivateMounts=true",
    "ProtectHome=true",
    "ProtectProc=invisible",
    "ProtectKernelTunables=true",
    "ProtectKernelModules=true",
    "ProtectKernelLogs=true",
    "ProtectControlGroups=true",
    "ProtectClock=true",
    "ProtectHostname=true",
    "LockPersonality=true",
    "RestrictRealtime=true",
    "RestrictSUIDSGID=true",
    "RestrictNamespaces=true",
    "KeyringMode=private",
    "RemoveIPC=true",
    "SystemCallArchitectures=native",
    # No unix sockets: over one, the running app could be given a file of the release that is open for writing. io_uring goes round that
    "RestrictAddressFamilies=AF_INET AF_INET6 AF_NETLINK",
    "SystemCallFilter=~io_uring_setup io_uring_enter io_uring_register",
    "SystemCallErrorNumber=EPERM",
    # What is left when the last command has ended is killed at once
    "KillMode=control-group",
    "KillSignal=SIGKILL",
    f"RuntimeMaxSec={SECONDS}",
    "TasksMax=4096",
    # The apps that serve come first
    "CPUWeight=50",
    "IOWeight=50",
    "OOMScoreAdjust=500",
    "OOMPolicy=kill",
)


@dataclass(frozen=True)
class Outcome:
    """How a build ended: systemd's word (`success`, `exit-code`, `oom-kill`, `timeout`, ...) and the end of what it printed."""

    result: str
    output: str


def user() -> pwd.struct_passwd:
    """The user that builds; it is made where it is missing.

    :raises OSError: when there is none of that name but somebody else's.
    """
    try:
        found = pwd.getpwnam(USER)
    except KeyError:
        uid = new_uid(APPS)
        command = ["useradd", "--system", "--user-group", "--no-create-home", "--home-dir", "/nonexistent", "--shell", "/usr/sbin/nologin"]
        command += ["--uid", str(uid)] if uid else []
        made = subprocess.run([*command, USER], capture_output=True, text=True, check=False)
        try:
            found = pwd.getpwnam(USER)  # perhaps made by another run at the same time
        except KeyError:
            raise OSError(f"the user {USER} cannot be made: {made.stderr.strip()}") from None
    if found.pw_dir != "/nonexistent" or found.pw_uid == 0:
        raise OSError(f"the user {USER} belongs to something else (its home is {found.pw_dir}); remove it")
    return found


def unit(app: App) -> str:
    """Name of the unit; of each app one build at a time."""
    return f"plainstack-build-{app.name}.service"


def stop(app: App) -> None:
    """End a build that an interrupted run has left."""
    systemd.systemctl("stop", unit(app), check=False)
    systemd.systemctl("reset-failed", unit(app), check=False)


def _secrets(environment: Mapping[str, str]) -> list[str]:
    """What of the build's environment must not be shown."""
    found = {value for name, value in environment.items() if re.search("PASSWORD|TOKEN|SECRET|KEY", name)}
    for value in environment.values():
        found |= set(re.findall(r"//([^/@\s]+)@", value))
    return sorted((text for text in found if len(text) > 3), key=len, reverse=True)


def words(app: App, identifier: str, commands: Sequence[Sequence[str]], environment_file: str, limit: int) -> list[str]:
    """The command that runs these one after the other in the sandbox, until one fails."""
    own = (
        f"WorkingDirectory={app.release(identifier)}",
        f"BindPaths={app.release(identifier)}",
        f"BindPaths={app.cache}",
        f"EnvironmentFile={environment_file}",
        f"MemoryMax={limit}",
    )
    script = "\n".join(shlex.join(command) for command in commands)
    run = ["systemd-run", "--quiet", "--wait", "--pipe", f"--unit={unit(app)}", *(f"--property={line}" for line in (*SANDBOX, *own))]
    return [*run, "/bin/sh", "-ec", script.replace("$", "$$")]  # systemd expands variables in what it executes


def run(app: App, identifier: str, commands: Sequence[Sequence[str]], environment: Mapping[str, str]) -> Outcome:
    """Run commands in the sandbox, in the directory of a release; nothing of them is left when this returns.

    :param environment: theirs; it is in no argument and in no file that others than root can read.
    """
    file = f"{RUN}/{unit(app)}.environment"
    write(file, render(environment), 0o600)
    output = b""
    try:
        limit = max(memory.available(), LEAST_MEMORY)
        with subprocess.Popen(
            words(app, identifier, commands, file, limit), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        ) as process:
            while chunk := process.stdout.read1(SHOWN):  # type: ignore[union-attr]
                output = (output + chunk)[-SHOWN:]
        result = systemd.show(unit(app), "Result").get("Result", "")
        if process.returncode and result == "success":
            result = "exit-code"  # the unit could not even be started
    finally:
        stop(app)
        with contextlib.suppress(FileNotFoundError):
            os.unlink(file)
    text = output.decode(errors="replace").strip()
    for secret in _secrets(environment):
        text = text.replace(secret, "****")
    return Outcome(result, plain(text))
