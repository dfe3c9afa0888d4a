"""Remove all of an app from a host that has no site of it any more; whatever an interrupted run has left, the next one finishes."""

from __future__ import annotations

import contextlib
import glob
import grp
import json
import os
import pwd
import re
import shutil
import subprocess

from ansible_collections.plainstack.web.plugins.module_utils import layout
from ansible_collections.plainstack.web.plugins.module_utils.host import sandbox, systemd
from ansible_collections.plainstack.web.plugins.module_utils.host.acme import lineages
from ansible_collections.plainstack.web.plugins.module_utils.host.places import SITES
from ansible_collections.plainstack.web.plugins.module_utils.layout import App, read
from ansible_collections.plainstack.web.plugins.module_utils.text import plain

CONFIGURATION = "/etc/nginx/sites.conf"
ELSEWHERE = (
    "/etc/nginx/passwords/{}",
    "/var/www/plainstack/{}",
    "/etc/nginx/certificates/{}.pem",
    "/etc/nginx/certificates/{}.key",
    "/var/lib/plainstack/certificates/{}",
    "/var/lib/plainstack/configuration/gunicorn-{}",
)
ROOT = (0, 0)
# Units of hooks and of an operator's commands
TRANSIENT = ("plainstack-migrate-{}.service", "plainstack-after_live-{}.service", "plainstack-run-????????-{}.service")


class TeardownError(Exception):
    """The app cannot be removed; the message says why and what to do."""


def paths(app: App) -> list[str]:
    """Files and directories of the app but for its data, in the order in which they go; those of nginx are of no site any more."""
    places = [f"{layout.UNITS}/{app.name}*@*", f"{layout.UNITS}/*.wants/{app.name}*@*", f"{layout.STAMPS}/stamp-{app.name}.*@*"]
    units = [path for place in places for path in glob.glob(place) if _is_unit(app, os.path.basename(path).removeprefix("stamp-"))]
    units += glob.glob(f"{layout.UNITS}/{app.name}@.*") if _user(app) else []  # drop-ins for all releases
    commands = [path for unit in TRANSIENT for path in glob.glob(app.hook(unit.format(app.name)))]
    own = [
        app.timeouts,
        app.maintenance,
        app.maintenance_rules,
        app.maintenance_map,
        app.maintenance_page,
        app.settings,
        app.sockets,
        *commands,
        app.cache,
        app.live,
        app.live_socket,
        app.before,
        app.releases,
        app.history,
    ]
    used = read(CONFIGURATION) or ""  # another site may have the certificate
    elsewhere = [place.format(app.name) for place in ELSEWHERE]
    return [*units, *(path for path in elsewhere if f"{path};" not in used and f"{path}/" not in used), *own, f"{app.history}.1"]


def _is_unit(app: App, name: str) -> bool:
    """Whether that is the name of a unit of a release: the system may have others that begin like the app's, such as getty@tty1.service."""
    return bool(re.match(rf"{re.escape(app.name)}(\.[^@]+)?@{layout.ID.pattern}\.", name))


def _check(app: App) -> None:
    """:raises TeardownError: where it is no app of Plainstack's that would be removed, or it still has a site."""
    if app.name in json.loads(read(SITES) or "{}").values():
        raise TeardownError(
            f"nginx on this host still has a site of {app.name}; nothing was touched.\nNext: take it from 'apps' in the inventory, then run it again."
        )
    # The user goes last, so that an interrupted run is finished
    if os.path.isdir(app.root) and not _user(app) and {*os.listdir(app.root)} - {*map(os.path.basename, _data(app))}:
        raise TeardownError(
            f"{app.root} is there, and {app.name} is no app of Plainstack's on this host: it has no user of that name; nothing was touched.\n"
            f"Next: 'ls -la {app.root}' on the host shows what it is."
        )


def unused_lineages(name: str) -> list[str]:
    """certbot's certificates that were ordered for the app, and that no site of the host has."""
    used = read(CONFIGURATION) or ""
    ordered = re.compile(rf"{re.escape(name)}(-[0-9a-f]{{8}})?")
    others = {other.name for other in layout.apps()} - {name}
    return [one for one in lineages() if ordered.fullmatch(one) and one not in others and f"/live/{one}/" not in used]


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, encoding="utf-8", errors="replace", stdin=subprocess.DEVNULL, check=False)
    if done.returncode:
        raise TeardownError(f"{' '.join(command)} failed: {plain((done.stderr or done.stdout).strip())}\nNext: correct that on the host, then run it again.")


