"""One run at a time for each app on a host. A lock is a lease: its run renews it, and without that it ends by itself.

The lock is a file in /run, so that a reboot frees it; the renewals are the host's uptime in a file beside it, so that no
clock matters. The controller renews and releases (the action plugin `preflight`); here is what the host decides.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass

from ansible_collections.plainstack.web.plugins.module_utils.layout import App, make_directory, read, write

LEASE = 40  # seconds without a renewal after which a run counts as dead
RENEWAL = 10  # seconds between two renewals
STEP = 120  # seconds to wait for a step of a run that was killed


class LockError(Exception):
    """The lock cannot be had, or was lost; the message says who has it and what to do."""


@dataclass(frozen=True)
class Holder:
    """Who holds a lock: a random token of the run, its user, its machine, what it does, since when (UTC)."""

    token: str
    by: str
    origin: str
    what: str
    since: str


def uptime() -> float:
    """Seconds since the host booted; goes on whatever is done to the clock. From where the controller's renewals take it, too."""
    return float((read("/proc/uptime") or "").split()[0])


def _silence(app: App) -> float:
    """Seconds since the last sign of life of the holder."""
    try:
        return uptime() - float(read(f"{app.lock}.beat") or "")
    except ValueError:
        return LEASE


def holder(app: App) -> Holder | None:
    """Who holds the app's lock, if anyone that lives does."""
    text = read(app.lock)
    if not text or _silence(app) >= LEASE:
        return None
    return Holder(**json.loads(text))


def renew(app: App) -> None:
    """A sign of life of the holder."""
    write(f"{app.lock}.beat", f"{int(uptime())}\n")


def acquire(app: App, candidate: Holder, wait: float) -> None:
    """Take the lock, or wait for it.

    Whose holder may have died is waited for in any case, until it gives a sign of life or its lease is over.

    :param wait: seconds to wait while another run that lives holds it.
    :raises LockError: with who has it.
    """
    deadline = time.monotonic() + wait
    make_directory(app.sockets)
    first_beat = read(f"{app.lock}.beat")
    while True:
        guard = os.open(app.sockets, os.O_RDONLY)
        try:
            fcntl.flock(guard, fcntl.LOCK_EX)
            other = holder(app)
            if other is None or other.token == candidate.token:
                renew(app)  # first, or the lock would count as dead for a moment
                write(app.lock, json.dumps(asdict(candidate)) + "\n")
                return
        finally:
            os.close(guard)
        if time.monotonic() >= deadline and read(f"{app.lock}.beat") != first_beat:
            raise LockError(
                f"the app '{app.name}' is locked by {other.what} of {other.by} on {other.origin}, since {other.since} "
                f"(last sign of life {_silence(app):.0f} s ago).\n"
                "Next: wait until it has ended, or let this run wait: -e lock_wait=600"
            )
        time.sleep(0.5)


def release(app: App, token: str) -> None:
    """Give the lock back, if it is this run's."""
    mine = holder(app)
    if mine and mine.token == token:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(app.lock)


def _wait_for_step(app: App, handle: int) -> None:
    deadline = time.monotonic() + STEP
    while True:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            if time.monotonic() >= deadline:
                raise LockError(
                    f"a step of an earlier run of '{app.name}', which was killed, is still going on on the host; it may be waiting for long requests to end.\n"
                    f"Next: run the same command again later; 'fuser -v {app.lock}.step' shows the process"
                ) from None
            time.sleep(0.1)


@contextlib.contextmanager
def step(app: App, token: str) -> Iterator[Holder | None]:
    """One module at a time: also a module whose run was killed ends its step before another run's begins.

    :param token: of the run's lock; empty where a role is used alone, without one.
    :returns: the run.
    :raises LockError: when another run has the lock, or this one has lost it.
    """
    make_directory(app.sockets)
    with open(f"{app.lock}.step", "w", encoding="utf-8") as stream:
        _wait_for_step(app, stream.fileno())
        run = holder(app)
        if run and run.token != token:
            raise LockError(f"the app '{app.name}' is locked by {run.what} of {run.by} on {run.origin}, since {run.since}")
        if token and not run:
            raise LockError(f"this run has lost its lock on '{app.name}': for {LEASE} s the host saw no sign of life of it. Run the same command again")
        yield run
