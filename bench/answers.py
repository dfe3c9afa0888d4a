"""What a server has answered, and how one question is told from another: for bench/record.py and bench/connection/recorded.py."""

from __future__ import annotations

import ast
import base64
import hashlib
import json
import re
from typing import Any

RECORDS = "BENCH_RECORDS"  # environment variable: the file of bench/record.py
FIRST = "BENCH_FIRST"  # the name of the first server
COUNTERS = "BENCH_COUNTERS"  # and a directory that notes how often each server was asked what
MODULE = re.compile(rb"module_fqn='([\w.]+)'")
PARAMETERS = re.compile(rb"params=('\{.*?\}'),\n")
IDENTIFIER = re.compile(r"\d{8}T\d{6}Z-[0-9a-f]{8}")


def asked_of(data: bytes | None) -> dict[str, Any]:
    """A module's arguments."""
    found = PARAMETERS.search(data or b"")
    arguments: dict[str, Any] = json.loads(ast.literal_eval(found[1].decode()))["ANSIBLE_MODULE_ARGS"] if found else {}
    return arguments


def key_of(command: str, data: bytes | None) -> str:
    """What tells one call from another: a module's name, with the step of a rollout; of another command a digest."""
    found = MODULE.search(data or b"")
    if not found:
        return hashlib.sha256(command.encode()).hexdigest()[:12]
    return f"{found[1].decode().rpartition('.')[2]} {asked_of(data).get('step', '')}".strip()


def identifier_of(data: bytes | None) -> str:
    """The release's id in the orders of a step; "" where there is none."""
    orders = asked_of(data).get("orders", "")
    found = IDENTIFIER.search(re.sub(r'"before": ?"[^"]*"', "", base64.b64decode(orders).decode())) if orders else None
    return found[0] if found else ""
