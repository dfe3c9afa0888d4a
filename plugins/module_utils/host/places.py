"""Which app has which place of the web, `<domain>` or `<domain>/<path>`, and whether another one may have it. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping

SITES = "/etc/nginx/sites.json"  # the places of the last configuration of nginx


def taken(wanted: Mapping[str, str], had: Mapping[str, str], live: Collection[str], deployed: Collection[str], replaced: Collection[str]) -> list[str]:
    """Why places may not go from apps that are live to apps that never were: a name that was changed, most likely; with what to do.

    :param wanted: the app of each place, by the definition.
    :param had: the same, by what nginx serves now.
    :param live: apps that have a live release on the host.
    :param deployed: apps that the run deploys; others would be routed to and not be there.
    :param replaced: apps whose places may be taken.
    """
    moves: dict[tuple[str, str], list[str]] = {}
    for place, new in wanted.items():
        old = had.get(place, new)
        if old != new and old in live and new not in live and not (old in replaced and new in deployed):
            moves.setdefault((old, new), []).append(place)
    found = []
    for (old, new), places in moves.items():
        whole = "" if new in deployed else ", and without -e app, which leaves it out"
        found.append(
            f"{', '.join(sorted(places))} is served by the app '{old}'; '{new}', which is to have it, has never been live there. A new 'name' is a new app: "
            f"the data in /srv/{old}/shared does not come along, and '{old}' runs on until you remove it. "
            f"To go on with '{old}', give the app that name. To replace it, run the same command with -e replace={old}{whole}."
        )
    return found
