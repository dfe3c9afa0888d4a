#!/usr/bin/python
"""The release to go back to, started and healthy."""

from __future__ import annotations

DOCUMENTATION = r"""
module: rollback
short_description: The release to go back to, started and healthy
version_added: "0.1.0"
description:
  - Chooses the release that was live before and is not marked bad, or takes the one that is named, starts its instance beside
    the live one and waits for a healthy answer over its own socket. Nothing is built.
  - The traffic stays where it is; M(plainstack.web.instance) with C(state=switched) and C(event=rollback) moves it.
  - The health check is the one that the release was deployed with.
author: Plainstack contributors
options:
  app:
    description: Name of the app.
    type: str
    required: true
  release:
    description: Id of the release to go back to; empty for the one before.
    type: str
    default: ""
  host:
    description: Name of the site, for the Host header.
    type: str
    default: localhost
  run:
    description: Token of the run that holds the app's lock; empty without one.
    type: str
    default: ""
attributes:
  check_mode:
    description: Says where a rollback would lead to.
    support: full
  diff_mode:
    description: Shows the id of the release before and after.
    support: full
"""

EXAMPLES = r"""
- name: Start the release before
  plainstack.web.rollback:
    app: hello
    host: hello.example.com
  register: back
"""

RETURN = r"""
app:
  description: Name of the app.
  returned: success
  type: str
id:
  description: Id of the release to go back to.
  returned: success
  type: str
live:
  description: Id of the release that has the traffic.
  returned: success
  type: str
revision:
  description: Revision of the source of the release to go back to.
  returned: success
  type: str
config:
  description: The settings that the release was deployed with, such as C(health_path), C(start_timeout) and C(timeout).
  returned: success
  type: dict
seconds:
  description: How long the release took to start and to become healthy.
  returned: success
  type: float
"""

import contextlib
import time

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.plainstack.web.plugins.module_utils.health import Health
from ansible_collections.plainstack.web.plugins.module_utils.instance import Work, look, start
from ansible_collections.plainstack.web.plugins.module_utils.interpreter import python_gone
from ansible_collections.plainstack.web.plugins.module_utils.layout import App
from ansible_collections.plainstack.web.plugins.module_utils.lock import LockError, step
from ansible_collections.plainstack.web.plugins.module_utils.state import StateError, by_going_live, rollback_target
from ansible_collections.plainstack.web.plugins.module_utils.systemd import InstanceError
from ansible_collections.plainstack.web.plugins.module_utils.text import plain


def listing(app: App) -> str:
    """The releases of the host, for the user to choose from."""
    found = look(app)
    lines = []
    for release in by_going_live(found):
        story = app.story(release.id)
        about = "live" if release.id == found.live else f"bad: {release.bad}" if release.bad else "good"
        lines.append(f"  {release.id}  went live {story.get('went_live', '?')}  {story.get('revision', '')[:12] or 'no revision'}  {about}")
    return "\n".join(lines) or "  none"


def target_of(module: AnsibleModule, app: App) -> str:
    """Id of the release to go back to; ends the module where there is none."""
    try:
        return rollback_target(look(app), module.params["release"])
    except StateError as error:
        module.fail_json(
            msg=f"{app.name}: {error}. Nothing was touched.\n"
            f"What has been live on this host, the last first:\n{listing(app)}\n"
            "Next: name a good one with -e release=<id>, or check out the code that you want and deploy it."
        )


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "app": {"type": "str", "required": True},
            "release": {"type": "str", "default": ""},
            "host": {"type": "str", "default": "localhost"},
            "run": {"type": "str", "default": "", "no_log": False},
        },
        supports_check_mode=True,
    )
    given = module.params
    app = App(given["app"])
    began = time.monotonic()
    try:
        asked = target_of(module, app)
        with contextlib.nullcontext() if module.check_mode else step(app, given["run"]) as run:
            live = app.live_id()
            # A rollback of a run that was killed may have ended while this one waited: it must not be done once more
            target = live if live == asked else target_of(module, app)
            if gone := python_gone(app, target):
                module.fail_json(msg=plain(f"{gone}\nNothing was touched."))
            story = app.story(target)
            config = story.get("config", {})
            if not module.check_mode:
                health = Health(config.get("health_path", "/"), given["host"], config.get("start_timeout", 60))
                start(Work(app, health, run, module.warn), target, in_any_case=True)
    except (InstanceError, LockError) as error:
        module.fail_json(msg=str(error))
    module.exit_json(
        changed=target != live,
        app=app.name,
        id=target,
        live=live,
        revision=story.get("revision", ""),
        config=config,
        seconds=round(time.monotonic() - began, 2),
        diff={"before": f"{live}\n", "after": f"{target}\n", "before_header": "release", "after_header": "release"} if module._diff else {},
    )


if __name__ == "__main__":
    main()
