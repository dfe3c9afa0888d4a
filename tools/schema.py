"""What SPEC says, in two more forms: a JSON Schema of an inventory's file with `apps`, and the options of the roles that take apps.

Both accept all that the validation accepts, and find what can be found without looking at the source or at other keys. tools/reference.py writes them.
"""

from __future__ import annotations

import json
import re
import sys
import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parent.parent
BEGIN = "# Options of an app: made by tools/reference.py --write"
END = "# End of the options of an app"
# What a role's apps have besides the keys of SPEC
OF_ROLES: dict[str, dict[str, dict[str, Any]]] = {
    "release": {"archive": {"type": "dict", "required": True, "description": "Archive of the source, as M(plainstack.web.archive) returns it for the app."}},
    "gunicorn": {"release": {"type": "str", "required": True, "description": "Id of the release."}},
}
# An app of a role is given by its release, and a step needs few of its settings
REQUIRED_IN_ROLES = ("name",)

Rule = Mapping[str, Any]
JSON_TYPES = {"str": "string", "path": "string", "int": "integer", "float": "number", "bool": "boolean", "list": "array", "dict": "object", "null": "null"}
COMMENT = (
    "Made by tools/reference.py --write from the specification in plugins/module_utils/controller/spec.py. An encrypted value is text to this "
    "schema; an editor must be told of Ansible's tags, in VS Code with the setting yaml.customTags: ['!vault scalar', '!unsafe scalar']. "
    "Text with {{ or {% is a template, of which only Ansible knows what becomes of it."
)


def _whole(pattern: re.Pattern[str]) -> str:
    return f"^(?:{pattern.pattern})$"


def _or_template(schema: dict[str, Any]) -> dict[str, Any]:
    """A template, or what the schema says; not as alternatives, of which editors would show the problems of both."""
    return {"if": {"$ref": "#/$defs/template"}, "else": schema}


def _value(rule: Rule) -> dict[str, Any]:
    """Schema of a key's value."""
    kind = JSON_TYPES[rule["type"]]
    # An optional key without a value has its default
    schema: dict[str, Any] = {"type": kind if rule.get("required") else [kind, "null"]}
    pattern = {"pattern": _whole(rule["pattern"])} if "pattern" in rule else {}
    if kind == "array":
        schema["items"] = _or_template({"type": JSON_TYPES[rule["elements"]], **pattern})
        if rule.get("required"):
            schema["minItems"] = 1
    elif kind == "object":
        schema["propertyNames"] = {"pattern": _whole(rule["keys"])}
        if "options" in rule:
            schema["additionalProperties"] = _or_template(_mapping(rule["options"]))
        else:
            schema["additionalProperties"] = {"type": [JSON_TYPES[value] for value in rule["values"]]}
    else:
        schema.update(pattern)
    if "choices" in rule:
        schema["enum"] = [*rule["choices"], *([] if rule.get("required") else [None])]
    schema.update({key: rule[key] for key in ("minimum", "maximum") if key in rule})
    return schema


def _property(rule: Rule) -> dict[str, Any]:
    """Schema of a key: what an editor shows, and what the value must be."""
    shown = {"description": rule["description"]}
    if rule.get("default") is not None:
        shown["default"] = rule["default"]
    return {**shown, **_or_template(_value(rule))}


def _mapping(spec: Mapping[str, Rule]) -> dict[str, Any]:
    """Schema of a mapping with these keys."""
    return {
        "type": "object",
        "properties": {key: _property(rule) for key, rule in spec.items()},
        "required": [key for key, rule in spec.items() if rule.get("required")],
        "additionalProperties": False,
    }


def schema(spec: Mapping[str, Rule]) -> dict[str, Any]:
    """The JSON Schema of a file of group_vars that has `apps`; of its other variables it says nothing."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$comment": COMMENT,
        "title": "Apps of Plainstack",
        "type": "object",
        "properties": {
            "apps": {
                "description": "The apps of the servers.",
                **_or_template({"type": "array", "minItems": 1, "items": _or_template({"$ref": "#/$defs/app"})}),
            }
        },
        "additionalProperties": True,
        "$defs": {"app": _mapping(spec), "template": {"type": "string", "pattern": r"\{\{|\{%"}},
    }


class _Dumper(yaml.SafeDumper):
    """Indents lists below their key."""

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
        super().increase_indent(flow, False)


def _option(rule: Rule, required: bool) -> dict[str, Any]:
    """Option of an argument spec."""
    # C() ends at the first closing bracket
    text = re.sub(r"`([^`]*)`", lambda found: found[0] if ")" in found[1] else f"C({found[1]})", rule["description"])
    bounds = [f"From {rule['minimum']} to {rule['maximum']}."] if "minimum" in rule else []
    option = {"description": [text, *bounds] if bounds else text, "type": rule["type"]}
    option.update({key: rule[key] for key in ("elements", "choices", "no_log") if key in rule})
    if required:
        option["required"] = True
    elif rule.get("default") is not None:
        option["default"] = rule["default"]
    return option


def options(spec: Mapping[str, Rule], role: str) -> dict[str, Any]:
    """The options of an app of a role."""
    own = {key: _option(rule, True) for key, rule in OF_ROLES[role].items()}
    of_spec = {key: _option(rule, key in REQUIRED_IN_ROLES) for key, rule in spec.items()}
    return {"name": of_spec.pop("name"), **own, **of_spec}


def insert(text: str, made: Mapping[str, Any]) -> str:
    """An argument spec with the options between its markers, as far in as the first marker.

    :raises ValueError: when a marker is missing.
    """
    found = re.search(rf"^( *){re.escape(BEGIN)}\n.*?^\1{re.escape(END)}\n", text, re.MULTILINE | re.DOTALL)
    if not found:
        raise ValueError(f"the argument spec must have the lines '{BEGIN}' and '{END}', in this order and equally far in.")
    indent = found[1]
    lines = yaml.dump({"options": dict(made)}, Dumper=_Dumper, sort_keys=False, width=135 - len(indent), allow_unicode=True)
    block = f"{indent}{BEGIN}\n{textwrap.indent(lines, indent)}{indent}{END}\n"
    return text[: found.start()] + block + text[found.end() :]


def files(spec: Mapping[str, Rule]) -> dict[Path, str]:
    """The files that are made from the specification, and what belongs in them."""
    made = {ROOT / "docs" / "apps.schema.json": json.dumps(schema(spec), indent=2) + "\n"}
    for role in OF_ROLES:
        path = ROOT / "roles" / role / "meta" / "argument_specs.yml"
        made[path] = insert(path.read_text(encoding="utf-8"), options(spec, role))
    return made


def write(spec: Mapping[str, Rule]) -> None:
    """Write them."""
    for path, text in files(spec).items():
        path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    sys.exit("Next: tools/reference.py --write")
