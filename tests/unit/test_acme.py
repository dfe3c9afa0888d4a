"""Certificates: which is where, what is ordered, why an order failed, and what is seen before the ACME server is asked."""

import contextlib
import dataclasses
import http.client
import http.server
import importlib.metadata
import re
import socket
import stat
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.plainstack.web.plugins.module_utils.host import acme
from ansible_collections.plainstack.web.plugins.module_utils.host.acme import (
    BUSY_REFUSAL,
    UNKNOWN,
    UNREACHABLE,
    UNTRUSTED,
    Account,
    AcmeError,
    Lineage,
    Renewal,
    Wanted,
    check,
    concern,
    foreign_certbot,
    judge,
    lineages,
    obtain,
    place,
    renew_before,
    renewal,
    renews,
    set_renewal,
)
from ansible_collections.plainstack.web.plugins.module_utils.host.certificates import Certificate
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.test_fetch_certificates import pair

DAY = 86400.0
NOW = 1_800_000_000.0
SERVER = "https://acme.example.com/directory"
ACCOUNT = Account(SERVER, "", "/var/www/acme", "")
RENEWAL = """# renew_before_expiry = 30 days
version = 2.1.0
cert = /etc/letsencrypt/live/hello/cert.pem

# Options used in the renewal process
[renewalparams]
account = 0123
server = https://acme.example.com/directory
authenticator = webroot
webroot_path = /var/www/acme,
[[webroot_map]]
hello.example.com = /var/www/acme
"""
OURS = Renewal(SERVER, "", "/var/www/acme", True)
CERTBOT = """#!/bin/sh
echo "$@" > {directory}/asked
echo 'Some challenges have failed.' >&2
cat > {directory}/letsencrypt.log <<'end'
{log}
end
exit {code}
"""
UNAUTHORIZED = """DEBUG:certbot._internal.main:Arguments: ['--non-interactive', '--cert-name', 'hello', '--domain']
  "type": "urn:ietf:params:acme:error:unauthorized","""


@pytest.fixture(autouse=True)
def letsencrypt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """certbot's settings of one certificate, in a directory of its own; certbot is version 2."""
    monkeypatch.setattr(acme, "LETSENCRYPT", str(tmp_path))
    monkeypatch.setattr(acme, "FAILURES", str(tmp_path / "var/failures.json"))
    monkeypatch.setattr(acme, "LOG", str(tmp_path / "letsencrypt.log"))
    monkeypatch.setattr(acme, "CERTBOT", str(tmp_path / "certbot"))
    monkeypatch.setattr(importlib.metadata, "version", lambda name: "2.1.0")
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


def certbot(directory: Path, monkeypatch: pytest.MonkeyPatch, code: int, log: str = UNAUTHORIZED) -> None:
    """A certbot that ends with this code."""
    path = directory / "certbot"
    path.write_text(CERTBOT.format(directory=directory, code=code, log=log))
    path.chmod(0o755)
    monkeypatch.setattr(acme, "check", lambda domain, webroot: None)


def order(self_check: bool = True) -> None:
    obtain(Wanted("hello", ("hello.example.com", "www.hello.example.com")), "hello", ACCOUNT, self_check)


def lineage(name: str, names: str, begins: float = -30, ends: float = 60, settings: Renewal = OURS) -> Lineage:
    return Lineage(name, Certificate(frozenset(names.split()), NOW + begins * DAY, NOW + ends * DAY), settings)


def placed(name: str, names: str, others: dict[str, str], *there: Lineage) -> tuple[str, bool]:
    """The lineage, and whether it must be ordered."""
    everything = [Wanted(other, tuple(domains.split())) for other, domains in {**others, name: names}.items()]
    found = place(everything[-1], everything, {one.name: one for one in there}, ACCOUNT, NOW)
    return found.lineage, bool(found.reason)


# Which lineage has the certificate of a set of names


def test_nothing_to_order() -> None:
    assert placed("one", "a b", {}, lineage("one", "b a")) == ("one", False)


def test_two_apps_that_swap_their_names_need_no_order() -> None:
    there = (lineage("one", "a"), lineage("two", "b"))
    assert placed("one", "b", {"two": "a"}, *there) == ("two", False)
    assert placed("two", "a", {"one": "b"}, *there) == ("one", False)


def test_a_renamed_app_needs_no_order() -> None:
    assert placed("new", "a", {}, lineage("old", "a")) == ("old", False)


def test_a_new_name_is_ordered_in_place() -> None:
    assert placed("one", "a b", {"two": "c"}, lineage("one", "a")) == ("one", True)
    assert placed("one", "a", {"two": "c"}, lineage("one", "a b")) == ("one", True)
    assert placed("one", "a", {}) == ("one", True)


