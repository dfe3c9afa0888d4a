"""A log server: what comes by syslog over TLS, with its length before it, a line each in /var/lib/received."""

import socketserver
import ssl


class Receiver(socketserver.StreamRequestHandler):
    """One connection."""

    def handle(self) -> None:
        while True:
            length = b""
            while (one := self.rfile.read(1)) not in (b" ", b""):
                length += one
            if not length:
                return
            with open("/var/lib/received", "ab") as stream:
                stream.write(self.rfile.read(int(length)).replace(b"\n", b"\\n") + b"\n")


class Server(socketserver.ThreadingTCPServer):
    """With a certificate; it is read anew for each connection."""

    allow_reuse_address = True
    daemon_threads = True

    def finish_request(self, request, client_address):  # type: ignore[no-untyped-def, override]  # as the class above has it
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain("/usr/local/lib/logs.pem", "/usr/local/lib/logs.key")
        super().finish_request(context.wrap_socket(request, server_side=True), client_address)


Server(("0.0.0.0", 6514), Receiver).serve_forever()  # the VM's, for the other one
