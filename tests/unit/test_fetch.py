"""Sources that are no directory: repositories of git, archives, packages."""

from __future__ import annotations

import hashlib
import io
import os
import subprocess
import tarfile
import zipfile
from pathlib import Path
from typing import IO, Any

import pytest
from ansible_collections.plainstack.web.plugins.module_utils.controller.archive import ArchiveError, build, list_files, revision, warnings
from ansible_collections.plainstack.web.plugins.module_utils.controller.archive import version as version_of
from ansible_collections.plainstack.web.plugins.module_utils.controller.built import build_here
from ansible_collections.plainstack.web.plugins.module_utils.controller.fetch import FetchError, fetch, kind, without_credentials

NOTHING: dict[str, Any] = dict.fromkeys(("source", "package", "ref", "subdirectory", "checksum"))


def git(directory: Path, *arguments: str) -> str:
    identity = ["-c", "user.name=me", "-c", "user.email=me@example.com", "-c", "protocol.file.allow=always"]
    return subprocess.run(["git", *identity, "-C", str(directory), *arguments], check=True, capture_output=True, text=True).stdout.strip()


def commit(directory: Path, text: str) -> str:
    (directory / "version.txt").write_text(text, encoding="utf-8")
    git(directory, "add", "--all")
    git(directory, "commit", "--quiet", "--message", text)
    return git(directory, "rev-parse", "HEAD")


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """First commit tagged v1.0, the second on `main`, the third on `next`."""
    directory = tmp_path / "repository"
    directory.mkdir()
    git(directory, "init", "--quiet", "--initial-branch=main")
    commit(directory, "first")
    git(directory, "tag", "--annotate", "--message=one", "v1.0")
    commit(directory, "second")
    git(directory, "checkout", "--quiet", "-b", "next")
    commit(directory, "third")
    git(directory, "checkout", "--quiet", "main")
    return directory


@pytest.fixture
def place(tmp_path: Path) -> str:
    (tmp_path / "place").mkdir()
    return str(tmp_path / "place")


def no_download(url: str) -> IO[bytes]:
    raise AssertionError(url)


def version(directory: str) -> str:
    return Path(directory, "version.txt").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("https://example.com/me/shop.git", "repository"),
        ("git@example.com:me/shop", "repository"),
        ("ssh://git@example.com:2222/me/shop.git", "repository"),
        ("file:///srv/shop.git", "repository"),
        ("https://example.com/shop-1.0.tar.gz", "archive"),
        ("../shop.zip", "archive"),
        ("../shop", "directory"),
        ("/srv/shop.git", "directory"),
        ("user@host:/../x", "directory"),
    ],
)
def test_kinds(source: str, found: str) -> None:
    assert kind({**NOTHING, "source": source}) == found


def test_a_package_is_one() -> None:
    assert kind({**NOTHING, "package": "isso==0.13.0"}) == "package"


@pytest.mark.parametrize(("ref", "given", "text"), [(None, "", "second"), ("next", "", "third"), ("v1.0", "", "first"), ("next", "v1.0", "first")])
def test_a_ref(repository: Path, place: str, ref: str | None, given: str, text: str) -> None:
    found = fetch({**NOTHING, "source": f"file://{repository}", "ref": ref}, given, place, no_download)
    assert (version(found.directory), found.source, found.ref) == (text, f"file://{repository}", given or ref or "")
    assert revision(found.directory).commit == git(repository, "rev-parse", f"{given or ref or 'main'}^{{commit}}")
    assert not revision(found.directory).dirty
    assert git(Path(found.directory), "rev-list", "--count", "HEAD") == "1", "more than one commit was fetched"


@pytest.mark.parametrize("length", [40, 10])
def test_a_commit(repository: Path, place: str, length: int) -> None:
    first = git(repository, "rev-parse", "main~1")
    found = fetch({**NOTHING, "source": f"file://{repository}", "ref": first[:length]}, "", place, no_download)
    assert version(found.directory) == "first"


@pytest.mark.parametrize(
    ("ref", "said"), [("v1.1", "did you mean 'v1.0'?"), ("zzz", "there are main, next, v1.0."), ("0123456789", "there are main, next, v1.0.")]
)
def test_a_ref_that_does_not_exist(repository: Path, place: str, ref: str, said: str) -> None:
    with pytest.raises(FetchError) as error:
        fetch({**NOTHING, "source": f"file://{repository}"}, ref, place, no_download)
    assert str(error.value) == f"file://{repository} has no branch, tag or commit '{ref}'; {said}"


