"""Run a command of the app (a migration, a cache to warm) as the app would run it: its user, its environment, its sandbox."""

from __future__ import annotations

import contextlib
import os
import select
import subprocess
import time

from ansible_collections.plainstack.web.plugins.module_utils.environment import render
from ansible_collections.plainstack.web.plugins.module_utils.host.systemd import InstanceError, show, systemctl
from ansible_collections.plainstack.web.plugins.module_utils.layout import App, write
from ansible_collections.plainstack.web.plugins.module_utils.text import plain

# Settings of the app's unit that are about a service that runs for ever
OF_A_SERVICE = ("Type", "NotifyAccess", "Exec", "Kill", "Restart", "Timeout", "OOMPolicy", "Watchdog")
VARIABLE = "PLAINSTACK_HOOK"
# systemd expands variables in what it executes; the shell is to do that
TAKE_COMMAND = f'command=$${VARIABLE}; unset {VARIABLE}; eval "$$command"'
LARGEST = 2**18  # bytes of its output that are kept, the last ones
DRAINED_WITHIN = 1.0  # seconds that what it has printed is read for, once it has ended
SHOWN = 40  # lines of them in an error


def settings(unit_text: str, app: App, identifier: str) -> list[str]:
    """What is in [Service] of a unit with its drop-ins, as systemctl cat prints it, for a transient unit."""
    found, section = [], ""
    for line in unit_text.splitlines():
        line = line.strip()
        if line.startswith("["):
            section = line
        elif section == "[Service]" and "=" in line and not line.startswith(("#", ";", *OF_A_SERVICE)):
            found.append(line.replace("%p", app.name).replace("%i", identifier))
    return found


def _execute(words: list[str]) -> tuple[int, str]:
    """Exit code of a command and the end of what it prints, whatever the length of it."""
    kept, ended = b"", 0.0
    with subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process:
        output = process.stdout.fileno()  # type: ignore[union-attr]  # it is a pipe
        there = select.poll()
        there.register(output, select.POLLIN)
        # The app may have handed its output to a process that goes on: not waited for
        while not ended or time.monotonic() < ended + DRAINED_WITHIN:
            if there.poll(200):
                if not (more := os.read(output, 65536)):
                    break
                kept = (kept + more)[-LARGEST:]
            if not ended and process.poll() is not None:
                ended = time.monotonic()
    return process.returncode, plain(kept.decode("utf-8", "replace").strip())


def execute(app: App, identifier: str, unit: str, about: str, command: str, timeout: int) -> tuple[int, str]:
    """Run a command in the release's directory, environment, user and sandbox, and wait for its end.

    :param unit: name of the transient unit.
    :param about: what it is, for its description; the command itself may have a token in it, and descriptions are for everybody to read.
    :param command: for /bin/sh; the release's own environment comes first in PATH.
    :param timeout: seconds until it is killed.
    :returns: its exit code, and what it printed, the last 256 KiB of it.
    """
    service = settings(systemctl("cat", app.unit(identifier, "service")), app, identifier)
    path = f"{app.release(identifier)}/.venv/bin:/usr/local/bin:/usr/bin:/bin"
    words = ["systemd-run", "--quiet", "--wait", "--collect", "--pipe", f"--unit={unit}", f"--property=RuntimeMaxSec={timeout}"]
    words += [f"--property={line}" for line in service]
    # So are arguments and properties of a unit
    words += [f"--description={about} of {app.name}, release {identifier}", f"--property=EnvironmentFile={app.hook(unit)}"]
    words += ["/usr/bin/env", f"PATH={path}", "/bin/sh", "-c", TAKE_COMMAND]
    write(app.hook(unit), render({VARIABLE: command}), 0o600)
    try:
        return _execute(words)
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(app.hook(unit))


def run(app: App, identifier: str, name: str, command: str, timeout: int) -> str:
    """Run a hook and wait for its end.

    :param name: `migrate` or `after_live`.
    :param command: see `execute`.
    :param timeout: seconds until it is killed.
    :returns: what it printed, the last 256 KiB of it.
    :raises InstanceError: with the end of its output, when it fails, or when the same hook of an earlier run still runs.
    """
    unit = f"plainstack-{name}-{app.name}.service"
    if show(unit, "ActiveState")["ActiveState"] in ("active", "activating", "deactivating"):
        raise InstanceError(
            f"{app.name}: '{name}' of an earlier run is still going on; nothing was done.\n"
            f"Next: wait until it has ended ('systemctl status {unit}' on the host shows it, 'systemctl stop {unit}' ends it), then run the same command again."
        )
    code, output = execute(app, identifier, unit, name, command, timeout)
    if code:
        raise InstanceError(
            f"{app.name}: the hook '{name}' failed with exit code {code}.\nIts last lines:\n" + ("\n".join(output.splitlines()[-SHOWN:]) or "(it wrote none)")
        )
    return output
