"""Building a release on the host, with a uv that only pretends."""

import io
import json
import os
import stat
import sys
import tarfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.plainstack.web.plugins.module_utils import build as build_module
from ansible_collections.plainstack.web.plugins.module_utils.build import (
    BuildError,
    Plan,
    build,
    commands,
    find,
    lock_kind,
    packages,
    share_bytecode,
    sweep,
    unpack,
)
from ansible_collections.plainstack.web.plugins.module_utils.layout import App, relink, write

from tests.unit.fakes import full

OLD, NEW, NEWEST = "20260101T000000Z-aaaaaaaa", "20260102T000000Z-bbbbbbbb", "20260103T000000Z-cccccccc"
HASHED = "gunicorn==23.0.0 --hash=sha256:00\n"
UV = """#!/bin/sh
# Makes an environment with one package; fails where the requirements say so
set -eu
release=$PWD
case $1 in
venv)
    mkdir -p .venv/bin .venv/lib/python3/site-packages/gunicorn-{version}.dist-info
    ln -s {python} .venv/bin/python
    echo 'x = 1' > .venv/lib/python3/site-packages/package.py ;;
*)
    if grep -q broken requirements.txt; then echo 'no such package: broken' >&2; exit 1; fi ;;
esac
"""


@pytest.fixture
def plan(app: App, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Plan:
    (tmp_path / "python3.13").touch()
    (tmp_path / "python3").symlink_to("python3.13")
    monkeypatch.setattr(build_module, "SYSTEM_PYTHON", str(tmp_path / "python3"))
    uv = tmp_path / "uv"
    uv.write_text(UV.format(python=sys.executable, version="23.0.0"))
    uv.chmod(0o755)
    return Plan(app, NEW, "digest", "requirements.txt", "system", {"module": "wsgi:app"}, 'A="1"\n', uv=str(uv), cache=str(tmp_path / "cache"))


def archive(directory: Path, files: dict[str, str], **changes: Any) -> str:
    """An archive of these files; the changes are made to each entry."""
    path = directory / "archive.tar.gz"
    with tarfile.open(path, "w:gz") as tar:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            for key, value in changes.items():
                setattr(entry, key, value)
            tar.addfile(entry, io.BytesIO(content.encode()))
    return str(path)


def release(plan: Plan, identifier: str, live: bool = False, environment: str = 'A="1"\n', **story: Any) -> None:
    """A complete release on disk."""
    os.makedirs(plan.app.release(identifier))
    os.makedirs(os.path.dirname(plan.app.environment(identifier)))
    write(plan.app.environment(identifier), environment)
    write(plan.app.marker(identifier), json.dumps({"digest": plan.digest, "config": plan.config, "python": "3.13.5", **story}))
    if live:
        relink(plan.app.live_socket, plan.app.socket(identifier))


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("uv.lock", "", ("project", True)),
        ("backend/uv.lock", "", ("project", True)),
        ("pylock.toml", "", ("pylock", True)),
        ("pylock.prod.toml", "", ("pylock", True)),
        ("pyproject.toml", "", ("source", False)),
        ("requirements.txt", HASHED, ("requirements", True)),
        ("requirements.txt", "gunicorn\n", ("requirements", False)),
        ("requirements/prod.txt", HASHED, ("requirements", True)),
    ],
)
def test_lock_kind(name: str, text: str, expected: tuple[str, bool]) -> None:
    assert lock_kind(name, text) == expected


@pytest.mark.parametrize(
    ("name", "kind", "hashed", "expected"),
    [
        (
            "backend/uv.lock",
            "project",
            True,
            [
                "sync",
                "--quiet",
                "--locked",
                "--no-dev",
                "--no-editable",
                "--python",
                "{release}/.venv/bin/python",
                "--no-python-downloads",
                "--directory",
                "{release}/backend",
            ],
        ),
        ("pylock.toml", "pylock", True, ["pip", "sync", "--quiet", "--no-config", "--python", "{release}/.venv/bin/python", "pylock.toml"]),
        (
            "requirements.txt",
            "requirements",
            True,
            ["pip", "sync", "--quiet", "--no-config", "--python", "{release}/.venv/bin/python", "--require-hashes", "requirements.txt"],
        ),
        (
            "requirements.txt",
            "requirements",
            False,
            ["pip", "install", "--quiet", "--no-config", "--python", "{release}/.venv/bin/python", "--requirements", "requirements.txt"],
        ),
        (
            "pyproject.toml",
            "source",
            False,
            ["pip", "install", "--quiet", "--no-config", "--python", "{release}/.venv/bin/python", "--requirements", "pyproject.toml"],
        ),
    ],
)
def test_commands_install(plan: Plan, name: str, kind: str, hashed: bool, expected: list[str]) -> None:
    _venv, install = commands(replace(plan, requirements=name), kind, hashed)
    assert install == [plan.uv, *(word.format(release=plan.app.release(NEW)) for word in expected)]


