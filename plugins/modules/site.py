#!/usr/bin/python
"""Whether this host's nginx answers for a site."""

from __future__ import annotations

DOCUMENTATION = r"""
module: site
short_description: Whether this host's nginx answers for a site
version_added: "0.1.0"
description:
  - Asks this host's nginx for the site over HTTPS, whatever its certificate is.
author: Plainstack contributors
options:
  host:
    description: Name of the site.
    type: str
    required: true
  path:
    description: Path that answers 200 to 399 when the app is well.
    type: str
    required: true
  seconds:
    description: How long to ask again when the answer is a bad one.
    type: int
    default: 0
attributes:
  check_mode:
    description: Changes nothing in any mode.
    support: full
"""

EXAMPLES = r"""
- name: Ask for the site
  plainstack.web.site:
    host: hello.example.com
    path: /healthz
"""

RETURN = r"""
wrong:
  description: What is wrong with the answer; empty when nothing is.
  returned: success
  type: str
"""

import time

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.plainstack.web.plugins.module_utils.health import Health, ask_nginx

PATIENCE = 10  # seconds until one answer must have come


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "host": {"type": "str", "required": True},
            "path": {"type": "str", "required": True},
            "seconds": {"type": "int", "default": 0},
        },
        supports_check_mode=True,
    )
    health = Health(module.params["path"], module.params["host"], PATIENCE)
    deadline = time.monotonic() + module.params["seconds"]
    while (wrong := ask_nginx(health, PATIENCE)) and time.monotonic() < deadline:
        time.sleep(0.2)
    module.exit_json(changed=False, wrong=wrong)


if __name__ == "__main__":
    main()
