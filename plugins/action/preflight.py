"""Check a host, say in plain words when it cannot even be reached, and hold the locks of its apps while the run lives."""

from __future__ import annotations

import contextlib
import getpass
import multiprocessing
import os
import re
import secrets
import select
import signal
import socket
import time
from typing import Any

from ansible.errors import AnsibleConnectionFailure, AnsibleError
from ansible.module_utils.parsing.convert_bool import boolean
from ansible.plugins.action import ActionBase
from ansible.utils.display import Display
from ansible_collections.plainstack.web.plugins.action.step import silence
from ansible_collections.plainstack.web.plugins.module_utils.controller.process import Process
from ansible_collections.plainstack.web.plugins.module_utils.host.lock import RENEWAL
from ansible_collections.plainstack.web.plugins.module_utils.layout import App

SUDO = re.compile(r"sudo|become|not in the sudoers|password is required", re.IGNORECASE)
SLOW = "waiting for privilege escalation prompt"  # it was reached, and its sudo took longer than Ansible waits
# Each lock of the run on this host: renew it, or give it back
LOCKS = 'for lock in {paths}; do grep -qs {token} "$lock" && {do}; done; true'
RENEW = 'cut -d. -f1 /proc/uptime > "$lock.new" && mv "$lock.new" "$lock.beat"'  # never empty, which would count as dead
RELEASE = 'rm -f "$lock"'
TAKEN = b"t"  # what a worker tells the process that holds the locks
REFUSED = b"r"


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
        purpose = self._task.args.get("purpose", "deploy")
        holder = {
            "token": secrets.token_hex(8),
            "by": getpass.getuser(),
            "origin": socket.gethostname(),
            "what": f"{purpose}.yml",
            "since": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        }
        arguments = {**self._task.args, "now": time.time(), "holder": holder}
        tell = -1
        if self._task.args.get("apps") and not self._task.check_mode:
            # Whose child this is, and not whose it has become: a worker outlives an ansible-playbook that is killed
            parent = multiprocessing.parent_process()
            tell = self._hold(self._task.args["apps"], holder["token"], getattr(parent, "pid", os.getppid()))
        try:
            result = self._execute_module("plainstack.web.preflight", arguments, task_vars=variables)
        except AnsibleConnectionFailure as error:
            if boolean(self._task.args.get("allow_unreachable", False)):
                return {"changed": False, "left_out": True, "warnings": [f"{host} cannot be reached and is left out: {error}"]}
            if SLOW in str(error):
                return self._failed(
                    f"{host} is slow: {error}\n{where}\nNext: give it more time: --timeout 60 in the command, or 'ansible_timeout: 60' for the host. "
                    f"'time {ssh} sudo -n true' shows how long it takes."
                )
            hint = "" if purpose == "upgrade" else " Of several servers, -e allow_unreachable=true leaves it out."
            return self._failed(
                f"{host} cannot be reached: {error}\n{where}\nNext: '{ssh}' must log in without a question; then run the same command again.{hint}"
            )
        except AnsibleError as error:  # a wrong or missing password for sudo is noticed before the module runs
            result = {"failed": True, "msg": str(error)}
        if tell >= 0 and (not result.get("failed") or result.get("locked") or result.get("refused")):
            os.write(tell, REFUSED if result.get("failed") else TAKEN)
        if not result.get("failed"):
            return result
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
            for _ in range(3):
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
            ready, _, _ = select.select([run.fileno(), *([] if said else [told])], [], [], RENEWAL)
            if run.fileno() in ready:
                return said
            if told in ready:
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
