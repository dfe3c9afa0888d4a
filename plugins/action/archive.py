"""Archive the source of apps on the controller, once for the whole run."""

from __future__ import annotations

import datetime
import getpass
import os
import socket
import tempfile
from typing import Any

from ansible import constants as C  # type: ignore[attr-defined]
from ansible.plugins.action import ActionBase
from ansible_collections.plainstack.web.plugins.module_utils.controller.archive import ArchiveError, build, list_files, revision, warnings
from ansible_collections.plainstack.web.plugins.module_utils.static import problems


class ActionModule(ActionBase):
    """Runs on the controller; the archives vanish with the run's temporary directory."""

    _requires_connection = False

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """One archive for each source; see the documentation of the module."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        sources = self._task.args["sources"]
        try:
            wrong = [f"app '{name}': {problem}" for name, source in sources.items() for problem in self._missing(name, source)]
        except (ArchiveError, OSError) as error:
            return {**result, "failed": True, "msg": str(error)}
        if wrong:
            listed = "\n".join(f"  - {problem}" for problem in wrong)
            return {**result, "failed": True, "msg": f"The sources cannot be deployed; nothing was touched.\n{listed}\nThen run the same command again."}
        now = datetime.datetime.now(datetime.UTC).strftime("%Y%m%dT%H%M%SZ")
        archives: dict[str, Any] = {}
        told: list[str] = []
        for name, source in sources.items():
            include = self._task.args.get("include", {}).get(name, [])
            handle, path = tempfile.mkstemp(suffix=".tar.gz", prefix=f"{name}-", dir=C.DEFAULT_LOCAL_TMP)
            try:
                with os.fdopen(handle, "wb") as target:
                    digest = build(source, target, include)
                told += [f"app '{name}': {warning}" for warning in warnings(source, include)]
                origin = revision(source)
            except (ArchiveError, OSError) as error:
                return {**result, "failed": True, "msg": f"app '{name}': {error}\nWhere it is set: 'source' of the app in the inventory."}
            archives[name] = {
                "path": path,
                "digest": digest,
                "id": f"{now}-{digest[:8]}",
                "story": {
                    "source": source,
                    "revision": origin.commit,
                    "dirty": origin.dirty,
                    "deployed_by": getpass.getuser(),
                    "deployed_from": socket.gethostname(),
                    "created": now,
                },
            }
        return {**result, "changed": False, "archives": archives, "directory": C.DEFAULT_LOCAL_TMP, "warnings": told}

    def _missing(self, name: str, source: str) -> list[str]:
        """What the archive of an app would not have, though the definition names it."""
        arguments = self._task.args
        names = list_files(source, arguments.get("include", {}).get(name, []))
        return problems(source, names, arguments.get("static", {}).get(name, {}), arguments.get("requirements", {}).get(name) or "")
