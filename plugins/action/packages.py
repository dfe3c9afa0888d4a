"""Install packages; while another program holds apt's locks, say which one and wait for it."""

from __future__ import annotations

import time
from typing import Any

from ansible.plugins.action import ActionBase
from ansible.utils.display import Display
from ansible_collections.plainstack.web.plugins.plugin_utils.run import forget

LOCK_TIMEOUT = 300  # seconds


class ActionModule(ActionBase):
    """Run the module until the locks were free."""

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """The module's result, or who has held the locks for too long."""
        super().run(tmp, task_vars)
        host = (task_vars or {}).get("inventory_hostname", "the host")
        timeout = int(self._task.args.get("lock_timeout", LOCK_TIMEOUT))
        deadline = time.monotonic() + timeout
        announced = ""
        while True:
            left = max(0, round(deadline - time.monotonic()))
            arguments = {**self._task.args, "patience": min(10 if announced else 1, left)}
            result: dict[str, Any] = self._execute_module("plainstack.web.packages", arguments, task_vars=task_vars)
            by = result.get("held_by", "")
            if not by:
                if result.get("changed"):
                    forget(host)
                return result
            if not left:
                return {
                    "failed": True,
                    "msg": f"{host}: {by} has held the lock of apt for {timeout} s, so that nothing can be installed.\n"
                    "Where it is set: apt_lock_timeout in the inventory (seconds to wait for it).\n"
                    f"Next: see what it does: 'ps -fp {by.rpartition(' ')[2].strip(')')}' on {host}. When it has ended, run the same command again.",
                }
            if by != announced:
                Display().display(f"{host}: waiting up to {left} s for {by}, which holds the lock of apt (apt_lock_timeout)")
                announced = by
