"""The script with which a server fetches the certificates that another one obtains."""

from __future__ import annotations

import datetime
import importlib.machinery
import importlib.util
import io
import os
import stat
import subprocess
import tarfile
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
from ansible_collections.plainstack.web.plugins.module_utils.layout import LOCKS
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

SCRIPT = Path(__file__).parents[2] / "roles" / "certbot" / "files" / "fetch-certificates"


def pair(days: int = 10) -> dict[str, bytes]:
    """A certificate and its key; it ends in so many days."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "hello.test")])
    now = datetime.datetime.now(datetime.UTC)
    made = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
    made = made.not_valid_before(now - datetime.timedelta(days=20)).not_valid_after(now + datetime.timedelta(days=days))
    made = made.add_extension(x509.SubjectAlternativeName([x509.DNSName("hello.test")]), critical=False)
    chain = made.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
    kinds = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return {"fullchain.pem": chain, "privkey.pem": key.private_bytes(*kinds)}


def bundle(files: dict[str, bytes]) -> bytes:
    """As the host that obtains them makes it."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return stream.getvalue()


@pytest.fixture
def fetch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The script as a module, with a directory of its own."""
    loader = importlib.machinery.SourceFileLoader("fetch_certificates", str(SCRIPT))
    spec = importlib.util.spec_from_loader("fetch_certificates", loader)
    assert spec
    module = importlib.util.module_from_spec(spec)
    loader.exec_module(module)
    assert f"{LOCKS}/.configuration" == module.LOCK
    monkeypatch.setattr(module, "HERE", str(tmp_path / "certificates"))
    monkeypatch.setattr(module, "LOCK", str(tmp_path / "locks/.configuration"))
    return module


@pytest.fixture
def run(fetch: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[str]]:
    """Run it with what the other host gives; the commands for nginx."""

    def go(files: dict[str, bytes], code: int = 0) -> list[str]:
        given = tmp_path / "bundle.tar"
        given.write_bytes(bundle(files) if files else b"")
        monkeypatch.setattr(fetch, "SSH", ["sh", "-c", f"cat {given}; exit {code}"])
        commands: list[str] = []
        real = subprocess.run

        def fake(command: list[str], **options: object) -> object:
            if command[0] in ("sh", "openssl"):
                return real(command, **options)  # type: ignore[call-overload]
            commands.append(" ".join(command).replace(fetch.LOCK, "{}"))
            return subprocess.CompletedProcess(command, 0)

        with monkeypatch.context() as patch:
            patch.setattr(fetch.subprocess, "run", fake)
            before = os.umask(0o022)
            commands.append(f"ended with {fetch.main()}")
            os.umask(before)
        return commands

    return go


# Not while a run writes nginx's configuration
RELOAD = "flock --timeout 300 {} sh -c /usr/sbin/nginx -t -q && systemctl reload nginx.service"
NGINX = ["systemctl is-active --quiet nginx.service", RELOAD]


def test_new_the_same_and_renewed(fetch: ModuleType, run: Callable[..., list[str]]) -> None:
    first, second = pair(), pair()
    here = Path(fetch.HERE)
    for files in (first, second):
        given = {f"./hello/{name}": content for name, content in files.items()}
        assert run(given) == [*NGINX, "ended with 0"]
        assert run(given) == ["ended with 0"]
        assert {name: (here / "hello" / name).read_bytes() for name in files} == files
    # One link and what it leads to; nobody but root reads them
    assert len(list(here.iterdir())) == 2
    assert stat.S_IMODE((here / "hello" / "privkey.pem").stat().st_mode) == 0o600
    assert stat.S_IMODE((here / "hello").stat().st_mode) == 0o700


@pytest.mark.parametrize("kind", ["another key", "expired"])
def test_what_does_not_hold_is_not_taken(fetch: ModuleType, run: Callable[..., list[str]], kind: str, capsys: pytest.CaptureFixture[str]) -> None:
    good = pair()
    bad = {**good, "privkey.pem": pair()["privkey.pem"]} if kind == "another key" else pair(-1)
    run({f"hello/{name}": content for name, content in good.items()})
    assert run({f"hello/{name}": content for name, content in bad.items()}) == ["ended with 1"]
    assert "hello: not taken, because" in capsys.readouterr().err
    assert (Path(fetch.HERE) / "hello" / "privkey.pem").read_bytes() == good["privkey.pem"]


def test_names_that_lead_elsewhere_are_ignored(fetch: ModuleType, run: Callable[..., list[str]]) -> None:
    good = pair()
    assert run({f"../hello/{name}": content for name, content in good.items()} | {"hello/fullchain.pem": good["fullchain.pem"]}) == ["ended with 0"]
    assert list(Path(fetch.HERE).iterdir()) == []


def test_more_than_certificates_take(run: Callable[..., list[str]], capsys: pytest.CaptureFixture[str]) -> None:
    """Neither the whole nor a file that is sparse, and small on its way, fills the memory."""
    assert run({"hello/fullchain.pem": b"x" * (5 * 2**20)}) == ["ended with 1"]
    assert "gave none: more than" in capsys.readouterr().err


def test_a_certificate_that_another_app_has_now(fetch: ModuleType, run: Callable[..., list[str]]) -> None:
    name = f"{'a' * 31}-0123abcd"
    assert run({f"{name}/{file}": content for file, content in pair().items()}) == [*NGINX, "ended with 0"]
    assert (Path(fetch.HERE) / name / "privkey.pem").exists()


def test_no_connection(run: Callable[..., list[str]]) -> None:
    assert run({}, 255) == ["ended with 1"]
