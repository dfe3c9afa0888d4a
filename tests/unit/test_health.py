"""Asking an app whether it is well, over a real socket."""

import datetime
import http.server
import itertools
import socket
import socketserver
import ssl
import threading
import time
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.plainstack.web.plugins.module_utils.host import health
from ansible_collections.plainstack.web.plugins.module_utils.host.health import Health, ask_instance, ask_nginx
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

HEALTH = Health("/healthz?deep=1", "hello.example.com", 60)


class Handler(http.server.BaseHTTPRequestHandler):
    """Gives the server's answer; a status of 0 hangs, -1 hangs up, and -2 talks nonsense."""

    def do_GET(self) -> None:
        server: Any = self.server
        server.asked.append((self.path, dict(self.headers)))
        if server.status == 0:
            time.sleep(0.5)
        elif server.status == -2:
            self.wfile.write(b"nonsense\r\n\r\n")
        elif server.status > 0:
            self.send_response(server.status)
            self.send_header("Content-Length", "2")
            self.end_headers()
            self.wfile.write(b"ok")

    def log_message(self, *_arguments: object) -> None:
        pass


class _Quiet(socketserver.ThreadingMixIn):
    daemon_threads = True
    block_on_close = False

    def handle_error(self, *_arguments: object) -> None:
        pass


class UnixServer(_Quiet, socketserver.UnixStreamServer):
    pass


class TcpServer(_Quiet, socketserver.TCPServer):
    pass


Serve = Callable[[socketserver.BaseServer, Any], Any]


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Have a server answer with a status."""
    servers = []

    def begin(server: Any, status: Any) -> Any:
        server.status, server.asked = status, []
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        servers.append(server)
        return server

    yield begin
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.mark.parametrize(
    ("status", "wrong"),
    [
        (200, ""),
        (204, ""),
        (302, ""),
        (399, ""),
        (400, "answered 400"),
        (503, "answered 503"),
        (0, "gave no answer (timed out)"),
        (-1, "gave no answer (it closed the connection before it had answered)"),
        (-2, "gave no answer (what it says is no HTTP: nonsense)"),
    ],
)
def test_an_instance(tmp_path: Path, serve: Serve, status: int, wrong: str) -> None:
    path = str(tmp_path / "a.sock")
    server = serve(UnixServer(path, Handler), status)
    assert ask_instance(path, HEALTH, 0.1) == wrong
    [(asked, headers)] = server.asked
    assert asked == "/healthz?deep=1"
    # As nginx would ask, so that the app does not redirect to https or refuse the host
    assert (headers["Host"], headers["X-Forwarded-Proto"]) == ("hello.example.com", "https")


def test_an_instance_whose_process_has_ended(tmp_path: Path) -> None:
    """systemd holds its socket: it takes the question, and nobody answers."""
    path = str(tmp_path / "a.sock")
    asked = []

    def over() -> bool:
        asked.append(time.monotonic())
        return len(asked) == 2

    with socket.socket(socket.AF_UNIX) as held:
        held.bind(path)
        held.listen()
        began = time.monotonic()
        assert ask_instance(path, HEALTH, 60, over) == "gave no answer (its process ended)"
    assert asked[1] - began < 5


def test_a_slow_answer_is_waited_for(tmp_path: Path, serve: Serve) -> None:
    path = str(tmp_path / "a.sock")
    server: Any = UnixServer(path, Sender)
    server.sent = 0
    serve(server, lambda: parts(b"", OK, b"\r\n", pause=0.7))
    asked = []

    def over() -> bool:
        asked.append(time.monotonic())
        return False

    assert ask_instance(path, HEALTH, 10, over) == ""
    assert asked


def test_an_instance_without_a_socket(tmp_path: Path) -> None:
    assert ask_instance(str(tmp_path / "a.sock"), HEALTH, 1) == "gave no answer ([Errno 2] No such file or directory)"


def parts(*given: bytes, pause: float = 0.0) -> Iterator[bytes]:
    """What an app sends, in as many parts."""
    for part in given:
        yield part
        time.sleep(pause)


def endless(part: bytes, pause: float = 0.0) -> Iterator[bytes]:
    while True:
        yield part
        time.sleep(pause)


OK = b"HTTP/1.1 200 OK\r\n"
ANSWERS: dict[str, tuple[Callable[[], Iterator[bytes]], str]] = {
    "250 MB": (lambda: parts(OK + b"Content-Length: 262144000\r\n\r\n", *[bytes(2**20)] * 250), ""),
    "a body without an end": (lambda: itertools.chain([OK + b"\r\n"], endless(bytes(65536))), ""),
    "a body that drips": (lambda: itertools.chain([OK + b"Content-Length: 9999\r\n\r\n"], endless(b"x", 0.05)), ""),
    "an event stream": (lambda: itertools.chain([OK + b"\r\n"], endless(b"data: x\n\n", 0.3)), ""),
    "headers that drip": (lambda: itertools.chain([OK], endless(b"x", 0.05)), "gave no answer (timed out)"),
    "a status that drips": (lambda: parts(*[b"%c" % byte for byte in OK * 9], pause=0.05), "gave no answer (timed out)"),
    "headers without an end": (lambda: itertools.chain([OK], endless(b"X-A: " + b"a" * 4000 + b"\r\n")), "gave no answer (its headers are longer than 16 KiB)"),
    "a line without an end": (lambda: itertools.chain([OK + b"X-A: "], endless(bytes(65536))), "gave no answer (its headers are longer than 16 KiB)"),
    "hints without an end": (lambda: endless(b"HTTP/1.1 103 Early Hints\r\n\r\n", 0.01), "gave no answer (timed out)"),
    "hints, then an answer": (lambda: parts(b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n", b"HTTP/1.1 404 Not Found\r\n\r\n"), "answered 404"),
    "half of the headers": (lambda: parts(OK + b"Content-Le"), "gave no answer (it closed the connection before it had answered)"),
    "an escape sequence": (lambda: parts(b"\x1b[2Jgone\r\n\r\n"), r"gave no answer (what it says is no HTTP: \x1b[2Jgone)"),
}


class Sender(socketserver.BaseRequestHandler):
    """Sends what the server is to send, and does not wait for anything."""

    def handle(self) -> None:
        server: Any = self.server
        server.asked.append(self.request.recv(4096))
        for part in server.status():
            self.request.sendall(part)
            server.sent += len(part)


@pytest.mark.parametrize("name", ANSWERS)
def test_an_answer_takes_neither_time_nor_memory_without_bound(tmp_path: Path, serve: Serve, name: str) -> None:
    sends, wrong = ANSWERS[name]
    path = str(tmp_path / "a.sock")
    server: Any = UnixServer(path, Sender)
    server.sent = 0
    serve(server, sends)
    tracemalloc.start()
    began = time.monotonic()
    assert ask_instance(path, HEALTH, 1.5) == wrong
    assert time.monotonic() - began < 2
    server_and_all = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert server_and_all < 3 * 2**20
    assert server.sent < 2**20, "what it says is taken, though it does not matter"


@pytest.fixture
def context(tmp_path: Path) -> ssl.SSLContext:
    """TLS with a certificate that nobody trusts, for another name: the placeholder."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "placeholder")])
    now = datetime.datetime.now(datetime.UTC)
    builder = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number(), now, now + datetime.timedelta(days=1))
    encoding = serialization.Encoding.PEM
    pem = key.private_bytes(encoding, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    (tmp_path / "a.pem").write_bytes(pem + builder.sign(key, hashes.SHA256()).public_bytes(encoding))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "a.pem")
    return context


