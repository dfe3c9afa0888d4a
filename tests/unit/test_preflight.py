"""Which hosts are refused, and in which words."""

import ast
import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.testing import patch_module_args
from ansible_collections.plainstack.web.plugins.module_utils.host.measure import listeners, pretty_name, version
from ansible_collections.plainstack.web.plugins.module_utils.host.preflight import Host, Needs, problems
from ansible_collections.plainstack.web.plugins.module_utils.layout import relink
from ansible_collections.plainstack.web.plugins.modules import inspect

from tests.unit.fakes import OLD, LocalApp, release

ROOT = Path(__file__).parents[2]
NEEDS = Needs(memory_mb=400, disk_mb=500, inodes=20000, clock_skew=300)
GOOD = Host(
    pretty_name="Debian GNU/Linux 13 (trixie)",
    apt=True,
    systemd=(257, 9),
    python=(3, 13),
    openssl=(3, 5),
    nginx=(1, 26, 3),
    memory_mb=400,
    disk_mb=500,
    inodes=20000,
    clock_skew=-300.0,
    listeners={80: "nginx", 443: "nginx"},
)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"pretty_name": "Debian GNU/Linux 12 (bookworm)", "systemd": (252, 39), "python": (3, 11), "openssl": (3, 0), "nginx": (1, 22, 1)},
        {"pretty_name": "Ubuntu 24.04.3 LTS", "systemd": (255, 4), "python": (3, 12), "openssl": (3, 0), "nginx": ()},
        {"pretty_name": "Ubuntu 26.04 LTS", "systemd": (259,), "python": (3, 14), "openssl": (3, 5), "nginx": (1, 28)},
        {"pretty_name": "A derivative that nobody knows"},
        {"listeners": {}},
        {"clock_skew": 300.0},
    ],
)
def test_a_good_host(changes: dict[str, Any]) -> None:
    assert problems(dataclasses.replace(GOOD, **changes), NEEDS) == []


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"pretty_name": "Debian GNU/Linux 11 (bullseye)", "systemd": (247, 3)},
            "it runs Debian GNU/Linux 11 (bullseye) with systemd 247.3; 252 or later is needed. Use a host that has it; Debian 12 and 13 are known",
        ),
        ({"pretty_name": "Ubuntu 22.04.5 LTS", "python": (3, 10)}, "it runs Ubuntu 22.04.5 LTS with Python (/usr/bin/python3) 3.10; 3.11 or later is needed."),
        ({"openssl": (1, 1)}, "with OpenSSL 1.1; 3 or later"),
        ({"nginx": (1, 18, 0)}, "with nginx 1.18.0; 1.22 or later"),
        ({"pretty_name": "Fedora Linux 43", "apt": False}, "it runs Fedora Linux 43, which has no apt-get."),
        ({"pretty_name": "", "apt": False}, "it runs an unknown system, which has no apt-get"),
        ({"systemd": ()}, "systemd is not its init system"),
        ({"memory_mb": 399}, "399 MiB of memory; 400 MiB are needed (preflight_memory_mb)"),
        ({"disk_mb": 499}, "499 MiB of disk are free for /srv; 500 MiB are needed (preflight_disk_mb)"),
        ({"inodes": 19999}, "19999 inodes are free for /srv; 20000 are needed (preflight_inodes)"),
        ({"clock_skew": 301.0}, "differs from this machine's by 301 s"),
        ({"clock_skew": -301.0}, "differs from this machine's by -301 s"),
        ({"foreign_certbot": "/snap/bin/certbot is a certbot from snap"}, "/snap/bin/certbot is a certbot from snap"),
        ({"foreign_sites": ("blog", "shop")}, "nginx serves sites of its own there (blog, shop in /etc/nginx/sites-enabled), which would go dark."),
        ({"listeners": {80: "apache2", 443: "nginx"}}, "port 80 is taken by apache2, and nginx needs it."),
    ],
)
def test_a_problem(changes: dict[str, Any], message: str) -> None:
    [found] = problems(dataclasses.replace(GOOD, **changes), NEEDS)
    assert message in found


def test_all_problems_at_once() -> None:
    assert len(problems(Host("", False, (), (3, 9), (1, 1), (1, 18), 0, 0, 0, 1e6, {80: "apache2", 443: "caddy"}), NEEDS)) == 11


@pytest.mark.parametrize(
    "path",
    ["modules/inspect.py", "module_utils/layout.py", *(f"module_utils/host/{name}.py" for name in ("preflight", "measure", "memory", "lock", "interpreter"))],
)
def test_an_old_python_can_run_the_check(path: str) -> None:
    """The oldest that Ansible itself can work with is to be told what is wrong with the host, by this module."""
    ast.parse((ROOT / "plugins" / path).read_text(encoding="utf-8"), feature_version=(3, 9))


