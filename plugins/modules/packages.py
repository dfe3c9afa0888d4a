#!/usr/bin/python
"""Debian packages that must be installed."""

from __future__ import annotations

DOCUMENTATION = r"""
module: packages
short_description: Debian packages that must be installed
version_added: "0.1.0"
description:
  - Installs what is missing in one transaction of apt-get, without what is only recommended and without a question. Nothing is upgraded
    but with O(upgrade).
  - Needs nothing but apt-get, unlike M(ansible.builtin.apt), whose python3-apt a bare server does not have; so it can also be used in check mode there.
  - Where another program holds apt's locks, as unattended-upgrades in the first minutes of a cloud server, the action plugin says which one and waits for it.
  - The package lists are updated when they are older than a day, or do not have what is needed. A source that cannot be read is a warning that names it
    and its file, as long as what is needed comes from the others.
  - An installation that was cut off is finished first (C(dpkg --configure -a)).
  - needrestart is suspended meanwhile; it would restart services behind the deploy's back.
author: Plainstack contributors (!UNKNOWN)
options:
  names:
    description: Packages that must be installed.
    type: list
    elements: str
    default: []
  optional:
    description: Packages that are installed along with O(names), where apt can have them.
    type: list
    elements: str
    default: []
  upgrade:
    description: Whether all packages are upgraded, as by C(apt-get full-upgrade).
    type: bool
    default: false
  not_started:
    description: Units that no package starts when it is installed, such as C(nginx.service), which would serve its package's page. Those that are there
      already are left alone.
    type: list
    elements: str
    default: []
  lock_timeout:
    description: Seconds to wait for another program that holds apt's locks.
    type: int
    default: 300
  patience:
    description: Seconds of that to wait in one call of the module; set by the action plugin.
    type: int
    default: 10
attributes:
  check_mode:
    description: Says what would be installed.
    support: full
  diff_mode:
    description: Shows the packages.
    support: full
"""

EXAMPLES = r"""
- name: Install nginx
  plainstack.web.packages:
    names: [nginx, ssl-cert]
    optional: [libnginx-mod-http-brotli-filter]
"""

RETURN = r"""
installed:
  description: Packages of O(names) and O(optional) that were installed.
  returned: success
  type: list
  elements: str
held_by:
  description: Who holds apt's locks; empty when nobody does.
  returned: success
  type: str
"""

import glob
import os
import re
import subprocess
import time
from typing import NoReturn

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.plainstack.web.plugins.module_utils.host.packages import Complaint, complaints, errors, holder, sources, unknown
from ansible_collections.plainstack.web.plugins.module_utils.text import ENGLISH

LISTS = "/var/lib/apt/lists"
SOURCES = ("/etc/apt/sources.list", "/etc/apt/sources.list.d/*.list", "/etc/apt/sources.list.d/*.sources")
UNFINISHED = "/var/lib/dpkg/updates"  # of an installation that was cut off
FRESH = 86400  # seconds
APT = ["apt-get", "--quiet", "--yes", "--no-install-recommends", "-o", "Dpkg::Options::=--force-confdef", "-o", "Dpkg::Options::=--force-confold"]
QUIET = {
    **ENGLISH,
    "DEBIAN_FRONTEND": "noninteractive",
    "APT_LISTCHANGES_FRONTEND": "none",
    "NEEDRESTART_SUSPEND": "1",
}


def run(*command: str) -> tuple[int, str]:
    """Exit code and output of a command that is in English and puts no question."""
    environment = {**os.environ, **QUIET}
    done = subprocess.run(
        command, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, encoding="utf-8", errors="replace", check=False
    )
    return done.returncode, done.stdout


def versions() -> dict[str, str]:
    """The installed packages' versions."""
    listed = run("dpkg-query", "--show", "--showformat=${db:Status-Status} ${Package} ${Version}\\n")[1]
    rows = [line.split() for line in listed.splitlines() if line.startswith("installed ")]
    return {name: version for _state, name, version in rows}


def fresh() -> bool:
    """Whether there are package lists, not older than a day."""
    return bool(glob.glob(f"{LISTS}/*Release")) and time.time() - os.stat(LISTS).st_mtime < FRESH


def update() -> list[Complaint]:
    """Update the package lists; the sources that could not be read."""
    files = {}
    for path in (path for pattern in SOURCES for path in glob.glob(pattern)):
        with open(path, encoding="utf-8", errors="replace") as stream:
            files[path] = stream.read()
    code, output = run("apt-get", "--quiet", "update")
    known = sources(files)
    found = complaints(output, known)
    return found if found or not code else [Complaint("apt-get update", "", errors(output))]


