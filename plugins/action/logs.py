"""Read the lines of the logs of a server's apps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ansible_collections.plainstack.web.plugins.module_utils.controller.logs import WrongOptionError, options
from ansible_collections.plainstack.web.plugins.plugin_utils.daily import Daily


class ActionModule(Daily):
    """See module_utils/host/logs.py."""

    module = "logs"

    def arguments(self, plan: Mapping[str, Any], host: str, apps: Sequence[Mapping[str, Any]], selected: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """The names of a site count as an app's where it has all of it; below a path only what it has answered."""
        domains = {app["name"]: [*app["domains"], *app["aliases"]] if app["path"] == "/" else [] for app in selected}
        return {"apps": [{"name": name, "domains": names} for name, names in domains.items()], **options(self._task.args)}

    def _look(self, variables: dict[str, Any], host: str, plan: Mapping[str, Any]) -> dict[str, Any]:
        try:
            return super()._look(variables, host, plan)
        except WrongOptionError as error:
            return {"wrong": str(error)}
