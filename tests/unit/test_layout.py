"""Files, links and directories on a host: never half there, and never with a mode that the umask chose."""

import os
import re
import stat
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.plainstack.web.plugins.module_utils import layout
from ansible_collections.plainstack.web.plugins.module_utils.controller.spec import NAME
from ansible_collections.plainstack.web.plugins.module_utils.layout import App, make_directory, read, relink, write

from tests.unit.fakes import NEW, OLD, full, real_root, release

ROOT = Path(__file__).resolve().parents[2]


def mode(path: Path | str) -> str:
    return oct(stat.S_IMODE(os.stat(path).st_mode))


def seen_while(look: Callable[[], object], work: Callable[[int], None]) -> set[object]:
    """What a reader sees in a loop while somebody else works."""
    seen: set[object] = set()
    done = threading.Event()

    def reader() -> None:
        while not done.is_set():
            seen.add(look())

    thread = threading.Thread(target=reader)
    thread.start()
    for turn in range(300):
        work(turn)
    done.set()
    thread.join()
    return seen


def test_a_reader_never_misses_the_link(tmp_path: Path) -> None:
    link = str(tmp_path / "live.sock")
    relink(link, "0")
    seen = seen_while(lambda: os.readlink(link) if os.path.lexists(link) else None, lambda turn: relink(link, str(turn % 2)))
    assert seen <= {"0", "1"}
    assert os.listdir(tmp_path) == ["live.sock"]


def test_a_reader_never_sees_half_a_file(tmp_path: Path) -> None:
    path = str(tmp_path / "file")
    texts = ["a" * 9000, "b" * 9000]
    write(path, texts[0])
    assert seen_while(lambda: read(path), lambda turn: write(path, texts[turn % 2])) <= set(texts)


def test_a_leftover_of_an_interrupted_switch_is_no_obstacle(tmp_path: Path) -> None:
    os.symlink("nowhere", tmp_path / "live.new")
    relink(str(tmp_path / "live"), "there")
    assert os.readlink(tmp_path / "live") == "there"


@pytest.mark.usefixtures("umask")
@pytest.mark.parametrize("wanted", [0o600, 0o644, 0o755])
def test_the_mode_of_a_file(tmp_path: Path, wanted: int) -> None:
    path = tmp_path / "file"
    write(str(path), "new", wanted)
    assert (mode(path), path.read_text()) == (oct(wanted), "new")


def test_a_file_that_cannot_be_written_stays(tmp_path: Path) -> None:
    write(str(tmp_path / "file"), "old")
    with pytest.raises(UnicodeEncodeError):
        write(str(tmp_path / "file"), "no text: \ud800")
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"file": "old"}


