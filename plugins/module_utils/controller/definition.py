"""The `apps` definition: what a user may write, checked and completed once.

Pure functions over plain data: no Ansible imports, no I/O but looking at the source directory.
The specification below is also the source of docs/reference.md, of the JSON Schema for editors, and of the argument specs of the roles `release` and
`gunicorn`: tools/reference.py writes them.
"""

from __future__ import annotations

import ast
import difflib
import ipaddress
import os
import posixpath
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ansible_collections.plainstack.web.plugins.module_utils import exported
from ansible_collections.plainstack.web.plugins.module_utils.controller import fetch, requirements
from ansible_collections.plainstack.web.plugins.module_utils.controller.archive import RESERVED
from ansible_collections.plainstack.web.plugins.module_utils.controller.bundle import SYSTEMS
from ansible_collections.plainstack.web.plugins.module_utils.environment import NOT_TEXT, VARIABLE, code_point, refused, too_much
from ansible_collections.plainstack.web.plugins.module_utils.static import hidden

NAME = re.compile(r"[a-z][a-z0-9-]{0,29}[a-z0-9]")
# An object, or the call of a factory; what is in the parentheses is looked at by _check_module
MODULE = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*((\.[A-Za-z_]\w*)*|\(.*\))", re.ASCII)
PACKAGE = re.compile(r"[a-z0-9][a-z0-9+.-]+")
SETTING = re.compile(r"[a-z][a-z0-9_]*")
CODE = re.compile(r"403|404|413|429|500|502|503|504")
HEADER = re.compile(r"[A-Za-z][A-Za-z0-9-]{0,99}")
# nginx would read a dollar as the begin of a variable
HEADER_VALUE = re.compile(r"[ -#%-~]{1,4000}")
# Headers that frame an answer, or that nginx sets where it belongs
OWN_HEADERS = ("connection", "content-encoding", "content-length", "content-type", "date", "keep-alive", "server", "set-cookie", "transfer-encoding", "upgrade")
# Settings of Gunicorn that the unit, the gate and the switch depend on, or that have a key of their own
OWN_SETTINGS = {
    "wsgi_app": "module",
    "worker_class": "server",
    "workers": "workers",
    "threads": "threads",
    "timeout": "timeout",
    "graceful_timeout": "timeout",
    "max_requests": "max_requests",
    "preload_app": "preload",
    "raw_env": "env",
    **dict.fromkeys(
        (
            "bind",
            "backlog",
            "chdir",
            "config",
            "control_socket",
            "control_socket_disable",
            "forwarded_allow_ips",
            "daemon",
            "group",
            "pidfile",
            "reload",
            "reuse_port",
            "user",
            "umask",
            "keepalive",
            "worker_tmp_dir",
        ),
        "",
    ),
}
# Keys that nothing but Gunicorn takes
OF_GUNICORN = ("gunicorn", "gunicorn_config", "workers", "threads", "max_requests", "preload", "strip_path")
REF = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_./+-]{0,199}")
CHECKSUM = re.compile(r"sha256:[0-9a-f]{64}")
VERSIONS = r" ?(==|>=|<=|~=|!=|<|>) ?[A-Za-z0-9.+*!_-]+"
REQUIREMENT = re.compile(rf"[A-Za-z0-9][A-Za-z0-9._-]*(\[[A-Za-z0-9._, -]+\])?({VERSIONS}(,{VERSIONS})*)?")
PROCESS = re.compile(r"(?!web$)[a-z][a-z0-9-]{0,29}")
GROUP = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*")
# What systemd.time(7) writes a calendar event with
SCHEDULE = re.compile(r"[A-Za-z0-9 ,.:/~*_+-]{1,200}")
# Where nginx would see neither a variable nor the end of the directive
TARGET = re.compile(r"(/|https?://[A-Za-z0-9.-]+)[!#%&(-:<-\[\]^-z|~?=@+*,]*")
LABEL = r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?"
DOMAIN = re.compile(rf"({LABEL}\.)+(?![0-9]+$){LABEL}")
# Both with fewer digits than would overflow in nginx, or in systemd, which then leaves the setting out
SIZE = re.compile(r"[1-9][0-9]{0,11}[km]?")
MEMORY = re.compile(r"[1-9][0-9]{0,6}[KMGT]|[1-9][0-9]?%|100%|infinity")
CPU = re.compile(r"[1-9][0-9]{0,4}%|infinity")
TMP = re.compile(r"[1-9][0-9]{0,6}[KMG]|[1-9][0-9]?%")
# nginx resolves . and .. before it looks for a location, and refuses what is encoded wrongly
SEGMENT = r"(?!\.{1,2}(?:[/?]|$))"
ENCODED = r"%(?!00)[0-9A-Fa-f]{2}"
URL_PREFIX = re.compile(rf"(/{SEGMENT}[A-Za-z0-9._~-]+)+")
URL_PATH = re.compile(rf"(/{SEGMENT}([A-Za-z0-9._~-]|{ENCODED})*)+(\?([A-Za-z0-9._~/&=-]|{ENCODED})*)?")
# Where the site has its own page
OF_THE_SITE = "/.plainstack"
CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
LONGEST_PATH = 1024  # of a URL
LONGEST_NAME = 1024  # bytes of a path in the source; with /srv/<app>/releases/<id> before it Linux takes 4096
LONGEST_COMMAND = 64 * 1024
MOUNT = re.compile(rf"/|{URL_PREFIX.pattern}")
PYTHON = re.compile(r"3\.([0-9]{1,2})(\.[0-9]{1,2})?")
SYSTEM_PYTHON = re.compile(f"system|{PYTHON.pattern}")
OLDEST_PYTHON = 10
SYSTEM = re.compile(rf"({'|'.join(map(re.escape, SYSTEMS))})(-aarch64)?")
LOCKS = ("uv.lock", "pylock.toml", *exported.TOOLS, "requirements.txt", "pyproject.toml")
DISTRIBUTION = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?")

# Of a process and of a timer
RUNS: dict[str, dict[str, Any]] = {
    "command": {
        "type": "str",
        "required": True,
        "description": "Command, for bash, in the release's directory, environment and sandbox: `huey_consumer tasks.huey`. Others on the server "
        "can read it; a token belongs in `secrets`, as `$TOKEN` here.",
    },
    "hosts": {
        "type": "str",
        "default": "",
        "pattern": GROUP,
        "description": "Group of the inventory on whose servers it runs, of the app servers that have the app and of `worker_servers`. Default: the app "
        "servers that have the app.",
    },
}

