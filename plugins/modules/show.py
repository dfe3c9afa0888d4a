#!/usr/bin/python
"""Documentation of the action plugin of the same name."""

from __future__ import annotations

DOCUMENTATION = r"""
module: show
short_description: Print what a daily command has seen on all servers
version_added: "0.1.0"
description:
  - Prints it once, as text that no terminal acts on. Fails where an option of the command was wrong, where a command of
    M(plainstack.web.run), M(plainstack.web.maintenance) or M(plainstack.web.backup) failed, and where M(plainstack.web.doctor) has found an error.
author: Plainstack contributors (!UNKNOWN)
options:
  what:
    description: What was seen.
    type: str
    choices: [status, releases, logs, run, maintenance, doctor, backup]
    required: true
  format:
    description: Of the status and of C(doctor), C(text), or C(json) for one line that begins with C({); docs/reference.md describes it.
    type: str
    choices: [text, json]
    default: text
  mode:
    description: What maintenance was switched to, C(on) or C(off); or what was done with backups, C(save) or C(restore).
    type: str
    default: ""
  report:
    description: Of the status, a file on the controller into which it is written as a page, too.
    type: str
    default: ""
  outside:
    description: Whether C(doctor) asks DNS and connects to the sites from the controller, too.
    type: bool
    default: true
  lines:
    description: How many lines of logs are shown at most.
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
- name: Show it
  plainstack.web.show:
    what: status
  run_once: true
"""

RETURN = r"""
shown:
  description: What was printed.
  returned: success
  type: str
"""
