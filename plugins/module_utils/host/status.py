"""How a server and its apps are now. Everything here reads, and starts nothing: a socket of systemd's would start what has ended."""

from __future__ import annotations

import contextlib
import glob
import json
import os
import re
import socket
import ssl
import subprocess
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from ansible_collections.plainstack.web.plugins.module_utils import layout
from ansible_collections.plainstack.web.plugins.module_utils.host import accesslog, certificates, maintenance, measure, memory, systemd
from ansible_collections.plainstack.web.plugins.module_utils.host.drain import connections
from ansible_collections.plainstack.web.plugins.module_utils.host.health import Health, ask_instance
from ansible_collections.plainstack.web.plugins.module_utils.host.tail import backwards
from ansible_collections.plainstack.web.plugins.module_utils.layout import App, read

PATIENCE = 5.0  # seconds until the live release must have answered
WINDOW = 300  # seconds of requests
FAILED = ("failed", "back")  # events of the log of deploys: before the switch, after it
HISTORY = 2**17  # bytes of the log of deploys that are looked at
TOLD = ("revision", "dirty", "went_live", "deployed_by", "deployed_from", "verdict", "reason")  # of release.json
SHOWN = ("Id", "ActiveState", "SubState", "Result", "NRestarts", "MemoryCurrent", "ActiveEnterTimestamp")
UNIT = re.compile(r"(?P<app>[^.@]+)(?:\.(?P<name>[^.@]+)(?:\.(?P<place>[^.@]+))?)?@(?P<release>.+)\.(?P<kind>service|timer)")
REBOOT = "/run/reboot-required"


def _number(text: str) -> int | None:
    """A number of systemd's, or a moment as `--timestamp=unix` writes it; None where it has none."""
    text = text.removeprefix("@")
    return int(text) if text.isdecimal() and int(text) < 2**63 else None


def parse_timers(text: str) -> dict[str, tuple[float | None, float | None]]:
    """When each timer runs next and has last run (seconds since 1970), from `systemctl list-timers --output=json`."""
    try:
        found = json.loads(text or "[]")
    except ValueError:
        return {}
    return {one["unit"]: ((one["next"] or 0) / 1e6 or None, (one["last"] or 0) / 1e6 or None) for one in found}


def parse_units(text: str, app: App, live: str, timers: Mapping[str, tuple[float | None, float | None]]) -> list[dict[str, Any]]:
    """What `systemctl show` says of an app's units, once each, without those of other releases that have ended.

    :param timers: see `parse_timers`.

    :returns: of each `unit`, `kind` (`instance`, `process`, `timer`, or `job` for what a timer runs), `name`, `release`, systemd's `state`, `substate`
        and `result`, `restarts`, `memory` in bytes, and the moments `since`, `next` and `last` (seconds since 1970).
    """
    blocks = [dict(line.split("=", 1) for line in block.splitlines() if "=" in line) for block in text.split("\n\n")]
    found = {}
    for block in blocks:
        named = UNIT.fullmatch(block.get("Id", ""))
        if not named or named["app"] != app.name or (named["release"] != live and block["ActiveState"] in ("inactive", "failed")):
            continue
        found[block["Id"]] = (named, block)
    runs_at_times = {(named["name"], named["release"]) for named, _block in found.values() if named["kind"] == "timer"}
    units = []
    for unit, (named, block) in sorted(found.items()):
        beside = "job" if (named["name"], named["release"]) in runs_at_times and not named["place"] else "process"
        units.append(
            {
                "unit": unit,
                "kind": "timer" if named["kind"] == "timer" else beside if named["name"] else "instance",
                "name": named["name"] or app.name,
                "release": named["release"],
                "state": block["ActiveState"],
                "substate": block["SubState"],
                "result": block.get("Result", ""),
                "restarts": _number(block.get("NRestarts", "")) or 0,
                "memory": _number(block.get("MemoryCurrent", "")),
                "since": _number(block.get("ActiveEnterTimestamp", "")),
                "next": timers.get(unit, (None, None))[0],
                "last": timers.get(unit, (None, None))[1],
            }
        )
    return units


def units(app: App, live: str) -> list[dict[str, Any]]:
    """The units of an app: those of the live release, whether they run or not, and what still runs of others."""
    # By their names, as systemd's patterns find only what it has loaded
    names = [app.unit(live, "service")] if live else []
    if live:
        names += [os.path.basename(path) for path in glob.glob(f"{layout.UNITS}/{app.name}.*@{live}.*")]
    words = ["show", "--timestamp=unix", f"--property={','.join(SHOWN)}", *names, f"{app.name}@*.service", f"{app.name}.*@*"]
    timers = systemd.systemctl("list-timers", "--all", "--output=json", f"{app.name}.*@*", check=False)
    return parse_units(systemd.systemctl(*words, check=False), app, live, parse_timers(timers))


def last_failure(app: App) -> dict[str, str] | None:
    """The last deploy that failed, from the log of deploys; None where there is none."""
    for path in (app.history, f"{app.history}.1"):
        for line in backwards(path, HISTORY):
            with contextlib.suppress(ValueError):
                told = json.loads(line)
                if isinstance(told, dict) and told.get("event") in FAILED:
                    return {key: str(told.get(key, "")) for key in ("time", "event", "release", "by", "origin", "reason")}
    return None


