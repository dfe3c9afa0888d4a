"""The command with which the role python installs uv, in a directory of its own and with a Python and a pip that only pretend."""

from __future__ import annotations

import fcntl
import subprocess
from pathlib import Path

import jinja2
import pytest
import yaml
from ansible_collections.plainstack.web.plugins.module_utils.layout import LOCKS

ROLE = Path(__file__).parents[2] / "roles/python"
PYTHON = """#!/bin/sh
echo installed >> {directory}/said
sleep 0.5
while [ "$1" != --target ]; do shift; done
mkdir -p "$2/bin"
printf '#!/bin/sh\\necho "uv {version} (x)"\\n' > "$2/bin/uv"
chmod 755 "$2/bin/uv"
"""


@pytest.fixture
def command(tmp_path: Path) -> list[str]:
    given = yaml.safe_load((ROLE / "vars/main.yml").read_text(encoding="utf-8"))
    assert given["__python_locks"] == LOCKS
    tasks = yaml.safe_load((ROLE / "tasks/install.yml").read_text(encoding="utf-8"))
    [text] = [task["ansible.builtin.shell"]["cmd"] for task in tasks if "ansible.builtin.shell" in task]
    (tmp_path / "python3").write_text(PYTHON.format(directory=tmp_path, version=given["__python_uv_version"]))
    (tmp_path / "python3").chmod(0o755)
    given |= {"__python_locks": tmp_path / "locks", "__python_uv": tmp_path / "uv"}
    text = jinja2.Environment(autoescape=False).from_string(text).render(given)
    assert "/usr/bin/python3" in text
    return ["sh", "-c", text.replace("/usr/bin/python3", str(tmp_path / "python3")).replace("--timeout 300", "--timeout 5")]


def test_two_runs_install_it_once(command: list[str], tmp_path: Path) -> None:
    """The second one would remove what the first one builds with."""
    runs = [subprocess.Popen(command) for _ in range(2)]
    assert [run.wait() for run in runs] == [0, 0]
    assert (tmp_path / "said").read_text().splitlines() == ["installed"]
    assert subprocess.run(command, check=False).returncode == 0
    assert (tmp_path / "said").read_text().splitlines() == ["installed"]
    assert (tmp_path / "locks").stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("there", ["echo uv 0.1.2", "exit 1"])
def test_another_version_is_replaced(command: list[str], tmp_path: Path, there: str) -> None:
    (tmp_path / "uv/bin").mkdir(parents=True)
    (tmp_path / "uv/bin/uv").write_text(f"#!/bin/sh\n{there}\n")
    (tmp_path / "uv/bin/uv").chmod(0o755)
    assert subprocess.run(command, check=False).returncode == 0
    assert (tmp_path / "said").read_text().splitlines() == ["installed"]


def test_it_is_not_waited_for_without_end(command: list[str], tmp_path: Path) -> None:
    (tmp_path / "locks").mkdir()
    with (tmp_path / "locks/.uv").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        command[2] = command[2].replace("--timeout 5", "--timeout 0.1")
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (1, "another run installs uv on this host; waited for 300 s\n")
