"""nginx in front of an app: limits, headers, static files, errors, and what strangers get."""

from __future__ import annotations

import json
import os
import re

import pytest
from testinfra.host import Host

from support import Request, name_of


@pytest.fixture
def one(host: Host) -> str:
    return f"one.{name_of(host)}.test"


@pytest.fixture
def two(host: Host) -> str:
    return f"two.{name_of(host)}.test"


def test_own_certificate_is_served(https: Request, one: str) -> None:
    assert https(one, verify=False).status == 200


def test_key_is_for_root_only(host: Host) -> None:
    key = host.file("/etc/nginx/certificates/one.key")
    assert (key.user, key.mode) == ("root", 0o600)


def test_hsts_only_with_a_certificate_that_the_host_trusts(https: Request, one: str, two: str) -> None:
    assert https(one, verify=False).headers["strict-transport-security"] == "max-age=63072000"
    assert "strict-transport-security" not in https(two, verify=False).headers


def test_error_page_while_the_app_is_down(https: Request, two: str) -> None:
    answer = https(two, verify=False)
    assert answer.status == 502
    assert b"does not answer just now" in answer.body
    assert answer.headers["retry-after"] == "10"
    assert answer.headers["x-content-type-options"] == "nosniff"


def test_the_apps_own_errors_are_its_own(https: Request, one: str) -> None:
    answer = https(one, "/broken", verify=False)
    assert (answer.status, answer.headers["content-type"]) == (500, "application/json")


def test_limits(https: Request, one: str) -> None:
    assert https(one, "/", "POST", body=b"x" * 1024, verify=False).status == 200
    assert https(one, "/", "POST", body=b"x" * 1025, verify=False).status == 413
    assert https(one, "/slow", verify=False).status == 504


def test_an_app_on_a_path(https: Request, one: str) -> None:
    """It has what is below its path and nothing beside it, with its own limits and files, and the site's headers."""

    def asked(path: str) -> tuple[str, str]:
        answer = https(one, path, verify=False)
        assert answer.headers["x-content-type-options"] == "nosniff"
        told = json.loads(answer.body)
        return told["socket"], told["path"]

    for path in ("/api", "/api/", "/api/users?name=a%20b", "/api/static/not-there"):
        assert asked(path) == ("/run/api.sock", path)
    for path in ("/", "/apis", "/static/../other"):
        assert asked(path)[0] == "/run/app.sock"
    assert https(one, "/api/", "POST", body=b"x" * 2048, verify=False).status == 200
    assert https(one, "/api/", "POST", body=b"x" * 2049, verify=False).status == 413
    file = https(one, "/api/static/api.css", verify=False)
    assert (file.status, file.headers["content-type"]) == (200, "text/css; charset=utf-8")


def test_headers_upward_are_set_never_passed_on(https: Request, one: str) -> None:
    forged = {
        "X-Forwarded-For": "6.6.6.6", "X-Forwarded-Proto": "http", "X-Forwarded-Host": "evil", "X-Real-IP": "6.6.6.6", "Forwarded": "for=6.6.6.6",
        "Proxy": "http://evil", "X-Forwarded-Ssl": "off", "X-Forwarded-Prefix": "/evil", "X-Forwarded-Protocol": "http", "X_Forwarded_For": "6.6.6.6",
    }  # fmt: skip
    seen = {key.lower(): value for key, value in json.loads(https(one, headers=forged, verify=False).body)["headers"].items()}
    assert "6.6.6.6" not in json.dumps(seen)
    assert "evil" not in json.dumps(seen)
    assert (seen["host"], seen["x-forwarded-host"], seen["x-forwarded-proto"]) == (one, one, "https")
    assert not {"forwarded", "proxy", "x-forwarded-ssl", "x-forwarded-protocol"} & set(seen)


def test_the_apps_own_security_header_counts(https: Request, one: str) -> None:
    assert https(one, "/own-header", verify=False).headers["x-frame-options"] == "SAMEORIGIN"
    assert https(one, "/", verify=False).headers["x-frame-options"] == "DENY"


def test_static_files(https: Request, one: str) -> None:
    plain = https(one, "/static/plain.css", headers={"Accept-Encoding": "br"}, verify=False)
    assert (plain.status, plain.headers["content-encoding"], plain.headers["cache-control"]) == (200, "br", "public, max-age=3600")
    assert "immutable" in https(one, "/static/named.0123456789abcdef.css", verify=False).headers["cache-control"]
    # What is not on disk is asked of the app, and is the app's answer: not cached, with the headers of every answer
    missing = https(one, "/static/nothing.css", verify=False)
    assert "Host" in json.loads(missing.body)["headers"]
    assert "cache-control" not in missing.headers
    assert missing.headers["x-content-type-options"] == "nosniff"


