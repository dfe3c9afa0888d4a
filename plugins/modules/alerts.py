#!/usr/bin/python
"""Documentation of the action plugin of the same name."""

from __future__ import annotations

DOCUMENTATION = r"""
module: alerts
short_description: What alerts watch on a host, or a test of their targets
version_added: "0.1.0"
description:
  - Says what the role M(plainstack.web.alerts) takes for the host, from the plan of M(plainstack.web.plan); or sends a test to each target.
author: Plainstack contributors (!UNKNOWN)
options:
  what:
    description: C(watched) for what the role takes, C(test) for the test.
    type: str
    choices: [watched, test]
    default: watched
attributes:
  check_mode:
    description: Changes nothing on any host.
    support: full
  action:
    description: Runs on the controller, but for the test.
    support: full
"""

EXAMPLES = r"""
- name: See what is watched
  plainstack.web.alerts:
  register: plainstack_alerts
"""

RETURN = r"""
watched:
  description: The apps of the host, each with C(name), C(host) (its domain), C(tls) and C(nginx).
  returned: with C(what=watched)
  type: list
  elements: dict
domains:
  description: Names whose certificates nginx on the host has.
  returned: with C(what=watched)
  type: list
  elements: str
serves:
  description: Whether the host has nginx.
  returned: with C(what=watched)
  type: bool
neighbours:
  description: The server that this one watches, as name, address and port; none where it is alone.
  returned: with C(what=watched)
  type: list
  elements: list
balanced:
  description: Of each app the addresses of its servers, on a load balancer.
  returned: with C(what=watched)
  type: dict
"""
