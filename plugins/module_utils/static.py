"""The files that nginx serves itself: what must be in the source, what a release publishes of them, and what old releases still offer."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Mapping, Sequence

from ansible_collections.plainstack.web.plugins.module_utils.layout import App, relink


def _within(path: str, other: str) -> bool:
    return f"{path}/".startswith(f"{other}/")


def problems(source: str, names: Sequence[str], static: Mapping[str, str], requirements: str) -> list[str]:
    """What an app's definition names and its archive would not have, or must not publish.

    :param source: directory of the app on the controller.
    :param names: the files that are deployed, relative to it.
    """
    found = []
    ignored = "git ignores it, or it is left out as a cache; 'git check-ignore -v' in the source names the rule"
    if requirements and os.path.normpath(requirements) not in names:
        found.append(f"'{requirements}' in 'requirements' is not deployed: {ignored}.")
    whole = os.path.realpath(source)
    for directory in dict.fromkeys(static.values()):
        base = os.path.realpath(os.path.join(source, directory))
        if not _within(base, whole):
            found.append(f"'{directory}' in 'static' is a link that leads out of the source.")
            continue
        files = [name for name in names if _within(os.path.join(whole, name), base)]
        if not files:
            found.append(f"'{directory}' in 'static' has no file that is deployed: it is empty, or {ignored}. Compiled assets must not be ignored.")
        for name in files:
            path = os.path.join(whole, name)
            if os.path.islink(path) and not hidden(os.path.relpath(path, base)) and not _within(os.path.realpath(path), base):
                found.append(f"'{name}' is a link to {os.readlink(path)}, which leads out of '{directory}' in 'static'; replace it by the file, or remove it.")
    return found


def hidden(path: str) -> bool:
    """Whether a part of a relative path begins with a dot: nginx serves no such file, whatever it is."""
    return any(part.startswith(".") and part != "." for part in path.split("/"))


def publish(release: str, static: Mapping[str, str]) -> None:
    """Make `.static/<URL prefix>/` of a release: the files that nginx serves, as hard links, and nothing else.

    Names that begin with a dot are left out; of links, those that lead out of their directory. What is in a prefix below another one is that one's alone.

    :raises NotADirectoryError: when a directory is not in the release.
    """
    for prefix, directory in static.items():
        source, target = os.path.realpath(f"{release}/{directory}"), f"{release}/.static{prefix}"
        if not os.path.isdir(source):
            raise NotADirectoryError(directory)
        for folder, folders, files in os.walk(source):
            here = os.path.normpath(os.path.join(target, os.path.relpath(folder, source)))
            os.makedirs(here, exist_ok=True)
            links = [name for name in folders if os.path.islink(os.path.join(folder, name))]
            folders[:] = [name for name in folders if not hidden(name) and name not in links and not _claimed(release, f"{here}/{name}", static)]
            for name in files + links:
                path = os.path.join(folder, name)
                if hidden(name):
                    continue
                if not os.path.islink(path):
                    os.link(path, f"{here}/{name}")
                elif _within(os.path.realpath(path), source):
                    published = target + os.path.realpath(path).removeprefix(source)
                    os.symlink(os.path.relpath(published, here), f"{here}/{name}")


def _claimed(release: str, path: str, static: Mapping[str, str]) -> bool:
    return path.removeprefix(f"{release}/.static") in static


def view(app: App, old: str, live: str) -> str:
    """The directory with the static files that a release from before still offers while another one is live.

    That is the release itself, or, where `live` has given up one of its prefixes, a directory of links to the others: what is below that one is the app's.
    """
    had, has = (list(app.story(identifier).get("config", {}).get("static") or {}) for identifier in (old, live))
    if all(any(_within(prefix, other) for other in has) for prefix in had):
        return app.release(old)
    target = f"{app.before}/{old}.{live}"
    shutil.rmtree(target, ignore_errors=True)
    os.makedirs(f"{target}/.static")
    for prefix in _shared(had, has):
        link = f"{target}/.static{prefix}"
        os.makedirs(os.path.dirname(link), exist_ok=True)
        if os.path.isdir(f"{app.release(old)}/.static{prefix}"):
            relink(link, f"{app.release(old)}/.static{prefix}")
    return target


def _shared(had: Iterable[str], has: Sequence[str]) -> list[str]:
    """The prefixes that two releases have in common, without those that lie in another one of them."""
    both = [prefix for prefix in had if any(_within(prefix, other) for other in has)]
    both += [prefix for prefix in has if any(_within(prefix, other) for other in had)]
    return sorted({prefix for prefix in both if not any(_within(prefix, other) and prefix != other for other in both)})
