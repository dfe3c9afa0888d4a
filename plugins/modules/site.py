#!/usr/bin/python
"""Whether this host's nginx answers for sites."""

from __future__ import annotations

DOCUMENTATION = r"""
module: site
short_description: Whether this host's nginx answers for sites
version_added: "0.1.0"
description:
  - Probes each site through this host's nginx, whatever its certificate is. Fails where an app is not healthy.
author: Plainstack contributors (!UNKNOWN)
options:
  sites:
    description: The sites.
    type: list
    elements: dict
    required: true
    suboptions:
      name:
        description: Name of the app.
        type: str
      host:
        description: Name of the site.
        type: str
        required: true
      path:
        description: Path that answers 200 to 399 when the app is healthy.
        type: str
        required: true
  tls:
    description: Whether to probe over HTTPS; an app server behind load balancers speaks HTTP alone.
    type: bool
    default: true
  seconds:
    description: How long to probe again where the answer is a bad one.
    type: int
    default: 0
attributes:
  check_mode:
    description: Changes nothing in any mode.
    support: full
"""

EXAMPLES = r"""
- name: Probe the site
  plainstack.web.site:
    sites:
      - host: hello.example.com
        path: /healthz
"""

RETURN = r"""
wrong:
  description: What is wrong with each site that does not answer well.
  returned: always
  type: list
  elements: str
"""

import socket
import time

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.plainstack.web.plugins.module_utils.host.health import Health, ask_nginx

PATIENCE = 10  # seconds until one answer must have come


def main() -> None:
    site = {"name": {"type": "str"}, "host": {"type": "str", "required": True}, "path": {"type": "str", "required": True}}
    module = AnsibleModule(
        argument_spec={
            "sites": {"type": "list", "elements": "dict", "required": True, "options": site},
            "tls": {"type": "bool", "default": True},
            "seconds": {"type": "int", "default": 0},
        },
        supports_check_mode=True,
    )
    given = module.params
    deadline = time.monotonic() + given["seconds"]
    wrong = []
    for one in given["sites"]:
        health = Health(one["path"], one["host"], PATIENCE, given["tls"])
        while (said := ask_nginx(health, PATIENCE)) and time.monotonic() < deadline:
            time.sleep(0.2)
        if said:
            wrong.append(f"{socket.gethostname()}: {'https' if health.tls else 'http'}://{health.host}{health.path} {said}, probed through its own nginx.")
    if wrong:
        module.fail_json(msg="\n".join([*wrong, f"Next: tail /var/log/nginx/error.log on {socket.gethostname()}"]), wrong=wrong)
    module.exit_json(changed=False, wrong=[])


if __name__ == "__main__":
    main()
