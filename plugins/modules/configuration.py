#!/usr/bin/python
"""Configuration files of a service, written as one transaction."""

from __future__ import annotations

DOCUMENTATION = r"""
module: configuration
short_description: Configuration files of a service, written as one transaction
version_added: "0.1.0"
description:
  - Compares all files of a service with what is wanted, writes those that differ, validates the whole, and puts back
    what was there when it is invalid. A bad configuration is never left on disk for the next reboot.
  - One run at a time does so on a host, whichever apps the runs are for; another one waits.
  - Units are loaded again when a file below C(/etc/systemd) changed. The service is enabled, started, and reloaded after
    a change, also when an earlier run was interrupted between writing and reloading; one that runs before its first configuration is restarted.
author: Plainstack contributors (!UNKNOWN)
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
      group:
        description: Group that owns it.
        type: str
        default: root
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
    default: ""
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
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.plainstack.web.plugins.module_utils.host.configuration import ConfigurationError, configure
from ansible_collections.plainstack.web.plugins.module_utils.host.lock import LockError, shared


def main() -> None:
    file: dict[str, dict[str, Any]] = {
        "dest": {"type": "path", "required": True},
        "content": {"type": "str", "required": True},
        "mode": {"type": "str", "default": "0644"},
        "group": {"type": "str", "default": "root"},
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
            "service": {"type": "str", "default": ""},
        },
        supports_check_mode=True,
    )
    given = module.params
    try:
        # Two runs for two apps must not write, validate and restore the one configuration of nginx at the same time
        with contextlib.nullcontext() if module.check_mode else shared("configuration"):
            result = configure(
                given["name"],
                given["files"],
                secret=given["secret_files"],
                first=given["first_files"],
                validate=given["validate"],
                service=given["service"],
                check=module.check_mode,
            )
    except ConfigurationError as error:
        module.fail_json(msg=str(error))
    except LockError as error:
        module.fail_json(msg=f"{error}.")
    module.exit_json(**result)


if __name__ == "__main__":
    main()
