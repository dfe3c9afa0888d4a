"""Bring the archive to the host and make the app's user, but only where the release is not there yet."""

from __future__ import annotations

import base64
import json
import os
from typing import Any

from ansible.plugins.action import ActionBase
from ansible_collections.plainstack.web.plugins.module_utils.environment import encode, refused, render, too_much

INLINE = 256 * 1024  # bytes of an archive that goes along with the first question; a larger one is sent once it is known to be needed


class ActionModule(ActionBase):
    """Run the module; when it asks for the archive, send it and run the module again."""

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """The module's result; the archive's copy on the host is removed in any case."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        arguments = dict(self._task.args)
        environment = arguments.get("environment") or {}
        wrong = [f"{name!r} {why}" for name, why in refused(environment)]
        wrong += [f"the variables {why}" for why in [too_much(environment.items())] if why]
        if wrong:
            where = "Where it is set: 'release_environment' of the role, or 'environment' of the module."
            return {**result, "failed": True, "msg": "\n".join([f"{arguments['app']}: the environment cannot be that of a service.", *wrong, where])}
        arguments["environment"] = encode(render(environment))
        arguments["build_environment"] = encode(json.dumps(arguments.get("build_environment") or {}))
        if os.path.getsize(arguments["archive"]) <= INLINE:
            with open(arguments["archive"], "rb") as stream:
                arguments["content"] = base64.b64encode(stream.read()).decode()
        result = self._execute_module("plainstack.web.release", arguments, task_vars=task_vars)
        if not result.get("needs_archive"):
            return result
        if result["needs_user"]:
            made = self._execute_module("ansible.builtin.user", self._user(arguments["app"], result["uid"]), task_vars=task_vars)
            if made.get("failed"):
                return made
        remote = self._connection._shell.join_path(self._make_tmp_path(), os.path.basename(arguments["archive"]))
        try:
            self._transfer_file(arguments["archive"], remote)
            return self._execute_module("plainstack.web.release", {**arguments, "archive": remote, "fetched": True}, task_vars=task_vars)
        finally:
            self._remove_tmp_path(self._connection._shell.tmpdir)

    @staticmethod
    def _user(app: str, uid: int) -> dict[str, Any]:
        user = {"name": app, "system": True, "home": f"/srv/{app}", "create_home": False, "shell": "/usr/sbin/nologin"}
        return {**user, "uid": uid} if uid else user
