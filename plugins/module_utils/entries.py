"""Entries of an archive of an app's source, as the controller writes them and a host checks them. Pure."""

from __future__ import annotations

import os
import tarfile


def escapes(name: str, target: str = "") -> bool:
    """Whether a name in the archive, or the target of a link of that name, is outside of it."""
    path = os.path.normpath(os.path.join(os.path.dirname(name), target) if target else name)
    return os.path.isabs(path) or path == ".." or path.startswith("../")


def fingerprint(entry: tarfile.TarInfo) -> bytes:
    """What the digest of an archive has of an entry, before its content; every host computes it again."""
    # ascii(), because what repr() escapes depends on the version of Python
    return ascii((entry.name, entry.mode, entry.linkname, entry.size)).encode()
