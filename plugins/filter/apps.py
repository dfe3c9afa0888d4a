"""Filters over the `apps` of an inventory; each is documented in the YAML file of its name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ansible.errors import AnsibleFilterError
from ansible_collections.plainstack.web.plugins.module_utils.controller.definition import DefinitionError, normalise
from ansible_collections.plainstack.web.plugins.module_utils.controller.ssh import KeyTextError
from ansible_collections.plainstack.web.plugins.module_utils.controller.ssh import public_key as parse_key
from ansible_collections.plainstack.web.plugins.module_utils.controller.wiring import places
from ansible_collections.plainstack.web.plugins.plugin_utils.evaluate import evaluate


def apps(value: Any, directory: str, sources: bool = True, fetched: dict[str, str] | None = None, only: str = "") -> list[dict[str, Any]]:
    """Check and complete; the error is what the user reads."""
    try:
        return normalise(evaluate(value), directory, sources, fetched, only)
    except DefinitionError as error:
        problems = "\n".join(f"  - {problem}" for problem in error.problems)
        # Not "from error": Ansible would print the problems a second time
        raise AnsibleFilterError(
            f"The definition of the apps is invalid; nothing was touched.\n{problems}\n"
            f"Where it is set: 'apps' in {directory}/group_vars/all/apps.yml (or wherever your inventory sets it).\n"
            "The keys are in docs/reference.md, part 'The apps definition'. Then run the same command again."
        ) from None


def certificate_files(value: list[dict[str, str]]) -> list[dict[str, str]]:
    """The files of own certificates on a host, and where they come from."""
    found = []
    for own in value:
        base = f"/etc/nginx/certificates/{own['name']}"
        found += [{"dest": f"{base}.pem", "src": own["certificate"]}, {"dest": f"{base}.key", "src": own["certificate_key"], "mode": "0600"}]
    return found


def site_files(value: list[dict[str, Any]], edge: bool) -> list[dict[str, str]]:
    """The passwords and error pages of sites on a host, and where they come from."""
    found = []
    for site in value:
        if site.get("basic_auth") and edge:
            found.append({"dest": f"/etc/nginx/passwords/{site['name']}", "src": site["basic_auth"], "mode": "0640", "group": "www-data"})
        pages = site.get("error_pages", {}).items()
        found += [{"dest": f"/var/www/plainstack/{site['name']}/{code}.html", "src": page} for code, page in sorted(pages)]
    return found


def public_key(value: str, host: str, path: str) -> str:
    """The public key in a file of a host."""
    try:
        return parse_key(value)
    except KeyTextError as error:
        raise AnsibleFilterError(
            f"{path} of the host '{host}' is refused: {error}.\n"
            f"Next: see on that host who changed it ('sudo ls -l --full-time {path}; sudo cat {path}'), put it right, and deploy again."
        ) from None


class FilterModule:
    """Filters of the collection."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """By name."""
        return {"apps": apps, "certificate_files": certificate_files, "places": places, "public_key": public_key, "site_files": site_files}
