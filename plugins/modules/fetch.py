#!/usr/bin/python
"""Documentation of the action plugin of the same name."""

from __future__ import annotations

DOCUMENTATION = r"""
module: fetch
short_description: Fetch the releases that the fleet has live
version_added: "0.1.0"
description:
  - Contacts only the servers that M(plainstack.web.decide) has chosen, for the other servers to get their releases.
author: Plainstack contributors (!UNKNOWN)
options: {}
attributes:
  check_mode:
    description: Changes nothing on any host.
    support: full
  action:
    description: Runs on the controller.
    support: full
"""

EXAMPLES = r"""
- name: Fetch what is live from a server that has it
  plainstack.web.fetch:
"""

RETURN = r"""
{}
"""
