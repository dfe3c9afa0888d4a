#!/usr/bin/python
"""The running instance of a release."""

from __future__ import annotations

DOCUMENTATION = r"""
module: instance
short_description: The running instance of a release
version_added: "0.1.0"
description:
  - The steps of a rollout, one after the other on all hosts. C(state=started) starts the release's systemd instance beside whatever
    runs and waits for a healthy answer over its own socket.
  - C(state=switched) gives it the traffic by one rename, C(state=confirmed) asks nginx for it and watches it, C(state=retired)
    drains and stops the other instances and removes old releases.
  - A release that fails while it is confirmed loses the traffic again to the one before. C(state=undone) takes it back where it is
    well, because the rollout failed on another host.
  - An instance that fails is stopped, the release that was live goes on serving, and the error shows the app's last log lines.
  - What goes live and what fails is noted in C(release.json) and in C(/var/log/plainstack/<app>.log).
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
  state:
    description: What to reach.
    type: str
    choices: [started, switched, confirmed, retired, undone]
    required: true
  before:
    description: With C(state=confirmed) and C(state=undone), the result C(before) of C(state=switched).
    type: str
    default: ""
  since:
    description: With C(state=retired), the result C(uptime) of C(state=switched); 0 where the switch was another run's.
    type: float
    default: 0
  reason:
    description: With C(state=undone), why; noted in C(release.json).
    type: str
    default: the rollout failed on another host
  event:
    description: Why it goes live. A rollback marks the release that it leaves as bad, so that nobody goes back to it.
    type: str
    choices: [deploy, rollback]
    default: deploy
  health_path:
    description: Path that answers 200 to 399 when the app is well.
    type: str
    default: /
  host:
    description: Name of the site, for the Host header.
    type: str
    default: localhost
  start_timeout:
    description: Seconds until the instance must have answered.
    type: int
    default: 60
  drain_timeout:
    description: Seconds that the requests of an old instance have to end, where its release does not say its own C(timeout).
    type: int
    default: 30
  through_nginx:
    description: With C(state=confirmed), ask through this host's nginx.
    type: bool
    default: false
  tls:
    description: Whether this host's nginx is asked over HTTPS. Behind a load balancer it speaks HTTP.
    type: bool
    default: true
  confirm_seconds:
    description: Seconds to watch the release through nginx after the switch, before the old one is stopped.
    type: int
    default: 2
  keep:
    description: How many releases stay on disk, by order of going live; the live one and the one before in any case.
    type: int
    default: 5
  run:
    description: Token of the run that holds the app's lock; empty without one.
    type: str
    default: ""
attributes:
  check_mode:
    description: Says whether the instance would be started or switched to.
    support: full
"""

EXAMPLES = r"""
- name: Start the new release
  plainstack.web.instance:
    app: hello
    id: 20261122T094104Z-1f0c2d3e
    state: started
    health_path: /healthz
"""

RETURN = r"""
seconds:
  description: How long it took.
  returned: success
  type: float
before:
  description: Id of the release that had the traffic; empty where this one had it already.
  returned: with C(state=switched)
  type: str
at:
  description: When it was given the traffic, in seconds since 1970 by the host's clock.
  returned: with C(state=switched)
  type: float
uptime:
  description: The same in seconds since the host booted, which no change of the clock affects.
  returned: with C(state=switched)
  type: float
live:
  description: Id of the release that has the traffic now.
  returned: always
  type: str
retired:
  description: Ids of the instances that were drained and stopped.
  returned: with C(state=retired)
  type: list
  elements: str
cut:
  description: How many requests were cut off because they were not over when the time was.
  returned: with C(state=retired)
  type: int
pruned:
  description: Ids of the releases that were removed.
  returned: with C(state=retired)
  type: list
  elements: str
"""

import time
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.plainstack.web.plugins.module_utils.host.health import Health
from ansible_collections.plainstack.web.plugins.module_utils.host.instance import Work, confirm, finish, prune, retire, start, switch, undo
from ansible_collections.plainstack.web.plugins.module_utils.host.lock import LockError, step, uptime
from ansible_collections.plainstack.web.plugins.module_utils.host.systemd import InstanceError, running
from ansible_collections.plainstack.web.plugins.module_utils.layout import App


def would_change(app: App, identifier: str, state: str) -> bool:
    """What check mode says."""
    if state == "started":
        return identifier not in running(app)
    if state == "retired":
        return any(other != identifier for other in running(app))
    return state in ("switched", "confirmed") and app.live_id() != identifier


def reach(work: Work, given: dict[str, Any]) -> tuple[bool, dict[str, Any]]:
    """Do the step; whether something changed, and what there is to say about it."""
    identifier, before, keep = given["id"], given["before"], given["keep"]
    match given["state"]:
        case "started":
            return start(work, identifier, in_any_case=given["event"] == "rollback"), {}
        case "switched":
            changed, before = switch(work, identifier, given["event"], keep)
            return changed, {"before": before, "at": time.time(), "uptime": uptime()}
        case "confirmed":
            seconds = given["confirm_seconds"] if given["through_nginx"] else -1
            return confirm(work, identifier, given["event"], before, seconds, keep), {}
        case "undone":
            changed = undo(work, identifier, before, keep, given["reason"])
            if before and work.app.live_id() == identifier:
                raise InstanceError(
                    f"{work.app.name}: {identifier} stays live: {before}, which was before it, does not run any more.\nNext: deploy a good release."
                )
            return changed, {}
    cut = retire(work, given["drain_timeout"], max(0.0, uptime() - given["since"]) if given["since"] else 0)
    result = {"retired": list(cut), "cut": sum(cut.values()), "pruned": prune(work.app, keep)}
    finish(work)
    return any(result.values()), result


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "app": {"type": "str", "required": True},
            "id": {"type": "str", "required": True},
            "state": {"type": "str", "choices": ["started", "switched", "confirmed", "retired", "undone"], "required": True},
            "before": {"type": "str", "default": ""},
            "since": {"type": "float", "default": 0.0},
            "reason": {"type": "str", "default": "the rollout failed on another host"},
            "event": {"type": "str", "choices": ["deploy", "rollback"], "default": "deploy"},
            "health_path": {"type": "str", "default": "/"},
            "host": {"type": "str", "default": "localhost"},
            "start_timeout": {"type": "int", "default": 60},
            "drain_timeout": {"type": "int", "default": 30},
            "through_nginx": {"type": "bool", "default": False},
            "tls": {"type": "bool", "default": True},
            "confirm_seconds": {"type": "int", "default": 2},
            "keep": {"type": "int", "default": 5},
            "run": {"type": "str", "default": "", "no_log": False},
        },
        supports_check_mode=True,
    )
    given = module.params
    app, identifier = App(given["app"]), given["id"]
    if module.check_mode:
        module.exit_json(changed=would_change(app, identifier, given["state"]), live=app.live_id(), before=app.live_id())
    began = time.monotonic()
    try:
        with step(app, given["run"]) as run:
            changed, result = reach(Work(app, Health(given["health_path"], given["host"], given["start_timeout"], given["tls"]), run, module.warn), given)
    except (InstanceError, LockError) as error:
        module.fail_json(msg=str(error), live=app.live_id())
    if result.get("cut"):
        module.warn(f"{app.name}: {result['cut']} requests took longer than 'timeout' and were cut off.")
    module.exit_json(changed=changed, seconds=round(time.monotonic() - began, 2), live=app.live_id(), **result)


if __name__ == "__main__":
    main()
