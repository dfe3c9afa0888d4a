"""A load of real requests that counts every answer: GET and POST over HTTPS, on kept and on new connections.

Each client is a process of its own, so that neither pytest nor Ansible delays what it measures: `Load` starts this file once a
client. A client asks one request after the other, with a short pause so that the machine is not saturated, and writes a line
for each of them. It lives as long as its standard input is open: when the test ends in whatever way, so does the load.
"""

from __future__ import annotations

import json
import select
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO

TIMEOUT = 30  # seconds until a request without an answer counts as failed
AFTER_FAILURE = 0.05  # seconds, so that a server that is gone is not asked thousands of times
BODY = b"x" * 10_000


@dataclass(frozen=True)
class Target:
    """A site: its name, its port on 127.0.0.1, and the file (PEM) with the root that its certificate must lead to."""

    name: str
    port: int
    root: str


@dataclass(frozen=True)
class Kind:
    """What a client does: `pause` in seconds after each request."""

    method: str
    kept: bool
    pause: float

    def __str__(self) -> str:
        return f"{self.method} {'kept' if self.kept else 'new'}"


# Kept connections are the more, as with browsers; a new one costs both sides a TLS handshake
KINDS = (
    Kind("GET", True, 0.003),
    Kind("GET", True, 0.003),
    Kind("POST", True, 0.003),
    Kind("POST", True, 0.003),
    Kind("GET", False, 0.008),
    Kind("POST", False, 0.008),
)


@dataclass(frozen=True)
class Response:
    """What became of a request: `start` on the machine's monotonic clock and `seconds` from then until it was answered or failed.

    `release` is who answered; `failure` says what was wrong, empty when nothing was. `resent`: it came to a kept connection that
    the server had closed meanwhile, and was sent again on a new one.
    """

    start: float
    seconds: float
    kind: str
    release: str
    failure: str
    resent: bool

    @property
    def end(self) -> float:
        return self.start + self.seconds


class WentAwayError(Exception):
    """The connection was closed before the first byte of an answer."""


class Client:
    """One request after the other, over one connection as long as both sides keep it."""

    def __init__(self, target: Target, kind: Kind) -> None:
        self.target, self.kind = target, kind
        self.tls = ssl.create_default_context(cafile=target.root)
        body = BODY if kind.method == "POST" else b""
        length = f"Content-Length: {len(body)}\r\n" if body else ""
        connection = "" if kind.kept else "Connection: close\r\n"
        self.request = f"{kind.method} /api/whoami HTTP/1.1\r\nHost: {target.name}\r\n{length}{connection}\r\n".encode() + body
        self.length = len(body)
        self.connection: ssl.SSLSocket | None = None

    def close(self) -> None:
        """Give the connection up."""
        if self.connection:
            self.connection.close()
        self.connection = None

    def ask(self) -> Response:
        """One request. A failure is an answer that is not the app's to this request, or none."""
        start = time.monotonic()
        release = failure = ""
        resent = False
        try:
            reused = self.connection is not None
            try:
                status, body = self._exchange()
            except WentAwayError:
                # As HTTP clients do (RFC 9112, section 9.3.1): the server has closed an idle connection, and never saw the request
                if not reused:
                    raise
                resent = True
                self.close()
                status, body = self._exchange()
            if status == 200:
                release, failure = self._check(body)
            else:
                failure = f"status {status}"
        except (OSError, ValueError, WentAwayError) as error:
            failure = repr(error)
        if failure or not self.kind.kept:
            self.close()
        return Response(start, time.monotonic() - start, str(self.kind), release, failure, resent)

    def _check(self, body: bytes) -> tuple[str, str]:
        """The release that answered, and what is wrong with the body."""
        said = json.loads(body)
        wanted = {"method": self.kind.method, "host": self.target.name, "scheme": "https", "body_length": self.length}
        wrong = {key: said.get(key) for key, value in wanted.items() if said.get(key) != value}
        return str(said.get("release", "")), f"wrong body: {wrong}" if wrong else ""

    def _exchange(self) -> tuple[int, bytes]:
        """Send the request and read the answer: status and body.

        :raises WentAwayError: when the connection ended before the answer began.
        :raises OSError: when it ended later, or could not be made.
        :raises ValueError: when the answer is not HTTP.
        """
        if self.connection is None:
            plain = socket.create_connection(("127.0.0.1", self.target.port), TIMEOUT)
            plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.connection = self.tls.wrap_socket(plain, server_hostname=self.target.name)
        try:
            self.connection.sendall(self.request)
            received = self.connection.recv(65536)
        except TimeoutError:
            raise
        except OSError as error:
            raise WentAwayError(repr(error)) from error
        if not received:
            raise WentAwayError("closed")
        while b"\r\n\r\n" not in received:
            received += self._more()
        head, body = received.split(b"\r\n\r\n", 1)
        status, *lines = head.decode("latin-1").split("\r\n")
        headers = {name.lower(): value.strip() for name, value in (line.split(":", 1) for line in lines)}
        if "content-length" not in headers:
            raise ValueError(f"an answer without a length: {status}")
        length = int(headers["content-length"])
        while len(body) < length:
            body += self._more()
        if len(body) > length:
            raise ValueError(f"{len(body) - length} bytes after the answer")
        if headers.get("connection", "").lower() == "close":
            self.close()
        return int(status.split(" ")[1]), body

    def _more(self) -> bytes:
        """More of an answer that has begun."""
        assert self.connection
        received = self.connection.recv(65536)
        if not received:
            raise ConnectionError("the connection was closed in the middle of an answer")
        return received


