"""What the daily commands share: each looks at all servers at once, one round trip each, and none that cannot be reached keeps the others waiting."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ansible.errors import AnsibleConnectionFailure, AnsibleError
from ansible.plugins.action import ActionBase
from ansible_collections.plainstack.web.plugins.plugin_utils import run
from ansible_collections.plainstack.web.plugins.plugin_utils.definition import UnfitDefinitionError, definition

ALONE = """There is no plan: this command is for all servers of an inventory, and begins on this machine.
Next: the same command without --limit, --tags and --skip-tags."""


class Daily(ActionBase):
    """Run a module of the same name on the host, and keep what it has seen for the task that shows it."""

    module = ""

    def arguments(self, plan: Mapping[str, Any], host: str, apps: Sequence[Mapping[str, Any]], selected: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """Options for the module.

        :param apps: all apps that are to be on the host.
        :param selected: those of them that the command is for.
        """
        raise NotImplementedError

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Whether the host was looked at, and why not."""
        super().run(tmp, task_vars)
        variables = task_vars or {}
        host, plan = variables["inventory_hostname"], run.load(run.PLAN)
        if not plan:
            return {"failed": True, "msg": ALONE}
        seen = self._look(variables, host, plan)
        changed = bool(seen.pop("changed", False))
        run.note(host, **{self.module: seen})
        return {"changed": changed, "error": seen.get("error", "")}

    def _look(self, variables: dict[str, Any], host: str, plan: Mapping[str, Any]) -> dict[str, Any]:
        """What was seen of the host; its `error` where that could not be."""
        server = host in plan["servers"]
        try:
            found = definition(self._templar, sources=False, fetched=plan["fetched"])
            apps = [app for app in found if (host in plan["hosts"][app["name"]] if server else plan["web"][app["name"]])]
            selected = [app for app in apps if app["name"] in plan["apps"]]
            result = self._execute_module(f"plainstack.web.{self.module}", self.arguments(plan, host, apps, selected), task_vars=variables)
        except UnfitDefinitionError as error:
            return {"error": str(error)}
        except AnsibleConnectionFailure as error:
            return {"error": f"cannot be reached: {' '.join(str(error).split())}"}
        except AnsibleError as error:  # such as a password for sudo that is missing
            return {"error": " ".join(str(error).split())}
        if result.get("failed") or "seen" not in result:
            said = "\n".join(str(result.get(key, "")) for key in ("msg", "module_stderr", "module_stdout")).strip()
            return {"error": said or "the module said nothing"}
        return {**result["seen"], "changed": result.get("changed", False)}


def seen(plan: Mapping[str, Any], module: str) -> dict[str, dict[str, Any]]:
    """What a module has seen, by host in the order of the inventory."""
    hosts = [*plan["balancers"], *plan["servers"]]
    known = {host: run.of_host(host) for host in hosts}
    return {host: one[module] for host, one in known.items() if module in one}
