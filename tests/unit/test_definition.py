"""The `apps` definition: what is refused, in which words, and what is filled in."""

import datetime
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.plainstack.web.plugins.module_utils.controller.definition import DefinitionError, Unresolved, normalise, select
from ansible_collections.plainstack.web.plugins.module_utils.controller.spec import SPEC
from jsonschema import Draft202012Validator

import schema

SECRET = "hunter2-must-not-be-seen"


@pytest.fixture(autouse=True)
def source(tmp_path: Path) -> Path:
    """An inventory directory with the source of an app in it."""
    for name in ("hello/requirements.txt", "hello/static/site.css", "hello/sub/uv.lock", "hello/sub/pyproject.toml", "unlocked/wsgi.py", "own.pem"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    (tmp_path / "empty").mkdir()
    return tmp_path


def app(**changes: Any) -> dict[str, Any]:
    """An app that holds, with changes; a change to `...` leaves the key out."""
    whole = {"name": "hello", "source": "hello", "module": "wsgi:app", "domains": ["hello.example.com"], **changes}
    return {key: value for key, value in whole.items() if value is not ...}


def problems(apps: Any, directory: Path) -> list[str]:
    """What is wrong with the apps; empty when nothing is."""
    try:
        normalise(apps, str(directory))
    except DefinitionError as error:
        return error.problems
    return []


@pytest.mark.parametrize("apps", [None, [], {}, "hello", {"name": "hello"}])
def test_no_app(apps: Any, tmp_path: Path) -> None:
    assert problems(apps, tmp_path) == ["no app is defined: 'apps' must be a list with at least one app."]


WRONG: list[tuple[dict[str, Any], str]] = [
    # Keys
    ({"domain": ["a.example.com"]}, "app 'hello': unknown key 'domain'; did you mean 'domains'?"),
    ({"Workers": 3}, "unknown key 'Workers'; did you mean 'workers'?"),
    ({"zzz": 1}, "unknown key 'zzz'; there are name, source, ref"),
    ({"name": ...}, "apps[1]: 'name' is missing."),
    ({"name": None}, "apps[1]: 'name' is missing."),
    ({"source": ...}, "app 'hello': 'source' is missing."),
    ({"module": ""}, "'module' is missing."),
    ({"domains": []}, "'domains' is missing."),
    # Names and headers
    ({"aliases": ["*.example.com"]}, "'*.example.com' in 'aliases' is not a full, lower-case host name"),
    ({"aliases": ["hello.example.com"]}, "the domain 'hello.example.com' is claimed twice: by 'hello' and by 'hello'."),
    ({"headers": {"X Frame": "1"}}, "'X Frame' in 'headers' is no header that can be set here."),
    ({"headers": {"Set-Cookie": "a=1"}}, "'Set-Cookie' in 'headers' is no header that can be set here."),
    ({"headers": {"X-A": "$host"}}, "the value of 'X-A' in 'headers' must be printable ASCII without a dollar sign."),
    ({"headers": {"X-A": 1}}, "'X-A' in 'headers' must be text, or null to take the header away."),
    ({"headers": {"X-A": "1", "x-a": "2"}}, "a name is twice in 'headers'"),
    # How it is served
    ({"server": "asgy"}, "'server' is 'asgy'; it must be wsgi, gevent, asgi or command."),
    ({"server": "command", "module": ...}, "'command' is missing, which 'server: command' runs."),
    ({"command": "hypercorn wsgi:app"}, "'command' needs 'server: command'."),
    ({"server": "command", "command": "x"}, "'module' is for Gunicorn; with 'server: command' remove it."),
    ({"server": "command", "command": "x", "module": ..., "workers": 3}, "'workers' is for Gunicorn, and 'command' starts another server"),
    ({"server": "gevent", "threads": 8}, "'threads' are not gevent's; set 'gunicorn: {worker_connections: ...}'"),
    ({"hosts": "web servers"}, "'hosts' is 'web servers', which is no name of a group."),
    ({"strip_path": True}, "'strip_path' needs a 'path'; remove it."),
    ({"gunicorn_config": "../gunicorn.conf.py"}, "'../gunicorn.conf.py' in 'gunicorn_config' must be a file in the source."),
    ({"gunicorn_config": "gunicorn.conf.py"}, "'gunicorn.conf.py' in 'gunicorn_config' is not a file in"),
    ({"build_packages": ["gcc; id"]}, "'gcc; id' in 'build_packages' is no name of a Debian package"),
    ({"extras": ["--all"], "requirements": "sub/uv.lock"}, "'--all' in 'extras' is no name, such as production."),
    ({"extras": ["production"]}, "'extras' says nothing about requirements.txt; remove it"),
    ({"member": "shop", "requirements": "sub/pyproject.toml"}, "'member' says nothing about sub/pyproject.toml; remove it"),
    ({"basic_auth": "passwords"}, "passwords' in 'basic_auth' is not a file on this machine."),
    ({"error_pages": {"418": "own.pem"}}, "'418' in 'error_pages' must be 403, 404, 413, 429, 500, 502, 503 or 504."),
    ({"error_pages": {502: "down.html"}}, "down.html' in 'error_pages' is not a file on this machine."),
    ({"module": "shop:create_app(name)"}, "the arguments of a factory must be plain values"),
    ({"module": "shop:create_app(**{})"}, "the arguments of a factory must be plain values"),
    ({"module": "shop:create_app('a'"}, "it must be 'package.module:object' or the call of a factory"),
    ({"module": "shop:create_app())"}, "the arguments of a factory must be plain values"),
    ({"module": "shop:app or other"}, "it must be 'package.module:object' or the call of a factory"),
    ({"gunicorn": {"bind": "0.0.0.0:80"}}, "'bind' in 'gunicorn' cannot be set; releases and the switch between them depend on it."),
    ({"gunicorn": {"threads": 8}}, "'threads' in 'gunicorn' cannot be set; use 'threads' of the app instead."),
    ({"gunicorn": {"worker-connections": 8}}, "'worker-connections' in 'gunicorn' is no setting of Gunicorn's"),
    ({"gunicorn": {"a = 1; b": 8}}, "'a = 1; b' in 'gunicorn' is no setting of Gunicorn's"),
    ({"gunicorn": {"post_fork": ["os"]}}, "'post_fork' in 'gunicorn' must be text, a number, true or false."),
    ({"packages": ["libpq5=1.0"]}, "'libpq5=1.0' in 'packages' is no name of a Debian package"),
    ({"packages": ["-y"]}, "'-y' in 'packages' is no name of a Debian package"),
    ({"packages": "libpq5"}, "'packages' must be a list, not 'libpq5'; write [libpq5]."),
    ({"websocket_timeout": 0}, "'websocket_timeout' is 0; it must be 1 to 86400."),
    # Types
    ({"python": 3.13}, "'python' must be text, not 3.13; put it in quotes."),
    ({"name": 42}, "'name' must be text, not 42; put it in quotes."),
    ({"module": True}, "'module' must be text, not True; put it in quotes."),
    ({"domains": "hello.example.com"}, "'domains' must be a list, not 'hello.example.com'; write [hello.example.com]."),
    ({"domains": [42]}, "every item of 'domains' must be text, not 42."),
    ({"env": ["A=1"]}, "'env' must be a mapping."),
    ({"workers": "3"}, "'workers' must be a whole number, not '3'."),
    ({"workers": True}, "'workers' must be a whole number, not True."),
    ({"timeout": 1.5}, "'timeout' must be a whole number, not 1.5."),
    ({"secrets": "A=1"}, "'secrets' must be a mapping."),
    ({"migrate": ["flask", "db"]}, "'migrate' must be text, not ['flask', 'db']."),
    ({"after_live": True}, "'after_live' must be text, not True; put it in quotes."),
    # Ranges
    ({"workers": 0}, "'workers' is 0; it must be 1 to 512."),
    ({"threads": 257}, "'threads' is 257; it must be 1 to 256."),
    ({"start_timeout": 901}, "'start_timeout' is 901; it must be 1 to 900."),
    ({"timeout": -1}, "'timeout' is -1; it must be 1 to 3600."),
    ({"hook_timeout": 0}, "'hook_timeout' is 0; it must be 1 to 86400."),
    ({"confirm_seconds": -1}, "'confirm_seconds' is -1; it must be 0 to 600."),
    ({"keep_releases": 1}, "'keep_releases' is 1; it must be 2 to 50."),
    ({"balance": "sticky"}, "'balance' is 'sticky'; it must be least_conn, hash or cookie."),
    # Values
    ({"name": "Hello"}, "'name' is 'Hello'; it must be 2 to 31 lower-case letters"),
    ({"name": "h"}, "'name' is 'h'"),
    ({"name": "hello-"}, "'name' is 'hello-'"),
    ({"name": "a" * 32}, "it must be 2 to 31"),
    ({"name": "../etc"}, "'name' is '../etc'"),
    ({"module": "wsgi"}, "'module' is 'wsgi'; it must be 'package.module:object'"),
    ({"module": "wsgi.py app"}, "'module' is 'wsgi.py app'"),
    ({"module": "wsgi:app\n"}, "'module' has the character U+000A, which is not printable; remove it."),
    ({"body_size": "10 MB"}, "'body_size' is '10 MB'"),
    ({"body_size": "0"}, "'body_size' is '0'"),
    ({"health_path": "healthz"}, "'health_path' is 'healthz'"),
    ({"health_path": "/; return 200"}, "'health_path' is"),
    ({"domains": ["hello"]}, "'hello' in 'domains' is not a full, lower-case host name"),
    ({"domains": ["Hello.example.com"]}, "'Hello.example.com' in 'domains' is not a full, lower-case"),
    ({"domains": ["192.0.2.10"]}, "'192.0.2.10' in 'domains' is not a full, lower-case host name"),
    ({"domains": ["*.example.com"]}, "wildcards need DNS-01"),
    ({"domains": ["hello.example.com; "]}, "in 'domains' is not"),
    ({"domains": [f"{'a' * 64}.example.com"]}, "in 'domains' is not"),
    ({"domains": [".".join(["a" * 60] * 5)]}, "in 'domains' is not"),
    ({"python": "2.7"}, "'python' is '2.7'; it must be 'system' or a version"),
    ({"python": "3.9"}, "'3.9', which is too old: the oldest that works is 3.10."),
    ({"python": "3.1"}, "'3.1', which is too old"),
    ({"python": "pypy3"}, "'python' is 'pypy3'"),
    # Environment
    ({"env": {"A-B": 1}}, "'A-B' in 'env' is not a name for an environment variable."),
    ({"env": {1: "a"}}, "'1' in 'env' is not a name"),
    ({"secrets": {"A B": "x"}}, "'A B' in 'secrets' is not a name"),
    ({"env": {"PLAINSTACK_APP": "x"}}, "'PLAINSTACK_APP' in 'env' has a name that Plainstack sets, as all that begin with PLAINSTACK_."),
    ({"env": {"A": "1"}, "secrets": {"A": "2"}}, "'A' is in both 'env' and 'secrets'."),
    ({"env": {"DEBUG": True}}, "'DEBUG' in 'env' must be text or a number; quote true, false, null and dates."),
    ({"env": {"DEBUG": None}}, "'DEBUG' in 'env' must be text or a number"),
    ({"env": {"LIST": ["a"]}}, "'LIST' in 'env' must be text or a number"),
    ({"env": {"A": "a\0b"}}, "'A' in 'env' has a NUL byte"),
    ({"env": {"DAY": datetime.date(2026, 1, 1)}}, "'DAY' in 'env' must be text or a number; quote true, false, null and dates."),
    ({"env": {"LISTEN_FDS": 1}}, "'LISTEN_FDS' in 'env' has a name that systemd sets"),
    ({"secrets": {"NOTIFY_SOCKET": ""}}, "'NOTIFY_SOCKET' in 'secrets' has a name that systemd sets"),
    ({"env": {"Ä": 1}}, "'Ä' in 'env' is not a name"),
    ({"env": {"A": "x" * 131070}}, "'A' in 'env' has 131072 bytes with its name; Linux takes at most 131071."),
    ({"env": {"A": "é" * 65535}}, "'A' in 'env' has 131072 bytes with its name"),
    ({"env": {f"A{number}": "x" * 100_000 for number in range(11)}}, "'env' and 'secrets' have 1100034 bytes together; they must have at most 1048576."),
    ({"env": {f"A{number}": "" for number in range(501)}, "secrets": {f"B{number}": "" for number in range(500)}}, "have 1001 variables together"),
    # Characters and lengths
    ({"source": "he\0llo"}, "'source' has the character U+0000, which is not printable; remove it."),
    ({"certificate": "\x1b[2J.pem"}, "'certificate' has the character U+001B"),
    ({"shared": ["da\nta"]}, "'shared' has the character U+000A"),
    ({"shared": ["\ud800"]}, "'shared' has the character U+D800"),
    ({"static": {"/static": "sta\ttic"}}, "'static' has the character U+0009"),
    ({"static": {"/static": ["static"]}}, "the directory of '/static' in 'static' must be text, not ['static']."),
    ({"migrate": "echo a\rb"}, "'migrate' has the character U+000D"),
    ({"migrate": "echo \ufffe"}, "'migrate' has the character U+FFFE"),
    ({"after_live": "x" * 65537}, "'after_live' has 65537 bytes; it must have at most 65536."),
    ({"shared": ["x" * 256]}, "in 'shared' is too long"),
    ({"shared": ["/".join(["x" * 250] * 5)]}, "in 'shared' is too long"),
    ({"module": "modül:app"}, "'module' is 'modül:app'"),
    ({"memory_max": "99999999999999999999T"}, "'memory_max' is '99999999999999999999T'"),
    ({"body_size": "9999999999999m"}, "'body_size' is '9999999999999m'"),
    ({"health_path": "/a%zz"}, "'health_path' is '/a%zz'"),
    ({"health_path": "/a%00"}, "'health_path' is '/a%00'"),
    ({"health_path": "/../up"}, "'health_path' is '/../up'"),
    ({"health_path": "/up/.."}, "'health_path' is '/up/..'"),
    ({"health_path": "/" + "x" * 1024}, "it must be a path of the app"),
    ({"static": {"/a/../b": "static"}}, "'/a/../b' in 'static' must be a URL prefix"),
    ({"static": {"/.": "static"}}, "'/.' in 'static' must be a URL prefix"),
    ({"static": {"/.plainstack": "static"}}, "/.plainstack is the site's own; take another prefix."),
    ({"requirements": "-r/etc/passwd"}, "the requirements '-r/etc/passwd' are not a file in"),
    # What was meant
    ({"domains": ["bücher.example"]}, "did you mean 'xn--bcher-kva.example'?"),
    ({"domains": ["straße.example"]}, "'straße.example' in 'domains' is not a full, lower-case host name such as www.example.com."),
    ({"domains": ["https://Hello.example.com/"]}, "did you mean 'hello.example.com'?"),
    ({"domains": ["hello.example.com:443"]}, "did you mean 'hello.example.com'?"),
    ({"domains": ["hello.example.com."]}, "did you mean 'hello.example.com'?"),
    ({"domains": [f"{'ü' * 70}.example"]}, "in Punycode, xn--"),
    ({"shared": "data"}, "'shared' must be a list, not 'data'; write [data]."),
    ({"preload": "no"}, "'preload' must be true or false, not 'no'."),
    ({"name": False}, "'name' must be text, not False; put it in quotes."),
    ({"domains": [False]}, "every item of 'domains' must be text, not False."),
    # Files
    ({"source": "nowhere"}, "is not a directory on this machine."),
    ({"package": "isso==0.13.0"}, "'source' and 'package' exclude each other; remove one."),
    ({"source": ..., "package": "isso; rm"}, "'package' is 'isso; rm'; it must be a package of PyPI with its version"),
    ({"source": ..., "package": "-r x"}, "'package' is '-r x'; it must be a package of PyPI with its version"),
    ({"ref": "main"}, "'ref' is for a 'source' that is a git URL; remove it."),
    ({"source": "a.zip", "ref": "main"}, "'ref' is for a 'source' that is a git URL; remove it."),
    ({"source": "https://example.com/a.git", "ref": "--upload-pack=x"}, "'ref' is '--upload-pack=x'; it must be the name of a branch, a tag or a commit."),
    ({"bundle": "yes"}, "'bundle' must be true or false, not 'yes'."),
    ({"bundle": True, "bundle_for": ["debian12"]}, "'debian12' in 'bundle_for' is no system with wheels; did you mean 'debian-12'?"),
    ({"bundle": True, "bundle_for": ["debian-12-arm64"]}, "'debian-12-arm64' in 'bundle_for' is no system with wheels; did you mean"),
    ({"bundle": True, "source": "https://example.com/a.git"}, "with 'bundle', 'source' must be a directory or a wheel, or there be a 'package': uv and pip"),
    ({"bundle": True, "source": "own.tar.gz"}, "with 'bundle', 'source' must be a directory or a wheel"),
    ({"bundle": True, "bundle_for": []}, "'bundle_for' is empty; name the systems of the servers, such as [debian-13]."),
    ({"bundle_for": ["debian-13"]}, "'bundle_for' needs 'bundle: true'."),
    ({"subdirectory": "web"}, "'subdirectory' is for a 'source' that is a git URL or an archive; remove it."),
    ({"source": "git@example.com:a", "subdirectory": "../web"}, "'../web' in 'subdirectory' must be a directory inside the source."),
    ({"source": "git@example.com:a", "checksum": f"sha256:{'0' * 64}"}, "'checksum' is for a 'source' that is an archive; remove it."),
    ({"source": "a.zip", "checksum": "md5:0"}, "'checksum' is 'md5:0'; it must be sha256: and 64 hexadecimal digits."),
    ({"source": "https://example.com/a.tar.gz"}, "an archive that is downloaded needs its 'checksum'"),
    ({"redirects": {"old": "/new"}}, "'old: /new' in 'redirects' must be a path such as /old, and a path or a URL that it leads to."),
    ({"redirects": {"/old": "new"}}, "'/old: new' in 'redirects' must be a path"),
    ({"redirects": {"/old": "/new; return 200"}}, "'/old: /new; return 200' in 'redirects' must be a path"),
    ({"redirects": {"/old": "/$host"}}, "'/old: /$host' in 'redirects' must be a path"),
    ({"redirects": {"/old": "/{x}"}}, "'/old: /{x}' in 'redirects' must be a path"),
    ({"allow": ["192.0.2.1/24"]}, "'192.0.2.1/24' in 'allow' is no network such as 192.0.2.0/24: 192.0.2.1/24 has host bits set."),
    ({"allow": ["fe80::%1; allow all"]}, "'fe80::%1; allow all' in 'allow' is no network such as 192.0.2.0/24"),
    ({"allow": ["all"]}, "'all' in 'allow' is no network such as 192.0.2.0/24"),
    ({"rate_limit": 0}, "'rate_limit' is 0; it must be 1 to 100000."),
    ({"cpu_max": "2"}, "'cpu_max' is '2'; it must be a share of a core, such as 150%, or infinity."),
    ({"tmp_max": "infinity"}, "'tmp_max' is 'infinity'; it must be a size, such as 500M, or a share of the memory, such as 20%."),
    ({"source": "own.pem"}, "is not a directory on this machine."),
    ({"source": "empty"}, "empty' is empty."),
    ({"source": "unlocked"}, "has no uv.lock, pylock.toml, poetry.lock, Pipfile.lock, requirements.txt or pyproject.toml; add one"),
    ({"requirements": "other.txt"}, "the requirements 'other.txt' are not a file in"),
    ({"requirements": "../own.pem"}, "the requirements '../own.pem' are not a file in"),
    ({"static": {"/static": "nowhere"}}, "'nowhere' in 'static' is not a directory in"),
    ({"static": {"static": "static"}}, "'static' in 'static' must be a URL prefix such as /static."),
    ({"static": {"/": "static"}}, "must be a URL prefix"),
    ({"static": {"/.git": "static"}}, "'/.git' in 'static': nginx serves nothing below a name that begins with a dot, but for /.well-known."),
    ({"static": {"/.well-knowns": "static"}}, "nothing below a name that begins with a dot"),
    ({"static": {"/static/.x": "static"}}, "nothing below a name that begins with a dot"),
    ({"static": {"/static": "../hello/static"}}, "'../hello/static' in 'static' must be a directory inside the source."),
    ({"static": {"/static": "/etc"}}, "'/etc' in 'static' must be a directory inside the source."),
    ({"static": {"/static": "static"}, "shared": ["static"]}, "'static' and what is 'shared' lie in each other"),
    ({"static": {"/static": "static"}, "shared": ["static/uploads"]}, "'static' and what is 'shared' lie in each other"),
    ({"static": {"/static": "static"}, "shared": ["statics"], "module": "x"}, "'module' is 'x'"),
    ({"static": {"/static": "."}}, "'.' in 'static' must be a directory inside the source."),
    ({"name": "plainstack-certificates"}, "'name' must not begin with 'plainstack'"),
    ({"include": ["../up"]}, "'../up' in 'include' must be a path inside the source."),
    ({"shared": ["../up"]}, "'../up' in 'shared' must be a path inside the source."),
    ({"shared": ["a/../../up"]}, "'../up' in 'shared' must be"),
    ({"shared": ["/srv"]}, "'/srv' in 'shared' must be"),
    ({"shared": ["."]}, "'.' in 'shared' must be"),
    ({"shared": [".venv/lib"]}, "'.venv/lib' in 'shared' must be"),
    ({"shared": ["data", "data/uploads"]}, "'data/uploads' in 'shared' lies in 'data', which is shared as a whole"),
    ({"certificate": "own.pem"}, "'certificate' and 'certificate_key' go together."),
    ({"certificate_key": "own.pem"}, "'certificate' and 'certificate_key' go together."),
    ({"certificate": "own.pem", "certificate_key": "own.key"}, "own.key' in 'certificate_key' is not a file on this machine."),
]


@pytest.mark.parametrize(("changes", "message"), WRONG, ids=[message[:60] for _, message in WRONG])
def test_problem(changes: dict[str, Any], message: str, tmp_path: Path) -> None:
    found = problems([app(**changes)], tmp_path)
    assert len(found) == 1, found
    assert message in found[0]


def test_all_problems_at_once(tmp_path: Path) -> None:
    found = problems(
        [
            "hello",
            app(domian=[], threads=0, env={"A-B": 1}),
            app(name="other", module="x", domains=["A.example.com"], env={"PLAINSTACK_": 1}),
            app(name="third", domains=["third.example.com"], source="nowhere"),
        ],
        tmp_path,
    )
    assert [line.split(":")[0] for line in found] == ["apps[1]", *["app 'hello'"] * 3, *["app 'other'"] * 3, "app 'third'"]


@pytest.mark.parametrize(
    ("second", "message"),
    [
        ({"domains": ["other.example.com"]}, "two apps have the name 'hello'; every app needs its own."),
        ({"name": "other"}, "the domain 'hello.example.com' is claimed twice: by 'hello' and by 'other'."),
    ],
)
def test_two_apps_of_one_name_or_domain(second: dict[str, Any], message: str, tmp_path: Path) -> None:
    assert problems([app(), app(**second)], tmp_path) == [message]


API = {"name": "api", "path": "/api", "health_path": "/api/healthz"}


def test_an_app_on_a_path_of_another(tmp_path: Path) -> None:
    assert problems([app(), app(**API), app(name="docs", path="/docs", health_path="/docs")], tmp_path) == []


@pytest.mark.parametrize(
    ("apps", "message"),
    [
        ([API], "app 'api': with 'path' /api, its 'domains' must be just those of an app without a 'path'."),
        ([{}, {**API, "domains": ["other.example.com"]}], "app 'api': with 'path' /api, its 'domains' must be just those of an app without a 'path'."),
        ([{}, {**API, "path": "api", "health_path": "/"}], "app 'api': 'path' is 'api'; it must be / or a path below which the app answers, such as /api."),
        ([{}, {**API, "static": {"/static": "static"}}], "app 'api': '/static' in 'static' is not below the app's 'path', /api."),
        ([{}, {**API, "health_path": "/apis"}], "app 'api': 'health_path' is '/apis', which is not below the app's 'path', /api."),
        ([{"static": {"/api/docs": "static"}}, API], "app 'hello': the prefix /api/docs of 'static' lies in the 'path' of 'api'."),
        (
            [{}, {**API, "aliases": ["www.example.com"]}],
            "app 'api': an app with a 'path' has 'aliases' of the app that has the rest of its domains; remove it.",
        ),
        ([{}, API, {**API, "name": "second"}], "the path 'hello.example.com/api' is claimed twice: by 'api' and by 'second'."),
    ],
)
def test_a_path_belongs_to_one_app_of_a_site(apps: list[dict[str, Any]], message: str, tmp_path: Path) -> None:
    assert problems([app(**one) for one in apps], tmp_path) == [message]


def test_defaults_are_filled_in(tmp_path: Path) -> None:
    [whole] = normalise([app()], str(tmp_path))
    assert whole == {
        "name": "hello",
        "source": f"{tmp_path}/hello",
        "ref": None,
        "subdirectory": None,
        "checksum": None,
        "package": None,
        "local_build": "",
        "server_build": "",
        "module": "wsgi:app",
        "server": "wsgi",
        "command": "",
        "gunicorn": {},
        "gunicorn_config": None,
        "packages": [],
        "build_packages": [],
        "extras": [],
        "groups": [],
        "member": "",
        "bundle": False,
        "bundle_for": ["debian-12", "debian-13"],
        "strip_path": False,
        "basic_auth": None,
        "error_pages": {},
        "websocket_timeout": 3600,
        "aliases": [],
        "headers": {},
        "redirects": {},
        "allow": [],
        "rate_limit": None,
        "nginx": "",
        "hosts": "",
        "domains": ["hello.example.com"],
        "python": "system",
        "build": "source",
        "requirements": "requirements.txt",
        "env": {},
        "secrets": {},
        "static": {},
        "shared": [],
        "include": [],
        "health_path": "/",
        "start_timeout": 60,
        "workers": None,
        "threads": 4,
        "timeout": 30,
        "max_requests": 0,
        "memory_max": "80%",
        "cpu_max": "infinity",
        "tasks_max": 4096,
        "open_files": 16384,
        "tmp_max": "20%",
        "executable_memory": False,
        "preload": True,
        "processes": {},
        "timers": {},
        "body_size": "10m",
        "migrate": "",
        "hook_timeout": 600,
        "after_live": "",
        "confirm_seconds": 2,
        "keep_releases": 5,
        "balance": "least_conn",
        "path": "/",
        "certificate": None,
        "certificate_key": None,
    }


def test_error_pages_lie_beside_the_inventory(tmp_path: Path) -> None:
    [whole] = normalise([app(error_pages={502: "./own.pem"})], str(tmp_path))
    assert whole["error_pages"] == {"502": f"{tmp_path}/own.pem"}


def test_an_empty_key_is_its_default(tmp_path: Path) -> None:
    optional = {key: None for key, rule in SPEC.items() if not rule.get("required") and key not in ("source", "module")}
    assert normalise([app(**optional)], str(tmp_path)) == normalise([app()], str(tmp_path))


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"module": "shop.web:create_app()"}, {"module": "shop.web:create_app()"}),
        ({"module": 'shop:make("it\'s", [1, 2], debug=False)'}, {"module": 'shop:make("it\'s", [1, 2], debug=False)'}),
        ({"module": "shop:site.app"}, {"module": "shop:site.app"}),
        ({"gunicorn": {"loglevel": "debug", "limit_request_line": 8190, "proxy_protocol": False}}, {"server": "wsgi"}),
        ({"headers": {"X-Frame-Options": None, "X-A": 'a "b" \\ c;'}}, {"headers": {"X-Frame-Options": "", "X-A": 'a "b" \\ c;'}}),
        ({"aliases": ["www.example.com"]}, {"aliases": ["www.example.com"]}),
        ({"server": "command", "command": "exec it --fd 3", "module": ...}, {"server": "command", "module": None}),
        ({"basic_auth": "own.pem"}, {"basic_auth": "{directory}/own.pem"}),
        ({"extras": ["web"], "groups": ["x"], "requirements": "sub/uv.lock"}, {"extras": ["web"], "groups": ["x"]}),
        ({"packages": ["libpq5", "g++"]}, {"packages": ["libpq5", "g++"]}),
        ({"source": "./x/../hello/"}, {"source": "{directory}/hello"}),
        ({"source": "{directory}/hello"}, {"source": "{directory}/hello"}),
        ({"certificate": "own.pem", "certificate_key": "own.pem"}, {"certificate": "{directory}/own.pem", "certificate_key": "{directory}/own.pem"}),
        ({"requirements": "sub/uv.lock"}, {"requirements": "sub/uv.lock"}),
        ({"static": {"/static": "./static/"}}, {"static": {"/static": "static"}}),
        ({"shared": ["uploads/", "./data", "uploads"]}, {"shared": ["uploads", "data"]}),
        ({"python": "3.13.1"}, {"python": "3.13.1"}),
        ({"env": {"A": 1, "_b": 0.5, "C": "true"}}, {"env": {"A": 1, "_b": 0.5, "C": "true"}}),
        ({"domains": ["xn--bcher-kva.example", "www.1.example"]}, {"domains": ["xn--bcher-kva.example", "www.1.example"]}),
        ({"health_path": "/healthz?deep=1"}, {"health_path": "/healthz?deep=1"}),
        ({"body_size": "512k"}, {"body_size": "512k"}),
        ({"migrate": "flask db upgrade && echo $DONE"}, {"migrate": "flask db upgrade && echo $DONE"}),
        ({"migrate": "a %h \\\n\t'b' \"c\" ü"}, {"migrate": "a %h \\\n\t'b' \"c\" ü"}),
        ({"shared": ["my data/ü 'x'", "..data"]}, {"shared": ["my data/ü 'x'", "..data"]}),
        ({"health_path": "/a%C3%BC//b?c=%20"}, {"health_path": "/a%C3%BC//b?c=%20"}),
        ({"static": {"/.well-known": "static", "/a..": "static"}}, {"static": {"/.well-known": "static", "/a..": "static"}}),
        ({"memory_max": "9999999T", "body_size": "999999999999m"}, {"memory_max": "9999999T", "body_size": "999999999999m"}),
        ({"confirm_seconds": 0, "keep_releases": 2}, {"confirm_seconds": 0, "keep_releases": 2}),
    ],
)
def test_what_holds(changes: dict[str, Any], expected: dict[str, Any], tmp_path: Path) -> None:
    def here(value: Any) -> Any:
        return value.replace("{directory}", str(tmp_path)) if isinstance(value, str) else value

    written = [app(**{key: here(value) for key, value in changes.items()})]
    [whole] = normalise(written, str(tmp_path))
    assert {key: whole[key] for key in expected} == {key: here(value) for key, value in expected.items()}
    assert Draft202012Validator(schema.schema(SPEC)).is_valid({"apps": written}), "editors must not refuse what holds"


