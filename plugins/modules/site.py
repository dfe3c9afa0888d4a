#!/usr/bin/python
"""Whether this host's nginx answers for sites."""

from __future__ import annotations

DOCUMENTATION = r"""
module: site
short_description: Whether the apps of sites are healthy on this host
version_added: "0.1.0"
description:
  - Probes each site through this host's nginx, whatever its certificate is, or over the socket of the app's live release. Fails where an app is not
    healthy, or a process beside its web server does not run here.
author: Plainstack contributors (!UNKNOWN)
options:
  sites:
    description: The sites.
    type: list
    elements: dict
    required: true
    suboptions:
      name:
        description: Name of the app; needed without O(sites[].nginx), and for its processes to be looked at.
        type: str
        default: ""
      nginx:
        description: Whether this host's nginx has the site; a worker server has none.
        type: bool
        default: true
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
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.plainstack.web.plugins.module_utils.host import processes
from ansible_collections.plainstack.web.plugins.module_utils.host.health import Health, ask_instance, ask_nginx
from ansible_collections.plainstack.web.plugins.module_utils.layout import App

PATIENCE = 10  # seconds until one answer must have come


def ask(site: dict[str, Any], health: Health) -> str:
    """What is wrong with an app on this host; empty when nothing is."""
    app = App(site["name"])
    live = app.live_id() if app.name else ""
    if live and (unit := processes.down(app, live)):
        return f"{unit} does not run"
    if site["nginx"]:
        said = ask_nginx(health, PATIENCE)
        url = f"{'https' if health.tls else 'http'}://{health.host}{health.path}"
        return f"{url} {said}, probed through its own nginx" if said else ""
    said = ask_instance(app.socket(live), health, PATIENCE) if live else "no release is live"
    return f"{app.name}: {health.path} {said}, probed over its own socket" if said else ""


def main() -> None:
    site = {
        "name": {"type": "str", "default": ""},
        "nginx": {"type": "bool", "default": True},
        "host": {"type": "str", "required": True},
        "path": {"type": "str", "required": True},
    }
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
        while (said := ask(one, health)) and time.monotonic() < deadline:
            time.sleep(0.2)
        if said:
            wrong.append(f"{socket.gethostname()}: {said}.")
    if wrong:
        where = "tail /var/log/nginx/error.log" if all(one["nginx"] for one in given["sites"]) else "systemctl --failed; journalctl --priority=warning"
        module.fail_json(msg="\n".join([*wrong, f"Next: {where} on {socket.gethostname()}"]), wrong=wrong)
    module.exit_json(changed=False, wrong=[])


if __name__ == "__main__":
    main()
