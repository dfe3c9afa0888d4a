"""Why a build failed, and what to do about it: uv's words, and those of compilers and build backends, told apart. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass

Rule = tuple[str, str, str]
TRY = "and deploy again"
LOCK = "lock again (uv lock, or uv pip compile --generate-hashes)"
PACKAGES = "'apt-file search {0}' and packages.debian.org/file:{0} name the package"

# What is looked for in the output, the cause, and what to do; {0} is what the first group has found. The first that is found is the cause, so
# what is the consequence of something else comes after it.
RULES: tuple[Rule, ...] = (
    (
        r"Hash mismatch for `([^`]+)`",
        "what the index has of {0} is not what was locked",
        f"check that the index is the one that the lock was made with ('build_environment'); where the change is known and wanted, {LOCK} {TRY}.",
    ),
    (
        r"all requirements must have a hash, but none were provided for: (\S+)",
        "{0} has no hash in the requirements, while others have one",
        f"{LOCK} {TRY}.",
    ),
    (
        r"lockfile at `([^`]+)` needs to be updated",
        "{0} does not belong to the pyproject.toml beside it, which was changed after locking, or was locked with another index than 'build_environment' names",
        f"run 'uv lock' in the source, commit it {TRY}.",
    ),
    (
        r"(?:resolved to Python (\S+), which is incompatible with|[Cc]urrent Python version \((\S+)\) does not satisfy Python"
        r"|No interpreter found for Python (\S+)|Python version (\S+) (?:is incompatible|does not satisfy))",
        "it needs another Python than {0}, which the release is built with",
        f"set 'python' of the app to a version that it accepts, in quotes, such as python: \"3.13\", {TRY}; uv installs it.",
    ),
    (
        r"has no wheels? with a matching Python (?:version|ABI) tag",
        "a package has no wheel for the Python that the release is built with",
        f"set 'python' of the app to a version that the package supports, or lock a newer version of the package, {TRY}.",
    ),
    (
        r"(setuptools-scm|setuptools_scm|hatch-vcs|vcs_versioning|versioneer|poetry-dynamic-versioning|dunamai|versioningit)\b.*unable to detect|"
        r"Error getting the version from source `vcs`|(?:dunamai|versioningit)\S*Error",
        "a project takes its version from git, and there is no git history on the server",
        "set it in the inventory: build_environment: {SETUPTOOLS_SCM_PRETEND_VERSION: '1.0'} (poetry's plugin reads POETRY_DYNAMIC_VERSIONING_BYPASS), "
        f"or write the version into pyproject.toml, {TRY}.",
    ),
    (
        r"Git executable not found|No such file or directory: '?git\b",
        "a requirement comes from git, and the server has no git",
        f"install it on each app server ('sudo apt install git'), or lock a released version instead, {TRY}.",
    ),
    (
        r"[Pp]ython\.h: No such file",
        "a package is compiled, and the headers of Python are missing on the server",
        f"install them on each app server ('sudo apt install python3-dev build-essential'), or use a version of the package that has a wheel, {TRY}.",
    ),
    (
        r"pg_config(?: executable)? (?:is )?(?:not found|required)",
        "psycopg2 is compiled, and the headers of PostgreSQL are missing on the server",
        f"lock psycopg[binary] or psycopg2-binary, or install them on each app server ('sudo apt install build-essential python3-dev libpq-dev'), {TRY}.",
    ),
    (
        r"mysql_config|mariadb_config|Can not find valid pkg-config name",
        "mysqlclient is compiled, and the headers of MariaDB are missing on the server",
        f"install them on each app server ('sudo apt install build-essential pkg-config python3-dev libmariadb-dev'), or lock PyMySQL instead, {TRY}.",
    ),
    (
        r"fatal error: (\S+?\.h(?:pp)?): No such file",
        "a package is compiled, and the header {0} is missing on the server",
        f"install the library's -dev package on each app server ({PACKAGES}), or use a version of the package that has a wheel, {TRY}.",
    ),
    (
        r"(?:cannot find -l|library not found for -l)([\w.+-]+)",
        "a package is compiled, and the library {0} is missing on the server",
        f"install its -dev package on each app server ('apt search lib{{0}}-dev'), or use a version of the package that has a wheel, {TRY}.",
    ),
    (
        r"(?:No such file or directory: '|command ')?[\w./-]*?((?:gcc|g\+\+|c\+\+|clang|cc)(?:-\d+)?)'(?: failed: No such file| not found|\n|$)|"
        r"([\w-]*(?:gcc|g\+\+|c\+\+|clang))[':]* (?:command )?not found|Unknown compiler\(s\)|[Nn]o (?:C )?compiler found",
        "a package is compiled, and the server has no compiler",
        f"use a version of the package that has a wheel, or install one on each app server ('sudo apt install build-essential python3-dev'), {TRY}.",
    ),
    (
        r"(cargo|rustc)\b.*(?:not installed|not found|No such file)|[Cc]an't find Rust compiler|requires Rust",
        "a package is compiled with Rust, and the server has none",
        f"use a version of the package that has a wheel for this Python, or install it on each app server ('sudo apt install cargo'), {TRY}.",
    ),
    (
        r"No such file or directory: '?((?:cmake|ninja|make|pkg-config|swig|meson|nasm|node|npm|gfortran|autoconf))\b|"
        r"(cmake|ninja|make|pkg-config|swig|meson|nasm|node|npm|gfortran)[':]* (?:command |executable )?not found",
        "a package is compiled, and the program {0} is missing on the server",
        f"install it on each app server ('sudo apt install {{0}}'), or use a version of the package that has a wheel, {TRY}.",
    ),
    (
        r"[Bb]uilding from source is disabled|marked as `--no-build`|has no usable wheels|[Bb]uilding source distributions .*is disabled",
        "a package has no wheel for this server, and 'build: wheels' lets nothing be built",
        f"lock a version that has one, or set 'build: source' for the app, {TRY}.",
    ),
    (
        r"invalid peer certificate|certificate verify failed|UnknownIssuer|CertificateUnknown|certificate has expired",
        "the certificate of the package index is not trusted by the server",
        "put the index's CA into /usr/local/share/ca-certificates and run 'sudo update-ca-certificates' on each app server; 'timedatectl' shows the clock.",
    ),
    (
        r"dns error|failed to lookup address|Name or service not known|Temporary failure in name resolution",
        "the server cannot resolve the name of the package index",
        "'getent hosts' with that name must print an address on the server. A proxy or a mirror is set in 'build_environment' (HTTPS_PROXY, UV_DEFAULT_INDEX).",
    ),
    (
        r"\b(401|403|407)\b.*(?:Unauthorized|Forbidden|Proxy Authentication)|HTTP status client error \((401|403|407)",
        "the package index or the proxy refuses the server with {0}",
        "set the credentials in 'build_environment' (UV_INDEX_<NAME>_USERNAME and _PASSWORD, or in UV_DEFAULT_INDEX), encrypted with Ansible Vault.",
    ),
    (
        r"tcp connect error|operation timed out|error sending request|Connection refused|Network is unreachable|HTTP status server error|Failed to fetch",
        "the server cannot reach the package index, or it does not answer",
        "try 'curl -sSI' with that address on the server. A proxy or a mirror is set in 'build_environment' (HTTPS_PROXY, UV_DEFAULT_INDEX).",
    ),
    (
        r"[Bb]ecause (\S+) was not found in the package registry",
        "the package index has no package {0}",
        f"correct its name in the requirements, or name the index that has it ('build_environment': UV_DEFAULT_INDEX, UV_INDEX), {LOCK} {TRY}.",
    ),
    (
        r"there is no version of (\S+)",
        "the package index has no {0}",
        f"correct the version in the requirements; {LOCK} {TRY}.",
    ),
    (
        r"we can conclude that your (?:project's )?requirements are unsatisfiable",
        "the requirements contradict each other",
        f"loosen one of those that uv names; {LOCK} {TRY}.",
    ),
    (
        r"failed to read from file `([^`]+)`|(?:File|Requirements file) not found:? [`']([^`']+)",
        "{0}, which the requirements include, is not in the archive",
        f"check its name, and that git does not ignore it, {TRY}.",
    ),
    (
        r"Couldn't parse requirement in `([^`]+)`|Not a valid `pylock.toml` file: (\S+)|Failed to parse(?: lockfile)?:? `?([^`\n]+)`?",
        "{0} is not a valid requirements file",
        f"correct the line that uv names {TRY}.",
    ),
    (
        r"Permission denied",
        "the build may not read or write a file",
        "it runs as plainstack-build, which writes its release and its cache only; a file that 'build_environment' names must be readable for all.",
    ),
)


@dataclass(frozen=True)
class Cause:
    """What went wrong, in half a sentence, and what the operator does next."""

    what: str
    then: str


def of(result: str, output: str, seconds: int) -> Cause | None:
    """The cause of a failed build; None where nothing is known, and uv's words must do.

    :param result: systemd's word for how the unit ended.
    :param output: the end of what was printed.
    :param seconds: how long a build may take.
    """
    if result == "oom-kill":
        return Cause(
            "the build was killed because the server has no memory left",
            f"give the server more memory or swap, or use versions of the packages that have wheels, which need not be compiled, {TRY}.",
        )
    if result == "timeout":
        return Cause(
            f"the build was killed after {seconds // 60} minutes",
            f"uv's last words say what it was doing; use versions of the packages that have wheels, which need not be compiled, {TRY}.",
        )
    for pattern, what, then in RULES:
        if found := re.search(pattern, output, re.MULTILINE):
            word = next((group for group in found.groups() if group), "")
            return Cause(what.replace("{0}", word), then.replace("{0}", word))
    return None


def full(output: str) -> str:
    """The line that says that a disk is full; empty where none does."""
    return next((line.strip() for line in output.splitlines() if "No space left on device" in line or "Disk quota exceeded" in line), "")
