"""Look at what is wrong with a server, or soon will be."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from ansible_collections.plainstack.web.plugins.action.status import ActionModule as Status
from ansible_collections.plainstack.web.plugins.plugin_utils.definition import UnfitDefinitionError, definition

ISSUER = "https://acme-v02.api.letsencrypt.org/directory"
INDEXES = ("UV_DEFAULT_INDEX", "UV_INDEX_URL", "PIP_INDEX_URL")
NEEDS = ("memory_mb", "disk_mb", "inodes", "clock_skew")


def _public(url: str) -> str:
    """A URL without the credentials in it."""
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))


class ActionModule(Status):
    """See module_utils/host/doctor.py."""

    module = "doctor"

    def arguments(self, plan: Mapping[str, Any], host: str, apps: Sequence[Mapping[str, Any]], selected: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """What `status` asks, and what a deploy needs."""
        given, asked = self._task.args, super().arguments(plan, host, apps, selected)
        edge = host in plan["balancers"] or (host in plan["servers"] and host not in plan["workers"])
        acme = any(not app["certificate"] for app in selected) and host in (plan["balancers"] or plan["servers"]) and edge
        environment = {str(key): str(value) for key, value in (given.get("build_environment") or {}).items()}
        urls = {}
        if host in plan["servers"] and not all(app["bundle"] for app in selected):
            for index in [environment[name] for name in INDEXES if environment.get(name)][:1]:
                urls[_public(index)] = "has the packages of the apps (build_environment)"
        if acme:
            urls[_public(str(given.get("certbot_server") or ISSUER))] = "issues the certificates (certbot_server)"
        proxy = {key: value for key, value in environment.items() if key.lower() in ("http_proxy", "https_proxy")}
        needed = {key: given[key] for key in NEEDS if key in given}
        ports = [80, 443] if host in (plan["balancers"] or plan["servers"]) and edge else [80] if edge else []
        return {**asked, **needed, "ports": ports, "now": time.time(), "nginx": edge, "acme": acme, "urls": urls, "build_environment": proxy}

    def _look(self, variables: dict[str, Any], host: str, plan: Mapping[str, Any]) -> dict[str, Any]:
        """What was seen, and which names visitors come to this host by."""
        seen = super()._look(variables, host, plan)
        try:
            apps = [app for app in definition(self._templar, sources=False, fetched=plan["fetched"]) if app["name"] in plan["apps"]]
        except UnfitDefinitionError:
            apps = []
        edge = [app for app in apps if host in (plan["balancers"] or plan["web"][app["name"]])]
        names = {name: not app["certificate"] and not self._task.args.get("certbot_server") for app in edge for name in (*app["domains"], *app["aliases"])}
        address = str(variables.get("ansible_host") or host)
        return {**seen, "names": names, "address": address, "proxied": bool(variables.get("nginx_trusted_proxies"))}