def test_a_lineage_that_another_app_needs_stays() -> None:
    """After a swap the second app has the first one's lineage, and the first gets another name."""
    fresh, ordered = placed("one", "b c", {"two": "a"}, lineage("one", "a"), lineage("two", "b"))
    assert (fresh[:4], ordered) == ("one-", True)
    assert placed("one", "b c", {"two": "a"}, lineage("one", "a"), lineage("two", "b"), lineage(fresh, "b c")) == (fresh, False)
    # Where another valid one covers what it loses, it may be ordered anew
    assert placed("one", "b c", {"two": "a d"}, lineage("one", "a"), lineage("two", "a b")) == ("one", True)
    assert placed("one", "b c", {"two": "a d"}, lineage("one", "a"), lineage("two", "a b", ends=-1))[0] == fresh


@pytest.mark.parametrize(
    ("settings", "begins", "ends", "reason"),
    [
        (OURS, -30, 60, ""),
        (OURS, -66, 24, ""),
        (OURS, -68, 22, "certbot's timer has not renewed it"),
        (OURS, -91, -1, "it ended on 2027-01-14"),
        (dataclasses.replace(OURS, server="https://staging.example.com"), -30, 60, "did not come from the wanted ACME server"),
        (dataclasses.replace(OURS, webroot=""), -30, 60, "did not come from the wanted ACME server"),
    ],
)
def test_why_it_is_ordered(settings: Renewal, begins: float, ends: float, reason: str) -> None:
    wanted = Wanted("one", ("a",))
    found = place(wanted, [wanted], {"one": lineage("one", "a", begins, ends, settings)}, ACCOUNT, NOW)
    assert found.lineage == "one"
    assert reason in found.reason
    assert bool(found.reason) is bool(reason)


@given(
    names=st.dictionaries(st.sampled_from(["one", "two", "three"]), st.sets(st.sampled_from("abcd"), min_size=1), min_size=1),
    there=st.dictionaries(st.sampled_from(["one", "two", "three"]), st.sets(st.sampled_from("abcd"), min_size=1)),
)
def test_whatever_the_apps_become_no_name_loses_its_certificate(names: dict[str, set[str]], there: dict[str, set[str]]) -> None:
    taken: set[str] = set()
    wanted = []
    for name, domains in names.items():  # a name belongs to one app
        if domains - taken:
            wanted.append(Wanted(name, tuple(sorted(domains - taken))))
        taken |= domains
    held = {name: lineage(name, " ".join(domains)) for name, domains in there.items()}
    had = {name for one in held.values() for name in one.certificate.names} & taken
    for one in wanted:
        found = place(one, wanted, held, ACCOUNT, NOW)
        if found.reason:
            held[found.lineage] = lineage(found.lineage, " ".join(one.domains))
        assert {name for each in held.values() for name in each.certificate.names} >= had
    assert not any(place(one, wanted, held, ACCOUNT, NOW).reason for one in wanted)


def test_what_an_operator_is_told() -> None:
    wanted = Wanted("one", ("a",))

    def told(*there: Lineage) -> str:
        held = {one.name: one for one in there}
        return concern(wanted, place(wanted, [wanted], held, ACCOUNT, NOW), held, NOW)

    assert told(lineage("one", "a")) == ""
    assert "two thirds of the life of the certificate for a have passed; it ends on 2027-02-11" in told(lineage("one", "a", -63, 27))
    assert "must be ordered: there is none for these names. Next: ansible-playbook deploy.yml -e app=one" in told()


# certbot's settings


@pytest.mark.parametrize(("days", "expected"), [(90, "720 hours"), (47, "376 hours"), (45, "360 hours"), (11, "88 hours"), (6, "72 hours"), (1, "12 hours")])
def test_renew_before(days: int, expected: str) -> None:
    assert renew_before(days * DAY - 1) == expected


def test_certbot_4_decides_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.metadata, "version", lambda name: "4.0.0")
    assert renew_before(90 * DAY) == ""


def test_there_is_no_certbot_yet(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> str:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "version", missing)
    assert renew_before(90 * DAY) == "720 hours"


def settled(path: Path, days: float = 6) -> Lineage:
    return Lineage("hello", Certificate(frozenset({"a"}), NOW, NOW + days * DAY), renewal(path.read_text()))


@pytest.mark.parametrize("line", ["# renew_before_expiry = 30 days\n", "renew_before_expiry = 30 days\n", ""])
def test_the_renewal_changes_one_line(letsencrypt: Path, line: str) -> None:
    others = RENEWAL.split("\n", 1)[1]
    letsencrypt.write_text(line + others)
    assert set_renewal(settled(letsencrypt), enabled=True, dry_run=True) is True
    assert letsencrypt.read_text() == line + others
    assert set_renewal(settled(letsencrypt), enabled=True, dry_run=False) is True
    assert letsencrypt.read_text() == "renew_before_expiry = 72 hours\n" + others
    assert set_renewal(settled(letsencrypt), enabled=True, dry_run=False) is False