class Load:
    """Clients of a site that ask without end, from `with` until its end; their answers can be read at any time."""

    def __init__(self, target: Target, directory: Path, kinds: Sequence[Kind] = KINDS) -> None:
        """:param directory: where the clients write what they saw; must be there."""
        self.target, self.directory, self.kinds = target, directory, kinds
        self._processes: list[subprocess.Popen[bytes]] = []
        self._read: list[IO[str]] = []
        self._responses: list[Response] = []

    def __enter__(self) -> Load:
        for number, kind in enumerate(self.kinds):
            path = self.directory / f"client-{number}"
            with path.open("wb") as output:
                command = [sys.executable, __file__, json.dumps({"target": asdict(self.target), "kind": asdict(kind)})]
                self._processes.append(subprocess.Popen(command, stdin=subprocess.PIPE, stdout=output))
            self._read.append(path.open(encoding="utf-8"))
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """Let each client end its request; what was answered can still be read."""
        for process in self._processes:
            if process.stdin:
                process.stdin.close()
        for process in self._processes:
            process.wait(TIMEOUT + 10)
        self.responses()
        for stream in self._read:
            stream.close()
        self._processes, self._read = [], []

    def responses(self) -> list[Response]:
        """What has been answered up to now, by the order of the requests' start.

        :raises RuntimeError: when a client has ended by itself, and there is less of a load than there should be.
        """
        for process, stream in zip(self._processes, self._read, strict=True):
            if process.poll():
                raise RuntimeError(f"a client of the load ended with {process.returncode}")
            while True:
                place = stream.tell()
                line = stream.readline()
                if not line.endswith("\n"):  # it is being written
                    stream.seek(place)
                    break
                self._responses.append(Response(*json.loads(line)))
        self._responses.sort(key=lambda response: response.start)
        return self._responses


def main() -> None:
    """A client; see the top."""
    given = json.loads(sys.argv[1])
    client = Client(Target(**given["target"]), Kind(**given["kind"]))
    pause = client.kind.pause
    # The wait for the end of standard input is the pause
    while not select.select([sys.stdin], [], [], pause)[0]:
        response = client.ask()
        print(json.dumps([*asdict(response).values()]), flush=True)
        pause = AFTER_FAILURE if response.failure else client.kind.pause
    client.close()


if __name__ == "__main__":
    main()
