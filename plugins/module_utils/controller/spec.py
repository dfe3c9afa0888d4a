"""The specification of the `apps` definition: each key with its type, default, bounds and meaning.

It is also the source of docs/reference.md, of the JSON Schema for editors, and of the argument specs of the roles `release` and `gunicorn`:
tools/reference.py writes them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from ansible_collections.plainstack.web.plugins.module_utils import exported
from ansible_collections.plainstack.web.plugins.module_utils.controller.bundle import SYSTEMS
from ansible_collections.plainstack.web.plugins.module_utils.environment import VARIABLE

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
