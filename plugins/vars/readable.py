"""Ansible's own reading of group_vars and host_vars; a file that cannot be read is an error that names it, the line and the next command."""

from __future__ import annotations

DOCUMENTATION = r"""
name: readable
version_added: "0.1.0"
short_description: group_vars and host_vars, with errors that name the file
description:
  - Does what P(ansible.builtin.host_group_vars#vars) does, in its place. That one says neither in which file nor in which line something is wrong.
author: Plainstack contributors (!UNKNOWN)
requirements:
  - C(vars_plugins_enabled = plainstack.web.readable) in C(ansible.cfg).
options:
  _valid_extensions:
    default: [".yml", ".yaml", ".json"]
    description: Extensions of the files.
    type: list
    elements: string
extends_documentation_fragment:
  - vars_plugin_staging
"""

from typing import Any

from ansible.errors import AnsibleError, AnsibleParserError
from ansible.parsing.vault import AnsibleVaultError
from ansible.plugins.vars import BaseVarsPlugin
from ansible.plugins.vars.host_group_vars import VarsModule as Builtin


def told(path: str, error: AnsibleError) -> str:
    """What the operator reads. Nothing of the file's content, which may be secret."""
    said = str(error).removeprefix("YAML parsing failed: ").splitlines()[0]
    if isinstance(error, AnsibleVaultError):
        return f"{path} cannot be decrypted: {said}\nNext: the same command with --ask-vault-pass, or with the right file in ANSIBLE_VAULT_PASSWORD_FILE."
    place = str(error.obj or "").removeprefix(f"{path}:").split(":")
    where = f", line {place[0]}" if place[0].isdecimal() else ""
    return f"{path} is not valid YAML: {said}\nWhere it is set: {path}{where}.\nNext: correct it there, and run the same command again."


class Reader(Builtin):  # type: ignore[misc]
    """Ansible's own plugin, one file at a time."""

    def load_found_files(self, loader: Any, data: dict[str, Any], found_files: list[str]) -> dict[str, Any]:
        """The variables of some files."""
        for path in found_files:
            try:
                data = super().load_found_files(loader, data, [path])
            except AnsibleError as error:
                # Not "from error": Ansible would print the problem a second time
                raise AnsibleParserError(told(path, error)) from None
        return data


class VarsModule(BaseVarsPlugin):  # type: ignore[misc]
    """Not a kind of Ansible's own: what that one says of itself is not for plugins of collections."""

    is_stateless = True

    def __init__(self) -> None:
        super().__init__()
        self._reader = Reader()

    def get_vars(self, loader: Any, path: str, entities: Any, cache: bool = True) -> dict[str, Any]:
        """The variables of hosts and groups, from the directories beside a path."""
        found: dict[str, Any] = self._reader.get_vars(loader, path, entities, cache)
        return found
