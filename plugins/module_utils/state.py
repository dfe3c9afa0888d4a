"""What is live, previous, bad, running or left over on a host, and what follows from it. Pure: nothing here touches the host."""

from __future__ import annotations

from collections.abc import Set
from dataclasses import dataclass


class StateError(Exception):
    """What is asked for cannot be; the message says why."""


@dataclass(frozen=True)
class Release:
    """A complete release.

    `sequence` rises each time a release goes live on this host, whatever the clock says; 0 is never.
    `bad` says why nobody should go back to it, such as that it was never confirmed; empty when nothing speaks against it.
    `pending` is `deploy` or `rollback` from right before its switch until it is confirmed: on the live release it means that a
    run ended in between.
    `restarts` is the id of the release whose content it has, where it was made by a restart of that; empty otherwise.
    """

    id: str
    sequence: int = 0
    bad: str = ""
    pending: str = ""
    restarts: str = ""

    @property
    def content(self) -> str:
        """Id of the release that first had what it is made of."""
        return self.restarts or self.id


@dataclass(frozen=True)
class State:
    """One app on one host: the id that has the traffic (empty: none), the complete releases, the ids of running instances."""

    live: str
    releases: tuple[Release, ...]
    running: frozenset[str] = frozenset()

    def get(self, identifier: str) -> Release | None:
        """The complete release of that id."""
        return next((release for release in self.releases if release.id == identifier), None)


def by_going_live(state: State) -> list[Release]:
    """The releases that have been live, the last one first."""
    return sorted((release for release in state.releases if release.sequence), key=lambda release: (release.sequence, release.id), reverse=True)


def next_sequence(state: State) -> int:
    """The number of the next going live."""
    return max((release.sequence for release in state.releases), default=0) + 1


def unsettled(state: State) -> bool:
    """Whether the live release was never noted as confirmed: an earlier run ended right after its switch."""
    live = state.get(state.live)
    return live is not None and (not live.sequence or bool(live.pending))


def before(state: State) -> str:
    """Id of the release to go back to: the last one that was live, is not bad and is not what is live, restarted or not; empty when there is none."""
    live = state.get(state.live)
    content = live.content if live else state.live
    return next((release.id for release in by_going_live(state) if release.content != content and not release.bad), "")


def rollback_target(state: State, named: str = "") -> str:
    """Id of the release that a rollback leads to.

    One that ended right after its switch is finished, or a second run of it would go back twice.

    :param named: the one that the user asks for; empty for the one before.
    :raises StateError: when there is none, or when the named one is gone, bad or was never live.
    """
    live = state.get(state.live)
    if not named:
        if live and live.pending == "rollback":
            return live.id
        if target := before(state):
            return target
        bad = sum(bool(release.bad) for release in state.releases if release.id != state.live)
        raise StateError("there is no release to go back to" + (f": the {bad} others that are on the host are marked bad" if bad else ""))
    release = state.get(named)
    if release is None:
        raise StateError(f"there is no release {named} on the host: it was removed, or never was there")
    if named == state.live:
        return named
    if release.bad:
        raise StateError(f"{named} is marked bad: {release.bad}")
    if not release.sequence:
        raise StateError(f"{named} has never been live")
    return named


def strays(state: State, wanted: Set[str]) -> list[str]:
    """Running instances that never had traffic and are not wanted: left by a run that did not get to its switch."""
    lived = {release.id for release in by_going_live(state)}
    return sorted(state.running - lived - wanted - {state.live})


def to_retire(state: State, wanted: Set[str]) -> list[str]:
    """Running instances without traffic that are not wanted."""
    return sorted(state.running - wanted - {state.live})


def surplus(state: State, keep: int) -> list[str]:
    """Releases to remove, oldest first.

    The live one, the one before and those that run stay; of the rest the last that went live, up to `keep` in all.
    What was never live is a left-over, and so is what has been restarted.
    """
    live = state.get(state.live)
    again = {release.id for release in state.releases if live and release.content == live.content} - {state.live, *state.running}
    order = [release for release in by_going_live(state) if release.id not in again]
    spare = {state.live, before(state), *state.running}
    for release in order:
        if len(spare & {release.id for release in order}) >= keep:
            break
        spare.add(release.id)
    never = sorted(release.id for release in state.releases if not release.sequence or release.id in again)
    return [identifier for identifier in never + [release.id for release in reversed(order)] if identifier not in spare]


def with_old_files(state: State, wanted: str, count: int) -> list[str]:
    """Releases whose static files stay reachable once `wanted` is live, the last one that was live first."""
    return [release.id for release in by_going_live(state) if release.id != wanted][:count]
