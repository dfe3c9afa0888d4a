"""What an app's own command makes of its source on the controller."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.plainstack.web.plugins.module_utils.controller.archive import ArchiveError, list_files
from ansible_collections.plainstack.web.plugins.module_utils.controller.built import KEPT, build_here, cache
from ansible_collections.plainstack.web.plugins.module_utils.exported import FILE
from ansible_collections.plainstack.web.plugins.module_utils.exported import path as exported


@pytest.fixture
def app(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """One with a build, in a directory without git."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    source = tmp_path / "source"
    (source / "node_modules").mkdir(parents=True)
    (source / "app.js").write_text("js", encoding="utf-8")
    (source / "x.key").write_text("private", encoding="utf-8")
    (source / "node_modules/left-pad.js").write_text("", encoding="utf-8")
    return {
        "name": "shop",
        "source": str(source),
        "include": [],
        "local_build": f"echo x >> {tmp_path}/runs; mkdir dist node_modules; cp app.js dist; ls > list",
    }


def runs(tmp_path: Path) -> int:
    return len((tmp_path / "runs").read_text(encoding="utf-8").splitlines())


def test_without_a_command_it_is_the_source(app: dict[str, Any]) -> None:
    tree = build_here({**app, "local_build": "", "include": ["a"]})
    assert (tree.directory, tree.include) == (app["source"], ["a"])
    assert not os.path.exists(cache())


def test_a_build_is_of_what_is_deployed_and_the_source_stays_as_it_is(app: dict[str, Any]) -> None:
    before = sorted(os.listdir(app["source"]))
    tree = build_here(app)
    assert list_files(tree.directory, tree.include) == ["app.js", "dist/app.js", "list"]
    assert Path(tree.directory, "list").read_text(encoding="utf-8") == "app.js\ndist\nlist\nnode_modules\n"
    assert sorted(os.listdir(app["source"])) == before


def test_what_the_definition_includes_is_there(app: dict[str, Any]) -> None:
    tree = build_here({**app, "include": ["x.key"]})
    assert "x.key" in list_files(tree.directory, tree.include)


def test_a_build_is_made_once_for_its_inputs(app: dict[str, Any], tmp_path: Path) -> None:
    assert build_here(app) == build_here(app)
    assert runs(tmp_path) == 1
    Path(app["source"], "app.js").write_text("changed", encoding="utf-8")
    tree = build_here(app)
    assert Path(tree.directory, "dist/app.js").read_text(encoding="utf-8") == "changed"
    build_here({**app, "local_build": f"{app['local_build']}; true"})
    assert runs(tmp_path) == 3


def test_a_build_that_fails_is_not_kept(app: dict[str, Any], tmp_path: Path) -> None:
    for _ in range(2):
        with pytest.raises(ArchiveError) as error:
            build_here({**app, "local_build": f"echo x >> {tmp_path}/runs; seq 50; echo no such module >&2; exit 3"})
        said = str(error.value)
        assert said.startswith("app 'shop': 'local_build' was run, and it failed with exit code 3; nothing was touched.\nIts last lines:\n12\n")
        assert said.endswith("50\nno such module\nWhere it is set: 'local_build' of the app in the inventory.")
    assert runs(tmp_path) == 2
    assert os.listdir(cache()) == []


def test_the_last_ones_are_kept(app: dict[str, Any]) -> None:
    made = [build_here({**app, "local_build": f"echo {number}"}).directory for number in range(KEPT + 3)]
    other = build_here({**app, "name": "shop2", "local_build": "echo"}).directory
    for number, directory in enumerate(made[3:]):
        os.utime(directory, (number, number))
    last = build_here({**app, "local_build": "echo last"}).directory
    assert sorted(os.listdir(cache())) == sorted(os.path.basename(path) for path in [*made[-KEPT + 1 :], last, other])


def test_others_cannot_read_it(app: dict[str, Any]) -> None:
    assert os.stat(cache_parent := build_here(app).directory).st_mode & 0o777 == 0o700
    assert os.stat(os.path.dirname(cache_parent)).st_mode & 0o777 == 0o700


@pytest.mark.parametrize(("lock", "tool"), [("sub/poetry.lock", "poetry"), ("Pipfile.lock", "pipenv")])
def test_a_lock_file_that_uv_does_not_read_is_exported(app: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lock: str, tool: str) -> None:
    """By its own tool, beside it; asked for anew when the groups change."""
    path = Path(app["source"], lock)
    path.parent.mkdir(exist_ok=True)
    path.write_text("locked", encoding="utf-8")
    (tmp_path / "bin").mkdir()
    said = 'echo "$PWD $*"' if tool == "pipenv" else f"""cat poetry.lock; echo "$*" >{FILE}"""
    (tmp_path / "bin" / tool).write_text(f"#!/bin/sh\n{said}\n", encoding="utf-8")
    (tmp_path / "bin" / tool).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:{os.environ['PATH']}")
    found = []
    for groups in ([], ["x", "y"]):
        tree = build_here({**app, "local_build": "", "requirements": lock, "extras": [], "groups": groups})
        assert exported(lock) in list_files(tree.directory, tree.include)
        found.append(Path(tree.directory, exported(lock)).read_text(encoding="utf-8"))
    wanted = {"poetry": ("--format=requirements.txt", "--with=x --with=y"), "pipenv": ("requirements --hash", "--categories=packages,x,y")}[tool]
    assert all(options in said for options, said in zip(wanted, found, strict=True))


def test_a_tool_finds_nothing_of_the_source_but_its_lock(app: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Poetry loads plugins and settings that lie beside the lock file."""
    source = Path(app["source"])
    (source / ".poetry/plugins").mkdir(parents=True)
    for name in ("poetry.lock", "pyproject.toml", "poetry.toml", ".poetry/plugins/evil.py"):
        (source / name).write_text("x", encoding="utf-8")
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/poetry").write_text(f"#!/bin/sh\nls -A >{FILE}\n", encoding="utf-8")
    (tmp_path / "bin/poetry").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:{os.environ['PATH']}")
    tree = build_here({**app, "local_build": "", "requirements": "poetry.lock"})
    assert Path(tree.directory, FILE).read_text(encoding="utf-8").split() == [FILE, "poetry.lock", "pyproject.toml"]


def test_a_tool_that_is_not_there_is_named(app: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(ArchiveError, match=r"poetry\.lock is poetry's, which is not installed on this machine") as raised:
        build_here({**app, "local_build": "", "requirements": "poetry.lock"})
    assert "pipx inject poetry poetry-plugin-export" in str(raised.value)
