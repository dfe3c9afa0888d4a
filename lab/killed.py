#!/usr/bin/env python3
"""Clean up after a container that was killed together with its podman: `lab/killed.py NAME PORT ...`.

Nobody is left then to note that it has ended, and to take its port forwardings (iptables) and its names (aardvark-dns) back. podman
believes that it runs; the next one on such a port gets a forwarding of its own after the old one, which leads into nowhere, and its
names lead to both addresses. It is removed; one that runs, or was stopped, stays.
What it does is printed; without a word there was nothing to do.
"""

from __future__ import annotations

import fcntl
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Collection
from pathlib import Path

NETWORK = "10.213."  # lab/create.yml
NAMES, LOCK = Path("/run/containers/networks/aardvark-dns/plainstack"), Path("/run/containers/networks/aardvark.lock")
FORWARDING = re.compile(r"-A NETAVARK-DN-\S+ .*--dport (?P<port>\d+) .*--to-destination (?P<address>[\d.]+):\d+$")


def left_behind(rules: str, ports: Collection[int]) -> list[list[str]]:
    """Return the arguments of `iptables -t nat` that remove what leads from the ports into the lab's network.

    `rules` is what `iptables -t nat -S` prints, such as "-A NETAVARK-DN-57F7DF2DD3177 -d 127.0.0.1/32 -p tcp -m tcp
    --dport 2201 -j DNAT --to-destination 10.213.0.2:22".
    """
    found = [(line, FORWARDING.match(line)) for line in rules.splitlines()]
    return [["-D", *shlex.split(line)[1:]] for line, match in found if match and int(match["port"]) in ports and match["address"].startswith(NETWORK)]


def without(names: str, container: str) -> str:
    """Return aardvark's list of a network without the lines of a container.

    A line is an id, the IPv4 and the IPv6 address, and the names, of which the first is the container's own; above them stands the gateway.
    """
    lines = names.splitlines(keepends=True)
    return "".join(line for line in lines if line.split(" ")[-1].strip().split(",")[0] != container)


def main(name: str, ports: Collection[int]) -> None:
    """Clean up after one container."""
    asked = ["podman", "inspect", "--type=container", "--format={{.State.Status}} {{.State.Pid}}", name]
    status, _space, process = subprocess.run(asked, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, check=False).stdout.partition(" ")
    if status == "running" and Path("/proc", process.strip()).exists():
        return
    if status in ("running", "stopping"):
        subprocess.run(["podman", "rm", "--force", "--time=0", name], check=True, stdout=subprocess.DEVNULL)
        print(f"removed {name}, which had been killed")
    if NAMES.exists():
        with LOCK.open("a") as lock:  # netavark's
            fcntl.flock(lock, fcntl.LOCK_EX)
            text = NAMES.read_text(encoding="utf-8")
            if without(text, name) != text:
                NAMES.write_text(without(text, name), encoding="utf-8")
                print(f"forgot the address of {name}")
    if shutil.which("iptables"):
        rules = subprocess.run(["iptables", "-t", "nat", "-S"], check=True, stdout=subprocess.PIPE, text=True).stdout
        for arguments in left_behind(rules, ports):
            subprocess.run(["iptables", "-t", "nat", *arguments], check=True)
            print(shlex.join(arguments))


if __name__ == "__main__":
    main(sys.argv[1], [int(port) for port in sys.argv[2:]])