@pytest.mark.parametrize("content", [b"unix\n", b"windows\r\n", b"mac\r", b"latin \xe9\n", "UTF-8 ü\n".encode(), b""])
def test_what_is_read_can_be_put_back(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "file"
    path.write_bytes(content)
    write(str(path), read(str(path)) or "")
    assert path.read_bytes() == content


def test_no_file(tmp_path: Path) -> None:
    assert read(str(tmp_path / "file")) is None


@pytest.mark.usefixtures("umask")
def test_a_directory_and_its_parents(tmp_path: Path) -> None:
    assert make_directory(str(tmp_path / "a/b/c"), 0o700) is True
    assert [mode(tmp_path / name) for name in ("a", "a/b", "a/b/c")] == ["0o755", "0o755", "0o700"]
    assert make_directory(str(tmp_path / "a/b/c"), 0o700) is False


def test_a_directory_with_another_mode_is_mended(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a").chmod(0o777)
    assert make_directory(str(tmp_path / "a")) is True
    assert mode(tmp_path / "a") == "0o755"


def others_can_change(directory: Path) -> None:
    directory.mkdir()
    directory.chmod(0o777)


@pytest.mark.parametrize("wanted", [0o755, 0o750])
def test_no_link_is_followed_where_others_can_make_one(tmp_path: Path, wanted: int) -> None:
    (tmp_path / "target").mkdir(mode=0o700)
    others_can_change(tmp_path / "open")
    (tmp_path / "open/a").symlink_to(tmp_path / "target")
    with pytest.raises(OSError, match="open/a"):
        make_directory(str(tmp_path / "open/a"), wanted)
    assert mode(tmp_path / "target") == "0o700"


@real_root
def test_what_others_made_is_not_taken_over(tmp_path: Path) -> None:
    others_can_change(tmp_path / "open")
    (tmp_path / "open/a").mkdir(mode=0o700)
    os.chown(tmp_path / "open/a", 1234, 1234)
    with pytest.raises(PermissionError, match="it is not root's"):
        make_directory(str(tmp_path / "open/a"))
    assert (os.stat(tmp_path / "open/a").st_uid, mode(tmp_path / "open/a")) == (1234, "0o700")


def test_a_link_that_root_made_is_followed(tmp_path: Path) -> None:
    """/srv/<app> on another disk."""
    (tmp_path / "disk").mkdir(mode=0o700)
    (tmp_path / "srv").symlink_to("disk")
    assert make_directory(str(tmp_path / "srv")) is True
    assert mode(tmp_path / "disk") == "0o755"


def test_no_app_has_the_name_of_something_of_plainstack() -> None:
    """What the toolkit has beside the directories and files of apps: a name that no app can have."""
    pattern = re.compile(r"/(?:etc|run|var/log)/plainstack/([\w.-]+)")
    files = [path for part in ("plugins", "roles", "playbooks") for path in (ROOT / part).rglob("*") if path.is_file() and path.suffix not in (".pyc", ".md")]
    found = {name for path in files for name in pattern.findall(path.read_text(encoding="utf-8", errors="replace"))}
    assert found
    assert [name for name in found if NAME.fullmatch(name)] == []


def test_what_is_live(app: App) -> None:
    assert app.live_id() == ""
    relink(app.live_socket, app.socket(NEW))
    assert app.live_id() == NEW


def test_a_release_is_complete_with_its_marker(app: App) -> None:
    for identifier in ("2", "1", "3"):
        os.mkdir(app.release(identifier))
    for identifier in ("2", "1"):
        write(app.marker(identifier), "{}")
    assert app.complete() == ["1", "2"]


def test_no_release_is_complete_where_nothing_was_deployed(app: App) -> None:
    os.rmdir(app.releases)
    assert app.complete() == []


@pytest.mark.parametrize(
    ("text", "story"),
    [('{"sequence": 3}', {"sequence": 3}), ("{}", {}), ("", {}), ('{"sequence": 3', {}), ("\0\0\0", {}), (None, {})],
)
def test_the_story_of_a_release(app: App, text: str | None, story: dict[str, Any]) -> None:
    os.makedirs(app.release(NEW))
    if text is not None:
        Path(app.marker(NEW)).write_text(text)
    assert app.story(NEW) == story


@pytest.mark.parametrize("text", ["[]", "3", "null", '"x"'])
def test_a_story_that_is_none(app: App, text: str) -> None:
    os.makedirs(app.release(NEW))
    Path(app.marker(NEW)).write_text(text)
    assert app.story(NEW) == {}


def test_facts_are_added_and_removed(app: App) -> None:
    release(app, NEW, digest="x", pending={"event": "deploy"}, verdict="bad")
    app.note(NEW, sequence=1, pending=None, reason=None, verdict="good")
    assert app.story(NEW) == {"digest": "x", "sequence": 1, "verdict": "good"}
    assert mode(app.marker(NEW)) == "0o640"
    app.note(NEW)
    assert app.story(NEW) == {"digest": "x", "sequence": 1, "verdict": "good"}


def test_no_fact_of_a_release_that_is_gone(app: App) -> None:
    with pytest.raises(FileNotFoundError):
        app.note(NEW, sequence=1)
    assert os.listdir(app.releases) == []


def test_remove(app: App) -> None:
    for identifier in (OLD, NEW):
        release(app, identifier)
        os.makedirs(f"{app.unit_file(identifier, 'service')}.d")  # an operator's, or of an earlier version
        for kind in ("service", "socket"):
            write(app.unit_file(identifier, kind), "")
        write(f"{app.release(identifier)}/wsgi.py", "")
    app.remove(NEW)
    for directory in (app.releases, app.settings):
        assert os.listdir(directory) == [OLD]
    assert sorted(name for name in os.listdir(layout.UNITS) if "@" in name) == [f"hello@{OLD}.{end}" for end in ("service", "service.d", "socket")]
    assert sorted(os.listdir(app.release(OLD))) == ["release.json", "wsgi.py"]


def test_remove_what_is_half_there(app: App) -> None:
    os.makedirs(f"{app.release(NEW)}/.venv")
    app.remove(NEW)
    app.remove(NEW)
    assert os.listdir(app.releases) == []


def test_a_release_that_cannot_be_removed_stays_whole(app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a file system that cannot be written, half of it must not go."""
    release(app, NEW)
    monkeypatch.setattr(os, "unlink", full)
    app.remove(NEW)
    assert os.listdir(app.releases) == os.listdir(app.settings) == app.complete() == [NEW]


def test_the_apps_of_a_host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layout, "APPS", str(tmp_path))
    (tmp_path / "shop/releases").mkdir(parents=True)
    (tmp_path / "data").mkdir()
    assert layout.apps() == [App("shop")]
    monkeypatch.setattr(layout, "APPS", str(tmp_path / "none"))
    assert layout.apps() == []
