"""The module `configuration`, as Ansible runs it, with a systemctl that only pretends."""

import errno
import json
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.testing import patch_module_args
from ansible_collections.plainstack.web.plugins.module_utils import layout
from ansible_collections.plainstack.web.plugins.module_utils.host import configuration as logic
from ansible_collections.plainstack.web.plugins.module_utils.host import lock
from ansible_collections.plainstack.web.plugins.modules import configuration

SECRET = "hunter2-must-not-be-seen"
OLD_SECRET = "correct horse battery staple"
SYSTEMCTL = """#!/bin/sh
# Notes what changes something; the unit's state is what is in the file of that name
case $1 in
is-active | is-enabled) exec test -e "{directory}/$1" ;;
enable) touch {directory}/is-enabled ;;
start) touch {directory}/is-active ;;
esac
echo "$*" >> {directory}/calls
! test -e {directory}/broken
"""

Run = Callable[..., dict[str, Any]]


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory with the state of a pretended systemd, where the service runs and is enabled."""
    (tmp_path / "systemctl").write_text(SYSTEMCTL.format(directory=tmp_path))
    (tmp_path / "systemctl").chmod(0o755)
    for name in ("is-active", "is-enabled", "calls"):
        (tmp_path / name).touch()
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setattr(logic, "STAMPS", str(tmp_path / "stamps"))
    monkeypatch.setattr(logic, "UNITS", str(tmp_path / "etc/units"))
    monkeypatch.setattr(lock, "LOCKS", str(tmp_path / "locks"))
    return tmp_path


@pytest.fixture
def run(host: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run the module; what it says, and under `calls` what it asked of systemctl."""

    def run_module(files: dict[str, str], check: bool = False, **options: Any) -> dict[str, Any]:
        whole = {"name": "nginx", "service": "nginx.service", **options}
        whole["files"] = [{"dest": str(host / "etc" / name), "content": content} for name, content in files.items()]
        (host / "calls").write_text("")
        with patch_module_args({**whole, "_ansible_check_mode": check, "_ansible_diff": True}), pytest.raises(SystemExit):
            configuration.main()
        result: dict[str, Any] = json.loads(capsys.readouterr().out)
        return {**result, "calls": (host / "calls").read_text().splitlines()}

    return run_module


def tree(host: Path) -> dict[str, tuple[str, str]]:
    """Every file below etc, with content and mode."""
    files = (path for path in (host / "etc").rglob("*") if path.is_file())
    return {path.name: (path.read_bytes().decode("latin-1"), oct(stat.S_IMODE(path.stat().st_mode))) for path in files}


def test_writes_once(host: Path, run: Run) -> None:
    first = run({"nginx.conf": "a\n", "conf.d/site.conf": "b\n"})
    assert (first["changed"], first["written"]) == (True, [f"{host}/etc/nginx.conf", f"{host}/etc/conf.d/site.conf"])
    assert first["calls"] == ["restart nginx.service"]
    assert tree(host) == {"nginx.conf": ("a\n", "0o644"), "site.conf": ("b\n", "0o644")}
    second = run({"nginx.conf": "a\n", "conf.d/site.conf": "b\n"})
    assert (second["changed"], second["written"], second["calls"]) == (False, [], [])


@pytest.mark.parametrize("content", ["windows\r\n", "ü\n", "no end", ""])
def test_any_text_is_written_once(run: Run, content: str) -> None:
    assert run({"file": content})["changed"] is True
    assert run({"file": content})["changed"] is False


@pytest.mark.parametrize(
    "damage", [lambda path: path.write_text("x"), lambda path: path.chmod(0o666), lambda path: path.unlink()], ids=["content", "mode", "gone"]
)
def test_writes_only_what_differs(host: Path, run: Run, damage: Callable[[Path], object]) -> None:
    wanted = {"one": "1\n", "two": "2\n"}
    run(wanted)
    before = tree(host)
    damage(host / "etc/two")
    again = run(wanted)
    assert again["written"] == [f"{host}/etc/two"]
    assert again["calls"] == ["reload-or-restart nginx.service"]
    assert tree(host) == before


def test_check_mode_writes_nothing(host: Path, run: Run) -> None:
    result = run({"nginx.conf": "a\n"}, check=True, validate=[["touch", str(host / "validated")]])
    assert (result["changed"], result["calls"]) == (True, [])
    assert [entry["after"] for entry in result["diff"]] == ["a\n"]
    assert not (host / "etc").exists()
    assert not (host / "stamps").exists()
    assert not (host / "validated").exists()


def test_the_diff_of_a_file_that_is_not_utf8(host: Path, run: Run) -> None:
    (host / "etc").mkdir()
    (host / "etc/old").write_bytes(b"latin \xe9\n")
    [diff] = run({"old": "new\n"})["diff"]
    assert (diff["before"], diff["after"]) == ("latin \N{REPLACEMENT CHARACTER}\n", "new\n")


