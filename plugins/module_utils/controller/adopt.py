"""A release as one server has it, for the others to get: checked like what the user writes, because root of one server is not root of all. Pure functions."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from ansible_collections.plainstack.web.plugins.module_utils.controller.definition import SPEC, check
from ansible_collections.plainstack.web.plugins.module_utils.controller.wiring import OF_THE_RELEASE
from ansible_collections.plainstack.web.plugins.module_utils.environment import EnvironmentTextError, parse
from ansible_collections.plainstack.web.plugins.module_utils.layout import App

DIGEST = re.compile(r"[0-9a-f]{64}")
VERSION = re.compile(r"[0-9A-Za-z.+*-]{1,40}")
ABOUT = ("source", "revision", "dirty", "deployed_by", "deployed_from", "created")  # what release.json says besides, for people


class AdoptError(ValueError):
    """What a server says of its release is nothing that a deploy has written; the message names the server and the file."""


def _problems(app: Mapping[str, Any], story: Mapping[str, Any], environment: str) -> dict[str, list[str]]:
    """What is wrong, by the kind of file that it is in."""
    config, name = story.get("config"), app["name"]
    wrong = []
    if not isinstance(config, Mapping) or not DIGEST.fullmatch(str(story.get("digest", ""))):
        return {"marker": ["it has no settings or no digest"]}
    wrong += [f"unknown setting '{key}'" for key in config if key not in (*OF_THE_RELEASE, "plainstack")]
    wrong += [f"'{key}' has no value" for key in OF_THE_RELEASE if key in config and config[key] is None and SPEC[key].get("default", "") is not None]
    if not VERSION.fullmatch(str(config.get("plainstack", ""))):
        wrong.append("'plainstack' is no version")
    wrong += [f"'{key}' is no line of text" for key in ABOUT if not str(story.get(key, "")).isprintable()]
    wrong = wrong or check({**app, **{key: config[key] for key in OF_THE_RELEASE if key in config}}, f"app '{name}'")
    try:
        unfit = check({**app, "env": {}, "secrets": parse(environment)}, f"app '{name}'")
    except EnvironmentTextError as error:
        unfit = [str(error)]
    return {"marker": wrong, "environment": unfit}


def adopt(apps: Sequence[Mapping[str, Any]], references: Mapping[str, str], variables: Mapping[str, Mapping[str, Any]], directory: str) -> dict[str, Any]:
    """The apps with the settings and the environment that their release was deployed with, and the release as `archive` would describe it.

    :param references: by the app's name, the host that has the release.
    :param variables: of each host, `plainstack_live`, what the module `live` returned.
    :param directory: where the archives are on the controller.
    :returns: `apps`, and `archives` by the app's name.
    :raises AdoptError: with what is not as a deploy writes it.
    """
    adopted, archives = [], {}
    for app in apps:
        name = app["name"]
        if name not in references:
            adopted.append(dict(app))
            continue
        host = references[name]
        live = variables[host]["plainstack_live"]["apps"][name]
        identifier, story = live["id"], live["story"]
        for kind, wrong in _problems(app, story, live["environment"]).items():
            if wrong:
                raise AdoptError(
                    f"{getattr(App(name), kind)(identifier)} on {host} is not as a deploy has written it, and no other server gets the release:\n"
                    + "\n".join(f"  - {problem}" for problem in wrong)
                    + "\nNothing was touched. Somebody has changed the file, by hand or with bad intent: look at that server.\n"
                    "Next: ansible-playbook deploy.yml, which makes a new release."
                )
        adopted.append({**app, **story["config"], "config": story["config"], "environment": parse(live["environment"])})
        archives[name] = {
            "path": f"{directory}/{name}-{identifier}.tar.gz",
            "id": identifier,
            "digest": story["digest"],
            "story": {key: story[key] for key in ABOUT if key in story},
        }
    return {"apps": adopted, "archives": archives}
