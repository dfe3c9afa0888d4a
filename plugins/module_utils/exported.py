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
BESIDE = ("pyproject.toml", "Pipfile")  # what the tools read besides
FILE = ".plainstack-requirements.txt"


def path(requirements: str) -> str:
    """Where what uv reads lies in a release: beside the lock file where that had to be exported."""
    return posixpath.join(posixpath.dirname(requirements), FILE) if os.path.basename(requirements) in TOOLS else requirements


def command(requirements: str, extras: Sequence[str], groups: Sequence[str]) -> str:
    """The command, for a shell where the lock file is, that exports it; empty where uv reads it."""
    name = os.path.basename(requirements)
    if name == "poetry.lock":
        options = [*(f"--extras={extra}" for extra in extras), *(f"--with={group}" for group in groups)]
        return shlex.join(["poetry", "export", "--no-interaction", "--format=requirements.txt", f"--output={FILE}", *options])
    if name == "Pipfile.lock":
        chosen = [f"--categories={','.join(['packages', *groups])}"] if groups else []
        return f"{shlex.join(['pipenv', 'requirements', '--hash', *chosen])} >{FILE}"
    return ""
