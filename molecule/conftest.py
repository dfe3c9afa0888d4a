"""Fixtures of all scenarios."""

from __future__ import annotations

import http.client
import shutil
import ssl
import urllib.request
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from support import INVENTORY, PEBBLE, ROOT, Answer, Connection, Request, Site, ask, ports
from testinfra.host import Host


@pytest.fixture(scope="session")
def pebble_root() -> str:
    """Root certificate (PEM) of the lab's ACME server; Pebble makes a new one at each start."""
    with urllib.request.urlopen(f"{PEBBLE}/roots/0", context=ssl._create_unverified_context()) as answer:
        return str(answer.read().decode())


@pytest.fixture
def https(host: Host, pebble_root: str) -> Request:
    """A function that makes a request to a site of the host; its certificate must chain up to Pebble's root."""

    def request(
        name: str, path: str = "/", method: str = "GET", headers: dict[str, str] | None = None, body: bytes | None = None, verify: bool = True
    ) -> Answer:
        context = ssl.create_default_context(cadata=pebble_root)
        if not verify:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        connection = Connection(name, ports(host)[443], context)
        return ask(connection, name, path, method, headers, body, lambda: connection.certificate)

    return request


@pytest.fixture
def http_(host: Host) -> Request:
    """The same without TLS."""

    def request(name: str, path: str = "/", method: str = "GET", headers: dict[str, str] | None = None) -> Answer:
        connection = http.client.HTTPConnection("127.0.0.1", ports(host)[80], timeout=40)
        return ask(connection, name, path, method, headers, None, dict)

    return request


@pytest.fixture
def site(tmp_path: Path) -> Site:
    """The scenario's own inventory and source, as a copy: deployed unchanged, nothing changes."""
    variables = yaml.safe_load((INVENTORY / "group_vars" / "all.yml").read_text(encoding="utf-8"))
    shutil.copytree(ROOT / "app_example", tmp_path / "source", ignore=shutil.ignore_patterns("__pycache__", ".pytest_cache", "instance"))
    inventory = tmp_path / "inventory"
    (inventory / "group_vars").mkdir(parents=True)
    (inventory / "group_vars" / "lab.yml").symlink_to(ROOT / "lab" / "vars.yml")
    apps = [{**app, "source": str(tmp_path / "source")} for app in variables["apps"]]
    return Site(inventory, apps, yaml.safe_load((INVENTORY / "hosts.yml").read_text(encoding="utf-8")))


@pytest.fixture
def releases(host: Host) -> Callable[[], tuple[str, str]]:
    """What is on the host: the live release, and everything on disk and running that a fault could leave behind."""

    def look() -> tuple[str, str]:
        live = host.check_output("readlink /srv/hello/live.sock")
        left = host.check_output(
            "systemctl list-units --plain --no-legend --all 'hello@*' | awk '{print $1, $3}'; ls -A"
            " /srv/hello /srv/hello/releases /etc/plainstack/hello /etc/systemd/system"
        )
        return str(live), str(left)

    return look
