"""Say at the end of a run what it did, and fail where something was not done."""

from __future__ import annotations

from typing import Any

from ansible import context  # type: ignore[attr-defined]
from ansible.plugins.action import ActionBase
from ansible_collections.plainstack.web.plugins.action.decide import orders_of
from ansible_collections.plainstack.web.plugins.module_utils.controller import summary
from ansible_collections.plainstack.web.plugins.plugin_utils import run

LEFT = """What is live stays so, and every step that could be done was done; what was not:
{left}
Next: see the errors above; the same command again does what is left."""

STAYS = """What was left out keeps its release and its traffic.
Next: ansible-playbook scale.yml -e allow_unreachable=true takes it from the load balancers."""


class ActionModule(ActionBase):
    """Runs on the controller, once for all hosts."""

    _requires_connection = False

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """The table; or, of a rollout that was undone, the cause and what serves now."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        variables, plan, decision = task_vars or {}, run.load(run.PLAN), run.load(run.DECISION)
        orders, known = orders_of(decision), run.of_hosts([*plan["servers"], *plan["balancers"]])
        reached = variables["ansible_play_hosts"]
        if self._task.args.get("undone"):
            text = summary.undone(decision["servers"], known, orders, decision.get("cause", ""))
            return {**result, "failed": True, "msg": text}
        said = ""
        for order in decision["orders"] if plan["event"] == "rollback" else []:
            said += summary.rolled_back(order, self._task.check_mode) + "\n"
        said += summary.table(plan["servers"], known, orders, decision["canaries"], reached, self._task.check_mode)
        left = summary.failures([*plan["servers"], *plan["balancers"]], known, plan["apps"], reached)
        apps = {app["name"]: app for one in known.values() for app in one["apps"]}
        for order in [order for order in orders if order.name in apps and plan["event"] != "stop"]:
            archived = plan["archives"].get(order.name, {})
            said += f"\n{summary.about(order, apps[order.name], archived, summary.expiry(known, order.name))}"
        if plan["event"] == "deploy" and not self._task.check_mode:
            command, given = context.CLIARGS["args"][0], context.CLIARGS.get("inventory") or ()
            for line in summary.back(command, given, summary.released(known, orders), len(apps) > 1):
                said += f"\nTo go back: {line}"
        if plan["event"] == "rollback" and plan["balancers"] and {*plan["servers"]} - {*decision["servers"]}:
            said += f"\n{STAYS}"
        result.update(changed=False, msg=said, _ansible_verbose_always=True)
        if left:
            listed = "\n".join(f"  {line}" for line in left)
            result.update(failed=True, msg=f"{said}\n{LEFT.format(left=listed)}")
        return result
