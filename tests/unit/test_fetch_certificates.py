"""The script with which a server fetches the certificates that another one obtains."""

from __future__ import annotations

import importlib.machinery
import importlib.util
import io
import os
import stat
import subprocess
import tarfile
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

SCRIPT = Path(__file__).parents[2] / "roles" / "certbot" / "files" / "fetch-certificates"


def pair(directory: Path, name: str, days: str = "10") -> dict[str, bytes]:
    """A certificate and its key."""
    key, chain = directory / f"{name}.key", directory / f"{name}.pem"
    words = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-noenc", "-subj", f"/CN={name}", "-days", days]
    subprocess.run(["openssl", "req", "-x509", *words, "-keyout", key, "-out", chain], check=True, capture_output=True)
    return {"fullchain.pem": chain.read_bytes(), "privkey.pem": key.read_bytes()}


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
    monkeypatch.setattr(module, "HERE", str(tmp_path / "certificates"))
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
            commands.append(" ".join(command))
            return subprocess.CompletedProcess(command, 0)

        with monkeypatch.context() as patch:
            patch.setattr(fetch.subprocess, "run", fake)
            before = os.umask(0o022)
            commands.append(f"ended with {fetch.main()}")
            os.umask(before)
        return commands

    return go


NGINX = ["systemctl is-active --quiet nginx.service", "/usr/sbin/nginx -t -q", "systemctl reload nginx.service"]


def test_new_the_same_and_renewed(fetch: ModuleType, run: Callable[..., list[str]], tmp_path: Path) -> None:
    first, second = pair(tmp_path, "one"), pair(tmp_path, "two")
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
def test_what_does_not_hold_is_not_taken(
    fetch: ModuleType, run: Callable[..., list[str]], tmp_path: Path, kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    good = pair(tmp_path, "good")
    bad = {**good, "privkey.pem": pair(tmp_path, "other")["privkey.pem"]} if kind == "another key" else pair(tmp_path, "old", "0")
    run({f"hello/{name}": content for name, content in good.items()})
    time.sleep(1.1)  # the end of the one that lasts no day
    assert run({f"hello/{name}": content for name, content in bad.items()}) == ["ended with 1"]
    assert "hello: not taken, because" in capsys.readouterr().err
    assert (Path(fetch.HERE) / "hello" / "privkey.pem").read_bytes() == good["privkey.pem"]


def test_names_that_lead_elsewhere_are_ignored(fetch: ModuleType, run: Callable[..., list[str]], tmp_path: Path) -> None:
    good = pair(tmp_path, "good")
    assert run({f"../hello/{name}": content for name, content in good.items()} | {"hello/fullchain.pem": good["fullchain.pem"]}) == ["ended with 0"]
    assert list(Path(fetch.HERE).iterdir()) == []


def test_no_connection(run: Callable[..., list[str]]) -> None:
    assert run({}, 255) == ["ended with 1"]
