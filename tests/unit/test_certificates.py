"""Which certificate a name is served with, and what a host is told of the certificates that it has."""

from __future__ import annotations

import datetime
import os
import subprocess
import sys
from pathlib import Path

import pytest
from ansible_collections.plainstack.web.plugins.module_utils.host import certificates
from ansible_collections.plainstack.web.plugins.module_utils.host.certificates import (
    Certificate,
    Held,
    choose,
    complaints,
    find,
    key_of,
    parse,
    read_certificate,
)
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.test_fetch_certificates import pair

NOW = 1_800_000_000.0
DAY = 86400.0
NAMES = ["a.test", "b.test", "www.a.test"]


def held(place: str, *names: str, trusted: bool = True, begins: float = -30, ends: float = 60) -> Held:
    certificate = Certificate(frozenset(names), NOW + begins * DAY, NOW + ends * DAY)
    return Held(f"/live/{place}/fullchain.pem", f"/live/{place}/privkey.pem", certificate, trusted)


def chosen(domains: str, wanted: str, *there: Held, own: bool = False) -> dict[str, str]:
    """Which certificate each group of names gets."""
    served = choose(domains.split(), f"/live/{wanted}/fullchain.pem", own, there, NOW)
    return {" ".join(part.domains): part.held.path.split("/")[2] if part.held else "" for part in served}


def test_two_sites_that_swap_their_names_swap_their_certificates() -> None:
    there = (held("one", "a.test"), held("two", "b.test"))
    assert chosen("b.test", "one", *there) == {"b.test": "two"}
    assert chosen("a.test", "two", *there) == {"a.test": "one"}


def test_a_renamed_site_keeps_its_certificate() -> None:
    assert chosen("a.test", "new", held("old", "a.test")) == {"a.test": "old"}


def test_a_name_that_moves_to_another_site_takes_its_certificate_along() -> None:
    there = (held("one", "a.test"), held("two", "b.test", "www.a.test"))
    assert chosen("a.test www.a.test", "one", *there) == {"a.test": "one", "www.a.test": "two"}


def test_a_new_name_alone_gets_the_placeholder() -> None:
    assert chosen("a.test www.a.test", "one", held("one", "a.test")) == {"a.test": "one", "www.a.test": ""}
    assert chosen("a.test", "one") == {"a.test": ""}


def test_an_own_one_is_served_also_for_names_that_it_does_not_have() -> None:
    own = held("one", "origin.test")
    assert chosen("a.test www.a.test", "one", own, own=True) == {"a.test www.a.test": "one"}
    assert chosen("a.test www.a.test", "one", own, held("two", "www.a.test"), own=True) == {"a.test": "one", "www.a.test": "two"}
    assert chosen("a.test", "one", own) == {"a.test": ""}


def test_its_own_goes_before_a_trusted_one_and_a_valid_one_before_its_own() -> None:
    other = held("other", "a.test", ends=80)
    assert chosen("a.test", "one", other, held("one", "a.test", trusted=False)) == {"a.test": "one"}
    assert chosen("a.test", "one", other, held("one", "a.test", ends=-1)) == {"a.test": "other"}
    assert chosen("a.test", "one", other, held("one", "a.test", begins=1)) == {"a.test": "other"}
    assert chosen("a.test", "one", held("old", "a.test", ends=80, trusted=False), held("other", "a.test")) == {"a.test": "other"}


def test_the_one_that_is_renewed_goes_before_one_with_more_names() -> None:
    """One for names that the site no longer has is not renewed any more."""
    wider = held("one", "a.test", "b.test")
    assert chosen("a.test", "one", wider, held("one-1234", "a.test")) == {"a.test": "one-1234"}
    assert chosen("a.test", "one", wider, held("one-1234", "a.test"), own=True) == {"a.test": "one"}


def test_an_expired_one_is_better_than_none() -> None:
    assert chosen("a.test", "one", held("one", "a.test", ends=-1)) == {"a.test": "one"}


def test_a_wildcard_stands_for_one_label() -> None:
    assert chosen("x.a.test y.x.a.test a.test", "one", held("wild", "*.a.test")) == {"x.a.test": "wild", "y.x.a.test a.test": ""}


@given(
    domains=st.lists(st.sampled_from(NAMES), min_size=1, unique=True),
    there=st.lists(
        st.builds(
            held,
            st.sampled_from(["one", "two", "three"]),
            st.sampled_from(NAMES),
            st.sampled_from(NAMES),
            trusted=st.booleans(),
            ends=st.sampled_from([-1.0, 1.0, 60.0]),
        ),
        max_size=4,
    ),
    own=st.booleans(),
)
def test_no_name_has_a_certificate_of_another_while_one_covers_it(domains: list[str], there: list[Held], own: bool) -> None:
    served = choose(domains, "/live/one/fullchain.pem", own, there, NOW)
    assert sorted(name for part in served for name in part.domains) == sorted(domains)
    for part in served:
        for name in part.domains:
            able = [one for one in there if one.certificate.covers(name)]
            assert (part.held in able) if able else (part.held is None or (own and part.held.path == "/live/one/fullchain.pem"))
            if any(one.certificate.valid(NOW) for one in able):
                assert part.held is not None
                assert part.held.certificate.valid(NOW)


