"""What a host has, measured without programs that a minimal image may lack."""

from __future__ import annotations

import glob
import os
import re
import subprocess

from ansible_collections.plainstack.web.plugins.module_utils.host.preflight import WEB_SERVER

LISTENING = "0A"  # the state in /proc/net/tcp


def pretty_name(path: str = "/etc/os-release") -> str:
    """What the system calls itself, by its PRETTY_NAME; Python's own function for that is newer than 3.9."""
    try:
        with open(path, encoding="utf-8", errors="replace") as stream:
            found = re.search(r"(?m)^PRETTY_NAME=(.*)$", stream.read())
    except OSError:
        return ""
    return found[1].strip("\"' ") if found else ""


def version(*command: str) -> tuple[int, ...]:
    """The first version number that a program prints; empty where there is no such program."""
    try:
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, encoding="utf-8", errors="replace", check=False)
    except OSError:
        return ()
    found = re.search(r"\b(?:nginx/|systemd )(\d+(?:\.\d+)*)", done.stdout)
    return tuple(map(int, found[1].split("."))) if found else ()


def listeners(ports: tuple[int, ...], proc: str = "/proc", unit: str = "/etc/systemd/system/nginx.socket") -> dict[int, str]:
    """Which program listens on each of the TCP ports, by the kernel's tables; ss is not on every server.

    :param unit: with which systemd holds the ports for nginx.
    """
    sockets = {}
    for table in ("tcp", "tcp6"):
        try:
            with open(f"{proc}/net/{table}", encoding="ascii") as stream:
                rows = [line.split() for line in stream.readlines()[1:]]
        except FileNotFoundError:  # no IPv6
            continue
        for row in rows:
            port = int(row[1].rpartition(":")[2], 16)
            if row[3] == LISTENING and port in ports:
                sockets[f"socket:[{row[9]}]"] = port
    programs: dict[int, set[str]] = {port: set() for port in sockets.values()}
    for handle in glob.iglob(f"{proc}/[0-9]*/fd/*") if sockets else ():
        try:
            if port := sockets.get(os.readlink(handle), 0):
                with open(f"{os.path.dirname(os.path.dirname(handle))}/comm", encoding="utf-8", errors="replace") as stream:
                    programs[port].add(stream.read().strip())
        except OSError:  # a process that has ended meanwhile
            continue
    found = {}
    for port, names in programs.items():
        if names == {"systemd"} and os.path.exists(unit):
            names = {WEB_SERVER}
        found[port] = WEB_SERVER if WEB_SERVER in names else min(names - {"systemd"} or names or {"another program"})
    return found
