"""Certificates: when to renew, when not to ask, and what is seen before the ACME server is asked."""

import http.client
import http.server
import os
import socket
import stat
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.plainstack.web.plugins.module_utils import acme
from ansible_collections.plainstack.web.plugins.module_utils.acme import (
    Account,
    AcmeError,
    Held,
    Renewal,
    as_wanted,
    check,
    obtain,
    parse,
    renew_before,
    renewal_of,
    set_renewal,
)

DAY = 86400
OPENSSL = """notBefore=Nov  2 10:00:00 2026 GMT
notAfter=Jan 31 09:59:59 2027 GMT
X509v3 Subject Alternative Name:
    DNS:hello.example.com, DNS:www.hello.example.com
"""
RENEWAL = """# renew_before_expiry = 30 days
version = 2.1.0
cert = /etc/letsencrypt/live/hello/cert.pem

# Options used in the renewal process
[renewalparams]
account = 0123
server = https://acme.example.com/directory
authenticator = webroot
[[webroot_map]]
hello.example.com = /var/www/acme
"""
CERTBOT = """#!/bin/sh
echo "$@" > {directory}/asked
echo 'Some challenges have failed.' >&2
exit {code}
"""


@pytest.fixture(autouse=True)
def letsencrypt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """certbot's settings of one certificate, in a directory of its own."""
    monkeypatch.setattr(acme, "LETSENCRYPT", str(tmp_path))
    monkeypatch.setattr(acme, "FAILURES", str(tmp_path / "var/failures.json"))
    (tmp_path / "renewal").mkdir()
    path = tmp_path / "renewal/hello.conf"
    path.write_text(RENEWAL)
    return path


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """What time it is; a test may turn it."""
    now = [1_800_000_000.0]
    monkeypatch.setattr(time, "time", lambda: now[0])
    return now


def certbot(directory: Path, monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    """A certbot on the PATH that ends with this code."""
    path = directory / "certbot"
    path.write_text(CERTBOT.format(directory=directory, code=code))
    path.chmod(0o755)
    monkeypatch.setenv("PATH", f"{directory}:{os.environ['PATH']}")
    monkeypatch.setattr(acme, "check", lambda domain, webroot: None)


def order() -> None:
    obtain("hello", ["hello.example.com", "www.hello.example.com"], Account("https://acme.example.com/directory", "", "/var/www/acme", ""))


def test_parse() -> None:
    assert parse(OPENSSL) == Held(frozenset({"hello.example.com", "www.hello.example.com"}), 90 * DAY - 1)


@pytest.mark.parametrize(("days", "expected"), [(90, "720 hours"), (47, "376 hours"), (45, "360 hours"), (11, "88 hours"), (6, "72 hours"), (1, "12 hours")])
def test_renew_before(days: int, expected: str) -> None:
    assert renew_before(days * DAY - 1) == expected


@pytest.mark.parametrize("line", ["# renew_before_expiry = 30 days\n", "renew_before_expiry = 30 days\n", ""])
def test_the_renewal_changes_one_line(letsencrypt: Path, line: str) -> None:
    others = RENEWAL.split("\n", 1)[1]
    letsencrypt.write_text(line + others)
    assert set_renewal("hello", 6 * DAY, dry_run=True) is True
    assert letsencrypt.read_text() == line + others
    assert set_renewal("hello", 6 * DAY, dry_run=False) is True
    assert letsencrypt.read_text() == "renew_before_expiry = 72 hours\n" + others
    assert set_renewal("hello", 6 * DAY, dry_run=False) is False


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (RENEWAL, Renewal("https://acme.example.com/directory", "")),
        (f"renew_before_expiry = 72 hours\n{RENEWAL}", Renewal("https://acme.example.com/directory", "72 hours")),
        ("", Renewal("", "")),
        (None, Renewal("", "")),
    ],
)
def test_certbots_settings(letsencrypt: Path, text: str | None, found: Renewal) -> None:
    if text is None:
        letsencrypt.unlink()
    else:
        letsencrypt.write_text(text)
    assert renewal_of("hello") == found


