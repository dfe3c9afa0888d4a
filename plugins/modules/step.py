#!/usr/bin/python
"""A step of a rollout on a host, for all of its apps."""

from __future__ import annotations

DOCUMENTATION = r"""
module: step
short_description: A step of a rollout on a host, for all of its apps
version_added: "0.1.0"
description:
  - The steps of a rollout, one after the other on all hosts. C(stage) builds the release where it is missing, C(migrate)
    runs the app's migration, C(start) writes the release's units, starts it beside whatever runs and waits for a healthy answer over its own socket,
    C(switch) gives it the traffic by one rename, C(confirm) watches it through nginx, C(agree)
    notes that all servers have confirmed, C(retire) drains and stops the other instances and
    removes old releases, C(after_live) runs the app's hook. C(undo) takes back what a run has begun.
  - Without O(apps) the action plugin takes them from what M(plainstack.web.decide) has decided for the host. A host with nothing to do is not
    contacted.
  - A release that fails is stopped, what was live before serves on, and the error shows the app's last log lines. What goes live and
    what fails is noted in C(release.json) and in C(/var/log/plainstack/<app>.log).
author: Plainstack contributors (!UNKNOWN)
options:
  step:
    description: What to do.
    type: str
    choices: [stage, migrate, start, switch, confirm, agree, undo, retire, after_live, stop, process]
    required: true
  apps:
    description:
      - The apps, each with the keys of the C(apps) definition that the step needs, besides C(name).
      - For C(step=stage) also C(archive), as M(plainstack.web.archive) returns it for the app; for the other steps C(release), its id.
    type: list
    elements: dict
    default: []
  build_environment:
    description: With C(step=stage) and O(apps), environment variables for uv, such as C(UV_DEFAULT_INDEX) or C(HTTPS_PROXY).
    type: dict
    default: {}
  through_nginx:
    description: With C(step=confirm) and O(apps), probe through this host's nginx; otherwise over the release's own socket.
    type: bool
    default: true
  orders:
    description: The apps with all that the step needs, by the step, encoded; also of the steps that are done along with it. Set by the action plugin.
    type: str
    default: ""
  run:
    description: Token of the run that holds the locks of the apps; set by the action plugin, empty without one.
    type: str
    default: ""
attributes:
  check_mode:
    description: Says what would be done.
    support: full
  diff_mode:
    description: Shows the ids of releases and the files that would be written.
    support: full
"""

EXAMPLES = r"""
- name: Start the releases of the run
  plainstack.web.step:
    step: start

- name: Start a release without a run
  plainstack.web.step:
    step: start
    apps:
      - name: hello
        release: 20261122T094104Z-1f0c2d3e
        module: wsgi:app
        health_path: /healthz
"""

RETURN = r"""
apps:
  description:
    - What was done, by the app's name; also of a step that failed, for the apps that it came to.
    - C(id) of the release and C(changed) in each step; C(seconds) with C(start) and C(switch), C(before) (id of the release that had the
      traffic) and C(at) (seconds since 1970) with C(switch), C(retired), C(cut) and C(pruned) with C(retire), C(serving) with C(undo),
      C(output) with hooks.
  returned: always
  type: dict
along:
  description: The same for each step that was done along with it.
  returned: always
  type: dict
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.plainstack.web.plugins.module_utils.host.lock import step
from ansible_collections.plainstack.web.plugins.module_utils.host.steps import FAILURES, STEPS, orders, work_of
from ansible_collections.plainstack.web.plugins.module_utils.layout import App
from ansible_collections.plainstack.web.plugins.module_utils.text import plain


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "step": {"type": "str", "choices": list(STEPS), "required": True},
            "apps": {"type": "list", "elements": "dict", "default": []},
            "build_environment": {"type": "dict", "default": {}, "no_log": True},
            "through_nginx": {"type": "bool", "default": True},
            "orders": {"type": "str", "default": "", "no_log": True},
            "run": {"type": "str", "default": "", "no_log": False},
        },
        supports_check_mode=True,
    )
    given = module.params
    done: dict[str, dict[str, dict[str, Any]]] = {}
    failures: list[str] = []

    def warn(text: str) -> None:
        module.warn(plain(text))  # names of files may be the app's or a package's

    for name, order in ((name, order) for name, listed in orders(given["orders"]).items() for order in listed):
        apps = done.setdefault(name, {})
        try:
            if module.check_mode:
                found = STEPS[name](order, work_of(order, None, warn), True)
            else:
                with step(App(order["name"]), given["run"]) as run:
                    found = STEPS[name](order, work_of(order, run, warn), False)
        except FAILURES as error:
            failures.append(plain(str(error)))
            apps[order["name"]] = {"id": order["id"], "changed": True, "failed": failures[-1]}
            if name in ("undo", "retire", "after_live"):  # the other apps' is done all the same
                continue
            break
        apps[order["name"]] = {"id": order["id"], **found}
    every = [one for apps in done.values() for one in apps.values()]
    result: dict[str, Any] = {
        "changed": any(one["changed"] for one in every),
        "diff": [part for one in every for part in one.pop("diff", [])],
        "apps": done.pop(given["step"], {}),
        "along": done,
    }
    if failures:
        module.fail_json(msg="\n".join(failures), **result)
    module.exit_json(**result)


if __name__ == "__main__":
    main()
