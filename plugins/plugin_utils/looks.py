"""What roles look at on a host before they do anything: seen by the inspection of a run, so that they need not contact the host for it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ansible.errors import AnsibleError
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible.plugins.action import ActionBase
from ansible_collections.plainstack.web.plugins.plugin_utils import run

ROOT = Path(__file__).parents[2]
OF_A_SITE = ("name", "domains", "certificate", "certificate_key")
# The task of a role that looks: role, file and module
LOOKS = (("nginx", "look", "nginx_info"), ("certbot", "look", "certificate"), ("firewall", "configure", "firewall"))


def plain(module: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """The options of a look as JSON has them, without what does not count."""
    found: dict[str, Any] = json.loads(json.dumps(dict(options), default=str))
    if module == "nginx_info":
        found["sites"] = [{key: site[key] for key in OF_A_SITE if key in site} for site in found.get("sites", [])]
    return found


def options(action: ActionBase, variables: Mapping[str, Any], more: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """With which options the roles will look, by module; read from the roles themselves, with the variables that they will have.

    :param variables: of the host.
    :param more: those that a playbook gives besides, where they are known already.
    """
    found = {}
    given = _load(action, "playbooks/vars/roles.yml")
    for role, file, module in LOOKS:
        task = next(task for task in _load(action, f"roles/{role}/tasks/{file}.yml") if f"plainstack.web.{module}" in task)
        defaults, fixed = (_load(action, f"roles/{role}/{kind}/main.yml") for kind in ("defaults", "vars"))
        whole = {**defaults, **variables, **given, **fixed, **more, **task.get("vars", {})}
        templar = action._templar.copy_with_new_env(available_variables=whole)
        try:
            found[module] = plain(module, templar.template(task[f"plainstack.web.{module}"]))
        except AnsibleError:  # the role itself says what is wrong
            continue
    return found


def lacks_python(action: ActionBase, uv: str, versions: Sequence[str]) -> bool:
    """Whether the role python has something to install.

    :param uv: what uv on the host says of its version.
    :param versions: of Python that are yet to be installed.
    """
    pinned = _load(action, "roles/python/vars/main.yml")["__python_uv_version"]
    return bool(versions) or f"uv {pinned} " not in f"{uv} "


def packages(action: ActionBase, variables: Mapping[str, Any], roles: Sequence[str]) -> tuple[list[str], list[str]]:
    """The packages that roles install, and those that are worth having where they can be had."""
    names, optional = [], []
    for role in roles:
        known = {**variables, **_load(action, f"roles/{role}/vars/main.yml")}
        templar = action._templar.copy_with_new_env(available_variables=known)
        names += templar.template(known[f"__{role}_packages"])
        optional += templar.template(known.get(f"__{role}_optional_packages", []))
    return names, optional


def problems(action: ActionBase, variables: Mapping[str, Any], roles: Sequence[str]) -> list[str]:
    """What is wrong with the variables of roles that an inventory sets, before anything is touched; the roles then need not look at them."""
    found = []
    for role in roles:
        specification = _load(action, f"roles/{role}/meta/argument_specs.yml")["argument_specs"]["main"]["options"]
        options = {name: {**option, "required": False} for name, option in specification.items() if name in variables}
        templar = action._templar.copy_with_new_env(available_variables=dict(variables))
        given = {name: templar.template(variables[name]) for name in options}
        found += ArgumentSpecValidator(options).validate(given).error_messages
    return found


def _load(action: ActionBase, path: str) -> Any:
    if not (ROOT / path).exists():
        return {}
    return action._loader.load_from_file(str(ROOT / path), trusted_as_template=True) or {}


class Look(ActionBase):
    """Answer with what the inspection has seen, if it was asked the same and nothing has changed since; contact the host otherwise."""

    module = ""

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """The module's result."""
        super().run(tmp, task_vars)
        variables = task_vars or {}
        seen = run.seen(variables.get("inventory_hostname", ""), "looks", self.module)
        if seen and seen["options"] == plain(self.module, self._task.args) and self._holds(seen["result"]):
            return {"changed": False, "warnings": seen["warnings"], **seen["result"]}
        result: dict[str, Any] = self._execute_module(f"plainstack.web.{self.module}", self._task.args, task_vars=variables)
        return result

    def _holds(self, _result: Mapping[str, Any]) -> bool:
        """Whether what was seen is all that the task is to do."""
        return True
