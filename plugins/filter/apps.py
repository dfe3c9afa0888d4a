"""Filters over the `apps` of an inventory; each is documented in the YAML file of its name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ansible.errors import AnsibleFilterError
from ansible_collections.plainstack.web.plugins.module_utils import traffic
from ansible_collections.plainstack.web.plugins.module_utils.controller import rollout
from ansible_collections.plainstack.web.plugins.module_utils.controller.adopt import AdoptError
from ansible_collections.plainstack.web.plugins.module_utils.controller.adopt import adopt as adopt_releases
from ansible_collections.plainstack.web.plugins.module_utils.controller.definition import DefinitionError, normalise, select
from ansible_collections.plainstack.web.plugins.module_utils.controller.ssh import KeyTextError
from ansible_collections.plainstack.web.plugins.module_utils.controller.ssh import public_key as parse_key
from ansible_collections.plainstack.web.plugins.module_utils.controller.wiring import (
    WiringError,
    balanced_sites,
    certificates,
    issuers,
    places,
    release_config,
    sites,
)
from ansible_collections.plainstack.web.plugins.module_utils.controller.wiring import addresses as private_addresses
from ansible_collections.plainstack.web.plugins.plugin_utils.evaluate import evaluate


def apps(value: Any, directory: str, sources: bool = True) -> list[dict[str, Any]]:
    """Check and complete; the error is what the user reads."""
    try:
        return normalise(evaluate(value), directory, sources)
    except DefinitionError as error:
        problems = "\n".join(f"  - {problem}" for problem in error.problems)
        # Not "from error": Ansible would print the problems a second time
        raise AnsibleFilterError(
            f"The definition of the apps does not hold; nothing was touched.\n{problems}\n"
            f"Where it is set: 'apps' in {directory}/group_vars/all/apps.yml (or wherever your inventory sets it).\n"
            "The keys are in the README, part 'The apps definition'. Then run the same command again."
        ) from None


def selected(value: list[dict[str, Any]], name: str) -> list[dict[str, Any]]:
    """The app that -e app= names, or all."""
    try:
        return select(value, name)
    except DefinitionError as error:
        raise AnsibleFilterError(f"{error} Nothing was touched.\nWhere it is set: -e app={name} of the command.") from None


def addresses(value: list[str], variables: Any) -> list[str]:
    """The private addresses of hosts."""
    try:
        return private_addresses(value, variables)
    except WiringError as error:
        raise AnsibleFilterError(str(error)) from None


def adopt(value: list[dict[str, Any]], references: dict[str, str], variables: Any, directory: str) -> dict[str, Any]:
    """The apps as they were deployed to the servers that the others get them from."""
    try:
        return adopt_releases(value, references, variables, directory)
    except AdoptError as error:
        raise AnsibleFilterError(str(error)) from None


def canary(value: list[str], wanted: Any) -> list[str]:
    """The hosts that are switched first."""
    try:
        return rollout.canary(value, str(wanted))
    except rollout.RolloutError as error:
        raise AnsibleFilterError(f"{error} Nothing was touched.\nWhere it is set: -e canary={wanted} of the command.") from None


def reference(value: list[str], variables: Any, name: str) -> str:
    """The host that has what the fleet has live."""
    try:
        return rollout.reference(value, variables, name)
    except rollout.RolloutError as error:
        raise AnsibleFilterError(str(error)) from None


def public_key(value: str, host: str, path: str) -> str:
    """The public key in a file of a host."""
    try:
        return parse_key(value)
    except KeyTextError as error:
        raise AnsibleFilterError(
            f"{path} of the host '{host}' is refused: {error}.\n"
            f"Next: see on that host who changed it ('sudo ls -l --full-time {path}; sudo cat {path}'), put it right, and deploy again."
        ) from None


def worse(value: list[str], hosts: list[str], variables: Any) -> str:
    """Why the canary is worse than the rest of the hosts."""

    def met(some: list[str]) -> traffic.Traffic:
        found = (variables[host]["plainstack_traffic"] for host in some)
        return traffic.together([traffic.Traffic(one["requests"], one["errors"], one["p95"]) for one in found])

    return traffic.worse(met(value), met([host for host in hosts if host not in value]))


class FilterModule:
    """Filters of the collection."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """By name."""
        return {
            "addresses": addresses,
            "adopt": adopt,
            "apps": apps,
            "canary": canary,
            "balanced_sites": balanced_sites,
            "certificates": certificates,
            "failures": rollout.failures,
            "issuers": issuers,
            "places": places,
            "public_key": public_key,
            "reference": reference,
            "release_config": release_config,
            "selected": selected,
            "sites": sites,
            "table": rollout.table,
            "worse": worse,
        }
