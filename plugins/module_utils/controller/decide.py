"""What becomes of each app, decided once for all servers from what was seen on each. Pure functions.

A release has one id everywhere, is migrated for once, and goes live on all servers or on none.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, field, replace
from typing import Any

from ansible_collections.plainstack.web.plugins.module_utils.layout import ID
from ansible_collections.plainstack.web.plugins.module_utils.state import Release, State, StateError, by_going_live, rollback_target


class DecisionError(ValueError):
    """What is asked for cannot be; the message says why, and what to do. Nothing was touched."""


@dataclass(frozen=True)
class Seen:
    """One app on one server, as the module `inspect` saw it.

    `finished` says that nothing is left to do about the live release: it alone runs, is confirmed and healthy, and will start at boot.
    `matches` are ids of releases that are what is to be deployed; `stories` what is known of each release besides, by id (`went_live`,
    `revision`, `verdict`, `migrated`, `config`); `archive` whether that of the live one is there; `unhealthy` what it answers where it is not healthy.
    """

    state: State
    finished: bool = False
    matches: tuple[str, ...] = ()
    stories: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    archive: bool = False
    went_back: bool = False
    unhealthy: str = ""


def parse(found: Mapping[str, Any]) -> Seen:
    """What the module `inspect` returned for an app."""
    stories = {release["id"]: release for release in found["releases"]}
    releases = tuple(Release(one["id"], one["sequence"], one["bad"], one["pending"], one.get("restarts", "")) for one in found["releases"])
    live = stories.get(found["live"], {})
    alone = {*found["running"]} <= {found["live"]}  # a run that was killed may have left others
    confirmed = live.get("verdict") == "good" and live.get("sequence") and not live.get("pending")
    finished = bool(confirmed and alone and found["linked"] and found["enabled"] and not found["unhealthy"])
    state = State(found["live"], releases, frozenset(found["running"]))
    return Seen(state, finished, tuple(found["matches"]), stories, found["archive"], bool(found.get("went_back")), found["unhealthy"])


@dataclass(frozen=True)
class Order:
    """What becomes of an app.

    `build` are the servers that do not have the release `id` yet, `act` those on which it is not live yet or not finished; `before` is what each
    has live; `migrate` is the server that runs the migration, empty where none is to; `migrated` whether one has run it
    already; `reference` the server that the others get the release from, empty where it comes from this machine. `agreed`
    is whether all servers had confirmed it in an earlier run: some may have stopped what was before, so none goes back.
    """

    name: str
    id: str
    build: Set[str]
    act: Set[str]
    before: Mapping[str, str]
    migrate: str = ""
    migrated: bool = False
    reference: str = ""
    agreed: bool = False


def _order(name: str, identifier: str, seen: Mapping[str, Seen]) -> Order:
    """Have one release live on every server."""
    build = frozenset(host for host, one in seen.items() if one.state.get(identifier) is None)
    act = frozenset(host for host, one in seen.items() if one.state.live != identifier or not one.finished)
    before = {host: one.state.live for host, one in seen.items()}
    migrated = any(one.stories.get(identifier, {}).get("migrated") for one in seen.values())
    # Where it is live, the migration that belongs to it was run, or there was none
    served = any(one.state.live == identifier and one.finished for one in seen.values())
    first = next((host for host in seen if host in act), "")
    agreed = served or any(one.state.live == identifier and one.stories.get(identifier, {}).get("agreed") for one in seen.values())
    return Order(name, identifier, build, act, before, "" if migrated or served else first, migrated or served, agreed=agreed)


def deploy(name: str, fresh: str, seen: Mapping[str, Seen]) -> Order:
    """The release that is what the controller has, new or there already.

    :param fresh: id for it where no server has it.
    :param seen: by server, in the order of the inventory.
    """
    lives = Counter(one.state.live for one in seen.values() if one.state.live in one.matches)
    there = {identifier for one in seen.values() for identifier in one.matches}
    # Of several ids of the same content: the one that most servers have live, then the newest
    identifier = max(there, key=lambda one: (lives[one], one)) if there else fresh
    return _order(name, identifier, seen)


def retried(order: Order, seen: Mapping[str, Seen]) -> str:
    """A warning where what is deployed was live before, and is marked bad; empty otherwise."""
    for host, one in seen.items():
        story = one.stories.get(order.id, {})
        if host in order.act and story.get("verdict") == "bad" and one.state.live != order.id:
            return f"{order.name}: {order.id}, which is what you deploy, is marked bad and gets another try: {story.get('reason', '')}"
    return ""


def _agreed(seen: Mapping[str, Seen]) -> dict[str, Seen]:
    """The same, with what one server knows to be bad bad for all: a release is good when the fleet agrees on it."""
    bad: dict[str, str] = {}
    for host, one in seen.items():
        for release in one.state.releases:
            if release.bad and len(seen) > 1:
                bad.setdefault(release.id, f"{release.bad} ({host})")
            elif release.bad:
                bad.setdefault(release.id, release.bad)
    agreed = {}
    for host, one in seen.items():
        releases = tuple(replace(release, bad=bad.get(release.id, "")) for release in one.state.releases)
        agreed[host] = replace(one, state=replace(one.state, releases=releases))
    return agreed


def _listing(one: Seen) -> str:
    """The releases of a server, for the user to choose from."""
    lines = []
    for release in by_going_live(one.state):
        story = one.stories.get(release.id, {})
        about = "live" if release.id == one.state.live else f"bad: {release.bad}" if release.bad else "good"
        lines.append(f"  {release.id}  went live {story.get('went_live') or '?'}  {str(story.get('revision', ''))[:12] or 'no revision'}  {about}")
    return "\n".join(lines) or "  none"


def rollback(name: str, named: str, seen: Mapping[str, Seen]) -> Order:
    """The release before, or the one that the user names; the same on all servers.

    :param named: id that the user asks for; empty for the one before.
    :raises DecisionError: when there is none, or the servers would go back to different ones.
    """
    agreed = _agreed(seen)
    targets = {}
    # Some servers may have ended a rollback that was killed on the others
    begun = {one.state.live for one in agreed.values() if one.went_back or ((live := one.state.get(one.state.live)) and live.pending == "rollback")}
    if not named and len(begun) == 1:
        named = begun.pop()
    for host, one in agreed.items():
        try:
            targets[host] = rollback_target(one.state, named)
        except StateError as error:
            where = f"{host}: " if len(seen) > 1 else ""
            raise DecisionError(
                f"{name}: {where}{error}. Nothing was touched.\nWhat has been live on {host}, the last first:\n{_listing(one)}\n"
                "Next: name a good one with -e release=<id>, or check out the code that you want and deploy it."
            ) from None
    if len({*targets.values()}) > 1:
        listed = "\n".join(f"  {host}: {target}, instead of {seen[host].state.live}" for host, target in targets.items())
        raise DecisionError(
            f"{name}: the servers would go back to different releases; nothing was touched.\n{listed}\n"
            "Next: name one that all have with -e release=<id>, or check out the code that you want and deploy it."
        )
    return replace(_order(name, next(iter(targets.values())), seen), build=frozenset(), migrate="")


def scale(name: str, seen: Mapping[str, Seen]) -> Order:
    """The release that the fleet has live: of those that are live and good on one server and bad on none, the one that went live last.

    Not what most have: they may have been down meanwhile.

    :raises DecisionError: when there is none, or nobody has what it was built from.
    """
    if odd := [host for host, one in seen.items() if one.state.live and not ID.fullmatch(one.state.live)]:  # it becomes part of paths
        raise DecisionError(
            f"{name}: what is live on {', '.join(odd)} is no release that Plainstack has made. Nothing was touched.\nNext: look at that server."
        )
    good = {}
    for host, one in _agreed(seen).items():
        live = one.state.get(one.state.live)
        story = one.stories.get(live.id, {}) if live else {}
        if live and not live.bad and story.get("verdict") == "good" and (not live.pending or story.get("agreed")):
            good[host] = one
    if not good:
        raise DecisionError(f"{name}: no server has a confirmed release that others could get. Nothing was touched.\nNext: ansible-playbook deploy.yml")
    last = max(good.values(), key=lambda one: (str(one.stories[one.state.live].get("went_live", "")), one.state.live)).state.live
    reference = next((host for host, one in good.items() if one.state.live == last and one.archive), "")
    if not reference:
        raise DecisionError(
            f"{name}: the live release {last} was built by an older version of Plainstack, which did not keep what it was built from. Nothing was touched.\n"
            "Next: deploy once: ansible-playbook deploy.yml"
        )
    return replace(_order(name, last, seen), reference=reference, migrate="", migrated=True)


def restart(name: str, now: str, seen: Mapping[str, Seen]) -> Order:
    """What the fleet has live once more, as a release of its own beside it: built, gated and confirmed like a new one.

    :param now: the time for its id.
    :raises DecisionError: when there is none.
    """
    # One that was killed after its switch is finished, not begun again
    begun = {live.id for one in seen.values() if (live := one.state.get(one.state.live)) and live.pending == "restart" and not live.bad}
    if len(begun) == 1 and all(one.state.get(identifier) for identifier in begun for one in seen.values()):
        return replace(_order(name, begun.pop(), seen), migrate="", migrated=True)
    live_now = scale(name, seen)
    order = _order(name, f"{now}-{live_now.id.rpartition('-')[2]}", seen)
    return replace(order, reference=live_now.reference, migrate="", migrated=True)


def start(name: str, seen: Mapping[str, Seen]) -> Order:
    """What the fleet has live, started where it does not run: whatever stop.yml has stopped.

    :raises DecisionError: when there is none, or the servers have different ones.
    """
    lives = {host: one.state.live for host, one in seen.items()}
    if len({*lives.values()}) > 1:
        listed = "\n".join(f"  {host}: {live or 'none'}" for host, live in lives.items())
        raise DecisionError(
            f"{name}: the servers have different releases live; nothing was touched.\n{listed}\nNext: ansible-playbook scale.yml, which starts one on all"
        )
    return replace(stopping(name, seen), act=_order(name, next(iter(lives.values())), seen).act, migrated=True)


def stopping(name: str, seen: Mapping[str, Seen]) -> Order:
    """Nothing goes live; what each server has is stopped.

    :raises DecisionError: when no server has a release.
    """
    live = next((one.state.live for one in seen.values() if one.state.live), "")
    if not live:
        raise DecisionError(f"{name}: no server has a release of it. Nothing was touched.\nNext: ansible-playbook deploy.yml")
    return replace(_order(name, live, seen), build=frozenset(), act=frozenset(), migrate="")


def upgrade(names: Sequence[str], seen: Mapping[str, Mapping[str, Seen]], balanced: bool) -> None:
    """Check that one server may stand in for another while that is upgraded.

    :param seen: by the app's name, then by server.
    :param balanced: whether load balancers stand before the servers.
    :raises DecisionError: when it may not.
    """
    for name in names:
        lives = {host: one.state.live for host, one in seen[name].items()}
        if len({*lives.values()}) > 1:
            listed = "\n".join(f"  {host}: {live or 'none'}" for host, live in lives.items())
            raise DecisionError(
                f"{name}: the servers do not have the same release live, so that one may not stand in for another; nothing was touched.\n{listed}\n"
                "Next: ansible-playbook scale.yml"
            )
        if ill := [host for host, one in seen[name].items() if one.state.live and not one.finished]:
            listed = "\n".join(f"  {host}: it {seen[name][host].unhealthy or 'answers; its run was interrupted'}" for host in ill)
            raise DecisionError(
                f"{name}: {lives[ill[0]]} is live on {', '.join(ill)} and not healthy, or not confirmed; nothing was touched.\n{listed}\n"
                f"Next: sudo journalctl --unit='{name}@*' on {ill[0]} says why; ansible-playbook deploy.yml confirms what is live."
            )
    if balanced and (single := [name for name in names if len(seen[name]) == 1]):
        raise DecisionError(
            f"{', '.join(single)}: behind the load balancers is one server alone, and while it is upgraded nobody would answer; nothing was touched.\n"
            "Next: add a second one, or upgrade it by hand."
        )
