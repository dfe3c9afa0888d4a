"""An app in maintenance: nginx answers for it, and its timers wait. It stays so over releases and reboots."""

from __future__ import annotations

import contextlib
import glob
import json
import os
import time
from collections.abc import Mapping
from typing import Any

from ansible_collections.plainstack.web.plugins.module_utils import layout
from ansible_collections.plainstack.web.plugins.module_utils.host import systemd
from ansible_collections.plainstack.web.plugins.module_utils.host.configuration import run
from ansible_collections.plainstack.web.plugins.module_utils.host.lock import shared, step
from ansible_collections.plainstack.web.plugins.module_utils.layout import App, make_directory, read, write

PATIENCE = 20  # seconds to wait for another run that writes nginx's configuration
STARTS_WITHIN = 60.0  # seconds for an app that was paused to start again
SITES = "/etc/nginx/sites.conf"
# Until the app has ended, then for so long; while it is to start, systemd has it wait for this to end
HOLD = 'while systemctl is-active --quiet "$1" || [ "$(systemctl is-active "$1")" = deactivating ]; do sleep 0.1; done; exec sleep "$2"'


class MaintenanceError(Exception):
    """It could not be switched; the message says why, and that all is as it was."""


def state(app: App) -> dict[str, Any]:
    """Since when (`time`), and `by` and `origin`; nothing where the app is not in maintenance."""
    try:
        found = json.loads(read(app.maintenance) or "{}")
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _timers(app: App) -> list[str]:
    """Those of the live release."""
    live = app.live_id()
    return [os.path.basename(path) for path in glob.glob(f"{layout.UNITS}/{app.name}.*@{live}.timer")] if live else []


def _put(contents: Mapping[str, str | None]) -> None:
    """What others use comes first and goes last: at no moment has nginx's configuration a name that nobody has defined.

    :param contents: in the order in which they come; None for what goes.
    """
    for path, content in contents.items():
        if content is not None:
            make_directory(os.path.dirname(path))
            write(path, content, 0o644 if path.endswith(".html") else 0o640)
    for path, content in reversed([*contents.items()]):
        if content is None:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)


def _serve(app: App, files: Mapping[str, str], unfinished: bool) -> bool:
    """Have nginx load the files, or none of them; whether something changed.

    :param unfinished: whether a run that was killed may have left files that nginx has not loaded.
    """
    wanted: dict[str, str | None] = {path: files.get(path) for path in (app.maintenance_page, app.maintenance_map, app.maintenance_rules)}
    before = {path: read(path) for path in wanted}
    if before == wanted and not unfinished:
        return False
    if files and f"{app.maintenance_rules[:-1]}[f]" not in (read(SITES) or ""):
        raise MaintenanceError(f"{app.name}: nginx has no site of it, or one of an older version of Plainstack.\nNext: deploy it once.")
    if not (any(before.values()) or files):
        return False
    _put(wanted)
    for command in (["/usr/sbin/nginx", "-t", "-q"], ["systemctl", "reload", "nginx.service"]):
        code, said = run(command)
        if code:
            _put(before)
            raise MaintenanceError(f"{app.name}: {' '.join(command)} says: {said}\nWhat nginx had before is back and still in use.")
    return True


def _holds(app: App) -> str:
    """Unit that keeps the app from being started while its requests wait."""
    return f"plainstack-pause-{app.name}.service"


def paused(app: App) -> bool:
    """Whether requests wait on the socket."""
    return systemd.show(_holds(app), "ActiveState")["ActiveState"] in ("activating", "active")


def pause(app: App, seconds: int, check: bool) -> bool:
    """Have requests wait on the app's socket, which systemd keeps: those that it has end, then for so long nothing of the web server runs.

    A unit that is to start before the app's is in its way; where this one is killed in the middle, the app starts all the same.

    :raises MaintenanceError: where it does not run.
    """
    live = app.live_id()
    service = app.unit(live, "service")
    if not live or systemd.show(service, "ActiveState")["ActiveState"] != "active":
        raise MaintenanceError(f"{app.name}: no release runs here whose requests could wait.\nNext: ansible-playbook plainstack.web.status")
    if check:
        return True
    with step(app, ""):
        words = ["systemd-run", "--quiet", "--collect", "--no-block", f"--unit={_holds(app)}", "--property=Type=oneshot", "--property=TimeoutStartSec=infinity"]
        code, said = run([*words, f"--property=Before={service}", "/bin/sh", "-c", HOLD, "sh", service, str(seconds)])
        if code:
            raise MaintenanceError(f"{app.name}: systemd-run says: {said}\nNothing was touched.")
        systemd.systemctl("stop", service)
        systemd.systemctl("start", "--no-block", service)
    return True


def resume(app: App) -> None:
    """End a pause: what waits is answered. A release that goes live meanwhile must not find it there."""
    systemd.systemctl("stop", _holds(app), check=False)
    deadline = time.monotonic() + STARTS_WITHIN
    while systemd.show(app.unit(app.live_id(), "service"), "ActiveState")["ActiveState"] != "active" and time.monotonic() < deadline:
        time.sleep(0.1)


def switch(app: App, on: bool, files: Mapping[str, str], about: Mapping[str, Any], check: bool) -> bool:
    """Put the app into maintenance, or take it out; whether something changed.

    :param files: for nginx, where visitors come in; none elsewhere.
    :param about: what `state` is to say.
    """
    was = bool(state(app))
    waits = not on and bool(app.live_id()) and paused(app)
    if check:
        return waits or was != on or (on and any(read(path) != content for path, content in files.items()))
    with shared("configuration", PATIENCE):
        changed = _serve(app, files if on else {}, was != on)
        if on and not was:
            make_directory(os.path.dirname(app.maintenance))
            write(app.maintenance, json.dumps(about))
        elif was and not on:
            os.unlink(app.maintenance)
    if waits:
        resume(app)
    timers = _timers(app)  # a load balancer has none
    works = bool(timers) and systemd.show(app.unit(app.live_id(), "target"), "ActiveState")["ActiveState"] == "active"
    # Whatever an earlier run got to; but not those of an app that was stopped meanwhile
    wrong = [unit for unit in timers if (systemd.show(unit, "ActiveState")["ActiveState"] == "active") == on] if on or works else []
    if wrong:
        systemd.systemctl("stop" if on else "start", *wrong, check=not on)
    return changed or waits or was != on or bool(wrong)
