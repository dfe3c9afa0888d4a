"""Whether an app is healthy: probed over an instance's own socket, or through nginx."""

from __future__ import annotations

import errno
import random
import re
import socket
import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass

from ansible_collections.plainstack.web.plugins.module_utils.text import plain

WELL = range(200, 400)
LARGEST_HEAD = 16384  # bytes of status line and headers; nginx takes fewer
FOR_THE_BODY = 1.0  # seconds; what it says does not matter
SLICE = 0.5  # seconds between two questions whether an answer may still come
LARGEST_BODY = 16384  # bytes
PRIVILEGED = range(1, 80)  # ports that root alone can use, also where net.ipv4.ip_unprivileged_port_start gives 80 to everybody
STATUS = re.compile(rb"HTTP/1\.[01] ([1-5]\d\d)(?: [^\r\n]*)?\r?\n")


@dataclass(frozen=True)
class Health:
    """How to probe.

    `host` goes into the Host header; `timeout` is how many seconds a new instance has until it must have answered.
    `tls`: whether this host's nginx speaks HTTPS; behind a load balancer it does not. `nginx`: whether it has the app; a worker server has none.
    """

    path: str
    host: str
    timeout: float
    tls: bool = True
    nginx: bool = True


def _never() -> bool:
    return False


def _receive(connection: socket.socket, deadline: float, over: Callable[[], bool] = _never) -> bytes:
    """What has come; empty at the end."""
    while (left := deadline - time.monotonic()) > 0:
        connection.settimeout(min(left, SLICE))
        try:
            return connection.recv(4096)
        except TimeoutError:
            if over():
                raise ConnectionError("its process ended") from None
    raise TimeoutError("timed out")


def _status(connection: socket.socket, deadline: float, over: Callable[[], bool]) -> int:
    """Status of the answer, once all of its headers are there.

    :raises OSError: when it has not come by the deadline, however much of it has.
    """
    head = b""
    while True:
        begin, found, rest = head.partition(b"\r\n\r\n")
        if found:
            line = STATUS.match(begin + b"\r\n")
            if not line:
                raise OSError(f"what it says is no HTTP: {begin[:60].decode('ascii', 'backslashreplace')}")
            if int(line[1]) >= 200:
                break
            head = rest  # such as 103 Early Hints; the answer is yet to come
        elif len(head) > LARGEST_HEAD:
            raise OSError(f"its headers are longer than {LARGEST_HEAD // 1024} KiB")
        elif more := _receive(connection, deadline, over):
            head += more
        else:
            raise OSError("it closed the connection before it had answered")
    return int(line[1])


def _let_end(connection: socket.socket, deadline: float) -> None:
    """Take a small body to its end: a connection that is closed earlier may be an error in the app's log."""
    size = 0
    try:
        while size < LARGEST_BODY and (more := _receive(connection, deadline)):
            size += len(more)
    except OSError:
        pass


def _probe(connection: socket.socket, health: Health, deadline: float, over: Callable[[], bool] = _never) -> str:
    request = (
        f"GET {health.path} HTTP/1.1\r\nHost: {health.host}\r\nX-Forwarded-Proto: https\r\nUser-Agent: Plainstack\r\nAccept: */*\r\nConnection: close\r\n\r\n"
    )
    connection.sendall(request.encode())
    status = _status(connection, deadline, over)
    _let_end(connection, min(deadline, time.monotonic() + FOR_THE_BODY))
    return "" if status in WELL else f"answered {status}"


def _none(error: OSError) -> str:
    return f"gave no answer ({plain(str(error)) or type(error).__name__})"


def ask_instance(path: str, health: Health, timeout: float, over: Callable[[], bool] = _never) -> str:
    """What is wrong with the answer over a unix socket; empty when nothing is.

    :param timeout: seconds for the whole of it, whatever comes meanwhile.
    :param over: whether no answer can come any more. systemd holds the socket: a question to a process that has ended waits there for the next one.
    """
    deadline = time.monotonic() + timeout
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(timeout)
            connection.connect(path)
            return _probe(connection, health, deadline, over)
    except OSError as error:
        return _none(error)


def _connect(port: int, deadline: float) -> socket.socket:
    """A connection to this host from a port that root alone can use: nginx knows by it that no app asks."""
    ports = random.sample(PRIVILEGED, len(PRIVILEGED))
    while True:
        connection = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        try:
            connection.settimeout(max(deadline - time.monotonic(), 0.001))
            # Also while the kernel still keeps an earlier connection from there
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            connection.bind(("127.0.0.1", ports.pop()))
            connection.connect(("127.0.0.1", port))
            return connection
        except OSError as error:
            connection.close()
            if error.errno not in (errno.EADDRINUSE, errno.EADDRNOTAVAIL) or not ports:
                raise


def ask_nginx(health: Health, timeout: float) -> str:
    """The same through this host's nginx, by the name of the site; the certificate may be the placeholder.

    It is asked as root, whom nginx lets in without a password and from outside the networks of `allow`.
    """
    deadline = time.monotonic() + timeout
    try:
        with _connect(443 if health.tls else 80, deadline) as connection:
            if not health.tls:
                return _probe(connection, health, deadline)
            context = ssl.create_default_context()
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
            with context.wrap_socket(connection, server_hostname=health.host) as encrypted:
                return _probe(encrypted, health, deadline)
    except OSError as error:
        return _none(error)
