"""How a server and its apps are, as Prometheus reads it: a file for the textfile collector of node_exporter.

The program behind plainstack-metrics.timer; it keeps nothing running.
"""

from __future__ import annotations

import calendar
import json
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ansible_collections.plainstack.web.plugins.module_utils.host import backup, status
from ansible_collections.plainstack.web.plugins.module_utils.layout import read, write

CONFIG = "/etc/plainstack-monitoring/config.json"
FILE = "/var/lib/prometheus/node-exporter/plainstack.prom"
STOPPED = "was stopped"  # so `status` begins where somebody has
Labels = Mapping[str, str]
# What each is; all are gauges
HELP = {
    "plainstack_app_healthy": "Whether the live release answers its health check.",
    "plainstack_app_stopped": "Whether somebody has stopped it until it is started again.",
    "plainstack_app_info": "The live release, and the commit that it was built from.",
    "plainstack_app_live_timestamp_seconds": "When the live release went live.",
    "plainstack_app_maintenance": "Whether visitors get the page of maintenance.",
    "plainstack_app_memory_bytes": "Memory of all units of the app.",
    "plainstack_app_requests_busy": "Requests that are not answered yet.",
    "plainstack_app_requests_recent": "Requests of the last five minutes, without health checks and files.",
    "plainstack_app_errors_recent": "Those of them that were answered with 5xx.",
    "plainstack_app_request_seconds_recent": "Seconds within which so many of them were answered.",
    "plainstack_unit_active": "Whether a process of the live release runs; of a timer, whether it waits for its time.",
    "plainstack_unit_restarts": "How often systemd has started the process again.",
    "plainstack_backup_timestamp_seconds": "When the data of the app was last backed up.",
    "plainstack_backup_overdue": "Whether the last try to back it up failed, or the last backup is older than it may be.",
    "plainstack_certificate_expiry_timestamp_seconds": "When the certificate of the domain ends.",
    "plainstack_nginx_active": "Whether nginx runs.",
    "plainstack_reboot_required": "Whether the system waits for a reboot.",
    "plainstack_timestamp_seconds": "When all of this was looked at.",
}


def _moment(text: object) -> float | None:
    """Seconds since 1970 of a time as release.json has it; None where it has none."""
    try:
        return float(calendar.timegm(time.strptime(str(text), "%Y%m%dT%H%M%SZ")))
    except ValueError:
        return None


def _of_app(app: Mapping[str, Any]) -> Iterable[tuple[str, Labels, float | None]]:
    name, met = {"app": str(app["name"])}, app["requests"]
    yield "plainstack_app_healthy", name, not app["unhealthy"]
    yield "plainstack_app_stopped", name, str(app["unhealthy"]).startswith(STOPPED)
    yield "plainstack_app_info", {**name, "release": str(app["live"]), "revision": str(app["revision"] or "")}, 1
    yield "plainstack_app_live_timestamp_seconds", name, _moment(app["went_live"])
    yield "plainstack_app_maintenance", name, bool(app["maintenance"])
    yield "plainstack_app_memory_bytes", name, app["memory"]
    yield "plainstack_app_requests_busy", name, app["busy"]
    if met:
        yield "plainstack_app_requests_recent", name, met["requests"]
        yield "plainstack_app_errors_recent", name, met["errors"]
        for part in ("50", "99"):
            yield "plainstack_app_request_seconds_recent", {**name, "percentile": part}, met[f"p{part}"]
    for unit in app["units"]:
        if unit["release"] == app["live"] and unit["kind"] != "job":
            labels = {**name, "unit": str(unit["unit"]).replace(f"@{unit['release']}", ""), "kind": str(unit["kind"])}
            yield "plainstack_unit_active", labels, unit["state"] == "active"
            yield "plainstack_unit_restarts", labels, unit["restarts"]


def _all(found: Mapping[str, Any], backups: Mapping[str, tuple[float, str]]) -> Iterable[tuple[str, Labels, float | None]]:
    for app in found["apps"]:
        yield from _of_app(app)
    for name, (at, wrong) in backups.items():
        yield "plainstack_backup_timestamp_seconds", {"app": name}, at or None
        yield "plainstack_backup_overdue", {"app": name}, bool(wrong)
    for one in found["certificates"]:
        yield "plainstack_certificate_expiry_timestamp_seconds", {"domain": str(one["domain"])}, one.get("ends")
    if found["nginx"]:
        yield "plainstack_nginx_active", {}, found["nginx"] in ("active", "reloading")
    yield "plainstack_reboot_required", {}, found["reboot"]["required"]
    yield "plainstack_timestamp_seconds", {}, found["time"]


def _label(value: str) -> str:
    return value.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")


def render(found: Mapping[str, Any], backups: Mapping[str, tuple[float, str]]) -> str:
    """The file.

    :param found: what `status.of_host` returns, and `backups` by app when it was saved last (0 for never), and what is wrong with that.
    """
    lines: dict[str, list[str]] = {}
    for name, labels, value in _all(found, backups):
        if value is not None:
            shown = ",".join(f'{key}="{_label(text)}"' for key, text in labels.items())
            lines.setdefault(name, []).append(f"{name}{f'{{{shown}}}' if shown else ''} {float(value):.17g}")
    return "".join(f"# HELP {name} {HELP[name]}\n# TYPE {name} gauge\n" + "".join(f"{line}\n" for line in lines[name]) for name in HELP if name in lines)


def main(_words: Sequence[str]) -> int:
    """The entry point: look once, and write the file."""
    config = json.loads(read(CONFIG) or "{}")
    names = backup.there([app["name"] for app in config["apps"]])
    apps = [{"name": app["name"], "host": app["host"], "wanted": None} for app in config["apps"] if app["name"] in names]
    found = status.of_host(apps, names, config["domains"], config["serves"])
    known, wrong = backup.state(), backup.overdue(time.time())
    backups = {name: (float(known.get(name, {}).get("at", 0)), wrong.get(name, "")) for name in names if name in {*known, *wrong}}
    write(FILE, render(found, backups))
    return 0
