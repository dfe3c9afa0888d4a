"""Do a step of a rollout for all apps of a host in one round trip; a host with nothing to do is not contacted."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import time
from pathlib import Path
from typing import Any

from ansible import constants as C  # type: ignore[attr-defined]
from ansible.errors import AnsibleConnectionFailure
from ansible.plugins.action import ActionBase
from ansible.template import trust_as_template
from ansible.utils.display import Display
from ansible_collections.plainstack.web.plugins.module_utils.controller import orders as make
from ansible_collections.plainstack.web.plugins.module_utils.controller.adopt import AdoptError, adopt
from ansible_collections.plainstack.web.plugins.module_utils.controller.definition import check_processes, with_defaults
from ansible_collections.plainstack.web.plugins.module_utils.controller.spec import SPEC
from ansible_collections.plainstack.web.plugins.module_utils.environment import encode, refused, too_much
from ansible_collections.plainstack.web.plugins.module_utils.layout import UNITS, App
from ansible_collections.plainstack.web.plugins.module_utils.version import VERSION
from ansible_collections.plainstack.web.plugins.plugin_utils import run as run_files

AS_IT_IS = ("rollback", "start")  # runs that change no unit: a release starts as it was deployed
INLINE = 256 * 1024  # bytes of an archive that goes along with the orders; a larger one is copied first
TEMPLATES = Path(__file__).parents[2] / "roles" / "gunicorn" / "templates" / "etc"
# Failures of these do not keep the other steps from being done: they are shown, and the end of the run fails with their names
GO_ON = ("undo", "retire", "after_live")
# What is done along with a step, in the same round trip: where there is one server alone no other one has to be waited for
ALONG = {"retire": ("after_live",)}
ALONG_ALONE = {"migrate": ("start",), "switch": ("confirm", "retire", "after_live"), **ALONG}


class OrderError(Exception):
    """Why a step cannot be ordered; the message is for the operator."""


def _note(token: str) -> str:
    return f"{C.DEFAULT_LOCAL_TMP}/beat-{token}"


def renewed(token: str) -> None:
    """The host has just had a sign of life of the run."""
    if token:
        with open(_note(token), "w", encoding="utf-8") as stream:
            stream.write(str(time.monotonic()))


def silence(token: str) -> float:
    """Seconds since then; very many where there was none."""
    with contextlib.suppress(OSError, ValueError), open(_note(token), encoding="utf-8") as stream:
        return time.monotonic() - float(stream.read())
    return float("inf")


class ActionModule(ActionBase):
    """Make the orders of the host, run the module, keep what it did."""

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """The module's result; the archives' copies on the host are removed in any case."""
        super().run(tmp, task_vars)
        variables = task_vars or {}
        host, step, given = variables["inventory_hostname"], self._task.args["step"], self._task.args
        self._groups = {name for name, hosts in variables["groups"].items() if host in hosts}
        known = {} if given.get("apps") else run_files.of_host(host)
        try:
            orders = {step: self._given_orders(step)} if given.get("apps") else self._whole(host, step, known)
        except (OrderError, AdoptError) as error:
            return {"failed": True, "msg": str(error)}
        if not orders:
            return {"changed": False, "apps": {}}
        if orders.get(step) and step == "switch" and not self._task.check_mode and host == variables["ansible_play_hosts"][0]:
            # Where the connection is lost from here on nothing more can be said, so it is said now
            going_live = ", ".join(f"{order['name']}: {order['id']}" for order in orders[step])
            fleet = len(variables["ansible_play_hosts"]) > 1
            then = "goes back by itself within a minute, until all have confirmed" if fleet else "has this live, unless it says otherwise below"
            Display().display(f"{going_live}\nA server whose connection is lost from here on {then}. The same command again finishes the job.")
        token = known.get("token", "")
        try:
            self._send_archives(orders.get(step, []))
            arguments = {"step": step, "orders": encode(json.dumps(orders)), "run": token}
            result: dict[str, Any] = self._execute_module("plainstack.web.step", arguments, task_vars=variables)
        except AnsibleConnectionFailure:
            run_files.lost(host)
            raise
        finally:
            if self._connection._shell.tmpdir:
                self._remove_tmp_path(self._connection._shell.tmpdir)
        if not self._task.check_mode and not result.get("failed"):
            renewed(token)
        return self._note(host, step, known, result) if known else result

    @staticmethod
    def _note(host: str, step: str, known: dict[str, Any], result: dict[str, Any]) -> dict[str, Any]:
        """Keep what was done; the result, without a failure that ends nothing."""
        did, left, ends = {**known.get("did", {})}, list(known.get("left", [])), False
        done = {step: result.get("apps", {}), **result.get("along", {})}
        for name, apps in done.items():
            did[name] = {**did.get(name, {}), **apps}
            failed = {app: one["failed"] for app, one in apps.items() if "failed" in one}
            ends = ends or bool(failed and name not in GO_ON)
            left += [f"{name} of {app}: {why.splitlines()[0]}" for app, why in failed.items() if name in GO_ON]
        run_files.note(host, did=did, left=left)
        if result.get("failed") and not ends and left != known.get("left", []):
            Display().error(f"{host}: {result['msg']}", wrap_text=False)
            return {key: value for key, value in result.items() if key not in ("failed", "msg")}
        # The message has all that failed, and Ansible would print it twice
        return {key: value for key, value in result.items() if key not in ("apps", "along")} if result.get("failed") else result

    def _whole(self, host: str, step: str, known: dict[str, Any]) -> dict[str, list[dict[str, Any]]]:
        """The orders of a step and of what is done along with it; none where there is nothing to do."""
        decision = run_files.load(run_files.DECISION)
        orders = {step: self._orders(host, step, known)}
        if step in ("migrate", "start") and not orders[step]:
            return {}
        for other in (ALONG_ALONE if len(decision["servers"]) == 1 else ALONG).get(step, ()):
            orders[other] = self._orders(host, other, known)
        # nginx gets no site whose app is not there, and until then nobody's requests go to it
        if "start" in orders:
            new = [order["name"] for order in decision["orders"] if not order["before"].get(host)]
            orders["switch"] = [order for order in self._orders(host, "switch", known) if order["name"] in new]
        return {name: listed for name, listed in orders.items() if listed}

    def _orders(self, host: str, step: str, known: dict[str, Any]) -> list[dict[str, Any]]:
        """What was decided for the host."""
        plan, decision = run_files.load(run_files.PLAN), run_files.load(run_files.DECISION)
        found = []
        for order in decision["orders"]:
            name, identifier = order["name"], order["id"]
            if not self._concerns(host, step, order, known):
                continue
            app = next(app for app in known["apps"] if app["name"] == name)
            event = plan["event"] if plan["event"] in ("restart", "rollback") else "deploy"
            archive = plan["archives"].get(name, {})
            # What a killed restart has made is finished as it is
            as_it_is = plan["event"] in AS_IT_IS or (plan["event"] == "restart" and not order["reference"])
            if as_it_is:
                app = make.as_deployed(app, order["configs"].get(host, {}))
            elif order["reference"] and order["act"]:  # it was fetched only then
                reference = run_files.load(f"reference-{name}")
                app, archive = adopt(app, order["reference"], reference)
                # Without hashes other versions may be installed now: then what was restarted is something to go back to
                if event == "restart" and reference["story"].get("reproducible"):
                    archive["story"].setdefault("restarts", reference["id"])
            nginx = host in plan["web"][name]
            leads = host == min((order["build"] if step == "stage" else []) or order["act"], default=host)
            whole = make.base(app, identifier, event, tls=not plan["balancers"], fleet=len(decision["servers"]) > 1, nginx=nginx, leads=leads)
            if step == "stage":
                whole.update(make.stage(app, archive, VERSION, known["build_environment"]), build_here=host in order["build"], path=archive["path"])
            if step in ("migrate", "start"):
                whole["files"] = {} if as_it_is else self._files(app, identifier, nginx)
            if step == "start":
                whole["migrated"] = bool(app["migrate"]) and (order["migrated"] or bool(order["migrate"]))
            if step == "undo":
                whole["agreed"] = order["agreed"]
                whole["reason"] = decision.get("reason", "the rollout failed on another server")
                teller = next((one for one in decision.get("tellers", []) if one in order["act"]), "")
                whole["cause"] = decision.get("cause", "").partition("\n")[0] if host == teller else ""
            if step in ("process", "stop"):
                whole.update(event=plan["event"], process=plan["process"])
            if step in ("migrate", "after_live") and not app[step]:
                continue
            found.append(whole)
        return found

    @staticmethod
    def _concerns(host: str, step: str, order: dict[str, Any], known: dict[str, Any]) -> bool:
        """Whether a step has something to do for an app on a host."""
        if step != "undo" and order["name"] in known["did"].get(step, {}):
            return False  # along with an earlier step
        plan = run_files.load(run_files.PLAN)
        if step in ("process", "stop"):
            return bool(order["before"].get(host) and (step == "stop" or plan["process"]))
        if step == "migrate":
            return bool(order["migrate"] == host)
        if step == "after_live":
            if host != order["first"] or plan["event"] in ("restart", "start"):  # no code has gone live that was not
                return False
            seen = known["seen"][order["name"]]
            release: dict[str, Any] = next((one for one in seen["releases"] if one["id"] == order["id"]), {})
            done = host not in order["act"] and release.get("after_live", 0) == release.get("sequence", -1)
            return not done
        return host in order["act"]

    def _given_orders(self, step: str) -> list[dict[str, Any]]:
        """The same for apps that are given as options, without a run."""
        found = []
        for app in self._task.args["apps"]:
            if unknown := {*app} - {*SPEC, "archive", "release", "config", "environment", "reason", "event"}:
                raise OrderError(f"{app.get('name')}: unknown key '{unknown.pop()}' in 'apps'.")
            if wrong := check_processes(app, f"app '{app['name']}'"):
                raise OrderError("\n".join([*wrong, "Where it is set: 'apps' of the task."]))
            whole = {**app, **with_defaults(app), "domains": app.get("domains", [])}
            whole["requirements"] = whole["requirements"] or "requirements.txt"
            variables = app.get("environment", {**whole["env"], **whole["secrets"]})
            wrong = [f"{name!r} {why}" for name, why in refused(variables)]
            wrong += [f"the variables {why}" for why in [too_much(variables.items())] if why]
            if wrong:
                raise OrderError("\n".join([f"{app['name']}: the environment cannot be that of a service.", *wrong, "Where it is set: 'apps' of the task."]))
            identifier = app["archive"]["id"] if step == "stage" else app["release"]
            order = make.base(whole, identifier, app.get("event", "deploy"), nginx=self._task.args.get("through_nginx", True))
            order["reason"] = app.get("reason", "the rollout failed on another server")
            if step == "stage":
                of_build = make.stage({**whole, "environment": variables}, app["archive"], VERSION, self._task.args.get("build_environment", {}))
                order.update(of_build, find=True, build_here=True, path=app["archive"]["path"])
            if step in ("migrate", "start"):
                order["files"] = self._files(whole, identifier)
            found.append(order)
        return found

    def _files(self, app: dict[str, Any], identifier: str, nginx: bool = True) -> dict[str, str]:
        """The units of a release and Gunicorn's settings, by path."""
        paths, processes = App(app["name"]), make.processes(app, identifier, self._groups, nginx)
        managed = self._templar.available_variables.get("ansible_managed", "Ansible managed")
        variables = {**make.unit_variables(app, identifier, nginx), "gunicorn_processes": processes, "ansible_managed": managed}
        units = "systemd/system"
        variables["gunicorn_sandbox"] = self._rendered(f"{units}/sandbox.j2", variables).rstrip()
        files = {
            paths.unit_file(identifier, "socket"): self._rendered(f"{units}/app@id.socket.j2", variables),
            paths.unit_file(identifier, "service"): self._rendered(f"{units}/app@id.service.j2", variables),
        }
        if not variables["gunicorn_command"]:
            files[f"{paths.settings}/{identifier}/gunicorn.conf.py"] = self._rendered("plainstack/app/id/gunicorn.conf.py.j2", variables)
        if processes:
            files[paths.unit_file(identifier, "target")] = self._rendered(f"{units}/app@id.target.j2", variables)
        for process in processes:
            of_process, (name, _, kind) = {**variables, "process": process}, process["unit"].rpartition(".")
            files[f"{UNITS}/{name}.service"] = self._rendered(f"{units}/app.process@id.service.j2", of_process)
            if kind == "timer":
                files[f"{UNITS}/{name}.timer"] = self._rendered(f"{units}/app.process@id.timer.j2", of_process)
        return files

    def _rendered(self, template: str, variables: dict[str, Any]) -> str:
        """A template of the role with variables."""
        text = (TEMPLATES / template).read_text(encoding="utf-8")
        return str(self._templar.copy_with_new_env(available_variables=variables).template(trust_as_template(text)))

    def _send_archives(self, orders: list[dict[str, Any]]) -> None:
        """Put each archive that the host needs into its order, or copy it there."""
        directory = ""
        for order in orders:
            path, needed = order.pop("path", ""), order.pop("build_here", False)
            if not needed or self._task.check_mode:
                continue
            if os.path.getsize(path) <= INLINE:
                order["content"] = base64.b64encode(Path(path).read_bytes()).decode()
                continue
            directory = directory or self._make_tmp_path()
            order["archive"] = self._connection._shell.join_path(directory, os.path.basename(path))
            self._transfer_file(path, order["archive"])
