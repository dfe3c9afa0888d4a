"""The projects of a source that are installed themselves, as wheels: a bundle has them beside the packages of an index."""

from __future__ import annotations

import hashlib
import os
import posixpath
import re
import shutil
from collections.abc import Callable, Mapping, Sequence

from ansible_collections.plainstack.web.plugins.module_utils import bundled

DIRECTORY = re.compile(r"\.{1,2}(/[^\s;\[]*)?")  # as uv exports a project of its workspace
EVERYWHERE = re.compile(r"[^-]+-[^-]+(-[0-9][^-]*)?-(py2\.)?py3-none-any")
EPOCH = "315532800"  # the first second that a ZIP file can have, so that the same source is the same wheel

# Runs a command in a directory, with more environment variables
Run = Callable[[Sequence[str], str, Mapping[str, str]], object]


class ProjectError(Exception):
    """Why a project is no wheel, and what to do."""


def split(exported: str, directory: str) -> tuple[str, list[str]]:
    """What uv exports, in packages of an index and in projects.

    :param directory: of the lock file in the source.
    :returns: the requirements without the projects; and of each project its directory in the source, with its marker, if it has one, behind it.
    """
    packages, projects = [], []
    for line in exported.splitlines():
        path, _, marker = (part.strip() for part in line.partition(";"))
        if DIRECTORY.fullmatch(path) and not path.endswith((".whl", ".tar.gz", ".zip")):
            place = posixpath.normpath(posixpath.join(directory, path))
            projects.append(f"{place} ; {marker}" if marker else place)
        else:
            packages.append(line)
    return "".join(f"{line}\n" for line in packages), projects


def name_version(directory: str, version: str) -> dict[str, str]:
    """For tools that take the version from git, which is not there."""
    with open(os.path.join(directory, "pyproject.toml"), encoding="utf-8") as stream:
        name = re.search(r"""^\s*name\s*=\s*["']([A-Za-z0-9._-]+)["']""", stream.read(), re.MULTILINE)
    return {f"SETUPTOOLS_SCM_PRETEND_VERSION_FOR_{re.sub('[-_.]+', '_', name[1]).upper()}": version} if name and version else {}


def _build(uv: str, source: str, place: str, wheels: str, version: str, run: Run) -> str:
    """The file name of the wheel of one project."""
    directory = os.path.normpath(os.path.join(source, place))
    if not f"{os.path.realpath(directory)}/".startswith(f"{os.path.realpath(source)}/"):
        raise ProjectError(f"the project {place} lies outside of the source.\nNext: make a wheel of it ('uv build --wheel') and lock its file instead.")
    new = os.path.join(wheels, ".new")
    # Of a copy, because some tools leave their own files in a source
    shutil.copytree(source, os.path.join(new, "source"), symlinks=True, ignore=shutil.ignore_patterns(bundled.DIRECTORY))
    try:
        copy = os.path.normpath(os.path.join(new, "source", place))
        run([uv, "build", "--wheel", f"--out-dir={new}/wheel"], copy, {"SOURCE_DATE_EPOCH": EPOCH, **name_version(copy, version)})
        (found,) = (name for name in os.listdir(f"{new}/wheel") if name.endswith(".whl"))
        if not EVERYWHERE.fullmatch(found.removesuffix(".whl")):
            raise ProjectError(
                f"the project {place} has compiled code: {found} is for this machine and not for the servers.\n"
                "Next: build it where a Python and a system like the server's are ('uv build --wheel'), and lock that file; or remove 'bundle'."
            )
        os.rename(f"{new}/wheel/{found}", os.path.join(wheels, found))
    finally:
        shutil.rmtree(new, ignore_errors=True)
    return found


def add(uv: str, source: str, wheels: str, version: str, run: Run) -> None:
    """Build the projects that the requirements of a bundle name, and name the wheels there instead. It runs their code: the definition refuses others' sources.

    :param source: directory that is deployed.
    :param wheels: directory of the bundle; its requirements are replaced and not written to, as other releases share them.
    :param version: that git's tags give the source; may be empty.
    :raises ProjectError: when one cannot be built for any server.
    """
    path = os.path.join(wheels, os.path.basename(bundled.REQUIREMENTS))
    with open(path, encoding="utf-8") as text:
        lines = text.read().splitlines()
    projects = [line.removeprefix(bundled.PROJECT) for line in lines if line.startswith(bundled.PROJECT)]
    lines = [line for line in lines if not line.startswith(bundled.PROJECT)]
    for project in projects:
        place, _, marker = project.partition(" ; ")
        wheel = _build(uv, source, place, wheels, version, run)
        with open(os.path.join(wheels, wheel), "rb") as stream:
            found = hashlib.file_digest(stream, "sha256").hexdigest()
        name, number = wheel.split("-")[:2]
        lines.append(f"{name.replace('_', '-')}=={number}{f' ; {marker}' if marker else ''} --hash=sha256:{found}")
    if projects:
        os.unlink(path)
        with open(path, "x", encoding="utf-8") as new:
            new.write("".join(f"{line}\n" for line in lines))
