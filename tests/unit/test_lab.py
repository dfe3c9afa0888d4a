"""What the lab does about a VM that was killed together with its podman."""

from __future__ import annotations

import importlib.util
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
RULES = """\
-N NETAVARK-DN-57F7DF2DD3177
-A NETAVARK-DN-57F7DF2DD3177 -s 10.213.0.0/16 -d 127.0.0.1/32 -p tcp -m tcp --dport 2201 -j NETAVARK-HOSTPORT-SETMARK
-A NETAVARK-DN-57F7DF2DD3177 -d 127.0.0.1/32 -p tcp -m tcp --dport 2201 -j DNAT --to-destination 10.213.0.2:22
-A NETAVARK-DN-57F7DF2DD3177 -d 127.0.0.1/32 -p tcp -m tcp --dport 22011 -j DNAT --to-destination 10.213.0.3:22
-A NETAVARK-DN-12345678ABCDE -d 127.0.0.1/32 -p tcp -m tcp --dport 8080 -j DNAT --to-destination 10.88.0.2:80
-A NETAVARK-HOSTPORT-DNAT -p tcp -m tcp --dport 2201 -m comment --comment "dnat name: plainstack id: 5d5b" -j NETAVARK-DN-57F7DF2DD3177
"""


def test_only_what_leads_from_these_ports_into_the_lab_is_forgotten() -> None:
    """Neither another VM's port nor one of another network."""
    spec = importlib.util.spec_from_file_location("killed", ROOT / "lab/killed.py")
    assert spec
    assert spec.loader
    killed = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(killed)
    rule = "-D NETAVARK-DN-57F7DF2DD3177 -d 127.0.0.1/32 -p tcp -m tcp --dport 2201 -j DNAT --to-destination 10.213.0.2:22"
    assert killed.left_behind(RULES, [2201, 8080]) == [rule.split()]
    assert killed.left_behind(RULES, [443]) == []
