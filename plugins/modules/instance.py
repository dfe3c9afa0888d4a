#!/usr/bin/python
"""The running instance of a release."""

from __future__ import annotations

DOCUMENTATION = r"""
module: instance
short_description: The running instance of a release
version_added: "0.1.0"
description:
  - C(state=started) starts the release's systemd instance beside whatever runs and waits for a healthy answer over its own socket.
  - C(state=live) gives it the traffic by one rename, confirms it through nginx, drains and stops the other instances and
    removes old releases.
  - An instance that fails is stopped, the release that was live goes on serving, and the error shows the app's last log lines.
author: Plainstack contributors
options:
  app:
    description: Name of the app.
    type: str
    required: true
  id:
    description: Id of the release.
    type: str
    required: true
  state:
    description: What to reach.
    type: str
    choices: [started, live]
    required: true
  health_path:
    description: Path that answers 200 to 399 when the app is well.
    type: str
    default: /
  host:
    description: Name of the site, for the Host header.
    type: str
    default: localhost
  start_timeout:
    description: Seconds until the instance must have answered.
    type: int
    default: 60
  drain_timeout:
    description: Seconds to wait until the accept queue of an old instance is empty.
    type: int
    default: 30
  through_nginx:
    description: Confirm the switch over HTTPS through this host's nginx.
    type: bool
    default: false
  keep:
    description: How many releases stay on disk.
    type: int
    default: 5
attributes:
  check_mode:
    description: Says whether the instance would be started or switched to.
    support: full
"""

EXAMPLES = r"""
- name: Start the new release
  plainstack.web.instance:
    app: hello
    id: 20261122T094104Z-1f0c2d3e
    state: started
    health_path: /healthz
"""

RETURN = r"""
seconds:
  description: How long it took.
  returned: success
  type: float
retired:
  description: Ids of the instances that were drained and stopped.
  returned: with C(state=live)
  type: list
  elements: str
pruned:
  description: Ids of the releases that were removed.
  returned: with C(state=live)
  type: list
  elements: str
"""

import time

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.plainstack.web.plugins.module_utils.instance import Health, InstanceError, prune, retire, running, start, switch
from ansible_collections.plainstack.web.plugins.module_utils.layout import App


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "app": {"type": "str", "required": True},
            "id": {"type": "str", "required": True},
            "state": {"type": "str", "choices": ["started", "live"], "required": True},
            "health_path": {"type": "str", "default": "/"},
            "host": {"type": "str", "default": "localhost"},
            "start_timeout": {"type": "int", "default": 60},
            "drain_timeout": {"type": "int", "default": 30},
            "through_nginx": {"type": "bool", "default": False},
            "keep": {"type": "int", "default": 5},
        },
        supports_check_mode=True,
    )
    given = module.params
    app, identifier = App(given["app"]), given["id"]
    health = Health(given["health_path"], given["host"], given["start_timeout"])
    if module.check_mode:
        reached = app.live_id() == identifier if given["state"] == "live" else identifier in running(app)
        module.exit_json(changed=not reached)
    began = time.monotonic()
    result = {}
    try:
        with app.locked():
            if given["state"] == "started":
                changed = start(app, identifier, health)
            else:
                changed = switch(app, identifier, health, given["through_nginx"])
                result = {"retired": retire(app, identifier, given["drain_timeout"]), "pruned": prune(app, given["keep"])}
    except InstanceError as error:
        module.fail_json(msg=str(error))
    module.exit_json(changed=changed or any(result.values()), seconds=round(time.monotonic() - began, 2), **result)


if __name__ == "__main__":
    main()
