#!/usr/bin/python
"""Put apps into maintenance on a host, or take them out."""

from __future__ import annotations

DOCUMENTATION = r"""
module: maintenance
short_description: Put apps into maintenance on a host, or take them out
version_added: "0.1.0"
description:
  - nginx answers for them with status 503 and a page, where visitors come in; their timers wait. It takes no lock of an app, and stays so over
    releases and reboots.
  - The action plugin of the same name makes its options from the plan of M(plainstack.web.plan), and keeps what was done for M(plainstack.web.show).
    A host that cannot be reached is noted as such, and M(plainstack.web.show) fails.
author: Plainstack contributors (!UNKNOWN)
options:
  mode:
    description: Whether they are to be in maintenance; C(pause) has requests wait instead, set by the action plugin where there is a C(pause).
    type: str
    choices: ["on", "off", "pause"]
  pause:
    description: Seconds for which requests wait, once those that the app has have ended; without a C(mode).
    type: str
    default: ""
  text:
    description: What the page says; the site's own page for 503, or a standard one, when empty.
    type: str
    default: ""
  allow:
    description: Networks that get the site all the same, with commas between.
    type: str
    default: ""
  retry_after:
    description: Seconds after which a client may come again, 1 to 604800.
    type: str
    default: "600"
  orders:
    description: The apps and nginx's files; set by the action plugin.
    type: str
    default: ""
attributes:
  check_mode:
    description: Says what would change.
    support: full
"""

EXAMPLES = r"""
- name: Put the apps into maintenance
  plainstack.web.maintenance:
    mode: "on"
    text: We move to a larger database. Back at noon.
"""

RETURN = r"""
error:
  description: Why it was not done; empty where it was.
  returned: always
  type: str
"""

import json

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.plainstack.web.plugins.module_utils.environment import decode
from ansible_collections.plainstack.web.plugins.module_utils.host.lock import LockError
from ansible_collections.plainstack.web.plugins.module_utils.host.maintenance import MaintenanceError, pause, switch
from ansible_collections.plainstack.web.plugins.module_utils.host.systemd import InstanceError
from ansible_collections.plainstack.web.plugins.module_utils.layout import App


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "mode": {"type": "str", "choices": ["on", "off", "pause"]},
            "pause": {"type": "str", "default": ""},
            "text": {"type": "str", "default": ""},
            "allow": {"type": "str", "default": ""},
            "retry_after": {"type": "str", "default": "600"},
            "orders": {"type": "str", "default": "", "no_log": True},
        },
        supports_check_mode=True,
    )
    given = module.params
    done, failed = {}, []
    for order in json.loads(decode(given["orders"]) or "[]"):
        try:
            if given["mode"] == "pause":
                done[order["name"]] = pause(App(order["name"]), order["seconds"], module.check_mode)
                continue
            done[order["name"]] = switch(App(order["name"]), given["mode"] == "on", order["files"], order["about"], module.check_mode)
        except (MaintenanceError, InstanceError, LockError, OSError) as error:  # the others are switched all the same
            failed.append(str(error))
    module.exit_json(changed=any(done.values()), seen={"apps": done, "error": "\n".join(failed)})


if __name__ == "__main__":
    main()
