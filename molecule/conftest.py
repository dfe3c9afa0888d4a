"""What the tests of all scenarios share: requests from outside, as a browser would make them, and the lab's VMs."""

from __future__ import annotations

import http.client
import socket
import ssl
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass

import pytest
from testinfra.host import Host

PEBBLE = "https://127.0.0.1:15000"


@dataclass(frozen=True)
class Answer:
    """What came back: status, headers (by lower-case name), body, and the TLS connection it came through."""

    status: int
    headers: dict[str, str]
    body: bytes
    certificate: dict[str, object]


@pytest.fixture(scope="session")
def pebble_root() -> str:
    """Root certificate (PEM) of the lab's ACME server; Pebble makes a new one at each start."""
    with urllib.request.urlopen(f"{PEBBLE}/roots/0", context=ssl._create_unverified_context()) as answer:
        return str(answer.read().decode())


def ports(host: Host) -> dict[int, int]:
    """Ports on 127.0.0.1 that lead to the ports of the VM, by the VM's port."""
    return {int(guest): int(outer) for outer, guest in host.ansible.get_variables()["lab_publish"].items()}


def name_of(host: Host) -> str:
    """The host's name in the inventory."""
    return str(host.ansible.get_variables()["inventory_hostname"])


class _Connection(http.client.HTTPSConnection):
    """HTTPS to a published port, under the name of a site."""

    def __init__(self, name: str, port: int, context: ssl.SSLContext) -> None:
        super().__init__(name, port, timeout=40)
        self.tls = context
        self.certificate: dict[str, object] = {}

    def connect(self) -> None:
        plain = socket.create_connection(("127.0.0.1", self.port), self.timeout)
        wrapped = self.tls.wrap_socket(plain, server_hostname=self.host)
        self.certificate = dict(wrapped.getpeercert() or {})
        self.sock = wrapped


Request = Callable[..., Answer]


@pytest.fixture
def https(host: Host, pebble_root: str) -> Request:
    """A function that makes a request to a site of the host; its certificate must chain up to Pebble's root."""

    def request(name: str, path: str = "/", method: str = "GET", headers: dict[str, str] | None = None, body: bytes | None = None, verify: bool = True) -> Answer:
        context = ssl.create_default_context(cadata=pebble_root)
        if not verify:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        connection = _Connection(name, ports(host)[443], context)
        return _ask(connection, name, path, method, headers, body, lambda: connection.certificate)

    return request


@pytest.fixture
def http_(host: Host) -> Request:
    """The same without TLS."""

    def request(name: str, path: str = "/", method: str = "GET", headers: dict[str, str] | None = None) -> Answer:
        connection = http.client.HTTPConnection("127.0.0.1", ports(host)[80], timeout=40)
        return _ask(connection, name, path, method, headers, None, dict)

    return request


def _ask(
    connection: http.client.HTTPConnection,
    name: str,
    path: str,
    method: str,
    headers: dict[str, str] | None,
    body: bytes | None,
    certificate: Callable[[], dict[str, object]],
) -> Answer:
    try:
        connection.request(method, path, body=body, headers={"Host": name, **(headers or {})})
        answer = connection.getresponse()
        content = answer.read()
        return Answer(answer.status, {key.lower(): value for key, value in answer.getheaders()}, content, certificate())
    finally:
        connection.close()
