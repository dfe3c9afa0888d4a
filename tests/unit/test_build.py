"""Building a release on the host, with a uv that only pretends."""

import gzip
import hashlib
import io
import json
import os
import platform
import pwd
import stat
import subprocess
import sys
import tarfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.plainstack.web.plugins.module_utils import bundled
from ansible_collections.plainstack.web.plugins.module_utils.entries import fingerprint
from ansible_collections.plainstack.web.plugins.module_utils.host import build as build_module
from ansible_collections.plainstack.web.plugins.module_utils.host import sandbox
from ansible_collections.plainstack.web.plugins.module_utils.host.build import (
    BuildError,
    Plan,
    _link_instance,
    _version,
    build,
    commands,
    compiling,
    lock_kind,
    packages,
    same,
    sweep,
    unpack,
)
from ansible_collections.plainstack.web.plugins.module_utils.host.interpreter import python_gone
from ansible_collections.plainstack.web.plugins.module_utils.host.sandbox import Outcome
from ansible_collections.plainstack.web.plugins.module_utils.layout import App, relink, write

from tests.unit.fakes import full

OLD, NEW, NEWEST = "20260101T000000Z-aaaaaaaa", "20260102T000000Z-bbbbbbbb", "20260103T000000Z-cccccccc"
HASHED = "gunicorn==23.0.0 --hash=sha256:00\n"
UV = """#!/bin/sh
# Makes an environment with one package; fails where the requirements say so
set -eu
case $1 in
venv)
    mkdir -p .venv/bin .venv/lib/python3.13/site-packages/{package}.dist-info
    ln -s {python} .venv/bin/python
    echo 'version_info = 3.13.5' > .venv/pyvenv.cfg
    echo 'x = 1' > .venv/lib/python3.13/site-packages/package.py ;;
*)
    {more}
    if grep -q broken requirements.txt; then echo 'no such package: broken' >&2; exit 1; fi ;;
esac
"""