def test_the_diff_of_a_new_file_is_its_beginning(run: Run) -> None:
    [diff] = run({"new": "".join(f"{number}\n" for number in range(100))})["diff"]
    assert (diff["before"], diff["after"]) == ("", "0\n1\n2\n3\n4\n... and 95 more lines\n")
    [diff] = run({"new": "".join(f"{number}\n" for number in range(50))})["diff"]
    assert (diff["before"].count("\n"), diff["after"].count("\n")) == (100, 50)


@pytest.mark.parametrize("old", [b"old\n", b"windows\r\n", b"latin \xe9\n"])
def test_what_does_not_hold_is_put_back(host: Path, run: Run, old: bytes) -> None:
    (host / "etc").mkdir()
    (host / "etc/old").write_bytes(old)
    (host / "etc/old").chmod(0o640)
    before = tree(host)
    grep = ["sh", "-c", f"grep bad {host}/etc/*; printf 'latin \\351'; exit 1"]
    result = run({"old": "bad\n", "new": "bad too\n"}, validate=[["true"], grep])
    assert result["failed"] is True
    assert "what was there before is back and still in use" in result["msg"]
    assert "bad too" in result["msg"]
    assert result["calls"] == []
    assert tree(host) == before


def test_a_full_disk_leaves_what_was_there(host: Path, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    run({"one": "1\n", "two": "2\n"})
    before = tree(host)

    def full(path: str, content: str, mode: int, **_more: int) -> None:
        if content == "large\n":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), path)
        layout.write(path, content, mode)

    monkeypatch.setattr(logic, "write", full)
    result = run({"one": "small\n", "two": "large\n"})
    assert "No space left on device" in result["msg"]
    assert tree(host) == before


def test_a_validator_that_is_not_there(host: Path, run: Run) -> None:
    result = run({"one": "1\n"}, validate=[["no-such-program"]])
    assert "No such file or directory: 'no-such-program'" in result["msg"]
    assert tree(host) == {}


def test_an_interrupted_run_is_finished(host: Path, run: Run) -> None:
    (host / "broken").touch()
    failed = run({"one": "1\n"})
    assert "restart nginx.service failed" in failed["msg"]
    (host / "broken").unlink()
    again = run({"one": "1\n"})
    assert (again["changed"], again["written"], again["calls"]) == (True, [], ["restart nginx.service"])
    assert run({"one": "1\n"})["changed"] is False


def test_what_an_interrupted_run_left_is_validated(host: Path, run: Run) -> None:
    (host / "etc").mkdir()
    (host / "etc/one").write_text("bad\n")
    result = run({"one": "bad\n"}, validate=[["false"]])
    assert "is invalid; an interrupted run left it, and it is not loaded" in result["msg"]
    assert result["calls"] == []


@pytest.mark.parametrize(
    ("missing", "calls"),
    [
        (["is-active"], ["unmask --quiet --runtime nginx.service", "start nginx.service"]),
        (["is-enabled"], ["enable --quiet nginx.service", "reload-or-restart nginx.service"]),
        (["is-active", "is-enabled"], ["unmask --quiet --runtime nginx.service", "enable --quiet nginx.service", "start nginx.service"]),
    ],
)
def test_the_service_is_enabled_and_runs(host: Path, run: Run, missing: list[str], calls: list[str]) -> None:
    run({"one": "1\n"})
    for name in missing:
        (host / name).unlink()
    result = run({"one": "1\n"})
    assert (result["changed"], result["calls"]) == (True, calls)
    assert run({"one": "1\n"})["changed"] is False


def test_units_without_a_service(run: Run) -> None:
    assert run({"units/app@.service": "[Unit]\n"}, service=None)["calls"] == ["daemon-reload"]
    assert run({"units/app@.service": "[Unit]\n"}, service=None)["changed"] is False


def test_a_secret_is_written_and_not_shown(host: Path, run: Run) -> None:
    secret = {"dest": str(host / "etc/key"), "content": SECRET, "mode": "0600"}
    old = {**secret, "content": OLD_SECRET}
    for given, validate in ((old, [["true"]]), (secret, [["true"]]), (old, [["sh", "-c", f"cat {host}/etc/key; exit 1"]])):
        result = run({"public": "1\n"}, secret_files=[given], validate=validate)
        assert SECRET not in json.dumps(result)
        assert OLD_SECRET not in json.dumps(result)
    assert tree(host)["key"] == (SECRET, "0o600")


def test_two_runs_are_never_at_once(host: Path, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where they are for two apps: nginx has one configuration, and what one of them puts back would be the other's."""
    monkeypatch.setattr(lock, "SHARED", 0.2)
    with lock.shared("configuration"):
        result = run({"nginx.conf": "one"})
        assert run({"nginx.conf": "one"}, check=True)["changed"]
    assert "another run works on the configuration of this host" in result["msg"]
    assert not (host / "etc/nginx.conf").exists()
    assert run({"nginx.conf": "one"})["changed"]
