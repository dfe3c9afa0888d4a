"""What the lab does about a VM that was killed together with its podman."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[2]
RULES = """\
-N NETAVARK-DN-57F7DF2DD3177
-A NETAVARK-DN-57F7DF2DD3177 -s 10.213.0.0/16 -d 127.0.0.1/32 -p tcp -m tcp --dport 2201 -j NETAVARK-HOSTPORT-SETMARK
-A NETAVARK-DN-57F7DF2DD3177 -d 127.0.0.1/32 -p tcp -m tcp --dport 2201 -j DNAT --to-destination 10.213.0.2:22
-A NETAVARK-DN-57F7DF2DD3177 -d 127.0.0.1/32 -p tcp -m tcp --dport 22011 -j DNAT --to-destination 10.213.0.3:22
-A NETAVARK-DN-12345678ABCDE -d 127.0.0.1/32 -p tcp -m tcp --dport 8080 -j DNAT --to-destination 10.88.0.2:80
-A NETAVARK-HOSTPORT-DNAT -p tcp -m tcp --dport 2201 -m comment --comment "dnat name: plainstack id: 5d5b" -j NETAVARK-DN-57F7DF2DD3177
"""
NAMES = """\
10.213.0.1
16ff 10.213.0.152  lab-release13,hello.release13.test,16ff
5d5b 10.213.0.154  lab-pebble,pebble,5d5b
"""


@pytest.fixture(scope="module")
def killed() -> ModuleType:
    spec = importlib.util.spec_from_file_location("killed", ROOT / "lab/killed.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_only_what_leads_from_these_ports_into_the_lab_is_forgotten(killed: ModuleType) -> None:
    """Neither another VM's port nor one of another network."""
    rule = "-D NETAVARK-DN-57F7DF2DD3177 -d 127.0.0.1/32 -p tcp -m tcp --dport 2201 -j DNAT --to-destination 10.213.0.2:22"
    assert killed.left_behind(RULES, [2201, 8080]) == [rule.split()]
    assert killed.left_behind(RULES, [443]) == []


def test_its_names_lead_nowhere_any_more(killed: ModuleType) -> None:
    """Those of the others, and the gateway, stay."""
    assert killed.without(NAMES, "lab-pebble") == "".join(NAMES.splitlines(keepends=True)[:2])
    assert killed.without(NAMES, "pebble") == NAMES
