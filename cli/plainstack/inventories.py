"""Inventories, read with Ansible's own code."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

DIRECTORY = "inventories"
VAULTS = ".vaults"  # where `plainstack new` puts the password of each inventory's vault
GROUPS = ("app_servers", "worker_servers")


class InventoryError(Exception):
    """The inventory is not there, or has not what is needed; the message is for the operator."""


def names() -> list[str]:
    """The inventories of the current directory."""
    try:
        return sorted(entry.name for entry in os.scandir(DIRECTORY) if entry.is_dir() and not entry.name.startswith("."))
    except OSError:
        return []


def find(name: str) -> str:
    """The path of an inventory.

    :param name: of one in `inventories/`, or a path.
    :raises InventoryError: when there is none.
    """
    for path in (f"{DIRECTORY}/{name}", name):
        if name not in ("", ".", "..") and os.path.exists(path):
            return path
    known = ", ".join(names()) or "none"
    raise InventoryError(f"There is no inventory '{name}': {DIRECTORY}/ has {known}, and there is no such path.\nNext: plainstack new {name}")


def vault(path: str) -> list[str]:
    """The vault that `plainstack new` has made for an inventory, as `--vault-id` takes it."""
    stage = os.path.basename(path.rstrip("/"))
    return [f"{stage}@{VAULTS}/{stage}"] if os.path.isfile(f"{VAULTS}/{stage}") else []


def ready() -> None:
    """Have Ansible find its collections, ours too; once in a process."""
    from ansible.plugins.loader import init_plugin_loader
    from ansible.utils.collection_loader import AnsibleCollectionConfig

    if AnsibleCollectionConfig.collection_finder is None:
        init_plugin_loader()


@dataclass(frozen=True)
class Server:
    """How ssh reaches a server: `words` before the command to run there, with the options of the inventory and of ansible.cfg."""

    name: str
    words: tuple[str, ...]
    root: bool

    def command(self, script: str, terminal: bool = False) -> list[str]:
        """What runs a Bash script on the server, as root.

        :param terminal: whether it has the terminal of this command.
        """
        there = ("" if self.root else "sudo " if terminal else "sudo -n ") + shlex.join(["bash", "-c", script])
        ssh, *options, host = self.words
        return [ssh, "-t" if terminal else "-T", *options, host, there]


class Inventory:
    """One inventory, as Ansible sees it."""

    def __init__(self, path: str) -> None:
        # Here, as they take half a second, which a completion has not to wait for
        from ansible.inventory.manager import InventoryManager
        from ansible.parsing.dataloader import DataLoader
        from ansible.vars.manager import VariableManager

        ready()
        self.path = path
        self._loader = DataLoader()
        self._unlock()
        self._hosts = InventoryManager(loader=self._loader, sources=[path])
        self._variables = VariableManager(loader=self._loader, inventory=self._hosts)

    def _unlock(self) -> None:
        """What the vault needs, where a file has it; there is no prompt."""
        from ansible import constants as C  # type: ignore[attr-defined]
        from ansible.cli import CLI

        files = [C.DEFAULT_VAULT_PASSWORD_FILE] if C.DEFAULT_VAULT_PASSWORD_FILE else []
        ids = [one for one in C.DEFAULT_VAULT_IDENTITY_LIST if not one.endswith("@prompt")] + vault(self.path)
        if files or ids:
            self._loader.set_vault_secrets(CLI.setup_vault_secrets(self._loader, ids, files, auto_prompt=False))

    def servers(self, balancers: bool = False) -> list[str]:
        """The names of the servers that have apps, in the order of the inventory.

        :param balancers: whether the load balancers are wanted, too.
        """
        groups = self._hosts.get_groups_dict()
        wanted = ("load_balancers", *GROUPS) if balancers else GROUPS
        return [*dict.fromkeys(host for group in wanted for host in groups.get(group, []))]

    def _of(self, name: str) -> Mapping[str, Any]:
        found: Mapping[str, Any] = self._variables.get_vars(host=self._hosts.get_host(name))
        return found

    def apps(self) -> dict[str, list[str]]:
        """The domains of each app, as they are written; without those that only a template knows."""
        found = {}
        for server in self.servers()[:1]:
            apps = self._of(server).get("apps")
            for app in apps if isinstance(apps, list) else []:
                if isinstance(app, dict) and isinstance(app.get("name"), str):
                    found[str(app["name"])] = [str(one) for one in [*app.get("domains", []), *app.get("aliases", [])]]
        return found

    def app(self, name: str) -> str:
        """The app of that name, or the only one.

        :raises InventoryError: when there is none, or which one is not clear.
        """
        known = self.apps()
        if name in known:
            return name
        if not name and len(known) == 1:
            return next(iter(known))
        why = f"There is no app '{name}'" if name else "Which app?"
        raise InventoryError(f"{why}: {self.path} has {', '.join(known) or 'none'}.")

    def server(self, name: str) -> Server:
        """How a server is reached.

        :raises InventoryError: when the inventory has no such server.
        """
        from ansible import constants as C  # type: ignore[attr-defined]
        from ansible.playbook.play_context import PlayContext
        from ansible.plugins.loader import connection_loader
        from ansible.template import Templar

        if name not in self.servers(balancers=True):
            raise InventoryError(f"There is no server '{name}': {self.path} has {', '.join(self.servers()) or 'none'}.")
        variables = self._of(name)
        templar = Templar(loader=self._loader, variables=variables)
        connection = connection_loader.get("ssh", PlayContext())
        wanted = C.config.get_plugin_vars("connection", connection._load_name)
        connection.set_options(var_options={key: templar.template(variables[key]) for key in wanted if key in variables})
        given = {key: connection.get_option(key) for key in ("host", "port", "remote_user", "private_key_file", "control_path", "control_path_dir")}
        words = [str(connection.get_option("ssh_executable")), *self._options(connection)]
        words += ["-o", f"Port={given['port']}"] if given["port"] else []
        words += ["-o", f"User={given['remote_user']}"] if given["remote_user"] else []
        words += ["-o", f"IdentityFile={os.path.expanduser(given['private_key_file'])}"] if given["private_key_file"] else []
        return Server(name, (*words, str(given["host"] or name)), given["remote_user"] == "root")

    @staticmethod
    def _options(connection: Any) -> Iterator[str]:
        """Those of the inventory and of ansible.cfg, but for a shared connection: a window of its own must not end others' with Ctrl-C."""
        yield from ("-o", "ControlPath=none")  # first, as ssh takes the first that it is given
        for key in ("ssh_args", "ssh_common_args", "ssh_extra_args"):
            yield from shlex.split(connection.get_option(key) or "")


def configuration() -> str:
    """The ansible.cfg of the checkout that this command lies in; empty where Ansible finds one by itself, or there is none."""
    own = Path(__file__).resolve().parents[2] / "ansible.cfg"
    found = "ANSIBLE_CONFIG" in os.environ or os.path.exists("ansible.cfg") or not own.exists()
    return "" if found else str(own)
