"""What nginx does with a site in maintenance, and what is said of it. Pure functions."""

from __future__ import annotations

import html
import ipaddress
import re
from collections.abc import Mapping, Sequence
from typing import Any

from ansible_collections.plainstack.web.plugins.module_utils.layout import App
from ansible_collections.plainstack.web.plugins.module_utils.text import plain

MODES = ("on", "off")
PAUSED_FOR = 2 / 3  # of an app's `timeout` its requests may wait, so that the rest is left to start it and to answer
RETRY_AFTER, LONGEST = 600, 604800  # seconds
MESSAGE = "We are working on this site. Please come back in a while."
PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>Maintenance</title>
<style>
body {{ font: 1.1rem/1.5 system-ui, sans-serif; margin: 0; min-height: 100vh; display: grid; place-content: center; padding: 1.5rem }}
h1 {{ font-size: 1.6rem; margin: 0 0 .5rem }}
p {{ margin: 0; max-width: 36rem; overflow-wrap: anywhere; white-space: pre-line }}
</style>
</head>
<body>
<main>
<h1>Maintenance</h1>
<p>{message}</p>
</main>
</body>
</html>
"""
# In http{{}}: who gets the page. Health checks, networks that are allowed and who has opened the link do not, nor does the page itself, for which
# nginx asks once more
MAP = """geo $plainstack_allowed_{name} {{
    default 0;
{networks}}}
map $cookie_plainstack_maintenance $plainstack_opened_{name} {{ {key} 1; default 0; }}
map "$plainstack_probe$plainstack_allowed_{name}$plainstack_opened_{name} $scheme $uri" $plainstack_maintenance_{name} {{
    volatile;
    "~^[01]*1" 0;
    "~^000 https? /\\.plainstack/{app}\\.(maintenance(\\.html)?|open/{key})\\z" 0;
    "~^000 http /\\.well-known/acme-challenge/" 0;
{others}    {own} 1;
    default 0;
}}
"""
# In server{{}}
SERVER = """if ($plainstack_maintenance_{name}) {{
    rewrite ^ /.plainstack/{app}.maintenance last;
}}
location = /.plainstack/{app}.maintenance {{
    internal;
    auth_basic off;
    error_page 503 /.plainstack/{app}.maintenance.html;
    return 503;
}}
location = /.plainstack/{app}.maintenance.html {{
    internal;
    auth_basic off;
    alias {page};
    add_header Retry-After {retry_after} always;
    add_header Cache-Control no-store always;
    add_header X-Content-Type-Options nosniff always;
    add_header X-Frame-Options DENY always;
}}
location = /.plainstack/{app}.open/{key} {{
    add_header Set-Cookie "plainstack_maintenance={key}; Path=/; Secure; HttpOnly; SameSite=Lax";
    add_header Cache-Control no-store;
    return 302 https://$host{path};
}}
"""


class MaintenanceError(ValueError):
    """An option of the command is wrong; nothing was touched."""


def options(given: Mapping[str, Any]) -> dict[str, Any]:
    """The options of the command, checked.

    :param given: `mode`, `text`, `allow` (networks, with commas between), `retry_after` and `pause` as text; empty where they were not given.
    :raises MaintenanceError: with what is wrong, where it is set, and what to do.
    """
    if pause := str(given.get("pause") or ""):
        if given.get("mode") or not re.fullmatch("[1-9][0-9]{0,3}", pause):
            raise MaintenanceError(
                f"pause is '{plain(pause)}': it must be a number of seconds, and without a mode. Nothing was touched.\n"
                "Where it is set: -e pause=... of the command."
            )
        return {"mode": "pause", "pause": int(pause)}
    mode, message = str(given.get("mode") or ""), str(given.get("text") or "").strip()
    if mode not in MODES:
        raise MaintenanceError(f"mode is '{plain(mode)}': it must be on or off. Nothing was touched.\nNext: the same command with -e mode=on or -e mode=off")
    networks = []
    for one in filter(None, (word.strip() for word in str(given.get("allow") or "").split(","))):
        try:
            networks.append(str(ipaddress.ip_network(one, strict=False)))
        except ValueError:
            raise MaintenanceError(
                f"'{plain(one)}' is no address and no network, such as 203.0.113.7 or 198.51.100.0/24. Nothing was touched.\n"
                "Where it is set: -e allow=... of the command, with commas between."
            ) from None
    text = str(given.get("retry_after") or RETRY_AFTER)
    if not re.fullmatch("[0-9]{1,6}", text) or not 1 <= int(text) <= LONGEST:
        raise MaintenanceError(
            f"retry_after is '{plain(text)}': it must be a number of seconds from 1 to {LONGEST}. Nothing was touched.\n"
            "Where it is set: -e retry_after=... of the command."
        )
    return {"mode": mode, "message": message, "allow": networks, "retry_after": int(text)}


def _below(path: str) -> str:
    """nginx's pattern for a path and all below it; the whole site for `/`."""
    return '"~^000 https? /"' if path == "/" else f'"~^000 https? {re.escape(path)}(/|\\z)"'