# Each key: type as Ansible names it, whether required, the default (None: see the description), and what it means. Where there are any: the `pattern` of
# the whole text, or of each item of a list, the `choices`, the bounds of a number, and for a mapping the pattern of its `keys` and the types of its `values`,
# or the `options` that each value has.
# The patterns have only what JavaScript's regular expressions mean by the same signs: editors use them, too.
SPEC: dict[str, dict[str, Any]] = {
    "name": {
        "type": "str",
        "required": True,
        "pattern": NAME,
        "description": "Name of the app, of its system user, units and directories: lower case, digits and hyphens, 2 to 31 characters; "
        "not beginning with `plainstack`.",
    },
    "source": {
        "type": "path",
        "default": None,
        "description": "Where the app comes from, if it is no `package`: a directory on the controller, relative to the inventory's directory, of which in "
        "a git checkout the tracked and the unignored files are deployed; a git URL; or an archive (tar, zip) or a wheel, as a path or a URL.",
    },
    "ref": {
        "type": "str",
        "default": None,
        "pattern": REF,
        "description": "Branch, tag or commit of a `source` that is a git URL; `deploy.yml -e ref=...` names another one. Default: the repository's own.",
    },
    "subdirectory": {
        "type": "str",
        "default": None,
        "description": "Directory of the app in a repository or an archive. Default: all of it, or the one directory that an archive has.",
    },
    "checksum": {
        "type": "str",
        "default": None,
        "pattern": CHECKSUM,
        "description": "Of an archive, as `sha256:` and 64 hexadecimal digits; one that is downloaded needs it.",
    },
    "package": {
        "type": "str",
        "default": None,
        "pattern": REQUIREMENT,
        "description": "A package of PyPI, or of the index in `build_environment`, that is the app, instead of a `source`: `httpbin==0.10.2`. Gunicorn is "
        "installed with it.",
    },
    "module": {
        "type": "str",
        "default": None,
        "pattern": MODULE,
        "description": "What Gunicorn imports, needed with every `server` but `command`, as `package.module:object`, or the call of a factory: "
        "`shop:create_app()`, also with arguments that are plain values. What lies in `src` is found with `env: {PYTHONPATH: src}`, or once the project is "
        "installed.",
    },
    "server": {
        "type": "str",
        "default": "wsgi",
        "choices": ["wsgi", "gevent", "asgi", "command"],
        "description": "`wsgi` for Flask, Django and the like, on Gunicorn's threads, or with `gevent` on its greenlets; `asgi` for FastAPI, Starlette, Quart "
        "or Django's `asgi.py`, with WebSockets, on `uvicorn-worker` where the app installs it, and else on Gunicorn's own worker, which Gunicorn has from "
        "25.0 on; `command` for another server.",
    },
    "command": {
        "type": "str",
        "default": "",
        "description": "With `server: command`: what serves, for bash, in the release's directory, environment and sandbox. It gets the socket to listen on "
        "as file descriptor 3, as systemd passes one: `hypercorn --bind fd://3 shop:app`.",
    },
    "gunicorn": {
        "type": "dict",
        "default": {},
        "keys": SETTING,
        "values": ["str", "int", "float", "bool"],
        "description": "More of Gunicorn's settings, by their names in its configuration file, such as `loglevel` or `worker_connections`. "
        "Those that have a key here, and those that the switch depends on, are refused.",
    },
    "gunicorn_config": {
        "type": "str",
        "default": None,
        "description": "Gunicorn's configuration file in the source, such as `gunicorn.conf.py`, hooks included; with settings that `gunicorn` would not take, "
        "the release does not start. `gunicorn` comes after it.",
    },
    "packages": {
        "type": "list",
        "elements": "str",
        "default": [],
        "pattern": PACKAGE,
        "description": "Debian packages that the app needs when it is built or runs, such as `[libpq5, ffmpeg]`. They are installed with apt before a "
        "release is built, and never removed.",
    },
    "build_packages": {
        "type": "list",
        "elements": "str",
        "default": [],
        "pattern": PACKAGE,
        "description": "The same for what only building needs, such as `[gcc, libpq-dev]`. A server that gets no new release does not get them.",
    },
    "hosts": {
        "type": "str",
        "default": "",
        "pattern": GROUP,
        "description": "Group of the inventory on whose servers the app is, of those in `app_servers`. Default: all of them.",
    },
    "domains": {
        "type": "list",
        "elements": "str",
        "required": True,
        "pattern": DOMAIN,
        "description": "Names that the site answers to; all of them are in its certificate.",
    },
    "aliases": {
        "type": "list",
        "elements": "str",
        "default": [],
        "pattern": DOMAIN,
        "description": "Names that lead visitors to the first of `domains`, such as `[www.example.com]`; they are in the certificate, too.",
    },
    "headers": {
        "type": "dict",
        "default": {},
        "keys": HEADER,
        "values": ["str", "null"],
        "description": "Headers of every answer, where the app sends none of that name: `{X-Frame-Options: SAMEORIGIN}`. "
        "`null` takes one away that Plainstack sends, such as `Permissions-Policy`.",
    },
    "redirects": {
        "type": "dict",
        "default": {},
        "keys": URL_PREFIX,
        "values": ["str"],
        "description": "Exact paths that lead elsewhere, for good (301): `{/old: /new, /shop: https://shop.example.com/}`; the query string is dropped.",
    },
    "allow": {
        "type": "list",
        "elements": "str",
        "default": [],
        "description": "Networks from which the site can be used, such as `[192.0.2.0/24, 2001:db8::/32]`; others get 403. Health checks and ACME go on.",
    },
    "basic_auth": {
        "type": "path",
        "default": None,
        "description": "File of users and passwords for HTTP basic authentication, on the controller, as `htpasswd -5` or `htpasswd -B` makes it; relative "
        "to the inventory's directory, such as `../passwords`; may be encrypted with Ansible Vault. Health checks and ACME go on.",
    },
    "error_pages": {
        "type": "dict",
        "default": {},
        "keys": CODE,
        "values": ["str"],
        "description": "Your own pages for 403, 404, 413, 429, 500, 502, 503 and 504: `{502: ../pages/down.html}`, files on the controller, beside the "
        "inventory's directory, each with all that it needs in it. With one for 403, 404 or 500, all of them replace the app's own pages, too.",
    },
    "rate_limit": {
        "type": "int",
        "default": None,
        "minimum": 1,
        "maximum": 100_000,
        "description": "Requests a second of one address that reach the app; 429 above, after a burst of twice as many. Files of `static` do not count.",
    },
    "nginx": {
        "type": "str",
        "default": "",
        "description": "More of nginx's directives, for the `server` block of the site: for what has no key here. Checked with `nginx -t` before it is used.",
    },
    "path": {
        "type": "str",
        "default": "/",
        "pattern": MOUNT,
        "description": "URL path below which the app answers, such as `/api`, where another app has the rest of its `domains`. The app sees the whole path.",
    },
    "strip_path": {
        "type": "bool",
        "default": False,
        "description": "Whether the app sees its URLs without `path`, which it is told as `SCRIPT_NAME` or `root_path`: for an app that knows nothing of it; "
        "`url_for` then has it.",
    },
    "python": {
        "type": "str",
        "default": "system",
        "pattern": SYSTEM_PYTHON,
        "description": "`system` for Debian's own Python, or a version such as `3.13.1` that uv installs. Quote it.",
    },
    "requirements": {
        "type": "str",
        "default": None,
        "description": "Lock file in the source. Default: the first that exists of `uv.lock`, `pylock.toml`, `poetry.lock`, `Pipfile.lock`, "
        "`requirements.txt`, `pyproject.toml`. Those of Poetry and Pipenv are exported on the controller, by Poetry and Pipenv.",
    },
    "extras": {
        "type": "list",
        "elements": "str",
        "default": [],
        "pattern": DISTRIBUTION,
        "description": "Extras of the project that are installed, too, where `requirements` has some: not with a requirements file.",
    },
    "groups": {
        "type": "list",
        "elements": "str",
        "default": [],
        "pattern": DISTRIBUTION,
        "description": "Dependency groups that are installed, too, such as `[production]`; of a `Pipfile.lock` its categories.",
    },
    "member": {
        "type": "str",
        "default": "",
        "pattern": DISTRIBUTION,
        "description": "Project of a uv workspace that is the app, where its `uv.lock` is for several.",
    },
    "build": {
        "type": "str",
        "default": "source",
        "choices": ["source", "wheels"],
        "description": "`source` builds packages that have no wheel for the server, as the user `plainstack-build`; with `wheels` they are an error, "
        "and no code of a package runs before the app starts.",
    },
    "bundle": {
        "type": "bool",
        "default": False,
        "description": "Whether the controller collects the wheels of the app's packages, with uv and pip, and sends them with the release: the servers "
        "then need no package index for it. What has no wheel is an error.",
    },
    "bundle_for": {
        "type": "list",
        "elements": "str",
        "default": ["debian-12", "debian-13"],
        "pattern": SYSTEM,
        "description": "Systems of the servers for which `bundle` collects wheels: `debian-12`, `debian-13`, `ubuntu-24.04`, `ubuntu-26.04`; for ARM with "
        "`-aarch64` behind it.",
    },
    "local_build": {
        "type": "str",
        "default": "",
        "description": "Command, for bash, that is run on the controller in a copy of what is deployed, such as `npm ci && npm run build`; what it makes "
        "is deployed, too. Run again only when the source or the command has changed.",
    },
    "server_build": {
        "type": "str",
        "default": "",
        "description": "Command, for bash, that is run on the server in each new release once its packages are there, as the user `plainstack-build`, with "
        "`env` and without `secrets`: `python manage.py collectstatic --no-input`.",
    },
    "env": {
        "type": "dict",
        "default": {},
        "keys": VARIABLE,
        "values": ["str", "float"],
        "description": "Environment variables of the app: strings or numbers.",
    },
    "secrets": {
        "type": "dict",
        "default": {},
        "keys": VARIABLE,
        "values": ["str", "float"],
        "no_log": True,
        "description": "The same for values that must not be seen; encrypt them with Ansible Vault. Any text survives, newlines, quotes and double braces too.",
    },
    "static": {
        "type": "dict",
        "default": {},
        "keys": URL_PREFIX,
        "values": ["str"],
        "description": "URL prefixes that nginx serves from disk, and their directories in the source: `{/static: hello/static}`.",
    },
    "shared": {
        "type": "list",
        "elements": "str",
        "default": [],
        "description": "Directories and files in the app's tree that survive releases, as links to `/srv/<app>/shared/`. "
        "A name that neither the source nor the server has is a file where it has an extension, and a directory otherwise.",
    },
    "include": {
        "type": "list",
        "elements": "str",
        "default": [],
        "description": "Files and directories of the source, also as patterns such as `certs/*.pem`, that are deployed although git ignores them, "
        "or although they look like secrets or databases in a source without git.",
    },
    "health_path": {
        "type": "str",
        "default": "/",
        "pattern": URL_PATH,
        "description": "Path that answers 200 to 399 when the app is healthy; probed on every new release before it gets traffic; 400 to 499 for 5 s is final.",
    },
    "start_timeout": {
        "type": "int",
        "default": 60,
        "minimum": 1,
        "maximum": 900,
        "description": "Seconds a new release has to answer its health check.",
    },
    "workers": {
        "type": "int",
        "default": None,
        "minimum": 1,
        "maximum": 512,
        "description": "Gunicorn worker processes. Default: 2 x CPUs + 1, bounded by the memory of the host.",
    },
    "threads": {
        "type": "int",
        "default": 4,
        "minimum": 1,
        "maximum": 256,
        "description": "Threads of each worker.",
    },
    "timeout": {
        "type": "int",
        "default": 30,
        "minimum": 1,
        "maximum": 3600,
        "description": "Seconds that a request may take; nginx answers 504 after it, and a stopping release waits that long.",
    },
    "websocket_timeout": {
        "type": "int",
        "default": 3600,
        "minimum": 1,
        "maximum": 86400,
        "description": "Seconds that a WebSocket may be silent before nginx closes it. An open one does not delay a new release; the old one "
        "waits for it at most `timeout`, and then ends it.",
    },
    "max_requests": {
        "type": "int",
        "default": 0,
        "minimum": 0,
        "maximum": 10_000_000,
        "description": "Requests after which a worker is replaced, give or take a tenth, against slow leaks; 0 is never. "
        "Until its longest request has ended, such a worker takes no new ones, and streams longer than `timeout` are cut.",
    },
    "memory_max": {
        "type": "str",
        "default": "80%",
        "pattern": MEMORY,
        "description": "Most memory of a release's processes together, as systemd's `MemoryMax` takes it: `512M`, `2G`, `80%` or `infinity`.",
    },
    "cpu_max": {
        "type": "str",
        "default": "infinity",
        "pattern": CPU,
        "description": "Most CPU time, as systemd's `CPUQuota` takes it: `150%` is one and a half cores. Of the web server's processes together, and of each "
        "of `processes` and `timers`; so are the next three.",
    },
    "tasks_max": {
        "type": "int",
        "default": 4096,
        "minimum": 16,
        "maximum": 1_000_000,
        "description": "Most processes and threads.",
    },
    "open_files": {
        "type": "int",
        "default": 16384,
        "minimum": 256,
        "maximum": 1_000_000,
        "description": "Most open files of a process.",
    },
    "tmp_max": {
        "type": "str",
        "default": "20%",
        "pattern": TMP,
        "description": "Most that `/tmp`, `/var/tmp` and `/dev/shm` hold, each; they lie in memory: `500M`, or `20%` of it.",
    },
    "executable_memory": {
        "type": "bool",
        "default": False,
        "description": "Whether the app may make code while it runs, as attackers like to: compilers such as Numba and PyTorch need it, and CFFI's callbacks.",
    },
    "preload": {
        "type": "bool",
        "default": True,
        "description": "Import the app once, before the workers are forked: less memory. Off for an app that cannot be forked after its import, and always "
        "with `gevent`.",
    },
    "body_size": {
        "type": "str",
        "default": "10m",
        "pattern": SIZE,
        "description": "Largest request body, in bytes or with `k` or `m`; nginx answers 413 above it.",
    },
    "migrate": {
        "type": "str",
        "default": "",
        "description": "Command, for the shell, that is run once with a new release before it gets traffic, in its environment: "
        "`flask db upgrade`. While it runs, and until the switch, the old release serves.",
    },
    "hook_timeout": {
        "type": "int",
        "default": 600,
        "minimum": 1,
        "maximum": 86400,
        "description": "Seconds until `migrate` or `after_live` is killed.",
    },
    "after_live": {
        "type": "str",
        "default": "",
        "description": "The same after a release has gone live, by a deploy or a rollback, and the old one has stopped. When it fails, so does the run, "
        "but the release stays live.",
    },
    "processes": {
        "type": "dict",
        "default": {},
        "keys": PROCESS,
        "options": {
            **RUNS,
            "count": {"type": "int", "default": 1, "minimum": 1, "maximum": 64, "description": "How many of it run."},
            "stop_timeout": {
                "type": "int",
                "default": 60,
                "minimum": 1,
                "maximum": 86400,
                "description": "Seconds that it has to end its work once it is told to stop, while that of the new release works already.",
            },
            "stop_signal": {
                "type": "str",
                "default": "SIGTERM",
                "choices": ["SIGTERM", "SIGINT", "SIGQUIT", "SIGHUP", "SIGUSR1", "SIGUSR2"],
                "description": "What tells it to end its work. Celery, Dramatiq and RQ take SIGTERM, Huey SIGINT.",
            },
            "overlap": {
                "type": "bool",
                "default": True,
                "description": "Whether those of two releases may run at the same time; with `false` the old one has ended before the new one begins.",
            },
        },
        "description": "What runs beside the web server, such as workers of a queue: `{worker: {command: huey_consumer tasks.huey}}`. They begin with the "
        "switch; one that ends while the release is watched takes it back.",
    },
    "timers": {
        "type": "dict",
        "default": {},
        "keys": PROCESS,
        "options": {
            **RUNS,
            "schedule": {
                "type": "str",
                "required": True,
                "pattern": SCHEDULE,
                "description": "When, as systemd.time(7) has it: `daily`, `Mon..Fri 03:00`, `*:0/15`. `systemd-analyze calendar` shows what it means.",
            },
            "timeout": {"type": "int", "default": 3600, "minimum": 1, "maximum": 604_800, "description": "Seconds until it is ended."},
        },
        "description": "What runs at times: `{cleanup: {command: flask cleanup, schedule: daily}}`. One that runs at a deploy is left to its end.",
    },
    "confirm_seconds": {
        "type": "int",
        "default": 2,
        "minimum": 0,
        "maximum": 600,
        "description": "Seconds that a new release is watched through nginx after the switch; if it fails, the traffic goes back to the old one, "
        "which runs until then.",
    },
    "keep_releases": {
        "type": "int",
        "default": 5,
        "minimum": 2,
        "maximum": 50,
        "description": "Releases that stay on the server, with their static files, by order of going live.",
    },
    "balance": {
        "type": "str",
        "default": "least_conn",
        "choices": ["least_conn", "hash", "cookie"],
        "description": "How load balancers choose the server: `least_conn` takes the one with the fewest connections, `hash` the same one for a client's "
        "address, `cookie` the same one for a visitor.",
    },
    "certificate": {
        "type": "path",
        "default": None,
        "description": "Your own certificate chain (PEM) on the controller instead of ACME, relative to the inventory's directory. Needs `certificate_key`.",
    },
    "certificate_key": {
        "type": "path",
        "default": None,
        "description": "Private key (PEM) of `certificate`; may be encrypted with Ansible Vault.",
    },
}

