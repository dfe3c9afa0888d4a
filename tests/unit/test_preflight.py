"""Which hosts are refused, and in which words."""

import dataclasses
from typing import Any

import pytest
from ansible_collections.plainstack.web.plugins.module_utils.preflight import Host, Needs, problems

NEEDS = Needs(memory_mb=400, disk_mb=500, inodes=20000, clock_skew=300)
GOOD = Host(
    system="debian",
    version="13",
    pretty_name="Debian GNU/Linux 13 (trixie)",
    systemd=True,
    memory_mb=400,
    disk_mb=500,
    inodes=20000,
    clock_skew=-300.0,
    listeners={80: "nginx", 443: "nginx"},
)


@pytest.mark.parametrize("changes", [{}, {"version": "12"}, {"listeners": {}}, {"clock_skew": 300.0}])
def test_a_good_host(changes: dict[str, Any]) -> None:
    assert problems(dataclasses.replace(GOOD, **changes), NEEDS) == []


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"version": "11", "pretty_name": "Debian 11"}, "it runs Debian 11; supported are Debian 12 and Debian 13."),
        ({"system": "ubuntu", "pretty_name": "Ubuntu 24.04"}, "it runs Ubuntu 24.04"),
        ({"system": "", "version": "", "pretty_name": ""}, "it runs an unknown system"),
        ({"systemd": False}, "systemd is not its init system"),
        ({"memory_mb": 399}, "399 MiB of memory; 400 MiB are needed (preflight_memory_mb)"),
        ({"disk_mb": 499}, "499 MiB of disk are free for /srv; 500 MiB are needed (preflight_disk_mb)"),
        ({"inodes": 19999}, "19999 inodes are free for /srv; 20000 are needed (preflight_inodes)"),
        ({"clock_skew": 301.0}, "differs from this machine's by 301 s"),
        ({"clock_skew": -301.0}, "differs from this machine's by -301 s"),
        ({"foreign_sites": ("blog", "shop")}, "nginx serves sites of its own there (blog, shop in /etc/nginx/sites-enabled), which would go dark."),
        ({"listeners": {80: "apache2", 443: "nginx"}}, "port 80 is taken by apache2, and nginx needs it."),
    ],
)
def test_a_problem(changes: dict[str, Any], message: str) -> None:
    [found] = problems(dataclasses.replace(GOOD, **changes), NEEDS)
    assert message in found


def test_all_problems_at_once() -> None:
    assert len(problems(Host("", "", "", False, 0, 0, 0, 1e6, {80: "apache2", 443: "caddy"}), NEEDS)) == 8
