"""What root does below an app's `shared`, while the app does what it likes there."""

import contextlib
import itertools
import os
import stat
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from ansible_collections.plainstack.web.plugins.module_utils.host import shared as shared_module
from ansible_collections.plainstack.web.plugins.module_utils.host.shared import SharedError, check_owners, choose_uid, entries, left_behind, link

from tests.unit.fakes import LocalApp, real_root

APP = 1234  # uid and gid of the app


def facts(path: Path) -> tuple[str, int, int]:
    status = path.lstat()
    return oct(stat.S_IMODE(status.st_mode)), status.st_uid, status.st_gid


class Places:
    """A release, the `shared` of its app, and a directory of root that the app must not get."""

    def __init__(self, base: Path) -> None:
        self.release, self.shared, self.target = base / "release", base / "shared", base / "target"
        for path in (self.release, self.shared, self.target):
            path.mkdir(mode=0o755)
        (self.target / "unit").touch(mode=0o644)
        self.before = facts(self.target)

    def link(self, *names: str, uid: int = 0, gid: int = 0) -> list[str]:
        return link(str(self.release), str(self.shared), names, uid, gid)

    def untouched(self) -> bool:
        return facts(self.target) == self.before and [path.name for path in self.target.iterdir()] == ["unit"]


@pytest.fixture
def places(tmp_path: Path) -> Places:
    return Places(tmp_path)


@real_root
@pytest.mark.usefixtures("umask")
def test_what_is_missing_is_made_for_the_app(places: Places) -> None:
    os.chown(places.shared, APP, APP)
    (places.release / "data").mkdir()
    (places.release / "data/old").touch()
    assert places.link("data", "var/deep/uploads", uid=APP, gid=APP) == ["data", "var/deep/uploads"]
    for name in ("data", "var", "var/deep", "var/deep/uploads"):
        assert facts(places.shared / name) == ("0o750", APP, APP)
    assert [os.readlink(places.release / name) for name in ("data", "var/deep/uploads")] == [f"{places.shared}/data", f"{places.shared}/var/deep/uploads"]
    assert facts(places.release / "var/deep") == ("0o755", 0, 0)


@real_root
def test_what_is_there_stays_as_it_is(places: Places) -> None:
    """Owner, mode and content are the app's business."""
    (places.shared / "data").mkdir()
    (places.shared / "data/mine").touch()
    (places.shared / "data").chmod(0o700)
    os.chown(places.shared / "data", 4321, 4321)
    assert places.link("data", uid=APP, gid=APP) == []
    assert facts(places.shared / "data") == ("0o700", 4321, 4321)


def to_directory(path: Path, target: Path) -> None:
    path.symlink_to(target)


def to_file(path: Path, target: Path) -> None:
    path.symlink_to(target / "unit")


def to_nothing(path: Path, target: Path) -> None:
    path.symlink_to(target / "none")


def a_file(path: Path, _target: Path) -> None:
    path.touch()


def a_pipe(path: Path, _target: Path) -> None:
    os.mkfifo(path)


@pytest.mark.parametrize("plant", [to_directory, to_file, to_nothing, a_file, a_pipe])
@pytest.mark.parametrize(("planted", "name"), [("data", "data"), ("a", "a/b"), ("a/b", "a/b/c"), ("a/b", "a/b")])
def test_what_the_app_puts_in_the_way(places: Places, plant: Callable[[Path, Path], None], planted: str, name: str) -> None:
    (places.shared / planted).parent.mkdir(exist_ok=True)
    plant(places.shared / planted, places.target)
    (places.release / name).mkdir(parents=True)
    with pytest.raises(SharedError) as error:
        places.link(name)
    assert str(error.value).startswith(f"{places.shared}/{planted} is a ")
    assert f"mv -T {places.shared}/{planted} " in str(error.value)
    assert places.untouched()
    assert (places.release / name).is_dir(), "the release is as it was"


