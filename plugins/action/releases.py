"""Read which releases a server has."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ansible_collections.plainstack.web.plugins.plugin_utils.daily import Daily


class ActionModule(Daily):
    """See `releases` of module_utils/host/inspect.py."""

    module = "releases"

    def arguments(self, plan: Mapping[str, Any], host: str, apps: Sequence[Mapping[str, Any]], selected: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """The names of the apps."""
        return {"apps": [app["name"] for app in selected]}