def files(app: Mapping[str, Any], others: Sequence[str], wanted: Mapping[str, Any], key: str) -> dict[str, str]:
    """The files of nginx by their path.

    :param app: `name`, `path` and `error_pages` of an app as `normalise` returns it.
    :param others: paths of the site that belong to other apps.
    :param wanted: what `options` returns.
    :param key: what the cookie and its link have, of letters, digits, `-` and `_`.
    """
    paths, name = App(app["name"]), app["name"].replace("-", "_")
    own = not wanted["message"] and "503" in map(str, app["error_pages"])
    page = f"/var/www/plainstack/{app['name']}/503.html" if own else paths.maintenance_page
    longer = [path for path in others if path != app["path"] and (app["path"] == "/" or path.startswith(f"{app['path']}/"))]
    found = {
        paths.maintenance_map: MAP.format(
            name=name,
            app=app["name"],
            networks="".join(f"    {network} 1;\n" for network in wanted["allow"]),
            key=key,
            others="".join(f"    {_below(path)} 0;\n" for path in sorted(longer, key=len, reverse=True)),
            own=_below(app["path"]),
        ),
        paths.maintenance_rules: SERVER.format(name=name, app=app["name"], key=key, page=page, path=app["path"], retry_after=wanted["retry_after"]),
    }
    return found if own else {paths.maintenance_page: PAGE.format(message=html.escape(wanted["message"] or MESSAGE)), **found}


def check_pause(app: Mapping[str, Any], seconds: int) -> None:
    """:raises MaintenanceError: where nginx would not wait for so long."""
    most = int(app["timeout"] * PAUSED_FOR)
    if seconds > most:
        raise MaintenanceError(
            f"pause is {seconds}: requests to {app['name']} can wait for up to {most} s, as its 'timeout' is {app['timeout']} s. Nothing was touched.\n"
            "Where it is set: -e pause=... of the command, and 'timeout' of the app.\nNext: a shorter pause; or -e mode=on, which shows a page."
        )


def link(name: str, domain: str, key: str) -> str:
    """What opens the site for one browser, with a cookie."""
    return f"https://{domain}/.plainstack/{name}.open/{key}"


def text(mode: str, links: Mapping[str, str], seen: Mapping[str, Mapping[str, Any]], check: bool) -> tuple[str, str]:
    """What was done, and what is said where it failed; empty where it did not.

    :param links: of each app.
    :param seen: by server what the module `maintenance` did.
    """
    failed = [f"{server}: {one['error']}" for server, one in seen.items() if one.get("error")]
    state, lines = {"on": "in maintenance", "pause": "paused"}.get(mode, "open to all"), list[str]()
    for name, opens in links.items():
        done = {server: one["apps"][name] for server, one in seen.items() if name in one.get("apps", {})}
        changed = [server for server, did in done.items() if did]
        if changed:
            lines.append(f"{name} {'would be' if check else 'is'} {state} now: {', '.join(changed)}")
        elif done:
            lines.append(f"{name} is {state}, as it was")
        if done and mode == "on" and not check:
            lines.append(f"This link opens it for one browser: {opens}")
    if failed:
        failed.append("Next: the same command again, once that is corrected; until then the servers differ.")
    return plain("\n".join(lines)), plain("\n".join(failed))
