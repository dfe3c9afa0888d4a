"""What a host has, measured without programs that a minimal image may lack."""

from __future__ import annotations

import glob
import os
import re
import shutil
import subprocess
import sys
import time
from ssl import OPENSSL_VERSION_INFO

from ansible_collections.plainstack.web.plugins.module_utils.host import memory
from ansible_collections.plainstack.web.plugins.module_utils.host.acme import foreign_certbot
from ansible_collections.plainstack.web.plugins.module_utils.host.preflight import WEB_SERVER, Host

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


def foreign_sites() -> tuple[str, ...]:
    """Sites of an nginx that Plainstack has not configured; it would replace their nginx.conf."""
    if os.path.exists("/var/lib/plainstack/configuration/nginx") or not os.path.isdir("/etc/nginx/sites-enabled"):
        return ()
    return tuple(sorted(set(os.listdir("/etc/nginx/sites-enabled")) - {"default"}))


def measure(now: float, inodes: int, serves: bool, acme: bool) -> Host:
    """The host itself.

    :param now: the controller's clock; 0 where it is not known.
    :param inodes: how many there are said to be where the file system does not count them.
    :param serves: whether the host has nginx, or will.
    :param acme: whether certbot is needed.
    """
    disk = os.statvfs("/srv" if os.path.isdir("/srv") else "/")
    return Host(
        pretty_name=pretty_name(),
        apt=shutil.which("apt-get") is not None,
        systemd=version("systemctl", "--version") if os.path.isdir("/run/systemd/system") else (),
        python=tuple(sys.version_info[:2]),
        openssl=OPENSSL_VERSION_INFO[:2],
        nginx=version("/usr/sbin/nginx", "-v"),
        memory_mb=memory.total() // 2**20,
        disk_mb=disk.f_bavail * disk.f_frsize // 2**20,
        inodes=disk.f_favail if disk.f_files else inodes,
        clock_skew=time.time() - now if now else 0.0,
        listeners=listeners((80, 443)) if serves else {},
        foreign_sites=foreign_sites() if serves else (),
        foreign_certbot=foreign_certbot() if acme else "",
    )
