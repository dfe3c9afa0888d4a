#!/usr/bin/python
"""What the visitors of apps meet on this host."""

from __future__ import annotations

DOCUMENTATION = r"""
module: traffic
short_description: What the visitors of apps meet on this host
version_added: "0.1.0"
description:
  - Waits, then reads from nginx's access log how many requests each app has answered meanwhile, how many with an error, and how fast.
  - The action plugin of the same name keeps it for M(plainstack.web.decide), which judges a canary by it.
author: Plainstack contributors (!UNKNOWN)
options:
  apps:
    description: Names of the apps.
    type: list
    elements: str
    required: true
  seconds:
    description: How long to wait.
    type: int
    required: true
  log:
    description: The access log, in the format of P(plainstack.web.nginx#role).
    type: path
    default: /var/log/nginx/access.log
attributes:
  check_mode:
    description: Changes nothing in any mode.
    support: full
    details: In check mode it does not wait.
"""

EXAMPLES = r"""
- name: Watch the app for a minute
  plainstack.web.traffic:
    apps: [hello]
    seconds: 60
  register: traffic
"""

RETURN = r"""
apps:
  description: By the app's name C(requests) that it has answered, C(errors), how many of them with a status of 5xx, and C(p95), the seconds within which
    95 of 100 were answered.
  returned: success
  type: dict
"""

import os
import time
from collections.abc import Iterator
from dataclasses import asdict

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.plainstack.web.plugins.module_utils.traffic import read


def since(path: str, file: int, offset: int) -> Iterator[str]:
    """The lines that were written after a place in the log, which may have been rotated since."""
    for name in (f"{path}.1", path):
        try:
            with open(name, encoding="utf-8", errors="replace") as stream:
                status = os.fstat(stream.fileno())
                if status.st_ino == file:
                    stream.seek(offset)
                elif name != path:
                    continue
                yield from stream
        except FileNotFoundError:
            continue


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "apps": {"type": "list", "elements": "str", "required": True},
            "seconds": {"type": "int", "required": True},
            "log": {"type": "path", "default": "/var/log/nginx/access.log"},
        },
        supports_check_mode=True,
    )
    path = module.params["log"]
    try:
        status = os.stat(path)
        file, offset = status.st_ino, status.st_size
    except FileNotFoundError:
        file, offset = 0, 0
    if not module.check_mode:
        time.sleep(module.params["seconds"])
    lines = list(since(path, file, offset))
    module.exit_json(changed=False, apps={name: asdict(read(lines, name)) for name in module.params["apps"]})


if __name__ == "__main__":
    main()