@pytest.mark.parametrize(
    ("python", "managed"),
    [("system", "--no-managed-python"), ("3.13.1", "--managed-python")],
)
def test_commands_venv(plan: Plan, python: str, managed: str) -> None:
    venv = commands(replace(plan, python=python), "requirements", True)[0]
    interpreter = build_module.SYSTEM_PYTHON if python == "system" else python
    assert venv == [plan.uv, "venv", "--quiet", "--no-config", managed, "--no-python-downloads", "--python", interpreter, f"{plan.app.release(NEW)}/.venv"]


@pytest.mark.parametrize(
    ("story", "found"),
    [
        ({}, OLD),
        ({"digest": "other"}, ""),
        ({"python": "3.11.2"}, ""),
        ({"config": {"module": "other:app"}}, ""),
        ({"environment": 'A="2"\n'}, ""),
    ],
    ids=["same", "other code", "other Python", "other config", "other environment"],
)
def test_find(plan: Plan, story: dict[str, Any], found: str) -> None:
    release(plan, OLD, **story)
    assert find(plan) == found


def test_find_a_secret_with_windows_line_ends(plan: Plan) -> None:
    release(plan, OLD, environment='A="a\r\nb\r"\n')
    assert find(replace(plan, environment='A="a\r\nb\r"\n')) == OLD


def test_find_the_live_one_before_a_newer_one(plan: Plan) -> None:
    release(plan, OLD, live=True)
    release(plan, NEWEST)
    assert find(plan) == OLD


def test_find_the_newest_where_none_is_live(plan: Plan) -> None:
    release(plan, OLD)
    release(plan, NEWEST)
    assert find(plan) == NEWEST


def test_sweep_takes_only_what_is_half_built(plan: Plan) -> None:
    app = plan.app
    release(plan, OLD)
    release(plan, NEW, live=True)
    os.unlink(app.marker(NEW))  # somebody's mistake: it must go on serving all the same
    release(plan, NEWEST)
    os.unlink(app.marker(NEWEST))
    write(f"{app.releases}/README", "somebody's note")
    assert sweep(app) == [NEWEST]
    assert sorted(os.listdir(app.releases)) == [OLD, NEW, "README"]
    assert sorted(os.listdir(app.settings)) == [OLD, NEW]


def test_sweep_of_nothing(app: App) -> None:
    os.rmdir(app.releases)
    assert sweep(app) == []


@pytest.mark.usefixtures("umask")
@pytest.mark.parametrize("old_python", [False, True], ids=["python with filters", "python of Debian 12"])
def test_unpack(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, old_python: bool) -> None:
    if old_python:
        monkeypatch.setattr(tarfile, "data_filter", tarfile.fully_trusted_filter)
    target = tmp_path / "release"
    unpack(archive(tmp_path, {"wsgi.py": "x", "static/deep/site.css": "y"}, mode=0o6777, mtime=5), str(target), 1000000000)
    paths = [target / name for name in ("static", "static/deep", "wsgi.py", "static/deep/site.css")]
    assert [(oct(stat.S_IMODE(path.stat().st_mode)), path.stat().st_mtime) for path in paths] == [("0o755", 1000000000)] * 4
    assert oct(stat.S_IMODE(target.stat().st_mode)) == "0o755"


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("../evil", {}),
        ("a/../../evil", {}),
        ("/tmp/evil", {}),
        ("evil", {"type": tarfile.SYMTYPE, "linkname": "/etc"}),
        ("evil", {"type": tarfile.SYMTYPE, "linkname": "../.."}),
        ("evil", {"type": tarfile.LNKTYPE, "linkname": "../evil"}),
        ("evil", {"type": tarfile.CHRTYPE}),
    ],
)
def test_unpack_refuses_what_leads_out(tmp_path: Path, name: str, changes: dict[str, Any]) -> None:
    with pytest.raises(BuildError, match="no archive of Plainstack has"):
        unpack(archive(tmp_path, {name: ""}, **changes), str(tmp_path / "release"), 0)
    assert os.listdir(tmp_path) == ["archive.tar.gz"]


def test_bytecode_is_shared_where_the_source_is_the_same_file(tmp_path: Path) -> None:
    old, new = tmp_path / "old/.venv/lib/p", tmp_path / "new/.venv/lib/p"
    for directory in (old, new):
        directory.mkdir(parents=True)
    (old / "__pycache__").mkdir()
    for name in ("same", "changed", "gone", "shipped"):
        (old / f"{name}.py").write_text(name)
        (old / f"__pycache__/{name}.cpython-313.pyc").write_text(name)
    os.link(old / "same.py", new / "same.py")
    os.link(old / "shipped.py", new / "shipped.py")
    (new / "changed.py").write_text("changed")
    (new / "__pycache__").mkdir()
    (new / "__pycache__/shipped.cpython-313.pyc").write_text("of the package")
    share_bytecode(str(tmp_path / "new"), str(tmp_path / "old"))
    assert sorted(os.listdir(new / "__pycache__")) == ["same.cpython-313.pyc", "shipped.cpython-313.pyc"]
    assert os.path.samefile(new / "__pycache__/same.cpython-313.pyc", old / "__pycache__/same.cpython-313.pyc")
    assert (new / "__pycache__/shipped.cpython-313.pyc").read_text() == "of the package"


