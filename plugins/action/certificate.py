"""See the certificates that there are, or take what the run has seen."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ansible_collections.plainstack.web.plugins.plugin_utils.looks import Look


class ActionModule(Look):
    """See the documentation of the module."""

    module = "certificate"

    def _holds(self, result: Mapping[str, Any]) -> bool:
        return bool(self._task.check_mode or not result["changed"])
