#!/usr/bin/python
"""What is live on a host."""

from __future__ import annotations

DOCUMENTATION = r"""
module: live
short_description: What is live on a host
version_added: "0.1.0"
description:
  - Returns the live release of each app with all that is needed to build the same release on another host.
  - The result has the apps' secrets; use C(no_log).
author: Plainstack contributors
options:
  apps:
    description: Names of the apps.
    type: list
    elements: str
    required: true
attributes:
  check_mode:
    description: Changes nothing in any mode.
    support: full
"""

EXAMPLES = r"""
- name: See what is live
  plainstack.web.live:
    apps: [hello]
  register: live
  no_log: true
"""

RETURN = r"""
apps:
  description:
    - By the app's name, C(id) of the live release (empty where none is), its C(story) as in C(release.json), its C(environment) as the text of
      its environment file, and the path of its C(archive), empty where an older version of Plainstack has built it.
  returned: success
  type: dict
"""

import os
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.plainstack.web.plugins.module_utils.layout import App, read


def live(app: App) -> dict[str, Any]:
    """The live release of an app."""
    identifier = app.live_id()
    if identifier not in app.complete():
        return {"id": "", "story": {}, "environment": "", "archive": ""}
    archive = app.archive(identifier)
    return {
        "id": identifier,
        "story": app.story(identifier),
        "environment": read(app.environment(identifier)) or "",
        "archive": archive if os.path.exists(archive) else "",
    }


def main() -> None:
    module = AnsibleModule(argument_spec={"apps": {"type": "list", "elements": "str", "required": True}}, supports_check_mode=True)
    module.exit_json(changed=False, apps={name: live(App(name)) for name in module.params["apps"]})


if __name__ == "__main__":
    main()
