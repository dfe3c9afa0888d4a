"""A server under load: deploy to it, look at it, and note what each part of the test did to its visitors."""

from __future__ import annotations

import json
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml
from testinfra.host import Host

from clients import Load, Response
from parts import Log, Part
from support import ROOT, Site, name_of
from vm import wait


def site_of(host: Host, inventory: Path, directory: Path) -> Site:
    """A scenario's inventory with one host alone, and a copy of the app's source to change."""
    name = name_of(host)
    hosts = yaml.safe_load((inventory / "hosts.yml").read_text(encoding="utf-8"))
    for group in hosts.values():
        group["hosts"] = {name: group["hosts"][name]}
    apps = yaml.safe_load((inventory / "group_vars" / "all.yml").read_text(encoding="utf-8"))["apps"]
    shutil.copytree(ROOT / "app_example", directory / "source", ignore=shutil.ignore_patterns("__pycache__", ".*_cache", "instance"))
    (directory / "inventory" / "group_vars").mkdir(parents=True)
    (directory / "inventory" / "group_vars" / "lab.yml").symlink_to(ROOT / "lab" / "vars.yml")
    return Site(directory / "inventory", [{**app, "source": str(directory / "source")} for app in apps], hosts)


def lock(source: Path, constraint: str) -> None:
    """Lock the requirements of a source anew, with one more constraint."""
    with (source / "requirements.in").open("a", encoding="utf-8") as stream:
        stream.write(f"{constraint}\n")
    command = ["pip", "compile", "--quiet", "--system-certs", "--universal", "--python-version", "3.11", "--generate-hashes", "--no-emit-index-url"]
    subprocess.run([str(ROOT / ".venv/bin/uv"), *command, "requirements.in", "-o", "requirements.txt"], cwd=source, check=True)


class Server:
    """One VM, an inventory that has only it, and the load on its app `hello`."""

    def __init__(self, host: Host, site: Site, load: Load) -> None:
        self.host, self.site, self.load = host, site, load
        self.log = Log(f"Debian {host.check_output('cat /etc/debian_version')}")
        self.served: set[str] = set()

    def live(self) -> str:
        """Id of the live release."""
        return str(self.host.check_output("basename $(readlink /srv/hello/live)"))

    def story(self) -> dict[str, Any]:
        """What release.json says of the live release."""
        told: dict[str, Any] = json.loads(self.host.check_output("cat /srv/hello/live/release.json"))
        return told

    def serial(self) -> str:
        """Serial number of the certificate that certbot has."""
        return str(self.host.check_output("openssl x509 -noout -serial -in /etc/letsencrypt/live/hello/cert.pem")).split("=")[1]

    def workers(self) -> int:
        """Worker processes of the live release."""
        master = self.host.check_output("systemctl show --property=MainPID --value hello@%s.service", self.live())
        return len(self.host.check_output("ps -o pid= --ppid %s", master).split())

    def responses(self) -> list[Response]:
        """What has been answered up to now."""
        return self.load.responses()

    def stopped(self, identifier: str) -> float:
        """When the instance of a release was stopped: the machine's monotonic clock is the VM's too."""
        found = self.host.check_output("journalctl --unit=hello@%s.service --output=json --output-fields=MESSAGE --lines=20", identifier)
        lines = [json.loads(line) for line in found.splitlines()]
        return max(int(line["__MONOTONIC_TIMESTAMP"]) for line in lines if str(line["MESSAGE"]).startswith("Stopped")) / 1e6

    @contextmanager
    def part(self, name: str, switches: bool = True, reloads: bool = False) -> Iterator[None]:
        """Note what happens to the load meanwhile; fails when a request did, or when the switch is not as it should be.

        :param switches: whether another release goes live in it.
        :param reloads: whether nginx is reloaded in it.
        """
        before, began = self.live(), time.monotonic()
        yield
        after = self.live()
        assert (after != before) is switches, f"{name}: {before} was live, then {after}"
        self.served |= {before, after}
        stopped = self.stopped(before) if switches else 0.0
        if switches:
            wait("a second after the old release was stopped", lambda: time.monotonic() > stopped + 1.2)
        ended = time.monotonic()
        wait("the responses of the part", lambda: self.responses()[-1].start > ended)
        window = (began, ended)
        if switches:
            switched = min(response.start for response in self.responses() if response.release == after and response.start > began)
            window = (switched - 1, stopped + 1)
        part = Part(name, began, ended, window, reloads)
        self.log.parts.append(part)
        self.log.responses = list(self.responses())
        found = self.log.of(part)
        assert found.failed == 0, f"{name}: {found.failed} of {found.responses} requests failed: {found.failures}"
        assert reloads or found.resent == 0, f"{name}: {found.resent} requests had to be sent again, and nginx was not reloaded"
        strangers = {response.release for response in self.log.responses if not response.failure} - self.served
        assert not strangers, f"{name}: releases that did not go live have answered: {strangers}"

    def finish(self, responses: int, seconds: float) -> None:
        """Go on with the load until there are so many responses, then end it."""
        wait(f"{responses} responses", lambda: len(self.responses()) >= responses, seconds)
        self.load.stop()
        self.log.responses = list(self.responses())
