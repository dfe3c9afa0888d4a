#!/usr/bin/python
"""Documentation of the action plugin of the same name."""

from __future__ import annotations

DOCUMENTATION = r"""
module: failed
short_description: Note what failed and does not end the run
version_added: "0.1.0"
description:
  - For a rescue. M(plainstack.web.summary) names what was noted.
author: Plainstack contributors (!UNKNOWN)
options:
  what:
    description: What failed.
    type: str
    required: true
attributes:
  check_mode:
    description: Changes nothing on any host.
    support: full
  action:
    description: Runs on the controller.
    support: full
"""

EXAMPLES = r"""
- name: Note that it failed
  plainstack.web.failed:
    what: the firewall
"""

RETURN = r"""
{}
"""
