#!/usr/bin/env python3
"""A VM with a kernel of its own, for what no container shows: cgroup v2, memory limits that hold, a real reboot.

    lab/kernel.py build      make the disk of Debian 13 where it is missing or out of date; about two minutes

`boot` starts it in QEMU, with KVM where that works on this machine and emulated otherwise. Nothing that the VM writes stays on the disk.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from image import HOST_CAS, as_root, bootstrap, digest, virtual_machine

STATE = Path.home() / ".cache" / "plainstack-lab"
KEY = STATE / "id_ed25519"
SIZE = "4G"
FIRST_WORD = 20  # seconds until the console shows something with KVM, which inside of a VM may be there and not work
SECONDS = 600  # until SSH must answer; emulated it takes about one minute
NETWORK = "[Match]\nName=en*\n[Network]\nDHCP=yes\n"


def directory() -> Path:
    """Where disk, kernel and initial RAM disk are, made where they are missing; older ones are removed.

    :raises subprocess.CalledProcessError: with what could not be done.
    """
    STATE.mkdir(mode=0o700, parents=True, exist_ok=True)
    if not KEY.exists():
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "plainstack-lab", "-f", str(KEY)], check=True)
    bare = virtual_machine("trixie", ("linux-image-cloud-amd64", "initramfs-tools"))
    own = """
        systemctl enable --quiet systemd-networkd.service
        echo nameserver 10.0.2.3 > /etc/resolv.conf
        echo kernel > /etc/hostname
        install -m 0600 -o admin -g admin /etc/authorized_key /home/admin/.ssh/authorized_keys
    """
    files = (*bare.files, ("/etc/systemd/network/80-dhcp.network", NETWORK), ("/etc/authorized_key", KEY.with_suffix(".pub").read_text(encoding="utf-8")))
    recipe = replace(bare, files=files, script=bare.script + own)
    certificates = sorted(HOST_CAS.glob("*.crt"))
    target = STATE / f"kernel-{digest(recipe, certificates)}"
    if not target.exists():
        for old in STATE.glob("kernel-*"):
            shutil.rmtree(old)
        print("Building a disk of Debian 13 with its kernel (about two minutes)", flush=True)
        with tempfile.TemporaryDirectory(dir="/var/tmp") as work:
            root, made = Path(work, "root"), Path(work, "made")
            made.mkdir()
            bootstrap(recipe, certificates, root)
            for name in ("vmlinuz", "initrd.img"):
                [found] = root.glob(f"boot/{name}-*")
                subprocess.run(as_root("install", "-m", "0644", str(found), str(made / name)), check=True)
            subprocess.run(as_root("mke2fs", "-q", "-t", "ext4", "-d", str(root), str(made / "disk"), SIZE), check=True)
            subprocess.run(as_root("chmod", "0644", str(made / "disk")), check=True)
            subprocess.run(as_root("rm", "-rf", str(root)), check=True)
            shutil.move(made, target)
    return target


def _answers(port: int) -> bool:
    """Whether an SSH server says its name."""
    try:
        with socket.create_connection(("127.0.0.1", port), 5) as connection:
            connection.settimeout(5)
            return connection.recv(4).startswith(b"SSH-")
    except OSError:
        return False


def _spoke(log: Path) -> bool:
    """Whether the console has shown anything."""
    return log.exists() and log.stat().st_size > 0


def _start(kvm: bool, forwards: str, log: Path) -> subprocess.Popen[bytes]:
    disk = directory()
    command = [
        "qemu-system-x86_64",
        *("-machine", "q35", "-accel", "kvm" if kvm else "tcg,thread=multi", "-cpu", "host" if kvm else "max", "-smp", "2", "-m", "2048"),
        *("-kernel", str(disk / "vmlinuz"), "-initrd", str(disk / "initrd.img"), "-append", "root=/dev/vda rw console=ttyS0"),
        *("-drive", f"file={disk / 'disk'},format=raw,if=virtio,snapshot=on", "-device", "virtio-rng-pci"),
        *("-netdev", f"user,id=net{forwards}", "-device", "virtio-net-pci,netdev=net"),
        *("-display", "none", "-monitor", "none", "-serial", f"file:{log}"),
    ]
    return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


@contextmanager
def boot(ports: Mapping[int, int], log: Path) -> Iterator[None]:
    """Run the VM until the block ends.

    :param ports: of 127.0.0.1, each with the VM's own that it leads to; one of them leads to 22.
    :param log: file that gets what the VM's console shows.
    :raises RuntimeError: when SSH does not answer, with the end of that.
    """
    forwards = "".join(f",hostfwd=tcp:127.0.0.1:{outer}-:{inner}" for outer, inner in ports.items())
    machine = _start(True, forwards, log) if os.access("/dev/kvm", os.R_OK | os.W_OK) else None
    if machine:
        deadline = time.monotonic() + FIRST_WORD
        while machine.poll() is None and not _spoke(log) and time.monotonic() < deadline:
            time.sleep(1)
        if not _spoke(log):
            machine.terminate()
            machine.wait()
            machine = None
    machine = machine or _start(False, forwards, log)
    [ssh] = [outer for outer, inner in ports.items() if inner == 22]
    with machine:
        try:
            deadline = time.monotonic() + SECONDS
            while not _answers(ssh):
                if machine.poll() is not None or time.monotonic() > deadline:
                    shown = "\n".join(log.read_text(encoding="utf-8", errors="replace").splitlines()[-30:]) if log.exists() else ""
                    raise RuntimeError(f"{shown}\nThe VM's SSH did not answer within {SECONDS} s, or QEMU has ended ({machine.poll()}).")
                time.sleep(1)
            yield
        finally:
            machine.terminate()


if __name__ == "__main__":
    if sys.argv[1:] != ["build"]:
        sys.exit(__doc__)
    print(directory())
