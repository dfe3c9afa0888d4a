"""A release as one server has it, for the others to get: checked like what the user writes, because root of one server is not root of all. Pure functions."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from ansible_collections.plainstack.web.plugins.module_utils.controller.definition import check
from ansible_collections.plainstack.web.plugins.module_utils.controller.spec import SPEC
from ansible_collections.plainstack.web.plugins.module_utils.controller.wiring import OF_THE_RELEASE
from ansible_collections.plainstack.web.plugins.module_utils.environment import EnvironmentTextError, parse
from ansible_collections.plainstack.web.plugins.module_utils.layout import ID, App

DIGEST = re.compile(r"[0-9a-f]{64}")
VERSION = re.compile(r"[0-9A-Za-z.+*-]{1,40}")
ABOUT = ("source", "ref", "revision", "dirty", "deployed_by", "deployed_from", "created")  # what release.json says besides, for people


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


def adopt(app: Mapping[str, Any], host: str, found: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The app with the settings and the environment that its release was deployed with, and the release as `archive` would describe it.

    :param host: the server that has the release.
    :param found: of the release on that server `id`, `story` (release.json), `environment` (the file), and `path`, of its archive on the controller.
    :raises AdoptError: with what is not as a deploy writes it.
    """
    name, identifier, story = app["name"], found["id"], found["story"]
    for kind, wrong in _problems(app, story, found["environment"]).items():
        if wrong:
            raise AdoptError(
                f"{getattr(App(name), kind)(identifier)} on {host} is not as a deploy has written it, and no other server gets the release:\n"
                + "\n".join(f"  - {problem}" for problem in wrong)
                + "\nNothing was touched. Somebody has changed the file, by hand or with bad intent: look at that server.\n"
                "Next: ansible-playbook deploy.yml, which makes a new release."
            )
    about = {key: story[key] for key in ABOUT if key in story}
    if ID.fullmatch(str(story.get("restarts", ""))):
        about["restarts"] = story["restarts"]
    archive = {"path": found["path"], "id": identifier, "digest": story["digest"], "story": about}
    return {**app, **story["config"], "config": story["config"], "environment": parse(found["environment"])}, archive
