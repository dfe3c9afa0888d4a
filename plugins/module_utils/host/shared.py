"""What root does below an app's `shared` directory, which the app's user can change at any moment.

Each component of a path is opened relative to the one above it, and no link is followed; owner and mode are set only of what was made
just before, through its descriptor. The checks of owners read alone, and look at a bounded number of entries.
"""

from __future__ import annotations

import contextlib
import errno
import glob
import grp
import itertools
import os
import pwd
import re
import secrets
import shutil
import stat
from collections.abc import Iterator, Sequence

from ansible_collections.plainstack.web.plugins.module_utils.layout import App

LOOKED_AT = 2000  # entries of a directory tree that a check of owners looks at
DEPTH = 30  # levels of it
SYSTEM_IDS = range(100, 1000)  # what useradd --system takes on Debian and Ubuntu
EXTENSION = re.compile(r"[^/.][^/]*\.\w+")
DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class SharedError(Exception):
    """A path below `shared` is not what it must be; the message names it and the next command."""


def _type(status: os.stat_result) -> str:
    names = ((stat.S_ISLNK, "link"), (stat.S_ISDIR, "directory"), (stat.S_ISREG, "file"))
    return next((name for test, name in names if test(status.st_mode)), "special file")


def _look(name: str, parent: int) -> str:
    """What an entry of a directory is: `file`, `directory`, `link`, `special file`; empty where there is none."""
    try:
        return _type(os.stat(name, dir_fd=parent, follow_symlinks=False))
    except FileNotFoundError:
        return ""


def _refuse(path: str, found: str, wanted: str) -> SharedError:
    what = f"is a {found}, not a {wanted}" if found else "was removed at just this moment"
    return SharedError(
        f"{path} {what}. The app's user can change what is there, so nothing is followed or replaced by root; nothing was switched.\n"
        f"Next: 'ls -ld {path}' on the host shows it. Plainstack makes no such thing: unless somebody else did, look for a break-in. "
        f"Put a {wanted} in its place, or move it away ('mv -T {path} {path}.old'), and run the same command again. "
        "Where data is to lie on another disk, use a bind mount."
    )


def _enter(parent: int, name: str, path: str, owner: tuple[int, int], mode: int) -> int:
    """Descriptor of a directory, which is made where it is missing."""
    made = False
    with contextlib.suppress(FileExistsError):
        os.mkdir(name, 0o700, dir_fd=parent)
        made = True
    try:
        handle = os.open(name, DIRECTORY, dir_fd=parent)
    except OSError as error:
        if error.errno not in (errno.ELOOP, errno.ENOTDIR, errno.ENOENT):
            raise
        raise _refuse(path, _look(name, parent), "directory") from None
    status = os.fstat(handle)
    # Between the two calls the app may have put something else in its place, but nothing that is root's own, private and empty
    if made and status.st_uid == os.geteuid() and stat.S_IMODE(status.st_mode) == 0o700 and not os.listdir(handle):
        os.fchown(handle, *owner)
        os.fchmod(handle, mode)
    return handle


@contextlib.contextmanager
def _parent(root: str, name: str, owner: tuple[int, int], mode: int) -> Iterator[int]:
    """Descriptor of the directory that `name` lies in, made where it is missing. `root` is a directory whose own path root alone can change."""
    handle = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        path = root
        for part in name.split("/")[:-1]:
            path = f"{path}/{part}"
            inner = _enter(handle, part, path, owner, mode)
            os.close(handle)
            handle = inner
        yield handle
    finally:
        os.close(handle)


def _seed(source: int, parent: int, name: str, owner: tuple[int, int]) -> None:
    """Copy the file of a release to where there is none yet: whole, or not at all."""
    temporary = f".plainstack-{secrets.token_hex(8)}"
    with os.fdopen(os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=source), "rb") as original:
        handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600, dir_fd=parent)
        with os.fdopen(handle, "wb") as copy:
            try:
                shutil.copyfileobj(original, copy)
                copy.flush()
                os.fchown(handle, *owner)
                os.fchmod(handle, 0o640)
                with contextlib.suppress(FileExistsError):  # the app has made it meanwhile
                    os.link(temporary, name, src_dir_fd=parent, dst_dir_fd=parent, follow_symlinks=False)
            finally:
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(temporary, dir_fd=parent)


