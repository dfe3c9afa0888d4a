"""Check a host, and say in plain words when it cannot even be reached."""

from __future__ import annotations

import re
import time
from typing import Any

from ansible.errors import AnsibleConnectionFailure, AnsibleError
from ansible.plugins.action import ActionBase

SUDO = re.compile(r"sudo|become|not in the sudoers|password is required", re.IGNORECASE)


class ActionModule(ActionBase):
    """Run the module on the host; what goes wrong before it runs becomes an error that says what to do."""

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """The module's result, with the host named and the next command."""
        super().run(tmp, task_vars)
        variables = task_vars or {}
        host = variables.get("inventory_hostname", "the host")
        where = f"Where it is set: '{host}' in {variables.get('inventory_file') or 'the inventory'}."
        address = variables.get("ansible_host", host)
        user = variables.get("ansible_user") or self._play_context.remote_user or ""
        port = variables.get("ansible_port")
        ssh = f"ssh {'-p ' + str(port) + ' ' if port else ''}{user + '@' if user else ''}{address}"
        try:
            result = self._execute_module("plainstack.web.preflight", {**self._task.args, "now": time.time()}, task_vars=variables)
        except AnsibleConnectionFailure as error:
            return self._failed(f"{host} cannot be reached: {error}\n{where}\nNext: '{ssh}' must log in without a question; then run the same command again.")
        except AnsibleError as error:  # a wrong or missing password for sudo is noticed before the module runs
            result = {"failed": True, "msg": str(error)}
        if not result.get("failed"):
            return result
        said = "\n".join(str(result.get(key, "")) for key in ("msg", "module_stderr", "module_stdout")).strip()
        if result.get("refused"):
            reasons = "\n".join(f"  - {line}" for line in str(result["msg"]).splitlines())
            return self._failed(f"{host} cannot be deployed to; nothing was touched.\n{reasons}\n{where}\nThen run the same command again.")
        if SUDO.search(said):
            return self._failed(
                f"{host} can be reached, but '{user}' cannot become root with sudo: {said}\n{where}\n"
                f"Next: '{ssh} sudo -v' must work. Where sudo asks for a password, add --ask-become-pass to the command."
            )
        return self._failed(f"{host} could not be checked: {said}\n{where}\nNext: '{ssh} /usr/bin/python3 -V' must print a version of Python.")

    @staticmethod
    def _failed(message: str) -> dict[str, Any]:
        return {"failed": True, "msg": message}
