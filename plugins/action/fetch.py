"""Fetch the releases that the fleet has live from the servers that have them, for the other servers to get."""

from __future__ import annotations

import base64
import json
import os
from typing import Any

from ansible import constants as C  # type: ignore[attr-defined]
from ansible.plugins.action import ActionBase
from ansible_collections.plainstack.web.plugins.module_utils.layout import App
from ansible_collections.plainstack.web.plugins.plugin_utils import run


class FetchError(Exception):
    """What could not be read."""


class ActionModule(ActionBase):
    """Only the servers that were chosen are contacted."""

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Nothing but whether it went well: what is fetched has secrets."""
        super().run(tmp, task_vars)
        variables = task_vars or {}
        host = variables["inventory_hostname"]
        for order in run.load(run.DECISION)["orders"]:
            # Where nobody lacks it, there is nothing to get
            if order["reference"] != host or not order["act"]:
                continue
            name, identifier = order["name"], order["before"][host]
            app, path = App(name), os.path.join(C.DEFAULT_LOCAL_TMP, f"{name}-{identifier}.tar.gz")
            try:
                story = json.loads(self._read(app.marker(identifier), variables))
                environment = self._read(app.environment(identifier), variables).decode()
                with open(path, "wb", opener=lambda name, flags: os.open(name, flags, 0o600)) as stream:
                    stream.write(self._read(app.archive(identifier), variables))
            except (FetchError, ValueError) as error:
                return {
                    "failed": True,
                    "msg": f"{name}: {identifier} cannot be read on {host}: {error}\nNothing was touched. Next: ansible-playbook deploy.yml",
                }
            run.save(f"reference-{name}", {"id": identifier, "story": story, "environment": environment, "path": path})
        return {"changed": False}

    def _read(self, path: str, variables: dict[str, Any]) -> bytes:
        """A file of the host; with -vvv Ansible would print what came over the connection."""
        shown, self._play_context.no_log = self._play_context.no_log, True
        checks, self._task.check_mode = self._task.check_mode, False
        try:
            found = self._execute_module("ansible.builtin.slurp", {"src": path}, task_vars=variables)
        finally:
            self._play_context.no_log, self._task.check_mode = shown, checks
        if found.get("failed"):
            raise FetchError(found.get("msg", "it cannot be read"))
        return base64.b64decode(found["content"])
