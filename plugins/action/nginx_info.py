"""See what the configuration of nginx depends on, or take what the run has seen."""

from __future__ import annotations

from typing import Any

from ansible_collections.plainstack.web.plugins.plugin_utils import run as run_files
from ansible_collections.plainstack.web.plugins.plugin_utils.looks import Look


class ActionModule(Look):
    """See the documentation of the module. The end of a run says when the certificates expire."""

    module = "nginx_info"

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """The module's result."""
        result = super().run(tmp, task_vars)
        host = (task_vars or {}).get("inventory_hostname", "")
        if "served" in result and run_files.of_host(host):
            ends = {site: [part["until"] for part in parts if part["until"]] for site, parts in result["served"].items()}
            run_files.note(host, certificates={site: min(found) for site, found in ends.items() if found})
        return result
