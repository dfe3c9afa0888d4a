#!/usr/bin/python
"""What a run must know of a host before it decides anything."""

from __future__ import annotations

DOCUMENTATION = r"""
module: inspect
short_description: What a run must know of a host before it decides anything
version_added: "0.1.0"
description:
  - Measures the host and fails with everything that is missing, before anything is touched; then locks the apps, so that no other
    run works on them, and says which releases they have.
  - Warns where a live release was built for a Python that an upgrade of the system has removed; it serves until it is restarted.
  - The action plugin of the same name gives it its options from the plan of M(plainstack.web.plan), keeps what it says for
    M(plainstack.web.decide), renews the locks while ansible-playbook runs and releases them when it ends, however it ends. Without a renewal
    a lock ends by itself after 100 seconds.
  - A host that cannot be reached and a missing sudo become errors that say what to do.
author: Plainstack contributors (!UNKNOWN)
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
  lock_wait:
    description: Seconds to wait for an app that another run has locked.
    type: int
    default: 0
  allow_unreachable:
    description: Whether a host that cannot be reached is left out, instead of a failure.
    type: bool
    default: false
  build_environment:
    description: Environment variables for uv, such as C(UV_DEFAULT_INDEX) or C(HTTPS_PROXY), for the steps that follow.
    type: dict
    default: {}
  purpose:
    description: What the run is for. Only a deploy is refused for want of disk, memory or the right time. Set by the action plugin.
    type: str
    choices: [deploy, scale, rollback, upgrade, teardown, restart, start, stop]
    default: deploy
  places:
    description: The app that is to have each place, C(<domain>) or C(<domain>/<path>). One that an app has live goes to no other that never was, since
      that is a changed name most likely. Set by the action plugin.
    type: dict
    default: {}
  replace:
    description: Names of apps, separated by commas, whose places may go to new apps. Set by the action plugin.
    type: str
    default: ""
  acme:
    description: Whether the host obtains certificates from an ACME server. Set by the action plugin.
    type: bool
    default: false
  serves:
    description: Whether the host is to have nginx. Set by the action plugin.
    type: bool
    default: true
  apps:
    description: The apps to lock and to look at, encoded, with the environment that each is to have; set by the action plugin.
    type: str
    default: ""
  sites:
    description: Sites of which to say whether this host's nginx answers for them, each with C(name), C(host) and C(path); set by the action plugin.
    type: list
    elements: dict
    default: []
  packages:
    description: Packages of which to say whether they are missing; set by the action plugin.
    type: list
    elements: str
    default: []
  looks:
    description: What the roles will look at, as the options of M(plainstack.web.nginx_info), M(plainstack.web.certificate) and
      M(plainstack.web.firewall) by the name of the module. Set by the action plugin, which keeps what was seen for them.
    type: dict
    default: {}
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
- name: Inspect each server
  plainstack.web.inspect:
    disk_mb: 2000
    build_environment:
      UV_DEFAULT_INDEX: https://packages.example.com/simple/
  register: plainstack
"""

