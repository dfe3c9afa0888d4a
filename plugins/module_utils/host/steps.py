"""The steps of a rollout on one host, each for one app: what the module `step` does for all apps of the host, one after the other.

Each function takes an order, as `controller/orders.py` makes it, and says what it did.
"""

from __future__ import annotations

import base64
import json
import os
import pwd
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from inspect import getsource
from typing import Any

from ansible_collections.plainstack.web.plugins.module_utils import layout
from ansible_collections.plainstack.web.plugins.module_utils.environment import decode
from ansible_collections.plainstack.web.plugins.module_utils.host import goback, history, instance, maintenance, memory, processes, sandbox
from ansible_collections.plainstack.web.plugins.module_utils.host import hook as hooks
from ansible_collections.plainstack.web.plugins.module_utils.host.build import BuildError, Plan, build, same, sweep, unwritable
from ansible_collections.plainstack.web.plugins.module_utils.host.configuration import ConfigurationError, configure
from ansible_collections.plainstack.web.plugins.module_utils.host.health import Health
from ansible_collections.plainstack.web.plugins.module_utils.host.instance import Work
from ansible_collections.plainstack.web.plugins.module_utils.host.interpreter import python_gone
from ansible_collections.plainstack.web.plugins.module_utils.host.lock import Holder, LockError, shared, uptime
from ansible_collections.plainstack.web.plugins.module_utils.host.shared import SharedError, check_owners, new_uid
from ansible_collections.plainstack.web.plugins.module_utils.host.systemd import InstanceError, running, serving
from ansible_collections.plainstack.web.plugins.module_utils.layout import ID, App, make_directory, read, user_of, write

Order = Mapping[str, Any]
# What a step may end with; the message is for the operator
FAILURES = (BuildError, ConfigurationError, InstanceError, LockError, SharedError)


def work_of(order: Order, run: Holder | None, warn: Callable[[str], None]) -> Work:
    """What the functions of `instance` work on."""
    health = Health(order["health_path"], order["host"], order["start_timeout"], order["tls"], order["nginx"])
    return Work(App(order["name"]), health, run, warn, order["leads"], order["fleet"])


# What a step must know that an earlier one of the same run has found out. In memory: a full disk must not keep a site from being
# switched back, and after a reboot nothing of it holds.


def _memory_of(app: App) -> str:
    return f"{app.lock}.run"


def remember(app: App, run: Holder | None, identifier: str, **facts: Any) -> None:
    """Note what this run did with a release."""
    token = run.token if run else ""
    write(_memory_of(app), json.dumps({"run": token, "id": identifier, **facts}), 0o600)


def recall(app: App, run: Holder | None, identifier: str) -> dict[str, Any]:
    """What this run noted of a release; nothing where another one has noted since, or none has."""
    try:
        found = json.loads(read(_memory_of(app)) or "{}")
    except ValueError:
        return {}
    return found if (found.get("run"), found.get("id")) == (run.token if run else "", identifier) else {}


def begun(work: Work, order: Order) -> None:
    """Note that something is under way: those who are told of deploys know who is at it."""
    work.log("begin", order["id"], of=order["event"])


# stage


def _make_user(app: App) -> None:
    """The app's own user, with its data's uid where there is data already."""
    uid = new_uid(os.path.dirname(app.root), app.shared)
    command = ["useradd", "--system", "--user-group", "--home-dir", app.root, "--no-create-home", "--shell", "/usr/sbin/nologin"]
    done = subprocess.run([*command, *(["--uid", str(uid)] if uid else []), app.name], capture_output=True, encoding="utf-8", errors="replace", check=False)
    if done.returncode:
        raise BuildError(f"The user {app.name} cannot be made: {done.stderr.strip()}\nNext: correct that on the host, then run the same command again.")


