"""What nginx serves itself: what must be in the source, what a release publishes, and what old releases still offer."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from ansible_collections.plainstack.web.plugins.module_utils.controller.archive import list_files
from ansible_collections.plainstack.web.plugins.module_utils.host.instance import keep_old_files, prune, switch
from ansible_collections.plainstack.web.plugins.module_utils.static import problems, publish, view

from tests.unit.fakes import NEW, OLD, OLDER, Answers, LocalApp, Systemd, make_live, make_work, release


def tree(base: Path, *names: str) -> Path:
    """Files that have their name as content; `a -> b` is a link."""
    for name in names:
        path, _, target = name.partition(" -> ")
        (base / path).parent.mkdir(parents=True, exist_ok=True)
        if target:
            (base / path).symlink_to(target)
        else:
            (base / path).write_text(name)
    return base


def published(base: Path) -> dict[str, str]:
    """What nginx gets to see, by URL; links are followed as nginx does."""
    found = {}
    for folder, _folders, files in os.walk(base / ".static", followlinks=True):
        for name in files:
            path = Path(folder, name)
            found[str(path).removeprefix(f"{base}/.static")] = path.read_text() if path.exists() else "not there"
    return found


def test_nothing_but_the_files_of_the_directory_is_published(tmp_path: Path) -> None:
    """Whatever a link says, and whoever made it."""
    (tmp_path / "secret").write_text("of the host")
    base = tree(
        tmp_path / "release", "wsgi.py", ".env", "web/static/app.css", "web/static/img/a.png",
        "web/static/.env", "web/static/.htpasswd", "web/static/.git/config",
        "web/static/img/.hidden/x", "web/static/code.txt -> ../../wsgi.py", "web/static/env.txt -> ../../.env", "web/static/up -> ../..",
        "web/static/host -> /etc/passwd", "web/static/absolute -> ../../../secret", "web/static/dot.txt -> .env", "web/static/alias.css -> app.css",
        "web/static/pictures -> img", "web/static-too/x",
    )  # fmt: skip
    publish(str(base), {"/static": "web/static"})
    found = published(base)
    assert found["/static/app.css"] == found["/static/alias.css"] == "web/static/app.css"
    assert found["/static/img/a.png"] == found["/static/pictures/a.png"] == "web/static/img/a.png"
    assert set(found.values()) <= {"web/static/app.css", "web/static/img/a.png", "not there"}
    assert os.path.samefile(base / ".static/static/app.css", base / "web/static/app.css"), "no second copy"


def test_a_prefix_below_another_one_has_its_own_files(tmp_path: Path) -> None:
    for number, order in enumerate((("/s", "/s/vendor"), ("/s/vendor", "/s"))):
        base = tree(tmp_path / str(number), "own/a", "own/vendor/hidden", "packages/b")
        publish(str(base), {prefix: {"/s": "own", "/s/vendor": "packages"}[prefix] for prefix in order})
        assert published(base) == {"/s/a": "own/a", "/s/vendor/b": "packages/b"}


def test_a_directory_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(NotADirectoryError, match="web"):
        publish(str(tmp_path), {"/static": "web"})


@pytest.mark.parametrize(
    ("files", "ignored", "words"),
    [
        (["static/a.css"], "", []),
        (["static/.gitkeep", "static/a.css", "static/b.css -> a.css", "static/.x -> ../wsgi.py"], "", []),
        (["static -> dist/web", "dist/web/a.css"], "", []),
        (["static/a.css"], "static/", ["'static' in 'static' has no file that is deployed", "git ignores it", "git check-ignore -v"]),
        (["static/a.css"], "/requirements.txt", ["'requirements.txt' in 'requirements' is not deployed", "git ignores it"]),
        (["static/a.css", "static/code -> ../wsgi.py"], "", ["'static/code' is a link to ../wsgi.py, which leads out of 'static'"]),
        (["static/a.css", "static/deep/env -> ../../.env"], "", ["'static/deep/env' is a link to ../../.env"]),
        (["static -> .."], "", ["'static' in 'static' is a link that leads out of the source"]),
    ],
)
@pytest.mark.parametrize("git", [True, False], ids=["git", "no git"])
def test_what_the_definition_names_is_in_the_source(tmp_path: Path, files: list[str], ignored: str, words: list[str], git: bool) -> None:
    source = tree(tmp_path / "app", "wsgi.py", "requirements.txt", ".env", *files)
    if git:
        (source / ".gitignore").write_text(f".venv/\n{ignored}\n")
        subprocess.run(["git", "init", "--quiet", str(source)], check=True)
    found = problems(str(source), list_files(str(source)), {"/static": "static"}, "requirements.txt")
    assert_says(found, words if git or not ignored else [])  # without git nothing is ignored


def test_a_directory_that_is_left_out_without_git(tmp_path: Path) -> None:
    source = tree(tmp_path, "requirements.txt", "node_modules/x.js")
    assert_says(problems(str(source), list_files(str(source)), {"/x": "node_modules"}, "requirements.txt"), ["'node_modules' in 'static' has no file"])


def assert_says(found: list[str], words: list[str]) -> None:
    """One problem with all these words, or none."""
    assert len(found) == bool(words), found
    assert [word for word in words if word not in found[0]] == []


def has(app: LocalApp, identifier: str, *prefixes: str, **story: object) -> None:
    """A release with a file below each prefix."""
    release(app, identifier, config={"static": dict.fromkeys(prefixes, "x")}, **story)
    for prefix in prefixes:
        tree(Path(app.release(identifier)), f".static{prefix}/of-{identifier[-8:]}")


def offered(path: str) -> list[str]:
    """The prefixes below which there is something."""
    return sorted(os.path.dirname(url) for url in published(Path(path)))


@pytest.mark.parametrize(
    ("had", "now", "left"),
    [
        (["/static"], ["/static"], ["/static"]),
        (["/static", "/assets"], ["/static"], ["/static"]),
        (["/static"], ["/static", "/assets"], ["/static"]),
        (["/static"], [], []),
        (["/a/b", "/a"], ["/a"], ["/a", "/a/b"]),
        (["/a/b", "/a", "/c"], ["/a/b"], ["/a/b"]),
        (["/ab"], ["/a"], []),
    ],
)
def test_what_a_release_has_given_up_is_the_apps(app: LocalApp, had: list[str], now: list[str], left: list[str]) -> None:
    """A file of the release before must not hide what the app answers there now."""
    has(app, OLD, *had)
    has(app, NEW, *now)
    assert offered(view(app, OLD, NEW)) == left
    assert (view(app, OLD, NEW) == app.release(OLD)) is (left == sorted(had))


def test_going_there_and_back(app: LocalApp, host: Systemd, own: Answers) -> None:
    """The live release's prefixes count, at each going live; what only another one needed is removed."""
    has(app, "20260104T000000Z-dddddddd", "/assets")
    host.run(app, "20260104T000000Z-dddddddd")
    for identifier in (OLDER, OLD):
        tree(Path(app.release(identifier)), ".static/static/s.css", ".static/assets/a.css")
        app.note(identifier, config={"static": {"/static": "s", "/assets": "a"}})
    work = make_work(app)
    switch(work, "20260104T000000Z-dddddddd", "deploy", 5)
    assert offered(f"{app.before}/1") == offered(f"{app.before}/2") == ["/assets"]
    keep_old_files(work, OLD, 5)
    assert os.readlink(f"{app.before}/1") == app.release(OLDER)
    assert sorted(os.listdir(app.before)) == ["1"]
    make_live(app, host, OLD)
    prune(app, 5)
