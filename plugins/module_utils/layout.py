"""Where the parts of an app are on a host, and how its files are written: atomically, with explicit owner and mode."""

from __future__ import annotations

import contextlib
import errno
import glob
import json
import os
import pwd
import re
import shutil
import stat
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

LOCKS = "/run/plainstack-locks"  # for root alone
ID = re.compile(r"[0-9]{8}T[0-9]{6}Z-[0-9a-f]{8}")  # of a release
APPS = "/srv"
UNITS = "/etc/systemd/system"
STAMPS = "/var/lib/systemd/timers"  # when systemd's timers have last run


@dataclass(frozen=True)
class App:
    """The paths and units of one app."""

    name: str

    @property
    def root(self) -> str:
        return f"{APPS}/{self.name}"

    @property
    def releases(self) -> str:
        return f"{self.root}/releases"

    @property
    def shared(self) -> str:
        return f"{self.root}/shared"

    @property
    def live(self) -> str:
        """Link to the release that has the traffic; nginx takes static files through it."""
        return f"{self.root}/live"

    @property
    def live_socket(self) -> str:
        """Link to the socket of the release that has the traffic; renaming it is the switch."""
        return f"{self.root}/live.sock"

    @property
    def sockets(self) -> str:
        return f"/run/plainstack/{self.name}"

    @property
    def lock(self) -> str:
        """Who works on the app; see lock.py."""
        return f"{LOCKS}/{self.name}"

    def hook(self, unit: str) -> str:
        """The command of a hook or of an operator, while its unit runs. Not beside the sockets: systemd makes their directory with the first of them."""
        return f"/run/{unit}.environment"

    @property
    def history(self) -> str:
        """The log of deploys and rollbacks."""
        return f"/var/log/plainstack/{self.name}.log"

    @property
    def before(self) -> str:
        """Directory of links 1, 2, ... to the releases that were live before; nginx takes their static files through it."""
        return f"{self.root}/before"

    @property
    def timeouts(self) -> str:
        """How long nginx waits for the live release; a part of its configuration that the switch keeps."""
        return f"/etc/nginx/live/{self.name}.conf"

    @property
    def maintenance(self) -> str:
        """There while the app is in maintenance: its timers do not start."""
        return f"/var/lib/plainstack/maintenance/{self.name}"

    @property
    def maintenance_page(self) -> str:
        return f"/var/www/plainstack/{self.name}.maintenance.html"

    @property
    def maintenance_map(self) -> str:
        """Which requests get the page: a part of nginx's configuration that the site includes where it is there, as the next one is."""
        return f"/etc/nginx/live/{self.name}.maintenance-map.conf"

    @property
    def maintenance_rules(self) -> str:
        return f"/etc/nginx/live/{self.name}.maintenance.conf"

    @property
    def settings(self) -> str:
        """Environment and Gunicorn configuration of each release."""
        return f"/etc/plainstack/{self.name}"

    @property
    def cache(self) -> str:
        """What uv has downloaded and built for this app; the builder's own."""
        return f"/var/cache/plainstack/build/{self.name}"

    def release(self, identifier: str) -> str:
        return f"{self.releases}/{identifier}"

    def marker(self, identifier: str) -> str:
        """Written last: a release without it is half-built."""
        return f"{self.releases}/{identifier}/release.json"

    def archive(self, identifier: str) -> str:
        """What the release was built from, for a server that is added later."""
        return f"{self.releases}/{identifier}/.archive.tar.gz"

    def environment(self, identifier: str) -> str:
        return f"{self.settings}/{identifier}/environment"

    def socket(self, identifier: str) -> str:
        return f"{self.sockets}/{identifier}.sock"

    def unit(self, identifier: str, kind: str) -> str:
        """Name of a unit; kind is `service`, `socket`, or `target` for what runs beside the web server, where there is any."""
        return f"{self.name}@{identifier}.{kind}"

    def process(self, identifier: str, name: str, place: str, kind: str) -> str:
        """Name of the unit of a process or timer of a release; no app has a name with a dot.

        :param place: its number among those of the same name, `alone` for what may not overlap, empty for a timer and for what that runs.
        :param kind: `service` or `timer`.
        """
        return f"{self.name}.{name}{f'.{place}' if place else ''}@{identifier}.{kind}"

    def unit_file(self, identifier: str, kind: str) -> str:
        """A release has units of its own: no other release changes them."""
        return f"{UNITS}/{self.unit(identifier, kind)}"

    def live_id(self) -> str:
        """Id of the release that has the traffic; empty when there is none."""
        try:
            return os.path.basename(os.readlink(self.live_socket)).removesuffix(".sock")
        except FileNotFoundError:
            return ""

    def complete(self) -> list[str]:
        """Ids of the complete releases, oldest first (an id begins with its time)."""
        if not os.path.isdir(self.releases):
            return []
        return sorted(name for name in os.listdir(self.releases) if self._is_complete(name))

    def _is_complete(self, identifier: str) -> bool:
        try:
            status = os.lstat(self.marker(identifier))
        except (FileNotFoundError, NotADirectoryError):
            return False
        return stat.S_ISREG(status.st_mode) and status.st_uid == 0  # a build that was interrupted may have left one of its own

    def story(self, identifier: str) -> dict[str, Any]:
        """What release.json says of a release; nothing where it cannot be read."""
        try:
            story = json.loads(read(self.marker(identifier)) or "{}")
        except ValueError:
            return {}
        return story if isinstance(story, dict) else {}

    def note(self, identifier: str, **facts: Any) -> None:
        """Add facts to release.json; None removes one."""
        story = {**self.story(identifier), **facts}
        story = {key: value for key, value in story.items() if value is not None}
        self.describe(identifier, story)

    def describe(self, identifier: str, story: Mapping[str, Any]) -> None:
        """Write release.json, for root and the app's group alone."""
        group = os.stat(self.release(identifier)).st_gid
        write(self.marker(identifier), json.dumps(story, indent=2, sort_keys=True) + "\n", 0o640, 0, group)

    def remove(self, identifier: str) -> None:
        """Remove all that belongs to a release; first what makes it count as complete, and nothing where that cannot be removed.

        Its own directory comes last: while that is there, `sweep` goes on where this is interrupted.
        """
        try:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self.marker(identifier))
        except OSError:
            return
        own = [self.unit_file(identifier, kind) for kind in ("service", "socket", "target")]
        for path in (*own, *glob.glob(f"{UNITS}/{self.name}.*@{identifier}.*"), *glob.glob(f"{STAMPS}/stamp-{self.name}.*@{identifier}.timer")):
            with contextlib.suppress(OSError):
                os.unlink(path)
        for path in (os.path.dirname(self.environment(identifier)), f"{self.unit_file(identifier, 'service')}.d", self.release(identifier)):
            shutil.rmtree(path, ignore_errors=True)


