"""The VMs of the benchmarks: create, log in, run a playbook or a script, remove."""

from __future__ import annotations

import http.client
import os
import shlex
import socket
import ssl
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
INVENTORY = ROOT / "bench" / "inventory"
STATE = Path.home() / ".cache" / "plainstack-lab"
SHOWN = 40  # lines of what failed
UNVERIFIED = ssl._create_unverified_context()  # the placeholder is self-signed; what is measured here is not trust


class BenchError(Exception):
    """A measurement could not be made; the message says what failed and how it ended."""


@dataclass(frozen=True)
class VM:
    """A host of bench/inventory: its name, the ports on 127.0.0.1 that lead to its SSH and HTTPS, and its site's name."""

    name: str
    ssh_port: int
    https_port: int
    domain: str


FLOOR = VM("bench-floor", 2291, 8491, "floor.test")
STACK = VM("bench", 2292, 8492, "bench.test")
TUTORIAL = VM("bench-tutorial", 2293, 8494, "tutorial.test")
PLAIN_PORT = 8493  # leads to port 8000 of FLOOR


def command(arguments: list[str], data: bytes | None = None, environment: dict[str, str] | None = None, limit: float = 600) -> str:
    """Run a command and return what it prints.

    :param limit: seconds after which it is ended.
    :raises BenchError: with the end of its output when it fails.
    """
    try:
        done = subprocess.run(
            arguments,
            cwd=ROOT,
            env={**os.environ, **(environment or {})},
            input=data or b"",
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=limit,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise BenchError(f"{shlex.join(arguments[:3])[:200]} ... did not end within {limit:.0f} s") from error
    output = done.stdout.decode(errors="replace")
    if done.returncode:
        tail = "\n".join(output.splitlines()[-SHOWN:])
        raise BenchError(f"{tail}\n{shlex.join(arguments)[:200]} ... failed ({done.returncode})")
    return output


def ssh(vm: VM) -> list[str]:
    """The command that logs in to a VM, without what it is to run there."""
    options = ["IdentitiesOnly=yes", "StrictHostKeyChecking=no", "UserKnownHostsFile=/dev/null", "LogLevel=ERROR"]
    return ["ssh", "-i", f"{STATE}/id_ed25519", *(f"-o{option}" for option in options), "-p", str(vm.ssh_port), "admin@127.0.0.1"]


def script(vm: VM, text: str, data: bytes | None = None) -> str:
    """Run a Bash script as root on a VM, over one SSH session, with `data` on its standard input."""
    return command([*ssh(vm), f"sudo bash -euo pipefail -c {shlex.quote(text)}"], data)


def playbook(path: str, *arguments: str) -> str:
    """Run a playbook over connections of its own, so that no run finds one open that another has left."""
    with tempfile.TemporaryDirectory(prefix="bench-", dir="/tmp") as control:
        environment = {"ANSIBLE_SSH_CONTROL_PATH_DIR": control, "ANSIBLE_NOCOLOR": "1", "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg")}
        try:
            return command([str(ROOT / ".venv" / "bin" / "ansible-playbook"), path, "-i", str(INVENTORY), *arguments], environment=environment)
        finally:
            time.sleep(1)  # the run's lock on the app is given back over the same connections
            for master in Path(control).iterdir():
                subprocess.run(["ssh", "-O", "exit", "-o", f"ControlPath={master}", "vm"], capture_output=True, check=False)


def destroy() -> None:
    """Remove the VMs of bench/inventory, and no others."""
    playbook("lab/destroy.yml")


def create() -> None:
    """Boot the VMs anew: nothing of an earlier run is left in them."""
    destroy()
    playbook("lab/create.yml")


def answer(vm: VM, path: str, timeout: float = 5) -> tuple[int, bytes]:
    """Status and body of a request over HTTPS, status 0 when there is no answer."""
    connection = http.client.HTTPSConnection("127.0.0.1", vm.https_port, timeout=timeout, context=UNVERIFIED)
    try:
        # By hand, because the name in TLS must be the site's, which does not resolve here
        connection.sock = UNVERIFIED.wrap_socket(socket.create_connection(("127.0.0.1", vm.https_port), timeout), server_hostname=vm.domain)
        connection.request("GET", path, headers={"Host": vm.domain})
        response = connection.getresponse()
        return response.status, response.read()
    except (OSError, http.client.HTTPException):
        return 0, b""
    finally:
        connection.close()


@dataclass
class Watch:
    """Seconds until the first answer over HTTPS with status 200 and until the whole was done."""

    first: float = 0
    end: float = 0


@contextmanager
def watched(vm: VM) -> Iterator[Watch]:
    """Time what is done inside, and ask every 50 ms whether the app answers over HTTPS."""
    watch, over, began = Watch(), threading.Event(), time.monotonic()

    def ask() -> None:
        while not over.wait(0.05):
            if answer(vm, "/healthz")[0] == 200:
                watch.first = time.monotonic() - began
                return

    thread = threading.Thread(target=ask)
    thread.start()
    try:
        yield watch
        watch.end = time.monotonic() - began
    finally:
        if watch.end:
            thread.join(timeout=5)
        over.set()
        thread.join()
    if not watch.first:
        raise BenchError(f"{vm.name} was set up without an error, and the app does not answer over HTTPS")