class Sandbox:
    """Stands in for the unit that builds: runs the commands as they are, or ends as it is told."""

    outcome: Outcome | None = None
    environment: Mapping[str, str] = {}

    def __init__(self) -> None:
        self.steps: list[str] = []

    def run(self, app: App, identifier: str, steps: Sequence[Sequence[str]], environment: Mapping[str, str]) -> Outcome:
        self.environment = environment
        for step in steps:
            self.steps.append(" ".join(step))
            done = subprocess.run(step, cwd=app.release(identifier), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
            if self.outcome or done.returncode:
                return self.outcome or Outcome("exit-code", done.stdout)
        return Outcome("success", "")


@pytest.fixture(autouse=True)
def box(monkeypatch: pytest.MonkeyPatch) -> Sandbox:
    """The builder is root here, and the unit only pretends."""
    fake = Sandbox()
    monkeypatch.setattr(sandbox, "run", fake.run)
    monkeypatch.setattr(sandbox, "user", lambda: pwd.getpwuid(0))
    return fake


def write_uv(plan: Plan, package: str = "gunicorn-24.1.0", more: str = ":") -> None:
    """The uv that pretends, with the package that it installs and what it does besides."""
    uv = Path(plan.uv)
    uv.write_text(UV.format(python=build_module.SYSTEM_PYTHON, package=package, more=more))
    uv.chmod(0o755)


@pytest.fixture
def plan(app: App, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Plan:
    # A file, not a link: its name says which version it is
    (tmp_path / "python3.13").write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    (tmp_path / "python3.13").chmod(0o755)
    monkeypatch.setattr(build_module, "SYSTEM_PYTHON", str(tmp_path / "python3.13"))
    made = Plan(app, NEW, "digest", "requirements.txt", "system", {"module": "package:app"}, 'A="1"\n', uv=str(tmp_path / "uv"))
    write_uv(made)
    return made


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


def digest(path: str) -> str:
    """The digest of an archive's content."""
    found = hashlib.sha256()
    with tarfile.open(path) as tar:
        for entry in tar:
            stream = tar.extractfile(entry) if entry.isreg() else None
            found.update(fingerprint(entry) + (stream.read() if stream else b""))
    return found.hexdigest()


def make(plan: Plan, path: str) -> list[str]:
    """Build from an archive that arrived whole."""
    return build(replace(plan, digest=digest(path)), path, 0, 0)


def release(plan: Plan, identifier: str, live: bool = False, environment: str = 'A="1"\n', **story: Any) -> None:
    """A complete release on disk."""
    os.makedirs(f"{plan.app.release(identifier)}/.venv/bin")
    os.symlink(build_module.SYSTEM_PYTHON, f"{plan.app.release(identifier)}/.venv/bin/python")
    os.makedirs(os.path.dirname(plan.app.environment(identifier)))
    write(plan.app.environment(identifier), environment)
    write(plan.app.marker(identifier), json.dumps({"digest": plan.digest, "config": plan.config, "python": "3.13.5", **story}))
    if live:
        relink(plan.app.live_socket, plan.app.socket(identifier))


def test_compiling_runs_nothing_of_what_is_compiled(tmp_path: Path) -> None:
    """Neither a .pth file of a package, nor what has the name of a module of Python's own."""
    release, evil = tmp_path / "release", f"open({str(tmp_path / 'ran')!r}, 'w')\n"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(release / ".venv")], check=True)
    [packages] = release.glob(".venv/lib/python*/site-packages")
    (packages / "evil.pth").write_text(f"import os; {evil}")
    for path in (packages / "sitecustomize.py", release / "compileall.py", release / "py_compile.py", release / "wsgi.py"):
        path.write_text(evil)
    environment = {**os.environ, "PYTHONPATH": str(release)}
    for command in compiling(str(release)):
        subprocess.run(command, cwd=release, env=environment, check=True)
    assert len(list(release.glob("__pycache__/*.pyc"))) == 3
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("uv.lock", "", ("project", True)),
        ("backend/uv.lock", "", ("project", True)),
        ("pylock.toml", "", ("pylock", True)),
        ("pylock.prod.toml", "", ("pylock", True)),
        ("pyproject.toml", "", ("dependencies", False)),
        ("pyproject.toml", '[project]\nname = "shop"\n\n[build-system]\n', ("source", False)),
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
            "poetry.lock",
            "requirements",
            True,
            ["pip", "sync", "--quiet", "--no-config", "--python", "{release}/.venv/bin/python", "--require-hashes", ".plainstack-requirements.txt"],
        ),
        (
            "pyproject.toml",
            "dependencies",
            False,
            ["pip", "install", "--quiet", "--no-config", "--python", "{release}/.venv/bin/python", "--requirements", "pyproject.toml"],
        ),
    ],
)
def test_commands_install(plan: Plan, name: str, kind: str, hashed: bool, expected: list[str]) -> None:
    _venv, install = commands(replace(plan, requirements=name), kind, hashed)
    assert install == [plan.uv, *(word.format(release=plan.app.release(NEW)) for word in expected)]


@pytest.mark.parametrize(
    ("name", "kind", "chosen"),
    [
        ("a/uv.lock", "project", ["--package", "shop", "--extra", "web", "--group", "x", "--group", "y"]),
        ("pylock.toml", "pylock", ["--extra", "web", "--group", "x", "--group", "y", "pylock.toml"]),
        ("a/pyproject.toml", "dependencies", ["--extra", "web", "--group", "a/pyproject.toml:x", "--group", "a/pyproject.toml:y"]),
    ],
)
def test_extras_and_groups(plan: Plan, name: str, kind: str, chosen: list[str]) -> None:
    config = {**plan.config, "extras": ["web"], "groups": ["x", "y"], "member": "shop" if kind == "project" else ""}
    install = commands(replace(plan, requirements=name, config=config), kind, kind == "pylock")[1]
    assert install[-len(chosen) :] == chosen


@pytest.mark.parametrize("build", ["source", "wheels"])
def test_a_project_is_installed_itself(plan: Plan, build: str) -> None:
    """Unless no code of a package may run."""
    made = commands(replace(plan, requirements="a/pyproject.toml", build=build), "source", False)
    assert [command[-1] for command in made[2:]] == ([f"{plan.app.release(NEW)}/a"] if build == "source" else [])


