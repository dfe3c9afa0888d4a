#!/usr/bin/env python3
"""The reference of the `apps` definition as a Markdown table, made from the specification that also checks it.

    tools/reference.py            print it
    tools/reference.py --write    put it between the markers in docs/reference.md, and write what else is made of the specification: the JSON Schema
                                  for editors and the options of the roles that take apps

tests/unit/test_readme.py and test_schema.py fail when a file has something else.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import schema

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "reference.md"
BEGIN = "<!-- apps reference: made by tools/reference.py --write -->"
END = "<!-- end of the apps reference -->"

sys.path.insert(0, str(ROOT / "collections"))
from ansible_collections.plainstack.web.plugins.module_utils.controller.spec import SPEC  # noqa: E402


def kind(rule: Mapping[str, Any]) -> str:
    """Type of a key in words, with its range where it has one."""
    text = str(rule["type"])
    if rule.get("elements"):
        text += f" of {rule['elements']}"
    if "minimum" in rule:
        text += f", {rule['minimum']} to {rule['maximum']}"
    return text


def default(rule: Mapping[str, Any]) -> str:
    """Default of a key as one would write it in YAML; a dash where the description tells what happens."""
    if rule.get("required"):
        return "**required**"
    value = rule["default"]
    if value is None:
        return "-"
    return f"`{value if isinstance(value, str) else json.dumps(value)}`" if value != "" else "-"


def escape(text: str) -> str:
    """Text that does not end its cell."""
    return text.replace("|", "\\|")


def table(spec: Mapping[str, Mapping[str, Any]]) -> str:
    """The whole table: one line a key, in the order of the specification; after a mapping of mappings what each of them has."""
    rows = []
    for key, rule in spec.items():
        rows.append(f"| `{key}` | {kind(rule)} | {default(rule)} | {escape(rule['description'])} |")
        for option, of_option in rule.get("options", {}).items():
            rows.append(f"| `{key}.*.{option}` | {kind(of_option)} | {default(of_option)} | {escape(of_option['description'])} |")
    return "\n".join(["| Key | Type | Default | Meaning |", "| --- | --- | --- | --- |", *rows]) + "\n"


def insert(text: str, reference: str) -> str:
    """The page with the reference between its markers.

    :raises ValueError: when a marker is missing.
    """
    before, begin, rest = text.partition(BEGIN)
    _old, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"{PAGE.name} must have the lines '{BEGIN}' and '{END}', in this order.")
    return f"{before}{begin}\n{reference}{end}{after}"


def main() -> int:
    """Print or write; 2 for an argument that there is not."""
    if sys.argv[1:] == ["--write"]:
        PAGE.write_text(insert(PAGE.read_text(encoding="utf-8"), table(SPEC)), encoding="utf-8")
        schema.write(SPEC)
    elif sys.argv[1:]:
        print(__doc__, file=sys.stderr)
        return 2
    else:
        print(table(SPEC), end="")
    return 0


if __name__ == "__main__":
    sys.exit(main())