def free(seconds: float) -> str:
    """Wait so long until apt's locks are free; who still holds them."""
    deadline = time.monotonic() + seconds
    while (by := holder()) and time.monotonic() < deadline:
        time.sleep(0.5)
    return by


def available(names: list[str], optional: list[str]) -> list[str]:
    """The optional packages, or none where apt cannot have them along with the others."""
    return optional if run(*APT, "--simulate", "install", *names, *optional)[0] == 0 else []


def install(names: list[str], optional: list[str], not_started: list[str]) -> tuple[int, str]:
    """Install the packages, and the optional ones where they can be had.

    :param not_started: units that a package would start; those that are there already are left alone.
    """
    chosen = names + (available(names, optional) if optional else [])
    if not chosen:
        return 0, ""
    new = [unit for unit in not_started if run("systemctl", "cat", unit)[0]]
    if new:
        run("systemctl", "mask", "--runtime", *new)
    try:
        return run(*APT, "install", *chosen)
    finally:
        if not_started:  # a run that was killed may have left it
            run("systemctl", "unmask", "--runtime", *not_started)


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "names": {"type": "list", "elements": "str", "default": []},
            "optional": {"type": "list", "elements": "str", "default": []},
            "upgrade": {"type": "bool", "default": False},
            "not_started": {"type": "list", "elements": "str", "default": []},
            "lock_timeout": {"type": "int", "default": 300},
            "patience": {"type": "int", "default": 10},
        },
        supports_check_mode=True,
    )
    given = module.params
    before = versions()
    missing, optional = ([name for name in given[kind] if name not in before] for kind in ("names", "optional"))

    def leave(after: dict[str, str], wrong: list[Complaint]) -> NoReturn:
        for complaint in wrong:
            module.warn(f"A package source cannot be read, and was not needed: {complaint}. Next: correct or remove it, or updates stop coming from it.")
        names = sorted(before.keys() | after.keys()) if given["upgrade"] else missing + optional
        diff = {"before_header": "packages", "after_header": "packages"}
        for when, found in (("before", before), ("after", after)):
            diff[when] = "".join(f"{name} {found[name]}".strip() + "\n" for name in names if name in found and before.get(name) != after.get(name))
        installed = [name for name in missing + optional if name in after]
        module.exit_json(changed=before != after, installed=installed, held_by="", diff=diff)

    if not (missing or optional or given["upgrade"]):
        leave(before, [])
    if module.check_mode:
        if optional and glob.glob(f"{LISTS}/*Release"):  # without any lists, as on a fresh server, apt knows nothing
            optional = available(missing, optional)
        simulated = run(*APT, "--simulate", "full-upgrade")[1] if given["upgrade"] else ""
        upgraded = dict(re.findall(r"(?m)^Inst (\S+) (?:\[\S+\] )?\((\S+)", simulated))
        leave({**before, **upgraded, **dict.fromkeys(missing + optional, "")}, [])
    if by := free(given["patience"]):
        module.exit_json(changed=False, installed=[], held_by=by)
    if os.listdir(UNFINISHED):
        run("dpkg", "--configure", "-a", "--force-confdef", "--force-confold")
    code, output, wrong = 1, "", []
    if fresh() and not given["upgrade"]:
        code, output = install(missing, optional, given["not_started"])
    if code:  # also where the lists name what the servers have replaced meanwhile
        wrong = update()
        code, output = run(*APT, "full-upgrade") if given["upgrade"] else install(missing, optional, given["not_started"])
    if code and (by := holder()):  # it was quicker
        module.exit_json(changed=False, installed=[], held_by=by)
    if code:
        what = "The packages could not be upgraded" if given["upgrade"] else f"These packages could not be installed: {', '.join(missing)}"
        unread = "".join(f"\nA package source cannot be read: {complaint}" for complaint in wrong)
        where = "/etc/apt/sources.list and /etc/apt/sources.list.d on the server"
        if unknown(output):
            where = f"{' and '.join(unknown(output))}: 'packages' of an app in the inventory; apt's sources: {where}"
        module.fail_json(
            msg=f"{what}. apt-get says:\n{errors(output)}{unread}\n"
            f"Where it is set: {where}.\n"
            "Next: 'sudo apt-get update' on the server must succeed; then run the same command again."
        )
    leave(versions(), wrong)


if __name__ == "__main__":
    main()
