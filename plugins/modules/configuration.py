#!/usr/bin/python
"""Configuration files of a service, laid down as one transaction."""

from __future__ import annotations

DOCUMENTATION = r"""
module: configuration
short_description: Configuration files of a service, laid down as one transaction
version_added: "0.1.0"
description:
  - Compares all files of a service with what is wanted, writes those that differ, validates the whole, and puts back
    what was there when it does not hold. A bad configuration is never left on disk for the next reboot.
  - One run at a time does so on a host, whichever apps the runs are for; another one waits.
  - Units are loaded again when a file below C(/etc/systemd) changed. The service is enabled, started, and reloaded after
    a change, also when an earlier run was interrupted between writing and reloading; one that runs before its first configuration is restarted.
author: Plainstack contributors
options:
  name:
    description: Name of this set of files; remembers what the service has loaded in C(/var/lib/plainstack).
    type: str
    required: true
  files:
    description: The files. Their directories are made when missing.
    type: list
    elements: dict
    default: []
    suboptions: &file
      dest:
        description: Absolute path.
        type: path
        required: true
      content:
        description: The whole content.
        type: str
        required: true
      mode:
        description: Mode, in octal.
        type: str
        default: "0644"
  secret_files:
    description: The same for content that must not be shown.
    type: list
    elements: dict
    default: []
    suboptions: *file
  first_files:
    description: The same for files that something else keeps from then on; written only where they are missing.
    type: list
    elements: dict
    default: []
    suboptions: *file
  validate:
    description: Commands that must all succeed with the new files in place.
    type: list
    elements: list
    default: []
  service:
    description: Unit to enable, start and, after a change, reload. Files of units without a service need none.
    type: str
attributes:
  check_mode:
    description: Says and shows what would change.
    support: full
  diff_mode:
    description: Shows the difference of each file but the secret ones, and the beginning of a new file.
    support: full
"""

EXAMPLES = r"""
- name: Configure nginx
  plainstack.web.configuration:
    name: nginx
    files:
      - dest: /etc/nginx/nginx.conf
        content: "{{ lookup('ansible.builtin.template', 'etc/nginx/nginx.conf.j2') }}"
    validate:
      - [nginx, -t, -q]
    service: nginx.service
"""

RETURN = r"""
written:
  description: Paths of the files that were written.
  returned: success
  type: list
  elements: str
"""

import contextlib
import os
import subprocess
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.plainstack.web.plugins.module_utils.host.lock import LockError, shared
from ansible_collections.plainstack.web.plugins.module_utils.layout import make_directory, read, write
from ansible_collections.plainstack.web.plugins.module_utils.stamp import STAMPS, digest
from ansible_collections.plainstack.web.plugins.module_utils.text import plain

UNITS = "/etc/systemd/"
BEGINNING = 5  # lines


def run(command: list[str]) -> tuple[int, str]:
    """Exit code and everything that a command prints; 127 where there is no such command."""
    try:
        done = subprocess.run(command, capture_output=True, encoding="utf-8", errors="replace", check=False)
    except FileNotFoundError as error:
        return 127, str(error)
    return done.returncode, plain((done.stdout + done.stderr).strip())


def differs(file: dict[str, Any]) -> bool:
    """Whether a file is not yet as wanted."""
    try:
        status = os.stat(file["dest"])
    except FileNotFoundError:
        return True
    return (status.st_mode & 0o7777, status.st_uid, status.st_gid) != (int(file["mode"], 8), 0, 0) or read(file["dest"]) != file["content"]


def difference(file: dict[str, Any]) -> dict[str, str]:
    """The diff of a file, in which Ansible takes nothing but UTF-8. Of a file that is new, only the beginning: all of it would be the diff."""
    before, after = read(file["dest"]), file["content"]
    lines = after.splitlines(keepends=True)
    if before is None and len(lines) > BEGINNING + 1:
        after = "".join(lines[:BEGINNING]) + f"... and {len(lines) - BEGINNING} more lines\n"
    shown = (before or "").encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    return {"before_header": file["dest"], "after_header": file["dest"], "before": shown, "after": after}


