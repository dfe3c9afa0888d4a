"""The archive of an app's source: which files, and the same bytes for the same content.

Runs on the controller only. In a git checkout the tracked and the unignored files go in, as they are in the work
tree; elsewhere everything but version control, caches and what looks like a secret or a database. What the definition includes
by name goes in, too; a virtual environment never does.
"""

from __future__ import annotations

import fnmatch
import gzip
import hashlib
import io
import os
import re
import stat
import subprocess
import tarfile
from collections.abc import Sequence
from dataclasses import dataclass
from typing import IO

from ansible_collections.plainstack.web.plugins.module_utils.entries import escapes, fingerprint
from ansible_collections.plainstack.web.plugins.module_utils.text import ENGLISH

LEFT_OUT = frozenset({".git", ".hg", ".svn", ".venv", "venv", "__pycache__", ".mypy_cache", ".ruff_cache", ".pytest_cache", "node_modules"})
# Names of files and directories, in lower case, that a developer has beside the code and does not mean to deploy
PRIVATE = (
    *(".env", ".env.*", "*.env", ".envrc", ".htpasswd", ".netrc", ".pgpass", ".pypirc", ".vault*", "id_rsa*", "id_dsa*", "id_ecdsa*", "id_ed25519*"),
    *("*.key", "*.pem", "*.p12", "*.pfx", "*.jks", "*.kdbx"),
    *("instance", "*.sqlite", "*.sqlite3", "*.db", "*.sqlite-*", "*.sqlite3-*", "*.db-*"),
)
EXAMPLES = ("*.example", "*.sample", "*.template", "*.dist", "*.pub")
OF_A_HOOK = frozenset({"GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_PREFIX", "GIT_COMMON_DIR", "GIT_OBJECT_DIRECTORY"})
LFS_POINTER = b"version https://git-lfs.github.com/spec/"
# What Plainstack itself puts into a release; the second marks it as complete
RESERVED = (".venv", ".archive.tar.gz", "release.json")


class ArchiveError(Exception):
    """The source cannot be archived; the message says why and what to do."""


@dataclass(frozen=True)
class Revision:
    """Where the source comes from: the git commit (empty outside git), and whether the work tree differs from it."""

    commit: str
    dirty: bool


def _git(source: str, git: str | None, *arguments: str) -> str | None:
    """What git prints, or None where the source is not in a checkout or there is no git.

    :param git: the repository's `.git`, at the top of the checkout; None to look for one, as in a directory of the user's own; empty where there is
        none. In what comes from elsewhere git must not look for one: its configuration names programs, which git would run.
    """
    if git == "":
        return None
    known = ["-c", "safe.bareRepository=explicit"] if git is None else [f"--git-dir={git}", f"--work-tree={os.path.dirname(git)}"]
    # A git hook that deploys sets these for its own repository
    environment = {name: value for name, value in os.environ.items() if name not in OF_A_HOOK} | ENGLISH
    try:
        done = subprocess.run(
            ["git", "-C", source, *known, *arguments], env=environment, capture_output=True, encoding="utf-8", errors="surrogateescape", check=False
        )
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


@dataclass(frozen=True)
class Selection:
    """Paths relative to the source, sorted: what is deployed, what is left out because it looks private, and what looks so and is deployed."""

    names: list[str]
    left_out: list[str]
    doubtful: list[str]


def looks_private(name: str) -> bool:
    """Whether a path looks like that of a secret or a database."""
    parts = name.lower().split("/")
    return any(fnmatch.fnmatchcase(part, pattern) for part in parts for pattern in PRIVATE) and not any(
        fnmatch.fnmatchcase(parts[-1], pattern) for pattern in EXAMPLES
    )


def included(name: str, include: Sequence[str]) -> bool:
    """Whether a path, or a directory that it lies in, is one that the definition names."""
    parts = name.split("/")
    return any(fnmatch.fnmatchcase("/".join(parts[:depth]), pattern) for depth in range(1, len(parts) + 1) for pattern in include)


def _walk(source: str) -> list[str]:
    """Every file and link but those of version control, caches and virtual environments."""
    found = []
    for directory, folders, files in os.walk(source, onerror=_refuse):
        if "pyvenv.cfg" in files and directory != source:
            folders.clear()
            continue
        links = [folder for folder in folders if os.path.islink(os.path.join(directory, folder))]
        folders[:] = [folder for folder in folders if folder not in LEFT_OUT and folder not in links]
        found += [os.path.relpath(os.path.join(directory, name), source) for name in files + links if name not in LEFT_OUT and not name.endswith(".pyc")]
    return found


