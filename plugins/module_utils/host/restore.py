"""Give an app the data of a snapshot: fetched beside its own, checked, then in the place of it while the app is stopped for a moment."""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import glob
import os
import re
import shutil
import stat
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pwd import struct_passwd
from typing import Any

from ansible_collections.plainstack.web.plugins.module_utils.host import instance, lock, restic, steps
from ansible_collections.plainstack.web.plugins.module_utils.host.backup import BESIDE, databases_of
from ansible_collections.plainstack.web.plugins.module_utils.host.lock import Holder
from ansible_collections.plainstack.web.plugins.module_utils.host.restic import Repository, ResticError
from ansible_collections.plainstack.web.plugins.module_utils.host.systemd import InstanceError
from ansible_collections.plainstack.web.plugins.module_utils.host.teardown import TeardownError, stop
from ansible_collections.plainstack.web.plugins.module_utils.layout import read, user_of

SPARE = 2**28  # bytes of disk that stay free
FETCHED = "/restored"  # where restic sees the directory into which it writes
AT_FDCWD, RENAME_EXCHANGE = -100, 2  # renameat2(2)
DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW


class RestoreError(Exception):
    """The data was not given back; the message says why, and what the app has now."""


def choose(repository: Repository, host: str, name: str, wanted: str) -> dict[str, Any]:
    """A snapshot of an app.

    :param host: the server whose data it is; any when empty.
    :param wanted: the beginning of its id; the last one when empty.
    """
    try:
        found = restic.snapshots(repository, host, name)
    except ResticError as error:
        raise RestoreError(f"{name}: the snapshots cannot be read: {error}\nNothing was touched.") from error
    fit = [one for one in found if str(one["id"]).startswith(wanted)]
    if fit:
        return fit[-1]
    listed = "\n".join(f"  {str(one['id'])[:8]}  {str(one['time'])[:19]}" for one in found[-10:]) or "  (none)"
    asked = f"{f'{wanted} ' if wanted else ''}of it{f' from the server {host}' if host else ''}"
    raise RestoreError(
        f"{name}: there is no snapshot {asked}. There are:\n{listed}\nNothing was touched.\n"
        "Next: the same command with -e snapshot=ID, or with -e of=SERVER for the data of another server."
    )


def place(top: int, path: str, source: int, name: str) -> None:
    """Move the copy of a database to a path below a directory; no link on the way is followed.

    :param top: the open directory; `source` the one in which the file is, under that `name`.
    """
    *folders, last = path.split("/")
    handle = os.dup(top)
    try:
        for folder in folders:
            with contextlib.suppress(FileExistsError):
                os.mkdir(folder, 0o750, dir_fd=handle)
            inner = os.open(folder, DIRECTORY, dir_fd=handle)
            os.close(handle)
            handle = inner
        os.rename(name, last, src_dir_fd=source, dst_dir_fd=handle)
        for end in BESIDE:  # of the database as it was while it was written
            with contextlib.suppress(FileNotFoundError):
                os.unlink(f"{last}{end}", dir_fd=handle)
    finally:
        os.close(handle)


def merge(shared: str, copies: str) -> None:
    """Put the copies of databases where they belong."""
    top = os.open(shared, DIRECTORY)
    try:
        for directory, _folders, files, handle in os.fwalk(copies, follow_symlinks=False):
            for name in files:
                place(top, os.path.normpath(os.path.join(os.path.relpath(directory, copies), name)), handle, name)
    finally:
        os.close(top)


def give(top: str, status: os.stat_result, user: struct_passwd) -> None:
    """Have what belonged to the app's user belong to it here, where it may have another number.

    :param status: of its `shared` directory, as it was.
    """
    for _directory, folders, files, handle in os.fwalk(top, follow_symlinks=False):
        for name in (".", *folders, *files):
            found = os.stat(name, dir_fd=handle, follow_symlinks=False)
            owner = user.pw_uid if found.st_uid == status.st_uid else -1
            group = user.pw_gid if found.st_gid == status.st_gid else -1
            os.chown(name, owner, group, dir_fd=handle, follow_symlinks=False)
            if not stat.S_ISLNK(found.st_mode):  # a change of the owner takes these bits away, and a file of an app needs none
                os.chmod(name, stat.S_IMODE(found.st_mode) & 0o1777, dir_fd=handle)


def mounted(path: str) -> str:
    """Where a disk of its own is mounted, at a path or below it; empty where none is."""
    for line in (read("/proc/self/mountinfo") or "").splitlines():
        place = re.sub(r"\\([0-7]{3})", lambda found: chr(int(found[1], 8)), line.split()[4])
        if place == path or place.startswith(f"{path}/"):
            return place
    return ""