@pytest.mark.parametrize(("status", "wrong"), [(200, ""), (502, "answered 502")])
def test_nginx(serve: Serve, context: ssl.SSLContext, monkeypatch: pytest.MonkeyPatch, status: int, wrong: str) -> None:
    names: list[str | None] = []
    context.sni_callback = lambda _socket, name, _context: names.append(name)
    server = TcpServer(("127.0.0.1", 0), Handler)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    serve(server, status)
    place = int(server.server_address[1])
    monkeypatch.setattr(health, "_connect", lambda port, _deadline: socket.create_connection(("127.0.0.1", {443: place}[port])))
    assert ask_nginx(HEALTH, 5) == wrong
    assert names == ["hello.example.com"]
    [(asked, headers)] = server.asked  # type: ignore[attr-defined]
    assert (asked, headers["Host"]) == ("/healthz?deep=1", "hello.example.com")


def test_no_nginx(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    connect = health._connect
    monkeypatch.setattr(health, "_connect", lambda _port, deadline: connect(port, deadline))
    monkeypatch.setattr(health, "PRIVILEGED", range(40000, 40003))
    assert ask_nginx(HEALTH, 5) == "gave no answer ([Errno 111] Connection refused)"


def test_a_port_that_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another one is used; when there is none, that is the error."""
    with socket.create_server(("127.0.0.1", 0)) as nginx, socket.create_server(("127.0.0.1", 0)) as taken:
        with socket.create_server(("127.0.0.1", 0)) as closed:
            free = closed.getsockname()[1]
        port, used = nginx.getsockname()[1], taken.getsockname()[1]
        monkeypatch.setattr(health, "PRIVILEGED", [used, free])
        for _ in range(4):  # also while the kernel still keeps the connection before
            with health._connect(port, time.monotonic() + 5) as connection:
                accepted, source = nginx.accept()
                assert source == connection.getsockname() == ("127.0.0.1", free)
                accepted.close()
        monkeypatch.setattr(health, "PRIVILEGED", [used])
        with pytest.raises(OSError, match="Address already in use"):
            health._connect(port, time.monotonic() + 5)


def test_only_root_can_use_the_ports() -> None:
    """Also where a system gives the port of HTTP to everybody, as many do for containers."""
    assert max(health.PRIVILEGED) < 80
