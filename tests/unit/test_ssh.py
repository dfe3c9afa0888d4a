"""The public key of another host."""

import base64
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible.errors import AnsibleFilterError
from ansible_collections.plainstack.web.plugins.filter.apps import public_key as public_key_filter
from ansible_collections.plainstack.web.plugins.module_utils.controller.ssh import KeyTextError, public_key
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519, rsa

from tests.unit.test_evaluate import ansible

FORMAT = (serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH)
KEY = ed25519.Ed25519PrivateKey.generate().public_key().public_bytes(*FORMAT).decode()
OTHER = ed25519.Ed25519PrivateKey.generate().public_key().public_bytes(*FORMAT).decode()
RSA = rsa.generate_private_key(65537, 2048).public_key().public_bytes(*FORMAT).decode()
LONGER = f"ssh-ed25519 {base64.b64encode(base64.b64decode(KEY.split()[1]) + b'x').decode()}"


@pytest.mark.parametrize("text", [KEY, f"{KEY} root@host\n", f"\r\n{KEY} a comment of words\r\n"])
def test_one_key(text: str) -> None:
    assert public_key(text) == KEY


@pytest.mark.parametrize(
    "text",
    [
        "",
        f"{KEY}\n{OTHER}\n",
        f"{KEY} x\r{OTHER}",
        f"{KEY} x\u2028{OTHER}",
        f'command="sh" {KEY}',
        f"sudo: unable to resolve host a\n{KEY}",
        RSA,
        KEY.replace("ssh-ed25519 ", "ssh-rsa "),
        LONGER,
        KEY + "=",
        "ssh-ed25519 AAAA",
        "ssh-ed25519 é",
    ],
)
def test_anything_else(text: str) -> None:
    with pytest.raises(KeyTextError):
        public_key(text)


def test_the_error_names_the_host() -> None:
    with pytest.raises(AnsibleFilterError, match=r"id_ed25519.pub of the host 'app2' is refused: it has 2 lines") as caught:
        public_key_filter(f"{KEY}\n{OTHER}", "app2", "/etc/plainstack/certificates/id_ed25519.pub")
    assert OTHER.split()[1] not in str(caught.value)


ROLE = Path(__file__).parents[2] / "roles/certbot"


def written(dest: str) -> str:
    """The content of a file, as the role's tasks have it."""
    for path in sorted(ROLE.glob("tasks/*.yml")):
        for task in yaml.safe_load(path.read_text(encoding="utf-8")):
            for file in task.get("plainstack.web.configuration", {}).get("files", []):
                if isinstance(file, dict) and file["dest"].endswith(dest):
                    return str(file["content"])
    raise AssertionError(dest)


@pytest.mark.parametrize(
    ("dest", "key", "good"),
    [
        ("authorized_keys", f"{KEY} root@app2\n", True),
        ("authorized_keys", f"{KEY} root@app2\n{OTHER}\n", False),
        ("known_hosts", f"{KEY} root@app1\n{OTHER}\n", False),
    ],
    ids=["one key", "two keys", "two host keys"],
)
def test_nothing_but_the_one_key_is_written(tmp_path: Path, dest: str, key: str, good: bool) -> None:
    """Of the servers that fetch certificates, and of the one that they fetch them from."""
    content = written(dest).replace("'var/lib/", f"'{ROLE}/templates/var/lib/")
    variables: dict[str, Any] = yaml.safe_load((ROLE / "vars/main.yml").read_text(encoding="utf-8"))
    variables |= {"certbot_followers": {"app2": key}, "certbot_issuer": {"address": "192.0.2.1", "host_key": key}}
    copy = {"ansible.builtin.copy": {"content": content, "dest": str(tmp_path / "out"), "mode": "0600"}}
    play = [{"hosts": "localhost", "connection": "local", "gather_facts": False, "vars": variables, "tasks": [copy]}]
    (tmp_path / "play.yml").write_text(yaml.safe_dump(play), encoding="utf-8")
    done = ansible(tmp_path, "ansible-playbook", "-i", "localhost,", "play.yml")
    assert (done.returncode == 0) is good, done.stdout
    lines = [line for line in (tmp_path / "out").read_text(encoding="utf-8").splitlines() if "ssh-ed25519" in line] if good else []
    assert [line.endswith(KEY) for line in lines] == [True] * good
    assert good or "is refused: it has 2 lines" in done.stdout
    assert OTHER.split()[1] not in done.stdout
