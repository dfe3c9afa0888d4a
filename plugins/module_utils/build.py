"""Build an immutable release on the host: unpack the archive, make its environment with uv, describe it."""

from __future__ import annotations

import calendar
import contextlib
import errno
import glob
import json
import os
import re
import shutil
import subprocess
import tarfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ansible_collections.plainstack.web.plugins.module_utils import shared
from ansible_collections.plainstack.web.plugins.module_utils.archive import escapes
from ansible_collections.plainstack.web.plugins.module_utils.layout import App, make_directory, read, write
from ansible_collections.plainstack.web.plugins.module_utils.static import publish

SYSTEM_PYTHON = "/usr/bin/python3"
OLDEST_GUNICORN = (23, 0)


class BuildError(Exception):
    """A release could not be built; the message says why, where it is set and what to do."""


@dataclass(frozen=True)
class Plan:
    """What to build.

    `python` is `system` or a version that uv manages; `uv` the path of uv; `build_environment` what uv gets besides
    (index, proxy, mirrors); `config` everything besides the code that makes this release what it is.
    """

    app: App
    identifier: str
    digest: str
    requirements: str
    python: str
    config: Mapping[str, Any]
    environment: str
    shared: tuple[str, ...] = ()
    static: Mapping[str, str] = field(default_factory=dict)
    story: Mapping[str, Any] = field(default_factory=dict)
    uv: str = "/opt/plainstack/uv/bin/uv"
    cache: str = "/var/cache/plainstack/uv"
    build_environment: Mapping[str, str] = field(default_factory=dict)


def same(plan: Plan, identifier: str) -> bool:
    """Whether a complete release is what the plan would build: code, settings and environment."""
    story = plan.app.story(identifier)
    if story.get("digest") != plan.digest or story.get("config") != plan.config:
        return False
    if plan.python == "system" and not os.path.realpath(SYSTEM_PYTHON).endswith(f"python{story.get('python', '').rsplit('.', 1)[0]}"):
        return False  # Debian was upgraded: an environment works only with the version that it was made for
    return read(plan.app.environment(identifier)) == plan.environment


def find(plan: Plan) -> str:
    """Id of the release that already is what the plan wants: the live one before a newer one; empty when none is."""
    live = plan.app.live_id()
    complete = plan.app.complete()
    for identifier in [live] * (live in complete) + complete[::-1]:
        if same(plan, identifier):
            return identifier
    return ""


def sweep(app: App) -> list[str]:
    """Remove what an interrupted run left half-built; a release is complete once release.json is there.

    The live release is never touched, whatever somebody did to it.
    """
    if not os.path.isdir(app.releases):
        return []
    spare = {*app.complete(), app.live_id()}
    halves = [entry.name for entry in os.scandir(app.releases) if entry.is_dir(follow_symlinks=False) and entry.name not in spare]
    for name in halves:
        app.remove(name)
    return halves


def unpack(archive: str, target: str, when: float) -> None:
    """Unpack the archive; every file gets the release's time, so that ETag and Last-Modified differ between releases."""
    with tarfile.open(archive, "r:gz") as tar:
        for entry in tar:
            if not (entry.isreg() or entry.issym()) or escapes(entry.name) or (entry.issym() and escapes(entry.name, entry.linkname)):
                raise BuildError(f"The archive has an entry that no archive of Plainstack has: {entry.name}")
            entry.mode &= 0o755
        # Debian 12's Python is older than this filter; what is in the archive is checked above
        tar.extraction_filter = getattr(tarfile, "data_filter", None)
        tar.extractall(target)
    for directory, folders, files in os.walk(target):
        os.chmod(directory, 0o755)
        for name in folders + files:
            os.utime(os.path.join(directory, name), (when, when), follow_symlinks=False)


def lock_kind(name: str, text: str) -> tuple[str, bool]:
    """How uv reads a requirements file, and whether what it installs is reproducible.

    :returns: (`project`, `pylock`, `requirements` or `source`, whether it pins hashes).
    """
    base = os.path.basename(name)
    if base == "uv.lock":
        return "project", True
    if re.fullmatch(r"pylock(\.[^.]+)?\.toml", base):
        return "pylock", True
    if base == "pyproject.toml":
        return "source", False
    return "requirements", "--hash=" in text


