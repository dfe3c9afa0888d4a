"""Build an immutable release on the host: unpack the archive, make its environment with uv, describe it."""

from __future__ import annotations

import calendar
import errno
import gzip
import hashlib
import os
import platform
import posixpath
import re
import shlex
import shutil
import tarfile
import time
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ansible_collections.plainstack.web.plugins.module_utils import bundled, exported
from ansible_collections.plainstack.web.plugins.module_utils.entries import escapes, fingerprint
from ansible_collections.plainstack.web.plugins.module_utils.host import causes, sandbox, shared
from ansible_collections.plainstack.web.plugins.module_utils.host import seal as sealing
from ansible_collections.plainstack.web.plugins.module_utils.host.interpreter import python_gone
from ansible_collections.plainstack.web.plugins.module_utils.layout import App, make_directory, read, write
from ansible_collections.plainstack.web.plugins.module_utils.static import publish
from ansible_collections.plainstack.web.plugins.module_utils.text import ENGLISH

SYSTEM_PYTHON = "/usr/bin/python3"
OLDEST_GUNICORN = (23, 0)
# Measured: 23.0 loses about one request each time max_requests replaces a worker, 24.0 hangs there, 24.1 to 27.0 lose none
LOSSLESS_GUNICORN = (24, 1)
PACKAGE = re.compile(r"\.venv/lib/python[\d.]+/site-packages/(?P<name>[\w.]+)-(?P<version>[\w.+!]+)\.dist-info", re.ASCII)
SHOWN = 40  # lines of what the app's own command said
FULL = 16 * 2**20  # bytes that are free on a file system that is full
LEAST_CACHE = 2**30  # bytes that an app's cache may have in any case; more where its environment is large


class BuildError(Exception):
    """A release could not be built; the message says why, where it is set and what to do."""