@pytest.mark.parametrize(
    "entry",
    [
        app(secrets=SECRET),
        app(secrets=[SECRET]),
        app(secrets={"A": [SECRET]}),
        app(secrets={"A": {"nested": SECRET}}),
        app(secrets={"A": f"{SECRET}\0"}),
        app(secrets={"A-B": SECRET}),
        app(secrets={"A": SECRET}, env={"A": 1}),
        app(secret={"A": SECRET}),
        app(secrets={f"A={SECRET}": None}),
        app(secrets={"A": f"{SECRET}\ufffe"}),
        app(secrets={"A": SECRET * 10_000}),
        app(secrets={"A": Unresolved("cannot be had.")}, env={"B": SECRET, "PLAINSTACK_": SECRET}),
        app(secrets={"A\ud800": f"{SECRET}\ud800"}),
        app(env=SECRET),
        app(env=[SECRET]),
        app(env={"A": [SECRET]}),
        app(env={f"A={SECRET}": ""}),
        app(env={"A": f"{SECRET}\0"}, domains=[""]),
        [app(secrets={"A": SECRET})],
        f"secrets: {SECRET}",
    ],
    ids=repr,
)
def test_a_secret_is_in_no_message(entry: Any, tmp_path: Path) -> None:
    found = problems([entry], tmp_path)
    assert found
    assert SECRET not in "\n".join(found)


