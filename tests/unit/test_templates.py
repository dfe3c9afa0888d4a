"""What the templates make of nginx, of its ports and of needrestart: the lines on which the tests in VMs build."""

import re
from configparser import RawConfigParser
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar, trust_as_template
from ansible_collections.plainstack.web.plugins.module_utils.controller.spec import HEADER, NAME

NGINX = Path(__file__).parents[2] / "roles/nginx"
RELEASE = "20261122T104104Z-1f0c2d3e"


def render(path: str, **variables: Any) -> str:
    """A template of the role nginx with the role's own variables; on a host with IPv6, the newest nginx and no sites."""
    given: dict[str, Any] = {"ansible_managed": "managed", "__nginx_brotli": False}
    for name in ("defaults", "vars"):
        given |= yaml.safe_load((NGINX / name / "main.yml").read_text(encoding="utf-8"))
    given |= {"__nginx_brotli": False, "__nginx_info": {"ipv6": True, "version": "1.28.0", "post_quantum": True}, **variables}
    template = (NGINX / "templates" / f"{path}.j2").read_text(encoding="utf-8")
    return str(Templar(loader=DataLoader(), variables=given).template(trust_as_template(template)))


class Unit(RawConfigParser):
    """A unit of systemd, where a key may be there several times; the last one counts here."""

    def __init__(self, text: str) -> None:
        super().__init__(strict=False, comment_prefixes=("#",), delimiters=("=",))
        self.read_string(text)


def test_nothing_but_the_socket_unit_opens_the_ports() -> None:
    drop_in, socket = Unit(render("etc/systemd/system/nginx.service.d/plainstack.conf")), Unit(render("etc/systemd/system/nginx.socket"))
    assert drop_in["Unit"]["Wants"] == drop_in["Unit"]["After"] == "nginx.socket"
    assert drop_in["Service"]["Restart"] == "always"
    assert socket["Socket"]["TriggerLimitIntervalSec"] == "0"


def test_no_worker_waits_in_accept() -> None:
    """What nginx inherits it takes for non-blocking, and systemd passes it blocking unless it is told."""
    assert Unit(render("etc/systemd/system/nginx.service.d/plainstack.conf"))["Service"]["NonBlocking"] == "true"


def test_no_port_is_open_without_the_firewall() -> None:
    assert Unit(render("etc/systemd/system/nginx.socket"))["Unit"]["After"] == "plainstack-firewall.service"


@pytest.mark.parametrize("ipv6", [True, False])
def test_the_ports(ipv6: bool) -> None:
    text = render("etc/systemd/system/nginx.socket", __nginx_info={"ipv6": ipv6})
    assert re.findall(r"(?m)^ListenStream=(.*)$", text) == ["0.0.0.0:80", "0.0.0.0:443", *(["[::]:80", "[::]:443"] if ipv6 else [])]


@pytest.mark.parametrize(
    ("unit", "left_alone"),
    [
        ("nginx.service", True),
        (f"hello@{RELEASE}.service", True),
        ("nginx-other.service", False),
        ("my-nginx.service", False),
        ("getty@tty1.service", False),
        ("ssh.service", False),
    ],
)
def test_what_needrestart_leaves_alone(unit: str, left_alone: bool) -> None:
    """`override_rc` has patterns of Perl, whose syntax these share with Python's; 0 is: not by itself."""
    lines = re.findall(r"(?m)^\$nrconf\{override_rc\}\{qr\((.+)\)\} = 0;$", render("etc/needrestart/conf.d/plainstack.conf"))
    assert any(re.search(pattern, unit) for pattern in lines) is left_alone


def test_the_longest_header_of_the_longest_app_fits() -> None:
    """The name of the variable that holds it, with what nginx has beside it."""
    app, header = "a" * 31, "X-" + "b" * 98
    assert NAME.fullmatch(app)
    assert HEADER.fullmatch(header)
    [size] = re.findall(r"(?m)^ *variables_hash_bucket_size (\d+);$", render("etc/nginx/nginx.conf"))
    assert int(size) >= len(f"own_header_{app}_{header}") + 24


def test_the_longest_name_that_dns_allows_fits() -> None:
    """nginx keeps a name with a pointer, its length and rounding beside it, and refuses a configuration whose bucket is too small."""
    [size] = re.findall(r"(?m)^ *server_names_hash_bucket_size (\d+);$", render("etc/nginx/nginx.conf"))
    assert int(size) >= 253 + 24


@pytest.mark.parametrize(
    ("extension", "type_"),
    [
        ("mjs", "text/javascript"),
        ("webmanifest", "application/manifest+json"),
        ("map", "application/json"),
        ("md", "text/markdown"),
        ("csv", "text/csv"),
        ("js", "text/javascript"),
        ("woff2", "font/woff2"),
        ("avif", "image/avif"),
        ("wasm", "application/wasm"),
    ],
)
def test_types_that_a_browser_does_not_guess(extension: str, type_: str) -> None:
    rows = re.findall(r"(?m)^ +(\S+) +([^;]+);$", render("etc/nginx/types.conf"))
    assert [name for name, extensions in rows if extension in extensions.split()] == [type_]
    assert "include types.conf;" in render("etc/nginx/nginx.conf")
