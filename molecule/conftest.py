"""Fixtures of all scenarios."""

from __future__ import annotations

import http.client
import ssl
import urllib.request

import pytest
from testinfra.host import Host

from support import PEBBLE, Answer, Connection, Request, ask, ports


@pytest.fixture(scope="session")
def pebble_root() -> str:
    """Root certificate (PEM) of the lab's ACME server; Pebble makes a new one at each start."""
    with urllib.request.urlopen(f"{PEBBLE}/roots/0", context=ssl._create_unverified_context()) as answer:
        return str(answer.read().decode())


@pytest.fixture
def https(host: Host, pebble_root: str) -> Request:
    """A function that makes a request to a site of the host; its certificate must chain up to Pebble's root."""

    def request(
        name: str, path: str = "/", method: str = "GET", headers: dict[str, str] | None = None, body: bytes | None = None, verify: bool = True
    ) -> Answer:
        context = ssl.create_default_context(cadata=pebble_root)
        if not verify:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        connection = Connection(name, ports(host)[443], context)
        return ask(connection, name, path, method, headers, body, lambda: connection.certificate)

    return request


@pytest.fixture
def http_(host: Host) -> Request:
    """The same without TLS."""

    def request(name: str, path: str = "/", method: str = "GET", headers: dict[str, str] | None = None) -> Answer:
        connection = http.client.HTTPConnection("127.0.0.1", ports(host)[80], timeout=40)
        return ask(connection, name, path, method, headers, None, dict)

    return request
