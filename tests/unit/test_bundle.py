"""The wheels of an offline bundle, from a directory of wheels as the index: by uv and pip themselves."""

from __future__ import annotations

import base64
import hashlib
import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import pytest
from ansible import constants as C  # type: ignore[attr-defined]
from ansible_collections.plainstack.web.plugins.module_utils import bundled, exported
from ansible_collections.plainstack.web.plugins.module_utils.controller import bundle as module
from ansible_collections.plainstack.web.plugins.module_utils.controller.archive import ArchiveError
from ansible_collections.plainstack.web.plugins.module_utils.controller.built import Tree, cache
from ansible_collections.plainstack.web.plugins.module_utils.controller.bundle import BundleError, Target, bundle, for_pip, settings, targets
from ansible_collections.plainstack.web.plugins.plugin_utils.sources import archive

BOTH = ["debian-12", "debian-13"]
C311, C313 = "compiled-1.0-cp311-cp311-manylinux_2_17_x86_64.whl", "compiled-1.0-cp313-cp313-manylinux_2_17_x86_64.whl"


def wheel(directory: Path, file: str, *needs: str) -> str:
    """Make a wheel; its SHA-256."""
    name, version, *_, tag = file.removesuffix(".whl").split("-", 2)
    about = f"{name}-{version}.dist-info"
    content = {
        f"{name}.py": f"# {file}\n",
        f"{about}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n" + "".join(f"Requires-Dist: {need}\n" for need in needs),
        f"{about}/WHEEL": f"Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: {tag}\n",
    }
    record = "".join(
        f"{path},sha256={base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).decode().rstrip('=')},{len(text)}\n" for path, text in content.items()
    )
    with zipfile.ZipFile(directory / file, "w") as archive:
        for path, text in {**content, f"{about}/RECORD": f"{record}{about}/RECORD,,\n"}.items():
            archive.writestr(zipfile.ZipInfo(path), text)
    digest = hashlib.sha256((directory / file).read_bytes()).hexdigest()
    page = directory / "simple" / name.replace("_", "-") / "index.html"
    page.parent.mkdir(parents=True, exist_ok=True)
    with page.open("a", encoding="utf-8") as stream:
        stream.write(f'<a href="../../{file}#sha256={digest}">{file}</a>\n')
    return digest


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The wheels that there are; `pure` needs another one where Python is old."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for name in [name for name in os.environ if name.startswith(("UV_", "PIP_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("UV_NO_CONFIG", "1")
    monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path / "uv"))
    found = tmp_path / "index"
    (found / "none").mkdir(parents=True)
    wheel(found, "pure-1.0-py3-none-any.whl", "old>=1; python_full_version < '3.11.3'")
    for file in ("pure-0.9-py3-none-any.whl", "old-1.0-py3-none-any.whl", "some_name-2.0-py3-none-any.whl", C311, C313):
        wheel(found, file)
    return found


@pytest.fixture
def where(index: Path) -> dict[str, str]:
    """An index in two parts, of which one has nothing."""
    return {"UV_DEFAULT_INDEX": f"file://{index}/simple", "UV_EXTRA_INDEX_URL": f"file://{index}/none"}


@pytest.fixture
def source(tmp_path: Path) -> Path:
    found = tmp_path / "source"
    found.mkdir()
    (found / "wsgi.py").write_text("x", encoding="utf-8")
    (found / "requirements.txt").write_text("pure\ncompiled\n", encoding="utf-8")
    return found


def app(**changes: Any) -> dict[str, Any]:
    return {
        "name": "shop",
        "requirements": "requirements.txt",
        "extras": [],
        "groups": [],
        "member": "",
        "python": "system",
        "bundle_for": ["debian-13"],
        **changes,
    }


def made(source: Path, where: dict[str, str], **changes: Any) -> Path:
    return Path(bundle(app(**changes), Tree(str(source), [], ""), where).directory)


def wheels(tree: Path) -> list[str]:
    return sorted(path.name for path in (tree / bundled.DIRECTORY).glob("*.whl"))


def listed(tree: Path) -> list[str]:
    """What is installed, without hashes."""
    return [line.partition(" --hash")[0] for line in (tree / bundled.REQUIREMENTS).read_text(encoding="utf-8").splitlines()[1:]]


def none_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    def run(*_: Any) -> str:
        raise BundleError("no network")

    monkeypatch.setattr(module, "_run", run)


