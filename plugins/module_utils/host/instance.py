"""Instances of an app on a host: start one beside the other, gate it, switch to it, confirm it, drain and stop the old one."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

from ansible_collections.plainstack.web.plugins.module_utils import layout, state, static
from ansible_collections.plainstack.web.plugins.module_utils.host import history, memory, processes, systemd, timeouts
from ansible_collections.plainstack.web.plugins.module_utils.host.drain import drain
from ansible_collections.plainstack.web.plugins.module_utils.host.health import Health, ask_instance, ask_nginx
from ansible_collections.plainstack.web.plugins.module_utils.host.lock import Holder, LockError, holder, step
from ansible_collections.plainstack.web.plugins.module_utils.host.systemd import InstanceError
from ansible_collections.plainstack.web.plugins.module_utils.layout import App, make_directory, relink

REACHABLE_WITHIN = 10  # seconds until nginx must have answered for a release that is healthy on its own socket
UNCONFIRMED = "it was live and never confirmed: its run was interrupted"
REFUSED_FOR = 5  # seconds in which a new instance answers nothing but 4xx, and then will not answer otherwise
REFUSALS = {
    "400": "Does the app take requests for this name? Django does for those in its ALLOWED_HOSTS alone",
    "401": "It must answer without a login",
    "403": "It must answer without a login",
    "404": "The app has no such path",
}
# What is said by a program that the sandbox keeps from making code
EXECUTABLE = re.compile(r"write\+execute memory|failed to map segment|cannot enable executable|LLVM ERROR: Unable to allocate", re.IGNORECASE)
DRAINED_WITHIN = 30  # seconds that the requests of a release have which does not say its own `timeout`
TOLERATED = 2  # bad answers in a row while a release is watched; one more takes it back


@dataclass(frozen=True)
class Work:
    """What a module works on: the app, how to probe whether it is healthy, the run that it belongs to.

    `warn` gets what went wrong without keeping the work from being done. Of several servers that do the same the one that `leads` tells of it, and where
    something is taken back on all of them, that is told `later`, by one.
    """

    app: App
    health: Health
    run: Holder | None = None
    warn: Callable[[str], None] = print
    leads: bool = True
    later: bool = False

    def note(self, identifier: str, **facts: Any) -> None:
        """Write facts into release.json; a full disk must not keep a site from being switched back."""
        try:
            self.app.note(identifier, **facts)
        except OSError as error:
            self.warn(f"{self.app.marker(identifier)} could not be written: {error}")

    def log(self, event: str, identifier: str, **facts: Any) -> None:
        """Write a line into the log of deploys and rollbacks."""
        who = {"by": self.run.by, "origin": self.run.origin} if self.run else {}
        elsewhere = self.later if event in history.BAD else not self.leads
        try:
            history.append(self.app, event, identifier, **who, **({"told": "elsewhere"} if elsewhere else {}), **facts)
        except OSError as error:
            self.warn(f"{self.app.history} could not be written: {error}")

    @contextlib.contextmanager
    def telling(self, identifier: str) -> Iterator[None]:
        """Note it where what is done meanwhile fails."""
        try:
            yield
        except Exception as error:
            self.log("failed", identifier, reason=(str(error) or type(error).__name__).splitlines()[0])
            raise


def _against(story: dict[str, Any]) -> str:
    """Why nobody should go back to a release, from its release.json; empty when nothing speaks against it."""
    if story.get("verdict") == "bad":
        return str(story.get("reason", "marked by hand"))
    return UNCONFIRMED if story.get("sequence") and not story.get("event") else ""


def look(app: App) -> state.State:
    """The state of the app on this host."""
    releases = []
    for identifier in app.complete():
        story = app.story(identifier)
        pending, restarts = str(story.get("pending", {}).get("event", "")), str(story.get("restarts", ""))
        releases.append(state.Release(identifier, int(story.get("sequence", 0)), _against(story), pending, restarts))
    return state.State(app.live_id(), tuple(releases), frozenset(systemd.running(app)))


def settle(work: Work) -> None:
    """Note a live release that an earlier run switched to without getting to say so."""
    found = look(work.app)
    if state.unsettled(found):
        work.note(found.live, sequence=state.next_sequence(found), went_live=history.now(), pending=None)


def _why(app: App, identifier: str, why: str) -> str:
    said = systemd.log(app.unit(identifier, "service"), ended=_ended(app, identifier))
    return f"{app.name}: the release {identifier} {why}.\nThe last lines of its log:\n{said or '(it wrote none)'}"


def _failure(app: App, identifier: str, why: str) -> InstanceError:
    about = _why(app, identifier, f"did not become healthy: {why}")
    hint = "\nIt makes code while it runs: 'executable_memory: true' of the app in the inventory allows that." if EXECUTABLE.search(about) else ""
    now = "It is the live release; systemd goes on restarting it." if app.live_id() == identifier else systemd.serving(app)
    return InstanceError(
        f"{about}{hint}\n{now}\n"
        f"Where it is set: 'module', 'env', 'health_path' and 'start_timeout' of the app in the inventory.\n"
        f"Next: fix the app and deploy again; the whole log is in: journalctl --unit={app.unit(identifier, 'service')}"
    )


def _ended(app: App, identifier: str) -> bool:
    """Whether the process of an instance has ended since it was started, restarted by systemd or not."""
    found = systemd.show(app.unit(identifier, "service"), "ActiveState", "NRestarts")
    return found["ActiveState"] == "failed" or int(found["NRestarts"]) > 0


def gate(work: Work, identifier: str) -> None:
    """Wait for a healthy answer over the release's own socket; systemd's READY comes too early to count."""
    app, health = work.app, work.health
    deadline = time.monotonic() + health.timeout
    last, refused = "it has not finished starting", deadline
    while (left := deadline - time.monotonic()) > 0:
        if _ended(app, identifier):
            raise _failure(app, identifier, "its process ended while starting")
        if systemd.show(app.unit(identifier, "service"), "ActiveState")["ActiveState"] == "active":
            wrong = ask_instance(app.socket(identifier), health, left, lambda: _ended(app, identifier))
            if not wrong:
                return
            refused = min(refused, time.monotonic()) if wrong.startswith("answered 4") else deadline
            if time.monotonic() >= refused + REFUSED_FOR:
                advice = REFUSALS.get(wrong[-3:], "Nothing but 200 to 399 counts as healthy")
                raise _failure(app, identifier, f"{health.path} of {health.host} {wrong} for {REFUSED_FOR} s. {advice}")
            # The end of the time cuts the last question off: that silence must not hide what was answered before it
            if wrong.startswith("answered") or " answered " not in last:
                last = f"{health.path} {wrong}"
        time.sleep(0.05 if left > health.timeout - 2 else 0.5)
    raise _failure(app, identifier, f"{last} within {health.timeout} s")


def start(work: Work, identifier: str, in_any_case: bool = False) -> bool:
    """Start an instance beside the live one and gate it; whether it had to be started.

    What killed runs have left is stopped first: it would fill the memory.
    One that fails is stopped again, unless it is the live one, which systemd goes on restarting.

    :param in_any_case: also where it may not fit into the memory: a rollback may be away from a release that eats it up.
    """
    app = work.app
    if identifier != app.live_id():
        settle(work)
    service, listener = app.unit(identifier, "service"), app.unit(identifier, "socket")
    fresh = systemd.show(service, "ActiveState")["ActiveState"] != "active"
    _clear(work, {identifier, _way_back(app) if identifier == app.live_id() else ""})
    if fresh and identifier != app.live_id():
        _clear_others(work)
        if too_much := memory.promised(app, identifier):
            work.warn(too_much)
        if not in_any_case:
            with work.telling(identifier):
                memory.check(app)
    # Also forgets the restarts of its past, which are no failure of today
    systemd.systemctl("reset-failed", service, listener, check=False)
    if fresh:
        systemd.systemctl("start", listener)
        systemd.systemctl("start", "--no-block", service)
    try:
        gate(work, identifier)
    except InstanceError as error:
        if identifier != app.live_id():
            work.log("failed", identifier, reason=str(error).splitlines()[0])
            discard(app, identifier)
        raise
    if identifier != app.live_id():
        _offer_files(work, identifier)
        follow(work, identifier, app.live_id())  # nginx loads it before the first request comes
    return fresh


def _way_back(app: App) -> str:
    """Id of the release that had the traffic before the live one, until that is confirmed and the rollout over; empty then."""
    return str(app.story(app.live_id()).get("pending", {}).get("before", ""))


def _clear(work: Work, wanted: set[str]) -> None:
    """Stop the instances that killed runs have left: what never had traffic at once, the others once their requests have ended."""
    found = look(work.app)
    strays = state.strays(found, wanted)
    for stray in strays:
        discard(work.app, stray)
    for old in state.to_retire(found, {*wanted, *strays}):
        _stop(work, old, DRAINED_WITHIN)


def _clear_others(work: Work) -> None:
    """The same for the other apps of the host, but those that a run works on."""
    for other in layout.apps() if work.run else []:
        if other.name == work.app.name or holder(other):
            continue
        with contextlib.suppress(LockError), step(other, ""):
            _clear(replace(work, app=other), {_way_back(other)})


def _offer_files(work: Work, identifier: str) -> None:
    """Make the static files of a release that is about to go live reachable: another server of the fleet may have it live already."""
    try:
        make_directory(work.app.before)
        relink(f"{work.app.before}/0", work.app.release(identifier))
    except OSError as error:
        work.warn(f"The static files of the release {identifier} are not reachable before it is live: {error}")


def _withdraw_files(app: App, identifier: str) -> None:
    """The release has gone live, or never will."""
    offered = f"{app.before}/0"
    if os.path.lexists(offered) and os.readlink(offered) == app.release(identifier):
        os.unlink(offered)


def discard(app: App, identifier: str) -> None:
    """Stop an instance that has no traffic, at once, and remove its release unless it has been live before.

    A release that never worked is nothing to go back to, and must not push out the good ones when old ones are removed.
    """
    service, listener = app.unit(identifier, "service"), app.unit(identifier, "socket")
    _disable(app, identifier)
    # First, or the stop would wait as long as it does for requests
    systemd.systemctl("kill", "--signal=KILL", service, check=False)
    systemd.systemctl("stop", service, listener, *_beside(app, identifier), check=False)
    systemd.systemctl("reset-failed", service, listener, check=False)
    _withdraw_files(app, identifier)
    if not app.story(identifier).get("sequence"):
        app.remove(identifier)


def _point(work: Work, identifier: str) -> None:
    relink(work.app.live_socket, work.app.socket(identifier))
    relink(work.app.live, work.app.release(identifier))
    follow(work, identifier)


def follow(work: Work, *identifiers: str) -> None:
    """Have nginx wait as long as the slowest of these releases may take."""
    seconds = max(int(work.app.story(identifier).get("config", {}).get("timeout", 0)) for identifier in identifiers)
    if seconds:
        timeouts.keep(work.app, seconds, work.warn)


def keep_old_files(work: Work, identifier: str, count: int) -> None:
    """Make the static files of the releases before reachable, so that a page loaded from one of them still finds its own."""
    app = work.app
    try:
        make_directory(app.before)
        wanted = {str(place): static.view(app, old, identifier) for place, old in enumerate(state.with_old_files(look(app), identifier, count), 1)}
        for name, target in wanted.items():
            if not os.path.lexists(f"{app.before}/{name}") or os.readlink(f"{app.before}/{name}") != target:
                relink(f"{app.before}/{name}", target)
        for name in set(os.listdir(app.before)) - {*wanted, *map(os.path.basename, wanted.values()), "0"}:
            if os.path.islink(f"{app.before}/{name}"):
                os.unlink(f"{app.before}/{name}")
            else:
                shutil.rmtree(f"{app.before}/{name}")
    except OSError as error:
        work.warn(f"The static files of the releases before are not all reachable: {error}")


def _check_processes(app: App, identifier: str) -> None:
    """:raises InstanceError: when one of those that work beside the web server has ended."""
    if unit := processes.ended(app, identifier):
        raise InstanceError(
            f"{app.name}: the release {identifier} failed: its process '{unit.split('.')[1]}' ended.\n"
            f"The last lines of its log:\n{systemd.log(unit, ended=True) or '(it wrote none)'}\n"
            f"Where it is set: 'processes' of the app in the inventory.\nNext: fix the app and deploy again; the whole log is in: journalctl --unit={unit}"
        )


def _watch(work: Work, identifier: str, seconds: float) -> None:
    """Wait for a healthy answer through nginx over HTTPS, then watch the release for so many seconds; over its own socket where nginx does not have it."""
    app, health = work.app, work.health
    began = time.monotonic()
    deadline = began + REACHABLE_WITHIN  # a reload of nginx takes a moment to show
    url = f"{'https' if health.tls else 'http'}://{health.host}{health.path}" if health.nginx else health.path

    def ask() -> str:
        return ask_nginx(health, REACHABLE_WITHIN) if health.nginx else ask_instance(app.socket(identifier), health, REACHABLE_WITHIN)

    while health.nginx and (wrong := ask()):
        if time.monotonic() >= deadline:
            raise InstanceError(
                f"{_why(app, identifier, f'is healthy on its own socket, but {url} {wrong}')}\n"
                "Next: tail /var/log/nginx/error.log on the host, fix it and deploy again."
            )
        time.sleep(0.2)
    bad = 0
    while time.monotonic() < began + seconds:
        time.sleep(0.25)
        _check_processes(app, identifier)
        wrong = "its process ended" if _ended(app, identifier) else ask()
        bad = bad + 1 if wrong else 0
        if wrong and (bad > TOLERATED or wrong == "its process ended"):
            after = f"{time.monotonic() - began:.1f} s after the switch"
            raise InstanceError(
                f"{_why(app, identifier, f'failed {after}: ' + (wrong if wrong.startswith('its') else f'{url} {wrong}'))}\nNext: fix the app and deploy again."
            )


def switch(work: Work, identifier: str, event: str, keep: int) -> tuple[bool, str]:
    """Give an instance the traffic by one rename.

    What is about to happen is noted first, so that a run that is killed here can be finished by the next one.

    :param event: `deploy`, `restart` or `rollback`; a rollback marks the release that it leaves as bad.
    :param keep: how many releases' static files stay reachable.
    :returns: whether something changed, and the id of the release that had the traffic, empty where this one had it already.
    """
    app = work.app
    before = app.live_id()
    # It may have died since it was started, or be the live one and dead: nothing gets traffic unasked
    changed = start(work, identifier, in_any_case=event == "rollback")
    if before != identifier:
        _mark(work, identifier, before, event)
        keep_old_files(work, identifier, keep)
    if _enable(app, identifier):
        changed = True
    if before != identifier or os.path.realpath(app.live) != app.release(identifier):
        _point(work, identifier)
        changed = True
    _withdraw_files(app, identifier)
    return changed, before if before != identifier else ""


def confirm(work: Work, identifier: str, event: str, before: str, seconds: float, keep: int) -> bool:
    """Probe the live release through nginx and watch it, and take the traffic back if not; whether something changed.

    :param event: why it went live, `deploy`, `restart` or `rollback`.
    :param before: what `switch` returned. Not only read from release.json, which a full disk may have kept from being written.
    :param seconds: how long to watch the release if this is the first time.
    :param keep: how many releases' static files stay reachable.
    :raises InstanceError: when the release failed; says where the traffic is.
    """
    app = work.app
    story = app.story(identifier)
    pending = {"event": event, "before": before} if before else story.get("pending", {})
    unconfirmed = not story.get("event") or (bool(pending) and not pending.get("confirmed"))
    try:
        _watch(work, identifier, seconds if unconfirmed else 0)
        if unconfirmed:
            _check_processes(app, identifier)
    except InstanceError as error:
        if unconfirmed and take_back(work, identifier, pending.get("before", ""), keep, str(error).splitlines()[0]):
            serving = app.live_id()
            raise InstanceError(f"{error}\nThe traffic is back on {serving}, which had gone on running; {identifier} is marked bad.") from error
        raise
    if unconfirmed or not story.get("sequence"):
        number = state.next_sequence(look(app))
        # Still pending until the old one is stopped: a rollback that is interrupted before must not be done twice
        pending = {**pending, "confirmed": True} if pending else None
        event = (pending or {}).get("event", event)
        if event == "restart":  # no code has gone live that was not: its hook was run
            work.note(identifier, after_live=number)
        work.note(identifier, sequence=number, event=event, went_live=history.now(), stopped=None, verdict="good", reason=None, pending=pending)
        facts = {"before": (pending or {}).get("before", ""), "revision": story.get("revision", ""), "dirty": story.get("dirty", False)}
        work.log(event, identifier, **facts)
        return True
    if event != "rollback" and story.get("verdict") == "bad":  # a rollback that was not carried through had marked it
        work.note(identifier, verdict="good", reason=None)
        return True
    return False


def _mark(work: Work, identifier: str, before: str, event: str) -> None:
    """Note what is about to happen."""
    work.note(identifier, pending={"event": event, "before": before})
    if event == "rollback" and before:
        who = f" by {work.run.by} on {work.run.origin}" if work.run else ""
        work.note(before, verdict="bad", reason=f"rolled back to {identifier} at {history.now()}{who}")


def take_back(work: Work, identifier: str, before: str, keep: int, reason: str) -> bool:
    """Give the traffic back to the release that had it, if its instance still runs; the failed one is marked bad in any case.

    :returns: whether the traffic is back; it is not where there is nothing to go back to.
    """
    app = work.app
    if before not in app.complete() or systemd.show(app.unit(before, "service"), "ActiveState")["ActiveState"] != "active":
        work.note(identifier, verdict="bad", reason=reason)
        work.log("failed", identifier, reason=reason)
        return False
    _enable(app, before)  # an interrupted run may have been about to stop it
    _point(work, before)
    processes.take_over(app, before)
    number = state.next_sequence(look(app))
    # It had traffic: its static files stay reachable, and the one that serves comes after it again
    work.note(before, sequence=number + 1, verdict="good" if app.story(before).get("event") else None, reason=None)
    work.note(identifier, sequence=number, went_live=history.now(), stopped=history.now(), verdict="bad", reason=reason, pending=None)
    keep_old_files(work, before, keep)
    work.log("back", identifier, to=before, reason=reason)
    drain(app.socket(identifier), REACHABLE_WITHIN)  # what came to it meanwhile; systemd starts a dead one again
    discard(app, identifier)
    return True


def undo(work: Work, identifier: str, before: str, keep: int, reason: str) -> bool:
    """Undo what a rollout did with a release on this host, because it failed on another one; whether something changed.

    :param before: the release to go back to, empty where the traffic is to stay.
    """
    app = work.app
    if identifier != app.live_id():
        if identifier not in systemd.running(app):
            return False
        discard(app, identifier)
        follow(work, app.live_id())
        return True
    return bool(before) and take_back(work, identifier, before, keep, reason)


def _beside(app: App, identifier: str) -> list[str]:
    """The unit of what runs beside the web server, where there is any. Stopped, it is told to stop, and ends in its own time."""
    return [app.unit(identifier, "target")] if processes.has(app, identifier) else []


def _enabled(app: App, identifier: str) -> list[str]:
    """The links by which systemd starts an instance at boot."""
    links = [f"sockets.target.wants/{app.unit(identifier, 'socket')}"]
    links += [f"multi-user.target.wants/{unit}" for unit in (app.unit(identifier, "service"), *_beside(app, identifier))]
    return [f"{layout.UNITS}/{link}" for link in links]


def at_boot(app: App, identifier: str) -> bool:
    """Whether systemd starts an instance at boot."""
    return all(map(os.path.lexists, _enabled(app, identifier)))


def _enable(app: App, identifier: str) -> bool:
    """Have systemd start an instance at boot; whether it did not."""
    if at_boot(app, identifier):
        return False
    systemd.systemctl("enable", "--quiet", app.unit(identifier, "service"), app.unit(identifier, "socket"), *_beside(app, identifier))
    return True


def _disable(app: App, *identifiers: str) -> None:
    """Not at boot any more. One call for all: systemd reads its units again after it, and shows what is not so until it has."""
    units = [os.path.basename(link) for identifier in identifiers for link in _enabled(app, identifier) if os.path.lexists(link)]
    if units:
        systemd.systemctl("disable", "--quiet", *units, check=False)


def _stop(work: Work, identifier: str, drain_timeout: int, elapsed: float = 0) -> int:
    """Drain and stop an instance without traffic: its accept queue runs empty, its requests end, then it goes. How many requests were cut."""
    app, cut = work.app, 0
    service, listener = app.unit(identifier, "service"), app.unit(identifier, "socket")
    _disable(app, identifier)
    if systemd.show(service, "ActiveState")["ActiveState"] == "active":
        seconds = app.story(identifier).get("config", {}).get("timeout", drain_timeout)
        cut = drain(app.socket(identifier), max(0, seconds - elapsed))
    if cut:
        # Asked to stop, Gunicorn would wait as long once more
        systemd.systemctl("stop", "--no-block", service)
        time.sleep(0.5)
        systemd.systemctl("kill", "--signal=KILL", service, check=False)
    systemd.systemctl("stop", service, listener, *_beside(app, identifier))
    systemd.systemctl("reset-failed", service, listener, check=False)
    if app.story(identifier):
        work.note(identifier, stopped=history.now())
    return cut


def retire(work: Work, drain_timeout: int, elapsed: float = 0) -> dict[str, int]:
    """Drain and stop every instance but the live one.

    :param drain_timeout: seconds that the requests of a release have which does not say its own `timeout`.
    :param elapsed: how many of them are over: no request of an old instance has begun after the switch.
    :returns: for each stopped instance, how many requests were cut because the time was over.
    """
    old = state.to_retire(look(work.app), set())
    _disable(work.app, *old)
    return {identifier: _stop(work, identifier, drain_timeout, elapsed) for identifier in old}


def halt(work: Work, check: bool) -> bool:
    """Stop the live release until it is started again, also over a reboot; whether it ran. Its requests end first, and it stays the live one."""
    app, live = work.app, work.app.live_id()
    service, listener = app.unit(live, "service"), app.unit(live, "socket")
    found = look(app)
    runs = bool(found.running) or at_boot(app, live)
    if not runs or check:
        return runs
    for other in state.to_retire(found, set()):  # left by a run that was killed
        _stop(work, other, DRAINED_WITHIN)
    who = {"by": work.run.by, "origin": work.run.origin} if work.run else {}
    work.note(live, halted={"time": history.now(), **who})
    _disable(app, live)
    systemd.systemctl("stop", service, listener, *_beside(app, live))
    systemd.systemctl("reset-failed", service, listener, check=False)
    work.log("stop", live)
    return True


def prune(app: App, keep: int) -> list[str]:
    """Remove the releases that are not to be kept, and after the last one that ran from them the units that all shared in earlier versions.

    :returns: ids of the removed ones. A failure to remove is no failed deploy: the next run tries again.
    """
    working = processes.working(app)  # on what was begun before
    surplus = [identifier for identifier in state.surplus(look(app), keep) if identifier not in working]
    for identifier in surplus:
        app.remove(identifier)
    if os.path.isdir(app.before):
        for name in os.listdir(app.before):
            if not os.path.exists(f"{app.before}/{name}"):
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(f"{app.before}/{name}")
    left = app.complete()
    if all(os.path.exists(app.unit_file(identifier, "service")) for identifier in left):
        for kind in ("service", "socket"):
            with contextlib.suppress(OSError):
                os.unlink(app.unit_file("", kind))
    return [identifier for identifier in surplus if identifier not in left]


def finish(work: Work) -> None:
    """Note that nothing is pending any more: the live release is confirmed, and the others have stopped."""
    live = work.app.live_id()
    pending = work.app.story(live).get("pending", {})
    if not pending.get("confirmed"):
        return
    found = look(work.app)
    left = found.get(str(pending.get("before", ""))) if pending.get("event") == "rollback" else None
    for release in found.releases:
        # What was restarted may still be there, with a job that goes on: nobody should go back to it either
        if left and release.content == left.content and release.id not in (live, left.id):
            work.note(release.id, verdict="bad", reason=f"it is what {left.id} was: {left.bad or 'rolled back'}")
    work.note(live, pending=None)
