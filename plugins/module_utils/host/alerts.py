"""The program behind plainstack-alerts.timer: looks at the host, compares with what it has told, and sends what is new, over, or to be reminded of.

`alerts.pyz` of the role alerts has it, with the modules that it needs; it keeps nothing running.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from ansible_collections.plainstack.web.plugins.module_utils import layout
from ansible_collections.plainstack.web.plugins.module_utils.host import accesslog, backup, history, maintenance, memory, status, systemd
from ansible_collections.plainstack.web.plugins.module_utils.host.health import Health, ask_nginx
from ansible_collections.plainstack.web.plugins.module_utils.host.incidents import Message, Problem, State, advance, due, enqueue, full_at, patience
from ansible_collections.plainstack.web.plugins.module_utils.host.tail import backwards
from ansible_collections.plainstack.web.plugins.module_utils.layout import App, make_directory, read, write
from ansible_collections.plainstack.web.plugins.module_utils.text import plain

CONFIG = "/etc/plainstack-alerts/config.json"
STATE = "/var/lib/plainstack-alerts/state.json"
IN_MEMORY = "/run/plainstack-alerts.json"  # the state while the disk is full
PATIENCE = 5.0  # seconds for an answer
SENT_WITHIN = 45  # seconds for one message to one target
SENDING = 120.0  # seconds after which no further message is begun
WINDOW = 300.0  # seconds of requests
FEW = 20  # requests below which a share says nothing
SAMPLES, EACH = 48, 900.0  # of disk and memory, and the seconds between two
DOCTOR = "ansible-playbook plainstack.web.doctor says why"
LINES = 15  # of a log
HISTORY = 2**17  # bytes of the log of deploys that are looked at
LONGEST = 4000  # characters of a message
LONGEST_WAIT = 30.0  # seconds until a problem is looked at again; for what takes longer there is the next look
MOST = 8  # events of one look that are told
# The first two lines are the target and the title; what follows is the message. In /run, as the disk may be full
SEND = (
    'read -r target; read -r title; umask 077; printf "%s\\n" "$target" > "$RUNTIME_DIRECTORY/target"; '
    'exec apprise -v --config="$RUNTIME_DIRECTORY/target" --title="$title" 2>&1'
)
RENEWED = 0.70  # of the life of a certificate: certbot renews after two thirds, twice a day
KINDS = {"instance": "the app", "process": "the process", "job": "the run of the timer", "timer": "the timer"}
TITLES = {
    "begin": "is on its way",
    "deploy": "is live",
    "restore": "has the data of a backup",
    "rollback": "is live again",
    "restart": "was restarted",
    "back": "was taken back",
    "failed": "failed",
}


def _units(app: App, state: State, found: Sequence[Mapping[str, Any]]) -> Iterator[Problem]:
    """What has ended, or was started again since the last look."""
    told: set[str] = set()
    restarts: dict[str, dict[str, int]] = state.setdefault("restarts", {})
    before = restarts.get(app.name, {})
    restarts[app.name] = {one["unit"]: one["restarts"] for one in found}
    for one in found:
        unit, kind = one["unit"], one["kind"]
        key = f"unit {app.name} {kind} {one['name']}"
        again = one["restarts"] > before.get(unit, 0) if unit in before else one["substate"] == "auto-restart"
        if key in told or one["release"] != app.live_id() or not _is_bad(one, again):
            continue  # of several processes of one name that have ended one is told
        told.add(key)
        how = "has failed" if kind in ("job", "timer") else "ends again and again" if one["restarts"] > 3 else "has ended"
        detail = systemd.log(unit, LINES, ended=True)
        # What is just being switched to starts a moment after it has become the live one
        lasts = 20.0 if one["state"] == "inactive" and kind in ("instance", "process") and not again else 0.0
        yield Problem(key, f"{app.name}: {KINDS[kind]} {one['name']} {how} (release {one['release']})", f"journalctl --unit={unit}", lasts, detail)


def _is_bad(unit: Mapping[str, Any], again: bool) -> bool:
    """Whether a unit is not as it is meant to be.

    :param again: whether systemd has started it again since the last look.
    """
    if unit["kind"] == "job":
        return unit["result"] not in ("", "success")
    if unit["kind"] == "timer":
        return bool(unit["state"] == "failed")
    # A process that has ended by itself is started again: one that has run and is inactive was stopped by somebody
    stopped = unit["kind"] == "process" and unit["result"] in ("", "success") and unit["since"]
    ended = unit["state"] == "failed" or (unit["state"] == "inactive" and not stopped)
    return bool(ended or unit["substate"] == "auto-restart" or again)


def _is_meant_to_rest(app: App) -> bool:
    """Whether somebody has stopped it, or keeps visitors away from it."""
    return bool(app.story(app.live_id()).get("halted") or maintenance.state(app) or maintenance.paused(app))


def _app(app: App, about: Mapping[str, Any], marks: Mapping[str, Any], state: State) -> Iterator[Problem]:
    """What is wrong with an app that is meant to run."""
    live = app.live_id()
    story = app.story(live)
    if not live or _is_meant_to_rest(app):
        return
    yield from _units(app, state, status.units(app, live))
    path = str(story.get("config", {}).get("health_path", "/"))
    if about["nginx"]:
        wrong = ask_nginx(Health(path, about["host"], PATIENCE, about["tls"]), PATIENCE)
        if wrong:
            what = f"{app.name}: {about['host']}{path} {wrong} (release {live})"
            then = f"ansible-playbook plainstack.web.status; journalctl --unit={app.unit(live, 'service')}"
            detail = systemd.log(app.unit(live, "service"), LINES)
            yield Problem(f"health {app.name}", what, then, marks["unhealthy_seconds"], detail)


def _requests(names: Sequence[str], marks: Mapping[str, Any], now: float) -> Iterator[Problem]:
    """What visitors get."""
    for name, met in accesslog.requests(names, now - WINDOW).items():
        if met["requests"] < FEW:
            continue
        share = met["errors"] / met["requests"]
        if share * 100 >= marks["errors_percent"]:
            what = f"{name}: {share:.0%} of {met['requests']} requests of the last five minutes were answered with 5xx (live is {App(name).live_id()})"
            yield Problem(f"errors {name}", what, f"ansible-playbook plainstack.web.logs -e app={name} -e level=error")
        if marks["p99_seconds"] and met["p99"] >= marks["p99_seconds"]:
            what = f"{name}: of the requests of the last five minutes one in a hundred took {met['p99']:.1f} s or longer (live is {App(name).live_id()})"
            yield Problem(f"p99 {name}", what, f"ansible-playbook plainstack.web.logs -e app={name} -e source=access")


def _disks() -> Iterator[tuple[str, os.statvfs_result]]:
    """The file systems that the system and the apps write to, each by the first of its directories."""
    known: set[int] = set()
    for path in ("/", "/var", "/tmp", layout.APPS, *(os.path.realpath(app.shared) for app in layout.apps())):
        with contextlib.suppress(OSError):
            if (device := os.stat(path).st_dev) not in known:
                known.add(device)
                yield path, os.statvfs(path)


def _room(state: State, marks: Mapping[str, Any], now: float) -> Iterator[Problem]:
    """What is getting full, and when it will be."""
    used = {"the memory": 1 - memory.available() / memory.total()}
    for path, disk in _disks():
        used[f"the disk of {path}"] = 1 - disk.f_bavail / disk.f_blocks if disk.f_blocks else 0.0
        used[f"the inodes of {path}"] = 1 - disk.f_favail / disk.f_files if disk.f_files else 0.0
    nexts = {"the memory": "ansible-playbook plainstack.web.status shows what each app has"}
    samples: dict[str, list[list[float]]] = state.setdefault("samples", {})
    for what, part in used.items():
        kept = samples.setdefault(what, [])
        if not kept or now - kept[-1][0] >= EACH:
            kept.append([now, part])
            del kept[:-SAMPLES]
        if part * 100 >= marks["full_percent"]:
            full = full_at([(at, had) for at, had in kept] + [(now, part)], now)
            at = f"; as it has grown, full at {time.strftime('%Y-%m-%d %H:%M UTC', time.gmtime(full))}" if full and full < now + 30 * 86400 else ""
            then = nexts.get(what, f"du -xh --max-depth=2 {what.rpartition(' ')[2]} | sort -h | tail shows what is large")
            yield Problem(f"room {what}", f"{what} {'are' if 'inodes' in what else 'is'} {part:.0%} full{at}", then, lasts=20)


def _certificates(domains: Sequence[str], now: float) -> Iterator[Problem]:
    for domain in domains:
        one = status.certificate(domain)
        if one["error"]:
            continue  # nginx is the problem then
        if not one["covers"]:
            yield Problem(f"covers {domain}", f"the certificate that visitors of {domain} get is not for that name", DOCTOR, lasts=600)
            continue
        passed = (now - one["begins"]) / max(one["ends"] - one["begins"], 1)
        if passed >= RENEWED:
            ends = time.strftime("%Y-%m-%d", time.gmtime(one["ends"]))
            yield Problem(f"certificate {domain}", f"the certificate of {domain} is past two thirds of its life, and ends on {ends}", DOCTOR)


def _host(marks: Mapping[str, Any], now: float, serves: bool, state: State) -> Iterator[Problem]:
    if serves:
        nginx = systemd.show("nginx.service", "ActiveState", "NRestarts")
        restarts = int(nginx.get("NRestarts") or 0)
        before = state.get("nginx restarts", restarts)  # that it ever was, long ago, says nothing
        state["nginx restarts"] = restarts
        runs = nginx["ActiveState"] in ("active", "reloading")
        if not runs or restarts > before:
            what = f"nginx does not run: its unit is {nginx['ActiveState']}" if not runs else "nginx has ended, and systemd has started it again"
            # Nobody is told of a restart by hand
            yield Problem("nginx", what, "systemctl status nginx", 0.0 if runs else 10.0, systemd.log("nginx.service", LINES))
    with contextlib.suppress(FileNotFoundError):
        since = os.stat(status.REBOOT).st_mtime
        if now - since >= marks["reboot_days"] * 86400:
            days = int((now - since) // 86400)
            yield Problem("reboot", f"updates wait for a reboot, for {days} days", "ansible-playbook plainstack.web.upgrade")


def _backups(now: float) -> Iterator[Problem]:
    for name, why in backup.overdue(now).items():
        yield Problem(f"backup {name}", f"{name}: {why.splitlines()[0]}", "journalctl --unit=plainstack-backup", detail=why if "\n" in why else "")


def _answers(address: str, port: int) -> OSError | None:
    """Why a server does not take a connection."""
    try:
        socket.create_connection((address, port), PATIENCE).close()
    except OSError as error:
        return error
    return None


def _neighbours(neighbours: Sequence[Sequence[Any]]) -> Iterator[Problem]:
    """Another server of the fleet that says nothing any more. One that refuses is there."""
    for name, address, port in neighbours:
        if (error := _answers(address, port)) and not isinstance(error, ConnectionRefusedError):
            then = f"ssh {name}; where the address is wrong, set private_address and run plainstack.web.alerts again"
            yield Problem(f"silent {name}", f"{name} ({address}) is silent: {error.strerror or error}", then, lasts=20)


def _balanced(balanced: Mapping[str, Sequence[str]]) -> Iterator[Problem]:
    """An app none of whose servers takes a connection of this load balancer: visitors get 502."""
    known: dict[str, OSError | None] = {}
    for name, addresses in balanced.items():
        for address in addresses:
            if address not in known:
                known[address] = _answers(address, 80)
        if addresses and all(known[address] for address in addresses):
            why = ", ".join(f"{address}: {known[address]}" for address in addresses)
            yield Problem(f"balanced {name}", f"{name}: no server takes connections of this load balancer ({why})", DOCTOR, lasts=20)


def rest(config: Mapping[str, Any], state: State, now: float) -> None:
    """Forget, without a word, what was wrong with apps that somebody has stopped; and for a while what visitors got meanwhile."""
    rested: dict[str, float] = state.setdefault("rested", {})
    for about in config["apps"]:
        with contextlib.suppress(Exception):  # its check says what is wrong, and the others are looked at
            if _is_meant_to_rest(App(about["name"])):
                rested[about["name"]] = now
    for name in [name for name, at in rested.items() if now - at >= WINDOW]:
        del rested[name]

    def of_one_that_rests(key: str) -> bool:
        kind, _, name = key.partition(" ")
        return kind in ("unit", "health", "errors", "p99") and rested.get(name.split()[0]) == now

    state["incidents"] = {key: one for key, one in state.get("incidents", {}).items() if not of_one_that_rests(key)}
    if slow := state.get("slow"):
        slow["found"] = [one for one in slow["found"] if not of_one_that_rests(one["key"])]


def problems(config: Mapping[str, Any], state: State, now: float) -> list[Problem]:
    """All that is wrong now. One check that fails itself is a problem, and no end of the others."""
    marks = config["marks"]
    checks: list[tuple[str, Iterator[Problem]]] = [(about["name"], _app(App(about["name"]), about, marks, state)) for about in config["apps"]]
    checks += [
        ("host", _host(marks, now, config["serves"], state)),
        ("room", _room(state, marks, now)),
        ("backups", _backups(now)),
        ("neighbours", _neighbours(config["neighbours"])),
        ("balanced", _balanced(config["balanced"])),
    ]
    # They cost more, and change slowly: now and then, and what they have found lasts until the next time
    slow: dict[str, Any] = state.setdefault("slow", {"at": 0.0, "found": []})
    if now - slow["at"] >= marks["slow_seconds"]:
        names = [about["name"] for about in config["apps"] if about["name"] not in state.get("rested", {})] if config["serves"] else []
        checks += [("requests", _requests(names, marks, now)), ("certificates", _certificates(config["domains"], now))]
    found: list[Problem] = []
    slowly: list[Problem] = []
    for name, check in checks:
        try:
            (slowly if name in ("requests", "certificates") else found).extend(check)
        except Exception as error:  # whatever it is: the others are looked at, and somebody is told
            found.append(Problem(f"check {name}", f"the check of {name} failed: {type(error).__name__}: {error}", "journalctl --unit=plainstack-alerts"))
    if now - slow["at"] >= marks["slow_seconds"]:
        slow.update(at=now, found=[vars(one) for one in slowly])
    return found + [Problem(**one) for one in slow["found"]]


def events(config: Mapping[str, Any], state: State) -> list[Message]:
    """What was deployed, and what failed, since the last look."""
    known: dict[str, str] = state.setdefault("events", {})
    messages = list[Message]()
    for about in config["apps"]:
        app, lines = App(about["name"]), list[str]()
        for line in backwards(app.history, HISTORY):
            if line == known.get(app.name):
                break
            lines.append(line)
        first, known[app.name] = app.name not in known, lines[0] if lines else known.get(app.name, "")
        ended: set[str] = set()
        newest = list[Message]()
        for line in lines[:MOST] if not first else []:
            with contextlib.suppress(ValueError):
                told = json.loads(line)
                # What has ended by now is told as that alone
                if isinstance(told, dict) and not (told.get("event") == "begin" and told.get("release") in ended):
                    ended.add(str(told.get("release")))
                    newest += _event(config, about["name"], told)
        messages += reversed(newest)
    return messages


def _event(config: Mapping[str, Any], name: str, told: Mapping[str, Any]) -> list[Message]:
    event = str(told.get("event", ""))
    bad = event in ("failed", "back")
    if event not in TITLES or told.get("told") == "elsewhere" or not (bad or config["tells_deploys"]):
        return []
    who = f"{told.get('of', event)} by {told.get('by', '?')} on {told.get('origin', '?')} at {told.get('time', '?')}"
    lines = [who, *([f"Revision: {str(told['revision'])[:12]}{' with changes' if told.get('dirty') else ''}"] if told.get("revision") else [])]
    lines += [str(told["reason"]), f"Next: ansible-playbook plainstack.web.releases -e app={name}"] if bad and told.get("reason") else []
    return [Message(f"{config['host']}: {name}: {told.get('release', '?')} {TITLES[event]}", "\n".join(lines))]


def send(target: str, title: str, body: str) -> str:
    """Send a message to a target, as a user of its own that has this target alone; why it could not be, empty where it was.

    :param target: its URL, which is handed on with the message: no command line and no file that others read has it.
    """
    words = ["systemd-run", "--quiet", "--wait", "--pipe", "--collect", "--property=DynamicUser=yes", "--property=ProtectHome=yes"]
    words += [f"--property=RuntimeDirectory=plainstack-alerts-{os.getpid()}", "--property=RuntimeDirectoryMode=0700"]
    words += [f"--property=RuntimeMaxSec={SENT_WITHIN}", "/bin/sh", "-c", SEND]
    lines = (target, plain(" ".join(title.split()))[:200], plain(body)[:LONGEST])
    try:
        done = subprocess.run(words, input="\n".join(lines), capture_output=True, encoding="utf-8", errors="replace", timeout=SENT_WITHIN + 15, check=False)
    except subprocess.TimeoutExpired:
        return f"no end within {SENT_WITHIN} s"
    said = re.sub(r"\w+://\S+", "(the target)", plain((done.stdout + done.stderr).strip()))
    if "--help" in said:
        said = "Apprise knows no such target"
    return "" if done.returncode == 0 else said.splitlines()[-1] if said else f"apprise ended with {done.returncode}"


def deliver(state: State, targets: Sequence[str], now: float, keep: Callable[[], None]) -> None:
    """Send what waits, for a while. A target that fails is asked once a look, and gets what it has missed later.

    :param keep: called after each message: what was sent is sent once, also where this is killed.
    """
    failing: dict[str, str] = {}
    began, doubtful = time.monotonic(), state.get("failing", {})
    # A target that failed the last time comes after the others: it may keep this waiting
    turns = [(one, last) for last in (False, True) for one in due(state, now)]
    for one, last in turns:
        if time.monotonic() >= began + SENDING:
            break  # the next look goes on
        for number in [number for number in one["targets"] if number < len(targets) and str(number) not in failing and (str(number) in doubtful) == last]:
            if why := send(targets[number], one["title"], one["body"]):
                failing[str(number)] = why
                print(f"target {number + 1}: {why}", file=sys.stderr)
            else:
                one["targets"].remove(number)
        one["targets"] = [number for number in one["targets"] if number < len(targets)]
        keep()
    state["failing"] = failing
    due(state, now)


def heartbeat(url: str) -> None:
    """Ask the URL of somebody who notices when nobody does."""
    if url:
        import urllib.request  # here, as it takes a tenth of a second

        try:
            urllib.request.build_opener().open(urllib.request.Request(url, headers={"User-Agent": "Plainstack"}), timeout=PATIENCE).close()
        except (OSError, ValueError) as error:
            print(f"heartbeat: {type(error).__name__}", file=sys.stderr)


def load() -> State:
    """What is kept between two looks."""
    try:
        found = json.loads(read(IN_MEMORY) or read(STATE) or "{}")
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def save(state: State) -> None:
    """Write it; into memory while the disk takes nothing, which is to be told, too."""
    try:
        make_directory(os.path.dirname(STATE), 0o700)
        write(STATE, json.dumps(state), 0o600)
    except OSError:
        write(IN_MEMORY, json.dumps(state), 0o600)
        return
    with contextlib.suppress(FileNotFoundError):
        os.unlink(IN_MEMORY)


def look() -> float:
    """One look; the seconds until one of the problems has gone on for long enough to be told."""
    config, state, now = json.loads(read(CONFIG) or "{}"), load(), time.time()
    rest(config, state, now)
    messages = events(config, state)
    found = problems(config, state, now)
    messages += advance(state, config["host"], found, now, history.now(), config["marks"]["reminder_hours"] * 3600)
    enqueue(state, messages, len(config["targets"]), now)
    save(state)  # what was told is told once, also where sending is cut off
    heartbeat(config["heartbeat"])  # all was looked at; before what may take long
    deliver(state, config["targets"], now, lambda: save(state))
    save(state)
    return patience(state, found, now)


def test() -> int:
    """Send one message of each kind to each target; how many targets have failed."""
    config = json.loads(read(CONFIG) or "{}")
    host = config["host"]
    begun = Problem("test", "this is a test, and nothing is wrong", "nothing", detail="the last lines of a log would stand here")
    state: State = {}
    kinds = advance(state, host, [begun], 0.0, history.now(), 1.0) + advance(state, host, [begun], 2.0, history.now(), 1.0)
    advance(state, host, [], 3.0, "", 0)
    kinds += advance(state, host, [], 99.0, "", 0)
    kinds.append(Message(f"{host}: test: a release is live", "deploy by nobody, as this is a test"))
    failed = 0
    for number, target in enumerate(config["targets"], 1):
        wrong = [why for one in kinds if (why := send(target, one.title, one.body))]
        failed += bool(wrong)
        print(f"target {number}: {wrong[0] if wrong else f'has taken {len(kinds)} messages'}")
    return failed


def main(words: Sequence[str]) -> int:
    """The entry point."""
    if words == ["test"]:
        return min(test(), 1)
    # What may be nothing is looked at again as soon as it is known, and not with the next look
    if 0 < (seconds := look()) <= LONGEST_WAIT:
        time.sleep(seconds)
        look()
    return 0
