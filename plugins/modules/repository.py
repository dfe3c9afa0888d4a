#!/usr/bin/python
"""Make a repository of restic where there is none."""

from __future__ import annotations

DOCUMENTATION = r"""
module: repository
short_description: Make a repository of restic where there is none
version_added: "0.1.0"
description:
  - It is made from the host, by restic, which must be installed. One that is there must take the password.
author: Plainstack contributors (!UNKNOWN)
options:
  location:
    description: Where it is, as restic names it.
    type: str
    required: true
  password:
    description: What it is encrypted with.
    type: str
    required: true
  environment:
    description: What its program needs, such as the keys of a cloud.
    type: dict
    default: {}
attributes:
  check_mode:
    description: Asks nothing, and says that nothing would change.
    support: partial
    details: Whether there is one is not known before restic is installed.
"""

EXAMPLES = r"""
- name: Make the repository where there is none
  plainstack.web.repository:
    location: rclone:offsite:backups
    password: "{{ vault_backup_password }}"
  throttle: 1
"""

RETURN = r"""
changed:
  description: Whether there was none.
  returned: success
  type: bool
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.plainstack.web.plugins.module_utils.host.restic import Repository, ResticError, initialise

FAILED = """The repository of the backups can be neither read nor made: {why}
Where it is set: 'backup_repository', 'backup_password' and 'backup_environment' in the inventory.
Next: correct that, then run the same command again."""


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "location": {"type": "str", "required": True},
            "password": {"type": "str", "required": True, "no_log": True},
            "environment": {"type": "dict", "default": {}, "no_log": True},
        },
        supports_check_mode=True,
    )
    given = module.params
    if module.check_mode:
        module.exit_json(changed=False)
    try:
        environment = {str(name): str(value) for name, value in given["environment"].items()}
        module.exit_json(changed=initialise(Repository(given["location"], given["password"], environment)))
    except (ResticError, OSError) as error:
        module.fail_json(msg=FAILED.format(why=error))


if __name__ == "__main__":
    main()
