"""Run a command of the operator's as the app would run it: in the live release's directory, environment, user and sandbox."""

from __future__ import annotations

import secrets
import time
from collections.abc import Sequence
from typing import Any

from ansible_collections.plainstack.web.plugins.module_utils.environment import parse
from ansible_collections.plainstack.web.plugins.module_utils.host import hook
from ansible_collections.plainstack.web.plugins.module_utils.host.systemd import InstanceError
from ansible_collections.plainstack.web.plugins.module_utils.layout import App, read
from ansible_collections.plainstack.web.plugins.module_utils.text import plain

SHORT = 3  # characters of a secret that is none: hiding it would hide half of the output


def hide(text: str, hidden: Sequence[str]) -> str:
    """The text without some values, the longest first, as one may be part of another."""
    for value in sorted({plain(value).strip() for value in hidden}, key=len, reverse=True):
        if len(value) > SHORT:
            text = text.replace(value, "****")
    return text


def run(app: App, command: str, timeout: int, names: Sequence[str]) -> dict[str, Any]:
    """Run a command and wait for its end.

    :param names: of the environment variables whose values are not to be shown.
    :returns: `release` in which it ran, its exit `code`, the end of its `output`, and whether its time was `over`.
    :raises InstanceError: where nothing is live.
    """
    live = app.live_id()
    if not live or live not in app.complete():
        raise InstanceError(f"{app.name}: no release is live here.")
    environment = parse(read(app.environment(live)) or "")
    began = time.monotonic()
    # Several may run at a time: no two have the same unit
    unit = f"plainstack-run-{secrets.token_hex(4)}-{app.name}.service"
    code, output = hook.execute(app, live, unit, "a command", command, timeout)
    over = bool(code) and time.monotonic() - began >= timeout
    return {"release": live, "code": code, "output": hide(output, [environment[name] for name in names if name in environment]), "over": over}
