"""What editors and roles are told of the definition is what the specification says, and never more than the validation."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible_collections.plainstack.web.plugins.module_utils.controller.spec import SPEC
from jsonschema import Draft202012Validator

import schema

ROOT = Path(__file__).resolve().parents[2]
MODELINE = "# yaml-language-server: $schema="
PLACES = ("inventories/example", "inventories/demo", "molecule", "lab")
INVENTORIES = sorted(path for place in PLACES for path in (ROOT / place).rglob("group_vars/**/*.yml") if "\napps:" in path.read_text(encoding="utf-8"))
APP = {"name": "hello", "source": "hello", "module": "wsgi:app", "domains": ["hello.example.com"]}


class Loader(yaml.SafeLoader):
    """As an editor reads a file once it knows Ansible's tags."""


def text(loader: yaml.SafeLoader, node: yaml.Node) -> str:
    assert isinstance(node, yaml.ScalarNode)
    return str(loader.construct_scalar(node))


Loader.add_constructor("!vault", text)
Loader.add_constructor("!unsafe", text)


@pytest.fixture(scope="module")
def validator() -> Draft202012Validator:
    read = json.loads((ROOT / "docs" / "apps.schema.json").read_text(encoding="utf-8"))
    Draft202012Validator.check_schema(read)
    return Draft202012Validator(read)


def problems(validator: Draft202012Validator, app: Any) -> list[str]:
    return [error.message for error in validator.iter_errors({"apps": [app]})]


@pytest.mark.parametrize("path", schema.files(SPEC), ids=lambda path: str(path.relative_to(ROOT)))
def test_generated_files_are_those_of_the_specification(path: Path) -> None:
    assert path.read_text(encoding="utf-8") == schema.files(SPEC)[path], "next: tools/reference.py --write"


def test_every_key_is_in_each_of_them(validator: Draft202012Validator) -> None:
    assert list(validator.schema["$defs"]["app"]["properties"]) == list(SPEC)
    for role, own in schema.OF_ROLES.items():
        specs = yaml.safe_load((ROOT / "roles" / role / "meta" / "argument_specs.yml").read_text(encoding="utf-8"))["argument_specs"]
        for entry in specs.values():
            taken = entry["options"][f"{role}_apps"]["options"]
            assert set(taken) == {*SPEC, *own}
            assert {key for key, option in taken.items() if option.get("required")} == {"name", *own}


@pytest.mark.parametrize("path", INVENTORIES, ids=lambda path: str(path.relative_to(ROOT)))
def test_schema_accepts_the_inventories(path: Path, validator: Draft202012Validator) -> None:
    """Those of the tests too, which have templates and encrypted values."""
    read = yaml.load(path.read_text(encoding="utf-8"), Loader)
    assert [error.message for error in validator.iter_errors(read)] == []


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"timeout": 3600, "max_requests": 0, "preload": False, "memory_max": "2G", "body_size": "100k", "build": "wheels", "balance": "cookie"},
        {"workers": None, "requirements": None, "secrets": None, "build": None},
        {"timeout": "{{ seconds }}", "domains": ["{{ inventory_hostname }}", "a.example.com"], "env": "{{ settings }}", "preload": "{{ true }}"},
        {"env": {"A": "text", "B": 1, "C": 1.5}, "secrets": {"TOKEN": "$ANSIBLE_VAULT;1.1;AES256\n3265"}, "static": {"/static": "hello/static"}},
        {"python": "3.13.1", "path": "/api", "health_path": "/api/healthz?full=1"},
    ],
)
def test_schema_accepts(changes: dict[str, Any], validator: Draft202012Validator) -> None:
    assert problems(validator, {**APP, **changes}) == []


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"domain": ["a.example.com"]}, "'domain' was unexpected"),
        ({"name": "Hello"}, "'Hello' does not match"),
        ({"module": "wsgi"}, "'wsgi' does not match"),
        ({"domains": []}, "[] should be non-empty"),
        ({"domains": ["https://a.example.com"]}, "does not match"),
        ({"domains": "a.example.com"}, "is not of type 'array'"),
        ({"python": 3.13}, "3.13 is not of type 'string', 'null'"),
        ({"workers": 0}, "0 is less than the minimum of 1"),
        ({"timeout": 3601}, "3601 is greater than the maximum of 3600"),
        ({"timeout": True}, "True is not of type 'integer', 'null'"),
        ({"balance": "sticky"}, "'sticky' is not one of ['least_conn', 'hash', 'cookie', None]"),
        ({"env": {"A-B": "1"}}, "'A-B' does not match"),
        ({"secrets": {"A": ["1"]}}, "is not of type 'string', 'number'"),
        ({"env": {"A": True}}, "True is not of type 'string', 'number'"),
        ({"static": {"static": "hello"}}, "'static' does not match"),
        ({"memory_max": "lots"}, "'lots' does not match"),
    ],
)
def test_schema_refuses(changes: dict[str, Any], message: str, validator: Draft202012Validator) -> None:
    [found] = problems(validator, {**APP, **changes})
    assert message in found


