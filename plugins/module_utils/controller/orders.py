"""What a host is told to do for an app in each step, made from the app's definition and what was decided. Pure functions."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from ansible_collections.plainstack.web.plugins.module_utils.controller.bundle import SETTINGS
from ansible_collections.plainstack.web.plugins.module_utils.controller.spec import OWN_SETTINGS
from ansible_collections.plainstack.web.plugins.module_utils.controller.wiring import release_config
from ansible_collections.plainstack.web.plugins.module_utils.environment import render
from ansible_collections.plainstack.web.plugins.module_utils.layout import App


def environment(app: Mapping[str, Any]) -> str:
    """The environment file of a release: `env` and `secrets`, or what a release that comes from a server was deployed with."""
    return render(app["environment"] if "environment" in app else {**app["env"], **app["secrets"]})


def config(app: Mapping[str, Any], version: str) -> dict[str, Any]:
    """The settings of a release; those of one that comes from a server are as that one was deployed."""
    return dict(app["config"]) if "config" in app else release_config(app, version)


def base(app: Mapping[str, Any], identifier: str, event: str, tls: bool = True, fleet: bool = False, nginx: bool = True, leads: bool = True) -> dict[str, Any]:
    """What every step gets.

    :param app: an app as `normalise` returns it.
    :param event: `deploy`, `restart` or `rollback`.
    :param tls: whether the host's own nginx speaks HTTPS.
    :param fleet: whether other servers get the release, too.
    :param nginx: whether the host's nginx has the app; a worker server has none.
    :param leads: whether this server is the one that tells of it, of those that do it.
    """
    return {
        "name": app["name"],
        "id": identifier,
        "event": event,
        "host": app["domains"][0] if app["domains"] else "localhost",
        "tls": tls,
        "fleet": fleet,
        "nginx": nginx,
        "leads": leads,
        "keep": app["keep_releases"],
        # A release that is gone back to has served before; nginx is probed once
        "confirm_seconds": app["confirm_seconds"] if event != "rollback" else 0,
        **{key: app[key] for key in ("health_path", "start_timeout", "timeout", "migrate", "after_live", "hook_timeout")},
    }


def stage(app: Mapping[str, Any], archive: Mapping[str, Any], version: str, build_environment: Mapping[str, str]) -> dict[str, Any]:
    """What building needs besides.

    :param archive: `digest` and `story` of the archive.
    """
    return {
        "digest": archive["digest"],
        "story": archive["story"],
        "config": config(app, version),
        "environment": environment(app),
        # With a bundle no index is asked, and the server gets no credentials for one
        "build_environment": {name: value for name, value in build_environment.items() if not (app.get("bundle") and SETTINGS.fullmatch(name))},
        "env": {name: str(value) for name, value in app["env"].items()},
        "archive": "",
        "content": "",
        **{key: app[key] for key in ("requirements", "python", "shared", "static", "build", "server_build")},
    }


def as_deployed(app: Mapping[str, Any], settings: Mapping[str, Any]) -> dict[str, Any]:
    """The app with the settings that a release was deployed with, for a rollback to it."""
    return {**app, **{key: value for key, value in settings.items() if key in app}}


def unit_variables(app: Mapping[str, Any], identifier: str, nginx: bool = True) -> dict[str, Any]:
    """What the templates of the units and of Gunicorn's settings take.

    :param nginx: whether the host's nginx has the app; without, Gunicorn answers health checks alone, and one worker is enough.
    """
    served = ("module", "server", "gunicorn_config", "threads", "timeout", "max_requests", "preload", "start_timeout")
    keys = (*served, "memory_max", "cpu_max", "tasks_max", "open_files", "tmp_max", "executable_memory")
    return {
        "gunicorn_app": app["name"],
        "gunicorn_release": identifier,
        "gunicorn_workers": app["workers"] or 0 if nginx else 1,
        "gunicorn_socket_group": "www-data",
        "gunicorn_command": _word(app["command"]) if app["server"] == "command" else "",
        "gunicorn_reserved": OWN_SETTINGS,
        "gunicorn_prefix": app["path"] if app["strip_path"] else "",
        # As Python writes them, which is how Gunicorn reads them
        "gunicorn_settings": {name: repr(value) for name, value in app["gunicorn"].items()},
        **{f"gunicorn_{key.removeprefix('gunicorn_')}": app[key] for key in keys},
    }


def _word(text: str) -> str:
    """Text as one word of a command in a unit: systemd leaves it as it is (systemd.service(5), systemd.unit(5))."""
    for sign, written in (("\\", "\\\\"), ('"', '\\"'), ("\n", "\\n"), ("\t", "\\t"), ("%", "%%"), ("$", "$$")):
        text = text.replace(sign, written)
    return f'"{text}"'


def processes(app: Mapping[str, Any], identifier: str, groups: Collection[str], nginx: bool = True) -> list[dict[str, Any]]:
    """What runs beside the web server on a host: for each process and timer what its templates take, with the name of its `unit`.

    :param groups: of the host.
    :param nginx: whether the host's nginx has the app; what names no group runs on no worker server.
    """
    paths, found = App(app["name"]), []
    for name, rule in {**app["processes"], **app["timers"]}.items():
        if rule["hosts"] not in groups if rule["hosts"] else not nginx:
            continue
        about = {"name": name, "schedule": "", **rule, "command": _word(rule["command"])}
        places = [""] if about["schedule"] else [str(number + 1) for number in range(rule["count"])] if rule["overlap"] else ["alone"]
        kind = "timer" if about["schedule"] else "service"
        found += [{**about, "unit": paths.process(identifier, name, place, kind)} for place in places]
    return found
