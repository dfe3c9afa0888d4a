"""`hook` is a step of a run. Its command goes to the module as one encoded text: it may have a token in it, and options are in the journal."""

from __future__ import annotations

from typing import Any

from ansible_collections.plainstack.web.plugins.action.step import ActionModule as Step
from ansible_collections.plainstack.web.plugins.module_utils.environment import encode


class ActionModule(Step):
    """Run the module."""

    def arguments(self) -> dict[str, Any]:
        """The options with the command encoded."""
        return {**self._task.args, "command": encode(str(self._task.args["command"]))}
