#!/usr/bin/python
"""Documentation of the action plugin of the same name."""

from __future__ import annotations

DOCUMENTATION = r"""
module: program
short_description: Put a program of the collection on a host
version_added: "0.1.0"
description:
  - One file that C(python3 -I) runs, with all modules of the collection that run on hosts.
author: Plainstack contributors (!UNKNOWN)
options:
  name:
    description: The module in C(module_utils/host) whose C(main) it runs.
    type: str
    required: true
  dest:
    description: Where it is put; its directory must be there.
    type: path
    required: true
attributes:
  check_mode:
    description: Says whether it would change.
    support: full
  action:
    description: Made on the controller.
    support: full
"""

EXAMPLES = r"""
- name: Put the program there
  plainstack.web.program:
    name: alerts
    dest: /usr/local/lib/plainstack/alerts.pyz
"""

RETURN = r"""
changed:
  description: Whether it was not there, or another one.
  returned: always
  type: bool
"""