@dataclass(frozen=True)
class Plan:
    """What to build.

    `python` is `system` or a version that uv manages; `build` is `wheels` where no package may be built from its source; `uv` the path of
    uv; `build_environment` what uv gets besides
    (index, proxy, mirrors); `server_build` the app's own command, run with `env`; `config` everything besides the code that makes this release what it is.
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
    build: str = "source"
    uv: str = "/opt/plainstack/uv/bin/uv"
    build_environment: Mapping[str, str] = field(default_factory=dict)
    server_build: str = ""
    env: Mapping[str, str] = field(default_factory=dict)


def same(app: App, wanted: Mapping[str, Any], identifier: str) -> bool:
    """Whether a complete release is what is wanted: code (`digest`), settings (`config`) and environment (`environment`)."""
    story = app.story(identifier)
    if story.get("digest") != wanted["digest"] or story.get("config") != wanted["config"]:
        return False
    if python_gone(app, identifier):
        return False
    return bool(read(app.environment(identifier)) == wanted["environment"])


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


def unpack(archive: str, target: str, digest: str) -> None:
    """Unpack the archive, and check that it is the one that was sent.

    :raises BuildError: when it has what no archive has, or not the digest.
    """
    found = hashlib.sha256()
    try:
        with tarfile.open(archive, "r:gz", encoding="utf-8") as tar:
            for entry in tar:
                if not (entry.isreg() or entry.issym()) or escapes(entry.name) or (entry.issym() and escapes(entry.name, entry.linkname)):
                    raise BuildError(f"The archive has an entry that no archive of Plainstack has: {entry.name}")
                stream = tar.extractfile(entry) if entry.isreg() else None
                found.update(fingerprint(entry))
                while stream and (chunk := stream.read(1 << 20)):
                    found.update(chunk)
                entry.mode &= 0o755
            if found.hexdigest() == digest:
                # Debian 12's Python is older than this filter; what is in the archive is checked above
                tar.extraction_filter = getattr(tarfile, "data_filter", None)
                tar.extractall(target)
                return
    except (tarfile.TarError, zlib.error, EOFError, gzip.BadGzipFile) as error:
        raise BuildError(
            f"{target}: the archive cannot be read, so its bytes were changed: {error}.\n"
            f"Next: run the same command again. If it was scale.yml, {target}/.archive.tar.gz was changed on the server that it was taken from: deploy anew."
        ) from error
    raise BuildError(
        f"{target}: the archive is not the one that was made: its content has the digest {found.hexdigest()}, not {digest}. Nothing of it was unpacked.\n"
        f"Next: run the same command again. If it was scale.yml, {target}/.archive.tar.gz was changed on the server that it was taken from: deploy anew."
    )


def lock_kind(name: str, text: str) -> tuple[str, bool]:
    """How uv reads a requirements file, and whether what it installs is reproducible.

    :returns: (`project`, `pylock`, `requirements`, `source` of a project that is installed itself, or `dependencies` of one that is not; whether it
        pins hashes).
    """
    base = os.path.basename(name)
    if base == "uv.lock":
        return "project", True
    if re.fullmatch(r"pylock(\.[^.]+)?\.toml", base):
        return "pylock", True
    if base == "pyproject.toml":
        return ("source" if re.search(r"^\s*\[build-system\]", text, re.MULTILINE) else "dependencies"), False
    return "requirements", "--hash=" in text


def _file(plan: Plan) -> str:
    """What uv installs, by its name in the release."""
    return bundled.REQUIREMENTS if plan.config.get("bundle") else exported.path(plan.requirements)


def _check_bundle(plan: Plan, text: str) -> None:
    """Whether the wheels are for this server."""
    python = os.path.basename(os.path.realpath(SYSTEM_PYTHON))[len("python") :] if plan.python == "system" else ".".join(plan.python.split(".")[:2])
    own, found = bundled.target(python, platform.machine()), bundled.targets(text)
    if own not in found:
        raise BuildError(
            f"{plan.app.name}: its bundle has wheels for {', '.join(found) or 'nothing'} (Python and architecture), and this server needs {own}.\n"
            "Where it is set: 'bundle_for' of the app.\nNext: add this server's system to it, and deploy again."
        )


def commands(plan: Plan, kind: str, hashed: bool) -> list[list[str]]:
    """The uv commands that make the environment."""
    release = plan.app.release(plan.identifier)
    interpreter = SYSTEM_PYTHON if plan.python == "system" else plan.python
    managed = "--no-managed-python" if plan.python == "system" else "--managed-python"
    venv = [plan.uv, "venv", "--quiet", "--no-config", managed, "--no-python-downloads", "--python", interpreter, f"{release}/.venv"]
    wheels = ["--no-build"] if plan.build == "wheels" else []
    chosen = [word for key in ("extra", "group") for name in plan.config.get(f"{key}s", []) for word in (f"--{key}", name)]
    if kind == "project":
        directory = os.path.dirname(os.path.join(release, plan.requirements))
        # With the project's own [tool.uv], which the lock was made with; but never with another interpreter
        python = ["--python", f"{release}/.venv/bin/python", "--no-python-downloads"]
        member = ["--package", plan.config["member"]] if plan.config.get("member") else []
        return [venv, [plan.uv, "sync", "--quiet", "--locked", "--no-dev", "--no-editable", *wheels, *python, "--directory", directory, *member, *chosen]]
    pip = [plan.uv, "pip", "sync" if hashed else "install", "--quiet", "--no-config", *wheels, "--python", f"{release}/.venv/bin/python"]
    path = _file(plan)
    if plan.config.get("bundle"):
        pip += ["--offline", "--no-index", "--find-links", bundled.DIRECTORY]
        return [venv, [*pip, "--require-hashes", path], ["/bin/rm", "-r", f"{release}/{bundled.DIRECTORY}"]]
    if kind in ("source", "dependencies"):
        chosen = [f"{plan.requirements}:{word}" if option == "--group" else word for option, word in zip(["", *chosen], chosen, strict=False)]
        own = [[*pip, "--no-deps", f"{release}/{os.path.dirname(plan.requirements)}"]] if kind == "source" and plan.build != "wheels" else []
        return [venv, [*pip, "--requirements", plan.requirements, *chosen], *own]
    if kind == "pylock":
        return [venv, [*pip, *chosen, path]]
    return [venv, [*pip, *(["--require-hashes"] if hashed else ["--requirements"]), path]]


def compiling(release: str) -> list[list[str]]:
    """The commands that compile what is not compiled: the app cannot write its bytecode. They run nothing of what they compile.

    A file that does not compile is no fault yet: packages ship templates and tests that are not Python.
    """
    compileall = f"xargs -0 -r -n 200 -P {os.cpu_count() or 1} {shlex.quote(f'{release}/.venv/bin/python')} -I -S -m compileall -q"
    return [["/bin/sh", "-c", f"find {shlex.quote(release)} -name '*.py' -type f -print0 | {compileall} >/dev/null 2>&1 || :"]]


def _version(plan: Plan) -> dict[str, str]:
    """The version of a project that takes it from git, which is not there: for setuptools-scm and hatch-vcs, and for that project alone."""
    directory = os.path.dirname(plan.requirements)
    text = sealing.read(plan.app.release(plan.identifier), posixpath.join(directory, "pyproject.toml"))
    name = re.search(r"""^\s*name\s*=\s*["']([A-Za-z0-9._-]+)["']""", text, re.MULTILINE)
    if not name or not plan.story.get("version"):
        return {}
    return {f"SETUPTOOLS_SCM_PRETEND_VERSION_FOR_{re.sub('[-_.]+', '_', name[1]).upper()}": str(plan.story["version"])}


def _environment(plan: Plan) -> dict[str, str]:
    """What every command of a build gets."""
    release = plan.app.release(plan.identifier)
    return {
        "PATH": "/usr/local/bin:/usr/bin:/bin",
        "HOME": "/tmp",
        **ENGLISH,
        "UV_CACHE_DIR": plan.app.cache,
        "UV_LINK_MODE": "copy",  # a hard link would leave the builder a file of the release
        "UV_SYSTEM_CERTS": "1",
        "UV_PROJECT_ENVIRONMENT": f"{release}/.venv",
        "UV_PYTHON_INSTALL_DIR": "/opt/plainstack/python",
        **_version(plan),
        **plan.build_environment,
    }


def _run_own(plan: Plan) -> None:
    """Run the app's own command in the sandbox, with its own programs first."""
    release = plan.app.release(plan.identifier)
    own = {"PATH": f"{release}/.venv/bin:/usr/local/bin:/usr/bin:/bin", "PLAINSTACK_APP": plan.app.name, "PLAINSTACK_RELEASE": plan.identifier}
    environment = {**_environment(plan), "PYTHONDONTWRITEBYTECODE": "1", **plan.env, **own}
    done = sandbox.run(plan.app, plan.identifier, [["/bin/bash", "-c", plan.server_build]], environment)
    if done.result != "success":
        said = "\n".join(done.output.splitlines()[-SHOWN:]) or "(it wrote none)"
        raise BuildError(
            f"{plan.app.name}: 'server_build' failed ({done.result}).\nIts last lines:\n{said}\n"
            "Where it is set: 'server_build' of the app in the inventory; it gets 'env', and of 'secrets' nothing.\n"
            "Next: correct it and deploy again."
        )


def _run(plan: Plan, steps: list[list[str]]) -> None:
    """Run commands in the sandbox."""
    done = sandbox.run(plan.app, plan.identifier, steps, _environment(plan))
    if done.result == "success":
        return
    if line := causes.full(done.output):
        raise OSError(errno.ENOSPC, f"uv says: {line}{_full_system(plan.app)}")
    cause = causes.of(done.result, done.output, sandbox.SECONDS)
    raise BuildError(
        f"{plan.app.name}: the environment could not be built from {plan.requirements}{f': {cause.what}' if cause else ''}.\n"
        f"uv says:\n{done.output}\n"
        "Where it is set: 'requirements' of the app, and that file in its source.\n"
        f"Next: {cause.then if cause else 'uv names what is wrong; correct it and deploy again.'}"
    )


def _full_system(app: App) -> str:
    """Which file systems are full, of those that a build writes to."""
    places = {os.stat(path).st_dev: path for path in ("/tmp", app.cache, app.releases) if os.path.isdir(path)}
    found = []
    for path in places.values():
        free = os.statvfs(path)
        if free.f_bavail * free.f_frsize < FULL or (free.f_files and free.f_favail < 100):
            found.append(path)
    return f" (full: the file system of {' and of '.join(sorted(found))})" if found else ""


def unwritable(app: App, error: OSError) -> str:
    """What the operator reads when files cannot be written."""
    places = f"{app.root} {os.path.dirname(app.cache)}"
    return (
        f"{app.name}: the release could not be written: {error}. Nothing half-built is left.\n"
        f"Next: 'df -h {places}; df -i {places}; lsattr -d {app.releases}' on the host shows a full disk, or one that is not to be written; "
        "make room, or make it writable, and run the same command again."
    )


def packages(paths: Iterable[str]) -> dict[str, str]:
    """Name and version of every package in the release's environment, by the paths in it."""
    found = {}
    for path in paths:
        if match := PACKAGE.fullmatch(path):
            found[match["name"].replace("_", "-").lower()] = match["version"]
    return dict(sorted(found.items()))


def _check_gunicorn(plan: Plan, found: Mapping[str, str]) -> list[str]:
    """Warnings; a Gunicorn that is too old is refused."""
    if plan.config.get("server") == "command":
        return []
    version = found.get("gunicorn", "")
    numbers = tuple(int(part) for part in re.findall(r"\d+", version)[:2])
    if numbers < OLDEST_GUNICORN:
        has = f"gunicorn {version}, which has known request-smuggling holes" if version else "no gunicorn"
        raise BuildError(
            f"{plan.app.name}: {plan.requirements} brings {has}.\n"
            f"Next: add gunicorn>={OLDEST_GUNICORN[0]} to the app's requirements, lock them again and deploy."
        )
    if numbers < LOSSLESS_GUNICORN and plan.config.get("max_requests"):
        return [
            f"{plan.app.name}: gunicorn {version} loses about one request each time that 'max_requests' replaces a worker. "
            f"Lock gunicorn>={'.'.join(map(str, LOSSLESS_GUNICORN))}, which loses none, or remove 'max_requests'."
        ]
    return []


def _check_module(plan: Plan, paths: Iterable[str]) -> list[str]:
    """A warning where nothing of the release can be what Gunicorn imports: a project with a src directory that was not installed."""
    top = str(plan.config.get("module") or "").partition(":")[0].partition(".")[0]
    own = re.compile(rf"(\.venv/lib/python[\d.]+/site-packages/)?{re.escape(top)}(\.py|\..*\.so)?")
    leads_elsewhere = re.compile(r"\.venv/lib/python[\d.]+/site-packages/(?!_virtualenv|distutils-precedence)[^/]+\.pth")
    paths = list(paths)
    if not top or "PYTHONPATH=" in plan.environment or any(own.fullmatch(path) or leads_elsewhere.fullmatch(path) for path in paths):
        return []
    directory = os.path.dirname(next((path for path in paths if re.fullmatch(rf"(?!\.venv/)(.+/)?{re.escape(top)}(\.py)?", path)), ""))
    where = f"It is in {directory}/, from which nothing is imported unless the project is installed" if directory else "It is not in the archive either"
    return [
        f"{plan.app.name}: 'module' is {plan.config['module']}, but {plan.requirements} installs no '{top}', and the source has none at its top. {where}. "
        "Lock the project itself too: 'uv.lock' of a project with a build system does, or a line with a dot in the requirements, without hashes."
    ]


def _link_instance(plan: Plan) -> None:
    """Flask looks for the instance folder of an app that is installed, as that of a project in src/ is, below the environment."""
    places = f"{plan.app.release(plan.identifier)}/.venv/var"
    if os.path.islink(places):  # a package's own
        return
    os.makedirs(places, exist_ok=True)
    parts = str(plan.config.get("module") or "").partition(":")[0].split(".")
    for depth in range(len(parts)):
        link = f"{places}/{'.'.join(parts[: depth + 1])}-instance"
        if not os.path.lexists(link):
            os.symlink(f"{plan.app.shared}/instance", link)


def _link_shared(plan: Plan, uid: int, gid: int) -> list[str]:
    """Link what survives releases; warnings for the operator."""
    app = plan.app
    try:
        empty = shared.link(app.release(plan.identifier), app.shared, plan.shared, uid, gid)
    except shared.SharedError as error:
        raise BuildError(f"{app.name}: {error}") from None
    if "instance" in plan.shared:
        _link_instance(plan)
    before = app.story(app.live_id()).get("config", {}).get("shared", [])
    warning = shared.left_behind(app.shared, before, plan.shared, empty)
    return [f"{app.name}: {warning}"] if warning else []


def _publish(plan: Plan) -> None:
    try:
        publish(plan.app.release(plan.identifier), plan.static)
    except NotADirectoryError as error:
        how = "nor has 'server_build' made it" if plan.server_build else "is it ignored by git?"
        raise BuildError(f"{plan.app.name}: '{error}' in 'static' is not in the archive; {how}") from error


def _trim(cache: str, needed: int) -> None:
    """Remove an app's cache once it is much larger than what a release needs; the next build fills it again."""
    size = sum(os.lstat(os.path.join(directory, name)).st_size for directory, _folders, files in os.walk(cache) for name in files)
    if size > max(LEAST_CACHE, 3 * needed):
        shutil.rmtree(cache, ignore_errors=True)


def _make(plan: Plan, archive: str, owners: sealing.Owners, before: str) -> tuple[sealing.Sealed, str, bool]:
    """Unpack, have the builder make the environment, and seal all of it.

    :returns: what the release consists of, the version of its Python, and whether its requirements have hashes.
    """
    app, release = plan.app, plan.app.release(plan.identifier)
    make_directory(release, 0o700)
    unpack(archive, release, plan.digest)
    path = _file(plan)
    if not os.path.isfile(os.path.join(release, path)):
        if plan.config.get("bundle"):
            raise BuildError(f"{app.name}: the archive has no bundle; deploy.yml makes one, the module 'archive' does not. Remove 'bundle', or use deploy.yml.")
        raise BuildError(f"{app.name}: {path} is not in the archive; is the file ignored by git?")
    text = sealing.read(release, path, 1 << 26)
    kind, hashed = lock_kind(path if plan.config.get("bundle") else plan.requirements, text)
    if plan.config.get("bundle"):
        _check_bundle(plan, text)
    sealing.give(release, owners, calendar.timegm(time.strptime(plan.identifier[:15], "%Y%m%dT%H%M%S")))
    _run(plan, commands(plan, kind, hashed))
    if plan.server_build:
        _run_own(plan)  # as long as the builder can read all of it
    reused = sealing.reuse(release, before, owners) if before else set()
    _run(plan, compiling(release))
    public = []
    for directory in plan.static.values():
        public.append(os.path.relpath(os.path.realpath(f"{release}/{directory}"), os.path.realpath(release)))
        if public[-1] in (".", "..") or public[-1].startswith("../"):
            raise BuildError(f"{app.name}: '{directory}' in 'static' leads out of the release; name a directory of the source.")
    try:
        sealed = sealing.seal(release, owners, reused, public)
    except sealing.SealError as error:
        raise BuildError(
            f"{app.name}: the build left what no release may have: {error}.\n"
            f"Next: look at what was added to {plan.requirements} last: a package put it there while it was installed."
        ) from error
    if planted := {".static", ".archive.tar.gz", "release.json"} & {*sealed.paths}:
        raise BuildError(f"{app.name}: a package in {plan.requirements} has made {', '.join(sorted(planted))}, which is Plainstack's own; remove that package.")
    version = re.search(r"^version_info = (\d+\.\d+\.\d+\w*)", sealing.read(release, ".venv/pyvenv.cfg"), re.MULTILINE)
    if not version:
        raise BuildError(f"{app.name}: a package in {plan.requirements} has changed .venv/pyvenv.cfg, which says for which Python the release is; remove it.")
    return sealed, version[1], hashed


def build(plan: Plan, archive: str, uid: int, gid: int) -> list[str]:
    """Build the release. Half of it is never taken for a whole one: release.json is written last.

    :param archive: path of the archive on this host.
    :param uid: user of the app, who owns the shared directories.
    :param gid: group of the app, which may read the release.
    :returns: warnings for the operator.
    :raises BuildError: with the half-built release removed.
    """
    app, release = plan.app, plan.app.release(plan.identifier)
    complete = app.complete()
    began = time.monotonic()
    old_umask = os.umask(0o022)
    try:
        builder = sandbox.user()
        make_directory(app.cache, 0o700, builder.pw_uid, builder.pw_gid)
        owners = sealing.Owners(builder.pw_uid, builder.pw_gid, gid)
        sealed, python, hashed = _make(plan, archive, owners, app.release(complete[-1]) if complete else "")
        found = packages(sealed.paths)
        warnings = _check_gunicorn(plan, found) + _check_module(plan, sealed.paths)
        with open(archive, "rb") as source, open(app.archive(plan.identifier), "xb", opener=lambda path, flags: os.open(path, flags, 0o600)) as target:
            shutil.copyfileobj(source, target)
        _publish(plan)  # first, so that no link of the release leads to what the app can change
        warnings += _link_shared(plan, uid, gid)
        for directory in (app.settings, os.path.dirname(app.environment(plan.identifier))):
            make_directory(directory, 0o750, 0, gid)
        write(app.environment(plan.identifier), plan.environment, 0o600)
        story = {
            **plan.story,
            "id": plan.identifier,
            "app": app.name,
            "digest": plan.digest,
            "config": plan.config,
            "python": python,
            "requirements": plan.requirements,
            "reproducible": hashed,
            "packages": found,
            "build_seconds": round(time.monotonic() - began, 2),
        }
        app.describe(plan.identifier, story)
    except BaseException as error:
        shutil.rmtree(release, ignore_errors=True)
        shutil.rmtree(os.path.dirname(app.environment(plan.identifier)), ignore_errors=True)
        if isinstance(error, OSError):  # a full disk, or one that cannot be written
            raise BuildError(unwritable(app, error)) from error
        raise
    finally:
        os.umask(old_umask)
    _trim(app.cache, sealed.size)
    if hashed:
        return warnings
    return [
        *warnings,
        f"{app.name}: {plan.requirements} has no hashes, so this deploy is not reproducible: the next one may install other versions. "
        f"What was installed is in {app.marker(plan.identifier)}. To lock: uv pip compile --generate-hashes.",
    ]
