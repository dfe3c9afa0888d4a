"""Run a command in the live release of an app, on the host that is chosen by what has been seen of all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ansible_collections.plainstack.web.plugins.module_utils.controller.command import CommandError, choose, timeout
from ansible_collections.plainstack.web.plugins.module_utils.environment import encode
from ansible_collections.plainstack.web.plugins.plugin_utils import run as run_files
from ansible_collections.plainstack.web.plugins.plugin_utils.daily import Daily, seen

NOTHING = """There is no command; nothing was run.
Next: the same command with one, such as -e 'command="flask db current"'"""


class ActionModule(Daily):
    """See module_utils/host/command.py."""

    module = "run"

    def arguments(self, plan: Mapping[str, Any], host: str, apps: Sequence[Mapping[str, Any]], selected: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """The command, and which values must not be shown."""
        [app] = selected
        given = self._task.args
        wait = timeout(str(given.get("timeout", "")))
        return {"app": app["name"], "command": encode(str(given["command"])), "timeout": wait, "secrets": sorted(app["secrets"])}

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Skipped on a host that is not chosen: it is not contacted."""
        variables = task_vars or {}
        host, plan = variables["inventory_hostname"], run_files.load(run_files.PLAN)
        if plan:
            [name] = plan["apps"]
            try:
                if not str(self._task.args.get("command") or "").strip():
                    raise CommandError(NOTHING)
                timeout(str(self._task.args.get("timeout", "")))
                chosen = choose(name, str(self._task.args.get("host") or ""), plan["hosts"][name], seen(plan, "releases"))
            except CommandError as error:
                run_files.note(host, run={"wrong": str(error)})
                return {"changed": False, "skipped": True}
            if host not in chosen:
                return {"changed": False, "skipped": True}
        return super().run(tmp, task_vars)
