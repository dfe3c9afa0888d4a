#!/usr/bin/python
"""How long nginx waits for the answers of apps."""

from __future__ import annotations

DOCUMENTATION = r"""
module: timeouts
short_description: How long nginx waits for the answers of apps
version_added: "0.1.0"
description:
  - Has nginx wait as long as the live releases may take, after a deploy or a rollback. On an app server the switch does that by itself.
  - Where nginx has no site of an app, nothing is done.
author: Plainstack contributors (!UNKNOWN)
options:
  seconds:
    description: Seconds that a request may take, by the app's name. A load balancer waits 5 s longer.
    type: dict
    required: true
attributes:
  check_mode:
    description: Says whether something would change.
    support: full
"""

EXAMPLES = r"""
- name: Wait as long as the release may take
  plainstack.web.timeouts:
    seconds: {hello: 30}
"""

RETURN = r"""
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.plainstack.web.plugins.module_utils.host.timeouts import keep
from ansible_collections.plainstack.web.plugins.module_utils.layout import App
from ansible_collections.plainstack.web.plugins.module_utils.timeouts import BALANCER


def main() -> None:
    module = AnsibleModule(argument_spec={"seconds": {"type": "dict", "required": True}}, supports_check_mode=True)
    wanted = {name: int(seconds) + BALANCER for name, seconds in module.params["seconds"].items()}
    changed = [name for name, seconds in wanted.items() if keep(App(name), seconds, module.warn, module.check_mode)]
    module.exit_json(changed=bool(changed))


if __name__ == "__main__":
    main()
