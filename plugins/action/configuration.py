"""Compare a service's files with what the run has seen, or with one quick command; run the module only where something differs.

A module costs some 0.4 s a host before it does anything, and most runs change nothing.
"""

from __future__ import annotations

import hashlib
import shlex
from typing import Any

from ansible.errors import AnsibleConnectionFailure
from ansible.plugins.action import ActionBase
from ansible_collections.plainstack.web.plugins.module_utils.look import answer, framed
from ansible_collections.plainstack.web.plugins.module_utils.stamp import STAMPS, text
from ansible_collections.plainstack.web.plugins.plugin_utils import run as run_files


def look(paths: list[str], first: list[str], stamp: str, service: str) -> str:
    """The command; it prints what is `expected` where nothing is to be done."""
    quoted = " ".join(map(shlex.quote, paths))
    state = f"systemctl is-active {shlex.quote(service)}; systemctl is-enabled {shlex.quote(service)}; " if service else ""
    there = "".join(f"test -e {shlex.quote(path)} && echo there; " for path in first)
    return f"{there}stat -L -c '%a %u %G' -- {quoted}; sha256sum -- {quoted}; {state}cat -- {shlex.quote(stamp)}"


def expected(files: list[dict[str, Any]], first: list[dict[str, Any]], service: str) -> list[str]:
    """The lines that it prints where every file, the stamp and the service are as wanted."""
    modes = [f"{int(file.get('mode', '0644'), 8):o} 0 {file.get('group', 'root')}" for file in files]
    sums = [f"{hashlib.sha256(file['content'].encode()).hexdigest()}  {file['dest']}" for file in files]
    return [*["there" for _file in first], *modes, *sums, *(["active", "enabled"] if service else []), text(files, first, service)]


class ActionModule(ActionBase):
    """Skip the module where it would change nothing."""

    def _with_content(self, file: dict[str, Any]) -> dict[str, Any]:
        """A file whose content is that of one on the controller, which may be encrypted with Ansible Vault."""
        if "src" not in file:
            return file
        content = str(self._loader.get_text_file_contents(file["src"]))
        return {**{key: value for key, value in file.items() if key != "src"}, "content": content}

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """The module's result, or that nothing is to be done."""
        super().run(tmp, task_vars)
        arguments = dict(self._task.args)
        arguments["secret_files"] = [self._with_content(file) for file in arguments.get("secret_files", [])]
        files = [*arguments.get("files", []), *arguments["secret_files"]]
        service = arguments.get("service", "")
        first, host = arguments.get("first_files", []), (task_vars or {}).get("inventory_hostname", "")
        found = run_files.seen(host, "configurations", arguments["name"])
        if found is None:
            command = look([file["dest"] for file in files], [file["dest"] for file in first], f"{STAMPS}/{arguments['name']}", service)
            found = answer(self._low_level_execute_command(framed(command))["stdout"])
        if found == expected(files, first, service):
            return {"changed": False, "written": []}
        run_files.forget(host)
        try:
            return self._execute_module("plainstack.web.configuration", arguments, task_vars=task_vars)
        except AnsibleConnectionFailure:
            run_files.lost(host)
            raise
