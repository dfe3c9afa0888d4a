#!/usr/bin/python
"""What is wrong with a server, or soon will be."""

from __future__ import annotations

DOCUMENTATION = r"""
module: doctor
short_description: What is wrong with a server, or soon will be
version_added: "0.1.0"
description:
  - Looks at what a deploy would refuse, at apt, systemd, firewalls, what the server must reach, and at what M(plainstack.web.status) sees. Changes
    nothing, also on a server that nothing was deployed to yet.
  - The action plugin of the same name completes its options from the plan of M(plainstack.web.plan), and keeps what it says for M(plainstack.web.show),
    which looks from outside, too. A host that cannot be reached is noted as such and is no failure.
author: Plainstack contributors (!UNKNOWN)
options:
  apps:
    description: The apps of the host; set by the action plugin.
    type: str
    default: ""
  known:
    description: Names of all apps that are to be on the host; set by the action plugin.
    type: list
    elements: str
    default: []
  domains:
    description: Names for which nginx on the host has a certificate; set by the action plugin.
    type: list
    elements: str
    default: []
  serves:
    description: Whether the host has sites; set by the action plugin.
    type: bool
    default: true
  nginx:
    description: Whether the host has nginx, or will; set by the action plugin.
    type: bool
    default: true
  acme:
    description: Whether certbot is needed; set by the action plugin.
    type: bool
    default: false
  urls:
    description: What the host must reach, without credentials, with what it is for; set by the action plugin.
    type: dict
    default: {}
  ports:
    description: Where visitors come in; set by the action plugin.
    type: list
    elements: int
    default: [80, 443]
  now:
    description: The controller's clock, in seconds since 1970; set by the action plugin.
    type: float
    default: 0
  memory_mb:
    description: The least memory, in MiB.
    type: int
    default: 400
  disk_mb:
    description: The least that is free for C(/srv), in MiB.
    type: int
    default: 500
  inodes:
    description: The least inodes that are free for C(/srv).
    type: int
    default: 20000
  clock_skew:
    description: The most seconds that the clock differs from the controller's.
    type: int
    default: 300
  build_environment:
    description: Environment of builds, with an index and a proxy where there is one.
    type: dict
    default: {}
  certbot_server:
    description: URL of the ACME server; Let's Encrypt's when empty.
    type: str
    default: ""
attributes:
  check_mode:
    description: Changes nothing in any mode.
    support: full
"""

EXAMPLES = r"""
- name: Look at each server
  plainstack.web.doctor:
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
from ansible_collections.plainstack.web.plugins.module_utils.host import doctor, status
from ansible_collections.plainstack.web.plugins.module_utils.host.measure import measure
from ansible_collections.plainstack.web.plugins.module_utils.host.preflight import Needs


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "apps": {"type": "str", "default": "", "no_log": True},
            "known": {"type": "list", "elements": "str", "default": []},
            "domains": {"type": "list", "elements": "str", "default": []},
            "serves": {"type": "bool", "default": True},
            "nginx": {"type": "bool", "default": True},
            "acme": {"type": "bool", "default": False},
            "urls": {"type": "dict", "default": {}},
            "ports": {"type": "list", "elements": "int", "default": [80, 443]},
            "now": {"type": "float", "default": 0},
            "memory_mb": {"type": "int", "default": 400},
            "disk_mb": {"type": "int", "default": 500},
            "inodes": {"type": "int", "default": 20000},
            "clock_skew": {"type": "int", "default": 300},
            "build_environment": {"type": "dict", "default": {}, "no_log": True},
            "certbot_server": {"type": "str", "default": ""},
        },
        supports_check_mode=True,
    )
    given = module.params
    host = measure(given["now"], given["inodes"], given["nginx"], given["acme"])
    least = Needs(given["memory_mb"], given["disk_mb"], given["inodes"], given["clock_skew"])
    seen = doctor.summary(doctor.look(host, least, given["ports"], given["urls"], given["build_environment"]))
    apps = json.loads(decode(given["apps"]) or "[]")
    module.exit_json(changed=False, seen={**seen, "status": status.of_host(apps, given["known"], given["domains"], given["serves"])})


if __name__ == "__main__":
    main()
