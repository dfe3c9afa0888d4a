"""The filter that checks and completes the `apps` of an inventory."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ansible.errors import AnsibleFilterError
from ansible_collections.plainstack.web.plugins.module_utils.definition import DefinitionError, normalise
from ansible_collections.plainstack.web.plugins.module_utils.wiring import certificates, release_config, sites

DOCUMENTATION = r"""
name: apps
short_description: Check and complete the definition of apps
version_added: "0.1.0"
description: Every problem is reported at once, with the app, the key and the closest valid key.
author: Plainstack contributors
positional: directory
options:
  _input:
    description: The C(apps) of an inventory; the README has the reference of their keys.
    type: list
    elements: dict
    required: true
  directory:
    description: The inventory's directory, from which relative paths are taken.
    type: path
    required: true
"""

EXAMPLES = r"""
- vars:
    whole: "{{ apps | plainstack.web.apps(inventory_dir) }}"
  ansible.builtin.debug:
    msg: "{{ whole | map(attribute='name') }}"
"""

RETURN = r"""
_value:
  description: The same apps with every key set and absolute paths.
  type: list
  elements: dict
"""


def apps(value: Any, directory: str) -> list[dict[str, Any]]:
    """Check and complete; the error is what the user reads."""
    try:
        return normalise(value, directory)
    except DefinitionError as error:
        problems = "\n".join(f"  - {problem}" for problem in error.problems)
        raise AnsibleFilterError(
            f"The definition of the apps does not hold; nothing was touched.\n{problems}\n"
            f"Where it is set: 'apps' in {directory}/group_vars/all/apps.yml (or wherever your inventory sets it).\n"
            "The keys are in the README, part 'The apps definition'. Then run the same command again."
        ) from error


class FilterModule:
    """Filters of the collection."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """By name."""
        return {"apps": apps, "certificates": certificates, "release_config": release_config, "sites": sites}
