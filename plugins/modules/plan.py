#!/usr/bin/python
"""Documentation of the action plugin of the same name."""

from __future__ import annotations

DOCUMENTATION = r"""
module: plan
short_description: Plan a run on the controller
version_added: "0.1.0"
description:
  - Checks what is asked for and the definition of the apps, archives their sources, and works out who balances and who obtains certificates.
  - What the run knows is in private files of its temporary directory, which all of its processes share and which are gone at its end. It is in no
    variable, because it has the secrets.
author: Plainstack contributors (!UNKNOWN)
options:
  event:
    description: What the run is for.
    type: str
    choices: [deploy, scale, rollback, upgrade, teardown, restart, start, stop, maintenance, doctor, alerts, monitoring, backup, restore, status, releases,
      logs, run]
    required: true
  app:
    description: Name of the one app to work on; all of them when empty.
    type: str
    default: ""
  canary:
    description: How many servers are switched first, or how many percent of them, such as C(25%).
    type: str
    default: ""
  release:
    description: For a rollback, the id of the release; the one before when empty.
    type: str
    default: ""
  process:
    description: For a restart, start or stop, the name of the one process or timer of the app to do it with; the whole app when empty.
    type: str
    default: ""
  ref:
    description: Branch, tag or commit of the git repository that the apps come from, instead of their own C(ref).
    type: str
    default: ""
  replace:
    description: Names of apps, separated by commas, whose domains may go to new apps.
    type: str
    default: ""
  confirmed:
    description: Name of the inventory that the run is meant for, where the inventory sets C(confirm_inventory); asked for on a terminal when empty.
    type: str
    default: ""
attributes:
  check_mode:
    description: Changes nothing on any host.
    support: full
  action:
    description: Runs on the controller.
    support: full
"""

EXAMPLES = r"""
- name: Plan what is to be done
  plainstack.web.plan:
    event: deploy
"""

RETURN = r"""
apps:
  description: Names of the apps that the run works on.
  returned: success
  type: list
  elements: str
"""
