"""Instances of an app on a host: start one beside the other, gate it, switch to it, drain and stop the old one."""

from __future__ import annotations

import http.client
import json
import os
import socket
import ssl
import subprocess
import time
from dataclasses import dataclass

from ansible_collections.plainstack.web.plugins.module_utils.layout import App, relink, write

UNITS = "/etc/systemd/system"
WELL = range(200, 400)


class InstanceError(Exception):
    """An instance did not do what it must; the message says what, why and what to do next."""


@dataclass(frozen=True)
class Health:
    """How to ask whether the app is well.

    `host` goes into the Host header; `timeout` is how many seconds a new instance has until it must have answered.
    """

    path: str
    host: str
    timeout: float


class _UnixConnection(http.client.HTTPConnection):
    """HTTP over a unix socket."""

    def __init__(self, path: str, timeout: float) -> None:
        super().__init__("localhost", timeout=timeout)
        self.path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.path)


class _NginxConnection(http.client.HTTPSConnection):
    """HTTPS to this host's own nginx, by the name of the site; the certificate may be the placeholder."""

    def connect(self) -> None:
        context = ssl.create_default_context()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        plain = socket.create_connection(("127.0.0.1", 443), self.timeout)
        self.sock = context.wrap_socket(plain, server_hostname=self.host)


def _ask(connection: http.client.HTTPConnection, health: Health) -> int:
    try:
        connection.request("GET", health.path, headers={"Host": health.host, "X-Forwarded-Proto": "https", "User-Agent": "Plainstack"})
        answer = connection.getresponse()
        answer.read()
        return answer.status
    finally:
        connection.close()


def systemctl(*arguments: str, check: bool = True) -> str:
    """What systemctl prints; an InstanceError with what it complains about when it fails."""
    done = subprocess.run(["systemctl", *arguments], capture_output=True, text=True, check=False)
    if check and done.returncode:
        raise InstanceError(f"systemctl {' '.join(arguments)} failed: {done.stderr.strip() or done.stdout.strip()}")
    return done.stdout.strip()


def _state(unit: str) -> dict[str, str]:
    shown = systemctl("show", unit, "--property=ActiveState,NRestarts")
    return dict(line.split("=", 1) for line in shown.splitlines())


def log(unit: str, lines: int = 25) -> str:
    """The last lines that a unit wrote to the journal."""
    command = ["journalctl", f"--unit={unit}", "--output=cat", "--no-pager", f"--lines={lines}"]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip("\n")


def running(app: App) -> list[str]:
    """Ids of the instances of which a service or a socket is there, oldest first."""
    listed = systemctl("list-units", "--plain", "--no-legend", "--state=active,activating,deactivating,reloading,failed", f"{app.name}@*")
    units = (line.split()[0] for line in listed.splitlines())
    return sorted({unit.split("@", 1)[1].rsplit(".", 1)[0] for unit in units})


def _failure(app: App, identifier: str, why: str) -> InstanceError:
    unit = app.unit(identifier, "service")
    serving = app.live_id()
    if serving == identifier:
        state = "It is the live release; systemd goes on restarting it."
    else:
        state = f"{serving} still serves." if serving else "No release of this app is live yet."
    return InstanceError(
        f"{app.name}: the release {identifier} did not become healthy: {why}.\n{state}\n"
        f"The last lines of its log:\n{log(unit) or '(it wrote none)'}\n"
        f"Where it is set: 'module', 'env', 'health_path' and 'start_timeout' of the app in the inventory.\n"
        f"Next: mend the app and deploy again; the whole log is in: journalctl --unit={unit}"
    )


def gate(app: App, identifier: str, health: Health) -> None:
    """Wait for a healthy answer over the release's own socket; systemd's READY comes too early to count."""
    unit = app.unit(identifier, "service")
    deadline = time.monotonic() + health.timeout
    last = "it has not finished starting"
    while (left := deadline - time.monotonic()) > 0:
        state = _state(unit)
        if state["ActiveState"] == "failed" or int(state["NRestarts"]) > 0:
            raise _failure(app, identifier, "its process ended while starting")
        if state["ActiveState"] == "active":
            try:
                status = _ask(_UnixConnection(app.socket(identifier), left), health)
            except (OSError, http.client.HTTPException) as error:
                last = f"{health.path} gave no answer ({error or type(error).__name__})"
            else:
                if status in WELL:
                    return
                last = f"{health.path} answered {status}"
        time.sleep(0.05 if left > health.timeout - 2 else 0.5)
    raise _failure(app, identifier, f"{last} within {health.timeout} s")


def start(app: App, identifier: str, health: Health) -> bool:
    """Start an instance beside the live one and gate it; whether it had to be started.

    Others that a failed run started and never switched to are stopped first: they would fill the memory.
    One that fails is stopped again, unless it is the live one, which systemd goes on restarting.
    """
    service, listener = app.unit(identifier, "service"), app.unit(identifier, "socket")
    fresh = _state(service)["ActiveState"] != "active"
    for stray in set(running(app)) - {identifier, app.live_id()}:
        if not _went_live(app, stray):  # one that did may still have requests: retire() drains it
            discard(app, stray)
    # Also forgets the restarts of its past, which are no failure of today
    systemctl("reset-failed", service, listener, check=False)
    if fresh:
        systemctl("start", listener)
        systemctl("start", "--no-block", service)
    try:
        gate(app, identifier, health)
    except InstanceError:
        if identifier != app.live_id():
            discard(app, identifier)
        raise
    return fresh


