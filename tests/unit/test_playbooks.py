"""What holds in every playbook and role, whatever they do."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
FILES = sorted([*ROOT.glob("playbooks/**/*.yml"), *ROOT.glob("roles/*/tasks/*.yml"), *ROOT.glob("roles/*/handlers/*.yml")])
DEFINITIONS = re.compile(r"\bapps\b")


class Loader(yaml.SafeLoader):
    """Knows Ansible's own tags."""


Loader.add_multi_constructor("!", lambda loader, _suffix, node: loader.construct_scalar(node))


def tasks(node: Any) -> Iterator[dict[str, Any]]:
    """Every play, block and task."""
    if isinstance(node, list):
        for item in node:
            yield from tasks(item)
    elif isinstance(node, dict):
        yield node
        for key in ("tasks", "pre_tasks", "post_tasks", "handlers", "block", "rescue", "always"):
            yield from tasks(node.get(key, []))


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(ROOT)))
def test_no_variable_has_a_definition(file: Path) -> None:
    """A definition has the secrets, and what is in a variable can be printed: by a loop's item, a failed task, or with -v."""
    templates = re.findall(r"\{\{.*?\}\}", file.read_text(encoding="utf-8"), re.DOTALL)
    assert [template for template in templates if DEFINITIONS.search(template)] == []


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(ROOT)))
def test_nothing_is_programmed_in_yaml(file: Path) -> None:
    """Decisions are functions with tests; a playbook is a list of steps."""
    text = file.read_text(encoding="utf-8")
    assert re.findall(r"\{%-? *(set|for)\b", text) == []
    if "playbooks" in file.parts:
        assert re.findall(r"[:-] +[&*]\w+|<<:", text) == [], "an anchor"


def test_nothing_has_a_tag() -> None:
    """A run with --tags is refused, so that a tag would be of no use; the refusal itself has the one that is always on."""
    tagged = [(file.name, task["name"]) for file in FILES for task in tasks(yaml.load(file.read_text(encoding="utf-8"), Loader)) if "tags" in task]
    assert tagged == [("begin.yml", "Plan what is to be done")]
