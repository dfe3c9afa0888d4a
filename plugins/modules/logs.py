#!/usr/bin/python
"""The lines of the logs of apps on a server."""

from __future__ import annotations

DOCUMENTATION = r"""
module: logs
short_description: The lines of the logs of apps on a server
version_added: "0.1.0"
description:
  - Reads the journal of the units of an app, nginx's lines about it, and the log of deploys; changes nothing.
  - The action plugin of the same name completes its options from the plan of M(plainstack.web.plan), and keeps what it says for M(plainstack.web.show).
    A host that cannot be reached is noted as such and is no failure.
author: Plainstack contributors (!UNKNOWN)
options:
  apps:
    description: The apps, each with C(name), and C(domains) that lead to it alone; set by the action plugin.
    type: list
    elements: dict
    default: []
  since:
    description: The moment to begin with, as systemd.time(7) has it; or a span such as C(20min), which counts back from now.
    type: str
    default: 1h
  before:
    description: The moment to end with, given in the same way; now when empty.
    type: str
    default: ""
  lines:
    description: How many lines are read at most, the last ones, 1 to 10000.
    type: int
    default: 200
  level:
    description: Leave out lines that are less bad.
    type: str
    choices: [debug, info, warning, error]
    default: debug
  request:
    description: Only lines that have this id of a request, with the tracebacks that follow them; all when empty.
    type: str
    default: ""
  source:
    description: C(app), C(access), C(error) or C(deploys), or several with commas between; all of them when empty.
    type: str
    default: ""
  sources:
    description: The same as a list; set by the action plugin.
    type: list
    elements: str
    default: [app, access, error, deploys]
attributes:
  check_mode:
    description: Changes nothing in any mode.
    support: full
"""

EXAMPLES = r"""
- name: Read the errors of the last hour
  plainstack.web.logs:
    level: error
"""

RETURN = r"""
error:
  description: Why the host could not be looked at; empty where it was.
  returned: always
  type: str
"""

import time

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.plainstack.web.plugins.module_utils.host.logs import LEVELS, SOURCES, Wanted, WrongTimeError, read, when
from ansible_collections.plainstack.web.plugins.module_utils.layout import App


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "apps": {"type": "list", "elements": "dict", "default": []},
            "since": {"type": "str", "default": "1h"},
            "before": {"type": "str", "default": ""},
            "lines": {"type": "int", "default": 200},
            "level": {"type": "str", "choices": list(LEVELS), "default": LEVELS[0]},
            "request": {"type": "str", "default": ""},
            "source": {"type": "str", "default": ""},
            "sources": {"type": "list", "elements": "str", "default": list(SOURCES)},
        },
        supports_check_mode=True,
    )
    given, now = module.params, time.time()
    try:
        since, until = when("since", given["since"], now), when("until", given["before"], now)
    except WrongTimeError as error:
        module.exit_json(changed=False, seen={"wrong": str(error)})
    wanted = Wanted(since, until, given["lines"], given["level"], tuple(given["sources"]), given["request"])
    found = {app["name"]: read(App(app["name"]), app["domains"], wanted) for app in given["apps"]}
    lines, cut = ({name: one[place] for name, one in found.items()} for place in (0, 1))
    module.exit_json(changed=False, seen={"lines": lines, "cut": {name: at for name, at in cut.items() if at}})


if __name__ == "__main__":
    main()