@pytest.mark.parametrize("plant", [to_directory, to_file, to_nothing, a_pipe])
@pytest.mark.parametrize("seed", [True, False])
def test_what_the_app_puts_in_place_of_a_file(places: Places, plant: Callable[[Path, Path], None], seed: bool) -> None:
    plant(places.shared / "notes.db", places.target)
    if seed:
        (places.release / "notes.db").write_text("seed")
    with pytest.raises(SharedError, match=r"notes\.db is a (link|special file), not a file"):
        places.link("notes.db")
    assert places.untouched()


@real_root
@pytest.mark.parametrize("name", ["data", "data/deep", "data/notes.db"])
def test_a_race(places: Places, name: str) -> None:
    """While the app swaps a directory and a link as fast as it can: 300 times, and until the swap won and lost once."""
    os.chown(places.shared, APP, APP)
    data, evil, done = places.shared / "data", places.shared / "evil", threading.Event()
    evil.symlink_to(places.target)

    def swap() -> None:
        for turn in itertools.count():
            if done.is_set():
                return
            for path, target in ((data, places.shared / f"away-{turn}"), (evil, data), (data, evil)):
                with contextlib.suppress(OSError):
                    path.rename(target)

    thread = threading.Thread(target=swap)
    thread.start()
    refused = linked = 0
    try:
        for turn in range(30_000):
            if turn >= 300 and refused and linked:
                break
            places.release = places.release.with_name(f"release-{turn}")
            places.release.mkdir()
            try:
                places.link(name, uid=APP, gid=APP)
                linked += 1
            except (SharedError, FileNotFoundError):  # the second where the app removes what was opened
                refused += 1
            assert places.untouched()
    finally:
        done.set()
        thread.join()
    assert refused
    assert linked


@real_root
@pytest.mark.parametrize("instead", ["link", "directory"])
def test_the_moment_between_making_and_opening(places: Places, monkeypatch: pytest.MonkeyPatch, instead: str) -> None:
    """The app has put something else in the place of what root has just made."""
    os.chown(places.shared, APP, APP)
    make = os.mkdir

    def swapped(name: str, mode: int = 0o777, *, dir_fd: int | None = None) -> None:
        make(name, mode, dir_fd=dir_fd)
        (places.shared / "data").rename(places.shared / "away")
        (places.shared / "data").symlink_to(places.target) if instead == "link" else places.target.rename(places.shared / "data")

    with monkeypatch.context() as patch:
        patch.setattr(os, "mkdir", swapped)
        if instead == "link":
            with pytest.raises(SharedError, match="data is a link"):
                places.link("data", uid=APP, gid=APP)
            assert places.untouched()
        else:  # a directory of root's that the app cannot have made
            places.link("data", uid=APP, gid=APP)
            assert facts(places.shared / "data") == places.before


def test_a_link_of_the_source_leads_nowhere(places: Places) -> None:
    """It would lead from the release into the data itself, where root would remove and make things."""
    (places.release / "uploads").mkdir()
    (places.release / "alias").symlink_to("uploads")
    (places.shared / "uploads/deep").mkdir(parents=True)
    (places.shared / "uploads/deep/precious").touch()
    with pytest.raises(SharedError, match=r"release/alias is a link"):
        places.link("uploads", "alias/deep")
    assert (places.shared / "uploads/deep/precious").exists()


@real_root
def test_a_file_of_the_source_is_where_its_data_begins(places: Places) -> None:
    for content in ("seed", "another seed"):
        (places.release / "notes.db").unlink(missing_ok=True)
        (places.release / "notes.db").write_text(content)
        assert places.link("notes.db", uid=APP, gid=APP) == []
        assert os.readlink(places.release / "notes.db") == f"{places.shared}/notes.db"
        assert (places.shared / "notes.db").read_text() == "seed"
    assert facts(places.shared / "notes.db") == ("0o640", APP, APP)
    assert [path.name for path in places.shared.iterdir()] == ["notes.db"]


