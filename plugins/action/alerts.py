"""What the role alerts takes for a host, from the plan; or a test of the targets."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from typing import Any

from ansible.plugins.action import ActionBase
from ansible.utils.display import Display
from ansible_collections.plainstack.web.plugins.module_utils.text import plain
from ansible_collections.plainstack.web.plugins.plugin_utils import run
from ansible_collections.plainstack.web.plugins.plugin_utils.daily import ALONE
from ansible_collections.plainstack.web.plugins.plugin_utils.definition import UnfitDefinitionError, definition

PLACE = ("private_address", "ansible_host", "ansible_port")
TEST = ("/usr/bin/python3", "-I", "/usr/local/lib/plainstack/alerts.pyz", "test")
FAILED = """A target has not taken the test; what it says is above.
Where it is set: 'alerts_targets' in the inventory.
Next: correct it, and run the same command again."""


class ActionModule(ActionBase):
    """Runs on the controller, but for the test."""

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """`watched`, `domains`, `serves`, `neighbours` and `balanced` of the host; see the documentation of the module."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        variables, plan = task_vars or {}, run.load(run.PLAN)
        host = variables["inventory_hostname"]
        if not plan:
            return {**result, "failed": True, "msg": ALONE}
        if self._task.args.get("what") == "test":
            return {**result, **self._test()}
        try:
            apps = definition(self._templar, sources=False, fetched=plan["fetched"])
        except UnfitDefinitionError as error:
            return {**result, "failed": True, "msg": str(error)}

        def of_another(name: str) -> dict[str, Any]:
            known = variables["hostvars"].raw_get(name)
            templar = self._templar.copy_with_new_env(available_variables=known)
            return {key: templar.template(known[key]) for key in PLACE if key in known}

        return {**result, "changed": False, **of_host(host, apps, plan, of_another)}

    def _test(self) -> dict[str, Any]:
        done = self._low_level_execute_command(shlex.join(TEST))
        Display().display(plain(f"{done['stdout']}{done['stderr']}".strip()))
        return {"changed": False, **({"failed": True, "msg": FAILED} if done["rc"] else {})}


def of_host(host: str, apps: list[dict[str, Any]], plan: dict[str, Any], of_another: Callable[[str], dict[str, Any]]) -> dict[str, Any]:
    """What is watched on a host.

    :param apps: all of the inventory, as `normalise` returns them.
    :param of_another: the variables that say where a host is.
    """

    def address(name: str) -> str:
        known = of_another(name)
        return str(known.get("private_address") or known.get("ansible_host") or name)

    server, balancers = host in plan["servers"], plan["balancers"]
    serves = host in balancers or (server and host not in plan["workers"])
    ends_tls = host in (balancers or plan["servers"]) and serves
    here = [app for app in apps if host in plan["hosts"].get(app["name"], [])] if server else []
    watched = [
        {"name": app["name"], "host": (app["domains"] or ["localhost"])[0], "tls": not balancers, "nginx": host in plan["web"][app["name"]]} for app in here
    ]
    sites = [app for app in apps if host in (balancers or plan["web"][app["name"]])] if ends_tls else []
    others = [*balancers, *plan["servers"]]
    after = others[(others.index(host) + 1) % len(others)]
    port = of_another(after).get("ansible_port") or 22 if after in plan["workers"] else 80  # if only a refusal comes, it is there
    neighbours = [[after, address(after), int(port)]] if after != host else []
    return {
        "watched": watched,
        "domains": sorted({name for app in sites for name in (*app["domains"], *app["aliases"])}),
        "serves": serves,
        "neighbours": neighbours,
        "balanced": {app["name"]: [address(one) for one in plan["web"][app["name"]]] for app in apps} if host in balancers else {},
    }
