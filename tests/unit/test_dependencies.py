"""The collections that the code uses are those that galaxy.yml names, and the lab's are in requirements.yml."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
OURS = {"ansible.builtin", "plainstack.web"}
NAME = r"([a-z_][a-z0-9_]*\.[a-z_][a-z0-9_]*)\.[a-z_][a-z0-9_]*"
# Where a collection's content is named, by the end of the file's name
PLACES = {
    ".py": [r"\bansible_collections\.([a-z_]\w*\.[a-z_]\w*)", rf"_execute_module\(\s*(?:module_name=)?[\"']{NAME}", rf"\b[MP]\({NAME}"],
    ".yml": [
        rf"(?m)^[ -]*{NAME}:(?:\s|$)",
        rf"(?m)^[ -]*(?:ansible\.builtin\.)?(?:name|role|import_playbook|action|module|connection|strategy|become_method): *[\"']?{NAME}\b",
        rf"\b[MP]\({NAME}",
    ],
    ".j2": [],
}
TEMPLATES = [rf"\|\s*{NAME}", rf"\bis\s+(?:not\s+)?{NAME}", rf"\b(?:lookup|query|q)\(\s*[\"']{NAME}", rf"\b(?:map|select|reject)\(\s*[\"']{NAME}"]


def used(suffix: str, text: str) -> set[str]:
    """The collections that a text names."""
    patterns = PLACES[suffix] + (TEMPLATES if suffix != ".py" else [])
    return {found for pattern in patterns for found in re.findall(pattern, text)}


def used_in(places: Iterable[str]) -> dict[str, set[str]]:
    """The files that name a collection besides Ansible's and this one."""
    paths = [path for place in places for path in (ROOT / place).rglob("*") if path.suffix in PLACES and path.is_file()]
    assert paths
    found = {str(path.relative_to(ROOT)): used(path.suffix, path.read_text(encoding="utf-8")) - OURS for path in paths}
    return {path: names for path, names in found.items() if names}


@pytest.mark.parametrize(
    ("suffix", "text"),
    [
        (".yml", "- name: A\n  a_b.c1.d:\n    e: 1\n"),
        (".yml", "- a_b.c1.d:\n"),
        (".yml", "  roles:\n    - role: a_b.c1.d\n"),
        (".yml", "- name: A\n  ansible.builtin.import_role:\n    name: a_b.c1.d\n"),
        (".yml", "- name: A\n  ansible.builtin.import_playbook: a_b.c1.d\n"),
        (".yml", "  when: x | a_b.c1.d | length > 0\n"),
        (".yml", "  when: x is not a_b.c1.d\n"),
        (".yml", "  x: \"{{ lookup('a_b.c1.d', y) }}\"\n"),
        (".j2", "{{ x | map('a_b.c1.d') }}"),
        (".py", "from ansible_collections.a_b.c1.plugins.module_utils import d\n"),
        (".py", "self._execute_module(\n    module_name='a_b.c1.d')"),
    ],
)
def test_a_use_is_found(suffix: str, text: str) -> None:
    assert used(suffix, text) - OURS == {"a_b.c1"}


def test_galaxy_names_the_collections_that_the_code_uses() -> None:
    named = set(yaml.safe_load((ROOT / "galaxy.yml").read_text(encoding="utf-8"))["dependencies"])
    files = used_in(["plugins", "playbooks", "roles"])
    assert set().union(*files.values()) == named, f"galaxy.yml names {sorted(named)}; used are {files}"


def test_requirements_name_the_collections_that_the_lab_uses() -> None:
    named = {item["name"] for item in yaml.safe_load((ROOT / "requirements.yml").read_text(encoding="utf-8"))["collections"]}
    files = used_in(["plugins", "playbooks", "roles", "lab", "molecule", "bench"])
    assert set().union(*files.values()) == named, f"requirements.yml names {sorted(named)}; used are {files}"
