"""A WebSocket as a browser opens it: the handshake, and text messages of less than 126 bytes."""

from __future__ import annotations

import base64
import os
import socket
import ssl
from typing import Self

TEXT, CLOSE, PING = 1, 8, 9


class WebSocket:
    """An open one.

    :param port: the port on 127.0.0.1 that leads to the site's HTTPS.
    :param root: root certificate (PEM) that the site's must lead to.
    :raises ConnectionError: when the server does not agree to it; with what it says instead.
    """

    def __init__(self, name: str, port: int, path: str, root: str) -> None:
        plain = socket.create_connection(("127.0.0.1", port), 20)
        self.socket = ssl.create_default_context(cadata=root).wrap_socket(plain, server_hostname=name)
        self.stream = self.socket.makefile("rb")
        key = base64.b64encode(os.urandom(16)).decode()
        wanted = f"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\nOrigin: https://{name}\r\n"
        self.socket.sendall(f"GET {path} HTTP/1.1\r\nHost: {name}\r\n{wanted}\r\n".encode())
        status = self.stream.readline().decode()
        while self.stream.readline().strip():
            pass
        if " 101 " not in status:
            raise ConnectionError(status)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_raised: object) -> None:
        self.socket.close()

    def _send(self, kind: int, data: bytes) -> None:
        mask = os.urandom(4)
        self.socket.sendall(bytes([0x80 | kind, 0x80 | len(data)]) + mask + bytes(byte ^ mask[place % 4] for place, byte in enumerate(data)))

    def _frame(self) -> tuple[int, bytes]:
        head = self.stream.read(2)
        if len(head) < 2:
            raise ConnectionError("the connection has ended")
        return head[0] & 0x0F, self.stream.read(head[1] & 0x7F)

    def send(self, text: str) -> None:
        """Send a message."""
        self._send(TEXT, text.encode())

    def receive(self) -> str:
        """Wait for the next message; a ping is answered meanwhile.

        :raises ConnectionError: when the server closes it; with the code that it gives, such as 1012.
        """
        while True:
            kind, data = self._frame()
            if kind == TEXT:
                return data.decode()
            if kind == CLOSE:
                raise ConnectionError(int.from_bytes(data[:2], "big"))
            if kind == PING:
                self._send(10, data)