def _build(order: Order, app: App, archive: str, warn: Callable[[str], None]) -> None:
    plan = Plan(
        app=app,
        identifier=order["id"],
        digest=order["digest"],
        requirements=order["requirements"],
        python=order["python"],
        config=order["config"],
        environment=order["environment"],
        shared=tuple(order["shared"]),
        static=order["static"],
        story=order["story"],
        build=order["build"],
        build_environment=order["build_environment"],
        server_build=order["server_build"],
        env=order["env"],
    )
    user = user_of(app)
    if user is None:
        _make_user(app)
        user = pwd.getpwnam(app.name)
        refusal, _warning = check_owners(app, user.pw_uid, user.pw_gid)
        if refusal:  # nobody could look before there was a user
            raise BuildError(f"{app.name}: {refusal}\n{serving(app)}")
    try:
        make_directory(app.root, 0o751)
        make_directory(app.releases, 0o751)
        make_directory(app.shared, 0o750, user.pw_uid, user.pw_gid)
    except OSError as error:
        raise BuildError(unwritable(app, error)) from error
    sandbox.stop(app)  # of a run that was killed
    sweep(app)
    try:
        for warning in build(plan, archive, user.pw_uid, user.pw_gid):
            warn(warning)
    except BuildError as error:
        raise BuildError(f"{error}\n{serving(app)}") from error


def _configure(order: Order, app: App, check: bool) -> dict[str, Any]:
    """Write the units of a release and Gunicorn's settings; those of a release that is gone back to stay as they are."""
    if not order["files"]:
        return {"changed": False, "diff": []}
    units = [dest for dest in order["files"] if dest.startswith(f"{layout.UNITS}/")]
    files = [{"dest": dest, "content": content, "mode": "0644"} for dest, content in order["files"].items()]
    verify = ["systemd-analyze", "verify", *map(os.path.basename, units)]
    with shared("configuration"):
        return configure(f"gunicorn-{app.name}", files, validate=[verify], check=check)


def stage(order: Order, work: Work, check: bool) -> dict[str, Any]:
    """Build the release where it is not there yet."""
    app, identifier, work = work.app, order["id"], replace(work, later=False)  # nothing is taken back on the others
    if not ID.fullmatch(identifier):  # it may come from another server of the fleet, and becomes part of paths
        raise BuildError(f"{app.name}: {identifier!r} is no id of a release.")
    complete = app.complete()
    # Without a run nobody has looked for one that is what is asked for
    if order.get("find") and (found := [one for one in [*complete, *[app.live_id()] * (app.live_id() in complete)] if same(app, order, one)]):
        return {"changed": False, "built": False, "id": found[-1]}
    if identifier in complete:
        return {"changed": False, "built": False}
    diff = [{"before": f"{app.live_id()}\n", "after": f"{identifier}\n", "before_header": f"release of {app.name}", "after_header": f"release of {app.name}"}]
    if not check:
        begun(work, order)
        with work.telling(identifier):
            memory.check(app)  # the new instance is to run beside the live one
            if order["archive"]:
                _build(order, app, order["archive"], work.warn)
            else:
                with tempfile.NamedTemporaryFile(prefix="plainstack-") as archive:
                    archive.write(base64.b64decode(order["content"]))
                    archive.flush()
                    _build(order, app, archive.name, work.warn)
    return {"changed": True, "built": True, "diff": diff}


# start, switch, confirm, undo, retire


def start(order: Order, work: Work, check: bool) -> dict[str, Any]:
    """Start the release beside the live one, and wait until it is healthy."""
    app, identifier = work.app, order["id"]
    if gone := python_gone(app, identifier) if order["event"] == "rollback" else "":
        raise InstanceError(f"{gone}\nNothing was touched.")
    configured = _configure(order, app, check)
    if check:
        return {"changed": configured["changed"] or identifier not in running(app), "diff": configured["diff"]}
    if order.get("migrated"):  # on another server: so that this one need not be asked when that one is lost
        work.note(identifier, migrate=1)
    if maintenance.paused(app):
        maintenance.resume(app)
    if order["event"] == "rollback" and app.live_id() != identifier:
        begun(work, order)
    began = time.monotonic()
    changed = instance.start(work, identifier, in_any_case=order["event"] == "rollback")
    return {"changed": changed or configured["changed"], "diff": configured["diff"], "seconds": round(time.monotonic() - began, 2)}


