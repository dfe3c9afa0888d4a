"""A webhook and a mail server that keep what they get: one JSON object a line in /var/lib/received."""

import json
import socketserver
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

LOCK = threading.Lock()


def keep(kind: str, title: str, body: str) -> None:
    """Note a message."""
    with LOCK, open("/var/lib/received", "a", encoding="utf-8") as stream:
        stream.write(json.dumps({"kind": kind, "title": title, "body": body}) + "\n")


class Webhook(BaseHTTPRequestHandler):
    """What Apprise's json:// sends; and a heartbeat."""

    def do_GET(self) -> None:
        keep("heartbeat", self.path, "")
        self.send_response(200)
        self.end_headers()

    def do_POST(self) -> None:
        told = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        keep("webhook", told["title"], told["message"])
        self.send_response(200)
        self.end_headers()


class Mail(socketserver.StreamRequestHandler):
    """As much of SMTP as a client needs."""

    def say(self, text: str) -> None:
        self.wfile.write(f"{text}\r\n".encode())

    def handle(self) -> None:
        self.say("220 here")
        while line := self.rfile.readline().decode().strip():
            verb = line.split()[0].upper()
            if verb == "DATA":
                self.say("354 go on")
                lines = []
                while (more := self.rfile.readline().decode("utf-8", "replace").rstrip("\r\n")) != ".":
                    lines.append(more)
                subject = next((one for one in lines if one.lower().startswith("subject:")), "")
                keep("mail", subject.removeprefix("Subject: "), "\n".join(lines))
            self.say("221 bye" if verb == "QUIT" else "250 fine")
            if verb == "QUIT":
                return


threading.Thread(target=socketserver.ThreadingTCPServer(("127.0.0.1", 2525), Mail).serve_forever, daemon=True).start()
ThreadingHTTPServer(("127.0.0.1", 8099), Webhook).serve_forever()