def test_the_renewal_ends_and_begins_again(letsencrypt: Path) -> None:
    set_renewal(settled(letsencrypt), enabled=True, dry_run=False)
    before = letsencrypt.read_text()
    assert set_renewal(settled(letsencrypt), enabled=False, dry_run=False) is True
    assert "[renewalparams]\nautorenew = False\n" in letsencrypt.read_text()
    assert set_renewal(settled(letsencrypt), enabled=False, dry_run=False) is False
    assert set_renewal(settled(letsencrypt), enabled=True, dry_run=False) is True
    assert letsencrypt.read_text() == before


def test_whether_anything_is_renewed(letsencrypt: Path) -> None:
    assert renews()
    set_renewal(settled(letsencrypt), enabled=False, dry_run=False)
    assert not renews()
    letsencrypt.write_text(RENEWAL.replace("webroot\n", "standalone\n"))  # not ours
    assert not renews()
    letsencrypt.unlink()
    assert not renews()


def test_certbot_4_takes_the_line_away(letsencrypt: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    letsencrypt.write_text(f"renew_before_expiry = 72 hours\n{RENEWAL}")
    monkeypatch.setattr(importlib.metadata, "version", lambda name: "4.0.0")
    assert set_renewal(settled(letsencrypt), enabled=True, dry_run=False) is True
    assert renewal(letsencrypt.read_text()) == OURS


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (RENEWAL, OURS),
        (f"renew_before_expiry = 72 hours\n{RENEWAL}", dataclasses.replace(OURS, before="72 hours")),
        (RENEWAL.replace("webroot\n", "standalone\n"), dataclasses.replace(OURS, webroot="")),
        ("", Renewal("", "", "", True)),
        ("[broken", Renewal("", "", "", True)),
    ],
)
def test_certbots_settings(text: str, found: Renewal) -> None:
    assert renewal(text) == found


def test_what_certbot_has(tmp_path: Path) -> None:
    assert lineages() == {}  # settings without a certificate
    (tmp_path / "live/hello").mkdir(parents=True)
    (tmp_path / "live/hello/cert.pem").write_bytes(pair()["fullchain.pem"])
    assert {name: (one.certificate.names, one.renewal) for name, one in lineages().items()} == {"hello": (frozenset({"hello.test"}), OURS)}


@pytest.mark.parametrize(
    ("there", "package", "found"),
    [
        ({}, False, ""),
        ({"usr": ""}, True, ""),
        ({"usr": ""}, False, "usr is a certbot from pip or another source"),
        ({"local": ""}, True, "local is a certbot from pip or another source"),
        ({"usr": "opt/certbot"}, True, "usr is a certbot from pip or another source"),
        ({"usr": "snap/bin/certbot"}, False, "usr is a certbot from snap; .*(?s:.*)'sudo snap remove certbot; sudo rm -f"),
    ],
)
def test_a_certbot_from_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, there: dict[str, str], package: bool, found: str) -> None:
    monkeypatch.setattr(acme, "FOREIGN", (f"{tmp_path}/bin", f"{tmp_path}/local", f"{tmp_path}/usr"))
    monkeypatch.setattr(acme, "CERTBOT", f"{tmp_path}/usr")
    monkeypatch.setattr(acme, "PACKAGE", f"{tmp_path}/package")
    if package:
        (tmp_path / "package").touch()
    for name, target in there.items():
        if target:
            (tmp_path / name).symlink_to(tmp_path / target)
        else:
            (tmp_path / name).touch()
    said = foreign_certbot()
    assert re.search(found, said) if found else said == ""


# Orders


def test_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    certbot(tmp_path, monkeypatch, 0)
    order()
    asked = (tmp_path / "asked").read_text()
    assert "--domain hello.example.com --domain www.hello.example.com" in asked
    assert "--register-unsafely-without-email" in asked


def test_the_self_check_can_be_switched_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def wrong(domain: str, webroot: str) -> None:
        raise AcmeError("another server answers")

    certbot(tmp_path, monkeypatch, 0)
    monkeypatch.setattr(acme, "check", wrong)
    with pytest.raises(AcmeError, match="another server answers"):
        order()
    order(self_check=False)


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


@pytest.mark.parametrize("log", ["", UNAUTHORIZED.replace("unauthorized", "invalidContact"), UNAUTHORIZED.replace("'hello'", "'other'")])
def test_what_the_acme_server_does_not_count_does_not_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, clock: list[float], log: str) -> None:
    certbot(tmp_path, monkeypatch, 1, log)
    for _ in range(6):
        with pytest.raises(AcmeError, match="certbot says"):
            order()


