"""Archive the source of apps on the controller, once for the whole run."""

from __future__ import annotations

from typing import Any

from ansible.plugins.action import ActionBase
from ansible_collections.plainstack.web.plugins.module_utils.controller.archive import ArchiveError
from ansible_collections.plainstack.web.plugins.plugin_utils.sources import archive


class ActionModule(ActionBase):
    """Runs on the controller; the archives vanish with the run's temporary directory."""

    _requires_connection = False

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """One archive for each source; see the documentation of the module."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        given = self._task.args
        apps = [
            {
                "name": name,
                "source": source,
                "include": given.get("include", {}).get(name, []),
                "static": given.get("static", {}).get(name, {}),
                "requirements": given.get("requirements", {}).get(name, ""),
            }
            for name, source in given["sources"].items()
        ]
        try:
            archives, warnings = archive(apps)
        except ArchiveError as error:
            return {**result, "failed": True, "msg": str(error)}
        return {**result, "changed": False, "archives": archives, "warnings": warnings}
