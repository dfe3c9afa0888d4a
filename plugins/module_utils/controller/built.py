"""What an app's own command makes of its source on the controller, such as compiled assets; made once for the same source and command."""

from __future__ import annotations

import hashlib
import io
import os
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ansible_collections.plainstack.web.plugins.module_utils import exported
from ansible_collections.plainstack.web.plugins.module_utils.controller.archive import OF_A_HOOK, ArchiveError, build
from ansible_collections.plainstack.web.plugins.module_utils.text import plain

KEPT = 5  # trees of an app
SHOWN = 40  # lines of what a command said


@dataclass(frozen=True)
class Tree:
    """A directory with what is deployed, and what of it is whatever its name is; `git` as in archive.py."""

    directory: str
    include: Sequence[str]
    git: str | None = ""


def cache() -> str:
    """Where the trees are kept from run to run."""
    return os.path.join(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"), "plainstack", "builds")


def _run(command: str, directory: str) -> None:
    environment = {name: value for name, value in os.environ.items() if name not in OF_A_HOOK}
    done = subprocess.run(
        ["/bin/bash", "-c", command],
        cwd=directory,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        errors="replace",
        check=False,
    )
    if done.returncode:
        said = plain("\n".join(done.stdout.splitlines()[-SHOWN:])) or "(it wrote none)"
        raise ArchiveError(f"it failed with exit code {done.returncode}; nothing was touched.\nIts last lines:\n{said}")


def forget(directory: str, name: str, keep: str) -> None:
    """Remove all but the last of an app's directories in a cache."""
    found = sorted((entry for entry in os.scandir(directory) if entry.name.startswith(f"{name}.")), key=lambda entry: entry.stat().st_mtime)
    for entry in [entry for entry in found if entry.path != keep][: -KEPT + 1]:
        shutil.rmtree(entry.path, ignore_errors=True)  # what cannot be removed takes up room, and is no reason to end a deploy


def _export(command: str, requirements: str, place: str) -> None:
    """Have a lock file exported where nothing else of the source is: its tools load plugins and settings that lie beside it."""
    directory = os.path.join(place, os.path.dirname(requirements))
    with tempfile.TemporaryDirectory(prefix=".export-", dir=cache()) as bare:
        for name in (os.path.basename(requirements), *exported.BESIDE):
            if os.path.isfile(os.path.join(directory, name)) and not os.path.islink(os.path.join(directory, name)):
                shutil.copyfile(os.path.join(directory, name), os.path.join(bare, name))
        _run(command, bare)
        shutil.copyfile(os.path.join(bare, exported.FILE), os.path.join(directory, exported.FILE))


def build_here(app: Mapping[str, Any], git: str | None = None) -> Tree:
    """The source of an app with what its `local_build` makes of it, and with its lock file exported where uv does not read that.

    :param app: with `name`, `source`, `include` and perhaps `local_build`, `requirements`, `extras` and `groups`.
    :param git: the repository of the source; see archive.py.
    :raises ArchiveError: when a command fails, or is not there.
    """
    source, include = app["source"], app["include"]
    requirements = app.get("requirements") or ""
    export = exported.command(requirements, app.get("extras", []), app.get("groups", []))
    commands = {key: command for key, command in (("local_build", app.get("local_build", "")), ("requirements", export)) if command}
    if not commands:
        return Tree(source, include, git)
    if export and not shutil.which(tool := export.split()[0]):
        raise ArchiveError(
            f"app '{app['name']}': {requirements} is {tool}'s, which is not installed on this machine; nothing was touched.\n"
            "Where it is set: 'requirements' of the app in the inventory, or the files in its source.\n"
            f"Next: {exported.TOOLS[os.path.basename(requirements)]}; or set 'requirements' to a lock file that uv reads."
        )
    packed = io.BytesIO()
    digest = build(source, packed, include, git)
    inputs = hashlib.sha256("\0".join([digest, *commands.values()]).encode()).hexdigest()
    target = os.path.join(cache(), f"{app['name']}.{inputs[:32]}")
    if os.path.isdir(target):
        os.utime(target)
        return Tree(target, ["*"])
    os.makedirs(cache(), mode=0o700, exist_ok=True)
    place = tempfile.mkdtemp(prefix=".new-", dir=cache())
    try:
        packed.seek(0)
        with tarfile.open(fileobj=packed) as tar:
            tar.extractall(place, filter="data")
        for key, command in commands.items():
            try:
                if key == "requirements":
                    _export(command, requirements, place)
                else:
                    _run(command, place)
            except ArchiveError as error:
                what = "'local_build' was run" if key == "local_build" else f"{requirements} was exported with '{command}'"
                raise ArchiveError(f"app '{app['name']}': {what}, and {error}\nWhere it is set: '{key}' of the app in the inventory.") from None
        os.chmod(place, 0o700)
        os.utime(place)
        os.rename(place, target)
    except BaseException:
        shutil.rmtree(place, ignore_errors=True)  # the error that is raised is the one that counts
        raise
    forget(cache(), app["name"], target)
    return Tree(target, ["*"])
