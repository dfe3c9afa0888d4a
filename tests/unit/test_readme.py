"""What is written must be what is there: the reference, the roles' READMEs, the inventory to copy."""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.plainstack.web.plugins.module_utils.controller.definition import normalise
from ansible_collections.plainstack.web.plugins.module_utils.controller.spec import SPEC

ROOT = Path(__file__).resolve().parents[2]
ROLES = sorted(path.name for path in (ROOT / "roles").iterdir())
EXAMPLE = ROOT / "inventories" / "example"
ROW = re.compile(r"^\| `(\w+)` \| ([^|]*) \| .+ \|$", re.MULTILINE)


def read(path: str) -> str:
    return (ROOT / path).read_text(encoding="utf-8")


def load(path: Path) -> dict[str, Any]:
    return dict(yaml.safe_load(path.read_text(encoding="utf-8")) or {})


def shown(value: Any) -> str:
    """A default as the READMEs write it."""
    return f"`{value if isinstance(value, str) and value else json.dumps(value)}`"


def test_reference_is_made_from_the_specification() -> None:
    done = subprocess.run([sys.executable, ROOT / "tools" / "reference.py"], capture_output=True, text=True, check=True)
    assert done.stdout in read("docs/reference.md"), "docs/reference.md differs from the specification; next: tools/reference.py --write"
    keys = {key for name, rule in SPEC.items() for key in (name, *(f"{name}.*.{option}" for option in rule.get("options", ())))}
    assert {line.split("`")[1] for line in done.stdout.splitlines()[2:]} == keys


def test_reference_has_the_part_that_an_error_names() -> None:
    assert "\n## The apps definition\n" in read("docs/reference.md")
    assert "docs/reference.md, part 'The apps definition'" in read("plugins/filter/apps.py")


@pytest.mark.parametrize("role", ROLES)
def test_role_readme_has_every_variable_with_its_default(role: str) -> None:
    defaults = load(ROOT / "roles" / role / "defaults" / "main.yml")
    rows = {name: cell for name, cell in ROW.findall(read(f"roles/{role}/README.md")) if name.startswith(f"{role}_")}
    assert list(rows) == list(defaults), f"the table of roles/{role}/README.md must have the variables of its defaults/main.yml, in their order"
    # A required variable has no default worth showing
    wrong = {name: shown(value) for name, value in defaults.items() if rows[name] not in (shown(value), "**required**")}
    assert not wrong, "defaults that README.md does not show"


@pytest.mark.parametrize("role", ROLES)
def test_role_readmes_have_the_same_parts(role: str) -> None:
    parts = re.findall(r"^## (.+)$", read(f"roles/{role}/README.md"), re.MULTILINE)
    assert parts == ["Variables", "Example", "Files", "Limits"]


def test_reference_names_every_variable_of_the_example() -> None:
    text = read("docs/reference.md")
    for path in (EXAMPLE / "group_vars" / "all").glob("*.yml"):
        for name in re.findall(r"^(?:# )?([a-z_]+):", path.read_text(encoding="utf-8"), re.MULTILINE):
            assert f"`{name}`" in text, f"{path.name} sets {name}, of which docs/reference.md says nothing"


def test_example_is_valid_once_it_is_copied() -> None:
    """The paths of the example count from inventories/production."""
    apps = load(EXAMPLE / "group_vars" / "all" / "apps.yml")["apps"]
    whole = normalise(apps, str(ROOT / "inventories" / "production"))
    assert [app["name"] for app in whole] == ["hello"]
    assert load(EXAMPLE / "hosts.yml")["app_servers"]["hosts"]
