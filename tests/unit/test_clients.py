"""The load of the tests: an answer under a certificate of another name is a failed request."""

from __future__ import annotations

import http.server
import json
import ssl
import threading
from pathlib import Path
from typing import Any

import pytest

from clients import Client, Kind, Target
from tests.unit.test_fetch_certificates import pair


class Handler(http.server.BaseHTTPRequestHandler):
    """Answers as the example app does."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        body = json.dumps({"method": "GET", "host": self.headers["Host"], "scheme": "https", "body_length": 0, "release": "one"}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_arguments: Any) -> None:
        pass


@pytest.mark.parametrize(("name", "failure"), [("hello.test", ""), ("other.test", "Hostname mismatch")])
def test_a_certificate_of_another_name_is_a_failure(tmp_path: Path, name: str, failure: str) -> None:
    files = pair()  # for hello.test
    for file, content in files.items():
        (tmp_path / file).write_bytes(content)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "fullchain.pem", tmp_path / "privkey.pem")
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    try:
        response = Client(Target(name, server.server_port, str(tmp_path / "fullchain.pem")), Kind("GET", False, 0)).ask()
    finally:
        server.shutdown()
        server.server_close()
    assert (failure in response.failure, bool(response.failure)) == (True, bool(failure))
