"""The collection that `ansible-galaxy collection build` makes: clean, and it works where nothing but it is installed."""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
BIN = Path(sys.executable).parent
SHIPPED = {
    "CHANGELOG.md", "FILES.json", "LICENSE", "MANIFEST.json", "README.md", "docs", "inventories", "meta", "playbooks", "plugins", "roles",
}  # fmt: skip


def run(*command: str, cwd: Path, **environment: str) -> str:
    """What a command of the virtual environment prints; it must succeed."""
    done = subprocess.run(
        [str(BIN / command[0]), *command[1:]], cwd=cwd, env={**os.environ, **environment}, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def tarball(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("build")
    run("ansible-galaxy", "collection", "build", "--output-path", str(directory), cwd=ROOT)
    [path] = directory.glob("plainstack-web-*.tar.gz")
    return path


@pytest.fixture(scope="module")
def installed(tarball: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty directory with nothing but the collection installed into it."""
    directory = tmp_path_factory.mktemp("installed")
    run("ansible-galaxy", "collection", "install", "--offline", "--no-deps", "--collections-path", str(directory), str(tarball), cwd=directory)
    (directory / "ansible.cfg").touch()  # nothing of the checkout's settings
    return directory


def test_tarball_has_what_users_need_and_no_more(tarball: Path) -> None:
    with tarfile.open(tarball) as tar:
        names = tar.getnames()
        assert {name.split("/")[0] for name in names} == SHIPPED
        assert [name for name in names if "__pycache__" in name or name.endswith((".pyc", ".orig"))] == []
        assert "inventories/demo" not in names
        assert [member.name for member in tar.getmembers() if member.issym() and member.linkname.startswith(("/", "../.."))] == []


def test_installed_playbook_is_found_with_all_its_roles(installed: Path) -> None:
    (installed / "hosts.yml").write_text("app_servers: {hosts: {web1: }}\n", encoding="utf-8")
    said = run(
        "ansible-playbook", "plainstack.web.deploy", "-i", "hosts.yml", "--syntax-check",
        cwd=installed, ANSIBLE_COLLECTIONS_PATH=str(installed), ANSIBLE_CONFIG=str(installed / "ansible.cfg"),
    )  # fmt: skip
    assert f"playbook: {installed}/ansible_collections/plainstack/web/playbooks/deploy.yml" in said


def test_installed_tasks_are_all_there(installed: Path) -> None:
    (installed / "hosts.yml").write_text("app_servers: {hosts: {web1: }}\n", encoding="utf-8")
    said = run(
        "ansible-playbook", "plainstack.web.deploy", "-i", "hosts.yml", "--list-tasks",
        cwd=installed, ANSIBLE_COLLECTIONS_PATH=str(installed), ANSIBLE_CONFIG=str(installed / "ansible.cfg"),
    )  # fmt: skip
    for role in ("python", "nginx", "certbot"):
        assert f"plainstack.web.{role} : " in said


@pytest.mark.parametrize("role", ["python", "release", "gunicorn", "nginx", "certbot"])
def test_roles_are_documented(installed: Path, role: str) -> None:
    said = run(
        "ansible-doc",
        "-t",
        "role",
        f"plainstack.web.{role}",
        cwd=installed,
        ANSIBLE_COLLECTIONS_PATH=str(installed),
        ANSIBLE_CONFIG=str(installed / "ansible.cfg"),
    )
    assert f"> ROLE: plainstack.web.{role}" in said or f"> ROLE: *plainstack.web.{role}*" in said
    assert f"{role}_" in said
