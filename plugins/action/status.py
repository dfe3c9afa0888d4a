"""Look at how a server and its apps are."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from ansible.module_utils.parsing.convert_bool import boolean
from ansible_collections.plainstack.web.plugins.module_utils.controller import orders
from ansible_collections.plainstack.web.plugins.module_utils.environment import encode
from ansible_collections.plainstack.web.plugins.module_utils.version import VERSION
from ansible_collections.plainstack.web.plugins.plugin_utils.daily import Daily


class ActionModule(Daily):
    """See module_utils/host/status.py."""

    module = "status"

    def arguments(self, plan: Mapping[str, Any], host: str, apps: Sequence[Mapping[str, Any]], selected: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """The apps of the host with what they are to be; a load balancer has their sites alone."""
        server = host in plan["servers"]
        web = [app for app in selected if not server or host in plan["web"][app["name"]]]
        looked_at = []
        for app in selected:
            wanted = {"config": orders.config(app, VERSION), "environment": orders.environment(app)}
            looked_at.append({"name": app["name"], "host": app["domains"][0] if app["domains"] else "localhost", "wanted": wanted})
        ends_tls = not (server and plan["balancers"])
        return {
            "apps": encode(json.dumps(looked_at)) if server else "",
            "known": [app["name"] for app in apps],
            "domains": [*dict.fromkeys(name for app in web for name in [*app["domains"], *app["aliases"]])] if ends_tls else [],
            "serves": bool(web),
            **({"minutes": True} if boolean(self._task.args.get("minutes", False)) else {}),
        }
