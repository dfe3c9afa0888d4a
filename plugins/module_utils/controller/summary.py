"""What a run over several servers says at its end, and which of them go first. Pure functions."""

from __future__ import annotations

import math
import os
import re
import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from ansible_collections.plainstack.web.plugins.module_utils.controller.decide import DecisionError, Order

Known = Mapping[str, Mapping[str, Any]]  # of each host, what the run knows of it; see plugin_utils/run.py


def canary(hosts: Sequence[str], wanted: str) -> list[str]:
    """The hosts that are switched first.

    :param wanted: how many, or how many percent (`25%`, rounded up); empty for none.
    :raises DecisionError: when it is neither, or leaves no other host to compare with.
    """
    if not wanted:
        return []
    found = re.fullmatch(r"([1-9][0-9]*)(%?)", wanted)
    why = ""
    count = 0
    if not found:
        why = "it must be a number of servers, such as 1, or a percentage of them, such as 25%."
    else:
        count = math.ceil(len(hosts) * int(found[1]) / 100) if found[2] else int(found[1])
        if count >= len(hosts):
            why = f"that is {count} of {len(hosts)} servers, and none is left to compare with."
    if why:
        raise DecisionError(f"canary is '{wanted}': {why} Nothing was touched.\nWhere it is set: -e canary={wanted} of the command.")
    return list(hosts[:count])


def did(known: Mapping[str, Any], step: str, name: str) -> Mapping[str, Any]:
    """What a step did for an app on a host; empty where it did not come to that."""
    found: Mapping[str, Any] = known.get("did", {}).get(step, {}).get(name, {})
    return found


def failures(hosts: Sequence[str], known: Known, names: Sequence[str], reached: Sequence[str]) -> list[str]:
    """What was not done of what a failure does not end: each step that failed, and the servers that were lost after their switch.

    :param reached: the hosts that the run has not lost.
    """
    found = []
    for host in hosts:
        found += [f"{host}: {one}" for one in known.get(host, {}).get("left", [])]
        switched = {name: done["id"] for name in names if (done := did(known.get(host, {}), "switch", name))}
        if switched and host not in reached:
            ids = ", ".join(f"{identifier} of {name}" for name, identifier in switched.items())
            found.append(f"{host}: all that comes after the switch, because it was lost; {ids} is live there")
    return found


def _row(host: str, known: Mapping[str, Any], order: Order, canaries: Sequence[str], reached: Sequence[str], check: bool) -> tuple[str, ...]:
    if not known or known.get("left_out"):
        return host, order.name, "?", "?", "-", "-", "left out: cannot be reached"
    for step in ("stop", "process"):
        if done := did(known, step, order.name):
            result = f"would be {done['result']}" if check else done.get("result", "failed")
            return host, order.name, order.before[host], order.before[host], "-", "-", result if done["changed"] else "unchanged"
    switched = did(known, "switch", order.name)
    before = order.before.get(host, "") or "-"
    if host not in order.act or (switched and not switched["changed"]):
        return host, order.name, order.id, order.id, "-", "-", "would be unchanged" if check else "unchanged"
    if check:
        return host, order.name, before, order.id, "-", "-", "would be live"
    result = "canary" if host in canaries else "live"
    if not switched:
        result = "not switched"
    if host not in reached:
        result += ", lost since"
    gate = did(known, "start", order.name).get("seconds", 0.0)
    return host, order.name, before, order.id, f"{gate:.1f} s", f"{switched.get('seconds', 0.0):.1f} s", result