def _go_back_if_lost(order: Order, work: Work, before: str) -> None:
    """Where the run is lost before all servers have confirmed, this one goes back by itself."""
    app, identifier = work.app, order["id"]
    if not (before and work.run and order["fleet"]):
        return
    command = ["systemd-run", "--quiet", "--collect", f"--unit=plainstack-lost-{app.name}-{work.run.token}", "/usr/bin/python3", "-I", "-c"]
    arguments = [app.name, app.root, app.sockets, app.history, layout.UNITS, app.lock, work.run.token, identifier, before]
    done = subprocess.run([*command, getsource(goback), *arguments], capture_output=True, encoding="utf-8", errors="replace", check=False)
    if done.returncode:
        work.warn(f"{app.name}: where this run is lost, this server will not go back by itself: {done.stderr.strip()}")


def _still(app: App, identifier: str) -> None:
    if (live := app.live_id()) != identifier:
        raise InstanceError(f"{app.name}: {identifier} has not the traffic any more, {live} has: nothing was heard of this run for {goback.SILENCE} s.")


def switch(order: Order, work: Work, check: bool) -> dict[str, Any]:
    """Give the release the traffic."""
    app, identifier = work.app, order["id"]
    if check:
        return {"changed": app.live_id() != identifier, "before": app.live_id()}
    began = time.monotonic()
    stopped = app.story(identifier).get("halted")
    changed, before = instance.switch(work, identifier, order["event"], order["keep"])
    if stopped:
        work.note(identifier, halted=None)
        work.log("start", identifier)
    remember(app, work.run, identifier, **({"before": before, "uptime": uptime()} if before else {}))
    _go_back_if_lost(order, work, before)
    changed = processes.take_over(app, identifier) or changed
    return {"changed": changed, "before": before, "seconds": round(time.monotonic() - began, 2), "at": time.time()}


def confirm(order: Order, work: Work, check: bool) -> dict[str, Any]:
    """Watch the release through nginx."""
    app, identifier = work.app, order["id"]
    if check:
        return {"changed": app.live_id() != identifier}
    _still(app, identifier)
    before = recall(app, work.run, identifier).get("before", "")
    return {"changed": instance.confirm(work, identifier, order["event"], before, order["confirm_seconds"], order["keep"])}


def agree(order: Order, work: Work, check: bool) -> dict[str, Any]:
    """Note that all servers have confirmed: from now on nobody goes back, by itself or because a repeated run fails elsewhere."""
    app, identifier = work.app, order["id"]
    if not check:
        _still(app, identifier)
        noted = recall(app, work.run, identifier)
        remember(app, work.run, identifier, **{key: noted[key] for key in ("before", "uptime") if key in noted}, agreed=True)
        if pending := app.story(identifier).get("pending"):
            work.note(identifier, pending={**pending, "agreed": True})
    return {"changed": False}


def undo(order: Order, work: Work, check: bool) -> dict[str, Any]:
    """Take back what this run has begun on this host."""
    app, identifier = work.app, order["id"]
    if check:
        return {"changed": False}
    before = recall(app, work.run, identifier).get("before", "")
    pending = app.story(identifier).get("pending", {})
    if not before and not (order.get("agreed") and pending.get("confirmed")):  # an earlier run was interrupted
        before = pending.get("before", "")
    try:
        changed = instance.undo(work, identifier, before, order["keep"], order["reason"])
    finally:
        if order.get("cause") and not history.failed(app, identifier):
            replace(work, later=False).log("failed", identifier, reason=order["cause"])
    if before and app.live_id() == identifier:
        raise InstanceError(f"{app.name}: {identifier} stays live: {before}, which was before it, does not run any more.\nNext: deploy a good release.")
    return {"changed": changed, "serving": serving(app)}