def process(proc: Path, number: int, name: str, *sockets: int) -> None:
    """A process with open sockets, in a directory like /proc."""
    (proc / str(number) / "fd").mkdir(parents=True)
    (proc / str(number) / "comm").write_text(f"{name}\n")
    for handle, inode in enumerate(sockets):
        (proc / str(number) / "fd" / str(handle)).symlink_to(f"socket:[{inode}]")


def test_listeners(tmp_path: Path) -> None:
    """As in /proc/net/tcp of a Debian 13; 443 also belongs to systemd, which has opened it for haproxy."""
    rows = [
        "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode",
        "   0: 00000000:0050 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 501 1 0000000000000000 100 0 0 10 0",
        "   1: 0100007F:0016 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 502 1 0000000000000000 100 0 0 10 0",
        "   2: 0100007F:9C40 0100007F:01BB 01 00000000:00000000 00:00000000 00000000     0        0 503 1 0000000000000000 20 0 0 10 -1",
        "   3: 0100007F:01BB 0100007F:9C40 01 00000000:00000000 00:00000000 00000000     0        0 505 1 0000000000000000 20 0 0 10 -1",
    ]
    (tmp_path / "net").mkdir()
    (tmp_path / "net/tcp").write_text("\n".join(rows) + "\n")
    assert listeners((80, 443), str(tmp_path)) == {80: "another program"}
    six = "   0: 00000000000000000000000000000000:01BB 00000000000000000000000000000000:0000 0A 0:0 00:0 0 0 0 504 1 0 100 0 0 10 0"
    (tmp_path / "net/tcp6").write_text(f"{rows[0]}\n{six}\n")
    process(tmp_path, 1, "systemd", 504)
    process(tmp_path, 21, "apache2", 499, 501)
    process(tmp_path, 22, "haproxy", 504, 503)
    assert listeners((80, 443), str(tmp_path)) == {80: "apache2", 443: "haproxy"}


@pytest.mark.parametrize(
    ("said", "found"),
    [
        ("systemd 252 (252.39-1~deb12u1)\n+PAM +AUDIT", (252,)),
        ("sudo: unable to resolve host nowhere\nsystemd 257 (257.9-1~deb13u1)", (257,)),
        ("nginx version: nginx/1.26.3", (1, 26, 3)),
        ("nginx version: nginx/1.18.0 (Ubuntu)", (1, 18, 0)),
        ("something else 9", ()),
    ],
)
def test_version(said: str, found: tuple[int, ...]) -> None:
    assert version("printf", "%s", said) == found


def test_version_of_what_is_not_installed() -> None:
    assert version("/no/such/program") == ()


@pytest.mark.parametrize(
    ("text", "name"),
    [('NAME=x\nPRETTY_NAME="Debian GNU/Linux 13 (trixie)"\n', "Debian GNU/Linux 13 (trixie)"), ("PRETTY_NAME=Arch\n", "Arch"), ("", "")],
)
def test_pretty_name(tmp_path: Path, text: str, name: str) -> None:
    (tmp_path / "os-release").write_text(text)
    assert pretty_name(str(tmp_path / "os-release")) == name
    assert pretty_name(str(tmp_path / "none")) == ""


@pytest.mark.parametrize("purpose", ["deploy", "rollback", "upgrade"])
@pytest.mark.parametrize(("python", "warned"), [("3.2.1", True), ("", False)])
def test_a_live_release_that_will_not_survive_a_restart(
    app: LocalApp, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], purpose: str, python: str, warned: bool
) -> None:
    """After an upgrade of Debian it serves on, and dies at its next restart: every run says so, whatever it is for."""
    release(app, OLD, python=python, revision="0123456789abcdef")
    relink(app.live_socket, app.socket(OLD))
    monkeypatch.setattr(inspect, "apps", lambda: [app])
    monkeypatch.setattr(inspect, "problems", lambda _host, _needs: [])
    monkeypatch.setattr(inspect, "moves", lambda _given, _names: [])
    warnings: list[str] = []
    monkeypatch.setattr(AnsibleModule, "warn", lambda _module, message: warnings.append(message))
    with patch_module_args({"purpose": purpose}), pytest.raises(SystemExit):
        inspect.main()
    assert "failed" not in json.loads(capsys.readouterr().out)
    assert len(warnings) == warned
    for word in ("will not survive a restart", f"{OLD} was built for Python 3.2", "check out revision 0123456789ab and deploy it"):
        assert (word in "".join(warnings)) is warned
