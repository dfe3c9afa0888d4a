#!/usr/bin/python
"""Run a command in the live release of an app."""

from __future__ import annotations

DOCUMENTATION = r"""
module: run
short_description: Run a command in the live release of an app
version_added: "0.1.0"
description:
  - Runs it in the directory, environment, user and sandbox of the live release, as its hooks are run; it takes no lock.
  - The action plugin of the same name chooses the host by what M(plainstack.web.releases) has seen, and keeps what the command printed for
    M(plainstack.web.show), which fails where the command did.
author: Plainstack contributors (!UNKNOWN)
options:
  app:
    description: Name of the app; set by the action plugin.
    type: str
    default: ""
  command:
    description: The command, for C(/bin/sh); encoded by the action plugin, as there may be a token in it.
    type: str
    required: true
  host:
    description: The host to run it on, or C(all); the first that has a live release when empty.
    type: str
    default: ""
  timeout:
    description: Seconds until it is killed, 1 to 86400.
    type: int
    default: 600
  secrets:
    description: Names of environment variables whose values are not shown where the command prints them; set by the action plugin.
    type: list
    elements: str
    default: []
attributes:
  check_mode:
    description: In check mode the command is not run.
    support: full
"""

EXAMPLES = r"""
- name: Show the version of the database
  plainstack.web.run:
    command: flask db current
"""

RETURN = r"""
error:
  description: Why it was not run; empty where it was.
  returned: always
  type: str
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.plainstack.web.plugins.module_utils.environment import EnvironmentTextError, decode
from ansible_collections.plainstack.web.plugins.module_utils.host.command import run
from ansible_collections.plainstack.web.plugins.module_utils.host.systemd import InstanceError
from ansible_collections.plainstack.web.plugins.module_utils.layout import App


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "app": {"type": "str", "default": ""},
            "command": {"type": "str", "required": True, "no_log": True},
            "host": {"type": "str", "default": ""},
            "timeout": {"type": "int", "default": 600},
            "secrets": {"type": "list", "elements": "str", "default": [], "no_log": False},  # their names
        },
        supports_check_mode=True,
    )
    given = module.params
    if module.check_mode:
        module.exit_json(changed=True, seen={})
    try:
        done = run(App(given["app"]), decode(given["command"]), given["timeout"], given["secrets"])
    except (InstanceError, EnvironmentTextError, OSError) as error:
        module.fail_json(msg=str(error))
    module.exit_json(changed=True, seen=done)


if __name__ == "__main__":
    main()
