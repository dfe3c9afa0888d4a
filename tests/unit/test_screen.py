"""What a run looks like on a terminal, and where there is none."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path

import pytest

import terminal

ROOT = Path(__file__).parents[2]
APPS = "apps: [{{name: hello, source: ., module: wsgi:app, domains: [hello.example.com], local_build: sleep {seconds}; exit 3}}]\n"


def run(directory: Path, columns: int = 120, seconds: float = 0, **settings: str) -> str:
    """A deploy that fails while it plans, after some seconds."""
    (directory / "group_vars").mkdir()
    (directory / "hosts.yml").write_text("app_servers: {hosts: {web1: {ansible_host: 192.0.2.1}}}\n", encoding="utf-8")
    (directory / "group_vars" / "all.yml").write_text(APPS.format(seconds=seconds), encoding="utf-8")
    (directory / "requirements.txt").write_text("gunicorn\n", encoding="utf-8")
    unset = ("NO_COLOR", "ANSIBLE_NOCOLOR", "ANSIBLE_FORCE_COLOR")
    environment = {name: value for name, value in os.environ.items() if name not in unset}
    environment |= {"ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"), "XDG_CACHE_HOME": str(directory / "cache"), **settings}
    command = [str(Path(sys.executable).parent / "ansible-playbook"), "deploy.yml", "-i", str(directory)]
    code, written = terminal.run(command, ROOT, environment, columns)
    assert code == 2
    lines = terminal.seen(written)
    assert re.fullmatch(r"plan +\d+\.\d s  failed", lines[0])
    assert lines[2].startswith("app 'hello': 'local_build' was run, and it failed with exit code 3; nothing was touched.")
    assert re.fullmatch(r"Ansible's output: \S+/plainstack/logs/\S+\.log", "".join(lines[-2:]))
    return written


def test_on_a_terminal_the_line_is_drawn_again_each_second(tmp_path: Path) -> None:
    written = run(tmp_path, seconds=2.2)
    assert re.findall(r"plan +(\d) s\r", written)[-1] >= "2"
    assert "\x1b[0;31mapp 'hello'" in written.replace("\x1b[0;31m\n", "\n\x1b[0;31m"), "errors are red"
    assert written.endswith(".log\r\n"), "nothing is drawn after the end"


def test_no_color(tmp_path: Path) -> None:
    written = run(tmp_path, NO_COLOR="1")
    assert re.findall(r"\x1b\[[0-9;]*m", written) == []
    assert "\x1b[K" in written


def test_a_terminal_that_cannot_draw_again(tmp_path: Path) -> None:
    assert "\x1b[K" not in run(tmp_path, TERM="dumb")


@pytest.mark.parametrize("columns", [1, 20])
def test_a_narrow_terminal(tmp_path: Path, columns: int) -> None:
    """A line that is drawn again must not wrap."""
    written = run(tmp_path, columns)
    assert max(map(len, re.findall(r"\x1b\[K([^\r\n]*)\r(?!\n)", written))) <= max(columns - 1, 1)
