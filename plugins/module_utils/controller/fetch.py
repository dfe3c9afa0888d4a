"""Sources that are not a directory on the controller: a git repository, an archive, a package of PyPI.

Each becomes a directory for the time of a run, so that all that follows is the same. The servers see no credentials and no repository.
"""

from __future__ import annotations

import contextlib
import difflib
import hashlib
import os
import re
import shutil
import subprocess
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import IO, Any

from ansible_collections.plainstack.web.plugins.module_utils.controller.archive import OF_A_HOOK
from ansible_collections.plainstack.web.plugins.module_utils.text import ENGLISH, plain

REPOSITORY = re.compile(r"(?:https?|ssh|git|file)://\S+|[A-Za-z0-9_.-]+@[A-Za-z0-9.-]+:(?!/)\S+")
ARCHIVE = re.compile(r".+\.(?:tar|tar\.gz|tgz|tar\.xz|tar\.bz2|zip|whl)")
URL = re.compile(r"https?://\S+")
CREDENTIALS = re.compile(r"(https?://)[^/@\s'\"]*@")
COMMIT = re.compile(r"[0-9a-f]{7,64}")
NO_SUCH_REF = re.compile(r"couldn't find remote ref|not our ref|no such remote ref", re.IGNORECASE)

# Those whose version comes from git's tags
TAKES_VERSION = re.compile(r"setuptools[-_]scm|hatch-vcs")

Download = Callable[[str], IO[bytes]]


class FetchError(Exception):
    """A source cannot be fetched; the message says why, and what to do."""


@dataclass(frozen=True)
class Fetched:
    """A source on the controller: its `directory`, and for people what it is and which `ref` of it; `git` as in archive.py."""

    directory: str
    source: str
    ref: str = ""
    git: str = ""


def kind(app: Mapping[str, Any]) -> str:
    """Of what kind the source of an app is: `package`, `archive`, `repository` or `directory`."""
    if app.get("package"):
        return "package"
    source = str(app.get("source") or "")
    if ARCHIVE.fullmatch(source):
        return "archive"
    return "repository" if REPOSITORY.fullmatch(source) else "directory"


def without_credentials(url: str) -> str:
    """A URL as it may be shown: a user's name in https is as good as a token."""
    return re.sub(r"^(https?://)[^/@]*@", r"\1", re.sub(r"^(\w+://[^/@:]*):[^/@]*@", r"\1@", url))


def _git(url: str, *arguments: str) -> str:
    """What git prints. It asks nothing: there may be nobody to answer.

    :raises FetchError: with what it complains about.
    """
    # A git hook that deploys sets some for its own repository
    environment = {name: value for name, value in os.environ.items() if name not in OF_A_HOOK} | ENGLISH
    environment |= {"GIT_TERMINAL_PROMPT": "0", "GIT_SSH_COMMAND": f"{os.environ.get('GIT_SSH_COMMAND', 'ssh')} -oBatchMode=yes"}
    try:
        done = subprocess.run(
            ["git", *arguments], env=environment, stdin=subprocess.DEVNULL, capture_output=True, encoding="utf-8", errors="replace", check=False
        )
    except FileNotFoundError:
        raise FetchError("git is not installed on this machine.\nNext: install it, then run the same command again.") from None
    if done.returncode:
        said = (done.stderr.strip() or done.stdout.strip()).replace(url, without_credentials(url))
        raise FetchError(plain(CREDENTIALS.sub(r"\1", said)))  # those of a submodule, too
    return done.stdout


def _no_such(url: str, ref: str) -> FetchError:
    """An error with the names that there are."""
    listed = _git(url, "ls-remote", "--heads", "--tags", "--refs", url)
    names = [line.split("\t")[1].split("/", 2)[2] for line in listed.splitlines()]
    close = difflib.get_close_matches(ref, names, n=1, cutoff=0.6)
    hint = f"did you mean '{close[0]}'?" if close else f"there are {', '.join(sorted(names)[-8:]) or 'none'}."
    return FetchError(f"{without_credentials(url)} has no branch, tag or commit '{ref}'; {hint}")