def user_of(app: App) -> pwd.struct_passwd | None:
    """The app's user, if there is one yet."""
    try:
        return pwd.getpwnam(app.name)
    except KeyError:
        return None


def apps() -> list[App]:
    """The apps that have releases on this host."""
    found = [App(name) for name in sorted(os.listdir(APPS))] if os.path.isdir(APPS) else []
    return [app for app in found if os.path.isdir(app.releases)]


def write(path: str, content: str, mode: int = 0o644, uid: int = 0, gid: int = 0) -> None:
    """Replace a file as a whole: a reader sees the old content or the new, also after a power cut."""
    directory = os.path.dirname(path)
    handle, temporary = tempfile.mkstemp(dir=directory, prefix=".plainstack-")
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(content.encode("utf-8", "surrogateescape"))
            os.fchmod(stream.fileno(), mode)
            os.fchown(stream.fileno(), uid, gid)
            stream.flush()
            os.fsync(stream.fileno())
        os.rename(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise


def read(path: str) -> str | None:
    """A file's text, byte for byte what `write` would write again, or None where there is none."""
    try:
        with open(path, encoding="utf-8", errors="surrogateescape", newline="") as stream:
            return stream.read()
    except FileNotFoundError:
        return None


def relink(path: str, target: str) -> None:
    """Point a link at another target by one rename(2): there is never a moment without it."""
    temporary = f"{path}.new"
    with contextlib.suppress(FileNotFoundError):
        os.unlink(temporary)
    os.symlink(target, temporary)
    os.rename(temporary, path)
    directory = os.open(os.path.dirname(path), os.O_RDONLY)
    try:
        os.fsync(directory)  # a power cut must not bring the old target back once its instance has been stopped
    finally:
        os.close(directory)


def make_directory(path: str, mode: int = 0o755, uid: int = 0, gid: int = 0) -> bool:
    """A directory with that owner and mode, whatever the umask; whether something changed.

    Parents that are missing are made too, root-owned and readable to all. What an app's user can change is for shared.py.

    :raises OSError: where others than root can change the directory that it lies in, and what they have put there is in the way.
    """
    parent = os.path.dirname(path)
    if not os.path.isdir(parent):
        make_directory(parent)
    above = os.stat(parent)
    safe = above.st_uid == 0 and not above.st_mode & 0o022  # there a link is root's own, such as one to another disk
    changed = not os.path.isdir(path)
    if changed:
        os.mkdir(path)
    handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY | (0 if safe else os.O_NOFOLLOW))
    try:
        status = os.fstat(handle)
        if not safe and status.st_uid != 0:
            raise PermissionError(errno.EPERM, "it is not root's, and lies where others than root can change it", path)
        if (status.st_mode & 0o7777, status.st_uid, status.st_gid) != (mode, uid, gid):
            os.fchown(handle, uid, gid)
            os.fchmod(handle, mode)
            changed = True
    finally:
        os.close(handle)
    return changed
