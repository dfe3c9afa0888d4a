#!/usr/bin/python
"""Documentation of the action plugin of the same name."""

from __future__ import annotations

DOCUMENTATION = r"""
module: decide
short_description: Decide once for all hosts what each has to do
version_added: "0.1.0"
description:
  - Takes what M(plainstack.web.inspect) saw on each host. A release has one id everywhere, is migrated for once, and goes live on all servers or on none.
author: Plainstack contributors (!UNKNOWN)
options:
  what:
    description:
      - V(orders) is what becomes of each app on each server; V(canary) whether the canary does worse than the rest, which is an error.
      - V(balance) is what a load balancer serves, which is an error unless all app servers have confirmed; V(undo) notes what has failed.
    type: str
    choices: [orders, canary, balance, undo]
    default: orders
attributes:
  check_mode:
    description: Changes nothing on any host.
    support: full
  action:
    description: Runs on the controller.
    support: full
"""

EXAMPLES = r"""
- name: Decide what each server has to do
  plainstack.web.decide:
  run_once: true
"""

RETURN = r"""
releases:
  description: Id of the release that is to be live, by the app's name.
  returned: for V(orders)
  type: dict
canaries:
  description: The servers that are switched first.
  returned: for V(orders)
  type: list
  elements: str
servers:
  description: The servers that take part.
  returned: for V(orders)
  type: list
  elements: str
together:
  description: Whether each step is done on several servers, or behind load balancers, before the next one; on one server alone a switch is one call.
  returned: for V(orders)
  type: bool
work:
  description: Whether a release is to go live anywhere.
  returned: for V(orders)
  type: bool
references:
  description: The servers that others get a release from.
  returned: for V(orders)
  type: list
  elements: str
sites:
  description: What the role P(plainstack.web.nginx#role) serves on the load balancer.
  returned: for V(balance)
  type: list
  elements: dict
timeouts:
  description: Seconds that a request may take, by the app's name, as it was deployed.
  returned: for V(balance)
  type: dict
probes:
  description: Sites for M(plainstack.web.site).
  returned: for V(balance)
  type: list
  elements: dict
"""