def _wanted(name: str, present: str, delivered: str) -> str:
    """Whether a name in `shared` is a file or a directory: by what is there, else by the source, else by its extension."""
    for kind in (present, delivered):
        if kind in ("file", "directory"):
            return kind
    return "file" if EXTENSION.fullmatch(name.rsplit("/", 1)[-1]) else "directory"


def link(release: str, shared: str, names: Sequence[str], uid: int, gid: int) -> list[str]:
    """Put links to what survives releases into a release; in `shared`, make what is missing.

    A file that the source has is copied there once; one that it does not have is left for the app to make.

    :param names: paths in both, normalised.
    :returns: the names that have no data yet.
    :raises SharedError: where something else is in the way; nothing is followed.
    """
    empty = []
    for name in names:
        leaf, path = name.rsplit("/", 1)[-1], f"{shared}/{name}"
        with _parent(release, name, (0, 0), 0o755) as inside, _parent(shared, name, (uid, gid), 0o750) as outside:
            present, delivered = _look(leaf, outside), _look(leaf, inside)
            kind = _wanted(name, present, delivered)
            if present not in ("", kind) or (delivered in ("file", "directory") and delivered != kind):
                raise _refuse(path, present, delivered if present == kind else kind)
            if kind == "directory":
                handle = _enter(outside, leaf, path, (uid, gid), 0o750)
                try:
                    if not os.listdir(handle):
                        empty.append(name)
                finally:
                    os.close(handle)
            elif not present and delivered:
                _seed(inside, outside, leaf, (uid, gid))
            elif not present:
                empty.append(name)
            if delivered == "directory":
                shutil.rmtree(leaf, dir_fd=inside)
            elif delivered:
                os.unlink(leaf, dir_fd=inside)
            os.symlink(path, leaf, dir_fd=inside)
    return empty


def left_behind(shared: str, before: Sequence[str], names: Sequence[str], empty: Sequence[str]) -> str:
    """A warning where a name is gone from `shared` with its data, and another one is new and empty; empty where there is none.

    :param before: what `shared` was in the live release.
    :param empty: what `link` returned.
    """
    new = [name for name in empty if name not in before]
    gone = []
    for name in before:
        if name not in names:
            with contextlib.suppress(OSError, SharedError):
                # Only looked at; a link in the way is an error, and nothing is made
                handle = os.open(shared, os.O_RDONLY | os.O_DIRECTORY)
                try:
                    for part in name.split("/"):
                        inner = os.open(part, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=handle)
                        os.close(handle)
                        handle = inner
                    status = os.fstat(handle)
                    if status.st_size if stat.S_ISREG(status.st_mode) else os.listdir(handle):
                        gone.append(name)
                finally:
                    os.close(handle)
    if not new or not gone:
        return ""
    moves = f"mv -T {shared}/{gone[0]} {shared}/{new[0]}" if len(gone) == len(new) == 1 else f"mv -T {shared}/<old> {shared}/<new>"
    return (
        f"{', '.join(new)} in 'shared' is new and has no data, while {', '.join(gone)} is no longer in 'shared' and has some, which stays in {shared}. "
        f"If you have renamed it, move the data on the host: {moves}"
    )


def _below(directory: int, path: str, depth: int, left: list[int]) -> Iterator[tuple[str, os.stat_result]]:
    """What is in a directory, then what lies below that; the app can nest directories as deep, and fill them as far, as it likes.

    :param left: how many entries may still be looked at; counted down.
    """
    folders = []
    with os.scandir(directory) as listed:
        for entry in itertools.islice(listed, left[0]):
            with contextlib.suppress(FileNotFoundError):
                status = entry.stat(follow_symlinks=False)
                yield f"{path}/{entry.name}", status
                folders += [entry.name] if stat.S_ISDIR(status.st_mode) else []
            left[0] -= 1
    for name in folders if depth < DEPTH else ():
        with contextlib.suppress(OSError), contextlib.ExitStack() as stack:  # it may be gone, or be a link by now
            handle = os.open(name, DIRECTORY, dir_fd=directory)
            stack.callback(os.close, handle)
            yield from _below(handle, f"{path}/{name}", depth + 1, left)