@pytest.mark.parametrize(
    ("names", "server", "before", "expected"),
    [
        ("a b", "x", "72 hours", True),
        ("b a", "x", "72 hours", True),
        ("a", "x", "72 hours", False),
        ("a b c", "x", "72 hours", False),
        ("a b", "y", "72 hours", False),
        ("a b", "x", "30 days", False),
        ("a b", "x", "", False),
    ],
)
def test_as_wanted(names: str, server: str, before: str, expected: bool) -> None:
    assert as_wanted(Held(frozenset({"a", "b"}), 6 * DAY), Renewal(server, before), names.split(), "x") is expected


def test_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    certbot(tmp_path, monkeypatch, 0)
    order()
    asked = (tmp_path / "asked").read_text()
    assert "--domain hello.example.com --domain www.hello.example.com" in asked
    assert "--register-unsafely-without-email" in asked


def test_no_fifth_order_within_an_hour(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, clock: list[float]) -> None:
    certbot(tmp_path, monkeypatch, 1)
    for _ in range(4):
        with pytest.raises(AcmeError, match=r"certbot says:\nSome challenges have failed\."):
            order()
        clock[0] += 600
    (tmp_path / "asked").unlink()
    with pytest.raises(AcmeError, match=r"4 orders failed within an hour; .*(?s:.*)deploy again in 20 min"):
        order()
    assert not (tmp_path / "asked").exists()
    clock[0] += 1201
    with pytest.raises(AcmeError, match="certbot says"):
        order()


def test_failures_are_forgotten_after_a_success(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, clock: list[float]) -> None:
    for code in (1, 1, 1, 0, 1):
        certbot(tmp_path, monkeypatch, code)
        if code:
            with pytest.raises(AcmeError, match="certbot says"):
                order()
        else:
            order()
    with pytest.raises(AcmeError, match="certbot says"):
        order()


def test_failures_of_the_future_do_not_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, clock: list[float]) -> None:
    certbot(tmp_path, monkeypatch, 1)
    for turn in range(5):
        with pytest.raises(AcmeError, match="certbot says"):
            order()
        clock[0] -= 60 * turn + 1


class Handler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_arguments: object) -> None:
        pass


@pytest.fixture
def web(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The directory of a web server that every name leads to; what is asked of port 80 goes there."""
    root = tmp_path / "web"
    root.mkdir()
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), lambda *given: Handler(*given, directory=str(root)))
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    real = http.client.HTTPConnection
    monkeypatch.setattr(http.client, "HTTPConnection", lambda host, port, timeout: real("127.0.0.1", server.server_port, timeout=timeout))
    monkeypatch.setattr(socket, "getaddrinfo", leads_to(socket.getaddrinfo))
    yield root
    server.shutdown()
    server.server_close()


def leads_to(real: Any) -> Any:
    return lambda host, *rest, **options: real("127.0.0.1", *rest, **options)


@pytest.mark.usefixtures("umask")
def test_a_name_that_leads_here(web: Path) -> None:
    check("hello.example.com", str(web))
    directory = web / ".well-known/acme-challenge"
    assert list(directory.iterdir()) == []
    # Whatever the umask, nginx must be able to read what certbot will put there
    assert [oct(stat.S_IMODE(path.stat().st_mode)) for path in (directory.parent, directory)] == ["0o755"] * 2


def test_a_name_that_leads_elsewhere(web: Path, tmp_path: Path) -> None:
    with pytest.raises(AcmeError, match=r"http://hello.example.com/ is answered by another server.*\(404 from SimpleHTTP"):
        check("hello.example.com", str(tmp_path / "not the root"))
    assert list((tmp_path / "not the root/.well-known/acme-challenge").iterdir()) == []


def test_a_name_that_does_not_resolve(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def unknown(*_arguments: object, **_options: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    with pytest.raises(AcmeError, match=r"hello.example.com does not resolve \(Name or service not known\)"):
        check("hello.example.com", str(tmp_path))


def test_no_connection_is_no_proof(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    real = http.client.HTTPConnection
    monkeypatch.setattr(http.client, "HTTPConnection", lambda host, _port, timeout: real("127.0.0.1", port, timeout=timeout))
    monkeypatch.setattr(socket, "getaddrinfo", leads_to(socket.getaddrinfo))
    check("hello.example.com", str(tmp_path))
    assert list((tmp_path / ".well-known/acme-challenge").iterdir()) == []
