"""Watch what visitors meet, and keep it for the decision about the canary."""

from __future__ import annotations

from typing import Any

from ansible.plugins.action import ActionBase
from ansible_collections.plainstack.web.plugins.plugin_utils import run


class ActionModule(ActionBase):
    """Run the module; what it found is in the file of the host."""

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """The module's result."""
        super().run(tmp, task_vars)
        variables = task_vars or {}
        result: dict[str, Any] = self._execute_module("plainstack.web.traffic", dict(self._task.args), task_vars=variables)
        if not result.get("failed"):
            run.note(variables["inventory_hostname"], traffic=result["apps"])
        return result
