"""The projects of a source, as wheels of its bundle: by uv itself, with a build backend that lies in the source."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
from ansible_collections.plainstack.web.plugins.module_utils import bundled
from ansible_collections.plainstack.web.plugins.module_utils.controller.project import EPOCH, ProjectError, add, name_version, split

# Needs nothing of an index; what it makes depends on the source and on what the environment says
BACKEND = """import os, zipfile
TAG = "{tag}"
def get_requires_for_build_wheel(settings=None): return []
def build_wheel(directory, settings=None, metadata=None):
    version = os.environ.get("SETUPTOOLS_SCM_PRETEND_VERSION_FOR_MY_SHOP", "1.0")
    assert os.environ["SOURCE_DATE_EPOCH"] == "315532800"
    open("left_by_the_backend", "w").close()
    name = f"my_shop-{version}-{TAG}.whl"
    about = f"my_shop-{version}.dist-info"
    with zipfile.ZipFile(os.path.join(directory, name), "w") as archive:
        for path, text in {
            "my_shop.py": open("my_shop.py").read(),
            about + "/METADATA": f"Metadata-Version: 2.1\\nName: my-shop\\nVersion: {version}\\n",
            about + "/WHEEL": f"Wheel-Version: 1.0\\nGenerator: x\\nRoot-Is-Purelib: true\\nTag: {TAG}\\n",
            about + "/RECORD": "",
        }.items():
            archive.writestr(zipfile.ZipInfo(path), text)
    return name
"""
PROJECT = '[project]\nname = "my-shop"\nversion = "1.0"\n[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n'
UV = str(Path(sys.executable).parent / "uv")


def run(command: Sequence[str], directory: str, more: Mapping[str, str]) -> None:
    done = subprocess.run(command, cwd=directory, env={**os.environ, "UV_NO_INDEX": "1", **more}, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def source(tmp_path: Path, where: str = ".", tag: str = "py3-none-any", requirement: str | None = None) -> tuple[Path, Path]:
    """A source with a project, and the directory of its bundle, whose requirements are a link that another release shares."""
    place = tmp_path / "source"
    (place / where).mkdir(parents=True)
    (place / where / "pyproject.toml").write_text(PROJECT, encoding="utf-8")
    (place / where / "backend.py").write_text(BACKEND.replace("{tag}", tag), encoding="utf-8")
    (place / where / "my_shop.py").write_text("x = 1\n", encoding="utf-8")
    wheels = place / bundled.DIRECTORY
    wheels.mkdir()
    shared = tmp_path / "requirements.txt"
    shared.write_text(f"{bundled.HEADER}3.13-x86_64\n{bundled.PROJECT}{requirement or where}\npure==1.0 --hash=sha256:00\n", encoding="utf-8")
    os.link(shared, wheels / "requirements.txt")
    return place, wheels


@pytest.mark.parametrize(
    ("where", "requirement", "marker"), [(".", ".", ""), ("packages/a", "packages/a ; sys_platform == 'linux'", " ; sys_platform == 'linux'")]
)
def test_a_project_is_a_wheel_of_the_bundle(tmp_path: Path, where: str, requirement: str, marker: str) -> None:
    place, wheels = source(tmp_path, where, requirement=requirement)
    add(UV, str(place), str(wheels), "", run)
    assert sorted(os.listdir(wheels)) == ["my_shop-1.0-py3-none-any.whl", "requirements.txt"]
    found = hashlib.sha256((wheels / "my_shop-1.0-py3-none-any.whl").read_bytes()).hexdigest()
    assert (wheels / "requirements.txt").read_text(encoding="utf-8").splitlines() == [
        f"{bundled.HEADER}3.13-x86_64",
        "pure==1.0 --hash=sha256:00",
        f"my-shop==1.0{marker} --hash=sha256:{found}",
    ]
    assert bundled.PROJECT in (tmp_path / "requirements.txt").read_text(encoding="utf-8")
    assert not (place / where / "left_by_the_backend").exists()


def test_the_version_of_git(tmp_path: Path) -> None:
    place, wheels = source(tmp_path)
    add(UV, str(place), str(wheels), "2.1.post3", run)
    assert "my-shop==2.1.post3 --hash" in (wheels / "requirements.txt").read_text(encoding="utf-8")
    assert name_version(str(place), "") == {}
    assert name_version(str(place), "2") == {"SETUPTOOLS_SCM_PRETEND_VERSION_FOR_MY_SHOP": "2"}
    assert EPOCH == "315532800"


def test_compiled_code_is_refused(tmp_path: Path) -> None:
    place, wheels = source(tmp_path, tag="cp313-cp313-linux_x86_64")
    with pytest.raises(ProjectError, match=r"the project \. has compiled code: my_shop-1.0-cp313-cp313-linux_x86_64.whl is for this machine.*\nNext: "):
        add(UV, str(place), str(wheels), "", run)
    assert os.listdir(wheels) == ["requirements.txt"]


def test_a_project_outside_of_the_source_is_refused(tmp_path: Path) -> None:
    place, wheels = source(tmp_path, requirement="../other")
    with pytest.raises(ProjectError, match=r"the project ../other lies outside of the source.\nNext: "):
        add(UV, str(place), str(wheels), "", run)


def test_without_a_project_nothing_is_written(tmp_path: Path) -> None:
    place, wheels = source(tmp_path)
    (wheels / "requirements.txt").write_text("pure==1.0\n", encoding="utf-8")
    before = os.stat(wheels / "requirements.txt")
    add("/nowhere", str(place), str(wheels), "", run)
    assert os.stat(wheels / "requirements.txt").st_ino == before.st_ino


def test_what_uv_exports() -> None:
    exported = "flask==3.1.3 \\\n    --hash=sha256:00\n.\n./packages/a ; python_full_version < '3.12'\n../b\n./own/x-1-py3-none-any.whl\ngit+https://x/y\n"
    packages, projects = split(exported, "apps/shop")
    assert projects == ["apps/shop", "apps/shop/packages/a ; python_full_version < '3.12'", "apps/b"]
    assert packages == "flask==3.1.3 \\\n    --hash=sha256:00\n./own/x-1-py3-none-any.whl\ngit+https://x/y\n"
    assert split(".\n", "")[1] == ["."]
