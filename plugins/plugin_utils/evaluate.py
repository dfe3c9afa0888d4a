"""Evaluate the `apps` of an inventory, value by value, so that one that cannot be evaluated is told by its app and key.

Ansible evaluates templates when a value is read, and its error shows the lines of the inventory around it, with what stands there.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ansible.errors import AnsibleError
from ansible.template import is_trusted_as_template
from ansible_collections.plainstack.web.plugins.module_utils.controller.definition import Unresolved
from ansible_collections.plainstack.web.plugins.module_utils.controller.spec import PRIVATE
from jinja2 import Environment, TemplateError, TemplateSyntaxError, meta

AS_IT_IS = "write !unsafe before the text to have it as it is"


def _lost(text: str, private: bool) -> bool:
    """Whether text that is no template would lose something: Jinja leaves out comments, and all that follows a {# without an end.

    :param private: whether constants such as {{ 7 * 7 }} are text, too. In `env` and `secrets` nobody calculates, but passwords have such characters.
    """
    jinja = Environment(autoescape=True)
    try:
        tokens = {kind for _line, kind, _text in jinja.lex(text)}
        names = meta.find_undeclared_variables(jinja.parse(text))
    except TemplateSyntaxError:
        return False  # evaluating it fails, too
    if "comment_begin" in tokens:
        return True
    return private and not names and "raw_begin" not in tokens and bool(tokens & {"variable_begin", "block_begin"})


def _why(error: Exception, private: bool) -> str:
    if "Vault" in type(getattr(error, "source", None)).__name__:
        return (
            "cannot be decrypted: there is no vault password, or it is another one. "
            "Next: the same command with --ask-vault-pass, or with the right file in ANSIBLE_VAULT_PASSWORD_FILE."
        )
    # What Jinja says has parts of the text
    said = "" if private else f" ({str(error).removeprefix('A captured exception marker was tripped: ')})"
    return f"has {{{{, {{% or {{#, which Ansible evaluates, and that failed{said}: define what it names, or {AS_IT_IS}."


def _evaluate(container: Any, place: Any, private: bool) -> Any:
    """The value at a place of a list or mapping."""
    # As it is written: Ansible's containers evaluate what is taken from them in the ordinary way
    held = (dict if isinstance(container, dict) else list).__getitem__(container, place)
    text = getattr(held, "value", held)
    if isinstance(text, str) and is_trusted_as_template(text) and _lost(text, private):
        return Unresolved(f"has {{{{, {{% or {{#, which is Ansible's syntax, and so some of the text would get lost: {AS_IT_IS}.")
    try:
        value = container[place]
        if isinstance(value, Mapping):
            return {key: _evaluate(value, key, private or key in PRIVATE) for key in value}
        if isinstance(value, list):
            return [_evaluate(value, position, private) for position in range(len(value))]
    except (TemplateError, AnsibleError) as error:
        return Unresolved(_why(error, private))
    return value


def evaluate(apps: Any) -> Any:
    """The same apps with every value evaluated; an `Unresolved` in place of each that cannot be."""
    if not isinstance(apps, list):
        return apps
    return [_evaluate(apps, position, False) for position in range(len(apps))]