@pytest.mark.parametrize(
    ("said", "log", "what"),
    [
        ("", UNAUTHORIZED, "The ACME server could not see that a name leads here."),
        ("", UNAUTHORIZED.replace("unauthorized", "caa"), "A CAA record forbids this ACME server."),
        ("", UNAUTHORIZED.replace("unauthorized", "invalidContact"), "The ACME server refuses the e-mail address."),
        ("", f'"urn:ietf:params:acme:error:badNonce"\n{UNAUTHORIZED}', "The ACME server could not see that a name leads here."),
        ("", "Retry-After: 3600\n" + UNAUTHORIZED.replace("unauthorized", "rateLimited"), "It asks to wait until 2027-01-15 09:00 UTC."),
        ("", "requests.exceptions.ConnectionError: HTTPSConnectionPool(host='acme', port=443)", UNREACHABLE.what),
        ("", "requests.exceptions.ReadTimeout: x", UNREACHABLE.what),
        ("", "requests.exceptions.SSLError: [SSL: CERTIFICATE_VERIFY_FAILED]", UNTRUSTED.what),
        ("Another instance of Certbot is already running.", "", BUSY_REFUSAL.what),
        ("Une erreur est survenue", "", UNKNOWN.what),
    ],
)
@pytest.mark.usefixtures("clock")
def test_why_certbot_failed(said: str, log: str, what: str) -> None:
    assert what in judge(said, log).what


def test_another_certbot_gets_time_to_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    certbot(tmp_path, monkeypatch, 1)
    path = tmp_path / "certbot"
    path.write_text("#!/bin/sh\necho 'Another instance of Certbot is already running.'\nexit 1\n")
    waited: list[float] = []
    monkeypatch.setattr(time, "monotonic", lambda: sum(waited))
    monkeypatch.setattr(time, "sleep", waited.append)
    with pytest.raises(AcmeError, match=r"Another certbot is running\.(?s:.*)Next: deploy again when it has ended"):
        order()
    assert sum(waited) > 100
    waited.clear()
    monkeypatch.setattr(time, "sleep", lambda seconds: certbot(tmp_path, monkeypatch, 0))
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
    with pytest.raises(AcmeError, match=r"http://hello.example.com/ is answered by another server.*\(404 from SimpleHTTP(?s:.*)'certbot_self_check: false'"):
        check("hello.example.com", str(tmp_path / "not the root"))
    assert list((tmp_path / "not the root/.well-known/acme-challenge").iterdir()) == []


@pytest.mark.parametrize("part", [b"x", b"HTTP/1.1 200 OK\r\nX-A: b\r\n", b"X-A: b\r\n"], ids=["a line", "answers", "headers"])
def test_an_answer_that_has_no_end(part: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The name may lead to anybody; nobody holds up a deploy by sending a byte now and then."""
    done = threading.Event()

    def drip(listener: socket.socket) -> None:
        connection, _address = listener.accept()
        with connection, contextlib.suppress(OSError):
            connection.sendall(b"HTTP/1.1 200 OK\r\n")
            while not done.wait(0.05):
                connection.sendall(part)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=drip, args=(listener,), daemon=True).start()
        real, port = http.client.HTTPConnection, listener.getsockname()[1]
        monkeypatch.setattr(http.client, "HTTPConnection", lambda host, _port, timeout: real("127.0.0.1", port, timeout=timeout))
        monkeypatch.setattr(socket, "getaddrinfo", leads_to(socket.getaddrinfo))
        monkeypatch.setattr(acme, "SELF_CHECK", 1.0)
        threading.Timer(20, done.set).start()
        began = time.monotonic()
        with pytest.raises(AcmeError, match=r"http://hello.example.com/ is answered by another server"):
            check("hello.example.com", str(tmp_path))
        assert time.monotonic() - began < 10
        done.set()


def test_a_name_that_does_not_resolve(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def unknown(*_arguments: object, **_options: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    with pytest.raises(AcmeError, match=r"hello.example.com does not resolve \(Name or service not known\)(?s:.*)'certbot_self_check: false'"):
        check("hello.example.com", str(tmp_path))


def test_no_connection_is_no_proof(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    real = http.client.HTTPConnection
    monkeypatch.setattr(http.client, "HTTPConnection", lambda host, _port, timeout: real("127.0.0.1", port, timeout=timeout))
    monkeypatch.setattr(socket, "getaddrinfo", leads_to(socket.getaddrinfo))
    check("hello.example.com", str(tmp_path))
    assert list((tmp_path / ".well-known/acme-challenge").iterdir()) == []
