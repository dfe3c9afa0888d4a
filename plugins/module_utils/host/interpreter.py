"""Whether releases can still start: an environment works only with the Python that it was made for."""

from __future__ import annotations

import os

from ansible_collections.plainstack.web.plugins.module_utils.layout import App


def python_gone(app: App, identifier: str) -> str:
    """What to say of a release whose interpreter the host has no more; empty where it has it.

    An environment works only with the minor version of Python that it was made for, and an upgrade of Debian brings another one.
    """
    story = app.story(identifier)
    wanted = ".".join(str(story.get("python", "")).split(".")[:2])
    path = os.path.realpath(f"{app.release(identifier)}/.venv/bin/python")
    if not wanted or (os.path.exists(path) and os.path.basename(path) == f"python{wanted}"):
        return ""
    found = os.path.basename(path).removeprefix("python") if os.path.exists(path) else ""
    revision = f"revision {story['revision'][:12]}" if story.get("revision") else "its code"
    return (
        f"{app.name}: the release {identifier} was built for Python {wanted}, and this host has {found or 'it no more'}, so it cannot start.\n"
        f"Next: check out {revision} and deploy it; it is then built anew."
    )


def warning(app: App) -> str:
    """What to say where the live release runs on a Python that the host has no more: it serves until it is restarted. Empty otherwise."""
    live = app.live_id()
    gone = python_gone(app, live) if live else ""
    return f"The live release will not survive a restart. {gone}" if gone else ""
