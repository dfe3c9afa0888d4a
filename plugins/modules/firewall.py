#!/usr/bin/python
"""Whether the rules of a file are those in the kernel."""

from __future__ import annotations

DOCUMENTATION = r"""
module: firewall
short_description: Whether the rules of a file are those in the kernel
version_added: "0.1.0"
description:
  - Remembers in C(/var/lib/plainstack/firewall.json) what the kernel lists once the file is loaded, and loads it again where the kernel lists
    something else, such as after C(nft flush ruleset). Counters do not count.
author: Plainstack contributors (!UNKNOWN)
options:
  file:
    description: A file for C(nft --file), which replaces its table as a whole.
    type: path
    required: true
  table:
    description: The table, as C(<family> <name>).
    type: str
    required: true
attributes:
  check_mode:
    description: Says whether the file would be loaded again.
    support: full
"""

EXAMPLES = r"""
- name: Compare the rules with the kernel's
  plainstack.web.firewall:
    file: /etc/plainstack/firewall.nft
    table: inet plainstack
"""

RETURN = r"""
"""

import hashlib
import json
import os
import subprocess
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.plainstack.web.plugins.module_utils.layout import make_directory, read, write

RECORD = "/var/lib/plainstack/firewall.json"
NFT = "/usr/sbin/nft"
PASSING = ("handle", "packets", "bytes", "metainfo")


def lasting(found: Any) -> Any:
    """A listing without what changes while nobody changes a rule."""
    if isinstance(found, dict):
        return {key: lasting(value) for key, value in found.items() if key not in PASSING}
    return [kept for item in found if (kept := lasting(item)) != {}] if isinstance(found, list) else found


def listing(table: str) -> Any:
    """What the kernel has of the table; None where there is none."""
    try:
        done = subprocess.run([NFT, "--json", "list", "table", *table.split()], capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return None
    return None if done.returncode else lasting(json.loads(done.stdout))


def main() -> None:
    module = AnsibleModule(
        argument_spec={"file": {"type": "path", "required": True}, "table": {"type": "str", "required": True}},
        supports_check_mode=True,
    )
    file, table = module.params["file"], module.params["table"]
    before = listing(table)
    record = json.loads(read(RECORD) or "null")
    wanted = {"rules": hashlib.sha256((read(file) or "").encode()).hexdigest(), "kernel": before}
    if before is not None and record == wanted:
        module.exit_json(changed=False)
    if module.check_mode:
        module.exit_json(changed=before is None or (record or {}).get("rules") == wanted["rules"])
    done = subprocess.run([NFT, "--file", file], capture_output=True, text=True, check=False)
    if done.returncode:
        module.fail_json(msg=f"{NFT} --file {file} failed: {done.stderr.strip()}\nNext: that command on the host as root; then run the same command again.")
    after = listing(table)
    make_directory(os.path.dirname(RECORD))
    write(RECORD, json.dumps({**wanted, "kernel": after}) + "\n", 0o600)
    module.exit_json(changed=before != after)


if __name__ == "__main__":
    main()
