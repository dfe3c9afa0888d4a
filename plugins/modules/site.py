#!/usr/bin/python
"""Whether this host's nginx answers for a site."""

from __future__ import annotations

DOCUMENTATION = r"""
module: site
short_description: Whether this host's nginx answers for a site
version_added: "0.1.0"
description:
  - Asks this host's nginx for the site, whatever its certificate is. Fails where the app is not well.
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
  tls:
    description: Whether to ask over HTTPS; an app server behind load balancers speaks HTTP alone.
    type: bool
    default: true
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
  returned: always
  type: str
"""

import socket
import time

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.plainstack.web.plugins.module_utils.host.health import Health, ask_nginx

PATIENCE = 10  # seconds until one answer must have come


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "host": {"type": "str", "required": True},
            "path": {"type": "str", "required": True},
            "tls": {"type": "bool", "default": True},
            "seconds": {"type": "int", "default": 0},
        },
        supports_check_mode=True,
    )
    given = module.params
    health = Health(given["path"], given["host"], PATIENCE, given["tls"])
    deadline = time.monotonic() + given["seconds"]
    while (wrong := ask_nginx(health, PATIENCE)) and time.monotonic() < deadline:
        time.sleep(0.2)
    if wrong:
        url = f"{'https' if health.tls else 'http'}://{health.host}{health.path}"
        module.fail_json(
            msg=f"{socket.gethostname()}: {url} {wrong}, asked through its own nginx.\nNext: tail /var/log/nginx/error.log on {socket.gethostname()}",
            wrong=wrong,
        )
    module.exit_json(changed=False, wrong="")


if __name__ == "__main__":
    main()
