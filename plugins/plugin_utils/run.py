"""What a run knows, in private files of its own: no secret is a variable, which a loop, a failed task or a log could print.

Ansible makes a temporary directory for each run of ansible-playbook, which all its processes share, and removes it at the end.
"""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
from collections.abc import Iterable
from typing import Any
from urllib.parse import quote

from ansible import constants as C  # type: ignore[attr-defined]

PLAN, DECISION = "plan", "decision"


def path(name: str) -> str:
    """A file of the run."""
    return f"{C.DEFAULT_LOCAL_TMP}/plainstack-{quote(name, safe='')}.json"


def save(name: str, content: Any) -> None:
    """Write a file of the run, for its user alone and never half."""
    handle, temporary = tempfile.mkstemp(dir=C.DEFAULT_LOCAL_TMP)  # mode 0600
    with os.fdopen(handle, "w", encoding="utf-8") as stream:
        json.dump(content, stream)
    os.rename(temporary, path(name))


def load(name: str) -> dict[str, Any]:
    """A file of the run; nothing where it is not there."""
    with contextlib.suppress(FileNotFoundError), open(path(name), encoding="utf-8") as stream:
        found: dict[str, Any] = json.load(stream)
        return found
    return {}


def of_host(host: str) -> dict[str, Any]:
    """What is known of a host: its `apps`, what was `seen` of them, what of the rest (`looks`, `configurations`), what each step `did`, what is `left`."""
    return load(f"host-{host}")


def of_hosts(hosts: Iterable[str]) -> dict[str, dict[str, Any]]:
    """The same of all that were inspected."""
    return {host: known for host in hosts if (known := of_host(host))}


def seen(host: str, kind: str, name: str) -> Any:
    """What the inspection has seen of the host, once: it may be otherwise afterwards. None where it has not looked, or was asked already."""
    known = of_host(host) if host else {}
    found = known.get(kind, {}).pop(name, None)
    if found is not None:
        save(f"host-{host}", known)
    return found


def forget(host: str) -> None:
    """Something on the host is about to change on which what was seen may depend."""
    if host and of_host(host):
        note(host, looks={}, configurations={})


def lost(host: str) -> None:
    """The connection to the host has ended in the middle of a run."""
    if host and of_host(host):
        note(host, lost=True)


def note(host: str, **facts: Any) -> None:
    """Add to what is known of a host. Only the process that works on the host does."""
    save(f"host-{host}", {**of_host(host), **facts})