def commands(plan: Plan, kind: str, hashed: bool) -> list[list[str]]:
    """The uv commands that make the environment."""
    release = plan.app.release(plan.identifier)
    interpreter = SYSTEM_PYTHON if plan.python == "system" else plan.python
    managed = "--no-managed-python" if plan.python == "system" else "--managed-python"
    venv = [plan.uv, "venv", "--quiet", "--no-config", managed, "--no-python-downloads", "--python", interpreter, f"{release}/.venv"]
    if kind == "project":
        directory = os.path.dirname(os.path.join(release, plan.requirements))
        # With the project's own [tool.uv], which the lock was made with; but never with another interpreter
        python = ["--python", f"{release}/.venv/bin/python", "--no-python-downloads"]
        return [venv, [plan.uv, "sync", "--quiet", "--locked", "--no-dev", "--no-editable", *python, "--directory", directory]]
    pip = [plan.uv, "pip", "sync" if hashed else "install", "--quiet", "--no-config", "--python", f"{release}/.venv/bin/python"]
    if kind == "source":
        return [venv, [*pip, "--requirements", plan.requirements]]
    return [venv, [*pip, *(["--require-hashes"] if hashed and kind == "requirements" else []), *(["--requirements"] if not hashed else []), plan.requirements]]


def _run(plan: Plan, command: list[str]) -> None:
    release = plan.app.release(plan.identifier)
    environment = {
        "PATH": "/usr/local/bin:/usr/bin:/bin",
        "HOME": "/root",
        "LANG": "C.UTF-8",
        "UV_CACHE_DIR": plan.cache,
        "UV_SYSTEM_CERTS": "1",
        "UV_PROJECT_ENVIRONMENT": f"{release}/.venv",
        "UV_PYTHON_INSTALL_DIR": "/opt/plainstack/python",
        **plan.build_environment,
    }
    done = subprocess.run(command, cwd=release, env=environment, capture_output=True, text=True, check=False)
    if "No space left on device" in done.stderr:
        raise OSError(errno.ENOSPC, f"uv says: {done.stderr.strip().splitlines()[-1].strip()}")
    if done.returncode:
        raise BuildError(
            f"{plan.app.name}: the environment could not be built from {plan.requirements}.\n"
            f"uv says:\n{done.stderr.strip()}\n"
            "Where it is set: 'requirements' of the app, and that file in its source.\n"
            "Next: mend that file, or lock again (uv lock, or uv pip compile --generate-hashes), and deploy again."
        )


def unwritable(app: App, error: OSError) -> str:
    """What the operator reads when files cannot be written."""
    return (
        f"{app.name}: the release could not be written: {error}. Nothing half-built is left.\n"
        f"Next: 'df -h {app.root}; df -i {app.root}; lsattr -d {app.releases}' on the host shows a full disk, or one that is not to be written; "
        "mend it and run the same command again."
    )


def share_bytecode(release: str, previous: str) -> None:
    """Hard-link the compiled files of the release before, where the source file is the same inode.

    uv hard-links unchanged packages from its cache; compiling them again would cost more disk than the rest of a release.
    """
    for directory, _folders, files in os.walk(f"{release}/.venv/lib"):
        other = previous + directory.removeprefix(release)
        compiled = os.path.join(other, "__pycache__")
        if not os.path.isdir(compiled):
            continue
        sources: dict[str, bool] = {}
        for name in os.listdir(compiled):
            source = name.split(".")[0] + ".py"
            if source not in sources:
                sources[source] = source in files and os.path.exists(f"{other}/{source}") and os.path.samefile(f"{directory}/{source}", f"{other}/{source}")
            if sources[source]:
                os.makedirs(f"{directory}/__pycache__", exist_ok=True)
                with contextlib.suppress(FileExistsError):  # some packages ship compiled files
                    os.link(f"{compiled}/{name}", f"{directory}/__pycache__/{name}")


def packages(release: str) -> dict[str, str]:
    """Name and version of every package in the release's environment."""
    found = {}
    for path in glob.glob(f"{release}/.venv/lib/python*/site-packages/*.dist-info"):
        name, _, version = os.path.basename(path).removesuffix(".dist-info").partition("-")
        found[name.replace("_", "-").lower()] = version
    return dict(sorted(found.items()))


