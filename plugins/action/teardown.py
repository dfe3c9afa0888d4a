"""Remove an app in the run that holds its lock, and say what has become of its data."""

from __future__ import annotations

from typing import Any

from ansible.plugins.action import ActionBase
from ansible_collections.plainstack.web.plugins.plugin_utils import run


class ActionModule(ActionBase):
    """Run the module with the run's token."""

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """The module's result."""
        super().run(tmp, task_vars)
        variables = task_vars or {}
        host, given = variables["inventory_hostname"], self._task.args
        token = run.of_host(host).get("token", "")
        result: dict[str, Any] = self._execute_module("plainstack.web.teardown", {**given, "run": token}, task_vars=variables)
        if not result.get("failed"):
            would = " would be" if self._task.check_mode else ""
            said = (
                f"{host}: {given['app']}{would} removed: {len(result['removed'])} units, files and directories."
                if result["removed"]
                else f"{host}: nothing of {given['app']} is here."
            )
            result.update(msg=said + (f" Its data is in {result['kept']}." if result["kept"] else ""), _ansible_verbose_always=True)
        return result
