"""What is deployed with a bundle needs no package index, on Debian 12 and 13 with their different Pythons."""

from __future__ import annotations

import json
import shutil
import ssl
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from testinfra.host import Host

from running import deploy, live_release
from support import Connection, ask, name_of, ports

SCENARIO = Path(__file__).resolve().parents[1]
PYTHON = {"12": "3.11", "13": "3.13"}
CUT = (
    "nft add table inet cut && nft 'add chain inet cut output {type filter hook output priority -5;}' && "
    "nft add rule inet cut output meta skuid %s counter reject"
)


def page(host: Host) -> str:
    context = ssl.create_default_context(cafile=str(SCENARIO / "certificates/shop.pem"))
    connection = Connection("shop.example.com", ports(host)[443], context)
    return ask(connection, "shop.example.com", "/", "GET", None, None, dict).body.decode()


def system(host: Host) -> str:
    return str(host.check_output(". /etc/os-release; echo $VERSION_ID"))


def packages(host: Host) -> dict[str, str]:
    found: dict[str, str] = json.loads(host.file(f"/srv/shop/releases/{live_release(host, 'shop')}/release.json").content_string)["packages"]
    return found


@pytest.fixture
def inventory(host: Host, request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A copy for this server alone, with its own copies of the source and the certificate."""
    for name in ("app", "certificates"):
        shutil.copytree(SCENARIO / name, tmp_path / name)
    shutil.copytree(str(request.config.getoption("ansible_inventory")), tmp_path / "inventory")
    file = tmp_path / "inventory/hosts.yml"
    hosts = yaml.safe_load(file.read_text(encoding="utf-8"))
    for group in hosts.values():
        group["hosts"] = {name_of(host): group["hosts"][name_of(host)]}
    file.write_text(yaml.safe_dump(hosts), encoding="utf-8")
    return tmp_path / "inventory"


def change(inventory: Path, **changes: Any) -> None:
    file = inventory / "group_vars/all/apps.yml"
    whole = yaml.safe_load(file.read_text(encoding="utf-8"))
    whole["apps"][0].update(changes)
    file.write_text(yaml.safe_dump(whole), encoding="utf-8")


@pytest.fixture
def cut_off(host: Host) -> Iterator[None]:
    """Builds reach nothing, not even the name server, and have no package from before."""
    host.check_output(CUT, host.check_output("id -u plainstack-build"))
    host.check_output("rm -rf /var/cache/plainstack/build/*")
    yield
    host.check_output("nft delete table inet cut")


def test_each_server_has_the_wheels_of_its_python(host: Host) -> None:
    assert page(host) == f"Hello from Python {PYTHON[system(host)]} &amp; its wheels"
    # As the conditions in the packages say, of the server's Python and not of the controller's
    assert ("async-timeout" in packages(host)) == (system(host) == "12")


def test_no_wheel_is_left_in_the_release(host: Host) -> None:
    assert host.check_output("find /srv/shop/releases -name '*.whl' -o -name '.plainstack-wheels'") == ""


@pytest.mark.usefixtures("cut_off")
def test_a_release_needs_no_index(host: Host, inventory: Path) -> None:
    before = live_release(host, "shop")
    with (inventory.parent / "app/wsgi.py").open("a", encoding="utf-8") as source:
        source.write(f"# after {before}\n")
    deployed = deploy("-i", str(inventory))
    assert deployed.returncode == 0, deployed.stdout
    assert live_release(host, "shop") != before
    assert "counter packets 0 bytes 0" in host.check_output("nft list table inet cut"), "the build asked somebody"
    # The same without a bundle does need one, so the server was cut off indeed
    change(inventory, bundle=False, bundle_for=None)
    deployed = deploy("-i", str(inventory), "-e", "{build_environment: {UV_HTTP_RETRIES: '0'}}")
    assert deployed.returncode != 0
    assert "the server cannot resolve the name of the package index" in deployed.stdout
    assert "counter packets 0 bytes 0" not in host.check_output("nft list table inet cut")


def test_wheels_for_another_system_are_refused(host: Host, inventory: Path) -> None:
    before = live_release(host, "shop")
    other, own = ("3.13", "3.11") if system(host) == "12" else ("3.11", "3.13")
    change(inventory, bundle_for=["debian-13" if system(host) == "12" else "debian-12"])
    deployed = deploy("-i", str(inventory))
    assert deployed.returncode != 0
    assert f"shop: its bundle has wheels for {other}-x86_64 (Python and architecture), and this server needs {own}-x86_64." in deployed.stdout
    assert live_release(host, "shop") == before
    assert page(host)


@pytest.mark.usefixtures("cut_off")
def test_projects_of_the_source_are_installed(host: Host, inventory: Path) -> None:
    """A src layout with a workspace: its wheels are built here, and their build system is not on the server."""
    shutil.copytree(SCENARIO / "project", inventory.parent / "project")
    subprocess.run([Path(sys.executable).parent / "uv", "lock", "--quiet"], cwd=inventory.parent / "project", check=True)
    change(inventory, source="../project", module="shop:app")
    deployed = deploy("-i", str(inventory))
    assert deployed.returncode == 0, deployed.stdout
    assert page(host) == f"Hello from Python {PYTHON[system(host)]}, shop 1.0 and greetings 1.0"
    assert "hatchling" not in packages(host)
    assert "counter packets 0 bytes 0" in host.check_output("nft list table inet cut"), "the build asked somebody"
    assert host.check_output("find /srv/shop/releases -name '*.whl' -o -name '.plainstack-wheels'") == ""
    again = deploy("-i", str(inventory))
    assert again.returncode == 0, again.stdout
    assert "unchanged" in again.stdout
