"""What `doctor` finds on a server, from outside, and how it says it."""

from __future__ import annotations

import errno
import http.server
import json
import socket
import ssl
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.plainstack.web.plugins.action.doctor import _public
from ansible_collections.plainstack.web.plugins.module_utils import layout
from ansible_collections.plainstack.web.plugins.module_utils.controller import doctor as controller
from ansible_collections.plainstack.web.plugins.module_utils.host import alerts, doctor, packages
from ansible_collections.plainstack.web.plugins.module_utils.host import systemd as systemd_logic
from ansible_collections.plainstack.web.plugins.module_utils.host.preflight import Host, Needs
from ansible_collections.plainstack.web.plugins.plugin_utils import outside

from tests.unit.fakes import OLD, LocalApp, Systemd, make_live, release

HOST = Host("Debian 13", True, (257,), (3, 13), (3, 5), (1, 26), 2000, 9000, 90000, 0.0, {80: "nginx"})
NEEDS = Needs(400, 500, 20000, 300)
Told = dict[str, str]


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> Told:
    """What commands print, by how they begin; the host is well to begin with."""
    found = {"systemd-detect-virt": "none\n", "timedatectl": "NTP=yes\n", "dpkg": "", "apt-get": "", "systemctl": "", "ufw": "Status: inactive\n"}
    monkeypatch.setattr(doctor, "output", lambda *words: found.get(words[0], ""))
    monkeypatch.setattr(packages, "holder", lambda: found.get("holder", ""))
    there = {"/usr/sbin/ufw", doctor.NEEDRESTART, "/usr/sbin/needrestart"}
    monkeypatch.setattr("os.path.exists", lambda path: path in there and path not in found.get("missing", ""))
    return found


def test_a_healthy_host(told: Told) -> None:
    assert doctor.look(HOST, NEEDS, (80, 443), {}, {}) == []