@pytest.mark.parametrize(
    ("text", "version", "variables"),
    [
        ('[project]\nname = "My_Shop.web"\n', "1.2.post3+gabc", {"SETUPTOOLS_SCM_PRETEND_VERSION_FOR_MY_SHOP_WEB": "1.2.post3+gabc"}),
        ('[project]\nname = "shop"\n', "", {}),
        ("", "1.2", {}),
    ],
)
def test_the_version_from_git_is_of_the_project_alone(plan: Plan, text: str, version: str, variables: dict[str, str]) -> None:
    os.makedirs(f"{plan.app.release(NEW)}/a")
    Path(f"{plan.app.release(NEW)}/a/pyproject.toml").write_text(text, encoding="utf-8")
    assert _version(replace(plan, requirements="a/uv.lock", story={"version": version})) == variables


@pytest.mark.parametrize(
    ("name", "kind", "hashed"), [("uv.lock", "project", True), ("requirements.txt", "requirements", False), ("pylock.toml", "pylock", True)]
)
@pytest.mark.parametrize("build", ["source", "wheels"])
def test_with_wheels_alone_nothing_is_built(plan: Plan, name: str, kind: str, hashed: bool, build: str) -> None:
    _venv, install = commands(replace(plan, requirements=name, build=build), kind, hashed)
    assert ("--no-build" in install) is (build == "wheels")


@pytest.mark.parametrize(
    ("python", "managed"),
    [("system", "--no-managed-python"), ("3.13.1", "--managed-python")],
)
def test_commands_venv(plan: Plan, python: str, managed: str) -> None:
    venv = commands(replace(plan, python=python), "requirements", True)[0]
    interpreter = build_module.SYSTEM_PYTHON if python == "system" else python
    assert venv == [plan.uv, "venv", "--quiet", "--no-config", managed, "--no-python-downloads", "--python", interpreter, f"{plan.app.release(NEW)}/.venv"]


def wanted(plan: Plan) -> dict[str, Any]:
    """What a run looks for."""
    return {"digest": plan.digest, "config": plan.config, "environment": plan.environment}


@pytest.mark.parametrize(
    ("story", "found"),
    [
        ({}, True),
        ({"digest": "other"}, False),
        ({"python": "3.11.2"}, False),
        ({"config": {"module": "other:app"}}, False),
        ({"environment": 'A="2"\n'}, False),
    ],
    ids=["same", "other code", "other Python", "other config", "other environment"],
)
def test_same(plan: Plan, story: dict[str, Any], found: bool) -> None:
    release(plan, OLD, **story)
    assert same(plan.app, wanted(plan), OLD) is found


def test_same_with_windows_line_ends_in_a_secret(plan: Plan) -> None:
    release(plan, OLD, environment='A="a\r\nb\r"\n')
    assert same(plan.app, wanted(replace(plan, environment='A="a\r\nb\r"\n')), OLD)


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
    path = archive(tmp_path, {"wsgi.py": "x", "static/deep/site.css": "y"}, mode=0o6777, mtime=5)
    unpack(path, str(target), digest(path))
    assert [oct(stat.S_IMODE((target / name).stat().st_mode)) for name in ("wsgi.py", "static/deep/site.css")] == ["0o755"] * 2


