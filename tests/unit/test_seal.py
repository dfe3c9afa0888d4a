"""Taking a release over from what may be hostile: links, other owners, access lists."""

import os
import stat
from pathlib import Path

import pytest
from ansible_collections.plainstack.web.plugins.module_utils.host import seal
from ansible_collections.plainstack.web.plugins.module_utils.host.seal import Owners, SealError

ME = Owners(0, 0, 0)
PACKAGES = ".venv/lib/python3.13/site-packages"


def tree(root: Path, files: dict[str, str]) -> Path:
    """A release with these files."""
    for name, content in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(content)
    return root


def modes(root: Path) -> dict[str, str]:
    return {str(path.relative_to(root)): oct(stat.S_IMODE(path.lstat().st_mode)) for path in [root, *root.rglob("*")] if not path.is_symlink()}


def test_a_release_is_for_root_and_the_app_alone_but_for_what_nginx_serves(tmp_path: Path) -> None:
    root = tree(tmp_path / "r", {"app.py": "", "run.sh": "", "web/assets/a.css": "", "web/assets/.env": "", "web/assets/.git/x": "", "web/secret.py": ""})
    for path in root.rglob("*"):
        path.chmod(0o777 if path.is_dir() or path.name == "run.sh" else 0o666)
    (root / "link").symlink_to("/etc/shadow")
    sealed = seal.seal(str(root), ME, public=["web/assets"])
    assert modes(root) == {
        ".": "0o751",
        "app.py": "0o640",
        "run.sh": "0o750",
        "web": "0o751",
        "web/assets": "0o755",
        "web/assets/a.css": "0o644",
        "web/assets/.env": "0o640",
        "web/assets/.git": "0o750",
        "web/assets/.git/x": "0o640",
        "web/secret.py": "0o640",
    }
    assert "link" in sealed.paths
    assert os.readlink(root / "link") == "/etc/shadow"


def test_links_are_not_followed(tmp_path: Path) -> None:
    """Neither to a file nor to a directory; what they lead to keeps its mode."""
    outside = tree(tmp_path / "outside", {"shadow": "root", "etc/passwd": "root"})
    (outside / "shadow").chmod(0o600)
    (outside / "etc").chmod(0o700)
    root = tree(tmp_path / "r", {"app.py": ""})
    (root / "file").symlink_to(outside / "shadow")
    (root / "static").symlink_to(outside / "etc")
    seal.seal(str(root), ME, public=["static"])
    assert modes(outside) == {".": "0o755", "shadow": "0o600", "etc": "0o700", "etc/passwd": "0o644"}


@pytest.mark.parametrize("plant", ["fifo", "hard link", "socket"])
def test_what_a_build_has_no_business_to_leave_is_refused(tmp_path: Path, plant: str) -> None:
    root = tree(tmp_path / "r", {"app.py": "", "deep/er/x": ""})
    outside = tree(tmp_path / "outside", {"shadow": "root"}) / "shadow"
    if plant == "fifo":
        os.mkfifo(root / "deep/er/evil")
    elif plant == "socket":
        os.mknod(root / "deep/er/evil", stat.S_IFSOCK | 0o600)
    else:
        os.link(outside, root / "deep/er/evil")
    outside.chmod(0o600)
    with pytest.raises(SealError, match=r"^deep/er/evil is a "):
        seal.seal(str(root), ME)
    assert oct(outside.stat().st_mode & 0o777) == "0o600"


def test_a_file_of_another_owner_is_refused(tmp_path: Path) -> None:
    root = tree(tmp_path / "r", {"app.py": ""})
    with pytest.raises(SealError, match=r"app\.py is a hard link, or a file that the build does not own"):
        seal.seal(str(root), Owners(4711, 0, 0))


