#!/usr/bin/python
"""Whether a host can be deployed to."""

from __future__ import annotations

DOCUMENTATION = r"""
module: preflight
short_description: Whether a host can be deployed to
version_added: "0.1.0"
description:
  - Measures the host and fails with everything that is missing, before anything is touched.
  - Warns where a live release was built for a Python that an upgrade of the system has removed; it serves until it is restarted.
  - Then takes the locks of the apps, so that no other run works on them. The action plugin renews them while ansible-playbook
    runs and releases them when it ends, however it ends; without a renewal a lock ends by itself after 100 seconds.
  - The action plugin of the same name turns an unreachable host and a missing sudo into errors that say what to do.
author: Plainstack contributors
options:
  memory_mb:
    description: MiB of memory that the host must have.
    type: int
    default: 400
  disk_mb:
    description: MiB that must be free below C(/srv).
    type: int
    default: 500
  inodes:
    description: Inodes that must be free below C(/srv).
    type: int
    default: 20000
  clock_skew:
    description: Seconds that the clock may differ from the controller's.
    type: int
    default: 300
  purpose:
    description: What the run is for. A rollback is not refused for want of disk, memory or the right time.
    type: str
    choices: [deploy, rollback, upgrade]
    default: deploy
  apps:
    description: Names of the apps to lock.
    type: list
    elements: str
    default: []
  places:
    description: The app that is to have each place, C(<domain>) or C(<domain>/<path>). One that an app has live goes to no other that never was, since
      that is a changed name most likely.
    type: dict
    default: {}
  replace:
    description: Names of apps, separated by commas, whose places may go to new apps.
    type: str
    default: ""
  lock_wait:
    description: Seconds to wait for an app that another run has locked.
    type: int
    default: 0
  allow_unreachable:
    description: Whether a host that cannot be reached is left out, instead of a failure.
    type: bool
    default: false
  acme:
    description: Whether the host obtains certificates from an ACME server.
    type: bool
    default: false
  holder:
    description: Who takes the locks (C(token), C(by), C(origin), C(what), C(since)); set by the action plugin.
    type: dict
  now:
    description: Time of the controller in seconds since 1970; set by the action plugin.
    type: float
attributes:
  check_mode:
    description: Changes nothing in any mode.
    support: full
    details: In check mode no lock is taken.
"""

EXAMPLES = r"""
- name: Check the server
  plainstack.web.preflight:
    disk_mb: 2000
"""

RETURN = r"""
left_out:
  description: That the host could not be reached, and is to be left out of the run.
  returned: always
  type: bool
shares:
  description: Whether other hosts fetch certificates from it.
  returned: success
  type: bool
renews:
  description: Whether certbot on the host goes on renewing a certificate that it has by webroot.
  returned: success
  type: bool
firewall:
  description: Whether the host has rules of P(plainstack.web.firewall#role).
  returned: success
  type: bool
locked:
  description: That another run has locked an app.
  returned: failure
  type: bool
new:
  description: Those of the apps that have no live release yet.
  returned: success
  type: list
  elements: str
run:
  description: Token of the run, for the modules that work on a locked app; empty in check mode.
  returned: success
  type: str
refused:
  description: That the host was measured and found wanting, as against not measured.
  returned: failure
  type: bool
memory_mb:
  description: MiB of memory.
  returned: success
  type: int
disk_mb:
  description: MiB that are free below C(/srv).
  returned: success
  type: int
"""

import json
import os
import shutil
import sys
import time
from ssl import OPENSSL_VERSION_INFO
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.plainstack.web.plugins.module_utils import interpreter, memory
from ansible_collections.plainstack.web.plugins.module_utils.acme import foreign_certbot, renews
from ansible_collections.plainstack.web.plugins.module_utils.layout import App, apps, read
from ansible_collections.plainstack.web.plugins.module_utils.lock import Holder, LockError, acquire, release
from ansible_collections.plainstack.web.plugins.module_utils.measure import listeners, pretty_name, version
from ansible_collections.plainstack.web.plugins.module_utils.places import SITES, taken
from ansible_collections.plainstack.web.plugins.module_utils.preflight import Host, Needs, problems


