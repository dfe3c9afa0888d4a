"""Public SSH keys that come from another host: what is written of them into our own files is what was parsed, and nothing else."""

from __future__ import annotations

import base64
import binascii

KIND = "ssh-ed25519"
# RFC 8709: the kind and 32 bytes, each after its length
BEGIN = len(KIND).to_bytes(4, "big") + KIND.encode() + (32).to_bytes(4, "big")


class KeyTextError(ValueError):
    """The text is not just one Ed25519 key."""


def public_key(text: str) -> str:
    """The key in a file such as id_ed25519.pub, without its comment.

    :raises KeyTextError: when the file has anything but one line with one such key: another line would be another key, without restrictions.
    """
    lines = text.strip().splitlines()
    words = lines[0].split() if len(lines) == 1 else []
    if len(words) < 2 or words[0] != KIND:
        raise KeyTextError(f"it has {len(lines)} lines; it must have one, with a key of the kind {KIND}")
    try:
        raw = base64.b64decode(words[1].encode("ascii", "replace"), validate=True)
    except binascii.Error:
        raw = b""
    if raw[: len(BEGIN)] != BEGIN or len(raw) != len(BEGIN) + 32:
        raise KeyTextError(f"its key is not of the kind {KIND}")
    return f"{KIND} {base64.b64encode(raw).decode()}"