def entries(path: str) -> Iterator[tuple[str, os.stat_result]]:
    """A directory, all that is in it, and what lies below that, up to a bound; no link is followed."""
    top = os.path.realpath(path)  # a link in its place is the operator's, whose disk is elsewhere: root alone can change what is above
    if not os.path.isdir(top):
        return
    yield path, os.stat(top)
    handle = os.open(top, DIRECTORY)
    try:
        yield from _below(handle, path, 0, [LOOKED_AT])
    finally:
        os.close(handle)


def _user(uid: int) -> str:
    """Name of a user; empty where there is none of that uid."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return ""


def check_owners(app: App, uid: int, gid: int) -> tuple[str, str]:
    """Whether the app's user can use what is in `shared`.

    Data of an app that was removed, or of another server, belongs to a uid that is nobody's here, or by chance a service's.
    What a person or root has put there for the app to read is no fault.

    :returns: why not, and what to do; and a warning about single files. Each is empty where there is nothing to say.
    """
    doubtful = []
    command = f"chown -hR {app.name}:{app.name} {app.shared}"
    for path, status in entries(app.shared):
        owner, mode = status.st_uid, status.st_mode
        if owner == uid:
            continue
        if not _user(owner) or (path == app.shared and os.listdir(path)):
            return (
                f"{path} belongs to uid {owner} ({_user(owner) or 'no user of this system'}), and the app's user {app.name} has uid {uid}, "
                "so the app cannot use its data. That is so where an app was removed and is added again, or where data comes from another server.\n"
                f"Next: on the host, as root: {command}; then run the same command again."
            ), ""
        readable = mode & stat.S_IROTH or (mode & stat.S_IRGRP and status.st_gid == gid)
        if path != app.shared and not stat.S_ISLNK(mode) and (not readable or 0 < owner < SYSTEM_IDS.stop):
            doubtful.append(f"{path} ({_user(owner)})")
    if not doubtful:
        return "", ""
    more = f" and {len(doubtful) - 1} more" if len(doubtful) > 1 else ""
    return "", f"{doubtful[0]}{more} in 'shared' belong to another user, and the app may not be able to use them. If it should: {command}"


def choose_uid(own: set[int], others: set[int], taken: set[int]) -> int:
    """The uid for an app's new user, 0 where the system may choose: never one whose data of another app is still there.

    An app that is added again gets the uid that its data has.

    :param own: owners of what is in its `shared`.
    :param others: owners and groups of what is in the `shared` of other apps.
    :param taken: of all users and groups.
    """
    again = sorted(one for one in own if one in SYSTEM_IDS and one not in taken | others)
    if len(again) == 1:
        return again[0]
    if not (own | others) - taken - {0}:
        return 0
    return max((one for one in SYSTEM_IDS if one not in own | others | taken), default=0)


def new_uid(apps: str, own: str = "") -> int:
    """The uid for a new user, 0 where the system may choose.

    :param apps: directory of all apps.
    :param own: the `shared` of the app that the user is for; empty where it is for none.
    """
    owners = {status.st_uid for _path, status in entries(own)} if own else set()
    others: set[int] = set()
    for path in glob.glob(f"{apps}/*/shared*"):  # and what was there before a restore
        if not own or not path.startswith(own):
            others |= {one for _path, status in entries(path) for one in (status.st_uid, status.st_gid)}
    # The code of a removed app is its group's to read
    others |= {os.lstat(path).st_gid for path in glob.glob(f"{apps}/*/releases/*")}
    return choose_uid(owners, others, {user.pw_uid for user in pwd.getpwall()} | {group.gr_gid for group in grp.getgrall()})