def _running(app: App) -> list[str]:
    """Units of the app that have not ended, or have failed."""
    transient = (f"plainstack-lost-{app.name}-*", *(unit.format(app.name) for unit in TRANSIENT))
    names = (f"{app.name}@*", f"{app.name}.*@*", *transient)
    listed = [systemd.systemctl("list-units", "--all", "--plain", "--no-legend", name, check=False) for name in names]
    lines = [line.split() for line in "\n".join(listed).splitlines() if line.strip()]
    running = [words[0] for words in lines if words[2] != "inactive"]
    guard = re.compile(rf"plainstack-lost-{re.escape(app.name)}-[0-9a-f]+\.service")
    return [unit for unit in running if _is_unit(app, unit) or guard.fullmatch(unit) or (unit.startswith("plainstack-") and "-lost-" not in unit)]


def stop(app: App) -> list[str]:
    """Stop everything that is the app's; what works on a job has its `stop_timeout` to end.

    :returns: what was stopped.
    """
    sandbox.stop(app)
    stopped = _running(app)
    # The sockets and timers first: what they start would come back
    for kinds in ((".socket", ".timer"), (".service", ".target")):
        if units := [unit for unit in _running(app) if unit.endswith(kinds)]:
            systemd.systemctl("stop", *units, check=False)
            systemd.systemctl("reset-failed", *units, check=False)
    if left := _running(app):
        raise TeardownError(f"{', '.join(left)} cannot be stopped.\nNext: 'systemctl status {left[0]}' on the host says why; then run it again.")
    return stopped


def _remove(path: str) -> None:
    """A link is removed and never followed; so are those in a directory."""
    if os.path.isdir(path) and not os.path.islink(path):
        shutil.rmtree(path)
    else:
        os.unlink(path)


def _remove_or_say(path: str) -> None:
    """The same, and where it cannot be: it may be where another disk is mounted, or immutable."""
    try:
        _remove(path)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise TeardownError(f"{path} cannot be removed: {error}\nNext: correct that on the host, then run it again.") from error


def _give_to_root(top: str) -> bool:
    """Have data belong to root, as another user may get the app's number one day; whether some of it did not."""
    changed = False
    for _directory, folders, files, handle in os.fwalk(top, follow_symlinks=False):
        for name in (".", *folders, *files):
            with contextlib.suppress(FileNotFoundError):
                status = os.stat(name, dir_fd=handle, follow_symlinks=False)
                if (status.st_uid, status.st_gid) != ROOT:
                    os.chown(name, *ROOT, dir_fd=handle, follow_symlinks=False)
                    changed = True
    return changed


def _user(app: App) -> bool:
    """Whether the app has its user."""
    with contextlib.suppress(KeyError):
        return pwd.getpwnam(app.name).pw_dir == app.root
    return False


def _group(app: App) -> bool:
    """Whether the app's group is left without its user: `userdel` keeps one with other members, and may have been killed before it got to it.

    Where it stays, the app's user cannot be made again.
    """
    with contextlib.suppress(KeyError):
        gid = grp.getgrnam(app.name).gr_gid
        return os.path.isdir(app.root) and all(user.pw_gid != gid for user in pwd.getpwall())
    return False


def _data(app: App) -> list[str]:
    """Its data, what it had before a restore, and what one that was killed has left."""
    beside = {path for top in {app.shared, os.path.realpath(app.shared)} for kind in ("before", "restore") for path in glob.glob(f"{top}.{kind}-*")}
    return [path for path in (app.shared, *sorted(beside)) if os.path.lexists(path)]


def present(app: App, data: bool) -> list[str]:
    """What of the app is on this host, and would be removed."""
    found = [path for path in paths(app) if os.path.lexists(path)]
    found += [f"certificate {name}" for name in unused_lineages(app.name)]
    found += _data(app) if data else []
    found += [f"user {app.name}"] if _user(app) else []
    return found + ([f"group {app.name}"] if _group(app) else [])


def teardown(app: App, data: bool) -> list[str]:
    """Remove it.

    :param data: whether its `shared` directory goes, too; otherwise that belongs to root from now on.
    :returns: what was removed.
    :raises TeardownError: when nginx still has a site of the app, or something cannot be removed.
    """
    _check(app)
    removed = stop(app)
    for path in [path for path in paths(app) if os.path.lexists(path)]:
        with contextlib.suppress(FileNotFoundError):
            _remove_or_say(path)
            removed.append(path)
    if removed:
        systemd.systemctl("daemon-reload")
    for name in unused_lineages(app.name):
        _run("certbot", "delete", "--non-interactive", "--cert-name", name)
        removed.append(f"certificate {name}")
    for path in _data(app):
        if data:
            _remove_or_say(path)
            removed.append(path)
        elif _give_to_root(path):
            removed.append(f"the rights of {app.name} to {path}")
    if _user(app):
        _run("userdel", app.name)
        removed.append(f"user {app.name}")
    if _group(app):
        _run("groupdel", app.name)
        removed.append(f"group {app.name}")
    with contextlib.suppress(OSError):  # there may be data, or what somebody else has put there
        os.rmdir(app.root)
    return removed
