"""The firewall's rules of a file, and those that the kernel has."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
from typing import Any

from ansible_collections.plainstack.web.plugins.module_utils.layout import make_directory, read, write

RECORD = "/var/lib/plainstack/firewall.json"
NFT = "/usr/sbin/nft"
PASSING = ("handle", "packets", "bytes", "metainfo")


class RulesError(Exception):
    """The file cannot be loaded; the message says why."""


def lasting(found: Any) -> Any:
    """A listing without what changes while nobody changes a rule."""
    if isinstance(found, dict):
        return {key: lasting(value) for key, value in found.items() if key not in PASSING}
    return [kept for item in found if (kept := lasting(item)) != {}] if isinstance(found, list) else found


def listing(table: str) -> Any:
    """What the kernel has of the table; None where there is none."""
    try:
        done = subprocess.run([NFT, "--json", "list", "table", *table.split()], capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return None
    return None if done.returncode else lasting(json.loads(done.stdout))


def load(file: str, table: str, check: bool) -> bool:
    """Load the file where the kernel has other rules; whether it has.

    :param check: only say whether it would be loaded.
    :raises RulesError: with what nft says.
    """
    before = listing(table)
    record = json.loads(read(RECORD) or "null")
    wanted = {"rules": hashlib.sha256((read(file) or "").encode()).hexdigest(), "kernel": before}
    if before is not None and record == wanted:
        return False
    if check:
        return before is None or (record or {}).get("rules") == wanted["rules"]
    done = subprocess.run([NFT, "--file", file], capture_output=True, text=True, check=False)
    if done.returncode:
        raise RulesError(f"{NFT} --file {file} failed: {done.stderr.strip()}\nNext: that command on the host as root; then run the same command again.")
    after = listing(table)
    make_directory(os.path.dirname(RECORD))
    write(RECORD, json.dumps({**wanted, "kernel": after}) + "\n", 0o600)
    return bool(before != after)
