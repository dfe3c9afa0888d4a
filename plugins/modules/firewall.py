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

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.plainstack.web.plugins.module_utils.host.rules import RulesError, load


def main() -> None:
    module = AnsibleModule(
        argument_spec={"file": {"type": "path", "required": True}, "table": {"type": "str", "required": True}},
        supports_check_mode=True,
    )
    try:
        module.exit_json(changed=load(module.params["file"], module.params["table"], module.check_mode))
    except RulesError as error:
        module.fail_json(msg=str(error))


if __name__ == "__main__":
    main()