def foreign_sites() -> tuple[str, ...]:
    """Sites of an nginx that Plainstack has not configured; it would replace their nginx.conf."""
    if os.path.exists("/var/lib/plainstack/configuration/nginx") or not os.path.isdir("/etc/nginx/sites-enabled"):
        return ()
    return tuple(sorted(set(os.listdir("/etc/nginx/sites-enabled")) - {"default"}))


def moves(given: dict[str, Any]) -> list[str]:
    """Places of live apps that others would get."""
    had = json.loads(read(SITES) or "{}")
    live = {name for name in {*had.values(), *given["places"].values()} if App(name).live_id()}
    return taken(given["places"], had, live, given["apps"], given["replace"].split(","))


def take_locks(module: AnsibleModule) -> str:
    """Lock all apps or none; the token of the run."""
    given = module.params
    run = Holder(**given["holder"])
    deadline = time.monotonic() + given["lock_wait"]
    taken = []
    try:
        for name in sorted(given["apps"]):  # in one order, or two runs could wait for each other
            acquire(App(name), run, deadline - time.monotonic())
            taken.append(name)
    except LockError as error:
        for name in taken:
            release(App(name), run.token)
        module.fail_json(msg=f"{error}.", locked=True)
    return run.token


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "memory_mb": {"type": "int", "default": 400},
            "disk_mb": {"type": "int", "default": 500},
            "inodes": {"type": "int", "default": 20000},
            "clock_skew": {"type": "int", "default": 300},
            "purpose": {"type": "str", "choices": ["deploy", "rollback", "upgrade"], "default": "deploy"},
            "apps": {"type": "list", "elements": "str", "default": []},
            "places": {"type": "dict", "default": {}},
            "replace": {"type": "str", "default": ""},
            "lock_wait": {"type": "int", "default": 0},
            "allow_unreachable": {"type": "bool", "default": False},
            "acme": {"type": "bool", "default": False},
            "holder": {"type": "dict"},
            "now": {"type": "float"},
        },
        supports_check_mode=True,
    )
    given = module.params
    disk = os.statvfs("/srv" if os.path.isdir("/srv") else "/")
    host = Host(
        pretty_name=pretty_name(),
        apt=shutil.which("apt-get") is not None,
        systemd=version("systemctl", "--version") if os.path.isdir("/run/systemd/system") else (),
        python=tuple(sys.version_info[:2]),
        openssl=OPENSSL_VERSION_INFO[:2],
        nginx=version("/usr/sbin/nginx", "-v"),
        memory_mb=memory.total() // 2**20,
        disk_mb=disk.f_bavail * disk.f_frsize // 2**20,
        inodes=disk.f_favail if disk.f_files else given["inodes"],  # some file systems do not count inodes
        clock_skew=time.time() - given["now"] if given["now"] else 0.0,
        listeners=listeners((80, 443)),
        foreign_sites=foreign_sites(),
        foreign_certbot=foreign_certbot() if given["acme"] else "",
    )
    needs = Needs(given["memory_mb"], given["disk_mb"], given["inodes"], given["clock_skew"])
    found = problems(host, needs) + moves(given) if given["purpose"] == "deploy" else []
    if found:
        module.fail_json(msg="\n".join(found), refused=True)
    for app in apps():  # also those that the run is not for: nobody sees it until the server reboots
        if doomed := interpreter.warning(app):
            module.warn(doomed)
    run = ""
    if given["holder"] and not module.check_mode:
        run = take_locks(module)
    firewall = os.path.exists("/etc/plainstack/firewall.nft")
    shares = os.path.isdir("/var/lib/plainstack/shared-certificates")
    new = [name for name in given["apps"] if not App(name).live_id()]
    module.exit_json(
        changed=False,
        new=new,
        memory_mb=host.memory_mb,
        disk_mb=host.disk_mb,
        run=run,
        left_out=False,
        firewall=firewall,
        shares=shares,
        renews=renews(),
    )


if __name__ == "__main__":
    main()