def test_packages(tmp_path: Path) -> None:
    for name in ("Flask-3.1.0.dist-info", "typing_extensions-4.12.2.dist-info", "flask", "six-1.dist-info"):
        (tmp_path / ".venv/lib/python3.13/site-packages" / name).mkdir(parents=True)
    assert packages(str(tmp_path)) == {"flask": "3.1.0", "six": "1", "typing-extensions": "4.12.2"}


@pytest.mark.usefixtures("umask")
def test_build(plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    owners: list[tuple[int, int]] = []
    monkeypatch.setattr(os, "fchown", lambda _handle, user, group: owners.append((user, group)))
    app, whole = plan.app, replace(plan, shared=("uploads", "var/data"), story={"revision": "abc"})
    files = {"wsgi.py": "app = 1\n", "requirements.txt": HASHED, "uploads/.keep": "", "var/data": "a file"}
    assert build(whole, archive(tmp_path, files, mode=0o644), 1234, 1234) == []
    root = Path(app.release(NEW))
    assert app.complete() == [NEW]
    assert find(whole) == NEW
    assert {key: app.story(NEW)[key] for key in ("id", "app", "revision", "reproducible", "packages")} == {
        "id": NEW,
        "app": "hello",
        "revision": "abc",
        "reproducible": True,
        "packages": {"gunicorn": "23.0.0"},
    }
    assert [os.readlink(root / name) for name in whole.shared] == [f"{app.shared}/uploads", f"{app.shared}/var/data"]
    assert owners.count((1234, 1234)) == 3, "uploads, var and the file var/data"
    assert Path(f"{app.shared}/var/data").read_text() == "a file"
    assert oct(os.stat(app.environment(NEW)).st_mode & 0o777) == "0o600"
    assert (root / "__pycache__").is_dir()
    modes = {path: path.lstat().st_mode for path in root.rglob("*") if not path.is_symlink()}
    assert [path for path, mode in modes.items() if mode & 0o022 or not mode & 0o004] == []


def test_build_without_hashes_warns(plan: Plan, tmp_path: Path) -> None:
    [warning] = build(plan, archive(tmp_path, {"requirements.txt": "gunicorn"}), 0, 0)
    assert "requirements.txt has no hashes, so this deploy is not reproducible" in warning


@pytest.mark.parametrize(
    ("files", "uv", "message"),
    [
        ({"wsgi.py": ""}, "23.0.0", "requirements.txt is not in the archive; is the file ignored by git?"),
        ({"requirements.txt": "broken"}, "23.0.0", "uv says:\nno such package: broken"),
        ({"requirements.txt": HASHED}, "22.0.0", "brings gunicorn 22.0.0, which has known request-smuggling holes"),
        ({"requirements.txt": HASHED}, "", "brings no gunicorn"),
    ],
)
def test_a_failed_build_leaves_nothing_behind(plan: Plan, tmp_path: Path, files: dict[str, str], uv: str, message: str) -> None:
    package = UV.format(python=sys.executable, version=uv) if uv else UV.replace("gunicorn-", "flask-").format(python=sys.executable, version="3.0")
    Path(plan.uv).write_text(package)
    release(plan, OLD, live=True)
    with pytest.raises(BuildError) as error:
        build(plan, archive(tmp_path, files), 0, 0)
    assert message in str(error.value)
    assert (os.listdir(plan.app.releases), os.listdir(plan.app.settings)) == ([OLD], [OLD])


@pytest.mark.parametrize("breaks", ["write", "make_directory", "share_bytecode", "publish"])
def test_a_full_disk_leaves_nothing_behind(plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, breaks: str) -> None:
    """Wherever it is noticed; the error says what to do."""
    release(plan, OLD, live=True)
    monkeypatch.setattr(build_module, breaks, full)
    with pytest.raises(BuildError, match=r"could not be written: \[Errno 28\] No space left on device\. Nothing half-built is left(?s:.*)df -h"):
        build(plan, archive(tmp_path, {"requirements.txt": HASHED}), 0, 0)
    assert (os.listdir(plan.app.releases), os.listdir(plan.app.settings)) == ([OLD], [OLD])


def test_an_interrupted_build_leaves_nothing_behind(plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_arguments: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(build_module, "share_bytecode", interrupt)
    release(plan, OLD)
    before = os.umask(0o022)
    with pytest.raises(KeyboardInterrupt):
        build(plan, archive(tmp_path, {"requirements.txt": HASHED}), 0, 0)
    assert (os.listdir(plan.app.releases), os.listdir(plan.app.settings)) == ([OLD], [OLD])
    assert os.umask(before) == 0o022


def test_a_static_directory_that_git_ignores_is_an_error(plan: Plan) -> None:
    with pytest.raises(BuildError, match="'web/static' in 'static' is not in the archive"):
        build_module._publish(replace(plan, static={"/static": "web/static"}))
