"""Archives of the sources of apps, on the controller."""

from __future__ import annotations

import datetime
import getpass
import os
import socket
import tempfile
from collections.abc import Mapping, Sequence
from typing import Any

from ansible import constants as C  # type: ignore[attr-defined]
from ansible_collections.plainstack.web.plugins.module_utils.controller.archive import ArchiveError, build, list_files, revision, warnings
from ansible_collections.plainstack.web.plugins.module_utils.static import problems


def _missing(app: Mapping[str, Any]) -> list[str]:
    """What the archive of an app would not have, though the definition names it."""
    names = list_files(app["source"], app["include"])
    return problems(app["source"], names, app["static"], app["requirements"] or "")


def archive(apps: Sequence[Mapping[str, Any]]) -> tuple[dict[str, Any], list[str]]:
    """One archive for each app, in the temporary directory of the run.

    :param apps: each with `name`, `source`, `include`, `static` and `requirements`.
    :returns: by the app's name `path`, `digest`, `id` and `story` of the archive; and warnings.
    :raises ArchiveError: with what is wrong, and where it is set.
    """
    try:
        wrong = [f"app '{app['name']}': {problem}" for app in apps for problem in _missing(app)]
    except OSError as error:
        raise ArchiveError(str(error)) from error
    if wrong:
        listed = "\n".join(f"  - {problem}" for problem in wrong)
        raise ArchiveError(f"The sources cannot be deployed; nothing was touched.\n{listed}\nThen run the same command again.")
    now = datetime.datetime.now(datetime.UTC).strftime("%Y%m%dT%H%M%SZ")
    archives: dict[str, Any] = {}
    told: list[str] = []
    for app in apps:
        name, source = app["name"], app["source"]
        handle, path = tempfile.mkstemp(suffix=".tar.gz", prefix=f"{name}-", dir=C.DEFAULT_LOCAL_TMP)
        try:
            with os.fdopen(handle, "wb") as target:
                digest = build(source, target, app["include"])
            told += [f"app '{name}': {warning}" for warning in warnings(source, app["include"])]
            origin = revision(source)
        except (ArchiveError, OSError) as error:
            raise ArchiveError(f"app '{name}': {error}\nWhere it is set: 'source' of the app in the inventory.") from error
        archives[name] = {
            "path": path,
            "digest": digest,
            "id": f"{now}-{digest[:8]}",
            "story": {
                "source": source,
                "revision": origin.commit,
                "dirty": origin.dirty,
                "deployed_by": getpass.getuser(),
                "deployed_from": socket.gethostname(),
                "created": now,
            },
        }
    return archives, told