def _went_live(app: App, identifier: str) -> bool:
    return identifier in app.complete() and "went_live" in app.story(identifier)


def discard(app: App, identifier: str) -> None:
    """Stop an instance that has no traffic, at once, and remove its release unless it has been live before.

    A release that never worked is nothing to go back to, and must not push out the good ones when old ones are removed.
    """
    service, listener = app.unit(identifier, "service"), app.unit(identifier, "socket")
    systemctl("disable", "--quiet", service, listener, check=False)
    systemctl("stop", listener, check=False)
    systemctl("kill", "--signal=KILL", service, check=False)
    systemctl("stop", service, check=False)
    systemctl("reset-failed", service, listener, check=False)
    if not _went_live(app, identifier):
        app.remove(identifier)


def _point(app: App, identifier: str) -> None:
    relink(app.live_socket, app.socket(identifier))
    relink(app.live, app.release(identifier))


def confirm(app: App, identifier: str, health: Health) -> None:
    """Wait for a healthy answer through nginx over HTTPS; a reload of nginx takes a moment to show."""
    deadline = time.monotonic() + 10
    last = "no answer"
    while time.monotonic() < deadline:
        try:
            status = _ask(_NginxConnection(health.host, timeout=10), health)
        except (OSError, http.client.HTTPException) as error:
            last = f"no answer ({error or type(error).__name__})"
        else:
            if status in WELL:
                return
            last = f"the answer {status}"
        time.sleep(0.2)
    raise InstanceError(
        f"{app.name}: the release {identifier} is healthy on its own socket, but https://{health.host}{health.path} gave {last}.\n"
        f"The last lines of its log:\n{log(app.unit(identifier, 'service')) or '(it wrote none)'}\n"
        "Next: tail /var/log/nginx/error.log on the host, mend it and deploy again."
    )


def switch(app: App, identifier: str, health: Health, through_nginx: bool) -> bool:
    """Give an instance the traffic by one rename, and take it back if nginx does not confirm it; whether it changed."""
    before = app.live_id()
    service, listener = app.unit(identifier, "service"), app.unit(identifier, "socket")
    # It may have died since it was started, or be the live one and dead: nothing gets traffic unasked
    fresh = start(app, identifier, health)
    changed = before != identifier or not all(os.path.lexists(f"{UNITS}/{link}") for link in _enabled(app, identifier))
    if changed:
        systemctl("enable", "--quiet", service, listener)
        _point(app, identifier)
    elif os.path.realpath(app.live) != app.release(identifier):
        relink(app.live, app.release(identifier))
        changed = True
    try:
        if through_nginx:
            confirm(app, identifier, health)
    except InstanceError as error:
        if before in ("", identifier):
            raise
        _point(app, before)
        discard(app, identifier)
        raise InstanceError(f"{error}\nThe traffic is back on {before}.") from error
    story = app.story(identifier)
    if "went_live" not in story:
        story["went_live"] = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
        write(app.marker(identifier), json.dumps(story, indent=2, sort_keys=True) + "\n")
    return changed or fresh


def _enabled(app: App, identifier: str) -> tuple[str, str]:
    return (
        f"multi-user.target.wants/{app.unit(identifier, 'service')}",
        f"sockets.target.wants/{app.unit(identifier, 'socket')}",
    )


def _waiting(path: str) -> int:
    """Connections in the accept queue of a listening unix socket."""
    listed = subprocess.run(["ss", "-xlnH", "src", path], capture_output=True, text=True, check=True).stdout
    return sum(int(line.split()[2]) for line in listed.splitlines())


def retire(app: App, identifier: str, drain: int) -> list[str]:
    """Drain and stop every instance but one: its accept queue runs empty, its requests end, then it goes.

    :param identifier: the one that stays.
    :param drain: seconds to wait for the queue; the service's own TimeoutStopSec bounds the rest.
    :returns: ids of the stopped instances.
    """
    retired = [other for other in running(app) if other != identifier]
    for other in retired:
        service, listener = app.unit(other, "service"), app.unit(other, "socket")
        systemctl("disable", "--quiet", service, listener, check=False)
        if _state(service)["ActiveState"] == "active":
            deadline = time.monotonic() + drain
            time.sleep(0.1)  # nginx may have read the link just before the switch and connect only now
            while _waiting(app.socket(other)) and time.monotonic() < deadline:
                time.sleep(0.05)
        systemctl("stop", service, listener)
        systemctl("reset-failed", service, listener, check=False)
    return retired


def prune(app: App, keep: int) -> list[str]:
    """Remove all but the newest releases; never the live one or one that runs.

    :returns: ids of the removed ones. A failure to remove is no failed deploy: the next run tries again.
    """
    complete = app.complete()
    spare = set(complete[::-1][:keep]) | {app.live_id()} | set(running(app))
    gone = [identifier for identifier in complete if identifier not in spare]
    for identifier in gone:
        app.remove(identifier)
    return gone