TYPES: dict[str, Any] = {
    "str": (str,),
    "path": (str,),
    "int": (int,),
    "bool": (bool,),
    "list": (list, tuple),
    "dict": (Mapping,),
}
COMMANDS = ("command", "nginx", "local_build", "server_build", "migrate", "after_live", "command")
PRIVATE = ("env", "secrets")  # keys whose values no message has
WORDS = {"str": "text", "path": "a path", "int": "a whole number", "bool": "true or false", "list": "a list", "dict": "a mapping"}


@dataclass(frozen=True)
class Unresolved:
    """Stands for a value that could not be had from what the user wrote; `reason` ends the sentence that the value begins."""

    reason: str


class DefinitionError(ValueError):
    """What is wrong with a definition, each problem on a line of its own."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


def _closest(word: str, known: list[str]) -> str:
    match = difflib.get_close_matches(word, known, n=1, cutoff=0.4)
    return f"did you mean '{match[0]}'?" if match else "there are " + ", ".join(known) + "."


def _inside(path: str) -> bool:
    """Whether a normalised path is below the directory it is taken from, and not that directory itself."""
    return path not in (".", "..") and not path.startswith(("/", "../"))


def _texts(value: Any) -> Iterator[str]:
    """The texts of the value of a key."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for pair in value.items():
            yield from (text for text in pair if isinstance(text, str))
    elif isinstance(value, list | tuple):
        yield from (text for text in value if isinstance(text, str))


