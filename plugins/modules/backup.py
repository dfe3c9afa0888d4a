#!/usr/bin/python
"""Back up the data of apps on a host, or give it back."""

from __future__ import annotations

DOCUMENTATION = r"""
module: backup
short_description: Back up the data of apps on a host, or give it back
version_added: "0.1.0"
description:
  - Saves what is in the C(shared) directories of apps into a repository of restic, with each SQLite database as it was at one moment; or has an app
    go on with the data of such a snapshot, for which it is stopped for a moment.
  - The action plugin of the same name makes its options from the plan of M(plainstack.web.plan), and keeps what was done for M(plainstack.web.show).
    A host that cannot be reached is noted as such, and M(plainstack.web.show) fails.
author: Plainstack contributors (!UNKNOWN)
options:
  what:
    description: C(apps) says which apps are on the host, and touches nothing; C(save) backs them up; C(restore) gives one its data back.
    type: str
    choices: [apps, save, restore]
    required: true
  repository:
    description: Where the snapshots are, as restic names it.
    type: str
    default: ""
  password:
    description: What they are encrypted with.
    type: str
    default: ""
  environment:
    description: What the repository's program needs, such as the keys of a cloud.
    type: dict
    default: {}
  keep:
    description: How many snapshots are kept, C(daily), C(weekly), C(monthly) and C(yearly).
    type: dict
    default: {}
  to:
    description: A directory on the controller that gets the snapshots as a file for each host, instead of the repository.
    type: path
    default: ""
  file:
    description: Such a file, from which the data is to come.
    type: path
    default: ""
  snapshot:
    description: The beginning of a snapshot's id; the last one when empty.
    type: str
    default: ""
  of:
    description: The server whose data it is; the host itself when empty.
    type: str
    default: ""
  host:
    description: The server that gets the data; all that have the app when empty.
    type: str
    default: ""
  order:
    description: All of that; set by the action plugin.
    type: str
    default: ""
attributes:
  check_mode:
    description: Says which snapshot it would be; saves nothing.
    support: full
"""

EXAMPLES = r"""
- name: Back up the apps of the host
  plainstack.web.backup:
    what: save
    repository: "{{ backup_repository }}"
    password: "{{ backup_password }}"
"""

RETURN = r"""
names:
  description: Names of the apps that are on the host.
  returned: with C(what=apps)
  type: list
  elements: str
error:
  description: Why it was not done; empty where it was.
  returned: with another C(what)
  type: str
"""

import json
import os
import shutil
import subprocess
import tempfile
import time
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.plainstack.web.plugins.module_utils.environment import decode
from ansible_collections.plainstack.web.plugins.module_utils.host import backup, restic
from ansible_collections.plainstack.web.plugins.module_utils.host.lock import Holder, LockError
from ansible_collections.plainstack.web.plugins.module_utils.host.restic import Repository, ResticError
from ansible_collections.plainstack.web.plugins.module_utils.host.restore import RestoreError, restore
from ansible_collections.plainstack.web.plugins.module_utils.host.systemd import InstanceError
from ansible_collections.plainstack.web.plugins.module_utils.host.teardown import TeardownError

ROOM = "/var/tmp"  # private directories and files are made in it; /tmp may be memory


def save(order: dict[str, Any]) -> dict[str, Any]:
    """Save into the repository, or into a file for the user that fetches it."""
    settings = order["settings"]
    if not order["local"]:
        done = backup.save_all(settings)
        backup.note(done, time.time())
        return {"apps": done}
    with tempfile.TemporaryDirectory(prefix="plainstack-backup-", dir=ROOM) as directory:
        restic.initialise(Repository(directory, settings["password"], {}))
        done = backup.save_all({**settings, "repository": directory, "keep": {}})
        handle, file = tempfile.mkstemp(prefix="plainstack-backup-", suffix=".tar", dir=ROOM)
        os.fchown(handle, order["uid"], -1)
        with os.fdopen(handle, "wb") as stream:
            subprocess.run(["tar", "--create", f"--directory={directory}", "."], stdout=stream, check=True)
    return {"apps": done, "file": file}


def give_back(order: dict[str, Any], file: str, module: AnsibleModule) -> dict[str, Any]:
    """Restore from the repository, or from a file that was sent."""
    settings, run = order["settings"], Holder(**order["run"])
    repository = Repository(settings["repository"], settings["password"], settings["environment"])
    directory = ""
    try:
        if file:
            directory = tempfile.mkdtemp(prefix="plainstack-restore-", dir=ROOM)
            subprocess.run(["tar", "--extract", "--no-same-owner", f"--file={file}", f"--directory={directory}"], check=True)
            repository = Repository(directory, settings["password"], {})
        return restore(repository, order["app"], run, order["wanted"], module.check_mode, module.warn)
    finally:
        if directory:
            shutil.rmtree(directory, ignore_errors=True)


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "what": {"type": "str", "choices": ["apps", "save", "restore"], "required": True},
            "repository": {"type": "str", "default": ""},
            "password": {"type": "str", "default": "", "no_log": True},
            "environment": {"type": "dict", "default": {}, "no_log": True},
            "keep": {"type": "dict", "default": {}},
            "to": {"type": "path", "default": ""},
            "file": {"type": "path", "default": ""},
            "snapshot": {"type": "str", "default": ""},
            "of": {"type": "str", "default": ""},
            "host": {"type": "str", "default": ""},
            "order": {"type": "str", "default": "", "no_log": True},
        },
        supports_check_mode=True,
    )
    given = module.params
    order = json.loads(decode(given["order"]) or "{}")
    seen: dict[str, Any] = {}
    try:
        if given["what"] == "restore":
            seen = give_back(order, given["file"], module)
        elif not module.check_mode:
            seen = save(order)
    except (RestoreError, TeardownError, InstanceError, LockError, ResticError, OSError, subprocess.CalledProcessError) as error:
        seen = {"error": str(error)}
    changed = bool(seen.get("snapshot")) or any("error" not in one for one in seen.get("apps", {}).values())
    module.exit_json(changed=changed, seen=seen)


if __name__ == "__main__":
    main()