def test_parse() -> None:
    text = "notBefore=2026-11-02 10:00:00Z\nnotAfter=2027-01-31 09:59:59Z\nX509v3 ...:\n    DNS:Hello.example.com, DNS:*.b.test, IP Address:1.2.3.4\n"
    begins = datetime.datetime(2026, 11, 2, 10, tzinfo=datetime.UTC).timestamp()
    assert parse(text) == Certificate(frozenset({"hello.example.com", "*.b.test"}), begins, begins + 90 * DAY - 1)
    with pytest.raises(ValueError, match="no certificate"):
        parse("sudo: unable to resolve host hello: Name or service not known\n")


def test_the_dates_of_a_real_certificate(tmp_path: Path) -> None:
    path = tmp_path / "fullchain.pem"
    path.write_bytes(pair()["fullchain.pem"])
    found = read_certificate(str(path))
    assert found
    assert (found.names, round((found.ends - found.begins) / DAY)) == (frozenset({"hello.test"}), 30)


@pytest.mark.skipif(not Path("/usr/share/i18n/locales/fr_FR").exists(), reason="Debian's package locales is not installed")
def test_the_dates_in_another_locale(tmp_path: Path) -> None:
    """Ansible's modules run in the locale of the server or of the operator."""
    subprocess.run(["localedef", "-i", "fr_FR", "-f", "UTF-8", tmp_path / "fr_FR.UTF-8"], check=True)
    (tmp_path / "chain.pem").write_bytes(pair()["fullchain.pem"])
    program = (
        "import locale, sys; locale.setlocale(locale.LC_ALL, ''); import time; assert time.strftime('%b', (2026, 2, 1, 0, 0, 0, 0, 1, 0)) == 'févr.'\n"
        "from ansible_collections.plainstack.web.plugins.module_utils.host.certificates import read_certificate; assert read_certificate(sys.argv[1])"
    )
    environment = {**os.environ, "LOCPATH": str(tmp_path), "LC_ALL": "fr_FR.UTF-8", "PYTHONPATH": ":".join(sys.path)}
    subprocess.run([sys.executable, "-c", program, tmp_path / "chain.pem"], env=environment, check=True)


@pytest.mark.parametrize(
    ("path", "key"), [("/live/a/fullchain.pem", "/live/a/privkey.pem"), ("/etc/nginx/certificates/a.pem", "/etc/nginx/certificates/a.key")]
)
def test_key_of(path: str, key: str) -> None:
    assert key_of(path) == key


def test_what_is_on_the_host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(certificates, "trusted", lambda path: False)
    given = pair()  # for hello.test, as its subject alone
    for name in ("a", "b", "broken"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "fullchain.pem").write_bytes(given["fullchain.pem"] if name != "broken" else b"no certificate")
        if name != "b":
            (tmp_path / name / "privkey.pem").write_bytes(given["privkey.pem"])
    patterns = [f"{tmp_path}/*/fullchain.pem"]
    chain = given["fullchain.pem"].decode()
    own = str(tmp_path / "own.pem")
    assert [one.path for one in find(patterns, {}, {}, ["hello.test"])] == [f"{tmp_path}/a/fullchain.pem"]
    assert [(one.path, one.key) for one in find([], {}, {own: chain}, ["hello.test"])] == [(own, str(tmp_path / "own.key"))]
    assert [one.key for one in find([], {f"{tmp_path}/b/fullchain.pem": f"{tmp_path}/a/privkey.pem"}, {}, ["hello.test"])] == [f"{tmp_path}/a/privkey.pem"]
    assert find(patterns, {}, {own: chain}, ["other.test"]) == []


def test_an_own_certificate_that_nobody_renews() -> None:
    one = held("one", "a.test").certificate
    assert complaints("one", ["a.test"], one, NOW) == ([], [])
    assert "two thirds of the life of its own certificate have passed; it ends on 20" in complaints("one", ["a.test"], one, NOW + 31 * DAY)[1][0]
    assert "its own certificate ended on 20" in complaints("one", ["a.test"], one, NOW + 60 * DAY)[0][0]
    assert "is not valid yet" in complaints("one", ["a.test"], one, NOW - 31 * DAY)[0][0]
    assert "does not cover www.a.test. Where it is set: 'certificate' of the app 'one'" in complaints("one", ["a.test", "www.a.test"], one, NOW)[1][0]
    assert "is not a certificate that can be read" in complaints("one", ["a.test"], None, NOW)[0][0]
