"""The daily commands up to the first server: what is refused, what is not, and what is said of a server that cannot be looked at."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
APPS = "apps: [{name: hello, source: nowhere, module: wsgi:app, domains: [hello.example.com], secrets: {TOKEN: swordfish}}]\n"
TWO = APPS.replace("]\n", ", {name: other, source: nowhere, module: wsgi:app, domains: [other.example.com]}]\n")


def run(directory: Path, command: str, *options: str, variables: str = APPS) -> subprocess.CompletedProcess[str]:
    """A command for two servers on which nothing listens."""
    (directory / "group_vars").mkdir(parents=True, exist_ok=True)
    closed = "{ansible_host: 127.0.0.1, ansible_port: 1}"
    (directory / "hosts.yml").write_text(f"app_servers: {{hosts: {{web1: {closed}, web2: {closed}}}}}\n", encoding="utf-8")
    (directory / "group_vars" / "all.yml").write_text(variables, encoding="utf-8")
    environment = {**os.environ, "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"), "NO_COLOR": "1"}
    words = [str(Path(sys.executable).parent / "ansible-playbook"), f"plainstack.web.{command}", "-i", str(directory), *options]
    done = subprocess.run(words, cwd=ROOT, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    assert "swordfish" not in done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    return done


def test_status_of_servers_that_cannot_be_reached(tmp_path: Path) -> None:
    """Nor does it ask for a confirmation, and nothing has to be there that is deployed."""
    done = run(tmp_path, "status", "-e", "format=json", variables=f"confirm_inventory: production\n{APPS}")
    assert done.returncode == 0, done.stdout
    [line] = [line for line in done.stdout.splitlines() if line.startswith("{")]
    found = json.loads(line)
    assert (found["healthy"], [*found["servers"]]) == (False, ["web1", "web2"])
    assert found["servers"]["web1"]["error"].startswith("cannot be reached: ")
    assert "refused" in found["servers"]["web1"]["error"]


@pytest.mark.parametrize("command", ["releases", "logs"])
def test_nothing_can_be_reached(tmp_path: Path, command: str) -> None:
    done = run(tmp_path, command)
    assert done.returncode == 0
    assert "\nweb2: cannot be reached: " in done.stdout


def test_no_server_for_a_command(tmp_path: Path) -> None:
    done = run(tmp_path, "run", "-e", "command=id")
    assert done.returncode == 2
    assert "cannot be run on any server; nothing was run." in " ".join(done.stdout.split())


@pytest.mark.parametrize(
    ("command", "options", "variables", "said"),
    [
        ("run", ("-e", "command=id"), TWO, "Which app? There are hello, other; nothing was touched."),
        ("run", ("-e", "command=id"), f"confirm_inventory: production\n{APPS}", "Next: the same command, and production as the answer"),
        ("status", ("-e", "app=helo"), APPS, "helo"),
        ("logs", ("--tags", "x"), APPS, "there are no tags"),
        ("releases", ("--limit", "web1"), APPS, "There is no plan: this command is for all servers of an inventory"),
        ("status", (), APPS.replace("module", "modul"), "unknown key 'modul'; did you mean 'module'?"),
    ],
)
def test_what_is_refused(tmp_path: Path, command: str, options: tuple[str, ...], variables: str, said: str) -> None:
    done = run(tmp_path, command, *options, variables=variables)
    assert done.returncode == 2
    assert said in " ".join((done.stdout + done.stderr).split())
