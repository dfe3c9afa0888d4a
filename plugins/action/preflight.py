"""Check a host, say in plain words when it cannot even be reached, and hold the locks of its apps while the run lives."""

from __future__ import annotations

import contextlib
import getpass
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
from ansible_collections.plainstack.web.plugins.module_utils.lock import RENEWAL

SUDO = re.compile(r"sudo|become|not in the sudoers|password is required", re.IGNORECASE)
# Each lock of the run on this host: renew it, or give it back
LOCKS = 'for lock in {paths}; do grep -qs {token} "$lock" && {do}; done; true'
RENEW = 'cut -d. -f1 /proc/uptime > "$lock.new" && mv "$lock.new" "$lock.beat"'  # never empty, which would count as dead
RELEASE = 'rm -f "$lock"'


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
        try:
            result = self._execute_module("plainstack.web.preflight", arguments, task_vars=variables)
        except AnsibleConnectionFailure as error:
            if boolean(self._task.args.get("allow_unreachable", False)):
                return {"changed": False, "left_out": True, "warnings": [f"{host} cannot be reached and is left out: {error}"]}
            hint = "" if purpose == "upgrade" else " Of several servers, -e allow_unreachable=true leaves it out."
            return self._failed(
                f"{host} cannot be reached: {error}\n{where}\nNext: '{ssh}' must log in without a question; then run the same command again.{hint}"
            )
        except AnsibleError as error:  # a wrong or missing password for sudo is noticed before the module runs
            result = {"failed": True, "msg": str(error)}
        if not result.get("failed"):
            if result.get("run") and self._task.args.get("apps"):
                self._hold(self._task.args["apps"], holder["token"])
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
                f"Next: '{ssh} sudo -v' must work. Where sudo asks for a password, add --ask-become-pass to the command."
            )
        return self._failed(f"{host} could not be checked: {said}\n{where}\nNext: '{ssh} /usr/bin/python3 -V' must print a version of Python.")

    def _hold(self, apps: list[str], token: str) -> None:
        """Start a process that renews the locks until ansible-playbook has ended, however it ended, and then releases them."""
        playbook = os.getppid()  # this is one of its workers, which ends with the task
        if os.fork():
            return
        try:
            os.setsid()  # Ctrl-C ends ansible-playbook, and then this releases the locks
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                signal.signal(number, signal.SIG_IGN if number != signal.SIGTERM else signal.SIG_DFL)
            os.closerange(0, 65536)  # whoever waits for the end of ansible-playbook's output must not wait for this
            for _ in range(3):
                os.open(os.devnull, os.O_RDWR)
            Display().verbosity = 0  # what it shows goes through ansible-playbook, and that way is closed now
            locks = " ".join(f"/run/plainstack/{app}/lock" for app in apps)
            ended = False
            while not ended:
                ended = self._ended(playbook, RENEWAL)
                with contextlib.suppress(Exception):  # a connection that is lost may come back; if not, the lock ends by itself
                    self._low_level_execute_command(LOCKS.format(paths=locks, token=token, do=RELEASE if ended else RENEW))
        finally:
            os._exit(0)

    @staticmethod
    def _ended(process: int, seconds: float) -> bool:
        """Wait up to so many seconds for the end of a process; whether it has ended."""
        if hasattr(os, "pidfd_open"):
            try:
                handle = os.pidfd_open(process)
            except ProcessLookupError:
                return True
            try:
                return bool(select.select([handle], [], [], seconds)[0])
            finally:
                os.close(handle)
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            try:
                os.kill(process, 0)
            except ProcessLookupError:
                return True
            time.sleep(0.2)
        return False

    @staticmethod
    def _failed(message: str) -> dict[str, Any]:
        return {"failed": True, "msg": message}
