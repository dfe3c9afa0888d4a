"""What a person reads while a release goes live, and where the rest is."""

from __future__ import annotations

import os
import re
import shlex
import stat
import subprocess
from pathlib import Path

import pytest

import terminal
from support import ROOT, Run, Site, check_message
from vm import Serving, Tidy, Vm

PHASE = re.compile(r"([a-z]+(?:, [a-z]+)*) +(\d+\.\d) s(?:  (.*))?")
MOST = 13  # lines of an ordinary release on one server


def shown(text: str) -> list[str]:
    """Its lines, without those of phases that did nothing and took long, as on a machine that is busy."""
    return [line for line in text.splitlines() if line and not line.endswith("  nothing to do")]


def phases(lines: list[str]) -> dict[str, str]:
    """Of each phase what came of it."""
    return {found[1]: found[3] or "" for line in lines if (found := PHASE.fullmatch(line))}


def log(run: Run) -> str:
    """Ansible's own output, which only its user may read."""
    [name] = re.findall(r"^Ansible's output: (\S+)$", run.output, re.MULTILINE)
    path = Path(name).expanduser()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    return path.read_text(encoding="utf-8")


@pytest.mark.parametrize("debian", [12, 13])
def test_a_release(vm: Vm, site: Site, serving: Serving, tidy: Tidy) -> None:
    before = vm.live()
    site.edit("hello/templates/index.html", "<h1", '<h1 data-shown="1"')
    run = site.deploy()
    lines = shown(run.output)
    assert (run.code, len(lines) <= MOST) == (0, True)
    assert phases(lines) == {"plan": "", **dict.fromkeys(("inspect", "stage", "start", "switch, confirm, retire"), vm.name)}
    assert re.search(rf"^{vm.name}  hello  {before}  {vm.live()}  +\d\.\d s +\d\.\d s +live$", run.output, re.MULTILINE)
    assert any(re.fullmatch(r"hello: https://hello\.test/, not from git, certificate until \d{4}-\d\d-\d\d \d\d:\d\d UTC", line) for line in lines)
    assert re.match(r"\d tasks changed something, in \d+\.\d s: ok=\d+ changed=\d unreachable=0 failed=0 ", lines[-2])
    assert [text in log(run) for text in ("TASK [plainstack.web.release : Build each release]", f"changed: [{vm.name}]", "PLAY RECAP")] == [True] * 3

    again = site.deploy()
    assert again.changed == 0
    assert "\nNothing changed, in " in again.output
    assert [*phases(shown(again.output))] == ["plan", "inspect"]

    [back] = re.findall(r"^To go back: (.*)$", run.output, re.MULTILINE)
    program, *options = shlex.split(back)
    environment = {**os.environ, **site.environment, "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg")}
    subprocess.run([str(ROOT / ".venv/bin" / program), *options], cwd=ROOT, env=environment, stdin=subprocess.DEVNULL, check=True)
    assert (vm.live(), serving()) == (before, before)
    tidy()


def test_on_a_terminal_the_line_of_a_phase_is_drawn_again(vm: Vm, site: Site, tidy: Tidy) -> None:
    site.deploy()  # writes the inventory
    site.edit("hello/templates/index.html", "<h1", '<h1 data-shown="2"')
    environment = {**os.environ, **site.environment, "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"), "NO_COLOR": "1"}
    command = [str(ROOT / ".venv/bin/ansible-playbook"), "deploy.yml", "-i", str(site.directory)]
    code, written = terminal.run(command, ROOT, environment)
    lines = shown("\n".join(terminal.seen(written)))
    assert (code, len(lines) <= MOST) == (0, True), written
    assert [*phases(lines)] == ["plan", "inspect", "stage", "start", "switch, confirm, retire"]
    assert re.search(rf"\x1b\[Kswitch +[1-9] s  {vm.name}\r", written), "confirm_seconds is 2"
    assert lines[-1].startswith("Ansible's output: ")
    assert written.endswith("\r\n")
    tidy()


def test_of_a_broken_release_the_cause_and_the_log(site: Site, tidy: Tidy) -> None:
    site.edit("wsgi.py", "from hello", 'raise RuntimeError("broken here")\nfrom hello')
    run = site.deploy()
    check_message(run, "did not become healthy", "broken here", "Next: ", "The rollout is undone.", "Failed, in ")
    assert phases(run.output.splitlines())["start"].startswith("failed on ")
    assert [run.output.count(word) for word in ("did not become healthy", "broken here", "fatal", "TASK", "Origin")] == [1, 1, 0, 0, 0]
    assert [word in log(run) for word in ("fatal: [", "broken here", "TASK [Find the cause]")] == [True] * 3
    tidy()