def _odd(text: str, lines: bool = False) -> str:
    """The first character of a text that a name, a path or a command cannot have, as U+XXXX; empty without one.

    :param lines: whether the text may have several lines.
    """
    found = NOT_TEXT.search(text) or CONTROL.search(text.replace("\n", "").replace("\t", "") if lines else text)
    return code_point(found[0]) if found else ""


def _elements(key: str, value: Any, where: str) -> list[str]:
    """What is wrong with the items of a list or mapping, as far as their types go."""
    if key == "headers":
        wrong = [f"'{name}' in '{key}' must be text, or null to take the header away" for name, item in value.items() if not isinstance(item, str | None)]
    elif key == "gunicorn":
        wrong = [f"'{name}' in '{key}' must be text, a number, true or false" for name, item in value.items() if not isinstance(item, str | int | float)]
    elif "options" in SPEC[key]:
        wrong = [f"'{name}' in '{key}' must be a mapping, not {item!r}" for name, item in value.items() if not isinstance(item, Mapping)]
    elif isinstance(value, Mapping):
        wrong = [f"the directory of '{prefix}' in '{key}' must be text, not {item!r}" for prefix, item in value.items() if not isinstance(item, str)]
    else:
        wrong = [f"every item of '{key}' must be text, not {item!r}" for item in value if not isinstance(item, str)]
    return [f"{where}: {problem}." for problem in wrong]