@contextlib.contextmanager
def beside(shared: str) -> Iterator[str]:
    """A new directory for root alone, on the same disk. What runs that were killed have left of such goes first."""
    for left in glob.glob(f"{shared}.restore-*"):
        handle = os.open(left, DIRECTORY)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(left, ignore_errors=True)
        except BlockingIOError:
            pass  # of a run that goes on
        finally:
            os.close(handle)
    path = tempfile.mkdtemp(prefix=f"{os.path.basename(shared)}.restore-", dir=os.path.dirname(shared))
    handle = os.open(path, DIRECTORY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield path
    finally:
        os.close(handle)
        shutil.rmtree(path, ignore_errors=True)


def fetch(repository: Repository, snapshot: Mapping[str, Any], target: str, user: struct_passwd) -> str:
    """Write a snapshot into a directory, as the app's own data; where the data is in it.

    :raises RestoreError: where it is no snapshot of an app, or the disk has no room for it.
    """
    disk, needs = os.statvfs(target), restic.room(repository, str(snapshot["id"]))
    if needs + SPARE > disk.f_bavail * disk.f_frsize:
        raise RestoreError(f"it needs {needs // 2**20} MiB beside the data that the app has, and {disk.f_bavail * disk.f_frsize // 2**20} are free")
    restic.run(repository, "restore", str(snapshot["id"]), f"--target={FETCHED}", writes={target: FETCHED})
    shared = next(path for path in snapshot["paths"] if not path.endswith(databases_of("")))
    found = f"{target}{shared}"
    if not os.path.isdir(found) or os.path.islink(found):
        raise RestoreError(f"the snapshot {snapshot['short_id']} has no directory {shared}")
    status, copies = os.lstat(found), f"{target}{databases_of(shared)}"
    give(found, status, user)
    if os.path.isdir(copies):
        give(copies, status, user)
        merge(found, copies)
    return found


def exchange(one: str, other: str) -> None:
    """Give two directories each other's names in one step: at no moment is there none, whatever is killed when.

    :raises OSError: where the file system cannot.
    """
    library = ctypes.CDLL(None, use_errno=True)
    if library.renameat2(AT_FDCWD, os.fsencode(one), AT_FDCWD, os.fsencode(other), RENAME_EXCHANGE):
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code), one)


def swap(work: instance.Work, shared: str, data: str, keep: int) -> bool:
    """Stop all of the app, exchange its data, and start it; where it does not become healthy with it, all is as it was.

    The app is not marked as stopped: where this is killed, a reboot or a deploy starts it, with the one or the other.

    :param shared: its directory, `data` the new one, which is the old one afterwards.
    :returns: whether the app runs: not where somebody had stopped it.
    """
    app, live = work.app, work.app.live_id()
    runs = bool(live) and not app.story(live).get("halted")

    def start() -> None:
        if runs:
            steps.switch({"name": app.name, "id": live, "event": "start", "keep": keep, "fleet": False}, work, check=False)

    try:
        stop(app)
        exchange(shared, data)
    except (OSError, TeardownError) as error:
        start()
        raise RestoreError(f"{app.name}: {shared} was not exchanged: {error}\nThe app goes on with the data that it had.") from error
    try:
        start()
    except BaseException as error:
        stop(app)
        exchange(shared, data)
        try:
            start()
        except InstanceError as again:
            raise RestoreError(f"{error}\nThat was with the data of the snapshot. The data that it had is back, but it does not start:\n{again}") from error
        raise RestoreError(f"{error}\nThat was with the data of the snapshot; the app goes on with the data that it had.") from error
    return runs


def restore(
    repository: Repository, order: Mapping[str, Any], run: Holder, wanted: Mapping[str, str], check: bool, warn: Callable[[str], None]
) -> dict[str, Any]:
    """Give an app on this host the data of a snapshot.

    :param order: of the app: `name`, `health_path`, `host`, `start_timeout`, `tls`, `nginx` and `keep`.
    :param run: who does it.
    :param wanted: the `host` whose data it is, and the `snapshot`, or an empty one.
    :returns: the `snapshot`, its `time`, where the data is that the app had (`aside`), and whether the app `runs`.
    :raises RestoreError: where that cannot be done.
    """
    work = steps.work_of(order, run, warn)
    app, name = work.app, str(order["name"])
    user, shared = user_of(app), os.path.realpath(app.shared)
    if user is None or not os.path.isdir(shared):
        raise RestoreError(f"{name} is not on this server yet; nothing was touched.\nNext: deploy it, then run the same command again.")
    if place := mounted(shared):
        raise RestoreError(
            f"{name}: a disk of its own is mounted at {place}, and {shared} cannot be exchanged as a whole; nothing was touched.\n"
            f"Next: have the disk mounted elsewhere, with a link to a directory on it as {app.shared}."
        )
    snapshot = choose(repository, wanted["host"], name, wanted["snapshot"])
    found = {
        "snapshot": str(snapshot["id"])[:8],
        "time": str(snapshot["time"])[:19],
        "aside": f"{shared}.before-{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}",
    }
    if check:
        return {**found, "runs": True}
    with beside(shared) as target:
        try:
            data = fetch(repository, snapshot, target, user)
        except (ResticError, RestoreError, OSError) as error:
            raise RestoreError(f"{name}: the snapshot {found['snapshot']} cannot be fetched: {error}\nThe app goes on with the data that it has.") from error
        lock.acquire(app, run, 0)
        try:
            with lock.step(app, run.token):
                # Under the name that the old data has afterwards: from the exchange on nothing of it is moved or removed any more
                os.rename(data, found["aside"])
                try:
                    runs = swap(work, shared, found["aside"], int(order["keep"]))
                except RestoreError:  # the exchange was not done, or was undone: this is the snapshot, which is in the repository
                    shutil.rmtree(found["aside"], ignore_errors=True)
                    raise
        finally:
            lock.release(app, run.token)
    work.log("restore", app.live_id(), snapshot=found["snapshot"], of=wanted["host"], aside=found["aside"])
    return {**found, "runs": runs}