@pytest.mark.parametrize(
    "changes",
    [
        {"source": "nowhere"},
        {"source": "empty"},
        {"source": "unlocked"},
        {"requirements": "other.txt"},
        {"static": {"/static": "nowhere"}},
        {"certificate": "a.pem", "certificate_key": "a.key"},
    ],
)
def test_a_rollback_needs_no_sources(changes: dict[str, Any], tmp_path: Path) -> None:
    """It may be run from a machine that has only the inventory."""
    assert problems([app(**changes)], tmp_path)
    [whole] = normalise([app(**changes)], str(tmp_path), sources=False)
    assert whole["name"] == "hello"
    with pytest.raises(DefinitionError, match="'threads' is 0"):
        normalise([app(**changes, threads=0)], str(tmp_path), sources=False)


def test_one_app_needs_no_source_but_its_own(tmp_path: Path) -> None:
    """The other may be in a checkout of somebody else's; its site is set up all the same."""
    other = app(name="other", domains=["other.example.com"])
    assert len(normalise([app(), {**other, "source": "nowhere"}], str(tmp_path), only="hello")) == 2
    with pytest.raises(DefinitionError, match=r"'other': the source .*nowhere"):
        normalise([app(), {**other, "source": "nowhere"}], str(tmp_path), only="other")
    with pytest.raises(DefinitionError, match=r"'other': .* in 'certificate' is not a file"):
        normalise([app(), {**other, "certificate": "a.pem", "certificate_key": "a.key"}], str(tmp_path), only="hello")


