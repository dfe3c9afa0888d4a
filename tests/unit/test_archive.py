"""The archive of a source: which files are in it, and that its bytes depend on nothing else."""

import io
import os
import shutil
import subprocess
import tarfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from ansible_collections.plainstack.web.plugins.module_utils.controller.archive import ArchiveError, Revision, build, revision, version, warnings
from ansible_collections.plainstack.web.plugins.module_utils.entries import escapes

ODD_NAMES = ["with space.txt", "ünïcode-猫.txt", "new\nline.txt", "-dash", "quote'\".txt", os.fsdecode(b"latin-\xe9.txt")]


def git(directory: Path, *arguments: str) -> str:
    command = ["git", "-c", "user.name=Test", "-c", "user.email=test@example.com", "-C", str(directory), *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


@pytest.fixture(params=["plain", "git"])
def source(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A small app, in a plain directory and in a git checkout."""
    directory = tmp_path / "source"
    (directory / "package").mkdir(parents=True)
    (directory / "wsgi.py").write_text("app = None\n")
    (directory / "package/data.txt").write_text("data\n")
    (directory / "run").write_text("#!/bin/sh\n")
    (directory / "run").chmod(0o755)
    if request.param == "git":
        git(directory, "init", "--quiet")
    return directory


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A git checkout with one committed file."""
    directory = tmp_path / "checkout"
    directory.mkdir()
    (directory / "wsgi.py").write_text("app = None\n")
    git(directory, "init", "--quiet")
    git(directory, "add", ".")
    git(directory, "commit", "--quiet", "--message=first")
    return directory


def packed(source: Path, include: Sequence[str] = ()) -> bytes:
    target = io.BytesIO()
    build(str(source), target, include)
    return target.getvalue()


def digest(source: Path) -> str:
    return build(str(source), io.BytesIO())


def contents(source: Path, include: Sequence[str] = ()) -> dict[str, tarfile.TarInfo]:
    with tarfile.open(fileobj=io.BytesIO(packed(source, include))) as tar:
        return {entry.name: entry for entry in tar}


def touch(source: Path) -> None:
    os.utime(source / "wsgi.py", (1, 1))


def tighten(source: Path) -> None:
    (source / "wsgi.py").chmod(0o600)
    (source / "package").chmod(0o700)


def loosen(source: Path) -> None:
    (source / "wsgi.py").chmod(0o666)


@pytest.mark.parametrize("change", [touch, tighten, loosen])
def test_same_content_same_bytes(source: Path, change: Callable[[Path], None], monkeypatch: pytest.MonkeyPatch) -> None:
    before = packed(source), digest(source)
    change(source)
    monkeypatch.setattr(time, "time", lambda: 1_800_000_000.0)
    assert (packed(source), digest(source)) == before


def test_same_bytes_elsewhere(source: Path, tmp_path: Path) -> None:
    other = tmp_path / "other/place"
    shutil.copytree(source, other, symlinks=True, ignore=lambda *_: [".git"])
    assert packed(other) == packed(source)


@pytest.mark.parametrize(
    "change",
    [
        lambda source: (source / "wsgi.py").write_text("app = 1234\n"),
        lambda source: (source / "wsgi.py").chmod(0o755),
        lambda source: (source / "wsgi.py").rename(source / "asgi.py"),
        lambda source: (source / "wsgi.py").unlink(),
        lambda source: (source / "new").touch(),
        lambda source: (source / "link").symlink_to("run"),
    ],
    ids=["content", "mode", "name", "removed", "added", "link"],
)
def test_another_digest_for_another_source(source: Path, change: Callable[[Path], object]) -> None:
    before = digest(source)
    change(source)
    assert digest(source) != before


def test_entries_are_plain(source: Path) -> None:
    entries = contents(source)
    assert {name: oct(entry.mode) for name, entry in entries.items()} == {"package/data.txt": "0o644", "run": "0o755", "wsgi.py": "0o644"}
    assert {(entry.uid, entry.gid, entry.uname, entry.gname, entry.mtime) for entry in entries.values()} == {(0, 0, "", "", 0)}


@pytest.mark.parametrize("name", ODD_NAMES, ids=ascii)
def test_odd_names(source: Path, name: str) -> None:
    (source / name).write_text("odd\n")
    assert name in contents(source)


def test_links_inside_are_kept(source: Path) -> None:
    (source / "package/up").symlink_to("../wsgi.py")
    (source / "folder").symlink_to("package")
    entries = contents(source)
    assert (entries["package/up"].linkname, entries["folder"].linkname) == ("../wsgi.py", "package")


@pytest.mark.parametrize("target", ["/etc/passwd", "..", "../outside", "package/../../outside"])
def test_a_link_out_is_refused(source: Path, target: str) -> None:
    (source / "link").symlink_to(target)
    with pytest.raises(ArchiveError, match=r"link is a link to .*, outside of the source; replace it by the file or remove it"):
        packed(source)


@pytest.mark.parametrize(
    ("name", "target", "expected"),
    [
        ("a", "", False),
        ("a/b", "../c", False),
        ("a/b", "..", False),
        ("a", "..", True),
        ("../a", "", True),
        ("/a", "", True),
        ("a", "/b", True),
        ("..a", "", False),
    ],
)
def test_escapes(name: str, target: str, expected: bool) -> None:
    assert escapes(name, target) is expected


@pytest.mark.parametrize("name", ["release.json", ".venv/x"])
def test_names_of_plainstack_are_refused(checkout: Path, name: str) -> None:
    (checkout / name).parent.mkdir(exist_ok=True)
    (checkout / name).touch()
    with pytest.raises(ArchiveError, match="has a name that Plainstack needs in a release"):
        packed(checkout)


def test_a_pipe_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ArchiveError, match="neither a file nor a link"):
        packed(tmp_path)


def test_nothing_to_deploy(tmp_path: Path) -> None:
    with pytest.raises(ArchiveError, match="has no files to deploy"):
        packed(tmp_path)


def test_all_ignored(checkout: Path) -> None:
    (checkout / ".gitignore").write_text("*\n")
    (checkout / "sub").mkdir()
    (checkout / "sub/wsgi.py").touch()
    with pytest.raises(ArchiveError, match="git ignores all of them"):
        packed(checkout / "sub")


def test_a_plain_directory_leaves_caches_out(tmp_path: Path) -> None:
    for name in ("wsgi.py", "old.pyc", ".venv/pyvenv.cfg", "a/__pycache__/x.pyc", ".git/HEAD", "web/node_modules/x.js", "a/kept.py", ".hidden"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    assert list(contents(tmp_path)) == [".hidden", "a/kept.py", "wsgi.py"]


SECRET = (
    *(".env", ".env.production", "prod.env", ".envrc", ".htpasswd", "deploy/id_ed25519", "ID_RSA", "tls/site.key", "tls/SITE.PEM", "a.p12", ".vault_pass"),
    *("notes.db", "notes.db-wal", "db.sqlite3", "db.sqlite3-journal", "instance/config.py", "instance/deep/x.json"),
)
PUBLIC = (".env.example", ".env.sample", "key.py", "monkey.txt", "database.py", "instances/x.py", "deploy/id_ed25519.pub", "environment.yml")


def fill(source: Path, names: Sequence[str]) -> None:
    for name in names:
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).touch(mode=0o600)


def test_secrets_and_databases_stay_at_home(tmp_path: Path) -> None:
    """In a source without git; one warning names them."""
    fill(tmp_path, ("wsgi.py", *SECRET, *PUBLIC))
    assert list(contents(tmp_path)) == sorted(("wsgi.py", *PUBLIC))
    [warning] = warnings(str(tmp_path))
    assert f"left out of {tmp_path}, because they look like secrets or databases: .env, .env.production, " in warning
    assert f" and {len(SECRET) - 8} more" in warning
    assert "name in 'include'" in warning


def test_what_is_included_goes_in(tmp_path: Path) -> None:
    fill(tmp_path, ("wsgi.py", "tls/ca.pem", "tls/site.key", "instance/a/b", "notes.db", ".env"))
    include = ["tls/*.pem", "instance", "notes.db"]
    assert list(contents(tmp_path, include)) == ["instance/a/b", "notes.db", "tls/ca.pem", "wsgi.py"]
    assert "databases: .env, tls/site.key. " in warnings(str(tmp_path), include)[0]
    assert warnings(str(tmp_path), ["*", "gone.txt"]) == [f"'include' names what is not in {tmp_path}: gone.txt."]


def test_git_says_what_is_a_secret(checkout: Path) -> None:
    """What is committed is meant; what is ignored stays; what is neither goes in, with a warning; what is included goes in."""
    fill(checkout, ("committed.pem", "ignored.db", "built/site.css", "forgotten.key"))
    (checkout / ".gitignore").write_text("*.db\nbuilt/\n")
    git(checkout, "add", "committed.pem")
    assert list(contents(checkout)) == [".gitignore", "committed.pem", "forgotten.key", "wsgi.py"]
    [warning] = warnings(str(checkout))
    assert f"deployed from {checkout}, though they look like secrets or databases: forgotten.key. git neither tracks nor ignores them" in warning
    assert list(contents(checkout, ["built", "forgotten.key"])) == [".gitignore", "built/site.css", "committed.pem", "forgotten.key", "wsgi.py"]
    assert warnings(str(checkout), ["built", "forgotten.key"]) == []


def test_a_virtual_environment_of_any_name_stays_out(source: Path) -> None:
    fill(source, ("env311/pyvenv.cfg", "env311/lib/x.py", "tools/py/pyvenv.cfg", "tools/py/bin/tool", "tools/kept.py"))
    (source / "env311/bin").mkdir()
    (source / "env311/bin/python").symlink_to("/usr/bin/python3")
    assert list(contents(source)) == ["package/data.txt", "run", "tools/kept.py", "wsgi.py"]


def test_git_takes_tracked_and_unignored_files(checkout: Path) -> None:
    (checkout / ".gitignore").write_text("*.log\n")
    for name in ("untracked.py", "ignored.log", "tracked.log", "gone.py"):
        (checkout / name).touch()
    git(checkout, "add", "--force", "tracked.log", "gone.py")
    (checkout / "gone.py").unlink()
    assert list(contents(checkout)) == [".gitignore", "tracked.log", "untracked.py", "wsgi.py"]


def test_git_takes_only_the_source_of_a_larger_repository(checkout: Path) -> None:
    (checkout / "app").mkdir()
    (checkout / "app/wsgi.py").touch()
    assert list(contents(checkout / "app")) == ["wsgi.py"]


def test_a_submodule_comes_along(checkout: Path, tmp_path: Path) -> None:
    git(checkout, "-c", "protocol.file.allow=always", "clone", "--quiet", str(checkout), str(tmp_path / "other"))
    git(checkout, "-c", "protocol.file.allow=always", "submodule", "--quiet", "add", str(tmp_path / "other"), "vendored")
    assert list(contents(checkout)) == [".gitmodules", "vendored/wsgi.py", "wsgi.py"]


def test_a_hook_of_another_repository_does_not_confuse_git(checkout: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    commit = git(checkout, "rev-parse", "HEAD")
    other = tmp_path / "other"
    other.mkdir()
    git(other, "init", "--quiet")
    monkeypatch.setenv("GIT_DIR", str(other / ".git"))
    monkeypatch.setenv("GIT_INDEX_FILE", str(other / ".git/index"))
    assert list(contents(checkout)) == ["wsgi.py"]
    assert revision(str(checkout)) == Revision(commit, False)


def test_without_git_the_source_is_a_plain_directory(checkout: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path / "nothing"))
    assert list(contents(checkout)) == ["wsgi.py"]
    assert revision(str(checkout)) == Revision("", False)


@pytest.mark.parametrize("dirty", [False, True])
def test_revision(checkout: Path, dirty: bool) -> None:
    commit = git(checkout, "rev-parse", "HEAD")
    if dirty:
        (checkout / "new.py").touch()
    assert revision(str(checkout)) == Revision(commit, dirty)


@pytest.mark.parametrize(("tag", "expected"), [("v1.2", "1.2"), ("2.0rc1", "2.0rc1"), ("nightly", ""), ("v1.2-old", "")])
def test_version(checkout: Path, tag: str, expected: str) -> None:
    git(checkout, "tag", tag)
    assert version(str(checkout)) == expected
    git(checkout, "commit", "--quiet", "--allow-empty", "--message=more")
    commit = git(checkout, "rev-parse", "--short=7", "HEAD")
    assert version(str(checkout)) == (f"{expected}.post1+g{commit}" if expected else "")


def test_version_of_a_plain_directory(tmp_path: Path) -> None:
    assert version(str(tmp_path)) == ""


def test_revision_of_a_plain_directory(tmp_path: Path) -> None:
    assert revision(str(tmp_path)) == Revision("", False)


def test_git_that_does_not_trust_the_directory(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_TEST_ASSUME_DIFFERENT_OWNER", "1")
    with pytest.raises(ArchiveError, match="git does not trust"):
        packed(checkout)


def test_git_that_speaks_another_language(checkout: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Its distrust would be taken for a directory without git, and what git ignores would be deployed."""
    monkeypatch.setenv("LC_ALL", "fr_FR.UTF-8")
    monkeypatch.setenv("LANGUAGE", "fr")
    git_ = tmp_path / "bin/git"
    git_.parent.mkdir()
    git_.write_text(
        '#!/bin/sh\n[ "$LC_ALL/$LANGUAGE" = C.UTF-8/ ] && what="dubious ownership" || what="propriétaire douteux"\necho "fatal: $what" >&2; exit 128\n'
    )
    git_.chmod(0o755)
    monkeypatch.setenv("PATH", f"{git_.parent}:{os.environ['PATH']}")
    with pytest.raises(ArchiveError, match="git does not trust"):
        packed(checkout)
