"""The definition of the apps as a host has it: its variables evaluated, checked and completed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from ansible.errors import AnsibleError, AnsibleFilterError
from ansible.template import Templar, trust_as_template

CHECKED = "{{{{ apps | default([]) | plainstack.web.apps(inventory_dir, sources={sources}, fetched={fetched}, only={only}) }}}}"


class UnfitDefinitionError(Exception):
    """What is wrong, for the operator."""


def definition(templar: Templar, sources: bool, fetched: Mapping[str, str] | None = None, only: str = "") -> list[dict[str, Any]]:
    """The apps of the host whose variables the templar has.

    :param sources: whether the files that the definition names must be there.
    :param fetched: by the name of the app the directory to which a source that is none has been fetched.
    :param only: name of the one app whose source is looked at; all of them when empty.
    :raises UnfitDefinitionError: with every problem, and where it is set.
    """
    try:
        found: list[dict[str, Any]] = templar.template(
            trust_as_template(CHECKED.format(sources=sources, fetched=json.dumps(dict(fetched or {})), only=json.dumps(only)))
        )
    except AnsibleError as error:
        causes: list[BaseException] = [error]
        while causes[-1].__cause__:
            causes.append(causes[-1].__cause__)
        # Without the template and the filter around it, which are none of the user's
        raise UnfitDefinitionError(next((cause.message for cause in reversed(causes) if isinstance(cause, AnsibleFilterError)), str(error))) from None
    return found