RETURN = r"""
group:
  description: C(plainstack_app_servers), C(plainstack_load_balancers), or C(plainstack_left_out) where the host could not be reached and is left out.
  returned: success
  type: str
names:
  description: The apps that the run works on.
  returned: success
  type: list
  elements: str
python_versions:
  description: The versions of Python that uv has yet to install for them.
  returned: success
  type: list
  elements: str
sites:
  description: What the role P(plainstack.web.nginx#role) serves on an app server.
  returned: success
  type: list
  elements: dict
certificates:
  description: What the role P(plainstack.web.certbot#role) is to obtain for the apps that the run works on; C(others) for all apps of the host.
  returned: success
  type: list
  elements: dict
own_certificates:
  description: The certificates that come from files of the controller, with C(name), C(certificate) and C(certificate_key).
  returned: success
  type: list
  elements: dict
issuer:
  description: The host that obtains this host's certificates; C(issuer_address) is its address where it is another one, and C(sharers) are all that it
    obtains them for.
  returned: success
  type: str
balancers:
  description: Addresses of the load balancers.
  returned: success
  type: list
  elements: str
address:
  description: The host's own address behind load balancers; empty without them.
  returned: success
  type: str
probes:
  description: The live apps of the host as M(plainstack.web.site) takes them.
  returned: success
  type: list
  elements: dict
timeout:
  description: Seconds that the slowest request of them may take; C(start_timeout) is how long the slowest of them may take to start.
  returned: success
  type: int
firewall:
  description: Whether the host has rules of P(plainstack.web.firewall#role).
  returned: success
  type: bool
shares:
  description: Whether other hosts fetch certificates from it.
  returned: success
  type: bool
renews:
  description: Whether certbot on the host goes on renewing a certificate that it has by webroot.
  returned: success
  type: bool
packages:
  description: The packages that the roles need and the host does not have; C(optional_packages) are those that it can do without.
  returned: success
  type: list
  elements: str
lacks_python:
  description: Whether uv or one of these versions is to be installed.
  returned: success
  type: bool
unprepared:
  description: Whether packages, uv or a Python are to be installed.
  returned: success
  type: bool
certified:
  description:
    - Whether the host has certificates to look after. C(hands_on) is whether there is more to it than obtaining them, as they are shared with
      other hosts or are the user's own.
  returned: success
  type: bool
nft:
  description: Whether nftables is installed.
  returned: success
  type: bool
locked:
  description: That another run has locked an app.
  returned: failure
  type: bool
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

import contextlib
import glob
import json
import os
import time
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.plainstack.web.plugins.module_utils.environment import decode
from ansible_collections.plainstack.web.plugins.module_utils.host import configuration, interpreter, processes, renewal, rules, webserver
from ansible_collections.plainstack.web.plugins.module_utils.host.acme import renews
from ansible_collections.plainstack.web.plugins.module_utils.host.health import Health, ask_nginx
from ansible_collections.plainstack.web.plugins.module_utils.host.inspect import going_back, inspect, obstacles
from ansible_collections.plainstack.web.plugins.module_utils.host.lock import Holder, LockError, acquire, release, step
from ansible_collections.plainstack.web.plugins.module_utils.host.measure import measure
from ansible_collections.plainstack.web.plugins.module_utils.host.places import SITES, taken
from ansible_collections.plainstack.web.plugins.module_utils.host.preflight import Needs, problems
from ansible_collections.plainstack.web.plugins.module_utils.layout import App, apps, read
from ansible_collections.plainstack.web.plugins.module_utils.text import plain

UV = "/opt/plainstack/uv/bin/uv"
PYTHONS = "/opt/plainstack/python"
PATIENCE = 10  # seconds until a site must have answered


def moves(given: dict[str, Any], names: list[str]) -> list[str]:
    """Places of live apps that others would get."""
    had = json.loads(read(SITES) or "{}")
    live = {name for name in {*had.values(), *given["places"].values()} if App(name).live_id()}
    return taken(given["places"], had, live, names, given["replace"].split(","))


def take_locks(module: AnsibleModule, names: list[str]) -> None:
    """Lock all apps or none."""
    given = module.params
    run = Holder(**given["holder"])
    deadline = time.monotonic() + given["lock_wait"]
    taken_locks: list[str] = []
    try:
        for name in sorted(names):  # in one order, or two runs could wait for each other
            acquire(App(name), run, deadline - time.monotonic())
            taken_locks.append(name)
    except LockError as error:
        for name in taken_locks:
            release(App(name), run.token)
        module.fail_json(msg=f"{error}.", locked=True)


def answers(sites: list[dict[str, str]]) -> dict[str, bool]:
    """Whether this host's nginx answers for each site."""
    return {site["name"]: not ask_nginx(Health(site["path"], site["host"], PATIENCE), PATIENCE) for site in sites}


