"""What systemd knows of the instances of an app, and what they wrote."""

from __future__ import annotations

import contextlib
import re
import subprocess

from ansible_collections.plainstack.web.plugins.module_utils.host.health import Health, ask_instance
from ansible_collections.plainstack.web.plugins.module_utils.layout import App
from ansible_collections.plainstack.web.plugins.module_utils.text import plain

OF_EACH_PROCESS = re.compile(
    r"(Booting worker with pid: \d+|: Killing process \d+ .* with signal SIGKILL\.|\[ERROR\] Exception in worker process|Worker exiting \(pid: \d+\))$"
)
RESTARTED = ": Scheduled restart job, restart counter is at "
LONGEST_LOG = 2**19  # bytes of the last lines that are looked at: an app may write entries of any size
LONGEST = 2000  # characters of a line that are shown
PROBED_FOR = 2.0  # seconds that the live release has to answer before an error says that it serves
HALTED = "gunicorn.errors.HaltServer: "
_ERROR = r"Traceback \(most recent call last\):\n(?:[ \t].*\n)*\S.*"
TRACEBACK = re.compile(rf"^{_ERROR}(?:\n+(?:During handling of|The above exception was) .*:\n+{_ERROR})*\n?", re.MULTILINE)


class InstanceError(Exception):
    """An instance did not do what it must; the message says what, why and what to do next."""


def systemctl(*arguments: str, check: bool = True) -> str:
    """What systemctl prints; an InstanceError with what it complains about when it fails."""
    done = subprocess.run(["systemctl", *arguments], capture_output=True, encoding="utf-8", errors="replace", check=False)
    if check and done.returncode:
        raise InstanceError(f"systemctl {' '.join(arguments)} failed: {plain(done.stderr.strip() or done.stdout.strip())}")
    return done.stdout.strip()


def show(unit: str, *properties: str) -> dict[str, str]:
    """Properties of a unit by name."""
    return dict(line.split("=", 1) for line in systemctl("show", unit, f"--property={','.join(properties)}").splitlines())


def _once(text: str) -> str:
    """The text with each traceback once, where it comes last; without that of a Gunicorn whose workers have failed, which says nothing of why."""
    errors = list(TRACEBACK.finditer(text))
    last = {error[0].rstrip("\n"): error.start() for error in errors}
    kept, at = [], 0
    for error in errors:
        said = error[0].rstrip("\n")
        if last[said] != error.start() or said.rsplit("\n", 1)[1].startswith(HALTED):
            kept.append(text[at : error.start()])
            at = error.end()
    return "".join([*kept, text[at:]])


def log(unit: str, lines: int = 25, ended: bool = False) -> str:
    """The last lines that a unit wrote to the journal.

    What comes once for each process is left out: it would push the app's own words out. An error that several have met is there once.

    :param ended: whether it is about a process that has ended: not what systemd has started in its place.
    """
    command = ["journalctl", f"--unit={unit}", "--output=cat", "--no-pager", "--lines=1000"]
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        kept = b""
        while part := process.stdout.read(2**20):  # type: ignore[union-attr]  # it is a pipe
            kept = (kept + part)[-LONGEST_LOG:]
    # Cut before anything is looked for: an app may write what takes long to look through
    said = [line[:LONGEST] for line in kept.decode("utf-8", "replace").strip("\n").split("\n")]
    if ended and (restarts := [number for number, line in enumerate(said) if RESTARTED in line]):
        said = said[: restarts[-1]]
    said = _once("\n".join(line for line in said if not OF_EACH_PROCESS.search(line))).split("\n")
    return plain("\n".join(said[-lines:]))


def running(app: App) -> list[str]:
    """Ids of the instances of which a service or a socket is there, oldest first."""
    listed = systemctl("list-units", "--plain", "--no-legend", "--state=active,activating,deactivating,reloading,failed", f"{app.name}@*")
    units = (line.split()[0] for line in listed.splitlines())
    return sorted({unit.split("@", 1)[1].rsplit(".", 1)[0] for unit in units})


def serving(app: App) -> str:
    """A sentence on what has the traffic. Only of what has just answered over its own socket does it say that it serves.

    A refusal is an answer, too: the name of the site is not known here, and some apps take no other.
    """
    live = app.live_id()
    if not live:
        return "No release of this app is live yet."
    state = show(app.unit(live, "service"), "ActiveState")["ActiveState"]
    if state != "active":
        return f"{live} is live, but does not run: its unit is {state}."
    path = str(app.story(live).get("config", {}).get("health_path", "/"))
    wrong = ask_instance(app.socket(live), Health(path, "localhost", PROBED_FOR), PROBED_FOR)
    return f"{live} is live, but {path} {wrong}." if wrong and not wrong.startswith("answered 4") else f"{live} still serves."


def limit(unit: str) -> int | None:
    """Bytes that a unit may use (MemoryMax); None where there is no limit, or no such unit."""
    found = show(unit, "MemoryMax").get("MemoryMax", "infinity")
    return int(found) if found.isdecimal() else None


def processes(app: App, identifier: str) -> list[str]:
    """Ids of the processes of an instance."""
    group = show(app.unit(identifier, "service"), "ControlGroup")["ControlGroup"]
    if not group:  # it does not run
        return []
    for root in ("/sys/fs/cgroup", "/sys/fs/cgroup/systemd", "/sys/fs/cgroup/unified"):  # cgroup v2; v1; both
        with contextlib.suppress(OSError), open(f"{root}{group}/cgroup.procs", encoding="ascii") as stream:
            if found := stream.read().split():
                return found
    return []


def memory(app: App, identifier: str) -> int:
    """Bytes that an instance holds; pages that its processes share count once."""
    total = 0
    for process in processes(app, identifier):
        with contextlib.suppress(OSError), open(f"/proc/{process}/smaps_rollup", encoding="ascii") as rollup:
            total += sum(int(line.split()[1]) * 1024 for line in rollup if line.startswith("Pss:"))
    return total
