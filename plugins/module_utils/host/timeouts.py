"""Have nginx wait for the answer of an app as long as its live release may take."""

from __future__ import annotations

import subprocess
from collections.abc import Callable

from ansible_collections.plainstack.web.plugins.module_utils.host.lock import LockError, shared
from ansible_collections.plainstack.web.plugins.module_utils.layout import App, read, write
from ansible_collections.plainstack.web.plugins.module_utils.timeouts import directives

PATIENCE = 20  # seconds to wait for another run that writes nginx's configuration and validates it, which takes a moment


def keep(app: App, seconds: int, warn: Callable[[str], None], check: bool = False) -> bool:
    """Have nginx wait so long; whether something changed. Where nginx has no site of the app yet, nothing is done.

    :param warn: gets what went wrong: a timeout must not keep a site from being switched back.
    :param check: only say whether it would change.
    """
    path, wanted = app.timeouts, directives(seconds)
    before = read(path)
    if before in (None, wanted):
        return False
    if check:
        return True
    try:
        with shared("configuration", PATIENCE):
            said = _load(path, wanted)
    except (LockError, OSError) as error:
        said = str(error)
    if said:
        warn(f"{app.name}: nginx goes on with the timeouts of another release, because it could not be reloaded: {said}")
    return not said


def _load(path: str, wanted: str) -> str:
    """Write the file and have nginx load it; why it does not, with what was there before back in place."""
    before = read(path)
    try:
        write(path, wanted)
        said = _failure("/usr/sbin/nginx", "-t", "-q") or _failure("systemctl", "reload", "nginx.service")
    except OSError as error:
        said = str(error)
    if said:
        write(path, before or "")
    return said


def _failure(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, encoding="utf-8", errors="replace", check=False)
    return (done.stdout + done.stderr).strip() or f"{' '.join(command)} failed" if done.returncode else ""