def test_a_repository_that_does_not_exist(tmp_path: Path, place: str) -> None:
    with pytest.raises(FetchError, match=r"does not appear to be a git repository|not exist"):
        fetch({**NOTHING, "source": f"file://{tmp_path}/none.git"}, "", place, no_download)


def test_submodules_come_along(repository: Path, tmp_path: Path, place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    inner = tmp_path / "inner"
    inner.mkdir()
    git(inner, "init", "--quiet")
    commit(inner, "of the inner one")
    git(repository, "submodule", "--quiet", "add", f"file://{inner}", "vendor/inner")
    commit(repository, "with a submodule")
    for name, value in (("COUNT", "1"), ("KEY_0", "protocol.file.allow"), ("VALUE_0", "always")):
        monkeypatch.setenv(f"GIT_CONFIG_{name}", value)
    found = fetch({**NOTHING, "source": f"file://{repository}"}, "", place, no_download)
    assert list_files(found.directory) == [".gitmodules", "vendor/inner/version.txt", "version.txt"]
    assert not revision(found.directory).dirty
    bare = tmp_path / "bare"
    git(tmp_path, "clone", "--quiet", f"file://{repository}", str(bare))
    with pytest.raises(ArchiveError, match=r"vendor/inner is a git submodule that is not checked out. Next: git submodule update --init --recursive"):
        build(str(bare), io.BytesIO())


def test_a_pointer_of_lfs_is_named(repository: Path) -> None:
    (repository / "logo.png").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:abc\nsize 3\n", encoding="utf-8")
    with pytest.raises(ArchiveError, match=r"logo.png is a pointer of git LFS, not the file. Next: install git-lfs"):
        build(str(repository), io.BytesIO())


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://me:token@example.com/a.git", "https://example.com/a.git"),
        ("https://token@example.com/a.git", "https://example.com/a.git"),
        ("ssh://git:pass@example.com/a.git", "ssh://git@example.com/a.git"),
        ("ssh://git@example.com/a.git", "ssh://git@example.com/a.git"),
        ("git@example.com:me/a.git", "git@example.com:me/a.git"),
    ],
)
def test_credentials_are_not_shown(url: str, shown: str) -> None:
    assert without_credentials(url) == shown


def test_nothing_that_git_says_has_credentials(place: str) -> None:
    with pytest.raises(FetchError) as error:
        fetch({**NOTHING, "source": "http://me:swordfish@127.0.0.1:9/a.git"}, "", place, no_download)
    assert "127.0.0.1" in str(error.value)
    assert "swordfish" not in str(error.value)


def packed(path: Path, *names: str) -> Path:
    """An archive with these files, each of which has its name."""
    if path.suffix == ".zip":
        with zipfile.ZipFile(path, "w") as archive:
            for name in names:
                archive.writestr(name, name)
    else:
        with tarfile.open(path, "w:xz" if path.suffix == ".xz" else "w:gz") as tar:
            for name in names:
                entry = tarfile.TarInfo(name)
                entry.size = len(name)
                tar.addfile(entry, io.BytesIO(name.encode()))
    return path


def checksum(path: Path) -> str:
    return f"sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}"


@pytest.mark.parametrize("ending", ["tar.gz", "tgz", "tar.xz", "zip"])
def test_an_archive(tmp_path: Path, place: str, ending: str) -> None:
    path = packed(tmp_path / f"shop.{ending}", "shop-1.0/wsgi.py", "shop-1.0/web/a.css")
    found = fetch({**NOTHING, "source": str(path), "checksum": checksum(path)}, "", place, no_download)
    assert (sorted(os.listdir(found.directory)), found.source) == (["web", "wsgi.py"], str(path))


def test_an_archive_without_a_directory_of_its_own(tmp_path: Path, place: str) -> None:
    found = fetch({**NOTHING, "source": str(packed(tmp_path / "shop.zip", "wsgi.py", "web/a.css"))}, "", place, no_download)
    assert sorted(os.listdir(found.directory)) == ["web", "wsgi.py"]


