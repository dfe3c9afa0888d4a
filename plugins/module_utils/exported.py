"""Lock files that uv does not read: their own tools export them on the controller, and the server installs what came of it."""

from __future__ import annotations

import os
import posixpath
import shlex
from collections.abc import Mapping, Sequence

# By the name of the lock file, how its tool comes onto a machine
TOOLS: Mapping[str, str] = {
    "poetry.lock": "pipx install poetry && pipx inject poetry poetry-plugin-export",
    "Pipfile.lock": "pipx install pipenv",
}
FILE = ".plainstack-requirements.txt"


def path(requirements: str) -> str:
    """Where what uv reads lies in a release: beside the lock file where that had to be exported."""
    return posixpath.join(posixpath.dirname(requirements), FILE) if os.path.basename(requirements) in TOOLS else requirements


def command(requirements: str, extras: Sequence[str], groups: Sequence[str]) -> str:
    """The command, for a shell in the source, that exports a lock file; empty where uv reads it."""
    name, directory = os.path.basename(requirements), posixpath.dirname(requirements) or "."
    if name == "poetry.lock":
        options = [*(f"--extras={extra}" for extra in extras), *(f"--with={group}" for group in groups)]
        words = ["poetry", "export", "--no-interaction", "--format=requirements.txt", f"--output={FILE}", *options]
    elif name == "Pipfile.lock":
        chosen = [f"--categories={','.join(['packages', *groups])}"] if groups else []
        words = ["pipenv", "requirements", "--hash", *chosen]
    else:
        return ""
    return f"cd {shlex.quote(directory)} && {shlex.join(words)}" + (f" >{FILE}" if name == "Pipfile.lock" else "")
