#!/usr/bin/python
"""Documentation of the action plugin of the same name."""

from __future__ import annotations

DOCUMENTATION = r"""
module: summary
short_description: Say at the end of a run what it did
version_added: "0.1.0"
description:
  - Fails where a step failed that does not end a run, and says which.
author: Plainstack contributors (!UNKNOWN)
options:
  undone:
    description: Whether the rollout was taken back; then it says what failed and what serves now, and fails.
    type: bool
    default: false
attributes:
  check_mode:
    description: Changes nothing on any host.
    support: full
  action:
    description: Runs on the controller.
    support: full
"""

EXAMPLES = r"""
- name: Say what was rolled out
  plainstack.web.summary:
  run_once: true
"""

RETURN = r"""
msg:
  description: One line for each server and app.
  returned: always
  type: str
"""