def _check_gunicorn(plan: Plan, found: Mapping[str, str]) -> None:
    version = found.get("gunicorn", "")
    numbers = tuple(int(part) for part in re.findall(r"\d+", version)[:2])
    if numbers < OLDEST_GUNICORN:
        has = f"gunicorn {version}, which has known request-smuggling holes" if version else "no gunicorn"
        raise BuildError(
            f"{plan.app.name}: {plan.requirements} brings {has}.\n"
            f"Next: add gunicorn>={OLDEST_GUNICORN[0]} to the app's requirements, lock them again and deploy."
        )


def _link_shared(plan: Plan, uid: int, gid: int) -> list[str]:
    """Link what survives releases; warnings for the operator."""
    app = plan.app
    try:
        empty = shared.link(app.release(plan.identifier), app.shared, plan.shared, uid, gid)
    except shared.SharedError as error:
        raise BuildError(f"{app.name}: {error}") from None
    before = app.story(app.live_id()).get("config", {}).get("shared", [])
    warning = shared.left_behind(app.shared, before, plan.shared, empty)
    return [f"{app.name}: {warning}"] if warning else []


def _publish(plan: Plan) -> None:
    try:
        publish(plan.app.release(plan.identifier), plan.static)
    except NotADirectoryError as error:
        raise BuildError(f"{plan.app.name}: '{error}' in 'static' is not in the archive; is it ignored by git?") from error


def build(plan: Plan, archive: str, uid: int, gid: int) -> list[str]:
    """Build the release. Half of it is never taken for a whole one: release.json is written last.

    :param archive: path of the archive on this host.
    :param uid: user of the app, who owns the shared directories.
    :param gid: group of the app.
    :returns: warnings for the operator.
    :raises BuildError: with the half-built release removed.
    """
    app, release = plan.app, plan.app.release(plan.identifier)
    complete = app.complete()
    began = time.monotonic()
    old_umask = os.umask(0o022)
    try:
        unpack(archive, release, calendar.timegm(time.strptime(plan.identifier[:15], "%Y%m%dT%H%M%S")))
        shutil.copyfile(archive, app.archive(plan.identifier))
        path = os.path.join(release, plan.requirements)
        if not os.path.isfile(path):
            raise BuildError(f"{app.name}: {plan.requirements} is not in the archive; is the file ignored by git?")
        with open(path, encoding="utf-8") as stream:
            kind, hashed = lock_kind(plan.requirements, stream.read())
        for command in commands(plan, kind, hashed):
            _run(plan, command)
        found = packages(release)
        _check_gunicorn(plan, found)
        if complete:
            share_bytecode(release, app.release(complete[-1]))
        subprocess.run(
            [f"{release}/.venv/bin/python", "-m", "compileall", "-q", "-j", "0", release], capture_output=True, check=False
        )  # a file that does not compile is no fault yet: packages ship templates and tests that are not Python
        with contextlib.suppress(FileNotFoundError):
            os.unlink(f"{release}/.venv/.lock")  # uv leaves it world-writable
        warnings = _link_shared(plan, uid, gid)
        _publish(plan)
        make_directory(os.path.dirname(app.environment(plan.identifier)))
        write(app.environment(plan.identifier), plan.environment, 0o600)
        version = subprocess.run([f"{release}/.venv/bin/python", "-V"], capture_output=True, text=True, check=True)
        story = {
            **plan.story,
            "id": plan.identifier,
            "app": app.name,
            "digest": plan.digest,
            "config": plan.config,
            "python": version.stdout.split()[-1],
            "requirements": plan.requirements,
            "reproducible": hashed,
            "packages": found,
            "build_seconds": round(time.monotonic() - began, 2),
        }
        write(app.marker(plan.identifier), json.dumps(story, indent=2, sort_keys=True) + "\n")
    except BaseException as error:
        shutil.rmtree(release, ignore_errors=True)
        shutil.rmtree(os.path.dirname(app.environment(plan.identifier)), ignore_errors=True)
        if isinstance(error, OSError):  # a full disk, or one that cannot be written
            raise BuildError(unwritable(app, error)) from error
        raise
    finally:
        os.umask(old_umask)
    if hashed:
        return warnings
    return [
        *warnings,
        f"{app.name}: {plan.requirements} has no hashes, so this deploy is not reproducible: the next one may install other versions. "
        f"What was installed is in {app.marker(plan.identifier)}. To lock: uv pip compile --generate-hashes.",
    ]