def test_access_lists_do_not_survive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = tree(tmp_path / "r", {"app.py": ""})
    removed: list[str] = []
    monkeypatch.setattr(os, "listxattr", lambda _handle: ["user.note", "system.posix_acl_access", "system.posix_acl_default"])
    monkeypatch.setattr(os, "removexattr", lambda _handle, name: removed.append(name))
    seal.seal(str(root), ME)
    assert removed == ["system.posix_acl_access", "system.posix_acl_default"] * 2


def test_unchanged_packages_are_shared_with_what_they_are_compiled_to(tmp_path: Path) -> None:
    old = tree(
        tmp_path / "old",
        {
            f"{PACKAGES}/{name}": name
            for name in (
                "same.py",
                "changed.py",
                "gone.py",
                "shipped.py",
                "data.bin",
                "run",
                "__pycache__/same.cpython-313.pyc",
                "__pycache__/changed.cpython-313.pyc",
            )
        }
        | {f"{PACKAGES}/__pycache__/shipped.cpython-313.pyc": "compiled"},
    )
    new = tree(tmp_path / "new", {f"{PACKAGES}/{name}": name for name in ("same.py", "shipped.py", "data.bin", "run")})
    tree(new, {f"{PACKAGES}/changed.py": "CHANGED", f"{PACKAGES}/__pycache__/shipped.cpython-313.pyc": "of the package", "wsgi.py": "x"})
    tree(old, {"wsgi.py": "x"})
    (new / PACKAGES / "run").chmod(0o755)
    shared = seal.reuse(str(new), str(old), ME)
    linked = {str(path.relative_to(new / PACKAGES)) for path in new.rglob("*") if path.is_file() and path.stat().st_nlink > 1}
    assert linked == {"same.py", "shipped.py", "data.bin", "__pycache__/same.cpython-313.pyc"}
    assert len(shared) == 4
    assert (new / PACKAGES / "changed.py").read_text() == "CHANGED"
    seal.seal(str(new), ME, shared)


def test_only_what_root_has_sealed_is_shared(tmp_path: Path) -> None:
    old, new = (tree(tmp_path / name, {f"{PACKAGES}/x.py": "x", f"{PACKAGES}/__pycache__/x.cpython-313.pyc": "x"}) for name in ("old", "new"))
    assert seal.reuse(str(new), str(old), Owners(0, 0, 4711)) == set()


@pytest.mark.parametrize("plant", [".venv", ".venv/lib", PACKAGES, f"{PACKAGES}/p", f"{PACKAGES}/p/__pycache__"])
def test_nothing_is_shared_through_a_link(tmp_path: Path, plant: str) -> None:
    """A hostile build has put a link where a directory was; nothing is written to where it leads."""
    files = {f"{PACKAGES}/p/x.py": "x", f"{PACKAGES}/p/__pycache__/x.cpython-313.pyc": "x"}
    old, new, outside = (tree(tmp_path / name, files) for name in ("old", "new", "outside"))
    (outside / PACKAGES / "p/__pycache__/x.cpython-313.pyc").unlink()
    before = sorted(outside.rglob("*"))
    os.rename(new / plant, tmp_path / "aside")
    (new / plant).symlink_to(outside / plant)
    seal.reuse(str(new), str(old), ME)
    assert sorted(outside.rglob("*")) == before
    assert all(path.lstat().st_nlink == 1 for path in outside.rglob("*") if path.is_file())


def test_read_follows_no_link(tmp_path: Path) -> None:
    root = tree(tmp_path / "r", {"a/b": "text"})
    (root / "link").symlink_to("a")
    (root / "a/c").symlink_to("b")
    assert [seal.read(str(root), path, 3) for path in ("a/b", "a/c", "link/b", "a", "none")] == ["tex", "", "", "", ""]


def test_what_was_unpacked_gets_the_time_of_the_release(tmp_path: Path) -> None:
    root = tree(tmp_path / "r", {"a/b": ""})
    (root / "link").symlink_to("/nowhere")
    seal.give(str(root), ME, 1000)
    assert {path.lstat().st_mtime for path in root.rglob("*")} == {1000}
