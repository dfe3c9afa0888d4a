#!/usr/bin/python
"""A command of the app, run once for a release."""

from __future__ import annotations

DOCUMENTATION = r"""
module: hook
short_description: A command of the app, run once for a release
version_added: "0.1.0"
description:
  - Runs a command with the app's user, environment and sandbox in the directory of a release, waits for its end and notes in
    C(release.json) that it was done. What is noted is not run again, so that an interrupted deploy can be repeated.
  - The command goes on when the run that started it is killed; until it has ended, no other of its kind is started.
author: Plainstack contributors
options:
  app:
    description: Name of the app.
    type: str
    required: true
  id:
    description: Id of the release.
    type: str
    required: true
  hook:
    description: C(migrate) is run once for a release; C(after_live) once each time it goes live.
    type: str
    choices: [migrate, after_live]
    required: true
  command:
    description:
      - For C(/bin/sh); the programs of the release's environment come first in C(PATH).
      - The action plugin of the same name hands it to the module as one encoded text, because it may have a token in it.
    type: str
    required: true
  timeout:
    description: Seconds until it is killed.
    type: int
    default: 600
  run:
    description: Token of the run that holds the app's lock; empty without one.
    type: str
    default: ""
attributes:
  check_mode:
    description: Says whether it would be run.
    support: full
"""

EXAMPLES = r"""
- name: Migrate the database
  plainstack.web.hook:
    app: hello
    id: 20261122T094104Z-1f0c2d3e
    hook: migrate
    command: flask db upgrade
"""

RETURN = r"""
output:
  description: What it printed.
  returned: when it was run
  type: str
seconds:
  description: How long it took.
  returned: when it was run
  type: float
"""

import time

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.plainstack.web.plugins.module_utils.environment import decode
from ansible_collections.plainstack.web.plugins.module_utils.host.health import Health
from ansible_collections.plainstack.web.plugins.module_utils.host.hook import run as run_hook
from ansible_collections.plainstack.web.plugins.module_utils.host.instance import Work
from ansible_collections.plainstack.web.plugins.module_utils.host.lock import LockError, step
from ansible_collections.plainstack.web.plugins.module_utils.host.systemd import InstanceError, serving
from ansible_collections.plainstack.web.plugins.module_utils.layout import App


def mark(app: App, identifier: str, name: str) -> int:
    """What is noted once a hook was run: for `after_live` which going live it was; a migration is the release's own."""
    return int(app.story(identifier).get("sequence", 0)) if name == "after_live" else 1


def done(app: App, identifier: str, name: str) -> bool:
    """Whether the hook was run already."""
    return app.story(identifier).get(name, 0) == mark(app, identifier, name) != 0


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "app": {"type": "str", "required": True},
            "id": {"type": "str", "required": True},
            "hook": {"type": "str", "choices": ["migrate", "after_live"], "required": True},
            "command": {"type": "str", "required": True, "no_log": True},
            "timeout": {"type": "int", "default": 600},
            "run": {"type": "str", "default": "", "no_log": False},
        },
        supports_check_mode=True,
    )
    given = module.params
    app, identifier, name = App(given["app"]), given["id"], given["hook"]
    if module.check_mode:
        module.exit_json(changed=not done(app, identifier, name))
    began = time.monotonic()
    try:
        with step(app, given["run"]) as run:
            if done(app, identifier, name):  # perhaps only just, by a run that was killed
                module.exit_json(changed=False)
            work = Work(app, Health("/", "localhost", 0), run, module.warn)
            if name == "after_live" and app.story(identifier).get("event") == "rollback":
                # Where this ends here, the same command again must not go one further back
                work.note(identifier, pending={"event": "rollback", "before": "", "confirmed": True})
            try:
                output = run_hook(app, identifier, name, decode(given["command"]), given["timeout"])
            except InstanceError as error:
                work.log("failed", identifier, reason=str(error).splitlines()[0])
                if name == "after_live":
                    state = f"{identifier} is live and stays so."
                else:
                    state = serving(app)
                module.fail_json(
                    msg=f"{error}\n{state}\nWhere it is set: '{name}' of the app in the inventory.\n"
                    "Next: mend it and run the same command again; the hook is then run again."
                )
            work.note(identifier, **{name: mark(app, identifier, name)}, pending=None if name == "after_live" else app.story(identifier).get("pending"))
    except LockError as error:
        module.fail_json(msg=str(error))
    module.exit_json(changed=True, output=output, seconds=round(time.monotonic() - began, 2))


if __name__ == "__main__":
    main()
