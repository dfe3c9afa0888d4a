"""Back up the data of apps: what is in their `shared` directories, with each SQLite database as it was at one moment.

The program behind plainstack-backup.timer, and what the module `backup` does at once.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from inspect import getsource
from pwd import struct_passwd
from typing import Any

from ansible_collections.plainstack.web.plugins.module_utils.host import databases, history, restic
from ansible_collections.plainstack.web.plugins.module_utils.host.lock import LockError, shared
from ansible_collections.plainstack.web.plugins.module_utils.host.restic import Repository, ResticError
from ansible_collections.plainstack.web.plugins.module_utils.layout import App, make_directory, read, user_of, write
from ansible_collections.plainstack.web.plugins.module_utils.text import plain

CONFIG = "/etc/plainstack-backup/config.json"
STATE = "/var/lib/plainstack-backup/state.json"
COPIES = "/var/lib/plainstack-backup/databases"
LEFT_OUT = "/left-out"  # where restic sees the list of what it is not to save
BESIDE = ("-wal", "-shm", "-journal")  # what SQLite has beside a database that is in use; a copy has none
SHOWN = 5  # lines of what could not be read
FOUND_WITHIN, COPIED_WITHIN = 600, 4 * 3600  # seconds
LISTED = 2**24  # bytes of the names of databases
SPARE = 2**28  # bytes of disk that stay free
LONG = 3 * 3600.0  # seconds for which the timer waits for other servers
KEEPS = ("daily", "weekly", "monthly", "yearly")


class BackupError(Exception):
    """The data of an app could not be saved; the message says why."""


def _as_user(user: struct_passwd, output: Any, most: int, seconds: int, *words: str) -> subprocess.CompletedProcess[bytes]:
    """Run `databases` as the app's user: an app's files are opened with no more rights than it has itself.

    What runs as its user, the app may stop, and have say what it likes: for so many seconds and bytes.
    """
    command = ["/usr/bin/python3", "-I", "-c", getsource(databases), *words]
    environment = {"PATH": "/usr/bin:/bin"}

    def bound() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))

    try:
        return subprocess.run(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.PIPE, cwd="/", env=environment, user=user.pw_uid, group=user.pw_gid,
            extra_groups=[], preexec_fn=bound, timeout=seconds, check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        raise BackupError(f"what looks for its databases, as its user, did not end within {seconds} s: has the app stopped it?") from None


def _inside(path: str) -> bool:
    """Whether a relative path stays below its directory; the app's user may have said what it likes."""
    return bool(path) and not os.path.isabs(path) and not {"", ".", ".."} & {*path.split("/")}


def _find(app: App, user: struct_passwd) -> list[str]:
    with tempfile.TemporaryFile(dir=os.path.dirname(COPIES)) as stream:
        done = _as_user(user, stream, LISTED, FOUND_WITHIN, "find", os.path.realpath(app.shared))
        if done.returncode:
            raise BackupError(f"its databases cannot be found: {plain(done.stderr.decode(errors='replace').strip())}")
        stream.seek(0)
        return sorted({path for one in stream.read().split(b"\0") if _inside(path := os.fsdecode(one))})


def _size(path: str) -> int:
    """Bytes that a database may have, with what is in its log."""
    size = 0
    for one in (path, f"{path}-wal"):
        with contextlib.suppress(OSError):
            size += os.lstat(one).st_size
    return size


def _copy(app: App, user: struct_passwd, path: str, target: str) -> bool:
    """Copy a database for root alone, as an app's own file; whether it is one."""
    top = os.path.realpath(app.shared)
    size, disk = _size(f"{top}/{path}"), os.statvfs(COPIES)
    if 2 * size + SPARE > disk.f_bavail * disk.f_frsize:
        raise BackupError(
            f"the database {path} has {size // 2**20} MiB, copies of it need twice as much, and {disk.f_bavail * disk.f_frsize // 2**20} are free"
        )
    make_directory(os.path.dirname(target), 0o700)
    with open(target, "xb") as stream:
        done = _as_user(user, stream, size + LISTED, COPIED_WITHIN, "copy", f"{top}/{path}")
        if done.returncode == databases.NONE:
            os.unlink(target)
            return False
        if done.returncode:
            raise BackupError(f"the database {path} cannot be copied: {plain(done.stderr.decode(errors='replace').strip())}")
        os.fchown(stream.fileno(), user.pw_uid, user.pw_gid)
        with contextlib.suppress(OSError):
            os.fchmod(stream.fileno(), os.lstat(f"{top}/{path}").st_mode & 0o777)
    return True


@contextlib.contextmanager
def _copies(app: App, user: struct_passwd) -> Iterator[tuple[str, list[str]]]:
    """A directory with a copy of each database, for root alone, and their paths below `shared`."""
    make_directory(COPIES, 0o700)
    with tempfile.TemporaryDirectory(dir=COPIES) as above:
        directory = f"{above}/copies"
        os.mkdir(directory)
        yield directory, [path for path in _find(app, user) if _copy(app, user, path, f"{directory}/{path}")]


def pattern(path: str) -> str:
    """The line of restic's file of patterns that is this path alone."""
    return re.sub(r"([\\*?\[])", r"\\\1", path).replace("$", "$$")


def databases_of(shared: str) -> str:
    """Where a snapshot has the copies of the databases of a `shared` directory."""
    return f"{shared}.databases"


