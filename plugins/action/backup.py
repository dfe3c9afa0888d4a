"""Back up the data of apps, or give it back: from and to a repository of restic, or a file on this machine."""

from __future__ import annotations

import getpass
import json
import os
import socket
import time
from collections.abc import Mapping, Sequence
from typing import Any

from ansible.errors import AnsibleError
from ansible_collections.plainstack.web.plugins.module_utils.controller import orders
from ansible_collections.plainstack.web.plugins.module_utils.controller.backup import BackupError, chosen, repository
from ansible_collections.plainstack.web.plugins.module_utils.environment import encode
from ansible_collections.plainstack.web.plugins.plugin_utils import run as run_files
from ansible_collections.plainstack.web.plugins.plugin_utils.daily import ALONE, Daily

GONE = """{path} cannot be {what}: {why}. Nothing was touched.
Where it is set: -e {option}=... of the command."""


class ActionModule(Daily):
    """See module_utils/host/backup.py and restore.py."""

    module = "backup"

    def _local(self, option: str) -> str:
        """A path on this machine; empty where it was not given."""
        given = str(self._task.args.get(option) or "")
        return os.path.abspath(os.path.expanduser(given)) if given else ""

    def arguments(self, plan: Mapping[str, Any], host: str, apps: Sequence[Mapping[str, Any]], selected: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """What is to be done, as one word: it has the password."""
        given, what = self._task.args, self._task.args["what"]
        local = self._local("to" if what == "save" else "file")
        settings = {**repository(given, bool(local)), "host": host, "apps": [app["name"] for app in selected], "keep": given.get("keep") or {}}
        order: dict[str, Any] = {"settings": settings, "local": bool(local)}
        if what == "save":
            order["uid"] = int(self._low_level_execute_command("id -u", sudoable=False)["stdout"].strip()) if local else 0
        else:
            [app] = selected
            order["app"] = orders.base(app, "", "start", tls=not plan["balancers"], nginx=host in plan["web"][app["name"]])
            order["run"] = {"token": os.urandom(8).hex(), "by": getpass.getuser(), "origin": socket.gethostname(), "what": "restore"}
            order["run"]["since"] = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime())
            order["wanted"] = {"host": str(given.get("of") or ("" if local else host)), "snapshot": str(given.get("snapshot") or "")}
        return {"what": what, "order": encode(json.dumps(order)), **({"file": self._sent} if what == "restore" and local else {})}

    def _look(self, variables: dict[str, Any], host: str, plan: Mapping[str, Any]) -> dict[str, Any]:
        """What was done on the host; a file is sent before, or fetched afterwards."""
        self._sent = ""
        try:
            if self._task.args["what"] == "restore" and (path := self._local("file")):
                tmp = self._make_tmp_path()
                self._sent = self._transfer_file(path, self._connection._shell.join_path(tmp, "backup.tar"))
            found = super()._look(variables, host, plan)
        except AnsibleError as error:
            return {"error": " ".join(str(error).split())}
        finally:
            self._remove_tmp_path(self._connection._shell.tmpdir)
        if remote := found.pop("file", ""):
            found["local"] = os.path.join(self._local("to"), f"{host}-{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}.tar")
            try:
                self._connection.fetch_file(remote, found["local"])
            except (AnsibleError, OSError) as error:
                found["error"] = f"the backup was not fetched to {found['local']}: {' '.join(str(error).split())}"
            self._low_level_execute_command(f"rm -f {remote}", sudoable=False)
        return found

    def _check(self, plan: Mapping[str, Any], host: str) -> bool:
        """Whether the host has a part in it.

        :raises BackupError: where an option is wrong.
        """
        given, what = self._task.args, self._task.args["what"]
        repository(given, bool(self._local("to" if what == "save" else "file")))
        if what == "save":
            if (to := self._local("to")) and not os.path.isdir(to):
                raise BackupError(GONE.format(path=to, what="written to", why="there is no such directory", option="to"))
            return True
        if (file := self._local("file")) and not os.path.isfile(file):
            raise BackupError(GONE.format(path=file, what="read", why="there is no such file", option="file"))
        [name] = plan["apps"]
        return host in chosen(name, given, plan["hosts"][name])

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Skipped on a host that has no part in it: it is not contacted."""
        variables = task_vars or {}
        host, plan = variables["inventory_hostname"], run_files.load(run_files.PLAN)
        if not plan:
            return {"failed": True, "msg": ALONE}
        here = [name for name in plan["apps"] if host in plan["hosts"][name]]
        if self._task.args["what"] == "apps":
            return {"changed": False, "names": [name for name, hosts in plan["hosts"].items() if host in hosts]}
        try:
            part = self._check(plan, host)
        except BackupError as error:
            run_files.note(host, backup={"wrong": str(error)})
            return {"changed": False, "skipped": True}
        return super().run(tmp, task_vars) if part and here else {"changed": False, "skipped": True}