def _check_value(key: str, value: Any, where: str, rule: Mapping[str, Any]) -> list[str]:
    """What is wrong with the type of the value of a key, with its size and its signs."""
    if isinstance(value, Unresolved):
        return [f"{where}: '{key}' {value.reason}"]
    if not isinstance(value, TYPES[rule["type"]]) or (isinstance(value, bool) and rule["type"] != "bool"):
        # YAML reads `3.10` as 3.1 and `on` as true, so what was read is no advice on what to write
        hint = "; put it in quotes" if rule["type"] == "str" and isinstance(value, int | float) else ""
        if rule["type"] == "list" and isinstance(value, str) and not _odd(value):
            hint = f"; write [{value}]"
        found = "" if key in PRIVATE else f", not {value!r}"
        return [f"{where}: '{key}' must be {WORDS[rule['type']]}{found}{hint}."]
    if key in PRIVATE:
        return []
    if rule["type"] in ("list", "dict"):
        unresolved = [item for item in (value.values() if isinstance(value, Mapping) else value) if isinstance(item, Unresolved)]
        if wrong := [f"{where}: an item of '{key}' {item.reason}" for item in unresolved] or _elements(key, value, where):
            return wrong
        if "options" in rule:
            return [problem for name, item in value.items() for problem in _check_types(item, f"{where}, '{name}' in '{key}'", rule["options"])]
    if odd := next(filter(None, (_odd(text, key in COMMANDS) for text in _texts(value))), ""):
        return [f"{where}: '{key}' has the character {odd}, which is not printable; remove it."]
    if key in COMMANDS and len(value.encode()) > LONGEST_COMMAND:
        return [f"{where}: '{key}' has {len(value.encode())} bytes; it must have at most {LONGEST_COMMAND}. Put the commands into a script of the app."]
    if "minimum" in rule and not rule["minimum"] <= value <= rule["maximum"]:
        return [f"{where}: '{key}' is {value}; it must be {rule['minimum']} to {rule['maximum']}."]
    return []


def _check_types(app: Mapping[str, Any], where: str, spec: Mapping[str, Any] = SPEC) -> list[str]:
    problems: list[str] = []
    for key, value in app.items():
        if key not in spec:
            problems.append(f"{where}: unknown key {str(key)!r}; {_closest(str(key), list(spec))}")
        elif value is not None:
            problems += _check_value(key, value, where, spec[key])
    problems += [f"{where}: '{key}' is missing." for key, rule in spec.items() if rule.get("required") and app.get(key) in (None, "", [], ())]
    return problems


def _check_environment(app: Mapping[str, Any], where: str) -> list[str]:
    """No message has a value: what is in `env` by mistake is a secret, too."""
    given = {key: app[key] for key in PRIVATE if isinstance(app.get(key), Mapping)}
    problems = []
    for key, variables in given.items():
        problems += [f"{where}: {name!r} in '{key}' {value.reason}" for name, value in variables.items() if isinstance(value, Unresolved)]
        problems += [f"{where}: {name!r} in '{key}' {why}" for name, why in refused(variables) if not isinstance(variables.get(name), Unresolved)]
    if why := too_much([pair for variables in given.values() for pair in variables.items()]):
        problems.append(f"{where}: 'env' and 'secrets' {why}")
    problems += [f"{where}: '{name}' is in both 'env' and 'secrets'." for name in given.get("env", {}) if name in given.get("secrets", {})]
    return problems


def _domain_hint(domain: str) -> str:
    """What was meant by a domain that is none; empty when nobody can tell."""
    if "*" in domain:
        return " (wildcards need DNS-01, which Plainstack does not do)"
    meant = re.sub(r"^[a-z+]+://", "", domain.strip().lower()).partition("/")[0].partition(":")[0].rstrip(".")
    if not meant.isascii():
        try:
            encoded = meant.encode("idna").decode()
        except UnicodeError:
            return " (write a name with other letters than a to z in Punycode, xn--...)"
        # The codec is of 2003, and what it cannot bring back is another name today, such as one with a sharp s
        meant = encoded if encoded.encode().decode("idna") == meant else ""
    return f"; did you mean '{meant}'?" if meant != domain and DOMAIN.fullmatch(meant) else ""


def _plain_arguments(module: str) -> bool:
    """Whether what is in the parentheses of a factory's call are values that Gunicorn takes: no names, no calls."""
    try:
        call = ast.parse(module.partition(":")[2], mode="eval").body
        if isinstance(call, ast.Call):
            for value in (*call.args, *(keyword.value for keyword in call.keywords)):
                ast.literal_eval(value)
            return all(keyword.arg for keyword in call.keywords)
    except (SyntaxError, ValueError):
        return False
    return True


def _check_server(app: Mapping[str, Any], where: str) -> list[str]:
    """What is wrong with how the app is served."""
    own, problems = app["server"] == "command", []
    if own != bool(app["command"]):
        problems.append(f"{where}: 'command' is missing, which 'server: command' runs." if own else f"{where}: 'command' needs 'server: command'.")
    if own == bool(app["module"]):
        problems.append(f"{where}: 'module' is missing." if not own else f"{where}: 'module' is for Gunicorn; with 'server: command' remove it.")
    if own:
        for key in OF_GUNICORN:
            if app[key] != SPEC[key]["default"]:
                problems.append(f"{where}: '{key}' is for Gunicorn, and 'command' starts another server; give it to that one, and remove '{key}'.")
    if app["strip_path"] and app["path"] == "/":
        problems.append(f"{where}: 'strip_path' needs a 'path'; remove it.")
    if app["server"] == "gevent" and app["threads"] != SPEC["threads"]["default"]:
        problems.append(f"{where}: 'threads' are not gevent's; set 'gunicorn: {{worker_connections: ...}}', and remove 'threads'.")
    if app["gunicorn_config"] and not _inside(posixpath.normpath(app["gunicorn_config"])):
        problems.append(f"{where}: '{app['gunicorn_config']}' in 'gunicorn_config' must be a file in the source.")
    if app["module"] and not _plain_arguments(app["module"]):
        problems.append(f"{where}: 'module' is '{app['module']}'; the arguments of a factory must be plain values, such as 'shop:create_app(\"production\")'.")
    for name in app["gunicorn"]:
        if not isinstance(name, str) or not SETTING.fullmatch(name):
            problems.append(f"{where}: '{name}' in 'gunicorn' is no setting of Gunicorn's; write it as in its configuration file, such as worker_connections.")
        elif name in OWN_SETTINGS:
            instead = f"use '{OWN_SETTINGS[name]}' of the app instead" if OWN_SETTINGS[name] else "releases and the switch between them depend on it"
            problems.append(f"{where}: '{name}' in 'gunicorn' cannot be set; {instead}.")
    for key in ("packages", "build_packages"):
        wrong = [name for name in app[key] if not PACKAGE.fullmatch(name)]
        problems += [f"{where}: '{name}' in '{key}' is no name of a Debian package, such as libpq5." for name in wrong]
    for key in ("extras", "groups", "member"):
        wrong = [name for name in ([app[key]] if key == "member" else app[key]) if name and not DISTRIBUTION.fullmatch(name)]
        problems += [f"{where}: '{name}' in '{key}' is no name, such as production." for name in wrong]
    return problems