def test_an_archive_that_is_downloaded(tmp_path: Path, place: str) -> None:
    path = packed(tmp_path / "shop.tar.gz", "shop/wsgi.py")
    url = "https://me:swordfish@example.com/shop.tar.gz"
    found = fetch({**NOTHING, "source": url, "checksum": checksum(path)}, "", place, lambda asked: path.open("rb") if asked == url else no_download(asked))
    assert (os.listdir(found.directory), found.source) == (["wsgi.py"], "https://example.com/shop.tar.gz")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"checksum": f"sha256:{'0' * 64}"}, "it has the checksum sha256:"),
        ({"subdirectory": "web"}, "has no directory 'web', which 'subdirectory' names."),
        ({"subdirectory": "link"}, "has no directory 'link', which 'subdirectory' names."),
    ],
)
def test_an_archive_that_is_not_what_it_should_be(tmp_path: Path, place: str, changes: dict[str, str], said: str) -> None:
    with tarfile.open(tmp_path / "shop.tar.gz", "w:gz") as tar:
        for name in ("shop/wsgi.py", "shop/a.py"):
            tar.addfile(tarfile.TarInfo(name))
    with pytest.raises(FetchError) as error:
        fetch({**NOTHING, "source": f"{tmp_path}/shop.tar.gz", **changes}, "", place, no_download)
    assert said in str(error.value)


@pytest.mark.parametrize("ending", ["tar.gz", "zip"])
def test_an_archive_that_is_broken(tmp_path: Path, place: str, ending: str) -> None:
    (tmp_path / f"shop.{ending}").write_bytes(b"nonsense")
    with pytest.raises(FetchError, match="it cannot be unpacked: "):
        fetch({**NOTHING, "source": f"{tmp_path}/shop.{ending}"}, "", place, no_download)


def test_an_archive_that_reaches_out_of_its_place(tmp_path: Path, place: str) -> None:
    path = packed(tmp_path / "shop.tar.gz", "../../../out.py")
    with pytest.raises(FetchError, match=r"it cannot be unpacked: .*outside"):
        fetch({**NOTHING, "source": str(path)}, "", place, no_download)
    assert not (tmp_path / "out.py").exists()


def test_a_download_that_fails(place: str) -> None:
    def fail(_url: str) -> IO[bytes]:
        raise OSError("HTTP Error 404: Not Found")

    with pytest.raises(FetchError, match=r"https://example.com/a.zip cannot be downloaded: HTTP Error 404: Not Found"):
        fetch({**NOTHING, "source": "https://example.com/a.zip", "checksum": "sha256:0"}, "", place, fail)


def test_a_package_of_pypi(place: str) -> None:
    found = fetch({**NOTHING, "package": "isso==0.13.0"}, "", place, no_download)
    assert found.source == "isso==0.13.0"
    assert Path(found.directory, "requirements.txt").read_text(encoding="utf-8") == "isso==0.13.0\ngunicorn\n"


def test_a_subdirectory(repository: Path, place: str) -> None:
    (repository / "web").mkdir()
    (repository / "web/wsgi.py").write_text("", encoding="utf-8")
    commit(repository, "web")
    found = fetch({**NOTHING, "source": f"file://{repository}", "subdirectory": "web"}, "", place, no_download)
    assert list_files(found.directory) == ["wsgi.py"]
    assert revision(found.directory).commit == git(repository, "rev-parse", "main")


def test_a_project_that_takes_its_version_from_git_gets_the_tags(repository: Path, place: str) -> None:
    (repository / "pyproject.toml").write_text("[tool.setuptools_scm]", encoding="utf-8")
    commit(repository, "fourth")
    fetched = fetch({**NOTHING, "source": f"file://{repository}"}, "", place, no_download)
    assert git(Path(fetched.directory), "describe", "--tags").startswith("v1.0-2-g")


@pytest.mark.parametrize(
    ("server", "lines"), [("wsgi", ["isso==0.13.0", "gunicorn"]), ("gevent", ["isso==0.13.0", "gunicorn[gevent]"]), ("command", ["isso==0.13.0"])]
)
def test_a_package_comes_with_what_serves_it(place: str, server: str, lines: list[str]) -> None:
    fetched = fetch({**NOTHING, "package": "isso==0.13.0", "server": server}, "", place, no_download)
    assert Path(fetched.directory, "requirements.txt").read_text(encoding="utf-8").splitlines() == lines


HOSTILE = '[core]\n\trepositoryformatversion = 0\n\tbare = false\n\tfsmonitor = "touch {marker}; false"\n{more}'


