"""The collection that `ansible-galaxy collection build` makes: clean, and it works where nothing but it is installed."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
BIN = Path(sys.executable).parent
SHIPPED = ["CHANGELOG.md", "LICENSE", "README.md", "docs", "inventories/example", "meta", "playbooks", "plugins", "roles", "tests/sanity"]
# Where a user may put a secret, by hand or as the docs say
PRIVATE = [
    ".env", ".git-credentials", ".vault-password", "vault-password", "hosts.ini", "id_ed25519", "notes.txt", "site.key", "site.pem",
    "app_example/.env", "docs/.env", "docs/hello.key", "files/site.key", "group_vars/all/vault.yml", "host_vars/web1.yml",
    "inventories/certificates/hello.key", "inventories/certificates/hello.pem",
    "inventories/production/hosts.yml", "inventories/production/group_vars/all/apps.yml", "inventories/production/group_vars/all/vault.yml",
    "inventories/production/host_vars/web1.yml", "inventories/production/.vault-password",
    "inventories/example/group_vars/all/vault.yml", "inventories/example/group_vars/app_servers.yml", "inventories/example/host_vars/web1.yml",
    "inventories/demo/group_vars/all/vault.yml", "meta/vault.yml", "molecule/default/vault-password", "molecule/default/site.key",
    "playbooks/.env", "playbooks/files/site.key", "playbooks/group_vars/all/vault.yml", "playbooks/host_vars/web1.yml", "playbooks/vault.yml",
    "plugins/.env", "plugins/filter/site.key", "roles/nginx/.env", "roles/nginx/defaults/vault.yml", "roles/nginx/files/site.key",
    "roles/nginx/files/site.pem", "roles/nginx/templates/site.key", "roles/nginx/vars/vault.yml", "roles/mine/files/id_ed25519",
]  # fmt: skip


def run(*command: str, cwd: Path, **environment: str) -> str:
    """What a command of the virtual environment prints; it must succeed."""
    done = subprocess.run(
        [str(BIN / command[0]), *command[1:]], cwd=cwd, env={**os.environ, **environment}, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def read(tar: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    """The content of a file of the tarball."""
    stream = tar.extractfile(member)
    assert stream is not None
    return stream.read()


@pytest.fixture(scope="module")
def tracked() -> set[str]:
    """The files that the repository has, less what was deleted and not yet committed."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, stdout=subprocess.PIPE, check=True).stdout.decode()
    return {name for name in listed.split("\0") if name and (ROOT / name).is_file()}


@pytest.fixture(scope="module")
def tarball(tracked: set[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What is built in a checkout whose user has a marker in each place for a secret."""
    checkout = tmp_path_factory.mktemp("checkout")
    for name in [*tracked, *PRIVATE]:
        (checkout / name).parent.mkdir(parents=True, exist_ok=True)
    for name in tracked:
        shutil.copy2(ROOT / name, checkout / name)
    for name in PRIVATE:
        (checkout / name).write_text("marker-of-a-secret", encoding="utf-8")
    directory = tmp_path_factory.mktemp("build")
    run("ansible-galaxy", "collection", "build", "--output-path", str(directory), cwd=checkout)
    [path] = directory.glob("plainstack-web-*.tar.gz")
    return path


@pytest.fixture(scope="module")
def installed(tarball: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty directory with nothing but the collection installed into it."""
    directory = tmp_path_factory.mktemp("installed")
    run("ansible-galaxy", "collection", "install", "--offline", "--no-deps", "--collections-path", str(directory), str(tarball), cwd=directory)
    (directory / "ansible.cfg").touch()  # nothing of the checkout's settings
    return directory


def test_tarball_has_what_users_need_and_no_more(tarball: Path, tracked: set[str]) -> None:
    """A new file of a kind that galaxy.yml does not name is missing here: add it there."""
    with tarfile.open(tarball) as tar:
        names = {member.name for member in tar if not member.isdir()}
        assert [member.name for member in tar if member.issym()] == []
        assert [member.name for member in tar if member.isfile() and b"marker-of-a-secret" in read(tar, member)] == []
    wanted = {name for name in tracked if any(f"{name}/".startswith(f"{place}/") for place in SHIPPED)}
    assert names == wanted | {"FILES.json", "MANIFEST.json"}


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
    for role in ("release", "gunicorn", "nginx", "certbot"):
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
