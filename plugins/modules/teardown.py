#!/usr/bin/python
"""Remove all of an app from a host."""

from __future__ import annotations

DOCUMENTATION = r"""
module: teardown
short_description: Remove all of an app from a host
version_added: "0.2.0"
description:
  - Stops everything of an app that has no site on the host any more, and removes its units, releases, settings, caches, logs of deploys, certificates
    and user. A link is never followed. What a run that was killed has left is removed by the next one.
  - Another app's certificate stays, also where it was ordered for this one.
author: Plainstack contributors (!UNKNOWN)
options:
  app:
    description: Name of the app.
    type: str
    required: true
  data:
    description: What becomes of C(/srv/<app>/shared), which with C(keep) belongs to root from then on.
    type: str
    choices: [keep, delete]
    default: keep
  run:
    description: Token of the run that holds the lock of the app; set by the action plugin, empty without one.
    type: str
    default: ""
attributes:
  check_mode:
    description: Says what would be removed.
    support: full
"""

EXAMPLES = r"""
- name: Remove what is left of an app
  plainstack.web.teardown:
    app: hello
"""

RETURN = r"""
removed:
  description: What was removed.
  returned: success
  type: list
  elements: str
kept:
  description: The directory with its data, where that is still there.
  returned: success
  type: str
"""

import os

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.plainstack.web.plugins.module_utils.host.lock import LockError, step
from ansible_collections.plainstack.web.plugins.module_utils.host.systemd import InstanceError
from ansible_collections.plainstack.web.plugins.module_utils.host.teardown import TeardownError, present, teardown
from ansible_collections.plainstack.web.plugins.module_utils.layout import App
from ansible_collections.plainstack.web.plugins.module_utils.text import plain


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "app": {"type": "str", "required": True},
            "data": {"type": "str", "choices": ["keep", "delete"], "default": "keep"},
            "run": {"type": "str", "default": "", "no_log": False},
        },
        supports_check_mode=True,
    )
    app, data = App(module.params["app"]), module.params["data"] == "delete"
    try:
        if module.check_mode:
            removed = present(app, data)
        else:
            with step(app, module.params["run"]):
                removed = teardown(app, data)
    except (TeardownError, InstanceError, LockError) as error:
        module.fail_json(msg=plain(f"{app.name}: {error}"))
    kept = app.shared if os.path.isdir(app.shared) and not (module.check_mode and data) else ""
    module.exit_json(changed=bool(removed), removed=[plain(one) for one in removed], kept=kept)


if __name__ == "__main__":
    main()
