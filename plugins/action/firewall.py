"""See the kernel's rules, or take what the run has seen."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ansible_collections.plainstack.web.plugins.plugin_utils.looks import Look


class ActionModule(Look):
    """See the documentation of the module."""

    module = "firewall"

    def _holds(self, result: Mapping[str, Any]) -> bool:
        return not result["changed"]