def _health(app: App, live: str, host: str, found: Sequence[Mapping[str, Any]]) -> str:
    """What is wrong with the live release; empty where nothing is."""
    state = next((str(one["state"]) for one in found if one["unit"] == app.unit(live, "service")), "inactive")
    story = app.story(live)
    if state != "active" and isinstance(halted := story.get("halted"), dict):
        by = f" by {halted['by']} on {halted['origin']}" if halted.get("by") else ""
        return f"was stopped{by} at {halted.get('time', '?')}; ansible-playbook plainstack.web.start -e app={app.name} starts it"
    if state != "active" and maintenance.paused(app):
        return "is paused: its requests wait"
    if state != "active":
        return f"does not run: its unit is {state}"
    path = str(story.get("config", {}).get("health_path", "/"))
    wrong = ask_instance(app.socket(live), Health(path, host, PATIENCE), PATIENCE)
    return f"{path} {wrong}" if wrong else ""


def _drift(app: App, live: str, wanted: Mapping[str, Any]) -> list[str]:
    """The keys in which the live release differs from the definition; code does not count, which would need the source."""
    config = app.story(live).get("config", {})
    keys = [key for key in wanted["config"] if not isinstance(config, dict) or config.get(key) != wanted["config"][key]]
    return keys + (["env or secrets"] if read(app.environment(live)) != wanted["environment"] else [])


def _at_once(app: App, live: str, config: Mapping[str, Any]) -> int | None:
    """How many requests the workers of the live release take at once; None where that is not known, as with other workers than Gunicorn's threads."""
    own = config.get("gunicorn") or {}
    if config.get("server") != "wsgi" or config.get("gunicorn_config") or {"worker_class", "threads"} & {*own}:
        return None
    workers = len(systemd.processes(app, live)) - 1  # without the master
    return workers * int(config["threads"]) if workers > 0 else None


def of_app(app: App, host: str, wanted: Mapping[str, Any] | None) -> dict[str, Any]:
    """How an app is.

    :param host: name of its site, for the health check.
    :param wanted: `config` and `environment` that the definition gives it; None where it has none.
    """
    live = app.live_id()
    found = units(app, live)
    there = live in app.complete()
    story = app.story(live) if there else {}
    wrong = "no release is live" if not live else "" if there else f"its release {live} is gone"
    return {
        "name": app.name,
        "live": live,
        **{key: story.get(key, "") for key in TOLD},
        "busy": connections(app.socket(live)) if live else 0,  # before it is probed
        "at_once": _at_once(app, live, story.get("config") or {}),
        "unhealthy": wrong or _health(app, live, host, found),
        "maintenance": maintenance.state(app),
        "units": found,
        "memory": sum(one["memory"] or 0 for one in found),
        "last_failure": last_failure(app),
        "differs": _drift(app, live, wanted) if there and wanted else [],
    }


def certificate(name: str) -> dict[str, Any]:
    """The certificate that this host's nginx serves for a name now: when it `begins` and `ends` (seconds since 1970), and whether it `covers` the name."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    try:
        with socket.create_connection(("127.0.0.1", 443), PATIENCE) as connection, context.wrap_socket(connection, server_hostname=name) as encrypted:
            chain = ssl.DER_cert_to_PEM_cert(encrypted.getpeercert(binary_form=True) or b"")
        done = subprocess.run(certificates.X509, input=chain, capture_output=True, encoding="utf-8", errors="replace", check=False)
        served = certificates.parse(done.stdout)
    except (OSError, ValueError) as error:
        return {"domain": name, "error": str(error) or type(error).__name__}
    return {"domain": name, "begins": served.begins, "ends": served.ends, "covers": served.covers(name), "error": ""}


def reboot() -> dict[str, Any]:
    """Whether the system waits for a reboot, and for which packages."""
    packages = sorted({line.strip() for line in (read(f"{REBOOT}.pkgs") or "").splitlines() if line.strip()})
    return {"required": os.path.exists(REBOOT), "packages": packages}


def of_host(apps: Sequence[Mapping[str, Any]], known: Sequence[str], domains: Sequence[str], serves: bool, minutes: bool = False) -> dict[str, Any]:
    """How the server and its apps are.

    :param apps: each with `name`, `host` and `wanted`; see `of_app`.
    :param known: names of all apps that are to be on this server.
    :param domains: names for which nginx here has a certificate.
    :param serves: whether the server has nginx.
    :param minutes: whether to read the requests of the last hour by minute, too.
    """
    disk = os.statvfs(layout.APPS if os.path.isdir(layout.APPS) else "/")
    names = [app["name"] for app in apps]
    with ThreadPoolExecutor(8) as pool:  # one that does not answer must not keep the others waiting
        looked_at = list(pool.map(lambda app: of_app(App(app["name"]), app["host"], app["wanted"]), apps))
        served = list(pool.map(certificate, domains))
    since = time.time() - WINDOW
    answered = accesslog.requests(names, since) if serves else {}
    for app in looked_at:
        app["requests"] = answered.get(app["name"])
    if minutes and serves:
        by_minute = accesslog.minutes(names, time.time())
        for app in looked_at:
            app["minutes"] = by_minute[app["name"]]
    return {
        "time": time.time(),
        "system": measure.pretty_name(),
        "memory": {"total": memory.total(), "available": memory.available()},
        "disk": {"total": disk.f_blocks * disk.f_frsize, "free": disk.f_bavail * disk.f_frsize},
        "reboot": reboot(),
        "nginx": systemd.show("nginx.service", "ActiveState")["ActiveState"] if serves else "",
        "certificates": served,
        "apps": looked_at,
        "unknown": [app.name for app in layout.apps() if app.live_id() and app.name not in known],
    }
