"""Plan a run on the controller: what is asked for, checked; the definition, checked; the sources, archived."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from typing import Any

from ansible.errors import AnsiblePromptInterrupt, AnsiblePromptNoninteractive
from ansible.plugins.action import ActionBase
from ansible.utils.display import Display
from ansible_collections.plainstack.web.plugins.module_utils.controller.archive import ArchiveError
from ansible_collections.plainstack.web.plugins.module_utils.controller.definition import DefinitionError, select
from ansible_collections.plainstack.web.plugins.module_utils.controller.fetch import Fetched, kind
from ansible_collections.plainstack.web.plugins.module_utils.controller.spec import NAME, REF
from ansible_collections.plainstack.web.plugins.module_utils.controller.wiring import WiringError, addresses, issuers
from ansible_collections.plainstack.web.plugins.plugin_utils import run
from ansible_collections.plainstack.web.plugins.plugin_utils.definition import UnfitDefinitionError, definition
from ansible_collections.plainstack.web.plugins.plugin_utils.sources import archive, fetch

OF_ONE_APP = ("restore", "rollback", "run")
OF_A_PROCESS = ("restart", "start", "stop")
READS = ("doctor", "status", "releases", "logs")  # change nothing, and need no confirmation
# Tags of Molecule's own, which it skips in every run
OF_MOLECULE = {"molecule-notest", "notest", "molecule-idempotence-notest"}
PARTS = """The steps of a deploy build on each other, and none of them is done alone: there are no tags; nothing was touched.
Next: the same command without --tags and --skip-tags. -e app=NAME works on one app alone, --check changes nothing."""
NO_SERVER = """The inventory has no host in the group 'app_servers'; nothing was touched.
Where it is set: the file given with -i (inventories/example/hosts.yml shows how it looks).
Next: the same command with -i inventories/production, such as: ansible-playbook deploy.yml -i inventories/production"""
BOTH = """{host} is in the groups 'worker_servers' and 'load_balancers'; a worker server has no nginx. Nothing was touched.
Next: take it out of one of them."""
STILL = """The app '{name}' is in the inventory, and the next deploy would bring it back; nothing was touched.
Where it is set: 'apps' in the inventory.
Next: take it from that list, then run the same command again."""
WHICH = """Which app is to be removed? {why}; nothing was touched.
Next: the same command with -e app=NAME, the name of an app that was taken from 'apps' in the inventory."""
NO_PROCESS = """The app '{name}' has no process or timer '{process}'; it has: {known}. Nothing was touched.
Where it is set: -e process={process} of the command."""
SEVERAL = """The servers come from several inventories, and a run is for one of them; nothing was touched.
{listed}
Where it is set: -i of the command.
Next: the same command with one -i. The parts of one inventory belong in one directory, which is given with -i."""
UNCONFIRMED = """This inventory asks to be confirmed by its name, {name}, {why}; nothing was touched.
Where it is set: confirm_inventory in the inventory.
Next: the same command, and {name} as the answer; or without a terminal with -e confirmed={name}"""
ISSUER_KEYS = ("name", "domains", "aliases", "path", "certificate")


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

    def _check_inventory(self, variables: Mapping[str, Any], hosts: list[str]) -> None:
        """One inventory, and the right one."""
        hostvars = variables["hostvars"]
        sources = [source for source in variables.get("ansible_inventory_sources", []) if isinstance(source, str)]
        of: dict[str, list[str]] = {}
        for host in hosts:
            file = str(hostvars.raw_get(host).get("inventory_file") or "")
            for source in [source for source in sources if file == source or file.startswith(f"{source.rstrip('/')}/")][:1]:
                of.setdefault(source, []).append(host)
        if len(of) > 1:
            listed = "\n".join(f"  {source}: {', '.join(found[:3])}{', ...' if found[3:] else ''}" for source, found in of.items())
            raise PlanError(SEVERAL.format(listed=listed))
        raw = hostvars.raw_get(hosts[0])
        name = str(self._templar.copy_with_new_env(available_variables=raw).template(raw.get("confirm_inventory", "")))
        if name and self._task.args["event"] not in READS and not self._task.check_mode and self._task.args.get("confirmed", "") != name:
            self._ask(name, len(hosts))

    @staticmethod
    def _ask(name: str, count: int) -> None:
        try:
            typed = Display().prompt_until(
                f"This run is for {name} ({count} server{'s' if count > 1 else ''}). Type its name to go on: ", complete_input=(b"\r", b"\n")
            )
        except AnsiblePromptNoninteractive:
            raise PlanError(UNCONFIRMED.format(name=name, why="and there is no terminal to ask")) from None
        except AnsiblePromptInterrupt:
            typed = b""
        if typed.decode(errors="replace").strip() != name:
            raise PlanError(UNCONFIRMED.format(name=name, why="and was not"))

    @staticmethod
    def _web(apps: Sequence[Mapping[str, Any]], servers: Sequence[str], groups: Mapping[str, Any]) -> dict[str, list[str]]:
        """By the name of each app the app servers that it is on; there may be none."""
        found = {}
        for app in apps:
            group = app["hosts"]
            found[app["name"]] = [server for server in servers if not group or server in groups.get(group, [])]
            if group and group not in groups:
                raise PlanError(
                    f"app '{app['name']}' is to be on the servers of the group '{group}', and the inventory has no such group; nothing was touched.\n"
                    "Where it is set: 'hosts' of the app.\nNext: add the group to the inventory, or remove 'hosts'."
                )
        return found

    @staticmethod
    def _workers(app: Mapping[str, Any], workers: Sequence[str], groups: Mapping[str, Any]) -> list[str]:
        """The worker servers that run something of an app: those in a group that its processes and timers name."""
        named = {rule["hosts"] for rule in (*app["processes"].values(), *app["timers"].values())}
        return [worker for worker in workers if any(worker in groups.get(group, []) for group in named)]

    @staticmethod
    def _check_groups(apps: Sequence[Mapping[str, Any]], groups: Mapping[str, Any]) -> None:
        """Those on whose servers processes run."""
        for app in apps:
            for name, rule in {**app["processes"], **app["timers"]}.items():
                if rule["hosts"] and rule["hosts"] not in groups:
                    raise PlanError(
                        f"app '{app['name']}': '{name}' is to run on the servers of the group '{rule['hosts']}', and the inventory has no such group; "
                        f"nothing was touched.\nWhere it is set: 'hosts' of '{name}' in the app's 'processes' or 'timers'.\n"
                        "Next: add the group to the inventory, or remove 'hosts'."
                    )

    @staticmethod
    def _fetch(apps: Sequence[Mapping[str, Any]], ref: str, event: str) -> dict[str, Fetched]:
        """What is no directory on this machine."""
        repositories = {app["source"] for app in apps if kind(app) == "repository"}
        if ref and event != "deploy":
            raise PlanError(f"-e ref={ref} is for deploy.yml; nothing was touched.\nNext: the same command without it.")
        if ref and len(repositories) != 1:
            why = f"these apps come from {len(repositories)}" if repositories else "none of these apps has a git URL as its 'source'"
            raise PlanError(
                f"-e ref={ref} is for one git repository, and {why}; nothing was touched.\nNext: the same command with -e app=NAME, or without ref."
            )
        if ref and not REF.fullmatch(ref):
            raise PlanError(f"-e ref={ref}: that is no name of a branch, a tag or a commit; nothing was touched.\nNext: the same command with one.")
        return fetch(apps, ref) if event == "deploy" else {}

    @staticmethod
    def _select(apps: list[dict[str, Any]], on: Mapping[str, Sequence[str]], event: str, only: str, process: str) -> list[dict[str, Any]]:
        """The apps that the run works on."""
        try:
            selected = select(apps, only)
        except DefinitionError as error:
            raise PlanError(f"{error} Nothing was touched.\nWhere it is set: -e app={only} of the command.") from None
        if not (somewhere := [app for app in selected if on[app["name"]]]):
            raise PlanError(
                f"{', '.join(app['name'] for app in selected)}: none of the servers in 'app_servers' is in the group that 'hosts' of the app names; "
                "nothing was touched.\nNext: add servers to that group in the inventory."
            )
        if (event in OF_ONE_APP or process) and len(somewhere) > 1:
            names = ", ".join(app["name"] for app in somewhere)
            raise PlanError(f"Which app? There are {names}; nothing was touched.\nNext: the same command with -e app={somewhere[0]['name']}")
        if process and process not in {**somewhere[0]["processes"], **somewhere[0]["timers"]}:
            known = ", ".join([*somewhere[0]["processes"], *somewhere[0]["timers"]]) or "none"
            raise PlanError(NO_PROCESS.format(process=process, name=somewhere[0]["name"], known=known))
        return somewhere

    @staticmethod
    def _check_gone(apps: Sequence[Mapping[str, Any]], name: str) -> None:
        """What is to be removed is in no inventory any more."""
        if not NAME.fullmatch(name):
            raise PlanError(WHICH.format(why=f"-e app={name} is no name of an app" if name else "The command has no -e app"))
        if any(app["name"] == name for app in apps):
            raise PlanError(STILL.format(name=name))

    def _plan(self, variables: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
        given = self._task.args
        if [*variables["ansible_run_tags"]] != ["all"] or {*variables["ansible_skip_tags"]} - OF_MOLECULE:
            raise PlanError(PARTS)
        web_servers = list(variables["groups"].get("app_servers", []))
        balancers = list(variables["groups"].get("load_balancers", []))
        workers = [host for host in variables["groups"].get("worker_servers", []) if host not in web_servers]
        servers = web_servers + workers
        if not web_servers:
            raise PlanError(NO_SERVER)
        if both := [host for host in workers if host in balancers]:
            raise PlanError(BOTH.format(host=both[0]))
        hostvars, event = variables["hostvars"], given["event"]
        self._check_inventory(variables, servers + balancers)
        first = self._templar.copy_with_new_env(available_variables=hostvars.raw_get(servers[0]))
        only = given.get("app", "")
        apps = definition(first, sources=event == "deploy", only=only)
        web = self._web(apps, web_servers, variables["groups"])
        on = {app["name"]: web[app["name"]] + self._workers(app, workers, variables["groups"]) for app in apps}
        process = str(given.get("process", ""))
        if process and event not in OF_A_PROCESS:
            raise PlanError(f"-e process={process} is for restart, stop and start; nothing was touched.\nNext: the same command without it.")
        selected = [] if event == "teardown" else self._select(apps, on, event, only, process)
        if event == "teardown":
            self._check_gone(apps, only)
        if event == "deploy":  # a rollback changes no unit, and must go whatever has become of a group
            self._check_groups(selected, variables["groups"])
        fetched = self._fetch(selected, str(given.get("ref", "")), event)
        if fetched:
            directories = {name: one.directory for name, one in fetched.items()}
            located = {app["name"]: app for app in definition(first, sources=True, fetched=directories, only=only)}
            selected = [located[app["name"]] for app in selected]
        where = first.template(hostvars.raw_get(servers[0]).get("build_environment", {})) if any(app["bundle"] for app in selected) else {}
        where = where if isinstance(where, Mapping) else {}  # what it is instead, the servers' check says
        archives, warnings = archive(selected, fetched, where) if event == "deploy" else ({}, [])
        daily = event in (*READS, "alerts", "backup", "maintenance", "monitoring", "restore", "run")
        reached = dict(zip(balancers + servers, addresses(balancers + servers, hostvars), strict=True)) if balancers and not daily else {}
        return {
            "event": event,
            "apps": [app["name"] for app in selected] or [only],
            "archives": archives,
            "fetched": {name: one.directory for name, one in fetched.items()},
            "servers": servers,
            "workers": workers,
            "hosts": on,
            "web": web,
            "balancers": balancers,
            "addresses": reached,
            "issuers": {} if daily else issuers(balancers or web_servers, _Raw(hostvars, self._templar, web)),
            "domains": {app["name"]: app["domains"][0] for app in selected},
            "key": secrets.token_urlsafe(12),  # of the link that opens a site in maintenance, the same on all servers
            **{key: str(given.get(key, "")) for key in ("canary", "replace", "release", "process")},
        }, warnings


class _Raw(Mapping[str, Mapping[str, Any]]):
    """Of each host its variables, with no more of its apps evaluated than says whose certificates it shares: secrets are not decrypted for that."""

    def __init__(self, hostvars: Any, templar: Any, on: Mapping[str, Sequence[str]]) -> None:
        self.hostvars, self.templar, self.on = hostvars, templar, on
        self.servers = {server for servers in on.values() for server in servers}

    def __getitem__(self, host: str) -> Mapping[str, Any]:
        found = self.hostvars.raw_get(host)
        templar = self.templar.copy_with_new_env(available_variables=found)
        apps = found.get("apps", [])
        if isinstance(apps, str):
            apps = templar.template(apps)
        needed = [{key: templar.template(app[key]) for key in ISSUER_KEYS if key in app} for app in apps]
        if host in self.servers:  # a load balancer has the sites of all
            needed = [app for app in needed if host in self.on.get(app.get("name", ""), [host])]
        address = {key: templar.template(found[key]) for key in ("private_address", "ansible_host") if key in found}
        return {"apps": needed, **address}

    def __iter__(self) -> Any:
        return iter(self.hostvars)

    def __len__(self) -> int:
        return len(self.hostvars)
