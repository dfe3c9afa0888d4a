"""What `releases` says: what can be gone back to, and where a rollback would lead. Pure functions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ansible_collections.plainstack.web.plugins.module_utils.controller import decide
from ansible_collections.plainstack.web.plugins.module_utils.controller.tables import commit, table
from ansible_collections.plainstack.web.plugins.module_utils.text import plain

HEAD = ("release", "commit", "went live", "by", "verdict", "on")
ROLLBACK = "<- rollback.yml"


def verdict(release: Mapping[str, Any], live: bool) -> str:
    """What is thought of a release on a server: `live`, `good`, `bad`, `unconfirmed` or `never live`."""
    if not release["sequence"] and not live and not release["bad"]:
        return "never live"
    if live and (release["pending"] or release["verdict"] != "good"):
        return "live, unconfirmed"
    if live:
        return "live"
    if release["verdict"] == "bad":
        return "bad"
    return "unconfirmed" if release["bad"] else "good"


def _by_verdict(name: str, seen: Mapping[str, Mapping[str, Any]]) -> dict[tuple[str, str], list[str]]:
    """The servers, by release and what each thinks of it."""
    found: dict[tuple[str, str], list[str]] = {}
    for server, one in seen.items():
        of_app = one["apps"].get(name, {"releases": [], "live": ""})
        for release in of_app["releases"]:
            found.setdefault((release["id"], verdict(release, release["id"] == of_app["live"])), []).append(server)
    return found


def _of_app(name: str, seen: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """The releases of an app, the one that went live last first."""
    having = {server: one for server, one in seen.items() if name in one["apps"]}
    target, why = "", ""
    try:
        target = decide.rollback(name, "", {server: decide.parse(one["apps"][name]) for server, one in having.items()}).id if having else ""
    except decide.DecisionError as error:
        why = str(error).splitlines()[0].removeprefix(f"{name}: ").replace(" Nothing was touched.", "").replace("; nothing was touched.", ".")
    stories = {release["id"]: release for one in having.values() for release in one["apps"][name]["releases"]}
    rows, reasons = [HEAD], []
    groups = _by_verdict(name, seen)
    order = sorted(groups, key=lambda key: (stories[key[0]]["went_live"], key[0]), reverse=True)
    for identifier, thought in order:
        servers, story = groups[identifier, thought], stories[identifier]
        told = next(one for one in having[servers[0]]["apps"][name]["releases"] if one["id"] == identifier)
        where = "all" if len(servers) == len(having) else ", ".join(servers)
        marked = f"{where}  {ROLLBACK}" if identifier == target and not thought.startswith("live") else where
        about = commit(story["revision"], bool(story["dirty"]))
        rows.append((identifier, about, told["went_live"] or "-", story["deployed_by"] or "-", thought, marked))
        if told["bad"] and thought != "never live":
            reasons.append(f"  {identifier}: {told['bad'].splitlines()[0]}")
    lines = [f"{name}:", *(table(rows, "  ") if len(rows) > 1 else ["  it has no release yet"])]
    if reasons:
        lines += ["  Why some are not good:", *(f"  {line}" for line in dict.fromkeys(reasons))]
    return lines + ([f"  rollback.yml goes nowhere: {why}"] if why and len(rows) > 1 else [])


def text(names: list[str], seen: Mapping[str, Mapping[str, Any]]) -> str:
    """The releases of apps on all servers.

    :param seen: by server what the module `releases` saw; its `error` where it could not.
    """
    looked_at = {server: one for server, one in seen.items() if not one.get("error")}
    lines = [line for name in names if looked_at for line in [*_of_app(name, looked_at), ""]]
    lines += [f"{server}: {one['error']}" for server, one in seen.items() if one.get("error")]
    return plain("\n".join(lines).rstrip("\n"))
