"""Inspect a host, say in plain words when it cannot even be reached, and hold the locks of its apps while the run lives."""

from __future__ import annotations

import contextlib
import getpass
import json
import multiprocessing
import os
import re
import secrets
import signal
import socket
import time
from typing import Any

from ansible.errors import AnsibleConnectionFailure, AnsibleError
from ansible.module_utils.parsing.convert_bool import boolean
from ansible.plugins.action import ActionBase
from ansible.utils.display import Display
from ansible_collections.plainstack.web.plugins.action.step import silence
from ansible_collections.plainstack.web.plugins.module_utils.controller import orders, wiring
from ansible_collections.plainstack.web.plugins.module_utils.controller.process import Process, ready
from ansible_collections.plainstack.web.plugins.module_utils.environment import encode
from ansible_collections.plainstack.web.plugins.module_utils.layout import App
from ansible_collections.plainstack.web.plugins.module_utils.version import VERSION
from ansible_collections.plainstack.web.plugins.plugin_utils import run as run_files
from ansible_collections.plainstack.web.plugins.plugin_utils.definition import UnfitDefinitionError, definition
from ansible_collections.plainstack.web.plugins.plugin_utils.looks import lacks_python, options, packages, problems

SUDO = re.compile(r"sudo|become|not in the sudoers|password is required", re.IGNORECASE)
SLOW = "waiting for privilege escalation prompt"  # it was reached, and its sudo took longer than Ansible waits
# Each lock of the run on this host: renew it, or give it back
LOCKS = 'for lock in {paths}; do grep -qs {token} "$lock" && {do}; done; true'
RENEW = 'cut -d. -f1 /proc/uptime > "$lock.new" && mv "$lock.new" "$lock.beat"'  # never empty, which would count as dead
RELEASE = 'rm -f "$lock"'
TAKEN = b"t"  # what a worker tells the process that holds the locks
REFUSED = b"r"
RENEWAL = 20  # seconds between two renewals; where a step has renewed in between, they are at most twice as far apart
APP_SERVERS = "plainstack_app_servers"
LOAD_BALANCERS = "plainstack_load_balancers"
LEFT_OUT = "plainstack_left_out"
LIMITED = """This run is limited to {hosts}, and a fleet is worked on as a whole; nothing was touched.
Next: the same command without --limit. deploy.yml, scale.yml and rollback.yml leave out a server that is down with -e allow_unreachable=true."""


def _lacks(absent: list[str], optional: list[str], lacks_python: bool) -> dict[str, Any]:
    """What is to be installed on a host, and whether anything is."""
    packages = {"packages": [one for one in absent if one not in optional], "optional_packages": [one for one in absent if one in optional]}
    return {**packages, "lacks_python": lacks_python, "unprepared": bool(absent) or lacks_python}


def _of_apps(wanted: list[str], of_host: dict[str, Any], server: bool) -> list[str]:
    """The packages of the roles, and on an app server those of its apps."""
    return [*dict.fromkeys([*wanted, *(of_host["app_packages"] + of_host["build_packages"] if server else [])])]


def _needed(absent: list[str], of_host: dict[str, Any], kept: list[str], seen: dict[str, Any]) -> list[str]:
    """What of the packages that are not there is needed: those for building only where something is built.

    :param kept: packages that are needed in any case.
    """
    builds = any(not one.get("matches") for one in seen.values())
    return absent if builds else [one for one in absent if one not in of_host["build_packages"] or one in kept]


UNFIT = """Where it is set: 'ansible-inventory --host {host}' shows it; the README of the role of the same name says what it may be.
Next: correct it, then run the same command again."""