def test_types_of_static_files(https: Request, one: str) -> None:
    """With nosniff a browser runs no module and installs no app that comes as application/octet-stream."""
    wanted = {
        "plain.css": "text/css; charset=utf-8", "module.mjs": "text/javascript; charset=utf-8", "app.webmanifest": "application/manifest+json",
        "app.js.map": "application/json", "notes.md": "text/markdown; charset=utf-8", "table.csv": "text/csv; charset=utf-8",
        "text.woff2": "font/woff2", "unknown.thing": "application/octet-stream",
    }  # fmt: skip
    assert {name: https(one, f"/static/{name}", verify=False).headers["content-type"] for name in wanted} == wanted


def test_names_that_begin_with_a_dot_are_the_apps(https: Request, one: str) -> None:
    for path in ("/static/.env", "/static/.git/config", "/static/%2eenv", "/.well-known/.env", "/static/../static/.env"):
        assert json.loads(https(one, path, verify=False).body)["socket"] == "/run/app.sock", path
    assert https(one, "/.well-known/security.txt", verify=False).body.startswith(b"body")


def test_the_longest_name(https: Request, one: str) -> None:
    assert https(f"{('a' * 62 + '.') * 3}{'b' * 59}.test", verify=False).status == 200


def test_dynamic_answers_are_never_compressed(https: Request, one: str) -> None:
    assert "content-encoding" not in https(one, "/large", headers={"Accept-Encoding": "br, gzip"}, verify=False).headers


def test_version_is_not_told(https: Request, one: str) -> None:
    assert https(one, verify=False).headers["server"] == "nginx"


def test_a_stop_waits_for_running_requests(host: Host) -> None:
    assert host.check_output("systemctl show --property=KillSignal --value nginx.service") == "3"
    assert host.check_output("systemctl show --property=TimeoutStopUSec --value nginx.service") == "40s"


def test_the_same_key_exchange_as_openssl_offers(host: Host) -> None:
    curves = host.check_output("grep ssl_ecdh_curve /etc/nginx/nginx.conf")
    assert ("MLKEM" in curves) is (host.check_output("openssl list -kem-algorithms 2>/dev/null | grep -c X25519MLKEM768 || :") != "0")


def test_needrestart_leaves_nginx_and_the_apps_alone(host: Host) -> None:
    """As needrestart reads it; where it says 0, it restarts nothing by itself."""
    script = (
        'do "/etc/needrestart/conf.d/plainstack.conf" // die $@; my %no = %{$nrconf{override_rc}};'
        ' for my $unit (@ARGV) { print "$unit " if grep { $unit =~ /$_/ and $no{$_} eq "0" } keys %no }'
    )
    ours = "nginx.service hello@20261122T104104Z-1f0c2d3e.service"
    assert host.check_output(f"perl -e '{script}' {ours} nginx-other.service getty@tty1.service").strip() == ours


@pytest.mark.parametrize("end", ["systemctl stop nginx.service", "systemctl kill --kill-whom=main --signal=KILL nginx.service"], ids=["stopped", "killed"])
def test_connections_wait_while_nginx_is_replaced(host: Host, https: Request, one: str, end: str) -> None:
    """As an upgrade of its package, or the end of its memory, does it: the ports are systemd's."""
    host.check_output(end)
    assert [https(one, verify=False).status for _ in range(3)] == [200] * 3
    listed = host.check_output("ss -ltnpH 'sport = :443'").splitlines()
    assert [('"nginx"' in line and '"systemd"' in line) for line in listed] == [True] * len(listed)


def test_no_worker_of_nginx_waits_in_accept(host: Host) -> None:
    """The ports that systemd passes block unless it is told otherwise: a worker that comes second for a connection would hang, and all that it serves."""
    master = host.check_output("systemctl show --property=MainPID --value nginx.service")
    listed = host.check_output("ss -ltnpH 'sport = :80 or sport = :443'")
    handles = re.findall(rf"pid={master},fd=(\d+)", listed)
    assert handles
    flags = [int(host.check_output(f"sed -n 's/^flags:\\s*//p' /proc/{master}/fdinfo/{handle}"), 8) for handle in handles]
    assert [bool(flag & os.O_NONBLOCK) for flag in flags] == [True] * len(handles)


def test_no_port_is_open_without_the_firewall(host: Host) -> None:
    """A reboot of a server that refuses visitors: with the rules gone first, connections would be taken by a port that is about to close."""
    assert "plainstack-firewall.service" in host.check_output("systemctl show --property=After --value nginx.socket").split()
