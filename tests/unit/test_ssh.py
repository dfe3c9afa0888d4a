"""The public key of another host."""

import base64

import pytest
from ansible.errors import AnsibleFilterError
from ansible_collections.plainstack.web.plugins.filter.apps import public_key as public_key_filter
from ansible_collections.plainstack.web.plugins.module_utils.controller.ssh import KeyTextError, public_key
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519, rsa

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
