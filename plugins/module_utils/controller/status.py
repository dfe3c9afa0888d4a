"""What `status` says of a fleet, as text and as JSON, made from what was seen on each server. Pure functions."""

from __future__ import annotations

import datetime
import json
from collections.abc import Mapping
from typing import Any

from ansible_collections.plainstack.web.plugins.module_utils.controller.tables import age, commit, duration, moment, seconds, size, table
from ansible_collections.plainstack.web.plugins.module_utils.text import plain

VERSION = 1  # of the JSON; a field that is added leaves it as it is
DAY = 86400
TWO_THIRDS = 2 / 3
LITTLE = 0.1  # of disk or memory
Seen = Mapping[str, Mapping[str, Any]]  # by server what the module `status` saw; only `error` where the server could not be looked at


def _units(app: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The units of the live release."""
    return [one for one in app["units"] if one["release"] == app["live"]]


def _wrong_units(app: Mapping[str, Any]) -> list[str]:
    found = []
    for one in _units(app):
        if app["maintenance"] and one["kind"] == "timer" and one["state"] == "inactive":
            continue
        if one["kind"] in ("process", "timer") and (one["state"] != "active" or one["substate"] == "auto-restart"):
            state = one["substate"] if one["state"] == "activating" else one["state"]
            found.append(f"the {one['kind']} '{one['name']}' is {state}: systemctl status {one['unit']}")
        elif one["kind"] == "job" and one["result"] not in ("", "success"):
            found.append(f"the last run of the timer '{one['name']}' failed ({one['result']}): journalctl --unit={one['unit']}")
    return found


def _of_app(app: Mapping[str, Any]) -> tuple[list[str], list[str]]:
    """What is wrong with an app on a server, and what is to be known of it."""
    wrong = [f"{app['live']} {app['unhealthy']}" if app["live"] else app["unhealthy"]] if app["unhealthy"] else []
    wrong += _wrong_units(app)
    notes = []
    if told := app["maintenance"]:
        by = f" by {told['by']} on {told['origin']}" if told.get("by") else ""
        notes.append(f"is in maintenance since {told.get('time', '?')}{by}: ansible-playbook plainstack.web.maintenance -e mode=off ends it")
    if app["live"] and app["verdict"] != "good":
        notes.append(f"{app['live']} is live and not confirmed: its run was interrupted. ansible-playbook deploy.yml confirms what is live")
    for one in _units(app):
        if one["restarts"]:
            notes.append(f"systemd has restarted {one['unit']} {one['restarts']} times")
    if app["differs"]:
        notes.append(f"the inventory has another value than the live release for: {', '.join(app['differs'])}. ansible-playbook deploy.yml brings it")
    return wrong, notes


def _of_certificate(one: Mapping[str, Any], now: float) -> tuple[list[str], list[str]]:
    name = one["domain"]
    if one["error"]:
        return [f"the certificate of {name} cannot be had from nginx: {one['error']}"], []
    if now >= one["ends"]:
        return [f"the certificate of {name} has expired"], []
    if not one["covers"]:
        return [f"nginx has no certificate for {name} yet"], []
    passed = (now - one["begins"]) / max(one["ends"] - one["begins"], 1)
    return [], [f"two thirds of the life of the certificate of {name} have passed"] if passed > TWO_THIRDS else []


def _of_server(seen: Mapping[str, Any]) -> tuple[list[str], list[str]]:
    wrong, notes = [], []
    if seen["nginx"] not in ("", "active"):
        wrong.append(f"nginx does not run: its unit is {seen['nginx']}")
    for one in seen["certificates"]:
        more, said = _of_certificate(one, seen["time"])
        wrong += more
        notes += said
    for what, free in (("disk", "free"), ("memory", "available")):
        if seen[what][free] < seen[what]["total"] * LITTLE:
            notes.append(f"{size(seen[what][free])} of {size(seen[what]['total'])} of {what} are {free}")
    if seen["reboot"]["required"]:
        packages = f" for {', '.join(seen['reboot']['packages'])}" if seen["reboot"]["packages"] else ""
        notes.append(f"the system waits for a reboot{packages}")
    notes += [f"the app '{name}' runs here, and the inventory does not have it on this server" for name in seen["unknown"]]
    return wrong, notes


def _failures(seen: Seen) -> list[str]:
    """What failed last of each app, on whichever server that was."""
    last: dict[str, tuple[float, str, Mapping[str, str], float]] = {}
    for server, one in seen.items():
        for app in one.get("apps", []):
            told = app["last_failure"]
            at = moment(told["time"]) if told else None
            if told and at is not None and at > last.get(app["name"], (0.0,))[0]:
                last[app["name"]] = (at, server, told, one["time"])
    found = []
    for name, (at, server, told, now) in last.items():
        reason = (told["reason"].splitlines() or ["no reason was noted"])[0]
        who = f" by {told['by']}" if told["by"] else ""
        found.append(f"{name}: the last release that failed: {told['release']} on {server}, {duration(now - at)} ago{who}: {reason}")
    return found


def judge(seen: Seen) -> tuple[list[str], list[str]]:
    """The problems of a fleet, and what else is to be known: one line each."""
    problems, notes = [], []
    lives: dict[str, dict[str, list[str]]] = {}
    for server, one in seen.items():
        if one.get("error"):
            problems.append(f"{server}: {one['error']}")
            continue
        wrong, said = _of_server(one)
        problems += [f"{server}: {text}" for text in wrong]
        notes += [f"{server}: {text}" for text in said]
        for app in one["apps"]:
            wrong, said = _of_app(app)
            problems += [f"{server}: {app['name']}: {text}" for text in wrong]
            notes += [f"{server}: {app['name']}: {text}" for text in said]
            lives.setdefault(app["name"], {}).setdefault(app["live"] or "nothing", []).append(server)
    for name in lives:
        waits = {server: bool(app["maintenance"]) for server, one in seen.items() for app in one.get("apps", []) if app["name"] == name}
        if len({*waits.values()}) > 1:
            without = ", ".join(server for server, waiting in waits.items() if not waiting)
            problems.append(f"{name}: it is in maintenance, but not on {without}: ansible-playbook plainstack.web.maintenance, with mode=on or mode=off")
    for name, live in lives.items():
        if len(live) > 1:
            listed = "; ".join(f"{identifier} on {', '.join(servers)}" for identifier, servers in live.items())
            problems.append(f"{name}: the servers have different releases live: {listed}. ansible-playbook scale.yml brings them together")
    return problems, notes + _failures(seen)


def _app_row(server: str, app: Mapping[str, Any], now: float) -> tuple[str, ...]:
    beside = [one for one in _units(app) if one["kind"] in ("process", "timer")]
    active = sum(one["state"] == "active" for one in beside)
    met = app["requests"]
    count = str(met["requests"]) if met else "-"
    some = met and met["requests"]
    share = f"{met['errors'] / met['requests']:.1%}" if some else "-"
    times = (seconds(met["p50"]), seconds(met["p99"])) if some else ("-", "-")
    health = "-" if not app["live"] else "unhealthy" if app["unhealthy"] else "healthy"
    return (
        server,
        app["name"],
        app["live"] or "-",
        commit(app["revision"], bool(app["dirty"])),
        age(app["went_live"], now),
        app["deployed_by"] or "-",
        health,
        f"{active}/{len(beside)}" if beside else "-",
        f"{app['busy']}/{app['at_once']}" if app["at_once"] else str(app["busy"]),
        size(app["memory"]) if app["memory"] else "-",
        count,
        share,
        *times,
    )


def _server_row(server: str, one: Mapping[str, Any]) -> tuple[str, ...]:
    ends = [certificate["ends"] for certificate in one["certificates"] if not certificate["error"]]
    return (
        server,
        one["system"],
        f"{size(one['memory']['available'])} of {size(one['memory']['total'])}",
        f"{size(one['disk']['free'])} of {size(one['disk']['total'])}",
        f"{int((min(ends) - one['time']) // DAY)} days" if ends else "-",
        "needed" if one["reboot"]["required"] else "no",
    )


APPS = ("server", "app", "release", "commit", "live for", "by", "health", "beside", "busy", "memory", "requests", "5xx", "p50", "p99")
SERVERS = ("server", "system", "memory available", "disk free", "certificate", "reboot")


def rows(seen: Seen) -> tuple[list[tuple[str, ...]], list[tuple[str, ...]]]:
    """The table of the apps and that of the servers, each with the names of its columns first."""
    apps: list[tuple[str, ...]] = [APPS]
    servers: list[tuple[str, ...]] = [SERVERS]
    for server, one in seen.items():
        if one.get("error"):
            servers.append((server, "cannot be looked at", *["-"] * (len(SERVERS) - 2)))
            continue
        apps += [_app_row(server, app, one["time"]) for app in one["apps"]]
        servers.append(_server_row(server, one))
    return apps, servers


def text(seen: Seen) -> str:
    """The state of a fleet: one screen."""
    apps, servers = rows(seen)
    problems, notes = judge(seen)
    lines = [*table(apps), "", *table(servers), ""]
    if problems:
        lines += ["Problems:", *(f"  {line}" for line in problems)]
    if notes:
        lines += ["Notes:", *(f"  {line}" for line in notes)]
    return plain("\n".join([*lines, *([] if problems else ["No problem was found."])]))


def iso(at: float) -> str:
    """Seconds since 1970 as `2026-11-27T14:08:37Z`."""
    return datetime.datetime.fromtimestamp(at, datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def contract(seen: Seen, now: float) -> dict[str, Any]:
    """The same as data; docs/reference.md describes it.

    :param now: when the status was taken, in seconds since 1970.
    """
    problems, notes = judge(seen)
    servers: dict[str, Any] = {}
    for server, one in seen.items():
        if one.get("error"):
            servers[server] = {"reached": False, "error": one["error"]}
            continue
        ends = [{**found, "days": None if found["error"] else int((found["ends"] - one["time"]) // DAY)} for found in one["certificates"]]
        servers[server] = {**one, "reached": True, "error": "", "certificates": ends}
    return {"version": VERSION, "time": iso(now), "healthy": not problems, "problems": problems, "notes": notes, "servers": servers}


def as_json(seen: Seen, now: float) -> str:
    """The data in one line, of ASCII: no terminal acts on it."""
    return json.dumps(contract(seen, now), sort_keys=True)
