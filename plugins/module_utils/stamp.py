"""What a service has loaded: a digest of its files, written once they are in use."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

STAMPS = "/var/lib/plainstack/configuration"


def digest(files: Sequence[Mapping[str, Any]]) -> str:
    """Digest of files, each with `dest`, `content` and `mode` (0644 where it has none)."""
    return hashlib.sha256(repr([(file["dest"], file.get("mode", "0644"), file["content"]) for file in files]).encode()).hexdigest()
