"""What the tests of all scenarios share: requests from outside, as a browser would make them, and runs of deploy.yml."""

from __future__ import annotations

import base64
import http.client
import os
import re
import signal
import socket
import ssl
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from testinfra.host import Host

PEBBLE = "https://127.0.0.1:15000"
MARKER = "swordfish"  # begins every secret of the tests


@dataclass(frozen=True)
class Answer:
    """What came back: status, headers (by lower-case name), body, and the TLS connection it came through."""

    status: int
    headers: dict[str, str]
    body: bytes
    certificate: dict[str, object]


def ports(host: Host) -> dict[int, int]:
    """Ports on 127.0.0.1 that lead to the ports of the VM, by the VM's port."""
    return {int(guest): int(outer) for outer, guest in host.ansible.get_variables()["lab_publish"].items()}


def name_of(host: Host) -> str:
    """The host's name in the inventory."""
    return str(host.ansible.get_variables()["inventory_hostname"])


class Connection(http.client.HTTPSConnection):
    """HTTPS to a published port, under the name of a site."""

    def __init__(self, name: str, port: int, context: ssl.SSLContext) -> None:
        super().__init__(name, port, timeout=40)
        self.tls = context
        self.certificate: dict[str, object] = {}

    def connect(self) -> None:
        plain = socket.create_connection(("127.0.0.1", self.port), self.timeout)
        wrapped = self.tls.wrap_socket(plain, server_hostname=self.host)
        self.certificate = dict(wrapped.getpeercert() or {})
        self.sock = wrapped


def unchecked() -> ssl.SSLContext:
    """Takes any certificate."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


Request = Callable[..., Answer]


def ask(
    connection: http.client.HTTPConnection,
    name: str,
    path: str,
    method: str,
    headers: dict[str, str] | None,
    body: bytes | None,
    certificate: Callable[[], dict[str, object]],
) -> Answer:
    try:
        connection.request(method, path, body=body, headers={"Host": name, **(headers or {})})
        answer = connection.getresponse()
        content = answer.read()
        return Answer(answer.status, {key.lower(): value for key, value in answer.getheaders()}, content, certificate())
    finally:
        connection.close()


ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "results"  # `make docs` puts it into docs/
LAB = Path.home() / ".cache" / "plainstack-lab"
ACME = {"certbot_email": "admin@example.com", "certbot_server": "https://pebble:14000/dir", "certbot_server_ca": str(LAB / "pebble" / "ca.pem")}


def traces(text: str) -> list[str]:
    """The text, and what the Base64 of anything with it has, whatever comes before it: so a module gets what it must not show."""
    found = [text]
    for lead in range(3):
        code = base64.b64encode(bytes(lead) + text.encode()).decode()
        found.append(code[(lead * 8 + 5) // 6 : (lead + len(text)) * 8 // 6])
    return found


@dataclass(frozen=True)
class Run:
    """How a run of ansible-playbook ended."""

    code: int
    output: str

    @property
    def said(self) -> str:
        """The output with every run of white space as one blank: it wraps lines as it likes."""
        return " ".join(self.output.split())

    @property
    def changed(self) -> int:
        """Tasks that have changed something, by the figures at the end; with -v they are a line for each host."""
        figures = re.findall(r"\bok=\d+ +changed=(\d+)", self.output)
        assert figures, self.output[-3000:]
        return sum(map(int, figures))


def check_message(run: Run, *words: str) -> None:
    """The run has failed, and the operator reads all these words."""
    assert run.code != 0, run.output[-3000:]
    missing = [word for word in words if word not in run.said]
    assert missing == [], run.output[-3000:]


class Running:
    """A run of ansible-playbook that goes on, in a session of its own as in a terminal of its own."""

    def __init__(self, command: list[str], environment: dict[str, str], log: Path) -> None:
        self._log = log
        with log.open("w", encoding="utf-8") as output:
            self.process = subprocess.Popen(
                command, cwd=ROOT, env=environment, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, start_new_session=True
            )

    def interrupt(self) -> None:
        """Ctrl-C: the terminal sends it to all processes in the foreground."""
        os.killpg(self.process.pid, signal.SIGINT)

    def kill(self) -> None:
        """SIGKILL for ansible-playbook; its children are not asked."""
        self.process.kill()

    def output(self) -> str:
        """What it has printed up to now."""
        return self._log.read_text(encoding="utf-8")

    def wait(self, seconds: float = 300) -> Run:
        """Wait until it has ended."""
        code = self.process.wait(seconds)
        output = self.output()
        print(output)  # pytest shows it where the test fails
        assert [trace for trace in traces(MARKER) if trace in output] == [], "a secret is in the output"
        return Run(code, output)


@dataclass
class Site:
    """An inventory and a copy of the app's source, to break one thing in.

    `environment` is what ansible-playbook gets besides; `variables` those of the inventory besides `apps`.
    """

    directory: Path
    apps: list[dict[str, Any]]
    hosts: dict[str, Any]
    variables: dict[str, Any] = field(default_factory=lambda: dict(ACME))
    environment: dict[str, str] = field(default_factory=dict)
    runs: list[Running] = field(default_factory=list)

    @property
    def app(self) -> dict[str, Any]:
        """The first app."""
        return self.apps[0]

    @property
    def source(self) -> Path:
        """Directory of the app's source."""
        return self.directory.parent / "source"

    def edit(self, name: str, old: str, new: str) -> None:
        """Replace text in a file of the source; it must be there."""
        path = self.source / name
        text = path.read_text(encoding="utf-8")
        assert old in text
        path.write_text(text.replace(old, new), encoding="utf-8")

    def start(self, playbook: str, *arguments: str, before: Sequence[str] = ()) -> Running:
        """Start a playbook as a user would, and do not wait for it; `before` is put in front of the command."""
        (self.directory / "group_vars" / "all.yml").write_text(yaml.safe_dump({**self.variables, "apps": self.apps}), encoding="utf-8")
        (self.directory / "hosts.yml").write_text(yaml.safe_dump(self.hosts), encoding="utf-8")
        environment = {**os.environ, "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"), "NO_COLOR": "1", **self.environment}
        command = [*before, str(ROOT / ".venv/bin/ansible-playbook"), playbook, "-i", str(self.directory), *arguments]
        self.runs.append(Running(command, environment, self.directory.parent / f"run-{len(self.runs)}.log"))
        return self.runs[-1]

    def end(self) -> None:
        """End the runs that a test has left."""
        for run in self.runs:
            if run.process.poll() is None:
                run.kill()
                run.wait()

    def deploy(self, *arguments: str) -> Run:
        """Run deploy.yml to its end."""
        return self.start("deploy.yml", *arguments).wait()

    def rollback(self, *arguments: str) -> Run:
        """Run rollback.yml to its end."""
        return self.start("rollback.yml", *arguments).wait()
