"""Take a release over from the user that built it: root's own, readable by root and the app alone, nginx's static files apart.

What was built may have been built by hostile code. So everything is opened relative to a directory that is open already, no link is
followed, and what is neither a directory nor a link nor a file of the builder is refused.
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field

DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW
FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK
CHUNK = 1 << 20

Inode = tuple[int, int]


class SealError(Exception):
    """Something in a release must not be there; the message names it."""


@dataclass(frozen=True)
class Owners:
    """User and group of the builder, and the group of the app, which reads what root owns."""

    uid: int
    gid: int
    app: int


@dataclass
class Sealed:
    """What a release consists of: paths relative to it, and the bytes of its files."""

    paths: list[str] = field(default_factory=list)
    size: int = 0


@contextlib.contextmanager
def opened(name: str, flags: int, parent: int | None = None) -> Iterator[int]:
    """A descriptor of a file or directory, for as long as it is needed."""
    handle = os.open(name, flags, dir_fd=parent)
    try:
        yield handle
    finally:
        os.close(handle)


def _entries(directory: int) -> list[tuple[str, os.stat_result]]:
    with os.scandir(directory) as found:
        return sorted((entry.name, entry.stat(follow_symlinks=False)) for entry in found)


def give(path: str, owners: Owners, when: float) -> None:
    """Give what root has just unpacked to the builder; every file gets the release's time, so that ETag and Last-Modified differ between releases."""
    for _directory, folders, files, handle in os.fwalk(path, follow_symlinks=False):
        for name in folders + files:
            os.utime(name, (when, when), dir_fd=handle, follow_symlinks=False)
            os.chown(name, owners.uid, owners.gid, dir_fd=handle, follow_symlinks=False)
        os.fchown(handle, owners.uid, owners.gid)


def reuse(release: str, before: str, owners: Owners) -> set[Inode]:
    """Hard-link the packages of the release before, file by file, where nothing has changed, with what they are compiled to.

    Only files that root has sealed for this app are taken. A copy of each package for each release would cost more disk than all else,
    and compiling it again more time.

    :returns: the inodes that the two releases share now.
    """
    shared: set[Inode] = set()
    with contextlib.ExitStack() as stack:
        try:
            new, old = (stack.enter_context(opened(path, DIRECTORY)) for path in (release, before))
            for name in (".venv", "lib"):
                new, old = (stack.enter_context(opened(name, DIRECTORY, parent)) for parent in (new, old))
        except OSError:
            return shared  # one of them has no such directory: nothing to share
        _reuse(new, old, owners, shared)
    return shared


def _reuse(new: int, old: int, owners: Owners, shared: set[Inode]) -> None:
    had = {name: status for name, status in _entries(old) if stat.S_ISDIR(status.st_mode) or (status.st_uid, status.st_gid) == (0, owners.app)}
    sources = set()
    for name, status in _entries(new):
        if name not in had or stat.S_IFMT(had[name].st_mode) != stat.S_IFMT(status.st_mode):
            continue
        if stat.S_ISDIR(status.st_mode):
            with opened(name, DIRECTORY, new) as inner, opened(name, DIRECTORY, old) as other:
                _reuse(inner, other, owners, shared)
        elif stat.S_ISREG(status.st_mode) and not (status.st_mode ^ had[name].st_mode) & stat.S_IXUSR and _same(name, new, old):
            os.unlink(name, dir_fd=new)
            os.link(name, name, src_dir_fd=old, dst_dir_fd=new, follow_symlinks=False)
            shared.add((had[name].st_dev, had[name].st_ino))
            sources.add(name.removesuffix(".py"))
    if "__pycache__" in had:
        with opened("__pycache__", DIRECTORY, old) as compiled:
            _reuse_compiled(new, compiled, sources, owners, shared)


def _same(name: str, new: int, old: int) -> bool:
    """Whether the files of that name in two directories have the same content."""
    with opened(name, FILE, new) as one, opened(name, FILE, old) as other:
        if os.fstat(one).st_size != os.fstat(other).st_size:
            return False
        while chunk := os.read(one, CHUNK):
            if chunk != os.read(other, CHUNK):
                return False
    return True


