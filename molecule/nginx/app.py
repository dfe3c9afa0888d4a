"""Stands in for an app: answers over a unix socket, echoes what nginx passed on, and misbehaves when asked to."""

import json
import os
import socketserver
import sys
import time
from http.server import BaseHTTPRequestHandler


class Handler(BaseHTTPRequestHandler):
    """Each path is one behaviour."""

    def address_string(self) -> str:
        """Return no address: a unix socket has none."""
        return "unix"

    def do_GET(self) -> None:
        """Answer, after reading a body if there is one."""
        length = len(self.rfile.read(int(self.headers.get("Content-Length") or 0)))
        if self.path.startswith("/slow"):
            time.sleep(3)
        told = {"headers": dict(self.headers), "length": length, "path": self.path, "socket": sys.argv[1]}
        body = json.dumps(told).encode() * (500 if self.path == "/large" else 1)
        self.send_response(500 if self.path == "/broken" else 200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        if self.path == "/own-header":
            self.send_header("X-Frame-Options", "SAMEORIGIN")
        self.end_headers()
        self.wfile.write(body)

    do_POST = do_GET


class Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    """A thread for each request."""

    daemon_threads = True


if __name__ == "__main__":
    if os.path.exists(sys.argv[1]):
        os.unlink(sys.argv[1])
    Server(sys.argv[1], Handler).serve_forever()
