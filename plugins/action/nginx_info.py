"""See what the configuration of nginx depends on, or take what the run has seen."""

from __future__ import annotations

from ansible_collections.plainstack.web.plugins.plugin_utils.looks import Look


class ActionModule(Look):
    """See the documentation of the module."""

    module = "nginx_info"
