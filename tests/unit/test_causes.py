"""What an operator reads when a build fails. The outputs are those of uv 0.13, of compilers and of build backends, shortened."""

import pytest
from ansible_collections.plainstack.web.plugins.module_utils.host import causes

CASES = {
    "hash": (
        "error: Failed to download `flask==3.0.0`\n  cause: Hash mismatch for `flask==3.0.0`\n\n         Expected:\n           sha256:00",
        "what the index has of flask==3.0.0 is not what was locked",
        "check that the index is the one",
    ),
    "hash of one missing": (
        "error: In `--require-hashes` mode, all requirements must have a hash, but none were provided for: flask==3.0.0",
        "flask==3.0.0 has no hash",
        "lock again",
    ),
    "outdated uv.lock": (
        "error: The lockfile at `uv.lock` needs to be updated, but `--locked` was provided.\n\nhint: To update the lockfile, run `uv lock`.",
        "uv.lock does not belong to the pyproject.toml",
        "run 'uv lock'",
    ),
    "python of a project": (
        "error: The requested interpreter resolved to Python 3.11.2, which is incompatible with the project's Python requirement: `>=3.14` (from "
        "`project.requires-python`)",
        "needs another Python than 3.11.2",
        "set 'python' of the app",
    ),
    "python of a package": (
        "error: No solution found when resolving dependencies\n"
        "  cause: Because the current Python version (3.13) does not satisfy Python>=3.14 and demo==1 depends on "
        "Python>=3.14, we can conclude that demo==1 cannot be used.\n"
        "         And because only demo==1 is available and you require demo, we can conclude that your requirements "
        "are unsatisfiable.",
        "needs another Python than 3.13",
        "set 'python' of the app",
    ),
    "wheel for another python": (
        "error: No solution found when resolving dependencies\n"
        "  cause: Because numpy==1.24.0 has no wheels with a matching Python ABI tag (e.g., `cp313`) and you require numpy==1.24.0, we can conclude "
        "that your requirements are unsatisfiable.",
        "has no wheel for the Python that the release is built with",
        "set 'python' of the app to a version that the package supports",
    ),
    "setuptools-scm": (
        "         LookupError: setuptools-scm was unable to detect version for /srv/shop/releases/x.\n\n"
        "         Make sure you're either building from a fully intact git",
        "takes its version from git",
        "SETUPTOOLS_SCM_PRETEND_VERSION",
    ),
    "hatch-vcs": (
        "         LookupError: Error getting the version from source `vcs`: setuptools-scm was unable to detect version for /srv/shop",
        "takes its version from git",
        "build_environment",
    ),
    "no git": (
        "error: Git operation failed\n  cause: Git executable not found. Ensure that Git is installed and available.",
        "the server has no git",
        "apt install git",
    ),
    "psycopg2": (
        "         Error: pg_config executable not found.\n\n         pg_config is required to build psycopg2 from source.",
        "the headers of PostgreSQL",
        "psycopg[binary]",
    ),
    "mysqlclient": (
        "         /bin/sh: 1: pkg-config: not found\n         Exception: Can not find valid pkg-config name.\n         Specify MYSQLCLIENT_CFLAGS",
        "the headers of MariaDB",
        "libmariadb-dev",
    ),
    "python.h": (
        "         x86_64-linux-gnu-gcc -c c.c\n         c.c:1:10: fatal error: Python.h: No such file or directory\n"
        "         error: command '/usr/bin/x86_64-linux-gnu-gcc' failed with exit code 1",
        "the headers of Python are missing",
        "python3-dev",
    ),
    "header": (
        "         c.c:1:10: fatal error: libxml/xpath.h: No such file or directory\n         compilation terminated.\n"
        "         error: command 'gcc' failed: exit status 1",
        "the header libxml/xpath.h is missing",
        "apt-file search libxml/xpath.h",
    ),
    "library": ("         /usr/bin/ld: cannot find -lffi: No such file or directory", "the library ffi is missing", "apt search libffi-dev"),
    "compiler of setuptools": (
        "         building 'cext' extension\n         x86_64-linux-gnu-gcc -c c.c\n\n         [stderr]\n"
        "         error: [Errno 2] No such file or directory: 'x86_64-linux-gnu-gcc'\n",
        "the server has no compiler",
        "build-essential",
    ),
    "compiler of distutils": ("error: command 'x86_64-linux-gnu-gcc' failed: No such file or directory", "the server has no compiler", "build-essential"),
    "compiler of meson": ("../meson.build:1:0: ERROR: Unknown compiler(s): [['cc'], ['gcc'], ['clang']]", "the server has no compiler", "build-essential"),
    "rust": ("         error: can't find Rust compiler", "the server has none", "apt install cargo"),
    "cmake": ("FileNotFoundError: [Errno 2] No such file or directory: 'cmake'", "the program cmake is missing", "apt install cmake"),
    "wheels only": (
        "error: No solution found when resolving dependencies\n"
        "  cause: Because psycopg2==2.9.10 has no usable wheels and you require psycopg2==2.9.10, we can conclude that your "
        "requirements are unsatisfiable.\n\n"
        "hint: Wheels are required for `psycopg2` because building from source is disabled for all packages (i.e., with `--no-build`)",
        "'build: wheels' lets nothing be built",
        "build: source",
    ),
    "tls": (
        "error: Request failed\n  cause: client error (Connect)\n  cause: invalid peer certificate: UnknownIssuer",
        "is not trusted by the server",
        "update-ca-certificates",
    ),
    "dns": (
        "error: Request failed after 3 retries in 8.2s\n  cause: Failed to fetch: http://nosuch.invalid/simple/flask/\n"
        "  cause: client error (Connect)\n  cause: dns error\n"
        "  cause: failed to lookup address information: Name or service not known",
        "cannot resolve the name of the package index",
        "getent hosts",
    ),
    "refused": (
        "error: Request failed after 3 retries in 7.1s\n  cause: Failed to fetch: http://127.0.0.1:9/simple/flask/\n  cause: tcp connect error\n"
        "  cause: Connection refused (os error 111)",
        "cannot reach the package index",
        "HTTPS_PROXY",
    ),
    "credentials": (
        "error: Failed to fetch: https://index.example.com/simple/x/\n"
        "  cause: HTTP status client error (401 Unauthorized) for url (https://index.example.com/simple/x/)",
        "refuses the server with 401",
        "Ansible Vault",
    ),
    "no package": (
        "  cause: Because nosuch was not found in the package registry and you require nosuch==1.0, we can conclude that your requirements are unsatisfiable.",
        "has no package nosuch",
        "UV_INDEX",
    ),
    "no version": (
        "  cause: Because there is no version of flask==99.0 and you require flask==99.0, we can conclude that your requirements are unsatisfiable.",
        "has no flask==99.0",
        "correct the version",
    ),
    "conflict": (
        "  cause: Because flask==3.0.0 depends on werkzeug>=3.0.0 and you require flask==3.0.0, we can conclude that you require werkzeug>=3.0.0.\n"
        "         And because you require werkzeug<2, we can conclude that your requirements are unsatisfiable.",
        "contradict each other",
        "loosen",
    ),
    "include": (
        "error: Error parsing included file in `requirements.txt` at position 0\n"
        "  cause: failed to read from file `/srv/x/base.txt`: No such file or directory (os error 2)",
        "/srv/x/base.txt, which the requirements include, is not in the archive",
        "git does not ignore it",
    ),
    "syntax": (
        "error: Couldn't parse requirement in `requirements.txt` at position 0\n  cause: Unexpected end",
        "requirements.txt is not a valid",
        "correct the line",
    ),
    "permission": ("error: failed to open file `/etc/ssl/private/ca.pem`: Permission denied (os error 13)", "may not read or write", "plainstack-build"),
}


@pytest.mark.parametrize(("output", "what", "then"), CASES.values(), ids=CASES)
def test_a_cause_has_its_remedy(output: str, what: str, then: str) -> None:
    cause = causes.of("exit-code", output, 60)
    assert cause
    assert what in cause.what
    assert then in cause.then
    assert "{" not in cause.what
    assert "{0}" not in cause.then


@pytest.mark.parametrize(
    "output", ["", "error: something new\nhint: Build failures usually indicate a problem", "AttributeError: module 'gcc_tools' has no attribute 'git'"]
)
def test_an_unknown_cause_gets_no_advice(output: str) -> None:
    assert causes.of("exit-code", output, 60) is None


@pytest.mark.parametrize(("result", "what"), [("oom-kill", "no memory left"), ("timeout", "killed after 60 minutes")])
def test_how_the_unit_ended_comes_first(result: str, what: str) -> None:
    cause = causes.of(result, "error: Git executable not found", 3600)
    assert cause
    assert what in cause.what


def test_a_full_disk_is_told_by_its_line() -> None:
    assert causes.full("a\n  cause: No space left on device (os error 28)\nb") == "cause: No space left on device (os error 28)"
    assert causes.full("all is well") == ""
