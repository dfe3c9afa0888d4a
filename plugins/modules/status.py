#!/usr/bin/python
"""How a server and its apps are now."""

from __future__ import annotations

DOCUMENTATION = r"""
module: status
short_description: How a server and its apps are now
version_added: "0.1.0"
description:
  - Looks at what is live, whether it is healthy, its units, requests, certificates, memory and disk; changes nothing and takes no lock.
  - The action plugin of the same name gives it its options from the plan of M(plainstack.web.plan), and keeps what it says for M(plainstack.web.show).
    A host that cannot be reached is noted as such and is no failure.
author: Plainstack contributors (!UNKNOWN)
options:
  apps:
    description: The apps to look at, encoded, with the settings and the environment that each is to have; set by the action plugin.
    type: str
    default: ""
  known:
    description: Names of all apps that are to be on the host; set by the action plugin.
    type: list
    elements: str
    default: []
  domains:
    description: Names for which the host's nginx has certificates; set by the action plugin.
    type: list
    elements: str
    default: []
  serves:
    description: Whether the host has nginx; set by the action plugin.
    type: bool
    default: true
  minutes:
    description: Whether to read the requests of the last hour by minute, too, which the page of C(-e report=) shows.
    type: bool
    default: false
attributes:
  check_mode:
    description: Changes nothing in any mode.
    support: full
"""

EXAMPLES = r"""
- name: Look at each server
  plainstack.web.status:
"""

RETURN = r"""
error:
  description: Why the host could not be looked at; empty where it was.
  returned: always
  type: str
"""

import json

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.plainstack.web.plugins.module_utils.environment import decode
from ansible_collections.plainstack.web.plugins.module_utils.host.status import of_host


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "apps": {"type": "str", "default": "", "no_log": True},
            "known": {"type": "list", "elements": "str", "default": []},
            "domains": {"type": "list", "elements": "str", "default": []},
            "serves": {"type": "bool", "default": True},
            "minutes": {"type": "bool", "default": False},
        },
        supports_check_mode=True,
    )
    given = module.params
    apps = json.loads(decode(given["apps"]) or "[]")
    module.exit_json(changed=False, seen=of_host(apps, given["known"], given["domains"], given["serves"], given["minutes"]))


if __name__ == "__main__":
    main()
