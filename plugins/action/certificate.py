"""See the certificates that there are, or take what the run has seen."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ansible_collections.plainstack.web.plugins.plugin_utils.looks import Look


class ActionModule(Look):
    """See the documentation of the module."""

    module = "certificate"

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """The module's result; a failure where a certbot that is not Debian's would have to be used."""
        result = super().run(tmp, task_vars)
        needed = self._task.args.get("certificates") or self._task.args.get("others")
        if needed and result.get("foreign") and not result.get("failed"):
            return {**result, "failed": True, "msg": result["foreign"]}
        return result

    def _holds(self, result: Mapping[str, Any]) -> bool:
        return bool(self._task.check_mode or not result["changed"])
