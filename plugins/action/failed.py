"""Note what failed and does not keep the other steps from being done; the end of the run names it and fails."""

from __future__ import annotations

from typing import Any

from ansible.plugins.action import ActionBase
from ansible_collections.plainstack.web.plugins.plugin_utils import run


class ActionModule(ActionBase):
    """Runs on the controller, for each host."""

    _requires_connection = False

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Nothing; what failed is in the file of the host."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        variables = task_vars or {}
        host = variables["inventory_hostname"]
        said = str(variables.get("ansible_failed_result", {}).get("msg") or "see above")
        run.note(host, left=[*run.of_host(host).get("left", []), f"{self._task.args['what']}: {said.splitlines()[0]}"])
        return {**result, "changed": False}