def table(hosts: Sequence[str], known: Known, orders: Sequence[Order], canaries: Sequence[str], reached: Sequence[str], check: bool = False) -> str:
    """What a rollout did, one line for each server and app.

    :param canaries: the hosts that went first.
    :param reached: the hosts that the run has not lost.
    :param check: whether nothing was done, and this says what would be.
    """
    rows: list[tuple[str, ...]] = [("server", "app", "before", "after", "gate", "switch", "result")]
    moments = []
    for host in hosts:
        names = {app["name"] for app in known.get(host, {}).get("apps", [])}
        for order in [order for order in orders if not names or order.name in names]:
            rows.append(_row(host, known.get(host, {}), order, canaries, reached, check))
            switched = did(known.get(host, {}), "switch", order.name)
            moments += [switched["at"]] if switched.get("changed") and "at" in switched and host not in canaries else []
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    if len(moments) > 1:
        lines.append(f"From the first switch to the last: {max(moments) - min(moments):.2f} s.")
    return "\n".join(lines)


def rolled_back(order: Mapping[str, Any], check: bool) -> str:
    """Where a rollback leads: one line.

    :param order: `name`, `id`, `revision` and `before` by server.
    """
    revision = f"revision {order['revision'][:12]}" if order["revision"] else "no revision"
    left = ", ".join(sorted({live for live in order["before"].values() if live and live != order["id"]}))
    return f"{order['name']}: {order['id']} {'would be' if check else 'is'} live ({revision}){f', instead of {left}' if left else '; it was before'}"


def about(order: Order, app: Mapping[str, Any], archive: Mapping[str, Any], until: str = "") -> str:
    """Where an app is served and, where it is released now, what of: one line.

    :param until: when its certificate expires; empty where the run does not know.

    :param app: its definition, with `domains` and `path`.
    :param archive: of its source, with the `story` of the release; empty where nothing was archived.
    """
    story = archive.get("story", {})
    revision = f", revision {story['revision'][:12]}" if story.get("revision") else ", not from git"
    uncommitted = " with changes that are not committed" if story.get("dirty") else ""
    what = f"{revision}{uncommitted}" if story and order.act else ""
    certificate = f", certificate until {until}" if until else ""
    return f"{order.name}: https://{app['domains'][0]}{app['path'] or '/'}{what}{certificate}"


def expiry(known: Known, name: str) -> str:
    """When the first of an app's certificates expires on any host; empty where none is known."""
    return min((ends for one in known.values() if (ends := one.get("certificates", {}).get(name))), default="")


def back(command: str, inventories: Sequence[str], names: Sequence[str], several: bool) -> list[str]:
    """The command for each app that was released, to have again what was live before.

    :param command: the playbook of this run, as it was given.
    :param inventories: as they were given with -i.
    :param several: whether the run knows more apps than one, so that an app must be named.
    """
    place, name = os.path.split(command)
    playbook = os.path.join(place, "rollback.yml") if name == "deploy.yml" else "plainstack.web.rollback"
    given = [word for inventory in inventories for word in ("-i", inventory)]
    return [shlex.join(["ansible-playbook", playbook, *given, *(["-e", f"app={name}"] if several else [])]) for name in names]


def released(known: Known, orders: Sequence[Order]) -> list[str]:
    """The apps that have another release live than before, with one to go back to."""
    return [
        order.name for order in orders if any(did(known.get(host, {}), "switch", order.name).get("changed") and order.before.get(host) for host in order.act)
    ]


def undone(hosts: Sequence[str], known: Known, orders: Sequence[Order], cause: str) -> str:
    """What the operator reads when a rollout was taken back: the cause, and what serves on each server.

    :param cause: what failed, and where.
    """
    lines = []
    for host in hosts:
        for order in orders:
            if host not in order.act:
                continue
            live = order.before.get(host)
            done = did(known.get(host, {}), "undo", order.name)
            said = done.get("failed") or done.get("serving") or f"it was not reached; {live or 'nothing'} was live before."
            if len(hosts) > 1 or said.splitlines()[0] not in cause.splitlines():  # once is enough
                where = f"{host}: " if len(hosts) > 1 else ""
                lines.append(f"  {where}{order.name}: {said.splitlines()[0]}")
    listed = "".join(f"\n{line}" for line in lines)
    return f"{cause}\nThe rollout is undone.{' What serves now:' if lines else ''}{listed}"