def bare(directory: Path, marker: Path) -> None:
    """What git takes for a repository without a work tree, with a program in its configuration."""
    directory.mkdir(parents=True, exist_ok=True)
    git(directory, "init", "--quiet", "--bare", ".")
    (directory / "config").write_text(HOSTILE.format(marker=marker, more="\tworktree = .\n"), encoding="utf-8")
    (directory / "refs/keep").touch()
    (directory / "objects/keep").touch()


@pytest.mark.parametrize("form", ["dot-git", "bare", "subdirectory", "built"])
def test_no_program_of_a_source_from_elsewhere_is_run(tmp_path: Path, place: str, repository: Path, monkeypatch: pytest.MonkeyPatch, form: str) -> None:
    """git runs what the configuration of a repository names; it must not take what is in an archive, or in a directory of a repository, for one."""
    marker, source, more = tmp_path / "run", tmp_path / "evil", {}
    if form == "subdirectory":
        blob = subprocess.run(
            ["git", "-C", str(repository), "hash-object", "-w", "--stdin"],
            input=HOSTILE.format(marker=marker, more="\tworktree = .\n"),
            check=True,
            capture_output=True,
            text=True,
        ).stdout.strip()
        for name in ("config", "HEAD", "refs/keep", "objects/keep"):
            content = blob
            if name == "HEAD":
                head = ["git", "-C", str(repository), "hash-object", "-w", "--stdin"]
                content = subprocess.run(head, input="ref: refs/heads/main\n", check=True, capture_output=True, text=True).stdout.strip()
            git(repository, "update-index", "--add", "--cacheinfo", f"100644,{content},web/{name}")
        git(repository, "commit", "--quiet", "--message=bare")
        more = {"source": f"file://{repository}", "subdirectory": "web"}
    else:
        source.mkdir()
        (source / "app.py").touch()
        if form == "dot-git":
            git(source, "init", "--quiet")
            (source / ".git/config").write_text(HOSTILE.format(marker=marker, more=""), encoding="utf-8")
        else:
            bare(source, marker)
        with tarfile.open(tmp_path / "evil.tar.gz", "w:gz") as tar:
            tar.add(source, "evil")
        more = {"source": str(tmp_path / "evil.tar.gz")}
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    fetched = fetch({**NOTHING, **more}, "", place, no_download)
    app: dict[str, Any] = {"name": "evil", "source": fetched.directory, "include": [], "local_build": "true" if form == "built" else "", "requirements": None}
    tree = build_here(app, fetched.git)
    assert list_files(tree.directory, tree.include, tree.git)
    build(tree.directory, io.BytesIO(), tree.include, tree.git)
    warnings(fetched.directory, (), fetched.git)
    revision(fetched.directory, fetched.git)
    version_of(fetched.directory, fetched.git)
    assert not marker.exists()
    if form == "dot-git":  # where git looks for a repository by itself, it does run it
        list_files(fetched.directory)
        assert marker.exists()


def test_the_user_of_a_submodules_url_is_not_shown(repository: Path, place: str) -> None:
    (repository / ".gitmodules").write_text('[submodule "x"]\n\tpath = x\n\turl = https://ci:TOKEN123@127.0.0.1:9/x.git\n', encoding="utf-8")
    git(repository, "update-index", "--add", "--cacheinfo", f"160000,{git(repository, 'rev-parse', 'HEAD')},x")
    git(repository, "add", ".gitmodules")
    git(repository, "commit", "--quiet", "--message=submodule")
    with pytest.raises(FetchError) as raised:
        fetch({**NOTHING, "source": f"file://{repository}"}, "", place, no_download)
    assert "127.0.0.1:9/x.git" in str(raised.value)
    assert "TOKEN123" not in str(raised.value)


def test_a_wheel(tmp_path: Path, place: str) -> None:
    """It is the app, and its checksum counts."""
    wheel = tmp_path / "shop-1.2-py3-none-any.whl"
    wheel.write_bytes(b"a wheel")
    app = {**NOTHING, "source": str(wheel), "checksum": f"sha256:{hashlib.sha256(b'a wheel').hexdigest()}"}
    fetched = fetch(app, "", place, no_download)
    assert sorted(os.listdir(fetched.directory)) == ["requirements.txt", wheel.name]
    assert Path(fetched.directory, "requirements.txt").read_text(encoding="utf-8") == f"./{wheel.name}\ngunicorn\n"
    (tmp_path / "other").mkdir()
    with pytest.raises(FetchError, match="it has the checksum"):
        fetch({**app, "checksum": f"sha256:{'0' * 64}"}, "", str(tmp_path / "other"), no_download)