@real_root
def test_what_the_app_makes_at_just_that_moment_is_the_apps(places: Places, monkeypatch: pytest.MonkeyPatch) -> None:
    """A database that it has begun is not replaced by the source's, nor is where a link leads written to."""
    give = os.fchown
    for name, plant in (("notes.db", lambda path: path.write_text("of the app")), ("other.db", lambda path: path.symlink_to(places.target / "unit"))):
        (places.release / name).write_text("seed")

        def beaten(handle: int, uid: int, gid: int, name: str = name, plant: Callable[[Path], object] = plant) -> None:
            give(handle, uid, gid)
            plant(places.shared / name)

        with monkeypatch.context() as patch:
            patch.setattr(os, "fchown", beaten)
            places.link(name, uid=APP, gid=APP)
    assert (places.shared / "notes.db").read_text() == "of the app"
    assert os.readlink(places.shared / "other.db") == str(places.target / "unit")
    assert places.untouched()
    assert sorted(path.name for path in places.shared.iterdir()) == ["notes.db", "other.db"]


@pytest.mark.parametrize(
    ("name", "present", "delivered", "kind"),
    [
        ("db.sqlite3", "", "", "file"),
        ("var/db.sqlite3", "", "", "file"),
        ("data", "", "", "directory"),
        (".cache", "", "", "directory"),
        ("v1.2", "directory", "", "directory"),
        ("v1.2", "", "directory", "directory"),
        ("schedule", "", "file", "file"),
        ("schedule", "file", "", "file"),
        ("db.sqlite3", "", "link", "file"),
    ],
)
def test_file_or_directory(name: str, present: str, delivered: str, kind: str) -> None:
    assert shared_module._wanted(name, present, delivered) == kind


def test_a_file_that_nobody_has_is_for_the_app_to_make(places: Places) -> None:
    assert places.link("var/notes.db") == ["var/notes.db"]
    assert not (places.shared / "var/notes.db").exists()
    (places.release / "var/notes.db").write_text("made by the app, through the link")
    assert (places.shared / "var/notes.db").read_text() == "made by the app, through the link"


@pytest.mark.parametrize(("there", "delivered"), [("directory", "file"), ("file", "directory")])
def test_source_and_server_disagree(places: Places, there: str, delivered: str) -> None:
    for kind, path in ((there, places.shared / "x"), (delivered, places.release / "x")):
        path.touch() if kind == "file" else path.mkdir()
    with pytest.raises(SharedError, match=f"x is a {there}, not a {delivered}"):
        places.link("x")


@pytest.mark.parametrize(
    ("before", "names", "data", "said"),
    [
        (["uploads"], ["media"], True, "media in 'shared' is new and has no data, while uploads is no longer in 'shared' and has some"),
        (["uploads"], ["media"], False, ""),
        (["uploads"], ["uploads", "media"], True, ""),
        (["uploads"], [], True, ""),
        ([], ["media"], True, ""),
        (["uploads", "var/x"], ["media"], True, "mv -T {shared}/uploads {shared}/media"),
    ],
)
def test_a_renamed_directory(places: Places, before: list[str], names: list[str], data: bool, said: str) -> None:
    (places.shared / "uploads").mkdir()
    if data:
        (places.shared / "uploads/x").touch()
    warning = left_behind(str(places.shared), before, names, places.link(*names))
    assert said.format(shared=places.shared) in warning
    assert bool(warning) == bool(said)


def test_what_is_left_behind_is_not_looked_for_through_links(places: Places) -> None:
    (places.shared / "old").symlink_to(places.target)
    assert left_behind(str(places.shared), ["old"], ["new"], ["new"]) == ""


# Owners