def _outside_environments(names: Sequence[str]) -> set[str]:
    """Those that do not lie in a virtual environment, whatever its name is."""
    environments = tuple(f"{os.path.dirname(name)}/" for name in names if os.path.basename(name) == "pyvenv.cfg" and "/" in name)
    return {name for name in names if not name.startswith(environments)}


def select(source: str, include: Sequence[str] = (), git: str | None = None) -> Selection:
    """Which files of the source are deployed.

    :param include: paths and patterns that go in whatever git or their name says.
    :param git: the repository; see `_git`.
    :raises ArchiveError: where git cannot say.
    """
    listed = _git(source, git, "ls-files", "-z", "--cached", "--recurse-submodules")
    if listed is None:
        found = _walk(source)
        left_out = {name for name in found if looks_private(name) and not included(name, include)}
        return Selection(sorted({*found} - left_out), sorted(left_out), [])
    untracked = (_git(source, git, "ls-files", "-z", "--others", "--exclude-standard") or "").split("\0")
    known = [name for name in [*listed.split("\0"), *untracked] if name and os.path.lexists(os.path.join(source, name))]
    names = _outside_environments(known)
    if include:
        names |= {name for name in _walk(source) if included(name, include)}
    return Selection(sorted(names), [], sorted(name for name in {*untracked} & names if looks_private(name) and not included(name, include)))


def list_files(source: str, include: Sequence[str] = (), git: str | None = None) -> list[str]:
    """The files and links of the source that are deployed: paths relative to it, sorted."""
    return select(source, include, git).names


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")


def warnings(source: str, include: Sequence[str] = (), git: str | None = None) -> list[str]:
    """What the operator is told about what looks private, and about what is included and is not there."""
    found = select(source, include, git)
    told = []
    if found.left_out:
        told.append(
            f"left out of {source}, because they look like secrets or databases: {_some(found.left_out)}. "
            "Secrets go to 'secrets' and data to 'shared'; what is to be deployed all the same, name in 'include'."
        )
    if found.doubtful:
        told.append(
            f"deployed from {source}, though they look like secrets or databases: {_some(found.doubtful)}. git neither tracks nor ignores them: "
            "name them in .gitignore, or in 'include' where they are to be deployed."
        )
    if nothing := [pattern for pattern in include if not any(included(name, [pattern]) for name in found.names)]:
        told.append(f"'include' names what is not in {source}: {_some(nothing)}.")
    return told


def revision(source: str, git: str | None = None) -> Revision:
    """The revision of the source."""
    commit = _git(source, git, "rev-parse", "HEAD")
    if commit is None:
        return Revision("", False)
    return Revision(commit.strip(), bool(_git(source, git, "status", "--porcelain", "--", ".")))


def version(source: str, git: str | None = None) -> str:
    """The version that git's tags give the source, as PEP 440 has it; empty where there is no tag with a version."""
    described = _git(source, git, "describe", "--tags", "--long", "--match=[0-9]*", "--match=v[0-9]*")
    found = re.fullmatch(r"v?([0-9]+(?:\.[0-9]+)*(?:(?:a|b|rc)[0-9]+)?)-([0-9]+)-(g[0-9a-f]+)", (described or "").strip())
    if not found:
        return ""
    return found[1] if found[2] == "0" else f"{found[1]}.post{found[2]}+{found[3]}"


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
        raise ArchiveError(f"{path} is a git submodule that is not checked out. Next: git submodule update --init --recursive, in the source.")
    else:
        raise ArchiveError(f"{path} is neither a file nor a link; remove it from the source.")
    return entry


def build(source: str, target: IO[bytes], include: Sequence[str] = (), git: str | None = None) -> str:
    """Write the archive (tar, gzip) of the source: the same bytes for the same names, modes and content.

    :param source: directory of the app.
    :param target: binary file to write to.
    :param include: paths and patterns that go in whatever git or their name says.
    :param git: the repository; see `_git`.
    :returns: the SHA-256 of what is in it, in hexadecimal.
    :raises ArchiveError: when there is nothing to deploy, or something that cannot be.
    """
    names = list_files(source, include, git)
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
                if content.startswith(LFS_POINTER):
                    raise ArchiveError(
                        f"{os.path.join(source, name)} is a pointer of git LFS, not the file. Next: install git-lfs on this machine and run 'git lfs install'; "
                        "then, in a checkout, 'git lfs pull'."
                    )
            entry.size = len(content)
            digest.update(fingerprint(entry) + content)
            tar.addfile(entry, io.BytesIO(content))
    return digest.hexdigest()
