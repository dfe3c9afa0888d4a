"""Put apps into maintenance on a host, or take them out."""

from __future__ import annotations

import getpass
import json
import socket
import time
from collections.abc import Mapping, Sequence
from typing import Any

from ansible_collections.plainstack.web.plugins.module_utils.controller import maintenance
from ansible_collections.plainstack.web.plugins.module_utils.environment import encode
from ansible_collections.plainstack.web.plugins.plugin_utils import run as run_files
from ansible_collections.plainstack.web.plugins.plugin_utils.daily import Daily
from ansible_collections.plainstack.web.plugins.plugin_utils.definition import UnfitDefinitionError, definition


class ActionModule(Daily):
    """See module_utils/host/maintenance.py."""

    module = "maintenance"

    def arguments(self, plan: Mapping[str, Any], host: str, apps: Sequence[Mapping[str, Any]], selected: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """For each app nginx's files, where visitors come in."""
        wanted = maintenance.options(self._task.args)
        if wanted["mode"] == "pause":
            here = [app["name"] for app in selected if host in plan["web"][app["name"]]]
            return {"mode": "pause", "orders": encode(json.dumps([{"name": name, "seconds": wanted["pause"]} for name in here]))}
        about = {"time": time.strftime("%Y%m%dT%H%M%SZ", time.gmtime()), "by": getpass.getuser(), "origin": socket.gethostname()}
        orders = []
        for app in selected:
            edge = host in (plan["balancers"] or plan["web"][app["name"]])
            others = [other["path"] for other in apps if {*other["domains"]} & {*app["domains"]}]
            files = maintenance.files(app, others, wanted, plan["key"]) if edge and wanted["mode"] == "on" else {}
            orders.append({"name": app["name"], "files": files, "about": about})
        return {"mode": wanted["mode"], "orders": encode(json.dumps(orders))}

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """No host is contacted where an option is wrong."""
        try:
            wanted = maintenance.options(self._task.args)
            plan = run_files.load(run_files.PLAN)
            for app in definition(self._templar, sources=False, fetched=plan["fetched"]) if plan and wanted["mode"] == "pause" else ():
                if app["name"] in plan["apps"]:
                    maintenance.check_pause(app, wanted["pause"])
        except UnfitDefinitionError:
            return super().run(tmp, task_vars)  # which says so
        except maintenance.MaintenanceError as error:
            run_files.note((task_vars or {})["inventory_hostname"], maintenance={"wrong": str(error)})
            return {"changed": False, "skipped": True}
        return super().run(tmp, task_vars)
