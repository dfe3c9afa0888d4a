"""A VM of the lab from outside, as its hypervisor sees it: look into it without SSH, pull its plug, put a fresh one in its place."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from clients import Load
from support import ROOT, Answer

# The scenarios `faults` and `interrupted` have the same tests and VMs of their own
INVENTORY = Path(os.environ.get("MOLECULE_SCENARIO_DIRECTORY", str(ROOT / "molecule" / "faults"))) / "inventory"

LOOK = ROOT / "tests" / "support" / "look.py"

# The fixtures of the scenario `faults` that are functions
Get = Callable[..., Answer]
Mend = Callable[[], None]
Served = Callable[..., AbstractContextManager[Load]]
Serving = Callable[[], str]

IN_FLIGHT = 4  # clients of the light load: so many requests can be in a process that is killed


@dataclass(frozen=True)
class State:
    """An app on a VM: `live` and `socket` are the ids that the two links lead to, `releases` what release.json says by id (None
    where there is none), `units` the state of each service, socket and target, `beside` the ids of those with processes that work, `lock` the
    lock's text, `log` the history's lines."""

    live: str
    socket: str
    releases: dict[str, dict[str, Any] | None]
    settings: list[str]
    unit_files: list[str]
    units: dict[str, str]
    beside: list[str]
    enabled: list[str]
    lock: str
    litter: list[str]
    log: list[dict[str, Any]]

    def untidy(self) -> dict[str, Any]:
        """What does not belong there when no run is going on, by what is wrong; empty when one release runs and the rest is whole."""
        ids = sorted(self.releases)
        running = {f"{self.live}.service": "active", f"{self.live}.socket": "active"}
        told = self.releases.get(self.live) or {}
        with_processes = {f"{one}.target" for one in ids} & {*self.unit_files}
        if f"{self.live}.target" in with_processes:
            running[f"{self.live}.target"] = "active"
        wrong = {
            "links disagree": self.socket if self.socket != self.live else "",
            "half-built": [name for name, story in self.releases.items() if story is None],
            "settings without a release, or the other way round": sorted({*self.settings} ^ {*ids}),
            "units without a release, or the other way round": sorted(
                {*self.unit_files} - with_processes ^ {f"{one}.{kind}" for one in ids for kind in ("service", "socket")}
            ),
            "not just the live one's processes work": self.beside if self.beside != [self.live] * (len(running) == 3) else [],
            "not just the live one runs": self.units if self.units != running else {},
            "not just the live one starts on boot": self.enabled if self.enabled != sorted(running) else [],
            "locked": self.lock,
            "litter": self.litter,
            "the live one is not confirmed": told if told.get("pending") or told.get("verdict") != "good" or not told.get("sequence") else {},
        }
        return {what: found for what, found in wrong.items() if found}


@dataclass
class Vm:
    """The VM of a host of the inventory. `control` is where SSH keeps its connections to this incarnation of it."""

    name: str
    ssh_port: int
    http_port: int
    https_port: int
    control: str = ""
    owner: str = field(default="", compare=False)

    def podman(self, *arguments: str, data: str = "") -> subprocess.CompletedProcess[str]:
        """Run podman as root, with this VM's name in place of `{}`."""
        command = [*(["sudo"] if os.geteuid() else []), "env", f"CONTAINERS_CONF={ROOT / 'lab/containers.conf'}", "podman"]
        words = [word.replace("{}", f"lab-{self.name}") for word in arguments]
        return subprocess.run([*command, *words], input=data, capture_output=True, text=True, check=False)

    def run(self, script: str, data: str = "") -> subprocess.CompletedProcess[str]:
        """Run a Bash script as root in the VM, without SSH."""
        return self.podman("exec", "--interactive", "{}", "bash", "-c", script, data=data)

    def do(self, script: str, data: str = "") -> str:
        """What a script prints that must succeed."""
        done = self.run(script, data)
        assert done.returncode == 0, f"{script}: {done.returncode}\n{done.stdout}{done.stderr}"
        return done.stdout.strip()

    def until(self, what: str, script: str, seconds: float = 60) -> None:
        """Wait until a Bash script succeeds in the VM."""
        loop = f"end=$((SECONDS + {seconds:.0f})); until {{ {script}; }} >/dev/null 2>&1; do [ $SECONDS -lt $end ] || exit 1; sleep 0.1; done"
        done = self.run(loop)
        assert done.returncode == 0, f"{what}: not within {seconds:.0f} s: {script}"

    def look(self, app: str = "hello") -> State:
        """The state of an app."""
        return State(**json.loads(self.do(f"python3 - {app}", LOOK.read_text(encoding="utf-8"))))

    def live(self) -> str:
        """Id of the live release of `hello`."""
        # On a machine that is very busy `podman exec` now and then hands on nothing of what a command has printed
        found = next(filter(None, (self.do("basename $(readlink /srv/hello/live)") for _try in range(5))), "")
        assert found, "podman exec printed nothing, five times"
        return found

    def cut_ssh(self) -> None:
        """End every SSH session, as a broken line does; what was started through them goes on."""
        self.do("pkill -KILL -f '^sshd(-session)?: admin' || :")

    def pull_the_plug(self) -> None:
        """End everything in it at once, and start it again at once, as a power cut does."""
        for words in (["kill", "{}"], ["wait", "{}"], ["start", "{}"]):
            done = self.podman(*words)
            assert done.returncode == 0, done.stderr

    def booted(self) -> None:
        """Wait until systemd has started everything."""
        self.until(f"{self.name} has booted", "case $(systemctl is-system-running) in running|degraded) ;; *) false ;; esac", 120)

    def anew(self) -> None:
        """A fresh VM from the snapshot, in place of this one."""
        self.podman("rm", "--force", "--ignore", "--volumes", "--time=0", "{}")
        self.control = tempfile.mkdtemp(prefix="faults-", dir="/tmp")  # no connection to the one before is taken up again
        command = [str(ROOT / ".venv/bin/ansible-playbook"), "lab/create.yml", "-i", str(INVENTORY), "--limit", self.name]
        done = subprocess.run(command, cwd=ROOT, env=environment(self.control), stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr


def environment(control: str) -> dict[str, str]:
    """Environment of ansible-playbook, with SSH's connections kept in a directory of their own."""
    return {**os.environ, "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"), "NO_COLOR": "1", "ANSIBLE_SSH_CONTROL_PATH_DIR": control}


def wait(what: str, found: Callable[[], bool], seconds: float = 30, pause: float = 0.1) -> None:
    """Wait until something is so."""
    end = time.monotonic() + seconds
    while not found():
        assert time.monotonic() < end, f"{what}: not within {seconds:.0f} s"
        time.sleep(pause)


Tidy = Callable[..., State]


def of_inventory(hosts: dict[str, Any], name: str) -> Vm:
    """A server of a scenario's hosts.yml, by the ports that it publishes."""
    host = hosts["lab"]["hosts"][name]
    ports = {guest: outer for outer, guest in host["lab_publish"].items()}
    return Vm(name, host["ansible_port"], ports[80], ports[443])