def test_entries_follow_no_link_and_have_an_end(places: Places, monkeypatch: pytest.MonkeyPatch) -> None:
    (places.shared / "link").symlink_to(places.target)
    (places.shared / "a/b").mkdir(parents=True)
    assert sorted(path.removeprefix(str(places.shared)) for path, _status in entries(str(places.shared))) == ["", "/a", "/a/b", "/link"]
    monkeypatch.setattr(shared_module, "LOOKED_AT", 10)
    for number in range(10):
        (places.shared / f"a/b/{number}").mkdir()
        (places.shared / f"a/b/{number}/x").touch()
    assert len(list(entries(str(places.shared)))) < 20
    assert list(entries(f"{places.shared}/none")) == []


def own(path: Path, uid: int, mode: int = 0o640) -> None:
    path.touch()
    path.chmod(mode)
    os.chown(path, uid, uid)


@real_root
@pytest.mark.parametrize(
    ("top", "file", "mode", "refusal", "warning"),
    [
        (APP, APP, 0o600, "", ""),
        (APP, 55555, 0o600, "/data/x belongs to uid 55555 (no user of this system)", ""),
        (1, 1, 0o600, " belongs to uid 1 (daemon)", ""),
        (APP, 1, 0o644, "", "/data/x (daemon) in 'shared' belong to another user, and the app may not be able to use them."),
        (55555, 55555, 0o600, " belongs to uid 55555", ""),
        (0, 0, 0o600, " belongs to uid 0 (root)", ""),
        (APP, 0, 0o600, "", "/data/x (root) in 'shared' belong to another user"),
        (APP, 0, 0o644, "", ""),
    ],
)
def test_owners(app: LocalApp, top: int, file: int, mode: int, refusal: str, warning: str) -> None:
    directory = Path(app.shared) / "data"
    directory.mkdir(mode=0o750)
    own(directory / "x", file, mode)
    for path in (directory, Path(app.shared)):
        os.chown(path, top, top)
    found = check_owners(app, APP, APP)
    assert (refusal in found[0], warning in found[1]) == (True, True)
    assert (bool(found[0]), bool(found[1])) == (bool(refusal), bool(warning))
    if refusal:
        assert f"Next: on the host, as root: chown -hR hello:hello {app.shared}; then run the same command again." in found[0]


@real_root
def test_owners_of_an_app_that_is_new(app: LocalApp) -> None:
    assert check_owners(app, APP, APP) == ("", "")
    os.rmdir(app.shared)
    assert check_owners(app, APP, APP) == ("", "")


@pytest.mark.parametrize(
    ("own_uids", "others", "taken", "uid"),
    [
        (set(), set(), {0, 999}, 0),
        (set(), {0, 999}, {0, 999}, 0),
        ({997}, set(), {0, 999}, 997),
        ({0, 997}, {999}, {0, 999}, 997),
        ({997}, {997}, {0, 999}, 998),
        ({997}, set(), {0, 997}, 0),
        (set(), {998}, {0, 999}, 997),
        (set(), {998, 1000}, {0, 999}, 997),
        ({997, 996}, set(), {0}, 999),
        ({1000}, set(), {0}, 999),
    ],
    ids=["nothing", "users of today", "again", "again beside others", "two apps' data", "taken", "removed app", "a person's", "two owners", "from afar"],
)
def test_a_uid_whose_data_is_there_is_not_used_again(own_uids: set[int], others: set[int], taken: set[int], uid: int) -> None:
    assert choose_uid(own_uids, others, taken) == uid


def test_a_tree_that_is_too_deep_or_too_full_ends_no_deploy(places: Places) -> None:
    """The app chooses what is below its shared directory; a recursion error there would end the deploys of all."""
    before, here = os.getcwd(), os.path.join(str(places.shared), "deep")
    os.mkdir(here)
    try:
        os.chdir(here)
        for _level in range(1200):
            os.mkdir("d")
            os.chdir("d")
    finally:
        os.chdir(before)
    assert max(path.count("/d") for path, _status in entries(here)) <= shared_module.DEPTH + 3
    for number in range(2500):
        (places.shared / f"file{number}").touch()
    assert len(list(entries(str(places.shared)))) == shared_module.LOOKED_AT + 1