def test_each_python_gets_its_own_wheels(source: Path, where: dict[str, str], index: Path) -> None:
    tree = made(source, where, bundle_for=BOTH)
    assert wheels(tree) == [C311, C313, "old-1.0-py3-none-any.whl", "pure-1.0-py3-none-any.whl"]
    first, second = (f"python_version == '{version}' and platform_machine == 'x86_64'" for version in ("3.11", "3.13"))
    assert listed(tree) == [
        *(f"{name}==1.0 ; {first}" for name in ("compiled", "old", "pure")),
        *(f"{name}==1.0 ; {second}" for name in ("compiled", "pure")),
    ]
    text = (tree / bundled.REQUIREMENTS).read_text(encoding="utf-8")
    assert bundled.targets(text) == ["3.11-x86_64", "3.13-x86_64"]
    assert f"--hash=sha256:{hashlib.sha256((index / C311).read_bytes()).hexdigest()}" in text
    assert (tree / "wsgi.py").read_text(encoding="utf-8") == "x"


def test_uv_installs_it_without_an_index(source: Path, where: dict[str, str], tmp_path: Path) -> None:
    """As host/build.py does, with the Python of the tests."""
    version = f"{sys.version_info[0]}.{sys.version_info[1]}"
    tree = made(source, where, python=version) if version != "3.13" else made(source, where)
    uv = Path(sys.executable).parent / "uv"
    subprocess.run([uv, "venv", "--quiet", "--no-config", "--python", sys.executable, tmp_path / "venv"], check=True)
    install = [uv, "pip", "sync", "--quiet", "--no-config", "--python", tmp_path / "venv/bin/python"]
    offline = ["--offline", "--no-index", "--find-links", bundled.DIRECTORY, "--require-hashes", bundled.REQUIREMENTS]
    subprocess.run([*map(str, install), *offline], cwd=tree, check=True)
    found = {path.name for path in (tmp_path / "venv").glob("lib/python*/site-packages/*.dist-info")}
    assert found == {"pure-1.0.dist-info", "compiled-1.0.dist-info"}


