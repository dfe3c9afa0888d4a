"""Where an offline bundle lies in a release: wheels for the servers, and which of them a server installs. They are there until the environment is made."""

from __future__ import annotations

DIRECTORY = ".plainstack-wheels"
REQUIREMENTS = f"{DIRECTORY}/requirements.txt"
HEADER = "# Wheels for: "  # followed by `target` of each, separated by spaces
PROJECT = "# Project: "  # followed by the directory of one that is installed itself; a release has its wheel instead


def target(python: str, machine: str) -> str:
    """What wheels are for, by the minor version of Python and the machine's architecture: `3.13-x86_64`."""
    return f"{python}-{machine}"


def targets(requirements: str) -> list[str]:
    """What the wheels of a bundle are for, by the text of its requirements."""
    first = requirements.partition("\n")[0]
    return first[len(HEADER) :].split() if first.startswith(HEADER) else []
