"""Decide once for all hosts, from what was seen on each; see module_utils/controller/decide.py."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any

from ansible.plugins.action import ActionBase
from ansible_collections.plainstack.web.plugins.module_utils import traffic
from ansible_collections.plainstack.web.plugins.module_utils.controller import decide, summary, wiring
from ansible_collections.plainstack.web.plugins.plugin_utils import run

LOST = """The rollout did not succeed on the app servers, see above; the load balancers are as they were. {hosts} may serve either release.
Next: the same command again once all can be reached, or with -e allow_unreachable=true, which also takes the others from the load balancers."""


def orders_of(decision: Mapping[str, Any]) -> list[decide.Order]:
    """The orders as they were decided."""
    found = []
    for order in decision.get("orders", []):
        known = {key: order[key] for key in ("name", "id", "before", "migrate", "migrated", "reference", "agreed")}
        found.append(decide.Order(**known, build=frozenset(order["build"]), act=frozenset(order["act"])))
    return found


class ActionModule(ActionBase):
    """Runs on the controller."""

    _requires_connection = False

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """What was decided; see the documentation of the module."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        variables, what = task_vars or {}, self._task.args.get("what", "orders")
        plan = run.load(run.PLAN)
        deciders: dict[str, Callable[..., dict[str, Any]]] = {
            "orders": self._decide_orders,
            "undo": self._decide_undo,
            "canary": self._judge_canary,
            "balance": self._balance,
        }
        try:
            return {**result, "changed": False, **deciders[what](plan, variables)}
        except decide.DecisionError as error:
            return {**result, "failed": True, "msg": str(error)}

    @staticmethod
    def _decide_orders(plan: dict[str, Any], _variables: Mapping[str, Any]) -> dict[str, Any]:
        known = {host: one for host, one in run.of_hosts(plan["servers"]).items() if not one["left_out"]}
        if not known:
            raise decide.DecisionError(f"None of {', '.join(plan['servers'])} can be reached; nothing was touched.")
        if plan["event"] == "teardown":
            run.save(run.DECISION, {"orders": [], "canaries": [], "servers": [*known]})
            return {"servers": [*known]}
        seen = {name: {host: decide.parse(one["seen"][name]) for host, one in known.items() if name in one["seen"]} for name in plan["apps"]}
        if gone := [name for name in plan["apps"] if not seen[name]]:
            raise decide.DecisionError(f"None of the servers of {', '.join(gone)} can be reached; nothing was touched.\nNext: -e app=NAME for the others.")
        if plan["event"] == "upgrade":
            decide.upgrade(plan["apps"], seen, bool(plan["balancers"]))
        orders, warnings = [], []
        for name in plan["apps"] if plan["event"] != "upgrade" else []:
            if plan["event"] == "rollback":
                order = decide.rollback(name, plan["release"], seen[name])
            elif plan["event"] == "stop" or plan["process"]:
                order = decide.stopping(name, seen[name])
            elif plan["event"] == "scale":
                order = decide.scale(name, seen[name])
            elif plan["event"] == "start":
                order = decide.start(name, seen[name])
            elif plan["event"] == "restart":
                order = decide.restart(name, time.strftime("%Y%m%dT%H%M%SZ", time.gmtime()), seen[name])
            else:
                order = decide.deploy(name, plan["archives"][name]["id"], seen[name])
                warnings += [warning] if (warning := decide.retried(order, seen[name])) else []
            configs = {host: one.stories[order.id]["config"] for host, one in seen[name].items() if order.id in one.stories}
            revision = next((one.stories[order.id]["revision"] for one in seen[name].values() if order.id in one.stories), "")
            facts = {"first": next(iter(seen[name])), "configs": configs, "revision": revision}
            orders.append({**asdict(order), "build": sorted(order.build), "act": sorted(order.act), **facts})
        canaries = summary.canary([host for host in known if host not in plan["workers"]], plan["canary"])
        run.save(run.DECISION, {"orders": orders, "canaries": canaries, "servers": [*known]})
        return {
            "warnings": warnings,
            "canaries": canaries,
            "servers": [*known],
            "together": len(known) > 1 or bool(plan["balancers"]),
            "work": any(order["act"] for order in orders),
            "releases": {order["name"]: order["id"] for order in orders},
            "references": sorted({order["reference"] for order in orders} - {""}),
        }

    @staticmethod
    def _decide_undo(plan: dict[str, Any], variables: Mapping[str, Any]) -> dict[str, Any]:
        """What has failed, for the hosts that are taken back and for the operator."""
        decision = run.load(run.DECISION)
        servers, raw = decision["servers"], variables["hostvars"].raw_get
        found = {host: result for host in servers if (result := raw(host).get("ansible_failed_result"))}
        # Where one host fails, Ansible takes all others for failed too, and they are missing in the same way
        lost = [host for host, one in run.of_hosts(servers).items() if one.get("lost")]
        if not lost and not found:
            lost = [host for host in servers if host not in variables["ansible_play_hosts"]]
        failed = {host: f"{host} was lost: its connection ended." for host in servers if host in lost}
        failed |= {host: str(result.get("msg", "a task failed, see above")) for host, result in found.items() if host not in lost}
        decision["reason"] = f"the rollout failed on {', '.join(failed) or 'another server'}"
        more = len(plan["servers"]) > 1
        decision["cause"] = "\n".join(text if not more or text.startswith(host) else f"{host}: {text}" for host, text in failed.items())
        # One of the servers logs it for those that alerts are sent to: one that failed, or else one that is still there
        decision["tellers"] = [host for host in dict.fromkeys((*found, *servers)) if host not in lost]
        run.save(run.DECISION, decision)
        return {}

    @staticmethod
    def _judge_canary(plan: dict[str, Any], _variables: Mapping[str, Any]) -> dict[str, Any]:
        decision = run.load(run.DECISION)
        canaries = decision["canaries"]
        known = run.of_hosts(decision["servers"])
        for order in decision["orders"]:
            name = order["name"]
            met = {host: traffic.Traffic(**one["traffic"][name]) for host, one in known.items() if name in one["traffic"]}
            worse = traffic.worse(
                traffic.together([one for host, one in met.items() if host in canaries]),
                traffic.together([one for host, one in met.items() if host not in canaries]),
            )
            if worse:
                raise decide.DecisionError(
                    f"{name}: {order['id']} does worse on {', '.join(canaries)} than what the rest serves:\n{worse}.\n"
                    f"Next: fix the app and deploy again; its log on {canaries[0]}: journalctl --unit='{name}@*'"
                )
        return {}

    def _balance(self, plan: dict[str, Any], variables: Mapping[str, Any]) -> dict[str, Any]:
        """What a load balancer serves: only what the whole fleet has confirmed, from the servers that have it."""
        host, decision = variables["inventory_hostname"], run.load(run.DECISION)
        servers, orders = decision["servers"], orders_of(decision)
        known = run.of_hosts(servers)
        if not self._task.check_mode:
            lost = [
                server
                for server in servers
                if any(server in order.act and not summary.did(known[server], "retire", order.name) for order in orders)
                or any("failed" in summary.did(known[server], "confirm", order.name) for order in orders)
            ]
            if lost:
                raise decide.DecisionError(LOST.format(hosts=", ".join(lost)))
        apps = run.of_host(host)["apps"]
        issuer = plan["issuers"][host]["issuer"]
        addresses = {app["name"]: [plan["addresses"][server] for server in servers if server in plan["web"][app["name"]]] for app in apps}
        waits, probes = {}, []
        for app in apps:
            order = next((one for one in decision["orders"] if one["name"] == app["name"]), None)
            if order:
                # As it was deployed: with scale.yml and rollback.yml that may be other settings than the inventory's
                settings = {**app, **next(iter(order["configs"].values()), {})} if plan["event"] != "deploy" else app
                waits[app["name"]] = settings["timeout"]
                probes.append({"name": app["name"], "host": app["domains"][0], "path": settings["health_path"]})
        return {"sites": wiring.balanced_sites(apps, addresses, issuer != host), "timeouts": waits, "probes": probes}
