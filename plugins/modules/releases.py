#!/usr/bin/python
"""The releases of apps that a server has."""

from __future__ import annotations

DOCUMENTATION = r"""
module: releases
short_description: The releases of apps that a server has
version_added: "0.1.0"
description:
  - Reads what is live, what can be gone back to, and what is known of each release; changes nothing and takes no lock.
  - The action plugin of the same name gives it its options from the plan of M(plainstack.web.plan), and keeps what it says for M(plainstack.web.show)
    and M(plainstack.web.run). A host that cannot be reached is noted as such and is no failure.
author: Plainstack contributors (!UNKNOWN)
options:
  apps:
    description: Names of the apps; set by the action plugin.
    type: list
    elements: str
    default: []
attributes:
  check_mode:
    description: Changes nothing in any mode.
    support: full
"""

EXAMPLES = r"""
- name: Read the releases of each server
  plainstack.web.releases:
"""

RETURN = r"""
error:
  description: Why the host could not be looked at; empty where it was.
  returned: always
  type: str
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.plainstack.web.plugins.module_utils.host.inspect import releases
from ansible_collections.plainstack.web.plugins.module_utils.layout import App


def main() -> None:
    module = AnsibleModule(argument_spec={"apps": {"type": "list", "elements": "str", "default": []}}, supports_check_mode=True)
    module.exit_json(changed=False, seen={"apps": {name: releases(App(name)) for name in module.params["apps"]}})


if __name__ == "__main__":
    main()