def test_what_was_set_up_to_watch(app: LocalApp, systemd: Systemd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It knows no app that came later, may have been stopped, and reaches nobody where its targets fail."""
    release(app, OLD, sequence=1)
    make_live(app, systemd, OLD)
    path = tmp_path / "config.json"
    states = {"is-active": "active"}
    monkeypatch.setattr(doctor, "WATCHERS", {"backup": (str(path), "plainstack-backup.timer", "nothing backs up")})
    monkeypatch.setattr(layout, "apps", lambda: [app])
    monkeypatch.setattr(systemd_logic, "systemctl", lambda verb, *_given, **_named: states[verb])
    monkeypatch.setattr(alerts, "load", dict)
    assert list(doctor.watched()) == []
    path.write_text(json.dumps({"apps": ["hello"]}))
    assert list(doctor.watched()) == []
    path.write_text(json.dumps({"apps": [{"name": "other"}]}))
    states["is-active"] = "inactive"
    monkeypatch.setattr(alerts, "CONFIG", str(path))
    monkeypatch.setattr(alerts, "load", lambda: {"failing": {"1": "refused"}})
    missing, stopped, mute = doctor.watched()
    assert (missing["what"].startswith("nothing backs up hello, as"), missing["next"]) == (True, "ansible-playbook plainstack.web.backup")
    assert (stopped["level"], stopped["what"]) == ("error", "plainstack-backup.timer does not run")
    assert mute["what"] == "alerts do not reach target 2 of 'alerts_targets': refused"


@pytest.mark.parametrize(
    ("changes", "level", "what", "then"),
    [
        ({"timedatectl": "NTP=no\n"}, "warning", "nothing keeps the clock right", "systemd-timesyncd"),
        ({"holder": "apt (process 7)"}, "warning", "apt is in use by apt (process 7)", "apt_lock_timeout"),
        ({"dpkg": "The following packages\n are half-installed\n"}, "error", "dpkg says: The following packages are half-installed", "dpkg --configure -a"),
        ({"apt-get": "E: Unmet dependencies\n"}, "error", "apt says: E: Unmet dependencies", "--fix-broken"),
        ({"systemctl": "x.service loaded failed failed X\n"}, "warning", "the unit x.service has failed", "reset-failed x.service"),
        (
            {"ufw": "Status: active\n\n22/tcp  ALLOW  Any\n80/tcp  ALLOW  Any\n443/tcp  DENY  Any\n"},
            "error",
            "ufw is on",
            "ufw allow 443/tcp",
        ),
        ({"missing": doctor.NEEDRESTART}, "warning", "needrestart may restart nginx", "deploy once"),
    ],
)
def test_what_is_found(told: Told, changes: Told, level: str, what: str, then: str) -> None:
    told.update(changes)
    [found] = doctor.look(HOST, NEEDS, (80, 443), {}, {})
    assert (found["level"], what in found["what"], then in found["next"]) == (level, True, True), found


@pytest.mark.parametrize(
    "allowed", ["80,443/tcp  ALLOW  Any", "443  ALLOW IN  Any\n80/tcp (v6)  ALLOW  Any (v6)", "Nginx Full  ALLOW  Any", "Anywhere  ALLOW  10.0.0.2"]
)
def test_what_ufw_lets_in(told: Told, allowed: str) -> None:
    told["ufw"] = f"Status: active\n\n{allowed}\n"
    assert doctor.look(HOST, NEEDS, (80, 443), {}, {}) == []


def test_a_container_has_the_clock_of_its_host(told: Told) -> None:
    told.update({"systemd-detect-virt": "podman\n", "timedatectl": "NTP=no\n"})
    assert doctor.look(HOST, NEEDS, (80, 443), {}, {}) == []


def test_what_a_deploy_would_refuse(told: Told) -> None:
    [found] = doctor.look(HOST, Needs(400, 10000, 20000, 300), (), {}, {})
    assert (found["level"], found["what"][:34]) == ("error", "9000 MiB of disk are free for /srv")


def test_what_a_program_prints_does_nothing_to_a_terminal(told: Told) -> None:
    told["dpkg"] = "\x1b[2J half-installed\n"
    assert r"\x1b[2J" in doctor.look(HOST, NEEDS, (80, 443), {}, {})[0]["what"]


@pytest.fixture
def server() -> Iterator[str]:
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self.send_error(403)

        def log_message(self, *_arguments: Any) -> None:
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Handler) as found:
        thread = threading.Thread(target=found.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{found.server_port}/"
        found.shutdown()
        thread.join()


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def test_what_cannot_be_reached(server: str) -> None:
    """Any answer is one, and credentials of a URL are not shown."""
    nobody = f"http://127.0.0.1:{free_port()}/simple"
    found = list(doctor.reached({server: "is well", nobody: "has the packages", "http://x:y/": "is no URL"}, {}))
    assert [one["level"] for one in found] == ["error", "error"]
    first = found[0]
    assert "has the packages" in first["what"]
    assert _public("https://ci:swordfish@index.test:8443/simple/") == "https://index.test:8443/simple/"


def test_through_a_proxy(server: str) -> None:
    assert list(doctor.reached({"http://index.invalid/": "x"}, {"http_proxy": server})) == []


# From outside


@pytest.mark.parametrize(
    ("resolved", "own", "proxied", "said"),
    [
        (["203.0.113.7"], ["203.0.113.7", "10.0.0.7"], False, ""),
        ([], ["203.0.113.7"], False, "it has no address in DNS"),
        (["198.51.100.1"], ["203.0.113.7"], False, "its A record leads to 198.51.100.1; the servers have 203.0.113.7"),
        (["203.0.113.7", "2001:db8::1"], ["203.0.113.7"], False, "its AAAA record leads to 2001:db8::1"),
        (["198.51.100.1", "2001:db8::1"], ["203.0.113.7"], False, "its A and AAAA record leads to"),
        (["198.51.100.1"], ["203.0.113.7"], True, ""),
        ([], ["203.0.113.7"], True, "it has no address in DNS"),
    ],
)
def test_names(resolved: Sequence[str], own: Sequence[str], proxied: bool, said: str) -> None:
    found = controller.of_names("hello.test", resolved, own, proxied)
    assert [one["what"].startswith(said) for one in found] == ([True] if said else [])


def test_behind_an_address_that_is_not_its_own() -> None:
    """A server that knows private addresses alone may be behind another one: no error."""
    for own, level in ((["10.0.0.5"], "warning"), (["10.0.0.5", "8.8.8.8"], "error"), (["web1.example.com"], "warning")):
        assert [one["level"] for one in controller.of_names("hello.test", ["1.1.1.1"], own, False)] == [level]


@pytest.mark.parametrize(("outcome", "serves", "count"), [("", True, 0), ("refused", False, 0), ("refused", True, 1), ("no answer within 5 s", False, 1)])
def test_ports(outcome: str, serves: bool, count: int) -> None:
    """Before the first deploy nothing listens, and a firewall can be told from that."""
    assert len(controller.of_port("hello.test", "203.0.113.7", 80, outcome, serves)) == count


@pytest.mark.parametrize(("issuers", "count"), [(None, 0), ({"letsencrypt.org", "x"}, 0), (set(), 1), ({"digicert.com"}, 1)])
def test_caa(issuers: set[str] | None, count: int) -> None:
    assert len(controller.of_caa("hello.test", issuers)) == count


def test_caa_of_what_a_domain_belongs_to(monkeypatch: pytest.MonkeyPatch) -> None:
    import dns.resolver

    class Record:
        tag, value = b"issue", b"letsencrypt.org; validationmethods=http-01"

    def resolve(name: str, _kind: str, lifetime: float) -> list[Record]:
        if name != "example.com":
            raise dns.resolver.NoAnswer
        return [Record()]

    monkeypatch.setattr(dns.resolver, "resolve", resolve)
    assert outside.caa("shop.example.com") == {"letsencrypt.org"}
    Record.tag = b"iodef"
    assert outside.caa("shop.example.com") is None, "who may issue is not said"
    monkeypatch.setattr(dns.resolver, "resolve", lambda *_given, **_named: (_ for _ in ()).throw(dns.resolver.NXDOMAIN))
    assert outside.caa("shop.example.com") is None


def test_connections() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        assert outside.connect("127.0.0.1", listener.getsockname()[1]) == ""
    assert outside.connect("127.0.0.1", free_port()) == "refused"
    assert outside.resolve("localhost") >= {"127.0.0.1"}
    assert outside.resolve("none.invalid") == set()


def test_a_site_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outside, "resolve", lambda name: {"203.0.113.7"} if name == "hello.test" else set())
    monkeypatch.setattr(outside, "connect", lambda address, port: "no answer within 5 s" if port == 80 else "")
    monkeypatch.setattr(outside, "verify", lambda address, domain: "self-signed certificate")
    monkeypatch.setattr(outside, "caa", lambda domain: (_ for _ in ()).throw(ImportError))
    site = {"domain": "hello.test", "own": ["203.0.113.7"], "proxied": False, "serves": True, "default_issuer": True}
    found, notes = outside.look([site, {**site, "domain": "none.test"}])
    assert [(one["where"], one["what"].split(":")[0]) for one in found] == [
        ("hello.test", "port 80 of 203.0.113.7 cannot be reached from here"),
        ("hello.test", "browsers do not trust its certificate"),
        ("none.test", "it has no address in DNS"),
    ]
    assert notes == [outside.NO_CAA]
    assert outside.look([{**site, "default_issuer": False}])[1] == []


def test_a_machine_without_ipv6(monkeypatch: pytest.MonkeyPatch) -> None:
    """It says nothing of the server."""

    def create_connection(place: tuple[str, int], _timeout: float) -> socket.socket:
        raise OSError(errno.ENETUNREACH, "Network is unreachable")

    monkeypatch.setattr(outside, "resolve", lambda _name: {"2001:db8::1"})
    monkeypatch.setattr("socket.create_connection", create_connection)
    site = {"domain": "hello.test", "own": ["2001:db8::1"], "proxied": False, "serves": True, "default_issuer": False}
    assert outside.look([site]) == ([], [outside.NO_IPV6])
    assert outside.connect("203.0.113.7", 80) == "Network is unreachable"


def test_a_certificate_that_nobody_trusts(monkeypatch: pytest.MonkeyPatch) -> None:
    class Refused:
        def wrap_socket(self, *_given: Any, **_named: Any) -> None:
            error = ssl.SSLCertVerificationError("x")
            error.verify_message = "certificate has expired"
            raise error

    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        monkeypatch.setattr("socket.create_connection", lambda *_given: socket.socket())
        monkeypatch.setattr("ssl.create_default_context", Refused)
        assert port
        assert outside.verify("127.0.0.1", "hello.test") == "certificate has expired"


# What is said


def status(**changes: Any) -> dict[str, Any]:
    return {"apps": [], "nginx": "active", "certificates": [], "disk": {"total": 10, "free": 9}, "memory": {"total": 10, "available": 9}, **changes}


def test_findings_of_servers() -> None:
    """What nothing was deployed to yet lacks nothing."""
    bare = {"findings": [], "status": {**status(nginx="inactive"), "reboot": {"required": False, "packages": []}, "unknown": [], "time": 0}}
    found = controller.of_servers(
        {"web1": {"error": "cannot be reached: no route"}, "web2": bare, "web3": {"findings": [controller.finding("error", "", "x", "y")]}}
    )
    assert [(one["level"], one["where"], one["what"]) for one in found] == [("error", "web1", "cannot be reached: no route"), ("error", "web3", "x")]


def test_errors_come_first() -> None:
    findings = [controller.finding("warning", "web1", "w"), controller.finding("error", "web2", "e\x1b[2J", "do")]
    assert controller.text(findings, ["a note"]) == "error  web2: e\\x1b[2J\n       Next: do\nwarning  web1: w\na note\n1 error, 1 warning."
    assert controller.text([], []) == "Nothing was found."
    assert json.loads(controller.as_json(findings, []))["findings"][1]["where"] == "web2"
