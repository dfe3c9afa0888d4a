"""The modules that look at certificates, as Ansible runs them: what every run says of them, and what it leaves to certbot's timer."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.testing import patch_module_args
from ansible_collections.plainstack.web.plugins.module_utils.host import acme, certificates, lock, renewal
from ansible_collections.plainstack.web.plugins.module_utils.host.acme import AcmeError, Lineage, Renewal
from ansible_collections.plainstack.web.plugins.module_utils.host.certificates import Certificate
from ansible_collections.plainstack.web.plugins.modules import certificate, nginx_info

from tests.unit.test_fetch_certificates import pair

SERVER, WEBROOT = "https://acme.example.com/directory", "/var/www/acme"
DAY = 86400.0
Run = Callable[..., dict[str, Any]]


@pytest.fixture
def warnings(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    said: list[str] = []
    monkeypatch.setattr(AnsibleModule, "warn", lambda _module, text: said.append(text))
    return said


@pytest.fixture
def held(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> dict[str, Lineage]:
    """What certbot has; an order makes a good one. The settings of a renewal are changed in here."""
    found: dict[str, Lineage] = {}

    def settle(lineage: Lineage, enabled: bool, dry_run: bool) -> bool:
        if lineage.renewal.enabled == enabled:
            return False
        if not dry_run:
            add(found, lineage.name, *lineage.certificate.names, enabled=enabled)
        return True

    monkeypatch.setattr(renewal, "lineages", lambda: dict(found))
    monkeypatch.setattr(renewal, "obtain", lambda wanted, lineage, account, self_check: add(found, lineage, *wanted.domains))
    monkeypatch.setattr(renewal, "set_renewal", settle)
    monkeypatch.setattr(time, "time", lambda: 0.0)
    monkeypatch.setattr(lock, "LOCKS", str(tmp_path / "locks"))
    monkeypatch.setattr(acme, "FOREIGN", ())
    return found


def add(found: dict[str, Lineage], name: str, *names: str, begins: float = -30, ends: float = 60, enabled: bool = True) -> None:
    found[name] = Lineage(name, Certificate(frozenset(names), begins * DAY, ends * DAY), Renewal(SERVER, "", WEBROOT, enabled))


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    """Look at the certificates of these apps, given with their domains, or order them."""

    def module(apps: dict[str, str], others: dict[str, str] | None = None, check: bool = True, **options: Any) -> dict[str, Any]:
        lists = [[{"name": name, "domains": names.split()} for name, names in given.items()] for given in (apps, others or {})]
        given = {"certificates": lists[0], "others": lists[1], "server": SERVER, "webroot": WEBROOT, "_ansible_check_mode": check, **options}
        with patch_module_args(given), pytest.raises(SystemExit):
            certificate.main()
        result: dict[str, Any] = json.loads(capsys.readouterr().out)
        return result

    return module


def test_every_run_warns_of_what_was_not_renewed(held: dict[str, Lineage], warnings: list[str], run: Run) -> None:
    """Of the apps that it is not for, too, and where it changes nothing."""
    add(held, "one", "a.test", begins=-61, ends=29)
    add(held, "two", "b.test", begins=-61, ends=29)
    add(held, "three", "c.test")
    result = run({"one": "a.test"}, {"two": "b.test", "three": "c.test"})
    assert not result["changed"]
    assert ["two thirds of the life of the certificate for" in text for text in warnings] == [True, True]
    assert "a.test have passed; it ends on 1970-01-30" in warnings[0]
    assert "b.test have passed" in warnings[1]


def test_an_expired_one_is_renewed(held: dict[str, Lineage], warnings: list[str], run: Run) -> None:
    """It has the right names; the renewals had failed for weeks."""
    add(held, "one", "a.test", begins=-91, ends=-1)
    assert run({"one": "a.test"})["obtained"] == ["one"]
    assert run({"one": "a.test"}, check=False)["obtained"] == ["one"]
    assert not run({"one": "a.test"}, check=False)["changed"]
    assert warnings == []


def test_or_the_run_ends_with_the_date_and_the_reason(held: dict[str, Lineage], run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """And the next one is ordered all the same."""

    def obtain(wanted: acme.Wanted, lineage: str, *_given: object) -> None:
        if wanted.name == "one":
            raise AcmeError("The ACME server cannot be reached.")
        add(held, lineage, *wanted.domains)

    monkeypatch.setattr(renewal, "obtain", obtain)
    add(held, "one", "a.test", begins=-91, ends=-1)
    result = run({"one": "a.test", "two": "b.test"}, check=False)
    assert result["failed"]
    for words in ("one: a certificate for a.test must be ordered: it ended on 1969-12-31", "The ACME server cannot be reached", "best certificate on the host"):
        assert words in result["msg"]
    assert set(held) == {"one", "two"}


def test_what_nobody_needs_is_not_renewed(held: dict[str, Lineage], warnings: list[str], run: Run) -> None:
    """As after a change to an own certificate; until the last order has succeeded it may stand in for another one."""
    add(held, "one", "a.test")
    assert not run({}, retire=False)["changed"]
    assert run({}, retire=True)["adjusted"] == ["one"]
    assert run({"two": "b.test"}, retire=True)["adjusted"] == []
    assert run({"two": "b.test"}, check=False, retire=True)["adjusted"] == ["one"]
    assert (held["one"].renewal.enabled, held["two"].renewal.enabled) == (False, True)
    assert run({"two": "b.test"}, {"one": "a.test"}, check=False)["adjusted"] == ["one"]
    assert held["one"].renewal.enabled


@pytest.mark.parametrize(("days", "expired", "warned"), [(10, "", "two thirds of the life of its own certificate"), (-1, "its own certificate ended on", "")])
def test_every_run_looks_at_the_own_certificates(
    tmp_path: Path, warnings: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], days: int, expired: str, warned: str
) -> None:
    files = pair(days)  # it began 20 days ago
    path, key = tmp_path / "hello.pem", tmp_path / "hello.key"
    for file, content in ((path, files["fullchain.pem"]), (key, files["privkey.pem"])):
        file.write_bytes(content)
    monkeypatch.setattr(certificates, "trusted", lambda _path: False)
    monkeypatch.setattr(time, "time", lambda real=time.time: real() + 60)
    site = {"name": "hello", "domains": ["hello.test"], "certificate": str(path), "certificate_key": str(key)}
    with patch_module_args({"sites": [site], "coming": {str(path): path.read_text()}}), pytest.raises(SystemExit):
        nginx_info.main()
    result = json.loads(capsys.readouterr().out)
    assert [expired in text for text in result["expired"]] == ([True] if expired else [])
    assert [warned in text for text in warnings] == ([True] if warned else [])
    [part] = result["served"]["hello"]
    assert (part["certificate"], part["until"][:10]) == (str(path), certificates.read_certificate(str(path)).end[:10])  # type: ignore[union-attr]
