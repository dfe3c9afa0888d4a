"""Archives of the sources of apps, on the controller."""

from __future__ import annotations

import datetime
import getpass
import os
import socket
import tempfile
from collections.abc import Mapping, Sequence
from typing import IO, Any

from ansible import constants as C  # type: ignore[attr-defined]
from ansible.module_utils.urls import open_url
from ansible_collections.plainstack.web.plugins.module_utils.controller.archive import ArchiveError, build, list_files, revision, version, warnings
from ansible_collections.plainstack.web.plugins.module_utils.controller.built import Tree, build_here
from ansible_collections.plainstack.web.plugins.module_utils.controller.bundle import bundle
from ansible_collections.plainstack.web.plugins.module_utils.controller.fetch import Fetched, FetchError, kind
from ansible_collections.plainstack.web.plugins.module_utils.controller.fetch import fetch as fetch_one
from ansible_collections.plainstack.web.plugins.module_utils.static import problems

PATIENCE = 60  # seconds until a server must have begun to answer


def _missing(app: Mapping[str, Any], tree: Tree) -> list[str]:
    """What the archive of an app would not have, though the definition names it; what the server makes is not there yet."""
    names = list_files(tree.directory, tree.include, tree.git)
    return problems(tree.directory, names, {} if app.get("server_build") else app["static"], app["requirements"] or "")


def _download(url: str) -> IO[bytes]:
    found: IO[bytes] = open_url(url, timeout=PATIENCE)  # type: ignore[no-untyped-call]  # Ansible's, with its proxies and CAs; it has no types
    return found


def fetch(apps: Sequence[Mapping[str, Any]], ref: str) -> dict[str, Fetched]:
    """What is no directory on this machine becomes one, in the temporary directory of the run; by the name of the app.

    :param ref: of the repositories, instead of the apps' own; empty for those.
    :raises ArchiveError: with what is wrong, and where it is set.
    """
    found: dict[str, Fetched] = {}
    of: dict[tuple[Any, ...], Fetched] = {}
    for app in apps:
        if kind(app) == "directory":
            continue
        same = tuple(app[key] for key in ("source", "package", "ref", "subdirectory", "checksum"))
        try:
            if same not in of:
                place = tempfile.mkdtemp(prefix=f"{app['name']}-", dir=C.DEFAULT_LOCAL_TMP)
                of[same] = fetch_one(app, ref, place, _download)
        except (FetchError, OSError) as error:
            where = "-e ref of the command" if ref and kind(app) == "repository" else "'source' and 'ref' of the app in the inventory"
            raise ArchiveError(f"The source of the app '{app['name']}' cannot be had; nothing was touched.\n{error}\nWhere it is set: {where}.") from error
        found[app["name"]] = of[same]
    return found


def archive(
    apps: Sequence[Mapping[str, Any]], fetched: Mapping[str, Fetched] | None = None, build_environment: Mapping[str, str] | None = None
) -> tuple[dict[str, Any], list[str]]:
    """One archive for each app, in the temporary directory of the run.

    :param apps: each with `name`, `source`, `include`, `static` and `requirements`.
    :param fetched: what `fetch` has made the sources of.
    :param build_environment: where packages are, for apps with `bundle`.
    :returns: by the app's name `path`, `digest`, `id` and `story` of the archive; and warnings.
    :raises ArchiveError: with what is wrong, and where it is set.
    """
    try:
        # Only in a directory of the user's own git may look for a repository by itself
        gits = {app["name"]: fetched[app["name"]].git if fetched and app["name"] in fetched else None for app in apps}
        trees = {app["name"]: build_here(app, gits[app["name"]]) for app in apps}
        trees |= {app["name"]: bundle(app, trees[app["name"]], build_environment or {}) for app in apps if app.get("bundle")}
        wrong = [f"app '{app['name']}': {problem}" for app in apps for problem in _missing(app, trees[app["name"]])]
    except OSError as error:
        raise ArchiveError(str(error)) from error
    if wrong:
        listed = "\n".join(f"  - {problem}" for problem in wrong)
        raise ArchiveError(f"The sources cannot be deployed; nothing was touched.\n{listed}\nThen run the same command again.")
    now = datetime.datetime.now(datetime.UTC).strftime("%Y%m%dT%H%M%SZ")
    archives: dict[str, Any] = {}
    told: list[str] = []
    for app in apps:
        name, source, tree = app["name"], app["source"], trees[app["name"]]
        handle, path = tempfile.mkstemp(suffix=".tar.gz", prefix=f"{name}-", dir=C.DEFAULT_LOCAL_TMP)
        try:
            with os.fdopen(handle, "wb") as target:
                digest = build(tree.directory, target, tree.include, tree.git)
            told += [f"app '{name}': {warning}" for warning in warnings(source, app["include"], gits[name])]
            origin, tagged = revision(source, gits[name]), version(source, gits[name])
        except (ArchiveError, OSError) as error:
            raise ArchiveError(f"app '{name}': {error}\nWhere it is set: 'source' of the app in the inventory.") from error
        archives[name] = {
            "path": path,
            "digest": digest,
            "id": f"{now}-{digest[:8]}",
            "story": {
                "source": fetched[name].source if fetched and name in fetched else source,
                **({"ref": fetched[name].ref} if fetched and name in fetched and fetched[name].ref else {}),
                "revision": origin.commit,
                "dirty": origin.dirty,
                **({"version": tagged} if tagged else {}),
                "deployed_by": getpass.getuser(),
                "deployed_from": socket.gethostname(),
                "created": now,
            },
        }
    return archives, told