def _reuse_compiled(new: int, compiled: int, sources: set[str], owners: Owners, shared: set[Inode]) -> None:
    """What a file is compiled to goes with it: it is valid for the file's time and size."""
    found = {name: status for name, status in _entries(compiled) if name.split(".")[0] in sources and stat.S_ISREG(status.st_mode)}
    if not found:
        return
    with contextlib.suppress(FileExistsError):
        os.mkdir("__pycache__", 0o700, dir_fd=new)
        os.chown("__pycache__", owners.uid, owners.gid, dir_fd=new, follow_symlinks=False)
    with contextlib.suppress(OSError), opened("__pycache__", DIRECTORY, new) as target:  # where it is no directory, nothing is shared
        for name, status in found.items():
            with contextlib.suppress(FileExistsError):  # some packages ship compiled files
                os.link(name, name, src_dir_fd=compiled, dst_dir_fd=target, follow_symlinks=False)
                shared.add((status.st_dev, status.st_ino))


def seal(release: str, owners: Owners, shared: Collection[Inode] = (), public: Collection[str] = ()) -> Sealed:
    """Make everything of a release root's and readable by the app's group; no process of the builder is left.

    :param shared: inodes of the release before, which are sealed already.
    :param public: directories that nginx reads, relative to the release; names that begin with a dot stay private.
    :raises SealError: for what a build has no business to leave.
    """
    sealed = Sealed()
    with opened(release, DIRECTORY) as handle:
        _seal(handle, "", owners, shared, public, sealed)
    return sealed


def _is_public(path: str, public: Collection[str]) -> bool:
    below = [path.removeprefix(f"{directory}/") for directory in public if f"{path}/".startswith(f"{directory}/")]
    return any(rest in public or not any(part.startswith(".") for part in rest.split("/")) for rest in below)


def _seal(directory: int, path: str, owners: Owners, shared: Collection[Inode], public: Collection[str], sealed: Sealed) -> None:
    for name, status in _entries(directory):
        inner = f"{path}/{name}" if path else name
        if stat.S_ISDIR(status.st_mode):
            with opened(name, DIRECTORY, directory) as handle:
                _seal(handle, inner, owners, shared, public, sealed)
        elif stat.S_ISLNK(status.st_mode):
            os.chown(name, 0, owners.app, dir_fd=directory, follow_symlinks=False)
        elif not stat.S_ISREG(status.st_mode):
            raise SealError(f"{inner} is a device, a pipe or a socket")
        elif (status.st_dev, status.st_ino) not in shared:
            if status.st_uid != owners.uid or status.st_nlink > 1:
                raise SealError(f"{inner} is a hard link, or a file that the build does not own")
            executable = 0o111 if status.st_mode & stat.S_IXUSR else 0
            with opened(name, FILE, directory) as handle:
                _take(handle, owners.app, (0o644 | executable) if _is_public(inner, public) else (0o640 | executable & 0o110))
        sealed.paths.append(inner)
        sealed.size += status.st_size if stat.S_ISREG(status.st_mode) else 0
    leads = not path or any(f"{other}/".startswith(f"{path}/") for other in public)
    _take(directory, owners.app, 0o755 if path and _is_public(path, public) else 0o751 if leads else 0o750)


def _take(handle: int, group: int, mode: int) -> None:
    """Owner and mode; an access list would outlive both."""
    for name in os.listxattr(handle):
        if name.startswith("system.posix_acl"):
            os.removexattr(handle, name)
    os.fchown(handle, 0, group)
    os.fchmod(handle, mode)


def read(release: str, path: str, most: int = 4096) -> str:
    """The beginning of a file of a sealed release; empty where it is none."""
    with contextlib.suppress(OSError), contextlib.ExitStack() as stack:
        handle = stack.enter_context(opened(release, DIRECTORY))
        *folders, name = path.split("/")
        for folder in folders:
            handle = stack.enter_context(opened(folder, DIRECTORY, handle))
        return os.read(stack.enter_context(opened(name, FILE, handle)), most).decode(errors="replace")
    return ""
