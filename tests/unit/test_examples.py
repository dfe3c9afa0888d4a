"""The example in each role's README: what it sets the role takes, and the role's scenario runs it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator

ROOT = Path(__file__).resolve().parents[2]
ROLES = sorted(path.name for path in (ROOT / "roles").iterdir())
SCENARIOS = {"release": "build"}  # where it has not the role's name
VERBATIM = {"firewall": "converge.yml", "nginx": "prepare.yml"}  # the play is the README's, but for its hosts
Used = set[tuple[str, str]]


def example(role: str) -> list[dict[str, Any]]:
    """The plays or tasks of the README's example."""
    text = (ROOT / "roles" / role / "README.md").read_text(encoding="utf-8")
    found = re.search(r"^## Example\n.*?^```yaml\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    assert found, f"roles/{role}/README.md has no example in YAML"
    return list(yaml.safe_load(found[1]))


def playbooks(role: str) -> dict[str, list[dict[str, Any]]]:
    directory = ROOT / "molecule" / SCENARIOS.get(role, role)
    return {path.name: yaml.safe_load(path.read_text(encoding="utf-8")) for path in directory.glob("*.yml")}


def used(found: Any) -> Used:
    """The entry points of roles that plays or tasks use."""
    if isinstance(found, list):
        return {entry for item in found for entry in used(item)}
    if not isinstance(found, dict):
        return set()
    entries = {(found["role"], "main")} if "role" in found else set()
    for key, value in found.items():
        if key in ("ansible.builtin.import_role", "ansible.builtin.include_role"):
            entries.add((value["name"], value.get("tasks_from", "main")))
        entries |= used(value)
    return entries


def settings(found: Any, role: str) -> Iterator[dict[str, Any]]:
    """The variables of a role that plays or tasks set, by the place."""
    if isinstance(found, dict):
        if own := {key: value for key, value in (found.get("vars") or {}).items() if key.startswith(f"{role}_")}:
            yield own
        found = list(found.values())
    if isinstance(found, list):
        for item in found:
            yield from settings(item, role)


def known(value: Any) -> Any:
    """A value in which a mapping stands for each template."""
    if isinstance(value, dict):
        return {key: ({} if key == "archive" else known(item)) for key, item in value.items()}
    return [known(item) for item in value] if isinstance(value, list) else value


@pytest.mark.parametrize("role", ROLES)
def test_the_role_takes_what_its_example_sets(role: str) -> None:
    specs = yaml.safe_load((ROOT / "roles" / role / "meta" / "argument_specs.yml").read_text(encoding="utf-8"))["argument_specs"]
    validator: Any = ArgumentSpecValidator
    given = list(settings(example(role), role))
    assert given
    for variables in given:
        assert validator(specs["main"]["options"]).validate(known(variables)).error_messages == []


@pytest.mark.parametrize("role", ROLES)
def test_the_scenario_uses_what_the_example_uses(role: str) -> None:
    entries = used(example(role))
    assert (f"plainstack.web.{role}", "main") in entries
    assert entries <= used(list(playbooks(role).values()))


@pytest.mark.parametrize(("role", "file"), VERBATIM.items())
def test_the_scenario_runs_the_example(role: str, file: str) -> None:
    [play] = example(role)
    assert {**play, "hosts": "lab"} in playbooks(role)[file], f"molecule/{role}/{file} must have the play of roles/{role}/README.md"


def test_the_certificate_of_the_example_is_for_the_site_of_the_example() -> None:
    """Names that nginx does not serve cannot be proven to the ACME server."""
    [nginx], [certbot] = settings(example("nginx"), "nginx"), settings(example("certbot"), "certbot")
    [site], [certificate] = nginx["nginx_sites"], certbot["certbot_certificates"]
    assert (site["name"], site["domains"]) == (certificate["name"], certificate["domains"])