def _checkout(url: str, ref: str, target: str) -> None:
    """One commit of a repository, with its submodules."""
    inside = ("-C", target)
    _git(url, "init", "--quiet", target)
    _git(url, *inside, "remote", "add", "origin", url)
    commit = "FETCH_HEAD"
    try:
        _git(url, *inside, "fetch", "--quiet", "--depth=1", "origin", ref or "HEAD")
    except FetchError as error:
        if not NO_SUCH_REF.search(str(error)):
            raise
        if not COMMIT.fullmatch(ref):
            raise _no_such(url, ref) from None
        # Servers give a commit by its name only in full, and some not even then
        _git(url, *inside, "fetch", "--quiet", "--tags", "origin", "+refs/heads/*:refs/remotes/origin/*")
        try:
            commit = _git(url, *inside, "rev-parse", "--verify", f"{ref}^{{commit}}").strip()
        except FetchError:
            raise _no_such(url, ref) from None
    _git(url, *inside, "checkout", "--quiet", "--detach", commit)
    if TAKES_VERSION.search(_text(f"{target}/pyproject.toml")):
        with contextlib.suppress(FetchError):  # the whole history was fetched already
            _git(url, *inside, "fetch", "--quiet", "--unshallow", "--filter=tree:0", "--tags", "origin")
    if os.path.exists(f"{target}/.gitmodules"):
        _git(url, *inside, "submodule", "--quiet", "update", "--init", "--recursive")


def _text(path: str) -> str:
    with contextlib.suppress(OSError), open(path, encoding="utf-8", errors="replace") as stream:
        return stream.read()
    return ""


def _check_sum(path: str, wanted: str) -> None:
    with open(path, "rb") as stream:
        found = f"sha256:{hashlib.file_digest(stream, 'sha256').hexdigest()}"
    if found != wanted:
        raise FetchError(f"it has the checksum {found}, not {wanted} as 'checksum' says. Nothing of it was unpacked.")


def _unpack(path: str, target: str) -> str:
    """Unpack an archive; the directory of the source in it, which may be its only one."""
    try:
        if path.endswith(".zip"):
            shutil.unpack_archive(path, target)
        else:
            with tarfile.open(path) as tar:
                tar.extractall(target, filter="data")
    except (tarfile.TarError, zipfile.BadZipFile, zlib.error, EOFError, shutil.ReadError) as error:
        raise FetchError(f"it cannot be unpacked: {error}.") from error
    found = os.listdir(target)
    return f"{target}/{found[0]}" if len(found) == 1 and os.path.isdir(f"{target}/{found[0]}") else target


def _require(target: str, requirement: str, app: Mapping[str, Any]) -> None:
    """A source that is nothing but requirements: what is the app, and what serves it."""
    gunicorn = {"command": "", "gevent": "gunicorn[gevent]\n"}.get(app.get("server") or "", "gunicorn\n")
    os.mkdir(target)
    with open(f"{target}/requirements.txt", "w", encoding="utf-8") as stream:
        stream.write(f"{requirement}\n{gunicorn}")


def fetch(app: Mapping[str, Any], ref: str, place: str, download: Download) -> Fetched:
    """Make the source of an app a directory.

    :param app: with `source`, `package`, `ref`, `subdirectory` and `checksum`.
    :param ref: of the repository, instead of the app's own; empty for that.
    :param place: an empty directory for it.
    :param download: opens a URL.
    :raises FetchError: with what is wrong.
    """
    source, ref = str(app["source"] or ""), ref or app["ref"] or ""
    shown = without_credentials(source)
    target = f"{place}/source"
    if kind(app) == "package":
        _require(target, app["package"], app)
        return Fetched(target, app["package"])
    if kind(app) == "repository":
        _checkout(source, ref, target)
    else:
        path = source
        if URL.fullmatch(source):
            path = f"{place}/{os.path.basename(source)}"
            try:
                with download(source) as stream, open(path, "wb") as copy:
                    shutil.copyfileobj(stream, copy)
            except OSError as error:
                raise FetchError(f"{shown} cannot be downloaded: {plain(str(error))}") from error
        if app["checksum"]:
            _check_sum(path, app["checksum"])
        if path.endswith(".whl"):
            _require(target, f"./{os.path.basename(path)}", app)
            shutil.copyfile(path, f"{target}/{os.path.basename(path)}")
        else:
            target = _unpack(path, target)
    directory = os.path.normpath(f"{target}/{app['subdirectory'] or '.'}")
    if not os.path.isdir(directory) or not f"{os.path.realpath(directory)}/".startswith(f"{os.path.realpath(place)}/"):
        raise FetchError(f"{shown} has no directory '{app['subdirectory']}', which 'subdirectory' names.")
    return Fetched(directory, shown, ref, f"{target}/.git" if kind(app) == "repository" else "")