@pytest.mark.parametrize("change", ["content", "cut off", "no gzip", "another mode"])
def test_unpack_refuses_an_archive_whose_bytes_were_changed(tmp_path: Path, change: str) -> None:
    path = archive(tmp_path, {"wsgi.py": "the app " * 1000})
    whole, data = digest(path), Path(path).read_bytes()
    if change == "content":
        archive(tmp_path, {"wsgi.py": "not the app"})
    elif change == "another mode":
        archive(tmp_path, {"wsgi.py": "the app " * 1000}, mode=0o755)
    else:
        Path(path).write_bytes(data[: len(data) // 2] if change == "cut off" else gzip.decompress(data)[:100])
    with pytest.raises(BuildError, match=r"not the one that was made: its content has the digest \w+, not \w+|cannot be read, so its bytes were changed"):
        unpack(path, str(tmp_path / "release"), whole)
    assert not (tmp_path / "release").exists()


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
        unpack(archive(tmp_path, {name: ""}, **changes), str(tmp_path / "release"), "")
    assert os.listdir(tmp_path) == ["archive.tar.gz"]


def test_packages() -> None:
    names = ("Flask-3.1.0.dist-info", "typing_extensions-4.12.2.dist-info", "flask", "six-1.dist-info", "e\x1bvil-1.dist-info", "x/evil-1.dist-info")
    paths = [f".venv/lib/python3.13/site-packages/{name}" for name in names]
    assert packages([*paths, "vendor/other-1.dist-info"]) == {"flask": "3.1.0", "six": "1", "typing-extensions": "4.12.2"}


@pytest.mark.parametrize(
    ("python", "says"),
    [
        ("3.13.9", ""),
        ("", ""),
        ("3.11.2", "was built for Python 3.11, and this host has 3.13, so it cannot start.\nNext: check out revision abc and deploy it"),
    ],
)
def test_a_release_for_a_python_that_is_gone(plan: Plan, python: str, says: str) -> None:
    """After an upgrade of Debian the link leads to the new version."""
    release(plan, OLD, python=python, revision="abc")
    assert says in python_gone(plan.app, OLD)
    assert bool(python_gone(plan.app, OLD)) is bool(says)


def test_a_release_whose_python_was_removed(plan: Plan) -> None:
    release(plan, OLD)
    os.unlink(build_module.SYSTEM_PYTHON)
    assert "was built for Python 3.13, and this host has it no more" in python_gone(plan.app, OLD)


def test_a_bundle_is_installed_without_an_index_and_does_not_stay(plan: Plan, tmp_path: Path, box: Sandbox) -> None:
    """Whatever the lock file is: the controller has read it."""
    text = f"{bundled.HEADER}3.13-{platform.machine()}\n{HASHED}"
    path = archive(tmp_path, {"uv.lock": "", bundled.REQUIREMENTS: text, f"{bundled.DIRECTORY}/gunicorn-23.0.0-py3-none-any.whl": ""})
    write_uv(plan, more=f"test -e {bundled.DIRECTORY}/gunicorn-23.0.0-py3-none-any.whl; touch requirements.txt")
    whole = replace(plan, digest=digest(path), requirements="uv.lock", config={**plan.config, "bundle": True, "extras": ["web"]})
    assert build(whole, path, 1234, 0) == []
    options = f"--offline --no-index --find-links {bundled.DIRECTORY} --require-hashes {bundled.REQUIREMENTS}"
    assert box.steps[1].endswith(options)
    assert " pip sync " in box.steps[1]
    assert not os.path.exists(f"{plan.app.release(NEW)}/{bundled.DIRECTORY}")
    assert plan.app.story(NEW)["reproducible"] is True


@pytest.mark.parametrize(
    ("python", "header", "says"),
    [
        ("system", "3.11-x86_64 3.13-riscv64", "has wheels for 3.11-x86_64, 3.13-riscv64 (Python and architecture), and this server needs 3.13-"),
        ("3.12.4", "3.13-x86_64", "and this server needs 3.12-"),
        ("system", "", "has wheels for nothing"),
        ("system", None, "the archive has no bundle; deploy.yml makes one"),
    ],
)
def test_a_bundle_for_another_server_is_refused(plan: Plan, tmp_path: Path, box: Sandbox, python: str, header: str | None, says: str) -> None:
    files = {} if header is None else {bundled.REQUIREMENTS: f"{bundled.HEADER}{header}\n{HASHED}"}
    path = archive(tmp_path, {"requirements.txt": "gunicorn", **files})
    with pytest.raises(BuildError) as error:
        build(replace(plan, digest=digest(path), python=python, config={**plan.config, "bundle": True}), path, 1234, 0)
    assert says in str(error.value)
    assert header is None or "Where it is set: 'bundle_for' of the app." in str(error.value)
    assert box.steps == []
    assert plan.app.complete() == []


@pytest.mark.usefixtures("umask")
def test_build(plan: Plan, tmp_path: Path, box: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    owners: list[tuple[int, int]] = []
    chown = os.fchown
    monkeypatch.setattr(os, "fchown", lambda handle, user, group: owners.append((user, group)) if user == 1234 else chown(handle, user, group))
    app = plan.app
    files = {"wsgi.py": "app = 1\n", "requirements.txt": HASHED, "uploads/.keep": "", "var/data": "a file", "web/css/site.css": "", "web/.env": ""}
    path = archive(tmp_path, files, mode=0o600)
    whole = replace(plan, digest=digest(path), shared=("uploads", "var/data"), static={"/static": "web"}, story={"revision": "abc"})
    assert build(replace(whole, build_environment={"UV_INDEX": "x"}), path, 1234, 0) == []
    root = Path(app.release(NEW))
    assert app.complete() == [NEW]
    assert same(app, wanted(whole), NEW)
    assert {key: app.story(NEW)[key] for key in ("id", "app", "revision", "reproducible", "packages", "python")} == {
        "id": NEW,
        "app": "hello",
        "revision": "abc",
        "reproducible": True,
        "packages": {"gunicorn": "24.1.0"},
        "python": "3.13.5",
    }
    assert [step for word in ("uv venv", "uv pip", "compileall") for step in box.steps if word in step] == box.steps, "all of it in the sandbox"
    assert len(box.steps) == 3
    assert {key: box.environment[key] for key in ("LC_ALL", "LANGUAGE", "UV_INDEX", "UV_LINK_MODE", "UV_CACHE_DIR")} == {
        "LC_ALL": "C.UTF-8",  # the causes of failed builds are told apart by compilers' English words
        "LANGUAGE": "",
        "UV_INDEX": "x",
        "UV_LINK_MODE": "copy",
        "UV_CACHE_DIR": app.cache,
    }
    assert [os.readlink(root / name) for name in whole.shared] == [f"{app.shared}/uploads", f"{app.shared}/var/data"]
    assert owners.count((1234, 0)) == 3, "uploads, var and the file var/data"
    assert Path(f"{app.shared}/var/data").read_text() == "a file"
    private = [app.environment(NEW), app.archive(NEW)]
    assert [oct(os.stat(path).st_mode & 0o777) for path in private] == ["0o600"] * 2
    assert oct(os.stat(os.path.dirname(app.environment(NEW))).st_mode & 0o777) == "0o750"
    assert (root / "__pycache__").is_dir()
    modes = {str(path.relative_to(root)): stat.S_IMODE(path.lstat().st_mode) for path in root.rglob("*") if not path.is_symlink()}
    assert [path for path, mode in modes.items() if mode & 0o027 and not path.startswith((".static", "web", "var"))] == []
    assert {path: oct(mode) for path, mode in modes.items() if path.startswith("web")} == {
        "web": "0o755",
        "web/css": "0o755",
        "web/css/site.css": "0o644",
        "web/.env": "0o640",
    }
    assert (oct(modes["release.json"]), oct(stat.S_IMODE(root.stat().st_mode))) == ("0o640", "0o751")
    assert {path.stat().st_mtime for path in (root / "wsgi.py", root / "web/css/site.css")} == {1767312000.0}


@pytest.mark.parametrize(("before", "warned"), [(["uploads"], True), (["uploads", "media"], False), ([], False)])
def test_data_that_a_renamed_directory_leaves_behind_is_named(plan: Plan, tmp_path: Path, before: list[str], warned: bool) -> None:
    release(plan, OLD, live=True, config={"shared": before})
    os.mkdir(f"{plan.app.shared}/uploads")
    Path(f"{plan.app.shared}/uploads/photo").touch()
    warnings = make(replace(plan, shared=("media",)), archive(tmp_path, {"requirements.txt": HASHED}))
    said = "hello: media in 'shared' is new and has no data, while uploads is no longer in 'shared' and has some"
    assert [one.startswith(said) and f"mv -T {plan.app.shared}/uploads {plan.app.shared}/media" in one for one in warnings] == [True] * warned


@pytest.mark.usefixtures("box")
def test_nothing_of_what_survives_releases_is_published(plan: Plan, tmp_path: Path) -> None:
    """A static directory that is a link to a shared one: nginx gets the source's files, and root does not look at the app's."""
    path = archive(tmp_path, {"requirements.txt": HASHED, "uploads/seed.txt": ""})
    with tarfile.open(path) as old, tarfile.open(tmp_path / "linked.tar.gz", "w:gz") as new:
        for entry in old:
            new.addfile(entry, old.extractfile(entry))
        link = tarfile.TarInfo("media")
        link.type, link.linkname = tarfile.SYMTYPE, "uploads"
        new.addfile(link)
    path = str(tmp_path / "linked.tar.gz")
    os.mkdir(f"{plan.app.shared}/uploads")
    Path(f"{plan.app.shared}/uploads/private.txt").touch()
    build(replace(plan, digest=digest(path), shared=("uploads",), static={"/media": "media"}), path, 0, 0)
    assert os.listdir(f"{plan.app.release(NEW)}/.static/media") == ["seed.txt"]
    assert os.listdir(f"{plan.app.release(NEW)}/media") == ["private.txt"]


def test_a_second_release_shares_its_packages_with_the_first(plan: Plan, tmp_path: Path) -> None:
    make(replace(plan, identifier=OLD), archive(tmp_path, {"requirements.txt": HASHED, "wsgi.py": "1"}))
    make(plan, archive(tmp_path, {"requirements.txt": HASHED, "wsgi.py": "2"}))
    for name in ("package.py", "__pycache__/package.*.pyc"):
        [old], [new] = (list(Path(plan.app.release(one)).glob(f".venv/lib/python3.13/site-packages/{name}")) for one in (OLD, NEW))
        assert old.samefile(new)
    assert (Path(plan.app.release(NEW)) / "wsgi.py").stat().st_nlink == 1


def test_build_without_hashes_warns(plan: Plan, tmp_path: Path) -> None:
    [warning] = make(plan, archive(tmp_path, {"requirements.txt": "gunicorn"}))
    assert "requirements.txt has no hashes, so this deploy is not reproducible" in warning


@pytest.mark.parametrize(
    ("package", "config", "warning"),
    [
        ("gunicorn-23.0.0", {"max_requests": 1000}, "gunicorn 23.0.0 loses about one request each time that 'max_requests'"),
        ("gunicorn-24.0.0", {"max_requests": 1000}, "Lock gunicorn>=24.1"),
        ("gunicorn-24.1.0", {"max_requests": 1000}, ""),
        ("gunicorn-23.0.0", {"max_requests": 0}, ""),
        ("gunicorn-24.1.0", {"module": "wsgi:app"}, ""),
        (
            "gunicorn-24.1.0",
            {"module": "shop.wsgi:app"},
            "installs no 'shop', and the source has none at its top. It is in src/, from which nothing is imported",
        ),
        ("gunicorn-24.1.0", {"module": "other:app"}, "It is not in the archive either"),
    ],
)
def test_build_warns(plan: Plan, tmp_path: Path, package: str, config: dict[str, Any], warning: str) -> None:
    write_uv(plan, package)
    warnings = make(replace(plan, config=config), archive(tmp_path, {"requirements.txt": HASHED, "wsgi.py": "", "src/shop/__init__.py": ""}))
    assert [warning in one for one in warnings] == ([True] if warning else [])


def test_a_project_that_is_found_by_a_path_of_its_own_is_no_reason_to_warn(plan: Plan, tmp_path: Path) -> None:
    write_uv(plan, more="touch .venv/lib/python3.13/site-packages/__editable__.shop-1.pth")
    files = {"requirements.txt": HASHED, "src/shop/__init__.py": ""}
    assert make(replace(plan, config={"module": "shop:app"}), archive(tmp_path, files)) == []
    assert make(replace(plan, identifier=NEWEST, config={"module": "shop:app"}, environment='PYTHONPATH="src"\n'), archive(tmp_path, files)) == []


@pytest.mark.parametrize(
    ("files", "package", "more", "message"),
    [
        ({"wsgi.py": ""}, "gunicorn-24.1.0", ":", "requirements.txt is not in the archive; is the file ignored by git?"),
        ({"requirements.txt": "broken"}, "gunicorn-24.1.0", ":", "uv says:\nno such package: broken"),
        ({"requirements.txt": HASHED}, "gunicorn-22.0.0", ":", "brings gunicorn 22.0.0, which has known request-smuggling holes"),
        ({"requirements.txt": HASHED}, "flask-3.0", ":", "brings no gunicorn"),
        ({"requirements.txt": HASHED}, "gunicorn-24.1.0", "mkfifo .venv/pipe", ".venv/pipe is a device, a pipe or a socket"),
        ({"requirements.txt": HASHED}, "gunicorn-24.1.0", "ln requirements.txt .venv/link", ".venv/link is a hard link"),
        ({"requirements.txt": HASHED}, "gunicorn-24.1.0", "ln -s /etc .static", "has made .static, which is Plainstack's own"),
        ({"requirements.txt": HASHED}, "gunicorn-24.1.0", "echo {{}} > release.json", "has made release.json"),
        ({"requirements.txt": HASHED}, "gunicorn-24.1.0", "rm .venv/pyvenv.cfg; ln -s /etc/passwd .venv/pyvenv.cfg", "has changed .venv/pyvenv.cfg"),
        ({"requirements.txt": HASHED}, "gunicorn-24.1.0", "rm -r web; ln -s /etc web", "'web' in 'static' leads out of the release"),
    ],
)
def test_a_failed_build_leaves_nothing_behind(plan: Plan, tmp_path: Path, files: dict[str, str], package: str, more: str, message: str) -> None:
    write_uv(plan, package, more.replace("{{}}", "{}"))
    release(plan, OLD, live=True)
    with pytest.raises(BuildError) as error:
        make(replace(plan, static={"/static": "web"}), archive(tmp_path, {**files, "web/x": ""}))
    assert message in str(error.value)
    assert (os.listdir(plan.app.releases), os.listdir(plan.app.settings)) == ([OLD], [OLD])


@pytest.mark.parametrize(
    ("outcome", "words"),
    [
        (Outcome("oom-kill", ""), "could not be built from requirements.txt: the build was killed because the server has no memory left"),
        (Outcome("exit-code", "error: Git executable not found."), "comes from git, and the server has no git.\nuv says:"),
        (Outcome("exit-code", "a new error"), "from requirements.txt.\nuv says:\na new error\nWhere it is set: 'requirements'"),
    ],
)
def test_a_failed_build_says_why(plan: Plan, tmp_path: Path, box: Sandbox, outcome: Outcome, words: str) -> None:
    box.outcome = outcome
    with pytest.raises(BuildError) as error:
        make(plan, archive(tmp_path, {"requirements.txt": HASHED}))
    assert words in str(error.value)


def test_a_build_that_fills_a_disk_names_it(plan: Plan, tmp_path: Path, box: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    box.outcome = Outcome("exit-code", "error: Failed to extract\n  cause: No space left on device (os error 28)")
    monkeypatch.setattr(build_module, "FULL", 1 << 62)
    with pytest.raises(BuildError, match=r"uv says: cause: No space left on device \(os error 28\) \(full: the file system of /"):
        make(plan, archive(tmp_path, {"requirements.txt": HASHED}))


@pytest.mark.parametrize("most", [0, 1 << 30])
def test_the_cache_does_not_grow_without_end(plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, most: int) -> None:
    monkeypatch.setattr(build_module, "LEAST_CACHE", most)
    os.makedirs(plan.app.cache)
    Path(plan.app.cache, "wheel").write_bytes(b"x" * 50_000)
    make(plan, archive(tmp_path, {"requirements.txt": HASHED}))
    assert os.path.exists(plan.app.cache) is (most > 0)


@pytest.mark.parametrize("breaks", ["write", "make_directory", "unpack", "publish"])
def test_a_full_disk_leaves_nothing_behind(plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, breaks: str) -> None:
    """Wherever it is noticed; the error says what to do."""
    release(plan, OLD, live=True)
    monkeypatch.setattr(build_module, breaks, full)
    with pytest.raises(BuildError, match=r"could not be written: \[Errno 28\] No space left on device\. Nothing half-built is left(?s:.*)df -h"):
        make(plan, archive(tmp_path, {"requirements.txt": HASHED}))
    assert (os.listdir(plan.app.releases), os.listdir(plan.app.settings)) == ([OLD], [OLD])


def test_an_interrupted_build_leaves_nothing_behind(plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_arguments: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(build_module, "publish", interrupt)
    release(plan, OLD)
    before = os.umask(0o022)
    with pytest.raises(KeyboardInterrupt):
        make(plan, archive(tmp_path, {"requirements.txt": HASHED}))
    assert (os.listdir(plan.app.releases), os.listdir(plan.app.settings)) == ([OLD], [OLD])
    assert os.umask(before) == 0o022


def test_a_marker_that_an_interrupted_build_has_planted_counts_for_nothing(plan: Plan) -> None:
    release(plan, OLD)
    release(plan, NEW)
    os.unlink(plan.app.marker(NEW))
    os.symlink(plan.app.marker(OLD), plan.app.marker(NEW))
    assert plan.app.complete() == [OLD]


def test_a_static_directory_that_git_ignores_is_an_error(plan: Plan) -> None:
    with pytest.raises(BuildError, match="'web/static' in 'static' is not in the archive"):
        build_module._publish(replace(plan, static={"/static": "web/static"}))


# The app's own command


def test_its_own_command_is_run_with_env_and_before_files_are_shared(plan: Plan, tmp_path: Path, box: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is shared with the release before is root's, and the builder cannot read it."""
    make(replace(plan, identifier=OLD), archive(tmp_path, {"requirements.txt": HASHED}))
    seen: list[bool] = []
    run = box.run

    def watch(app: App, identifier: str, steps: Sequence[Sequence[str]], environment: Mapping[str, str]) -> Outcome:
        if "server_build" in steps[0][-1]:
            shared = [path for path in Path(app.release(identifier), ".venv/lib").rglob("*") if path.is_file() and path.stat().st_nlink > 1]
            seen.append(bool(shared))
            assert (environment["A"], environment["PLAINSTACK_APP"], environment["PLAINSTACK_RELEASE"]) == ("1", plan.app.name, NEW)
            assert environment["PATH"].startswith(f"{app.release(identifier)}/.venv/bin:")
            assert "UV_CACHE_DIR" in environment
        return run(app, identifier, steps, environment)

    monkeypatch.setattr(sandbox, "run", watch)
    made = replace(plan, server_build="mkdir web && echo server_build > web/built.css", env={"A": "1", "PATH": "/mine"}, static={"/static": "web"})
    make(made, archive(tmp_path, {"requirements.txt": HASHED}))
    assert seen == [False]
    assert [path for path in Path(plan.app.release(NEW), ".venv/lib").rglob("*") if path.is_file() and path.stat().st_nlink > 1] != []
    assert Path(plan.app.release(NEW), ".static/static/built.css").read_text(encoding="utf-8") == "server_build\n"


def test_its_own_command_that_fails_is_shown(plan: Plan, tmp_path: Path) -> None:
    with pytest.raises(BuildError) as error:
        make(replace(plan, server_build="seq 60; echo no settings; exit 3"), archive(tmp_path, {"requirements.txt": HASHED}))
    said = str(error.value)
    assert f"{plan.app.name}: 'server_build' failed (exit-code).\nIts last lines:\n22\n" in said
    assert "60\nno settings\nWhere it is set: 'server_build' of the app in the inventory" in said
    assert os.listdir(plan.app.releases) == []


def test_what_its_own_command_has_not_made_is_named(plan: Plan, tmp_path: Path) -> None:
    with pytest.raises(BuildError, match="'web' in 'static' is not in the archive; nor has 'server_build' made it"):
        make(replace(plan, server_build="true", static={"/static": "web"}), archive(tmp_path, {"requirements.txt": HASHED}))


@pytest.mark.parametrize("own", [False, True])
def test_flasks_instance_folder_of_an_installed_app_is_the_shared_one(plan: Plan, own: bool) -> None:
    places = f"{plan.app.release(NEW)}/.venv/var"
    os.makedirs(f"{places}/shop.web-instance" if own else os.path.dirname(places))
    _link_instance(replace(plan, config={**plan.config, "module": "shop.web:create_app()"}))
    assert os.readlink(f"{places}/shop-instance") == f"{plan.app.shared}/instance"
    assert os.path.islink(f"{places}/shop.web-instance") is not own


def test_a_link_of_a_package_is_not_followed(plan: Plan, tmp_path: Path) -> None:
    os.makedirs(f"{plan.app.release(NEW)}/.venv")
    os.symlink(tmp_path, f"{plan.app.release(NEW)}/.venv/var")
    before = sorted(os.listdir(tmp_path))
    _link_instance(replace(plan, config={**plan.config, "module": "shop:app"}))
    assert sorted(os.listdir(tmp_path)) == before
