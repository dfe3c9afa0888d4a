"""One run at a time for each app on a host, and one module at a time on what all of its apps have in common.

A run's lock is a lease: its run renews it, and without that it ends by itself. It is a file in /run, so that a reboot frees it; the
renewals are the host's uptime in a file beside it, so that no clock matters. The controller releases it, and renews it where no step
does (the action plugin `inspect`); here is what the host decides.

All of it lies in a directory that only root can open: whoever may open a file may lock it, and hold up every deploy.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import select
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass

from ansible_collections.plainstack.web.plugins.module_utils.layout import LOCKS, App, make_directory, read, write

LEASE = 100  # seconds without a renewal after which a run counts as dead
GUARD = 10  # seconds to wait for a process that takes or releases the lock at this moment, which is a matter of milliseconds
STEP = 120  # seconds to wait for a step of a run that was killed
SHARED = 300  # seconds to wait for another run that works on what the apps of a host share


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

    def __str__(self) -> str:
        return f"{self.what} of {self.by} on {self.origin}, since {self.since}"


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
    write(f"{app.lock}.beat", f"{int(uptime())}\n", 0o600)


def abandoned() -> bool:
    """Whether nobody listens any more to what this module says: its run was killed, or its connection was cut."""
    output = select.poll()
    output.register(1, 0)  # an end that is closed is reported in any case
    return bool(output.poll(0))


@contextlib.contextmanager
def _held(path: str, seconds: float, why: str) -> Iterator[None]:
    """Hold a file that nobody else has then, and do not wait for it for ever."""
    make_directory(os.path.dirname(path), 0o700)
    with open(path, "w", encoding="utf-8") as stream:
        deadline = time.monotonic() + seconds
        while True:
            try:
                fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() >= deadline:
                    raise LockError(
                        f"{why}; waited for {seconds:.0f} s.\n"
                        f"Next: run the same command again later; on the host, 'sudo lslocks --notruncate | grep {path}' shows the process"
                    ) from None
                time.sleep(0.1)
        yield


def acquire(app: App, candidate: Holder, wait: float, given_up: Callable[[], bool] = abandoned) -> None:
    """Take the lock, or wait for it.

    Whose holder may have died is waited for in any case, until it gives a sign of life or its lease is over.

    :param wait: seconds to wait while another run that lives holds it.
    :param given_up: whether the run has ended meanwhile; then it must not get the lock.
    :raises LockError: with who has it.
    """
    deadline = time.monotonic() + wait
    first_beat = read(f"{app.lock}.beat")
    while True:
        with _held(f"{app.lock}.guard", GUARD, f"another process is just taking the lock of '{app.name}'"):
            if given_up():
                raise LockError(f"the run has ended while it waited for the lock of '{app.name}'")
            other = holder(app)
            if other is None or other.token == candidate.token:
                renew(app)  # first, or the lock would count as dead for a moment
                write(app.lock, json.dumps(asdict(candidate)) + "\n", 0o600)
                return
        if time.monotonic() >= deadline and read(f"{app.lock}.beat") != first_beat:
            raise LockError(
                f"the app '{app.name}' is locked by {other} (last sign of life {_silence(app):.0f} s ago).\n"
                "Next: wait until it has ended, or let this run wait: -e lock_wait=600. "
                f"Where that run has surely ended, 'sudo rm {app.lock}' on the host frees the lock"
            )
        time.sleep(0.5)


def release(app: App, token: str) -> None:
    """Give the lock back, if it is this run's."""
    mine = holder(app)
    if mine and mine.token == token:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(app.lock)


@contextlib.contextmanager
def step(app: App, token: str) -> Iterator[Holder | None]:
    """One module at a time: also a module whose run was killed ends its step before another run's begins.

    :param token: of the run's lock, which the step renews; empty where a role is used alone, without one.
    :returns: the run.
    :raises LockError: when another run has the lock, or this one has lost it.
    """
    why = f"a step of an earlier run of '{app.name}', which was killed, is still going on on the host; it may be waiting for long requests to end"
    with _held(f"{app.lock}.step", STEP, why):
        run = holder(app)
        if run and run.token != token:
            raise LockError(f"the app '{app.name}' is locked by {run}")
        if token and not run:
            raise LockError(f"this run has lost its lock on '{app.name}': for {LEASE} s the host saw no sign of life of it. Run the same command again")
        if run:
            renew(app)
        yield run
        if run and holder(app) == run:
            renew(app)


@contextlib.contextmanager
def shared(what: str, seconds: float = 0) -> Iterator[None]:
    """One module at a time on what belongs to the host and not to an app, whichever apps the runs are for.

    :param what: `configuration` or `certificates`.
    :param seconds: to wait for another run, where SHARED is not the right time.
    :raises LockError: when another run works on it for too long.
    """
    with _held(f"{LOCKS}/.{what}", seconds or SHARED, f"another run works on the {what} of this host"):  # no app's name begins with a dot
        yield
