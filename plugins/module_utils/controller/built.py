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

from ansible_collections.plainstack.web.plugins.module_utils.controller.archive import OF_A_HOOK, ArchiveError, build
from ansible_collections.plainstack.web.plugins.module_utils.text import plain

KEPT = 5  # trees of an app
SHOWN = 40  # lines of what a command said


@dataclass(frozen=True)
class Tree:
    """A directory with what is deployed, and what of it is whatever its name is."""

    directory: str
    include: Sequence[str]


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


def _forget(name: str, keep: str) -> None:
    """Remove all but the last trees of an app."""
    found = sorted((entry for entry in os.scandir(cache()) if entry.name.startswith(f"{name}.")), key=lambda entry: entry.stat().st_mtime)
    for entry in [entry for entry in found if entry.path != keep][: -KEPT + 1]:
        shutil.rmtree(entry.path, ignore_errors=True)  # what cannot be removed takes up room, and is no reason to end a deploy


def build_here(app: Mapping[str, Any]) -> Tree:
    """The source of an app with what its `local_build` makes of it.

    :param app: with `name`, `source`, `include` and perhaps `local_build`.
    :raises ArchiveError: when the command fails.
    """
    source, include, command = app["source"], app["include"], app.get("local_build", "")
    if not command:
        return Tree(source, include)
    packed = io.BytesIO()
    inputs = hashlib.sha256(f"{build(source, packed, include)}\0{command}".encode()).hexdigest()
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
        try:
            _run(command, place)
        except ArchiveError as error:
            raise ArchiveError(
                f"app '{app['name']}': 'local_build' was run, and {error}\nWhere it is set: 'local_build' of the app in the inventory."
            ) from None
        os.chmod(place, 0o700)
        os.utime(place)
        os.rename(place, target)
    except BaseException:
        shutil.rmtree(place, ignore_errors=True)  # the error that is raised is the one that counts
        raise
    _forget(app["name"], target)
    return Tree(target, ["*"])
