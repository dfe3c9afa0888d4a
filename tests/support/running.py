"""Runs of the playbooks for one server of a scenario, and what goes on meanwhile."""

from __future__ import annotations

import http.client
import os
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import yaml
from testinfra.host import Host

from support import ROOT, name_of


def site(host: Host, app: str) -> str:
    """The domain of an app."""
    return f"{app}.{name_of(host)}.test"


def live_release(host: Host, app: str) -> str:
    """Id of the release that has the traffic."""
    return str(host.check_output("basename $(readlink /srv/%s/live)", app))


def until(what: str, true: Callable[[], bool], seconds: float = 20) -> None:
    """Wait for something."""
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, what
        time.sleep(0.3)


def alone_inventory(scenario: Path, name: str, directory: Path) -> Path:
    """The inventory of a scenario with one server alone."""
    hosts = yaml.safe_load((scenario / "inventory/hosts.yml").read_text(encoding="utf-8"))
    hosts["app_servers"]["hosts"] = {name: None}
    hosts["lab"]["hosts"] = {name: hosts["lab"]["hosts"][name]}
    hosts.pop("worker_servers", None)
    if "first" in hosts:
        hosts["first"]["hosts"] = {name: None} if name in hosts["first"]["hosts"] else {}
    (directory / "group_vars" / "all").mkdir(parents=True)
    for file in (scenario / "inventory/group_vars/all").iterdir():
        text = file.read_text(encoding="utf-8").replace("../../apps", str(scenario.parent / "apps")).replace("../sources", str(scenario / "sources"))
        (directory / "group_vars" / "all" / file.name).write_text(text, encoding="utf-8")
    (directory / "group_vars" / "lab.yml").write_text((ROOT / "lab/vars.yml").read_text(encoding="utf-8"), encoding="utf-8")
    (directory / "hosts.yml").write_text(yaml.safe_dump(hosts), encoding="utf-8")
    return directory


def deploy(*arguments: str, playbook: str = "deploy.yml") -> subprocess.CompletedProcess[str]:
    """Run deploy.yml or another playbook, for one server of the scenario."""
    command = [str(ROOT / ".venv/bin/ansible-playbook"), playbook, *arguments]
    environment = {**os.environ, "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"), "NO_COLOR": "1"}
    return subprocess.run(command, cwd=ROOT, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)


@contextmanager
def again_and_again(one: Callable[[], str]) -> Iterator[list[tuple[float, str]]]:
    """Do it until it fails, or the block is over: when it was done, and what came back."""
    found: list[tuple[float, str]] = []
    over = threading.Event()

    def repeat() -> None:
        while not over.wait(0.05):
            try:
                found.append((time.monotonic(), one()))
            except (OSError, http.client.HTTPException) as error:
                found.append((time.monotonic(), f"failed: {error}"))
                break

    thread = threading.Thread(target=repeat)
    thread.start()
    try:
        yield found
    finally:
        over.set()
        thread.join()
