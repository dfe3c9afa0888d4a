"""The archive of an app's source: which files, and the same bytes for the same content.

Runs on the controller only. In a git checkout the tracked and the unignored files go in, as they are in the work
tree; elsewhere everything but version control, caches and virtual environments.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import stat
import subprocess
import tarfile
from dataclasses import dataclass
from typing import IO

LEFT_OUT = frozenset({".git", ".hg", ".svn", ".venv", "venv", "__pycache__", ".mypy_cache", ".ruff_cache", ".pytest_cache", "node_modules"})
OF_A_HOOK = frozenset({"GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_PREFIX", "GIT_COMMON_DIR", "GIT_OBJECT_DIRECTORY"})
# What Plainstack itself puts into a release; the second marks it as complete
RESERVED = (".venv", ".archive.tar.gz", "release.json")


class ArchiveError(Exception):
    """The source cannot be archived; the message says why and what to do."""


@dataclass(frozen=True)
class Revision:
    """Where the source comes from: the git commit (empty outside git), and whether the work tree differs from it."""

    commit: str
    dirty: bool


def _git(source: str, *arguments: str) -> str | None:
    """What git prints, or None where the source is not in a checkout or there is no git."""
    # A git hook that deploys sets these for its own repository
    environment = {name: value for name, value in os.environ.items() if name not in OF_A_HOOK}
    try:
        done = subprocess.run(["git", "-C", source, *arguments], env=environment, capture_output=True, encoding="utf-8", errors="surrogateescape", check=False)
    except FileNotFoundError:
        return None
    if done.returncode == 0:
        return done.stdout
    if "dubious ownership" in done.stderr:
        raise ArchiveError(f"git does not trust {source}: {done.stderr.strip()}")
    return None


def _refuse(error: OSError) -> None:
    """A directory that cannot be read must not be left out in silence."""
    raise error


def list_files(source: str) -> list[str]:
    """The files and links of the source that are deployed: paths relative to it, sorted."""
    listed = _git(source, "ls-files", "-z", "--cached", "--others", "--exclude-standard")
    if listed is not None:
        return sorted({name for name in listed.split("\0") if name and os.path.lexists(os.path.join(source, name))})
    found = []
    for directory, folders, files in os.walk(source, onerror=_refuse):
        links = [folder for folder in folders if os.path.islink(os.path.join(directory, folder))]
        folders[:] = [folder for folder in folders if folder not in LEFT_OUT and folder not in links]
        found += [os.path.relpath(os.path.join(directory, name), source) for name in files + links if name not in LEFT_OUT]
    return sorted(name for name in found if not name.endswith(".pyc"))


def revision(source: str) -> Revision:
    """The revision of the source."""
    commit = _git(source, "rev-parse", "HEAD")
    if commit is None:
        return Revision("", False)
    return Revision(commit.strip(), bool(_git(source, "status", "--porcelain", "--", ".")))


def escapes(name: str, target: str = "") -> bool:
    """Whether a name in the archive, or the target of a link of that name, is outside of it."""
    path = os.path.normpath(os.path.join(os.path.dirname(name), target) if target else name)
    return os.path.isabs(path) or path == ".." or path.startswith("../")


def _entry(source: str, name: str) -> tarfile.TarInfo:
    path = os.path.join(source, name)
    if name.split("/")[0] in RESERVED:
        raise ArchiveError(f"{path} has a name that Plainstack needs in a release; rename it, or have git ignore it.")
    status = os.lstat(path)
    entry = tarfile.TarInfo(name)
    if stat.S_ISLNK(status.st_mode):
        entry.type = tarfile.SYMTYPE
        entry.linkname = os.readlink(path)
        if escapes(name, entry.linkname):
            raise ArchiveError(f"{path} is a link to {entry.linkname}, outside of the source; replace it by the file or remove it.")
        entry.mode = 0o777
    elif stat.S_ISREG(status.st_mode):
        entry.mode = 0o755 if status.st_mode & stat.S_IXUSR else 0o644
    elif stat.S_ISDIR(status.st_mode):
        raise ArchiveError(f"{path} is a git submodule, which is not archived; vendor it, or name the directory itself as the source.")
    else:
        raise ArchiveError(f"{path} is neither a file nor a link; remove it from the source.")
    return entry


def build(source: str, target: IO[bytes]) -> str:
    """Write the archive (tar, gzip) of the source: the same bytes for the same names, modes and content.

    :param source: directory of the app.
    :param target: binary file to write to.
    :returns: the SHA-256 of what is in it, in hexadecimal.
    :raises ArchiveError: when there is nothing to deploy, or something that cannot be.
    """
    names = list_files(source)
    if not names:
        raise ArchiveError(f"the source {source} has no files to deploy (git ignores all of them, or it is empty).")
    digest = hashlib.sha256()
    with (
        gzip.GzipFile(filename="", mode="wb", fileobj=target, mtime=0, compresslevel=6) as packed,
        tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as tar,
    ):
        for name in names:
            entry = _entry(source, name)
            content = b""
            if entry.isreg():
                with open(os.path.join(source, name), "rb") as stream:
                    content = stream.read()
            entry.size = len(content)
            # ascii(), because what repr() escapes depends on the version of Python
            digest.update(ascii((name, entry.mode, entry.linkname, entry.size)).encode() + content)
            tar.addfile(entry, io.BytesIO(content))
    return digest.hexdigest()
