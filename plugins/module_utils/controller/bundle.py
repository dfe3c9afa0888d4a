"""The offline bundle of an app: the wheels that its servers need, collected on the controller, once for the same requirements.

uv resolves for each Python and architecture of the servers, because pip would take the controller's own for the conditions of requirements
("python_version < '3.12'"); pip downloads what uv has chosen, by its hashes. Both see nothing of the source but what the requirements consist of.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tarfile
import tempfile
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from ansible_collections.plainstack.web.plugins.module_utils import bundled, exported
from ansible_collections.plainstack.web.plugins.module_utils.controller.archive import ArchiveError, build, list_files, version
from ansible_collections.plainstack.web.plugins.module_utils.controller.built import Tree, cache, forget
from ansible_collections.plainstack.web.plugins.module_utils.controller.fetch import CREDENTIALS
from ansible_collections.plainstack.web.plugins.module_utils.controller.project import ProjectError, Run, add, split
from ansible_collections.plainstack.web.plugins.module_utils.controller.requirements import files
from ansible_collections.plainstack.web.plugins.module_utils.text import plain

# Of each system its Python, and the newest glibc of a wheel that it has (and that uv and pip know)
SYSTEMS: Mapping[str, tuple[str, int]] = {"debian-12": ("3.11", 36), "debian-13": ("3.13", 40), "ubuntu-24.04": ("3.12", 39), "ubuntu-26.04": ("3.14", 40)}
SETTINGS = re.compile(r"(UV|PIP)_.+")
PROXY = re.compile(r"(https?|all|no)_proxy", re.IGNORECASE)
CERTIFICATES = ("SSL_CERT_FILE", "SSL_CERT_DIR")
SECRET = re.compile(r".*_(USERNAME|PASSWORD|TOKEN)")
NOT_A_PACKAGE = re.compile(
    r"^\s*(?:-e\b|--editable\b|\.{1,2}(?:/|\[|\s|$)(?![^#]*\.whl)|/(?![^#]*\.whl)|[^#]*(?:\bgit|\bhg|\bsvn|\bbzr)\+|[^#]*@\s*file:(?![^#]*\.whl))"
)
IN_TOML = re.compile(r"@\s*(?:git|hg|svn|bzr)\+")
SHA256 = re.compile(r"sha256[:\"'\s=]+([0-9a-f]{64})")
SHOWN = 40  # lines of what a tool said
WHEEL_OF_IT = "build it where a Python and a system like the server's are ('pip wheel NAME==VERSION'), and name the file in the requirements: ./NAME.whl"
NO_WHEEL = f"correct what it names, in the requirements or in 'build_environment'. Where a package has no wheel: {WHEEL_OF_IT}."
NOT_BUILT = "correct the project; 'uv build --wheel' in its directory does the same as the deploy."


class BundleError(Exception):
    """Why there is no bundle, and what to do."""


@dataclass(frozen=True, order=True)
class Target:
    """What wheels are for; `python` as `python` of an app has it, `glibc` the minor version of the oldest."""

    python: str
    machine: str
    glibc: int

    @property
    def minor(self) -> str:
        return ".".join(self.python.split(".")[:2])

    @property
    def name(self) -> str:
        return bundled.target(self.minor, self.machine)

    @property
    def marker(self) -> str:
        return f"python_version == '{self.minor}' and platform_machine == '{self.machine}'"


def targets(app: Mapping[str, Any]) -> list[Target]:
    """One for each Python and architecture; where systems have the same, with the oldest glibc."""
    found: dict[tuple[str, str], int] = {}
    for name in app["bundle_for"]:
        system, machine = name.removesuffix("-aarch64"), "aarch64" if name.endswith("-aarch64") else "x86_64"
        python, glibc = SYSTEMS[system]
        key = (python if app["python"] == "system" else app["python"], machine)
        found[key] = min(glibc, found.get(key, glibc))
    return sorted(Target(python, machine, glibc) for (python, machine), glibc in found.items())


def settings(build_environment: Mapping[str, str]) -> dict[str, str]:
    """What of `build_environment` tells the controller where packages are; of files those that it has itself."""
    given = {name: str(value) for name, value in build_environment.items()}
    return {
        name: value for name, value in given.items() if SETTINGS.fullmatch(name) or PROXY.fullmatch(name) or (name in CERTIFICATES and os.path.exists(value))
    }


def _index(text: str, given: Mapping[str, str]) -> str:
    """The URL of an index as pip takes it, from `[name=]url`, with the credentials that uv has in variables of their own."""
    name, found, url = text.partition("=")
    if not found or "/" in name:
        return text
    key = re.sub(r"[^A-Z0-9]", "_", name.upper())
    user, password = (given.get(f"UV_INDEX_{key}_{which}", "") for which in ("USERNAME", "PASSWORD"))
    scheme, _, rest = url.partition("://")
    return f"{scheme}://{quote(user, safe='')}:{quote(password, safe='')}@{rest}" if user or password else url


def for_pip(given: Mapping[str, str]) -> dict[str, str]:
    """The settings for pip that those for uv stand for; in its environment, which other users do not see."""
    default = given.get("UV_DEFAULT_INDEX") or given.get("UV_INDEX_URL")
    more = [*given.get("UV_INDEX", "").split(), *given.get("UV_EXTRA_INDEX_URL", "").split()]
    same = {
        "PIP_INDEX_URL": _index(default, given) if default else "",
        "PIP_EXTRA_INDEX_URL": " ".join(_index(one, given) for one in more),
        "PIP_FIND_LINKS": given.get("UV_FIND_LINKS", "").replace(",", " "),
        "PIP_TRUSTED_HOST": given.get("UV_INSECURE_HOST", ""),
        "PIP_CERT": given.get("SSL_CERT_FILE", ""),
    }
    return {**{name: value for name, value in same.items() if value}, **{name: value for name, value in given.items() if name.startswith("PIP_")}}


def _hide(text: str, given: Mapping[str, str]) -> str:
    """What a tool said without the credentials of an index."""
    for name, value in given.items():
        if SECRET.fullmatch(name) and value:
            text = text.replace(value, "***").replace(quote(value, safe=""), "***")
    return plain(CREDENTIALS.sub(r"\1", text))


def _run(command: Sequence[str], directory: str, given: Mapping[str, str], then: str = NO_WHEEL) -> str:
    """What a tool prints.

    :param then: what to do where it fails.
    :raises BundleError: with its last lines.
    """
    environment = {**os.environ, "UV_SYSTEM_CERTS": "1", "PIP_DISABLE_PIP_VERSION_CHECK": "1", "PIP_NO_INPUT": "1", **given}
    done = subprocess.run(
        command, cwd=directory, env=environment, stdin=subprocess.DEVNULL, capture_output=True, encoding="utf-8", errors="replace", check=False
    )
    if done.returncode:
        said = _hide("\n".join((done.stderr.strip() or done.stdout.strip()).splitlines()[-SHOWN:]), given)
        if "No module named pip" in said:
            raise BundleError(
                f"the Python of Ansible has no pip.\nNext: {shlex.quote(sys.executable)} -m ensurepip; or install Ansible into a venv that has it."
            )
        tool = "pip" if command[0] == sys.executable else "uv"
        raise BundleError(f"{tool} says:\n{said}\nNext: {then}")
    return done.stdout


def _uv() -> str:
    found = shutil.which("uv", path=os.pathsep.join([os.path.dirname(sys.executable), os.environ.get("PATH", "")]))
    if not found:
        raise BundleError("uv, which chooses the wheels, is not installed on this machine.\nNext: pipx install uv")
    return found


def inputs(tree: Tree, requirements: str) -> dict[str, bytes]:
    """The files that the requirements consist of, by their names in the source; what is missing, uv names."""
    names = list_files(tree.directory, tree.include, tree.git)
    wanted = {*files(tree.directory, exported.path(requirements))} | {name for name in names if name.endswith(".whl")}
    if os.path.basename(requirements) in ("uv.lock", "pyproject.toml"):
        wanted |= {name for name in names if os.path.basename(name) in ("uv.lock", "pyproject.toml")}  # of a workspace, too
    found = {}
    for name in sorted(wanted & {*names}):
        path = os.path.join(tree.directory, name)
        if os.path.isfile(path):
            with open(path, "rb") as stream:
                found[name] = stream.read()
    return found


def _key(app: Mapping[str, Any], found: Mapping[str, bytes], given: Mapping[str, str]) -> str:
    """What the wheels depend on, and not the credentials with which they are downloaded."""
    where = {name: CREDENTIALS.sub(r"\1", value) for name, value in given.items() if SETTINGS.fullmatch(name) and not SECRET.fullmatch(name)}
    about = [app[key] for key in ("requirements", "extras", "groups", "member")]
    digests = {name: hashlib.sha256(content).hexdigest() for name, content in found.items()}
    return hashlib.sha256(json.dumps([about, [str(target) for target in targets(app)], digests, where], sort_keys=True).encode()).hexdigest()


def _of_pylock(text: str) -> Iterator[str]:
    """The requirements that a pylock.toml stands for."""
    whole = tomllib.loads(text)
    if whole.get("extras") or whole.get("dependency-groups"):
        raise BundleError(
            "a pylock.toml with extras or dependency groups cannot be bundled.\nNext: lock what the app needs alone, or set 'requirements' to uv.lock"
        )
    for package in whole.get("packages", []):
        if "version" not in package or not package.get("wheels"):
            raise BundleError(f"{package['name']} in the pylock.toml has no wheel.\nNext: {WHEEL_OF_IT}")
        marker = f" ; {package['marker']}" if package.get("marker") else ""
        hashes = "".join(f" --hash=sha256:{wheel['hashes']['sha256']}" for wheel in package["wheels"] if "sha256" in wheel.get("hashes", {}))
        yield f"{package['name']}=={package['version']}{marker}{hashes}"


def _readable(app: Mapping[str, Any], place: str, given: Mapping[str, str]) -> tuple[str, list[str], list[str]]:
    """What uv resolves: the name of a file, and options that belong to it; and the projects of the source that are installed, as `split` has them."""
    requirements: str = app["requirements"]
    kind, directory, chosen = os.path.basename(requirements), os.path.dirname(requirements), [("extra", app["extras"]), ("group", app["groups"])]
    ours = os.path.join(directory, exported.FILE)
    if kind == "pyproject.toml":
        with open(os.path.join(place, requirements), encoding="utf-8") as stream:
            own = [directory or "."] if re.search(r"^\s*\[build-system\]", stream.read(), re.MULTILINE) else []
        options = [f"--{key}={f'{requirements}:{name}' if key == 'group' else name}" for key, names in chosen for name in names]
        return requirements, options, own
    if kind == "uv.lock":
        options = [f"--{key}={name}" for key, names in chosen for name in names] + ([f"--package={app['member']}"] if app["member"] else [])
        # Not even the project's own version is asked of code
        export = ["export", "--quiet", "--locked", "--no-build", "--no-dev", "--no-header", "--no-annotate", "--no-editable", "--format=requirements.txt"]
        _run([_uv(), *export, f"--output-file={exported.FILE}", *options], os.path.join(place, directory), given)
        with open(os.path.join(place, ours), encoding="utf-8") as stream:
            packages, own = split(stream.read(), directory)
        with open(os.path.join(place, ours), "w", encoding="utf-8") as stream:
            stream.write(packages)
        return ours, [], own
    if re.fullmatch(r"pylock(\.[^.]+)?\.toml", kind):
        with open(os.path.join(place, requirements), encoding="utf-8") as stream:
            lines = list(_of_pylock(stream.read()))
        with open(os.path.join(place, ours), "w", encoding="utf-8") as stream:
            stream.write("".join(f"{line}\n" for line in lines))
        return ours, [], []
    return exported.path(requirements), [], []


def _installed(what: str) -> str:
    return (
        f"{what} names what is no package of an index: a directory or a repository. A bundle has wheels alone.\n"
        "Next: make a wheel of it ('uv build --wheel', or 'pip wheel') and name its file in the requirements, or remove 'bundle'; "
        "where the project of the source is meant, set 'requirements' to its uv.lock or pyproject.toml: a wheel is made of it then."
    )


def _hashes(place: str, name: str) -> set[str]:
    """Those that the requirements have, whatever they belong to; and what no bundle can have is refused."""
    found: set[str] = set()
    for file in files(place, name):
        with open(os.path.join(place, file), encoding="utf-8-sig") as stream:
            text = stream.read()
        lines = text.splitlines()
        wrong = IN_TOML.search if file.endswith(".toml") else NOT_A_PACKAGE.match
        if line := next((line for line in lines if wrong(line)), ""):
            raise BundleError(_installed(f"{file} ({CREDENTIALS.sub(chr(92) + '1', line.split(' ;')[0].strip()[:200])})"))
        found |= {*SHA256.findall(text)}
    return found


def _platforms(target: Target) -> list[str]:
    """The tags of wheels that a system takes, as options of pip; x86_64 has older ones with names of their own."""
    tags = [f"manylinux_2_{minor}_{target.machine}" for minor in range(target.glibc, 4, -1)]
    old = ["manylinux2014", *(["manylinux2010", "manylinux1"] if target.machine == "x86_64" else []), "linux"]
    return [f"--platform={tag}" for tag in [*tags, *(f"{name}_{target.machine}" for name in old)]]


def _download(place: str, target: Target, source: tuple[str, list[str]], to: str, given: Mapping[str, str]) -> None:
    """The wheels for one kind of server."""
    name, options = source
    pinned = f".plainstack-{target.name}.txt"
    resolve = ["pip", "compile", "--quiet", "--no-header", "--no-annotate", "--generate-hashes", "--only-binary=:all:", f"--output-file={pinned}"]
    platform = f"{target.machine}-manylinux_2_{target.glibc}"
    _run([_uv(), *resolve, f"--python-version={target.python}", f"--python-platform={platform}", *options, name], place, given)
    version = target.minor.replace(".", "")
    kind = [f"--python-version={version}", "--implementation=cp", f"--abi=cp{version}", *_platforms(target)]
    # -P: no file of the source is taken for pip
    fetch = ["-P", "-m", "pip", "download", "--quiet", "--no-deps", "--require-hashes", "--only-binary=:all:", f"--dest={to}"]
    _run([sys.executable, *fetch, *kind, f"--requirement={pinned}"], place, {**given, **for_pip(given)})


def _collect(app: Mapping[str, Any], place: str, to: str, given: Mapping[str, str]) -> None:
    """All wheels and their list, into a directory.

    :param place: with what the requirements consist of, and nothing else.
    """
    name_of_file, options, own = _readable(app, place, given)
    known = _hashes(place, name_of_file)
    wanted = targets(app)
    lines = [bundled.HEADER + " ".join(target.name for target in wanted), *(bundled.PROJECT + one for one in own)]
    for target in wanted:
        wheels = os.path.join(to, f".{target.name}")
        os.mkdir(wheels)
        _download(place, target, (name_of_file, options), wheels, given)
        for wheel in sorted(os.listdir(wheels)):
            with open(os.path.join(wheels, wheel), "rb") as stream:
                found = hashlib.file_digest(stream, "sha256").hexdigest()
            if known and found not in known:
                raise BundleError(f"{wheel} has the checksum sha256:{found}, which {app['requirements']} does not have.\nNext: lock the requirements again.")
            name, version = wheel.split("-")[:2]
            lines.append(f"{name.replace('_', '-')}=={version} ; {target.marker} --hash=sha256:{found}")
            os.replace(os.path.join(wheels, wheel), os.path.join(to, wheel))
        os.rmdir(wheels)
    with open(os.path.join(to, os.path.basename(bundled.REQUIREMENTS)), "w", encoding="utf-8") as stream:
        stream.write("\n".join(lines) + "\n")


def _keep(new: str, target: str) -> None:
    """Put a directory at its place, where another run may have put the same one meanwhile."""
    try:
        os.rename(new, target)
    except OSError:
        if not os.path.isdir(target):
            raise


def _wheels(app: Mapping[str, Any], found: Mapping[str, bytes], key: str, given: Mapping[str, str]) -> str:
    """The directory of the wheels, which is made where there is none for these inputs."""
    bundles = os.path.join(os.path.dirname(cache()), "bundles")
    target = os.path.join(bundles, f"{app['name']}.{key[:32]}")
    if os.path.isdir(target):
        os.utime(target)
        return target
    os.makedirs(bundles, mode=0o700, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".new-", dir=bundles) as new:
        place, wheels = os.path.join(new, "source"), os.path.join(new, "wheels")
        os.mkdir(wheels)
        for name, content in found.items():
            os.makedirs(os.path.dirname(os.path.join(place, name)), exist_ok=True)
            with open(os.path.join(place, name), "wb") as stream:
                stream.write(content)
        _collect(app, place, wheels, given)
        _keep(wheels, target)
    forget(bundles, app["name"], target)
    return target


def _cannot(app: Mapping[str, Any], error: Exception) -> ArchiveError:
    return ArchiveError(
        f"app '{app['name']}': the wheels of its bundle cannot be collected; nothing was touched.\n{error}\n"
        f"Where it is set: 'bundle' and 'bundle_for' of the app, and {app['requirements']} in its source."
    )


def _run_with(given: Mapping[str, str]) -> Run:
    """Run a command as `_run` does, with more variables."""
    return lambda command, directory, more: _run(command, directory, {**given, **more}, NOT_BUILT)


def bundle(app: Mapping[str, Any], tree: Tree, build_environment: Mapping[str, str]) -> Tree:
    """What is deployed with the wheels that the servers need.

    :param app: an app as `normalise` returns it.
    :param tree: what is deployed without them.
    :raises ArchiveError: when they cannot be had.
    """
    if os.path.lexists(os.path.join(tree.directory, bundled.DIRECTORY)):
        raise ArchiveError(f"app '{app['name']}': its source has {bundled.DIRECTORY}, which is the name of the bundle; remove it.")
    given = settings(build_environment)
    found = inputs(tree, app["requirements"])
    key = _key(app, found, given)
    try:
        wheels = _wheels(app, found, key, given)
    except BundleError as error:
        raise _cannot(app, error) from None
    packed = io.BytesIO()
    digest = build(tree.directory, packed, tree.include, tree.git)
    target = os.path.join(cache(), f"{app['name']}.{hashlib.sha256(f'{digest} {key}'.encode()).hexdigest()[:32]}")
    if os.path.isdir(target):
        os.utime(target)
        return Tree(target, ["*"])
    os.makedirs(cache(), mode=0o700, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".new-", dir=cache()) as new:
        place = os.path.join(new, "tree")
        packed.seek(0)
        with tarfile.open(fileobj=packed) as tar:
            tar.extractall(place, filter="data")
        shutil.copytree(wheels, os.path.join(place, bundled.DIRECTORY), copy_function=os.link)
        try:
            add(_uv(), place, os.path.join(place, bundled.DIRECTORY), version(tree.directory, tree.git), _run_with(given))
        except (BundleError, ProjectError) as error:
            raise _cannot(app, error) from None
        _keep(place, target)
    forget(cache(), app["name"], target)
    return Tree(target, ["*"])