def _check_site(app: Mapping[str, Any], where: str) -> list[str]:
    """What is wrong with the names that lead to the app, and with the headers of its answers."""
    problems = []
    for alias in app["aliases"]:
        if not DOMAIN.fullmatch(alias) or len(alias) > 253:
            hint = _domain_hint(alias)
            problems.append(f"{where}: '{alias}' in 'aliases' is not a full, lower-case host name such as www.example.com{hint or '.'}")
    for name, value in app["headers"].items():
        if not isinstance(name, str) or not HEADER.fullmatch(name) or name.lower() in OWN_HEADERS:
            problems.append(f"{where}: '{name}' in 'headers' is no header that can be set here.")
        elif value and not HEADER_VALUE.fullmatch(value):
            problems.append(f"{where}: the value of '{name}' in 'headers' must be printable ASCII without a dollar sign.")
    if len({str(name).lower() for name in app["headers"]}) < len(app["headers"]):
        problems.append(f"{where}: a name is twice in 'headers'; upper and lower case are the same there.")
    for path, target in app["redirects"].items():
        if not isinstance(path, str) or not URL_PREFIX.fullmatch(path) or not TARGET.fullmatch(target):
            problems.append(f"{where}: '{path}: {target}' in 'redirects' must be a path such as /old, and a path or a URL that it leads to.")
    for network in app["allow"]:
        try:
            ipaddress.ip_network(network.replace("%", " "))  # with it, a scope of IPv6 may be any text
        except ValueError as error:
            problems.append(f"{where}: '{network}' in 'allow' is no network such as 192.0.2.0/24: {error}.")
    for code in app["error_pages"]:
        if not CODE.fullmatch(str(code)):
            problems.append(f"{where}: '{code}' in 'error_pages' must be 403, 404, 413, 429, 500, 502, 503 or 504.")
    for key in ("aliases", "headers", "redirects", "allow", "basic_auth", "error_pages", "nginx"):
        if app["path"] != "/" and app[key]:
            problems.append(f"{where}: an app with a 'path' has '{key}' of the app that has the rest of its domains; remove it.")
    return problems


def _check_source(app: Mapping[str, Any], where: str) -> list[str]:
    """What is wrong with where the app comes from, but for what only a look at it shows."""
    if bool(app["source"]) == bool(app["package"]):
        return [f"{where}: 'source' and 'package' exclude each other; remove one." if app["source"] else f"{where}: 'source' is missing."]
    problems, kind = [], fetch.kind(app)
    belong = {"ref": ("repository",), "subdirectory": ("repository", "archive"), "checksum": ("archive",)}
    for key, kinds in belong.items():
        if app[key] and kind not in kinds:
            what = {"repository": "a git URL", "archive": "an archive"}
            problems.append(f"{where}: '{key}' is for a 'source' that is {' or '.join(what[one] for one in kinds)}; remove it.")
    for key, rule in (
        ("ref", "must be the name of a branch, a tag or a commit"),
        ("checksum", "must be sha256: and 64 hexadecimal digits"),
        ("package", "must be a package of PyPI with its version, such as httpbin==0.10.2"),
    ):
        if app[key] and not SPEC[key]["pattern"].fullmatch(app[key]):
            problems.append(f"{where}: '{key}' is '{app[key]}'; it {rule}.")
    problems += [
        f"{where}: '{name}' in 'bundle_for' is no system with wheels; {_closest(name, [*SYSTEMS])}" for name in app["bundle_for"] if not SYSTEM.fullmatch(name)
    ]
    if app["bundle"] and (fetch.kind(app) == "repository" or (fetch.kind(app) == "archive" and not str(app["source"]).endswith(".whl"))):
        problems.append(
            f"{where}: with 'bundle', 'source' must be a directory or a wheel, or there be a 'package': uv and pip would take the files of what comes from "
            "elsewhere on this machine, and may run them. Check it out, look at it, and name the directory."
        )
    if app["bundle"] and not app["bundle_for"]:
        problems.append(f"{where}: 'bundle_for' is empty; name the systems of the servers, such as [debian-13].")
    if not app["bundle"] and [*app["bundle_for"]] != SPEC["bundle_for"]["default"]:
        problems.append(f"{where}: 'bundle_for' needs 'bundle: true'.")
    if app["subdirectory"] and not _inside(posixpath.normpath(app["subdirectory"])):
        problems.append(f"{where}: '{app['subdirectory']}' in 'subdirectory' must be a directory inside the source.")
    if kind == "archive" and fetch.URL.fullmatch(app["source"]) and not app["checksum"]:
        problems.append(f"{where}: an archive that is downloaded needs its 'checksum', such as sha256:0f3a...; 'sha256sum' prints the digits.")
    return problems


def _check_processes(app: Mapping[str, Any], where: str) -> list[str]:
    """What is wrong with what runs beside the web server."""
    problems = []
    for key in ("processes", "timers"):
        for name, found in app[key].items():
            if not isinstance(name, str) or not PROCESS.fullmatch(name):
                problems.append(f"{where}: '{name}' in '{key}' must be lower-case letters, digits and hyphens, beginning with a letter, and not 'web'.")
            if found["hosts"] and not GROUP.fullmatch(found["hosts"]):
                problems.append(f"{where}, '{name}' in '{key}': 'hosts' is '{found['hosts']}', which is no name of a group.")
            if not SCHEDULE.fullmatch(found.get("schedule", "daily")):
                problems.append(f"{where}, '{name}' in '{key}': 'schedule' is '{found['schedule']}'; it must be a calendar event of systemd, such as daily.")
            if found.get("stop_signal", "SIGTERM") not in SPEC["processes"]["options"]["stop_signal"]["choices"]:
                problems.append(f"{where}, '{name}' in '{key}': 'stop_signal' is '{found['stop_signal']}'; it must be a signal such as SIGTERM or SIGINT.")
            if found.get("count", 1) > 1 and not found["overlap"]:
                problems.append(f"{where}, '{name}' in '{key}': of what may not overlap there is one; remove 'count' or 'overlap'.")
    problems += [f"{where}: '{name}' is in both 'processes' and 'timers'; give one another name." for name in app["processes"] if name in app["timers"]]
    return problems