def save(repository: Repository, host: str, name: str) -> dict[str, Any]:
    """Make a snapshot of an app's data.

    :param host: name of the server in the inventory, which the snapshot gets.
    :returns: its `id`, how many `databases` were copied, and what could not be read (`unread`), such as a file that was removed meanwhile.
    :raises BackupError: when there is none.
    """
    app = App(name)
    user = user_of(app)
    if user is None or not os.path.isdir(app.shared):
        raise BackupError("it is not on this server yet: deploy it first")
    with _copies(app, user) as (directory, paths):
        # Saved as they are they would be of no use; where one is all the same, as its name is none for a line, its copy replaces it
        write(f"{directory}.left-out", "".join(f"{pattern(f'{app.shared}/{path}{end}')}\n" for path in paths for end in ("", *BESIDE)), 0o600)
        places = {os.path.realpath(app.shared): app.shared, directory: databases_of(app.shared)}
        words = ["backup", "--json", f"--host={host}", "--tag=plainstack", f"--tag={name}", f"--exclude-file={LEFT_OUT}", *places.values()]
        try:
            printed, said = restic.run(repository, *words, reads={**places, f"{directory}.left-out": LEFT_OUT}, good=(0, restic.PARTLY))
        except ResticError as error:
            raise BackupError(str(error)) from error
    summary: dict[str, Any] = next((json.loads(line) for line in printed.split("\n") if line.startswith('{"message_type":"summary"')), {})
    if not summary:
        raise BackupError(f"restic made no snapshot: {said}")
    return {"id": str(summary["snapshot_id"])[:8], "databases": len(paths), "unread": "\n".join(said.splitlines()[:SHOWN])}


def forget(repository: Repository, host: str, keep: Mapping[str, int]) -> None:
    """Remove what is older than is to be kept, of this server alone.

    :param keep: how many of each of KEEPS.
    :raises ResticError: when that fails.
    """
    kept = [f"--keep-{kind}={keep[kind]}" for kind in KEEPS if keep.get(kind)]
    if kept:
        restic.run(repository, "forget", "--prune", f"--host={host}", "--tag=plainstack", *kept)


def config() -> dict[str, Any]:
    """What the role has set; nothing where there are no backups."""
    found: dict[str, Any] = json.loads(read(CONFIG) or "{}")
    return found


def state() -> dict[str, Any]:
    """What is known of each app: when it was last saved (`at`, seconds since 1970), the `snapshot`, and why not since then (`error`)."""
    try:
        found = json.loads(read(STATE) or "{}")
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def there(names: Sequence[str]) -> list[str]:
    """Those of the apps that are on this host: one may have been removed, or is yet to be deployed."""
    return [name for name in names if user_of(App(name))]


def overdue(now: float) -> dict[str, str]:
    """By app what is wrong with its backups: the last try failed, or the last good one is older than the role allows (`hours`)."""
    known, found, settings = state(), {}, config()
    for name in there(settings.get("apps", [])):
        one = known.get(name, {})
        at = float(one.get("at") or 0)
        since = now - (at or max(os.stat(CONFIG).st_mtime, history.begins(App(name))))  # of an app that was added just now none is due yet
        if one.get("error"):
            found[name] = f"the backup failed: {one['error']}"
        elif since > settings["hours"] * 3600:
            found[name] = f"the last backup was made {since / 3600:.0f} hours ago" if at else "there is no backup yet"
    return found


def save_all(settings: Mapping[str, Any], patience: float = restic.LOCKED_FOR) -> dict[str, dict[str, Any]]:
    """Save all apps and remove old snapshots; by app what `save` says, or an `error`, and why old ones were `kept`.

    :param settings: as the role writes them: `host`, `apps`, `repository`, `password`, `environment` and `keep`.
    :param patience: seconds to wait for others that work on the repository, or here.
    :raises LockError: where another run goes on here for longer.
    """
    repository = Repository(settings["repository"], settings["password"], settings["environment"], patience)
    done: dict[str, dict[str, Any]] = {}
    with shared("backup", patience):
        shutil.rmtree(COPIES, ignore_errors=True)  # of a run that was killed
        with contextlib.suppress(ResticError):  # it is about locks of those that were killed; where nothing answers, the next command says so
            restic.run(repository, "unlock")
        for name in settings["apps"]:
            try:
                done[name] = save(repository, settings["host"], name)
            except Exception as error:  # whatever an app has put there: the others are saved all the same
                done[name] = {"error": str(error) or type(error).__name__}
        if any("error" not in one for one in done.values()):
            try:
                forget(repository, settings["host"], settings["keep"])
            except ResticError as error:
                done = {name: {**one, "kept": str(error)} for name, one in done.items()}
    return done


def note(done: Mapping[str, Mapping[str, Any]], now: float) -> None:
    """Keep what was done, for those who ask how old a backup is."""
    known = {name: one for name, one in state().items() if name in config().get("apps", [])}
    for name, one in done.items():
        before = known.get(name, {})
        if "error" in one:
            known[name] = {"at": before.get("at", 0), "snapshot": before.get("snapshot", ""), "error": one["error"]}
        else:
            known[name] = {"at": now, "snapshot": one["id"], "error": f"old ones were not removed: {one['kept']}" if "kept" in one else ""}
    make_directory(os.path.dirname(STATE), 0o700)
    write(STATE, json.dumps(known), 0o600)


def main(_words: Sequence[str]) -> int:
    """The entry point of the program: what the timer starts."""
    settings = config()
    try:
        done = save_all({**settings, "apps": there(settings["apps"])}, LONG)
    except LockError as error:
        print(error, file=sys.stderr)
        return 1
    note(done, time.time())
    for name, one in done.items():
        if "error" in one:
            print(f"{name}: {one['error']}", file=sys.stderr)
        else:
            print(f"{name}: snapshot {one['id']}{', with ' + str(one['databases']) + ' databases' if one['databases'] else ''}")
        for more in filter(None, (one.get("unread"), f"old snapshots were not removed: {one['kept']}" if "kept" in one else "")):
            print(f"{name}: {more}", file=sys.stderr)
    return int(any({"error", "kept"} & {*one} for one in done.values()))