def test_wheels_are_collected_once_for_the_same_requirements(source: Path, where: dict[str, str], index: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = made(source, where)
    with monkeypatch.context() as patched:
        none_runs(patched)
        wheel(index, "pure-2.0-py3-none-any.whl")  # what is new in the index waits until the requirements change
        assert made(source, where) == first
        (source / "wsgi.py").write_text("changed", encoding="utf-8")
        again = made(source, where)
        assert again != first
        assert wheels(again) == wheels(first)
        with pytest.raises(ArchiveError, match="no network"):
            made(source, where, bundle_for=["debian-12"])
        with pytest.raises(ArchiveError, match="no network"):
            made(source, {**where, "UV_INDEX": "https://pypi.example.com/simple"})
        (source / "requirements.txt").write_text("-r more.pip\ncompiled\n", encoding="utf-8")
        (source / "more.pip").write_text("pure==0.9\n", encoding="utf-8")
        with pytest.raises(ArchiveError, match="no network"):
            made(source, where)
    assert "pure-0.9-py3-none-any.whl" in wheels(made(source, where))
    (source / "more.pip").write_text("pure\n", encoding="utf-8")
    assert "pure-2.0-py3-none-any.whl" in wheels(made(source, where))


def test_a_failure_leaves_nothing(source: Path, where: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    none_runs(monkeypatch)
    with pytest.raises(ArchiveError):
        made(source, where)
    assert os.listdir(Path(cache()).parent / "bundles") == []
    assert not os.path.exists(cache())


def test_a_package_without_a_wheel_is_named_with_a_way_out(source: Path, where: dict[str, str]) -> None:
    with pytest.raises(ArchiveError) as error:
        made(source, where, bundle_for=["debian-12", "debian-13-aarch64"])
    said = str(error.value)
    assert said.startswith("app 'shop': the wheels of its bundle cannot be collected; nothing was touched.\nuv says:\n")
    assert "compiled" in said
    assert "build it where a Python and a system like the server's are ('pip wheel NAME==VERSION')" in said
    assert said.endswith("Where it is set: 'bundle' and 'bundle_for' of the app, and requirements.txt in its source.")


def test_a_wheel_in_the_source(source: Path, where: dict[str, str]) -> None:
    (source / "own").mkdir()
    digest = wheel(source / "own", "own-3.0-py3-none-any.whl", "some-name")
    (source / "requirements.txt").write_text("./own/own-3.0-py3-none-any.whl\n", encoding="utf-8")
    tree = made(source, where)
    assert wheels(tree) == ["own-3.0-py3-none-any.whl", "some_name-2.0-py3-none-any.whl"]
    assert f"own==3.0 ; python_version == '3.13' and platform_machine == 'x86_64' --hash=sha256:{digest}" in (tree / bundled.REQUIREMENTS).read_text(
        encoding="utf-8"
    )
    assert any(line.startswith("some-name==2.0 ;") for line in listed(tree))


NOT_PACKAGES = [
    "pure @ git+https://t0ken@example.com/pure",
    "git+ssh://git@example.com/pure",
    "-e .",
    "--editable ./pure",
    ".",
    ".[web]",
    "../pure",
    "./pure  # not x.whl",
    "/srv/pure",
    "pure @ file:///srv/pure",
]


@pytest.mark.parametrize("line", NOT_PACKAGES)
def test_what_is_no_package_is_refused_before_a_tool_runs(source: Path, where: dict[str, str], line: str, monkeypatch: pytest.MonkeyPatch) -> None:
    none_runs(monkeypatch)
    (source / "requirements.txt").write_text(f"-r more.txt\n{line if line.startswith(('-', '.', '/')) else ''}\n", encoding="utf-8")
    (source / "more.txt").write_text(f"compiled\n{line}\n", encoding="utf-8")
    with pytest.raises(ArchiveError, match=r"what is no package of an index: .*\n.*remove 'bundle'") as error:
        made(source, where)
    assert "t0ken" not in str(error.value)


@pytest.mark.parametrize("line", ["pure", "./own/x-1-py3-none-any.whl", "own @ file:///x-1-py3-none-any.whl", "-r more.txt", "pure==1.0 \\", "# git+https://x"])
def test_packages_are_not_refused(line: str) -> None:
    assert not module.NOT_A_PACKAGE.match(line)


def test_hashes_of_the_lock_count(source: Path, where: dict[str, str], index: Path) -> None:
    digest = hashlib.sha256((index / "some_name-2.0-py3-none-any.whl").read_bytes()).hexdigest()
    (source / "requirements.txt").write_text(f"some-name==2.0 --hash=sha256:{digest}\n", encoding="utf-8")
    assert wheels(made(source, where)) == ["some_name-2.0-py3-none-any.whl"]
    (source / "requirements.txt").write_text(f"some-name==2.0 --hash=sha256:{'0' * 64}\n", encoding="utf-8")
    with pytest.raises(ArchiveError):
        made(source, where)


PROJECT = """[project]
name = "shop"
version = "1"
requires-python = ">=3.11"
dependencies = ["pure"]
[project.optional-dependencies]
web = ["compiled"]
[dependency-groups]
production = ["some-name"]
dev = ["nowhere"]
"""
SYSTEM = '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n'
BACKEND = """import os, zipfile
def get_requires_for_build_wheel(settings=None): return []
def build_wheel(directory, settings=None, metadata=None):
    with zipfile.ZipFile(os.path.join(directory, "shop-1-py3-none-any.whl"), "w") as archive:
        for name, text in {
            "shop.py": open("wsgi.py").read(),
            "shop-1.dist-info/METADATA": "Metadata-Version: 2.1\\nName: shop\\nVersion: 1\\n",
            "shop-1.dist-info/WHEEL": "Wheel-Version: 1.0\\nGenerator: x\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n",
            "shop-1.dist-info/RECORD": "",
        }.items():
            archive.writestr(zipfile.ZipInfo(name), text)
    return "shop-1-py3-none-any.whl"
"""


@pytest.mark.parametrize("locked", [True, False])
def test_a_project(source: Path, where: dict[str, str], locked: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    text = PROJECT.replace('"nowhere"', '"old"')
    (source / "pyproject.toml").write_text(text, encoding="utf-8")
    if locked:
        command = [str(Path(sys.executable).parent / "uv"), "lock", "--quiet"]
        subprocess.run(command, cwd=source, env={**os.environ, **where}, check=True)
    requirements = "uv.lock" if locked else "pyproject.toml"
    tree = made(source, where, requirements=requirements, extras=["web"], groups=["production"])
    assert {line.partition(" ")[0] for line in listed(tree) if "3.13" in line} == {"pure==1.0", "compiled==1.0", "some-name==2.0"}
    if not locked:
        (source / "pyproject.toml").write_text(text.replace('"pure"', '"pure @ git+https://example.com/pure"'), encoding="utf-8")
        with pytest.raises(ArchiveError, match=r"pyproject.toml \(dependencies = .* names what is no package of an index"):
            made(source, where, requirements=requirements)
    (source / "pyproject.toml").write_text(text + SYSTEM, encoding="utf-8")
    if locked:
        subprocess.run(command, cwd=source, env={**os.environ, **where}, check=True)
    (source / "backend.py").write_text(BACKEND, encoding="utf-8")
    installed = made(source, where, requirements=requirements, extras=["web"], groups=["production"])
    assert [wheel for wheel in wheels(installed) if wheel not in wheels(tree)] == ["shop-1-py3-none-any.whl"]
    assert [line for line in listed(installed) if line not in listed(tree)] == ["shop==1"]
    # Another version of the code is another wheel of the project, and no other package is collected for it
    (source / "wsgi.py").write_text("changed", encoding="utf-8")
    once = module._collect
    monkeypatch.setattr(module, "_collect", lambda *_: pytest.fail("collected again"))
    again = made(source, where, requirements=requirements, extras=["web"], groups=["production"])
    monkeypatch.setattr(module, "_collect", once)
    assert wheels(again) == wheels(installed)
    assert (again / bundled.REQUIREMENTS).read_text(encoding="utf-8") != (installed / bundled.REQUIREMENTS).read_text(encoding="utf-8")
    (source / "backend.py").write_text("def build_wheel(*_): raise SystemExit('no such thing')", encoding="utf-8")
    with pytest.raises(
        ArchiveError, match=r"(?s)app 'shop': the wheels of its bundle cannot be collected; nothing was touched.*no such thing.*\nNext: correct the project"
    ):
        made(source, where, requirements=requirements, extras=["web"], groups=["production"])


def test_a_pylock(source: Path, where: dict[str, str], index: Path) -> None:
    digests = {name: hashlib.sha256((index / name).read_bytes()).hexdigest() for name in (C311, "old-1.0-py3-none-any.whl")}
    text = 'lock-version = "1.0"\n'
    for name, (file, digest) in zip(("compiled", "old"), digests.items(), strict=True):
        marker = "marker = \"python_version < '3.12'\"\n" if name == "old" else ""
        text += f'[[packages]]\nname = "{name}"\nversion = "1.0"\n{marker}wheels = [{{ url = "{file}", hashes = {{ sha256 = "{digest}" }} }}]\n'
    (source / "pylock.toml").write_text(text, encoding="utf-8")
    assert wheels(made(source, where, requirements="pylock.toml", bundle_for=["debian-12"])) == [C311, "old-1.0-py3-none-any.whl"]
    for wrong, said in (('extras = ["web"]\n', "extras or dependency groups"), ('[[packages]]\nname = "x"\nvcs = {}\n', "x in the pylock.toml has no wheel")):
        (source / "pylock.toml").write_text(wrong if "vcs" in wrong else wrong + text, encoding="utf-8")
        with pytest.raises(ArchiveError, match=said):
            made(source, where, requirements="pylock.toml")


def test_a_lock_that_was_exported(source: Path, where: dict[str, str]) -> None:
    (source / "poetry.lock").write_text("", encoding="utf-8")
    (source / exported.FILE).write_text("some-name==2.0\n", encoding="utf-8")
    assert wheels(made(source, where, requirements="poetry.lock")) == ["some_name-2.0-py3-none-any.whl"]


def test_another_run_was_first(tmp_path: Path) -> None:
    for name in ("new", "kept"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "x").touch()
    module._keep(str(tmp_path / "new"), str(tmp_path / "kept"))
    with pytest.raises(FileNotFoundError):
        module._keep(str(tmp_path / "none"), str(tmp_path / "other"))


def test_the_name_of_the_bundle_is_taken(source: Path, where: dict[str, str]) -> None:
    (source / bundled.DIRECTORY).mkdir()
    with pytest.raises(ArchiveError, match="which is the name of the bundle; remove it"):
        made(source, where)


def test_a_tool_that_is_not_there(source: Path, where: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = sys.executable
    python = tmp_path / "bin/python3"
    python.parent.mkdir()
    python.write_text('#!/bin/sh\necho "$0: No module named pip" >&2\nexit 1\n', encoding="utf-8")
    python.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(python))
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(ArchiveError, match=r"uv, which chooses the wheels, is not installed on this machine.\nNext: pipx install uv"):
        made(source, where)
    shutil.copy(Path(real).parent / "uv", python.parent)
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    with pytest.raises(ArchiveError, match=r"the Python of Ansible has no pip.\nNext: .*python3 -m ensurepip"):
        made(source, where)


def test_the_index_is_given_to_pip_in_its_environment(tmp_path: Path) -> None:
    given = settings(
        {
            "UV_DEFAULT_INDEX": "https://deploy:t0ken@pypi.example.com/simple",
            "UV_INDEX": "inner=https://inner.example.com/simple https://b.example.com",
            "UV_INDEX_INNER_USERNAME": "me",
            "UV_INDEX_INNER_PASSWORD": "p@ss",
            "HTTPS_PROXY": "http://proxy:3128",
            "SSL_CERT_FILE": "/only/on/the/server.pem",
            "SETUPTOOLS_SCM_PRETEND_VERSION": "1",
            "PATH": "/evil",
        }
    )
    assert not {"SSL_CERT_FILE", "SETUPTOOLS_SCM_PRETEND_VERSION", "PATH"} & {*given}
    assert given["HTTPS_PROXY"] == "http://proxy:3128"
    assert for_pip(given) == {
        "PIP_INDEX_URL": "https://deploy:t0ken@pypi.example.com/simple",
        "PIP_EXTRA_INDEX_URL": "https://me:p%40ss@inner.example.com/simple https://b.example.com",
    }
    assert for_pip({**given, "PIP_INDEX_URL": "https://other"})["PIP_INDEX_URL"] == "https://other"
    assert settings({"SSL_CERT_FILE": str(tmp_path)}) == {"SSL_CERT_FILE": str(tmp_path)}


def test_no_error_and_no_name_in_the_cache_has_credentials(source: Path, where: dict[str, str]) -> None:
    secret = {"UV_INDEX": "inner=http://deploy:t0ken@127.0.0.1:9/simple", "UV_INDEX_INNER_PASSWORD": "swordfish", "UV_HTTP_RETRIES": "0"}
    with pytest.raises(ArchiveError) as error:
        made(source, secret)
    assert "127.0.0.1:9" in str(error.value)
    assert not [word for word in ("t0ken", "swordfish", "deploy") if word in str(error.value)]
    # Another token is no other bundle
    keys = {module._key(app(), {}, {**where, "UV_INDEX": f"https://u:{token}@x/simple", "UV_INDEX_X_PASSWORD": token}) for token in ("one", "two")}
    assert len(keys) == 1


def test_hidden_credentials_of_variables() -> None:
    assert module._hide("no p%40ss and p@ss at https://u:x@h/", {"UV_INDEX_A_PASSWORD": "p@ss"}) == "no *** and *** at https://h/"


@pytest.mark.parametrize(
    ("python", "systems", "found"),
    [
        ("system", BOTH, [Target("3.11", "x86_64", 36), Target("3.13", "x86_64", 40)]),
        ("3.13.1", BOTH, [Target("3.13.1", "x86_64", 36)]),
        ("system", ["ubuntu-24.04", "debian-13-aarch64"], [Target("3.12", "x86_64", 39), Target("3.13", "aarch64", 40)]),
    ],
)
def test_targets(python: str, systems: list[str], found: list[Target]) -> None:
    assert targets(app(python=python, bundle_for=systems)) == found
    assert Target("3.13.1", "x86_64", 36).name == "3.13-x86_64"


def test_the_archive_of_an_app_has_its_bundle(source: Path, where: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same bytes each time: a second deploy changes nothing."""
    monkeypatch.setattr(C, "DEFAULT_LOCAL_TMP", str(tmp_path))
    whole = {**app(bundle=True, static={}), "source": str(source), "include": []}
    first, second, without = (archive([one], None, where)[0]["shop"] for one in (whole, whole, {**whole, "bundle": False}))
    assert first["digest"] == second["digest"] != without["digest"]
    with tarfile.open(first["path"]) as tar:
        assert {bundled.REQUIREMENTS, f"{bundled.DIRECTORY}/{C313}", "wsgi.py"} <= {*tar.getnames()}