def _check_values(app: Mapping[str, Any], where: str) -> list[str]:
    problems = []
    rules = (
        ("name", "must be 2 to 31 lower-case letters, digits and hyphens, beginning with a letter"),
        ("module", "must be 'package.module:object' or the call of a factory, such as 'wsgi:app' or 'shop:create_app()'"),
        ("memory_max", "must be a size for systemd, such as 512M, 2G, 80% or infinity"),
        ("cpu_max", "must be a share of a core, such as 150%, or infinity"),
        ("tmp_max", "must be a size, such as 500M, or a share of the memory, such as 20%"),
        ("body_size", "must be a number of bytes, or one with k or m, such as 10m"),
        ("health_path", "must be a path of the app, such as /healthz"),
        ("path", "must be / or a path below which the app answers, such as /api"),
    )
    for key, rule in rules:
        unset = key == "module" and not app[key]
        if (not unset and not SPEC[key]["pattern"].fullmatch(app[key])) or (key in ("health_path", "path") and len(app[key]) > LONGEST_PATH):
            problems.append(f"{where}: '{key}' is '{app[key]}'; it {rule}.")
    for key, choices in ((key, rule["choices"]) for key, rule in SPEC.items() if "choices" in rule):
        if app[key] not in choices:
            problems.append(f"{where}: '{key}' is '{app[key]}'; it must be {', '.join(choices[:-1])} or {choices[-1]}.")
    if app["name"].startswith("plainstack"):
        problems.append(f"{where}: 'name' must not begin with 'plainstack': Plainstack's own users and units do.")
    if app["hosts"] and not GROUP.fullmatch(app["hosts"]):
        problems.append(f"{where}: 'hosts' is '{app['hosts']}', which is no name of a group.")
    for domain in app["domains"]:
        if not DOMAIN.fullmatch(domain) or len(domain) > 253:
            hint = _domain_hint(domain)
            problems.append(f"{where}: '{domain}' in 'domains' is not a full, lower-case host name such as www.example.com{hint or '.'}")
    version = PYTHON.fullmatch(app["python"])
    if app["python"] != "system" and not version:
        problems.append(f"{where}: 'python' is '{app['python']}'; it must be 'system' or a version such as '3.13' or '3.13.1'.")
    elif version and int(version[1]) < OLDEST_PYTHON:
        problems.append(f"{where}: 'python' is '{app['python']}', which is too old: the oldest that works is 3.{OLDEST_PYTHON}.")
    for prefix, directory in app["static"].items():
        if not isinstance(prefix, str) or not URL_PREFIX.fullmatch(prefix) or len(prefix) > LONGEST_PATH:
            problems.append(f"{where}: '{prefix}' in 'static' must be a URL prefix such as /static.")
        elif f"{prefix}/".startswith(f"{OF_THE_SITE}/"):
            problems.append(f"{where}: '{prefix}' in 'static': {OF_THE_SITE} is the site's own; take another prefix.")
        elif hidden(f"{prefix}/".removeprefix("/.well-known/")):
            problems.append(f"{where}: '{prefix}' in 'static': nginx serves nothing below a name that begins with a dot, but for /.well-known.")
        elif not f"{prefix}/".startswith(app["path"].rstrip("/") + "/"):
            problems.append(f"{where}: '{prefix}' in 'static' is not below the app's 'path', {app['path']}.")
        if not _inside(directory) or not re.fullmatch(r"[\w./@+-]+", directory):
            problems.append(f"{where}: '{directory}' in 'static' must be a directory inside the source.")
        elif any(f"{directory}/".startswith(f"{shared}/") or f"{shared}/".startswith(f"{directory}/") for shared in app["shared"]):
            problems.append(f"{where}: '{directory}' and what is 'shared' lie in each other, and nginx may not read what is shared; let the app serve it.")
    if f"{app['path']}/".startswith(f"{OF_THE_SITE}/"):
        problems.append(f"{where}: 'path' is '{app['path']}', but {OF_THE_SITE} is the site's own; take another path.")
    # uv would read what begins with a hyphen as an option
    if app["requirements"] and (app["requirements"].startswith("-") or not _inside(os.path.normpath(app["requirements"]))):
        problems.append(f"{where}: the requirements '{app['requirements']}' are not a file in the source.")
    problems += [f"{where}: '{name}' in 'include' must be a path inside the source." for name in app["include"] if not _inside(name)]
    for directory in app["shared"]:
        if len(directory.encode()) > LONGEST_NAME or any(len(part.encode()) > 255 for part in directory.split("/")):
            problems.append(f"{where}: '{directory[:40]}...' in 'shared' is too long: a name has at most 255 bytes, the whole path {LONGEST_NAME}.")
        if not _inside(directory) or directory.split("/")[0] in RESERVED:
            problems.append(f"{where}: '{directory}' in 'shared' must be a path inside the source.")
        # Linking the inner one would reach through the outer one's link, into the data itself
        for other in app["shared"]:
            if directory.startswith(f"{other}/"):
                problems.append(f"{where}: '{directory}' in 'shared' lies in '{other}', which is shared as a whole; remove it.")
    if app["path"] != "/" and MOUNT.fullmatch(app["path"]) and not f"{app['health_path']}/".startswith(f"{app['path']}/"):
        problems.append(f"{where}: 'health_path' is '{app['health_path']}', which is not below the app's 'path', {app['path']}.")
    if app["path"] != "/" and app["certificate"]:
        problems.append(f"{where}: an app with a 'path' has the certificate of the app that has the rest of its domains; remove 'certificate'.")
    if bool(app["certificate"]) != bool(app["certificate_key"]):
        problems.append(f"{where}: 'certificate' and 'certificate_key' go together.")
    return problems or _check_server(app, where) + _check_site(app, where) + _check_processes(app, where) + _check_source(app, where)


def check_processes(app: Mapping[str, Any], where: str) -> list[str]:
    """What is wrong with `processes` and `timers` of an app that may lack other keys."""
    given = {key: app[key] for key in ("processes", "timers") if app.get(key) is not None}
    wrong = [problem for key, value in given.items() for problem in _check_value(key, value, where, SPEC[key])]
    return wrong or _check_processes(with_defaults(given), where)


def check(app: Mapping[str, Any], where: str) -> list[str]:
    """What is wrong with an app that has all keys, but for the files that it names."""
    return _check_types(app, where) or _check_values(app, where) + _check_environment(app, where)


def _check_files(app: Mapping[str, Any], where: str, source: bool) -> list[str]:
    """What is wrong with the files that an app names.

    :param source: whether its source is looked at, too.
    """
    problems = []
    for key in ("certificate", "certificate_key", "basic_auth"):
        if app[key] and not os.path.isfile(app[key]):
            problems.append(f"{where}: '{app[key]}' in '{key}' is not a file on this machine.")
    wrong = [page for page in app["error_pages"].values() if not os.path.isfile(page)]
    problems += [f"{where}: '{page}' in 'error_pages' is not a file on this machine." for page in wrong]
    return problems + (_check_directory(app, where) if source and fetch.kind(app) == "directory" else [])


