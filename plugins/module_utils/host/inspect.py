"""What a run must know of an app on a host before it decides anything: looked at once, changed nothing."""

from __future__ import annotations

import grp
import os
from collections.abc import Mapping
from typing import Any

from ansible_collections.plainstack.web.plugins.module_utils import state
from ansible_collections.plainstack.web.plugins.module_utils.host import systemd
from ansible_collections.plainstack.web.plugins.module_utils.host.build import same
from ansible_collections.plainstack.web.plugins.module_utils.host.health import Health, ask_instance, ask_nginx
from ansible_collections.plainstack.web.plugins.module_utils.host.instance import at_boot, look
from ansible_collections.plainstack.web.plugins.module_utils.host.shared import check_owners
from ansible_collections.plainstack.web.plugins.module_utils.layout import App, user_of

PATIENCE = 10  # seconds until the live release must have answered


def _name_taken(app: App) -> str:
    """What of the system has the name already, whose rights or files the app would get."""
    if os.path.exists(f"/usr/lib/systemd/system/{app.name}@.service"):
        return f"The system has units of the name {app.name}@.service already; give the app another 'name'."
    user = user_of(app)
    if user is None:
        if app.name in {group.gr_name for group in grp.getgrall()}:
            return f"The system has a group {app.name}, whose rights the app would get; give the app another 'name'."
        return ""
    if user.pw_dir != app.root:
        return f"The user {app.name} belongs to something else (its home is {user.pw_dir}); give the app another 'name'."
    return ""


def _place_taken(app: App) -> str:
    """Why /srv/<app> cannot be the app's."""
    if not os.path.isdir(app.root):
        return ""
    found = set(os.listdir(app.root))
    if os.stat(app.root).st_uid == 0 and (not found or found & {"releases", "shared"}):
        return ""
    return (
        f"{app.root} is there and belongs to another user than root, or to something else than an app ('ls -la {app.root}' on the host shows it).\n"
        f"Next: give the app another 'name'; or, if it is this app's, 'chown root:root {app.root}', and run the same command again."
    )


def obstacles(app: App) -> tuple[list[str], list[str]]:
    """Why the app cannot be deployed to this host, and what the operator is warned of."""
    wrong = [problem for problem in (_name_taken(app), _place_taken(app)) if problem]
    user = user_of(app)
    refusal, warning = check_owners(app, user.pw_uid, user.pw_gid) if user and not wrong else ("", "")
    warnings = [f"{app.name}: {warning}"] if warning else []
    return [*wrong, *([f"{app.name}: {refusal}\n{systemd.serving(app)}"] if refusal else [])], warnings


def going_back(app: App) -> str:
    """Id of the live release where a rollback has led to it and is not over; empty otherwise."""
    live = app.live_id()
    return live if live and app.story(live).get("pending", {}).get("event") == "rollback" else ""


def _release(app: App, release: state.Release) -> dict[str, Any]:
    """What is said of a complete release; nothing of it is secret."""
    story = app.story(release.id)
    told = {key: story.get(key, "") for key in ("went_live", "revision", "dirty", "deployed_by", "deployed_from", "verdict", "reason")}
    config = story.get("config", {})
    return {
        "id": release.id,
        "sequence": release.sequence,
        "bad": release.bad,
        "pending": release.pending,
        "agreed": bool(story.get("pending", {}).get("agreed")),
        "restarts": release.restarts,
        "migrated": bool(story.get("migrate")),
        "after_live": story.get("after_live", 0),
        "config": config if isinstance(config, dict) else {},
        **told,
    }


def releases(app: App) -> dict[str, Any]:
    """The releases of an app, as `inspect` tells them; nothing is probed, as that would start an instance that has ended."""
    found = look(app)
    unknown = {"matches": [], "archive": False, "linked": True, "enabled": True, "unhealthy": ""}
    return {"live": found.live, "running": sorted(found.running), "releases": [_release(app, release) for release in found.releases], **unknown}


def inspect(app: App, wanted: Mapping[str, Any], host: str, tls: bool, nginx: bool) -> dict[str, Any]:
    """The releases of an app, and how its live one is.

    :param wanted: `digest`, `config` and `environment` of the release that is to be live; empty where that is not known yet.
    :param host: name of the site, for the health check.
    :param tls: whether this host's nginx speaks HTTPS.
    :param nginx: whether it has the app.
    :returns: `live`, `running`, `releases` (oldest first), `matches` (ids of those that are what is wanted), `archive` (whether that of the
        live one is there), `gone` (what to say where the live one's Python is), `unhealthy` (what the live one answered; empty where it is healthy).
    """
    found = look(app)
    matches = [release.id for release in found.releases if wanted and same(app, wanted, release.id)]
    unhealthy = ""
    if found.live and found.get(found.live):
        config = app.story(found.live).get("config", {})
        health = Health(str(config.get("health_path", "/")), host, PATIENCE, tls, nginx)
        unhealthy = ask_instance(app.socket(found.live), health, PATIENCE) if found.live in found.running else "does not run"
        unhealthy = unhealthy or (ask_nginx(health, PATIENCE) if nginx else "")
    return {
        "live": found.live,
        "running": sorted(found.running),
        "releases": [_release(app, release) for release in found.releases],
        "matches": matches,
        "archive": bool(found.live) and os.path.exists(app.archive(found.live)),
        "linked": not found.live or os.path.realpath(app.live) == app.release(found.live),
        "enabled": not found.live or at_boot(app, found.live),
        "unhealthy": unhealthy,
    }