# What systemd 252 and 257 refuse in a file of EnvironmentFile=, and what they take, each tried in a unit
REFUSED = [0xD800, 0xDFFF, 0xFDD0, 0xFDEF, *(plane << 16 | last for plane in range(17) for last in (0xFFFE, 0xFFFF))]
TAKEN = [
    *range(1, 0x20),
    0x7F,
    0x80,
    0x85,
    0x9F,
    0xA0,
    0xAD,
    0x200B,
    0x2028,
    0x202E,
    0xD7FF,
    0xE000,
    0xFDCF,
    0xFDF0,
    0xFEFF,
    0xFFFD,
    0x10000,
    0xE0001,
    0x10FFFD,
]


@pytest.mark.parametrize("code", REFUSED, ids=hex)
def test_a_value_that_systemd_refuses(code: int, tmp_path: Path) -> None:
    [found] = problems([app(secrets={"A": f"{SECRET}{chr(code)}"})], tmp_path)
    assert found.startswith(f"app 'hello': 'A' in 'secrets' has the character U+{code:04X}, which is not text, and systemd refuses it")
    assert SECRET not in found


def test_values_that_systemd_takes(tmp_path: Path) -> None:
    assert problems([app(env={"A": "".join(map(chr, TAKEN)), "B": "x" * 131069})], tmp_path) == []


APPS = [{"name": "hello"}, {"name": "shop"}]


@pytest.mark.parametrize(("name", "chosen"), [("", ["hello", "shop"]), ("hello", ["hello"]), ("shop", ["shop"])])
def test_select(name: str, chosen: list[str]) -> None:
    assert [entry["name"] for entry in select(APPS, name)] == chosen


@pytest.mark.parametrize(("name", "hint"), [("shpo", "did you mean 'shop'?"), ("zzz", "there are hello, shop.")])
def test_an_app_that_is_not_there(name: str, hint: str) -> None:
    with pytest.raises(DefinitionError) as error:
        select(APPS, name)
    assert error.value.problems == [f"there is no app '{name}'; {hint}"]


def test_requirements_that_uv_cannot_read_are_refused_before_anything_is_touched(tmp_path: Path) -> None:
    source = tmp_path / "hello"
    source.mkdir(exist_ok=True)
    (source / "requirements.txt").write_bytes("gunicorn\r\n".encode("utf-16"))
    with pytest.raises(DefinitionError, match=r"app 'hello': 'requirements\.txt' is not UTF-8, which uv needs; it looks like UTF-16"):
        normalise([app()], str(tmp_path))