def _check_directory(app: Mapping[str, Any], where: str) -> list[str]:
    source = app["source"]
    if not os.path.isdir(source):
        return [f"{where}: the source '{source}' is not a directory on this machine."]
    if not os.listdir(source):
        return [f"{where}: the source '{source}' is empty."]
    problems = []
    if app["requirements"]:
        kind = os.path.basename(app["requirements"])
        given = [key for key in ("extras", "groups", "member") if app[key]]
        for key in given:
            if not kind.endswith((".lock", ".toml")) or (key == "member" and kind != "uv.lock") or (key == "extras" and kind == "Pipfile.lock"):
                problems.append(f"{where}: '{key}' says nothing about {app['requirements']}; remove it, or set 'requirements' to another file.")
        if not os.path.isfile(os.path.join(source, app["requirements"])):
            problems.append(f"{where}: the requirements '{app['requirements']}' are not a file in {source}.")
        else:
            problems += [f"{where}: {problem}" for problem in requirements.problems(source, app["requirements"])]
    elif not any(os.path.isfile(os.path.join(source, lock)) for lock in LOCKS):
        problems.append(f"{where}: {source} has no {', '.join(LOCKS[:-1])} or {LOCKS[-1]}; add one, or set 'requirements'.")
    if app["gunicorn_config"] and not app["local_build"] and not os.path.isfile(os.path.join(source, app["gunicorn_config"])):
        problems.append(f"{where}: '{app['gunicorn_config']}' in 'gunicorn_config' is not a file in {source}.")
    for directory in app["static"].values() if not app["local_build"] and not app["server_build"] else ():
        if not os.path.isdir(os.path.join(source, directory)):
            problems.append(f"{where}: '{directory}' in 'static' is not a directory in {source}.")
    return problems


def with_defaults(app: Mapping[str, Any]) -> dict[str, Any]:
    """The app with every default that needs no look at the source."""
    whole: dict[str, Any] = {key: app[key] if app.get(key) is not None else rule.get("default") for key, rule in SPEC.items()}
    for key, options in ((key, rule["options"]) for key, rule in SPEC.items() if "options" in rule):
        whole[key] = {
            name: {option: given[option] if given.get(option) is not None else rule.get("default") for option, rule in options.items()}
            for name, given in whole[key].items()
        }
    return whole


def _complete(app: Mapping[str, Any], directory: str) -> dict[str, Any]:
    """The app with every default filled in and paths made absolute."""
    whole = with_defaults(app)

    def found(path: str) -> str:
        return os.path.normpath(os.path.join(directory, os.path.expanduser(path)))

    for key in ("source", "certificate", "certificate_key", "basic_auth"):
        if whole[key] and not fetch.REPOSITORY.fullmatch(whole[key]):
            whole[key] = found(whole[key])
    whole["error_pages"] = {str(code): found(page) for code, page in whole["error_pages"].items()}
    whole["static"] = {prefix: posixpath.normpath(str(folder)) for prefix, folder in whole["static"].items()}
    whole["headers"] = {name: value or "" for name, value in whole["headers"].items()}
    whole["include"] = list(dict.fromkeys(map(posixpath.normpath, whole["include"])))
    whole["shared"] = list(dict.fromkeys(map(posixpath.normpath, whole["shared"])))
    return whole


def _located(app: Mapping[str, Any], directory: str) -> dict[str, Any]:
    """The app with what its source says, where that is there.

    :param directory: where a source that is no directory has been fetched to; empty where it has not been.
    """
    whole = {**app, **({"source": directory, "package": None} if directory else {})}
    if not whole["requirements"] and whole["source"] and os.path.isdir(whole["source"]):
        found = (lock for lock in LOCKS if os.path.isfile(os.path.join(whole["source"], lock)))
        whole["requirements"] = next(found, None)
    return whole


def _check_together(apps: list[dict[str, Any]]) -> list[str]:
    """What the apps of a server must not have in common, and what those with a path must."""
    problems = []
    names: set[str] = set()
    owners: dict[tuple[str, str], str] = {}
    for app in apps:
        if app["name"] in names:
            problems.append(f"two apps have the name '{app['name']}'; every app needs its own.")
        names.add(app["name"])
        for domain in (*app["domains"], *app["aliases"]):
            place = domain if app["path"] == "/" else f"{domain}{app['path']}"
            if (domain, app["path"]) in owners:
                kind, other = "domain" if app["path"] == "/" else "path", owners[domain, app["path"]]
                problems.append(f"the {kind} '{place}' is claimed twice: by '{other}' and by '{app['name']}'.")
            owners[domain, app["path"]] = app["name"]
    for app in apps:
        if app["path"] != "/" and not any(root["path"] == "/" and set(root["domains"]) == set(app["domains"]) for root in apps):
            problems.append(f"app '{app['name']}': with 'path' {app['path']}, its 'domains' must be just those of an app without a 'path'.")
        for root in apps:
            if app["path"] != "/" and root["path"] == "/" and set(root["domains"]) == set(app["domains"]):
                if app["hosts"] != root["hosts"]:
                    problems.append(f"app '{app['name']}': with 'path' {app['path']}, its 'hosts' must be those of '{root['name']}'.")
                taken = [prefix for prefix in root["static"] if f"{prefix}/".startswith(f"{app['path']}/")]
                problems += [f"app '{root['name']}': the prefix {prefix} of 'static' lies in the 'path' of '{app['name']}'." for prefix in taken]
    return problems


def select(apps: list[dict[str, Any]], name: str) -> list[dict[str, Any]]:
    """The app of that name, as a list; all of them without a name.

    :raises DefinitionError: when there is none of that name.
    """
    chosen = [app for app in apps if name in ("", app["name"])]
    if not chosen:
        raise DefinitionError([f"there is no app '{name}'; {_closest(name, [app['name'] for app in apps])}"])
    return chosen


def normalise(apps: Any, directory: str, sources: bool = True, fetched: Mapping[str, str] | None = None, only: str = "") -> list[dict[str, Any]]:
    """Check the `apps` of an inventory and fill in their defaults.

    :param apps: what the user wrote: a list of mappings with the keys of SPEC.
    :param directory: the inventory's directory, from which paths are taken.
    :param sources: whether the files that the definition names must be there; a rollback needs none.
    :param fetched: by the name of the app the directory to which a source that is none has been fetched.
    :param only: name of the one app whose source is looked at; all of them when empty. The others' certificates and pages are needed all the same.
    :returns: the same apps with every key of SPEC set and paths absolute.
    :raises DefinitionError: with every problem that was found, not only the first.
    """
    if not isinstance(apps, list | tuple) or not apps:
        raise DefinitionError(["no app is defined: 'apps' must be a list with at least one app."])
    problems: list[str] = []
    whole = []
    for position, app in enumerate(apps, 1):
        if isinstance(app, Unresolved):
            problems.append(f"apps[{position}]: {app.reason}")
            continue
        if not isinstance(app, Mapping):
            problems.append(f"apps[{position}]: must be a mapping with the keys name, source, module and domains.")
            continue
        where = f"app {str(app['name'])!r}" if isinstance(app.get("name"), str) and app["name"] else f"apps[{position}]"
        found = _check_types(app, where)
        if not found:
            complete = _complete(app, directory)
            found = _check_values(complete, where)
            complete = _located(complete, (fetched or {}).get(complete["name"], ""))
            found = found or (_check_files(complete, where, only in ("", complete["name"])) if sources else [])
            whole.append(complete)
        problems += found + _check_environment(app, where)
    problems += _check_together(whole)
    if problems:
        raise DefinitionError(problems)
    return whole