def retire(order: Order, work: Work, check: bool) -> dict[str, Any]:
    """Drain and stop the other instances, remove old releases."""
    app, identifier = work.app, order["id"]
    if check:
        return {"changed": any(other != identifier for other in running(app))}
    since = recall(app, work.run, identifier).get("uptime", 0)
    cut = instance.retire(work, order["timeout"], max(0.0, uptime() - since) if since else 0)
    pruned = instance.prune(app, order["keep"])
    instance.finish(work)
    if sum(cut.values()):
        work.warn(f"{app.name}: {sum(cut.values())} requests took longer than 'timeout' and were cut off.")
    return {"changed": bool(cut or pruned), "retired": list(cut), "cut": sum(cut.values()), "pruned": pruned}


# hooks


def _mark(app: App, identifier: str, name: str) -> int:
    """What is noted once a hook was run: for `after_live` which going live it was; a migration is the release's own."""
    return int(app.story(identifier).get("sequence", 0)) if name == "after_live" else 1


def _done(app: App, identifier: str, name: str) -> bool:
    """Whether the hook was run already."""
    return bool(app.story(identifier).get(name, 0) == _mark(app, identifier, name) != 0)


def _hook(name: str, order: Order, work: Work, check: bool) -> dict[str, Any]:
    app, identifier = work.app, order["id"]
    if check or _done(app, identifier, name):  # perhaps only just, by a run that was killed
        return {"changed": not _done(app, identifier, name)}
    if name == "after_live" and app.story(identifier).get("event") == "rollback":
        # Where this ends here, the same command again must not go one further back
        work.note(identifier, pending={"event": "rollback", "before": "", "confirmed": True, "agreed": True})
    try:
        output = hooks.run(app, identifier, name, order[name], order["hook_timeout"])
    except InstanceError as error:
        replace(work, later=work.later and name == "migrate").log("failed", identifier, reason=str(error).splitlines()[0])
        now = f"{identifier} is live and stays so." if name == "after_live" else serving(app)
        raise InstanceError(
            f"{error}\n{now}\nWhere it is set: '{name}' of the app in the inventory.\nNext: fix it and run the same command again; the hook is then run again."
        ) from error
    facts: dict[str, Any] = {name: _mark(app, identifier, name)}
    work.note(identifier, **facts, pending=None if name == "after_live" else app.story(identifier).get("pending"))
    return {"changed": True, "output": output}


def migrate(order: Order, work: Work, check: bool) -> dict[str, Any]:
    """Run the app's migration, once for a release, in the sandbox of its unit."""
    configured = _configure(order, work.app, check)
    return {"diff": configured["diff"], **_hook("migrate", order, work, check)}


def after_live(order: Order, work: Work, check: bool) -> dict[str, Any]:
    """Run the app's hook, once each time that the release goes live."""
    return _hook("after_live", order, work, check)


# stop, and what is done with one process


def stop(order: Order, work: Work, check: bool) -> dict[str, Any]:
    """Stop the live release, or one process or timer of it."""
    app, live = work.app, work.app.live_id()
    if order["process"]:
        return {"changed": processes.stop(app, live, order["process"], check), "result": f"{order['process']} stopped"}
    return {"changed": instance.halt(work, check), "result": "stopped"}


def process(order: Order, work: Work, check: bool) -> dict[str, Any]:
    """Start or restart one process or timer of the live release."""
    again = order["event"] == "restart"
    changed = processes.start(work.app, work.app.live_id(), order["process"], again, check)
    return {"changed": changed, "result": f"{order['process']} {'restarted' if again else 'started'}"}


STEPS: dict[str, Callable[[Order, Work, bool], dict[str, Any]]] = {
    "stage": stage,
    "migrate": migrate,
    "start": start,
    "switch": switch,
    "confirm": confirm,
    "agree": agree,
    "undo": undo,
    "retire": retire,
    "after_live": after_live,
    "stop": stop,
    "process": process,
}


def orders(text: str) -> dict[str, list[Order]]:
    """What the controller has encoded: the apps of each step."""
    found: dict[str, list[Order]] = json.loads(decode(text) or "{}")
    return found
