"""Plan a run on the controller: what is asked for, checked; the definition, checked; the sources, archived."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ansible.plugins.action import ActionBase
from ansible_collections.plainstack.web.plugins.module_utils.controller.archive import ArchiveError
from ansible_collections.plainstack.web.plugins.module_utils.controller.definition import DefinitionError, select
from ansible_collections.plainstack.web.plugins.module_utils.controller.wiring import WiringError, addresses, issuers
from ansible_collections.plainstack.web.plugins.plugin_utils import run
from ansible_collections.plainstack.web.plugins.plugin_utils.definition import UnfitDefinitionError, definition
from ansible_collections.plainstack.web.plugins.plugin_utils.sources import archive

# Tags of Molecule's own, which it skips in every run
OF_MOLECULE = {"molecule-notest", "notest", "molecule-idempotence-notest"}
PARTS = """The steps of a deploy build on each other, and none of them is done alone: there are no tags; nothing was touched.
Next: the same command without --tags and --skip-tags. -e app=NAME works on one app alone, --check changes nothing."""
NO_SERVER = """The inventory has no host in the group 'app_servers'; nothing was touched.
Where it is set: the file given with -i (inventories/example/hosts.yml shows how it looks).
Next: the same command with -i inventories/production, such as: ansible-playbook deploy.yml -i inventories/production"""
ISSUER_KEYS = ("name", "domains", "path", "certificate")


class PlanError(Exception):
    """Why there is no plan; the message is for the operator."""


class ActionModule(ActionBase):
    """Runs on the controller, once for all hosts."""

    _requires_connection = False

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """The names of the apps, and warnings about their sources; see the documentation of the module."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        try:
            plan, warnings = self._plan(task_vars or {})
        except (PlanError, UnfitDefinitionError, DefinitionError, WiringError, ArchiveError) as error:
            return {**result, "failed": True, "msg": str(error)}
        run.save(run.PLAN, plan)
        return {**result, "changed": False, "apps": plan["apps"], "warnings": warnings}

    def _plan(self, variables: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
        given = self._task.args
        if [*variables["ansible_run_tags"]] != ["all"] or {*variables["ansible_skip_tags"]} - OF_MOLECULE:
            raise PlanError(PARTS)
        servers = list(variables["groups"].get("app_servers", []))
        balancers = list(variables["groups"].get("load_balancers", []))
        if not servers:
            raise PlanError(NO_SERVER)
        hostvars, event = variables["hostvars"], given["event"]
        first = self._templar.copy_with_new_env(available_variables=hostvars.raw_get(servers[0]))
        apps = definition(first, sources=event == "deploy")
        only = given.get("app", "")
        try:
            selected = select(apps, only)
        except DefinitionError as error:
            raise PlanError(f"{error} Nothing was touched.\nWhere it is set: -e app={only} of the command.") from None
        if event == "rollback" and len(selected) > 1:
            names = ", ".join(app["name"] for app in selected)
            raise PlanError(f"Which app? There are {names}; nothing was touched.\nNext: the same command with -e app={selected[0]['name']}")
        archives, warnings = archive(selected) if event == "deploy" else ({}, [])
        reached = dict(zip(balancers + servers, addresses(balancers + servers, hostvars), strict=True)) if balancers else {}
        return {
            "event": event,
            "apps": [app["name"] for app in selected],
            "archives": archives,
            "servers": servers,
            "balancers": balancers,
            "addresses": reached,
            "issuers": issuers(balancers or servers, _Raw(hostvars, self._templar)),
            **{key: str(given.get(key, "")) for key in ("canary", "replace", "release")},
        }, warnings


class _Raw(Mapping[str, Mapping[str, Any]]):
    """Of each host its variables, with no more of its apps evaluated than says whose certificates it shares: secrets are not decrypted for that."""

    def __init__(self, hostvars: Any, templar: Any) -> None:
        self.hostvars, self.templar = hostvars, templar

    def __getitem__(self, host: str) -> Mapping[str, Any]:
        found = self.hostvars.raw_get(host)
        templar = self.templar.copy_with_new_env(available_variables=found)
        apps = found.get("apps", [])
        if isinstance(apps, str):
            apps = templar.template(apps)
        needed = [{key: templar.template(app[key]) for key in ISSUER_KEYS if key in app} for app in apps]
        address = {key: templar.template(found[key]) for key in ("private_address", "ansible_host") if key in found}
        return {"apps": needed, **address}

    def __iter__(self) -> Any:
        return iter(self.hostvars)

    def __len__(self) -> int:
        return len(self.hostvars)