class ActionModule(ActionBase):
    """Run the module on the host; what goes wrong before it runs becomes an error that says what to do."""

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """What the roles take for the host; what the steps need is kept in a file of the run."""
        super().run(tmp, task_vars)
        variables = task_vars or {}
        host = variables["inventory_hostname"]
        plan = run_files.load(run_files.PLAN)
        play_hosts = variables.get("ansible_play_hosts_all", [])
        # The first time all hosts of the run are looked at; upgrade.yml looks at one alone again, after its reboot
        if not plan or (not run_files.of_host(host) and {*plan["servers"], *plan["balancers"]} - {*play_hosts}):
            return self._failed(LIMITED.format(hosts=", ".join(play_hosts)))
        server = host in plan["servers"]
        try:
            apps = definition(self._templar, sources=False, fetched=plan["fetched"])
            on = {app["name"]: plan["hosts"].get(app["name"], []) for app in apps}
            apps = [app for app in apps if (host in on[app["name"]] if server else on[app["name"]])]
        except UnfitDefinitionError as error:
            return self._failed(str(error))
        gone = plan["apps"] if plan["event"] == "teardown" else []  # it may be on any server
        names = gone or [name for name in plan["apps"] if any(app["name"] == name for app in apps)]
        wiring_of_host = wiring.of_host(host, apps, names, plan)
        looks = options(self, variables, {"plainstack": wiring_of_host, **({} if server else {"nginx_sites": wiring_of_host["sites"], "nginx_balancers": []})})
        if wiring_of_host["issuer"] != host or (server and plan["balancers"]) or not wiring_of_host["serves"]:
            looks.pop("certificate", None)
        if not wiring_of_host["serves"]:
            looks.pop("nginx_info", None)
        roles = self._roles(wiring_of_host, host, server)
        if wrong := problems(self, variables, roles):
            listed = "\n".join(f"  - {problem}" for problem in wrong)
            return self._failed(f"{host}: variables of the inventory are not as they must be; nothing was touched.\n{listed}\n{UNFIT.format(host=host)}")
        wanted, optional = packages(self, variables, roles)
        kept = [*wanted, *optional, *wiring_of_host["app_packages"]]
        wanted = _of_apps(wanted, wiring_of_host, server)
        # Not for the module: to hide a value such as 0 Ansible would take it out of all that the module says
        given = {key: value for key, value in self._task.args.items() if key != "build_environment"}
        about = {"acme": bool(wiring_of_host["others"]), "serves": wiring_of_host["serves"], "looks": looks}
        arguments = {**given, **self._arguments(plan, apps, host, server), **about}
        arguments["packages"] = wanted + optional
        result = self._inspect(variables, plan, arguments, host, names if server else [])
        if result.get("failed"):
            return result
        group = LEFT_OUT if result.get("left_out") else APP_SERVERS if server else LOAD_BALANCERS
        known, seen = run_files.of_host(host), result.pop("apps", {})
        run_files.note(
            host,
            apps=apps,
            group=group,
            left_out=bool(result.pop("left_out", False)),
            seen=seen,
            # They may have changed since the first look of an upgrade
            did=known.get("did", {}),
            left=known.get("left", []),
            token=result.pop("token", ""),
            looks=result.pop("looks", {}),
            configurations=result.pop("configurations", {}),
            build_environment=self._task.args.get("build_environment") or {},
        )
        answered = result.pop("answers", {})
        answering = [site for site in arguments["sites"] if answered.get(site["name"])]
        there, absent = result.pop("pythons", []), _needed(result.pop("absent", []), wiring_of_host, kept, seen)
        missing = [version for version in wiring_of_host["python_versions"] if not any(f"{one}.".startswith(f"{version}.") for one in there)]
        lacks = lacks_python(self, result.pop("uv", ""), missing)
        return {
            **result,
            "group": group,
            **wiring_of_host,
            "python_versions": missing,
            **self._certificates(wiring_of_host, result, server),
            **_lacks(absent, optional, lacks),
            "answering": answering,
            **self._probes(apps, seen, host, plan),
        }

    @staticmethod
    def _roles(of_host: dict[str, Any], host: str, server: bool) -> list[str]:
        """Those that will install packages."""
        if not of_host["serves"]:
            return ["python"]
        found = ["python", "nginx"] if server else ["nginx"]
        if server and of_host["balancers"]:
            return [*found, "firewall"]
        return [*found, "certbot"] if of_host["others"] and of_host["issuer"] == host else found

    @staticmethod
    def _certificates(of_host: dict[str, Any], result: dict[str, Any], server: bool) -> dict[str, bool]:
        """Whether the host has certificates to look after, and whether anything follows once it has them; one that is left out says nothing of it."""
        hands_on = len(of_host["sharers"]) > 1 or bool(result.get("shares") or of_host["own_certificates"])
        ends_tls = not (server and of_host["balancers"])
        return {"hands_on": hands_on, "certified": ends_tls and (hands_on or bool(of_host["others"] or result.get("renews")))}

    @staticmethod
    def _probes(apps: list[dict[str, Any]], seen: dict[str, Any], host: str, plan: dict[str, Any]) -> dict[str, Any]:
        """How each live app of the host is probed, as it was deployed, and how long the slowest may take."""
        probes, timeouts, starts = [], [0], [0]
        for app in apps:
            looked = seen.get(app["name"], {})
            live = next((release for release in looked.get("releases", []) if release["id"] == looked["live"]), None)
            if live:
                settings = {**app, **live["config"]}
                nginx = host in plan["web"].get(app["name"], [])
                probes.append({"name": app["name"], "host": app["domains"][0], "path": settings["health_path"], "nginx": nginx})
                timeouts.append(settings["timeout"])
                starts.append(settings["start_timeout"])
        return {"probes": probes, "timeout": max(timeouts), "start_timeout": max(starts)}

    @staticmethod
    def _arguments(plan: dict[str, Any], apps: list[dict[str, Any]], host: str, server: bool) -> dict[str, Any]:
        """Options for the module that follow from the plan."""
        web = [app for app in apps if host in plan["web"][app["name"]]]
        selected = [app for app in apps if app["name"] in plan["apps"]]
        wanted = []
        for app in selected:
            archive = plan["archives"].get(app["name"])
            release = {"digest": archive["digest"], "config": orders.config(app, VERSION), "environment": orders.environment(app)} if archive else {}
            nginx = app in web
            wanted.append({"name": app["name"], "host": app["domains"][0], "tls": not plan["balancers"], "nginx": nginx, "wanted": release})
        if plan["event"] == "teardown":
            wanted = [{"name": name, "wanted": None} for name in plan["apps"]]
        sites = [{"name": app["name"], "host": app["domains"][0], "path": app["health_path"]} for app in selected]
        return {
            "purpose": plan["event"],
            "apps": encode(json.dumps(wanted)) if server else "",
            "places": wiring.places(wiring.sites(web)) if server else {},
            "replace": plan["replace"],
            "sites": [] if server else sites,
        }

    def _inspect(self, variables: dict[str, Any], plan: dict[str, Any], arguments: dict[str, Any], host: str, names: list[str]) -> dict[str, Any]:
        """The module's result with the run's token, or an error with the host named and the next command."""
        where = f"Where it is set: '{host}' in {variables.get('inventory_file') or 'the inventory'}."
        address = variables.get("ansible_host", host)
        user = variables.get("ansible_user") or self._play_context.remote_user or ""
        port = variables.get("ansible_port")
        ssh = f"ssh {'-p ' + str(port) + ' ' if port else ''}{user + '@' if user else ''}{address}"
        # A server that was rebooted has forgotten its locks; the run takes them again
        known = run_files.of_host(host).get("token", "")
        holder = {
            "token": known or secrets.token_hex(8),
            "by": getpass.getuser(),
            "origin": socket.gethostname(),
            "what": f"{plan['event']}.yml",
            "since": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        }
        arguments = {**arguments, "now": time.time(), "holder": holder}
        locks = bool(names) and not self._task.check_mode
        tell = -1
        if locks and not known:
            # Whose child this is, and not whose it has become: a worker outlives an ansible-playbook that is killed
            parent = multiprocessing.parent_process()
            tell = self._hold(names, holder["token"], getattr(parent, "pid", os.getppid()))
        try:
            result = self._execute_module("plainstack.web.inspect", arguments, task_vars=variables)
        except AnsibleConnectionFailure as error:
            if boolean(self._task.args.get("allow_unreachable", False)):
                return {"changed": False, "left_out": True, "warnings": [f"{host} cannot be reached and is left out: {error}"]}
            if SLOW in str(error):
                return self._failed(
                    f"{host} is slow: {error}\n{where}\nNext: give it more time: --timeout 60 in the command, or 'ansible_timeout: 60' for the host. "
                    f"'time {ssh} sudo -n true' shows how long it takes."
                )
            more = len(plan["servers"]) + len(plan["balancers"]) > 1 and plan["event"] != "upgrade"
            hint = " -e allow_unreachable=true leaves it out." if more else ""
            return self._failed(
                f"{host} cannot be reached: {error}\n{where}\nNext: '{ssh}' must log in without a question; then run the same command again.{hint}"
            )
        except AnsibleError as error:  # a wrong or missing password for sudo is noticed before the module runs
            result = {"failed": True, "msg": str(error)}
        if tell >= 0 and (not result.get("failed") or result.get("locked") or result.get("refused")):
            os.write(tell, REFUSED if result.get("failed") else TAKEN)
        if not result.get("failed"):
            return {**result, "token": holder["token"] if locks else ""}
        said = "\n".join(str(result.get(key, "")) for key in ("msg", "module_stderr", "module_stdout")).strip()
        if result.get("locked"):
            return self._failed(f"{host}: {said}\nNothing was touched.")
        if result.get("refused"):
            reasons = "\n".join(f"  - {line}" for line in str(result["msg"]).splitlines())
            return self._failed(f"{host} cannot be deployed to; nothing was touched.\n{reasons}\n{where}\nThen run the same command again.")
        if SUDO.search(said):
            return self._failed(
                f"{host} can be reached, but '{user}' cannot become root with sudo: {said}\n{where}\n"
                f"Next: '{ssh} sudo -n true' must work. Where sudo asks for a password, add --ask-become-pass to the command."
            )
        return self._failed(f"{host} could not be checked: {said}\n{where}\nNext: '{ssh} /usr/bin/python3 -V' must print a version of Python.")

    def _hold(self, apps: list[str], token: str, playbook: int) -> int:
        """Start a process that renews the locks until ansible-playbook has ended, however it ended, and then releases them.

        It is there before the locks are asked for: what may be killed at any moment must not be what takes them.

        :param playbook: the process of ansible-playbook; this is one of its workers, which ends with the task.
        :returns: where to write TAKEN or REFUSED; closed without it, as by the death of this worker, the locks are released.
        """
        told, tell = os.pipe()
        watching, watches = os.pipe()
        worker = os.getpid()
        if os.fork():
            os.close(told)
            os.close(watches)
            os.read(watching, 1)
            os.close(watching)
            if os.getppid() != playbook:  # it had ended before it was watched
                os._exit(1)
            return tell
        try:
            os.setsid()  # Ctrl-C ends ansible-playbook, and then this releases the locks
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                signal.signal(number, signal.SIG_IGN if number != signal.SIGTERM else signal.SIG_DFL)
            # Whoever waits for the end of ansible-playbook's output must not wait for this
            low, high = sorted((told, watches))
            for first, last in ((0, low), (low + 1, high), (high + 1, 65536)):
                os.closerange(first, last)
            for _stream in range(3):
                os.open(os.devnull, os.O_RDWR)
            Display().verbosity = 0  # what it shows goes through ansible-playbook, and that way is closed now
            run = Process(playbook)
            os.close(watches)
            locks = " ".join(App(app).lock for app in apps)
            said = self._renew(run, told, locks, token)
            if not said and os.getppid() == worker and run.ended():
                os.killpg(worker, signal.SIGKILL)  # with its SSH: the module on the host must not wait for the locks any more
            for pause in {REFUSED: (), TAKEN: (0,)}.get(said, (0, 2)):  # it may just be taking them
                time.sleep(pause)
                self._on_the_host(RELEASE, locks, token)
        finally:
            os._exit(0)

    def _renew(self, run: Process, told: int, locks: str, token: str) -> bytes:
        """Renew the locks until the run has ended or has not got them; what the worker has said."""
        said = b""
        while True:
            found = ready([run.fileno(), *([] if said else [told])], RENEWAL)
            if run.fileno() in found:
                return said
            if told in found:
                said = os.read(told, 1)
                if said != TAKEN:
                    return said
            elif said and silence(token) > RENEWAL:
                self._on_the_host(RENEW, locks, token)

    def _on_the_host(self, command: str, locks: str, token: str) -> None:
        with contextlib.suppress(Exception):  # a connection that is lost may come back; if not, the lock ends by itself
            self._low_level_execute_command(LOCKS.format(paths=locks, token=token, do=command))

    @staticmethod
    def _failed(message: str) -> dict[str, Any]:
        return {"failed": True, "msg": message}