@pytest.mark.parametrize("key", [key for key, rule in SPEC.items() if rule.get("required")])
def test_schema_requires(key: str, validator: Draft202012Validator) -> None:
    assert problems(validator, {name: value for name, value in APP.items() if name != key}) == [f"'{key}' is a required property"]


def test_schema_lets_other_variables_be(validator: Draft202012Validator) -> None:
    assert validator.is_valid({"certbot_email": "you@example.com"})
    assert not validator.is_valid({"apps": []})


def test_patterns_are_javascripts_too() -> None:
    """Flags are lost on the way, and of what Python alone knows nothing may be in them."""
    used = [rule[key] for rule in SPEC.values() for key in ("pattern", "keys") if key in rule]
    assert used
    for pattern in used:
        assert not re.search(r"\(\?[^:=!]|\\[AZ]|[*+?}]\+", pattern.pattern), pattern.pattern
        assert pattern.flags in (re.UNICODE.value, re.ASCII.value)
        assert "\\w" not in pattern.pattern or pattern.flags == re.ASCII, "to JavaScript it is always ASCII"


def test_the_example_leads_editors_to_the_schema() -> None:
    path = ROOT / "inventories" / "example" / "group_vars" / "all" / "apps.yml"
    first = path.read_text(encoding="utf-8").splitlines()[0]
    assert first.startswith(MODELINE)
    assert (path.parent / first.removeprefix(MODELINE)).resolve() == ROOT / "docs" / "apps.schema.json"


def role_problems(role: str, app: dict[str, Any]) -> list[str]:
    """What Ansible says when the role is given the app."""
    specs = yaml.safe_load((ROOT / "roles" / role / "meta" / "argument_specs.yml").read_text(encoding="utf-8"))["argument_specs"]
    validator: Any = ArgumentSpecValidator
    return list(validator(specs["main"]["options"]).validate({f"{role}_apps": [app]}).error_messages)


@pytest.mark.parametrize(("role", "own"), [("release", {"archive": {"path": "/tmp/a"}}), ("gunicorn", {"release": "20261122T094104Z-1f0c2d3e"})])
def test_roles_take_an_app_and_refuse_a_misspelt_key(role: str, own: dict[str, Any]) -> None:
    app = {"name": "hello", **own}
    assert role_problems(role, app) == []
    assert role_problems(role, {**app, **APP, "env": {"A": 1}, "workers": 2}) == []
    [message] = role_problems(role, {**app, "domain": ["a.example.com"]})
    assert "domain" in message
    [message] = role_problems(role, {"name": "hello"})
    assert f"missing required arguments: {next(iter(own))}" in message
    [message] = role_problems(role, {**app, "balance": "sticky"})
    assert "least_conn, hash, cookie" in message


@pytest.mark.parametrize("path", sorted((ROOT / "roles").glob("*/meta/argument_specs.yml")), ids=lambda path: path.parts[-3])
def test_ansible_finds_no_template_in_the_options_of_a_role(path: Path) -> None:
    """It evaluates the whole file when the role runs, descriptions too."""
    assert "{{" not in path.read_text(encoding="utf-8")
