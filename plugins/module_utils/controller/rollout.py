"""What a rollout over several servers needs besides the steps of each: the canary, and the table at its end. Pure functions."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

from ansible_collections.plainstack.web.plugins.module_utils.layout import ID


class RolloutError(ValueError):
    """What is asked for cannot be; the message says why."""


def canary(hosts: Sequence[str], wanted: str) -> list[str]:
    """The hosts that are switched first.

    :param wanted: how many, or how many percent (`25%`, rounded up); empty for none.
    :raises RolloutError: when it is neither, or leaves no other host to compare with.
    """
    if not wanted:
        return []
    found = re.fullmatch(r"([1-9][0-9]*)(%?)", wanted)
    if not found:
        raise RolloutError(f"canary is '{wanted}'; it must be a number of servers, such as 1, or a percentage of them, such as 25%.")
    count = math.ceil(len(hosts) * int(found[1]) / 100) if found[2] else int(found[1])
    if count >= len(hosts):
        raise RolloutError(f"canary is '{wanted}', which is {count} of {len(hosts)} servers: none is left to compare with.")
    return list(hosts[:count])


def reference(hosts: Sequence[str], variables: Mapping[str, Mapping[str, Any]], name: str) -> str:
    """The host that has what the fleet has live: the release that went live last, by a deploy or a rollback that was confirmed.

    Not what most have: they may have been down meanwhile.

    :param variables: of each host, `plainstack_live`, what the module `live` returned.
    :raises RolloutError: when none has a release, or none has the archive of it.
    """
    lives = {host: variables[host]["plainstack_live"]["apps"][name] for host in hosts}
    if odd := [host for host, live in lives.items() if live["id"] and not ID.fullmatch(live["id"])]:  # it becomes part of paths
        raise RolloutError(f"{name}: what is live on {', '.join(odd)} is no release that Plainstack has made. Nothing was touched.\nNext: look at that server.")
    good = [live for live in lives.values() if live["id"] and live["story"].get("verdict") == "good"]
    if not good:
        raise RolloutError(f"{name}: no server has a confirmed release that others could get. Nothing was touched.\nNext: ansible-playbook deploy.yml")
    wanted = max(good, key=lambda live: (str(live["story"].get("went_live", "")), live["id"]))["id"]
    found = next((host for host, live in lives.items() if live["id"] == wanted and live["archive"]), "")
    if not found:
        raise RolloutError(
            f"{name}: the live release {wanted} was built by an older version of Plainstack, which did not keep what it was built from. Nothing was touched.\n"
            "Next: deploy once: ansible-playbook deploy.yml"
        )
    return found


def failures(hosts: Sequence[str], variables: Mapping[str, Mapping[str, Any]], reached: Sequence[str]) -> list[str]:
    """What was not done of what a failure does not end: each step that failed, and the servers that were lost after their switch.

    :param variables: of each host `plainstack_failures`, and `plainstack_switches` where it came to that.
    :param reached: the hosts that the run has not lost.
    """
    found = []
    for host in hosts:
        found += [f"{host}: {one}" for one in variables[host].get("plainstack_failures", [])]
        if switches := variables[host].get("plainstack_switches", {}):
            ids = ", ".join(f"{switch['id']} of {name}" for name, switch in switches.items())
            found += [f"{host}: all that comes after the switch, because it was lost; {ids} is live there"] if host not in reached else []
    return found


def table(
    hosts: Sequence[str], variables: Mapping[str, Mapping[str, Any]], names: Sequence[str], reached: Sequence[str] | None = None, check: bool = False
) -> str:
    """What a rollout did, one line for each server and app.

    :param variables: of each host, by name of the app: `plainstack_switches` (`id`, `before`, `changed`, `gate` in seconds, `seconds`, `at`).
    :param reached: the hosts that the run has not lost; all of them by default.
    :param check: whether nothing was done, and this says what would be.
    """
    rows = [("server", "app", "before", "after", "gate", "switch", "result")]
    moments: list[float] = []
    for host in hosts:
        found = variables[host]
        for name in names:
            switch = found.get("plainstack_switches", {}).get(name)
            if not switch:
                rows.append((host, name, "?", "?", "-", "-", "left out: cannot be reached"))
                continue
            if not switch["changed"]:
                rows.append((host, name, switch["id"], switch["id"], "-", "-", "would be unchanged" if check else "unchanged"))
                continue
            if check:
                rows.append((host, name, switch["before"] or "-", switch["id"], "-", "-", "would be live"))
                continue
            result = "canary" if host in found.get("plainstack_canary", []) else "live"
            moments += [switch["at"]] if result == "live" else []
            result += "" if reached is None or host in reached else ", lost since"
            rows.append((host, name, switch["before"] or "-", switch["id"], f"{switch['gate']:.1f} s", f"{switch['seconds']:.1f} s", result))
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    if len(moments) > 1:
        lines.append(f"From the first switch to the last: {max(moments) - min(moments):.2f} s.")
    return "\n".join(lines)
