"""What a service has loaded: which files and a digest of them, written once they are in use."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

STAMPS = "/var/lib/plainstack/configuration"


def text(files: Sequence[Mapping[str, Any]], first: Sequence[Mapping[str, Any]], service: str) -> str:
    """The stamp: one line.

    :param files: each with `dest`, `content` and `mode`.
    :param first: files of which only matters that they are there.
    :param service: the unit that uses them; empty for files that nothing loads.
    """
    paths = {"files": [file["dest"] for file in files], "first": [file["dest"] for file in first]}
    return json.dumps({**paths, "service": service, "digest": digest(files)}, sort_keys=True)


def digest(files: Sequence[Mapping[str, Any]]) -> str:
    """Digest of files, each with `dest`, `content` and `mode` (0644 where it has none)."""
    return hashlib.sha256(repr([(file["dest"], file.get("mode", "0644"), file["content"]) for file in files]).encode()).hexdigest()
