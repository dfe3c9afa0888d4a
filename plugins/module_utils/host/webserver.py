"""What the configuration of nginx depends on: packages, versions, what the kernel and OpenSSL have, and which certificate each site gets."""

from __future__ import annotations

import fnmatch
import re
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ansible_collections.plainstack.web.plugins.module_utils.host.certificates import choose, complaints, find


def output(*command: str) -> str:
    """Everything that a command prints; nothing where there is no such command."""
    try:
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, encoding="utf-8", errors="replace", check=False)
    except FileNotFoundError:
        return ""
    return done.stdout


def missing(packages: Sequence[str]) -> list[str]:
    """Those of the packages that are not installed."""
    if not packages:
        return []
    installed = output("dpkg-query", "--show", "--showformat=${Package} ${db:Status-Status}\n", *packages).splitlines()
    return [package for package in packages if f"{package} installed" not in installed]


def ipv6() -> bool:
    """No such file or an empty one: compiled out, or switched off by sysctl."""
    try:
        with open("/proc/net/if_inet6", encoding="ascii") as stream:
            return bool(stream.read().strip())
    except FileNotFoundError:
        return False


def inspect(given: Mapping[str, Any], warn: Callable[[str], None]) -> dict[str, Any]:
    """What the module `nginx_info` returns.

    :param given: its options.
    """
    version = re.search(r"nginx/([0-9.]+)", output("/usr/sbin/nginx", "-v"))
    now = time.time()
    keys = {one["certificate"]: one["certificate_key"] for one in given["sites"]}
    held = find(given["candidates"], keys, given["coming"], [name for one in given["sites"] for name in one["domains"]])
    chosen = {}
    for one in given["sites"]:
        path = one["certificate"]
        own = path in given["coming"] or not any(fnmatch.fnmatchcase(path, pattern) for pattern in given["candidates"])
        chosen[one["name"]] = choose(one["domains"], path, own, held, now)
    expired = []
    for one in given["sites"]:
        if one["certificate"] in given["coming"]:
            certificate = next((other.certificate for other in held if other.path == one["certificate"]), None)
            wrong, notes = complaints(one["name"], one["domains"], certificate, now)
            expired += wrong
            for note in notes:
                warn(note)
    return {
        "missing": missing(given["packages"]),
        "version": version[1] if version else "0",
        "ipv6": ipv6(),
        # nginx does not start with a curve that OpenSSL does not know
        "post_quantum": "X25519MLKEM768" in output("openssl", "list", "-kem-algorithms"),
        "served": {
            name: [
                {
                    "domains": list(part.domains),
                    "certificate": part.held.path if part.held else "",
                    "certificate_key": part.held.key if part.held else "",
                    "trusted": bool(part.held and part.held.trusted),
                    "until": part.held.certificate.end if part.held else "",
                }
                for part in parts
            ]
            for name, parts in chosen.items()
        },
        "expired": expired,
    }
