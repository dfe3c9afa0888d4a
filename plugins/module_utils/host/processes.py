"""What runs beside the web server of a release: processes and timers, which its target takes along.

They belong to the release that has the traffic. Those of another one go on until that is stopped, but for what may run only once.
"""

from __future__ import annotations

import glob
import os
import subprocess
import time
from collections.abc import Iterator, Mapping
from typing import Any

from ansible_collections.plainstack.web.plugins.module_utils import layout
from ansible_collections.plainstack.web.plugins.module_utils.host import systemd
from ansible_collections.plainstack.web.plugins.module_utils.host.systemd import InstanceError
from ansible_collections.plainstack.web.plugins.module_utils.layout import App
from ansible_collections.plainstack.web.plugins.module_utils.text import ENGLISH, plain

ACTIVE = "active,activating,deactivating,reloading"


def _units(app: App) -> list[str]:
    """Units of processes and timers, of any release, that are there and have not ended."""
    listed = systemd.systemctl("list-units", "--plain", "--no-legend", f"--state={ACTIVE}", f"{app.name}.*@*")
    return [line.split()[0] for line in listed.splitlines()]


def _of(unit: str) -> str:
    return unit.split("@", 1)[1].rsplit(".", 1)[0]


def working(app: App) -> set[str]:
    """Ids of the releases of which something still works, perhaps until the end of its job."""
    return {_of(unit) for unit in _units(app)}


def has(app: App, identifier: str) -> bool:
    """Whether anything runs beside the web server of a release."""
    return os.path.exists(app.unit_file(identifier, "target"))


def take_over(app: App, identifier: str) -> bool:
    """Have those of a release work: what may run only once has ended in all others before; whether something changed."""
    once = [unit for unit in _units(app) if _of(unit) != identifier and (unit.endswith(".timer") or ".alone@" in unit)]
    if once:
        systemd.systemctl("stop", *once, check=False)
    if not has(app, identifier):
        return bool(once)
    target = app.unit(identifier, "target")
    began = systemd.show(target, "ActiveState")["ActiveState"] != "active"
    systemd.systemctl("start", target)  # also what of it was stopped, while the target was not
    return began or bool(once)


def _of_release(app: App, identifier: str) -> Iterator[dict[str, str]]:
    """What systemd knows of each process of a release."""
    if has(app, identifier):
        found = systemd.systemctl("show", f"{app.name}.*.*@{identifier}.service", "--property=Id,ActiveState,SubState,NRestarts")
        yield from filter(None, (dict(line.split("=", 1) for line in block.splitlines()) for block in found.split("\n\n")))


def ended(app: App, identifier: str) -> str:
    """The unit of a process that has ended since it was started, restarted by systemd or not; empty where all work."""
    for unit in _of_release(app, identifier):
        if unit["ActiveState"] == "failed" or unit["SubState"] == "auto-restart" or int(unit["NRestarts"]) > 0:
            return unit["Id"]
    return ""


def down(app: App, identifier: str) -> str:
    """The unit of a process that does not run now, whether it has before or not; empty where all run."""
    return next((unit["Id"] for unit in _of_release(app, identifier) if unit["ActiveState"] != "active"), "")


STARTED_WITHIN = 1.0  # seconds that a process must have gone on after its start


def _named(app: App, identifier: str, name: str) -> list[str]:
    """The units of a process, or the timer, in the order of their numbers.

    :raises InstanceError: when the release has none on this host.
    """
    timer = app.process(identifier, name, "", "timer")
    if os.path.exists(f"{layout.UNITS}/{timer}"):
        return [timer]
    found = [os.path.basename(path) for path in glob.glob(f"{layout.UNITS}/{app.process(identifier, name, '*', 'service')}")]
    return sorted(found, key=lambda unit: (len(unit), unit))


def stop(app: App, identifier: str, name: str, check: bool) -> bool:
    """Stop a process or timer until it is started again or the server boots; whether it ran."""
    active = [unit for unit in _named(app, identifier, name) if systemd.show(unit, "ActiveState")["ActiveState"] != "inactive"]
    if active and not check:
        systemd.systemctl("stop", *active)
        systemd.systemctl("reset-failed", *active, check=False)
    return bool(active)


def start(app: App, identifier: str, name: str, again: bool, check: bool) -> bool:
    """Start what of a process or timer does not run; whether something was started.

    :param again: restart it, one after the other, so that of several one always works.
    :raises InstanceError: when one has ended a second after its start; those after it were left as they were.
    """
    units = _named(app, identifier, name)
    wanted = [unit for unit in units if again or systemd.show(unit, "ActiveState")["ActiveState"] != "active"]
    for unit in wanted if not check else []:
        systemd.systemctl("reset-failed", unit, check=False)
        systemd.systemctl("restart" if again else "start", unit)
        if unit.endswith(".timer"):
            if systemd.show(unit, "ActiveState")["ActiveState"] != "active":
                raise InstanceError(f"{app.name}: the timer '{name}' has not started: in maintenance timers wait.\nNext: systemctl status {unit}")
            continue
        time.sleep(STARTED_WITHIN)
        found = systemd.show(unit, "ActiveState", "NRestarts")
        if found["ActiveState"] != "active" or int(found["NRestarts"]):
            rest = units[units.index(unit) + 1 :]
            left = f"\nNot touched: {', '.join(rest)}." if rest and again else ""
            raise InstanceError(
                f"{app.name}: the process '{name}' has ended right after its start.\nThe last lines of its log:\n"
                f"{systemd.log(unit, ended=True) or '(it wrote none)'}{left}\n"
                f"Next: fix the app and deploy again; the whole log is in: journalctl --unit={unit}"
            )
    return bool(wanted)


def unknown_schedules(app: App, timers: Mapping[str, Any]) -> list[str]:
    """What is wrong with when timers are to run, as the systemd of this host says."""
    wrong = []
    for name, timer in timers.items():
        command = ["systemd-analyze", "calendar", "--", timer["schedule"]]
        done = subprocess.run(command, env={**os.environ, **ENGLISH}, capture_output=True, encoding="utf-8", errors="replace", check=False)
        if done.returncode:
            wrong.append(
                f"{app.name}: 'schedule' of the timer '{name}' is '{timer['schedule']}', and systemd says: {plain(done.stderr.strip())}. "
                "'systemd-analyze calendar' shows what one means, such as 'Mon..Fri 03:00'; systemd.time(7) has them all."
            )
    return wrong