def look(looks: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """What the roles would see."""
    found = {}
    for name, options in looks.items():
        warnings: list[str] = []
        if name == "nginx_info":
            result = webserver.inspect(options, warnings.append)
        elif name == "certificate":
            result = renewal.settle(options, True, warnings.append)[0]
        elif os.path.exists(options["file"]):
            result = {"changed": rules.load(options["file"], options["table"], True)}
        else:
            continue
        found[name] = {"options": options, "result": result, "warnings": warnings}
    return found


def pythons() -> list[str]:
    """The versions of Python that uv has installed."""
    found = [path.split("/")[-3] for path in glob.glob(f"{PYTHONS}/cpython-*/bin/python3")]
    return sorted({name.split("-")[1] for name in found})


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "memory_mb": {"type": "int", "default": 400},
            "disk_mb": {"type": "int", "default": 500},
            "inodes": {"type": "int", "default": 20000},
            "clock_skew": {"type": "int", "default": 300},
            "lock_wait": {"type": "int", "default": 0},
            "allow_unreachable": {"type": "bool", "default": False},
            "build_environment": {"type": "dict", "default": {}, "no_log": True},
            "purpose": {"type": "str", "choices": ["deploy", "scale", "rollback", "upgrade", "teardown", "restart", "start", "stop"], "default": "deploy"},
            "places": {"type": "dict", "default": {}},
            "replace": {"type": "str", "default": ""},
            "acme": {"type": "bool", "default": False},
            "serves": {"type": "bool", "default": True},
            "apps": {"type": "str", "default": "", "no_log": True},
            "sites": {"type": "list", "elements": "dict", "default": []},
            "packages": {"type": "list", "elements": "str", "default": []},
            "looks": {"type": "dict", "default": {}},
            "holder": {"type": "dict"},
            "now": {"type": "float"},
        },
        supports_check_mode=True,
    )
    given = module.params
    looked_at = json.loads(decode(given["apps"]) or "[]")
    names = [app["name"] for app in looked_at]
    host = measure(given["now"] or 0.0, given["inodes"], given["serves"], given["acme"])
    found: list[str] = []
    if given["purpose"] in ("deploy", "restart", "scale"):
        found = problems(host, Needs(given["memory_mb"], given["disk_mb"], given["inodes"], given["clock_skew"])) + moves(given, names)
        for app in looked_at:
            wrong, warnings = obstacles(App(app["name"]))
            found += wrong + processes.unknown_schedules(App(app["name"]), app["wanted"].get("config", {}).get("timers", {}))
            for warning in warnings:
                module.warn(plain(warning))  # names of files may be the app's or a package's
    if found:
        module.fail_json(msg=plain("\n".join(found)), refused=True)
    for live in apps():  # also those that the run is not for: nobody sees it until the server reboots
        if doomed := interpreter.warning(live):
            module.warn(plain(doomed))
    locked = bool(given["holder"]) and not module.check_mode
    if locked:
        take_locks(module, names)
    seen = {}
    try:
        for app in [app for app in looked_at if app["wanted"] is not None]:
            # A step of a run that was killed may still be going on; what it does is to be seen
            begun = going_back(App(app["name"]))
            with step(App(app["name"]), given["holder"]["token"]) if locked else contextlib.nullcontext():
                seen[app["name"]] = inspect(App(app["name"]), app["wanted"], app["host"], app["tls"], app["nginx"])
                # A rollback that has just ended so is the one that is asked for; it must not be done once more
                seen[app["name"]]["went_back"] = bool(begun) and begun == seen[app["name"]]["live"]
    except LockError as error:
        module.fail_json(msg=f"{error}.", locked=True)
    module.exit_json(
        changed=False,
        memory_mb=host.memory_mb,
        disk_mb=host.disk_mb,
        firewall=os.path.exists("/etc/plainstack/firewall.nft"),
        shares=os.path.isdir("/var/lib/plainstack/shared-certificates"),
        renews=renews(),
        apps=seen,
        answers=answers(given["sites"]),
        uv=configuration.run([UV, "--version"])[1] if os.path.exists(UV) else "",
        pythons=pythons(),
        absent=webserver.missing(given["packages"]),
        nft=os.path.exists(rules.NFT),
        looks=look(given["looks"]),
        configurations=configuration.all_seen(),
    )


if __name__ == "__main__":
    main()