def lay_down(module: AnsibleModule, changed: list[dict[str, Any]], commands: list[list[str]]) -> None:
    """Write the files and validate the whole; put back what was there when it does not hold."""
    before = {file["dest"]: (read(file["dest"]), os.stat(file["dest"]).st_mode & 0o7777 if os.path.exists(file["dest"]) else 0) for file in changed}
    failed = ""
    try:
        for file in changed:
            if not os.path.isdir(os.path.dirname(file["dest"])):
                make_directory(os.path.dirname(file["dest"]))
            write(file["dest"], file["content"], int(file["mode"], 8))
        for command in commands:
            code, said = run(command)
            if code:
                failed = f"{' '.join(command)} says:\n{said}"
                break
    except OSError as error:
        failed = str(error)
    if failed:
        for path, (content, mode) in before.items():
            if content is not None:
                write(path, content, mode)
            elif os.path.exists(path):
                os.unlink(path)
        state = "what was there before is back and still in use" if before else "an interrupted run left it, and it is not loaded"
        module.fail_json(
            msg=f"The configuration '{module.params['name']}' does not hold; {state}.\n"
            f"{failed}\nWhat was to change: {', '.join(before) or 'nothing'}.\n"
            "Next: where the message names a file of yours, mend or remove it; otherwise check the app's settings in the inventory. "
            "Then run the same command again."
        )


def main() -> None:
    file: dict[str, dict[str, Any]] = {
        "dest": {"type": "path", "required": True},
        "content": {"type": "str", "required": True},
        "mode": {"type": "str", "default": "0644"},
    }
    module = AnsibleModule(
        argument_spec={
            "name": {"type": "str", "required": True},
            "files": {"type": "list", "elements": "dict", "default": [], "options": file},
            "secret_files": {
                "type": "list",
                "elements": "dict",
                "default": [],
                "no_log": False,
                "options": {**file, "content": {**file["content"], "no_log": True}},
            },
            "first_files": {"type": "list", "elements": "dict", "default": [], "options": file},
            "validate": {"type": "list", "elements": "list", "default": []},
            "service": {"type": "str"},
        },
        supports_check_mode=True,
    )
    try:
        # Two runs for two apps must not write, validate and restore the one configuration of nginx at the same time
        with contextlib.nullcontext() if module.check_mode else shared("configuration"):
            apply(module)
    except LockError as error:
        module.fail_json(msg=f"{error}.")


def apply(module: AnsibleModule) -> None:
    """Compare, write, validate and load."""
    given = module.params
    files = given["files"] + given["secret_files"]
    secret = {file["dest"] for file in given["secret_files"]}
    stamp = f"{STAMPS}/{given['name']}"
    wanted = digest(files)
    changed = [file for file in files if differs(file)] + [file for file in given["first_files"] if not os.path.exists(file["dest"])]
    diff = [difference(file) for file in changed if file["dest"] not in secret]
    loaded = read(stamp)
    unapplied = loaded != wanted
    service = given["service"]
    active = not service or run(["systemctl", "is-active", "--quiet", service])[0] == 0
    enabled = not service or run(["systemctl", "is-enabled", "--quiet", service])[0] == 0
    result = {
        "changed": bool(changed) or unapplied or not active or not enabled,
        "diff": diff,
        "written": [file["dest"] for file in changed],
    }
    if module.check_mode or not result["changed"]:
        module.exit_json(**result)

    if changed or unapplied:
        lay_down(module, changed, given["validate"])
    commands = []
    if any(file["dest"].startswith(UNITS) for file in (changed or files)):
        commands.append(["systemctl", "daemon-reload"])
    if not enabled:
        commands.append(["systemctl", "enable", "--quiet", service])
    if service:
        # What runs before its first configuration is the package's: it may have ports and settings that no reload changes
        verb = "start" if not active else "restart" if loaded is None else "reload-or-restart"
        commands.append(["systemctl", verb, service])
    for command in commands:
        code, said = run(command)
        if code:
            unit = service or "systemd"
            module.fail_json(msg=f"{' '.join(command)} failed: {said}\nNext: journalctl --unit={unit} on the host tells why; then run the same command again.")
    make_directory(STAMPS, 0o700)
    write(stamp, wanted, 0o600)
    module.exit_json(**result)


if __name__ == "__main__":
    main()
