"""Whether an app is well: asked over an instance's own socket, or through nginx."""

from __future__ import annotations

import http.client
import socket
import ssl
from dataclasses import dataclass

WELL = range(200, 400)


@dataclass(frozen=True)
class Health:
    """How to ask.

    `host` goes into the Host header; `timeout` is how many seconds a new instance has until it must have answered.
    `tls`: whether this host's nginx speaks HTTPS; behind a load balancer it does not.
    """

    path: str
    host: str
    timeout: float
    tls: bool = True


class _UnixConnection(http.client.HTTPConnection):
    """HTTP over a unix socket."""

    def __init__(self, path: str, timeout: float) -> None:
        super().__init__("localhost", timeout=timeout)
        self.path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.path)


class _NginxConnection(http.client.HTTPSConnection):
    """HTTPS to this host's own nginx, by the name of the site; the certificate may be the placeholder."""

    def connect(self) -> None:
        context = ssl.create_default_context()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        plain = socket.create_connection(("127.0.0.1", 443), self.timeout)
        self.sock = context.wrap_socket(plain, server_hostname=self.host)


def _ask(connection: http.client.HTTPConnection, health: Health) -> str:
    try:
        connection.request("GET", health.path, headers={"Host": health.host, "X-Forwarded-Proto": "https", "User-Agent": "Plainstack"})
        answer = connection.getresponse()
        answer.read()
    except (OSError, http.client.HTTPException) as error:
        return f"gave no answer ({error or type(error).__name__})"
    finally:
        connection.close()
    return "" if answer.status in WELL else f"answered {answer.status}"


def ask_instance(path: str, health: Health, timeout: float) -> str:
    """What is wrong with the answer over a unix socket; empty when nothing is. `timeout` in seconds."""
    return _ask(_UnixConnection(path, timeout), health)


def ask_nginx(health: Health, timeout: float) -> str:
    """The same through this host's nginx."""
    if health.tls:
        return _ask(_NginxConnection(health.host, timeout=timeout), health)
    return _ask(http.client.HTTPConnection("127.0.0.1", 80, timeout=timeout), health)
