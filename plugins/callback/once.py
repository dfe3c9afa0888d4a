"""Ansible's default output, with each error of Plainstack printed once."""

from __future__ import annotations

DOCUMENTATION = r"""
name: once
type: stdout
short_description: Ansible's default output, with each error of Plainstack once
version_added: "0.1.0"
author: Plainstack contributors (!UNKNOWN)
description:
  - Ansible shows a failed task twice, first with its place in a playbook and then as a result. An error of Plainstack says
    itself where it is set, so only the result is shown. Of a step of a rollout that is then taken back only the first line is shown when it
    fails, since the run ends with the cause and the app's own words. All else is as the callback P(ansible.builtin.default#callback) has it.
  - Without this callback nothing gets lost; errors then come twice.
extends_documentation_fragment:
  - default_callback
  - result_format_callback
requirements:
  - set as C(stdout_callback)
"""

from typing import Any

from ansible.plugins.callback.default import CallbackModule as Default


def rescued(task: Any) -> bool:
    """Whether a block around the task has a rescue."""
    around = task._parent
    while around and not getattr(around, "rescue", None):
        around = around._parent
    return bool(around)


class CallbackModule(Default):
    """See the documentation."""

    CALLBACK_NAME = "plainstack.web.once"

    def v2_runner_on_failed(self, result: Any, ignore_errors: bool = False) -> None:
        """Without what is said elsewhere."""
        action, said = result.task.resolved_action, str(result.result.get("msg", ""))
        if action.startswith("plainstack.web.") and "\n" in said:
            result.result.pop("exception", None)
            if action == "plainstack.web.step" and rescued(result.task):
                result.result.clear()
                result.result["msg"] = said.splitlines()[0]
        super().v2_runner_on_failed(result, ignore_errors)
