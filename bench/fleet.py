#!/usr/bin/env python3
"""How the cost of a deploy grows with the number of servers: `make bench-fleet`, which writes results/fleet-cost.md and .png; `make docs` puts them into docs/.

.venv/bin/python bench/fleet.py              1, 4 and 16 servers, as far as the memory goes, then 1, 16, 100 and 500 simulated; half an hour
.venv/bin/python bench/fleet.py 1 8          1 and 8, then 1 and 16 simulated; prints the figures and writes no file
.venv/bin/python bench/fleet.py 2 100        2 and, as they are more than there is memory for, 100 simulated besides

The servers are containers from the snapshot of a provisioned one, on the machine of the controller: they share its cores. A simulated
server answers as a real one did, after as long as that took (bench/record.py, bench/connection/recorded.py): what is left is
the controller's own work.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime
import os
import re
import resource
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import yaml

import vms
from answers import COUNTERS, FIRST, RECORDS
from bench import install_tools
from report import aim, machine_of, table

COUNTS = (1, 4, 16)
SIMULATED = (100, 500)
ONE, MANY = 1, 16  # servers that the aims compare; always simulated, too
WITHIN = 60  # seconds in which the most of them have switched, from the first to the last
MEMORY = 512  # MiB of each server
SPARE = 4096  # MiB that stay free
FIRST_PORT = 2300
DOCUMENT, PICTURE = vms.ROOT / "results" / "fleet-cost.md", vms.ROOT / "results" / "fleet-cost.png"
CHANGED = Path("hello/templates/base.html")
# The steps of a rollout by the tasks that do them; the rest is checking, configuration and Ansible's own
STEPS = {
    "stage": ("Build each release",),
    "start": ("Start each release and wait until it is healthy",),
    "switch": ("Give each release the traffic",),
    "confirm": ("Watch each release through nginx",),
    "retire": ("Drain and stop the old instances",),
}
TASK = re.compile(r"TASK \[(?:.* : )?(.*?)\]")
AIM = 4  # 16 servers take at most so many times as long as one
STATUS_AIM = 1.5


@dataclass
class Cost:
    """Seconds of a run in all and of each step, seconds of CPU and MiB of memory of the controller."""

    total: float
    cpu: float
    memory: int
    steps: dict[str, float] = field(default_factory=dict)


def inventory(directory: Path, count: int, source: Path) -> None:
    """Write an inventory of so many servers, with the app that the snapshot was deployed with."""
    hosts = {f"fleet-{number}": {"ansible_port": FIRST_PORT + number, "lab_image": "snapshot-provisioned-13"} for number in range(1, count + 1)}
    (directory / "group_vars").mkdir(parents=True, exist_ok=True)
    variables = yaml.safe_load((vms.ROOT / "lab/provisioned/group_vars/all.yml").read_text(encoding="utf-8"))
    variables["apps"][0]["source"] = str(source)
    (directory / "group_vars" / "all.yml").write_text(yaml.safe_dump(variables), encoding="utf-8")
    shutil.copy(vms.ROOT / "lab" / "vars.yml", directory / "group_vars" / "lab.yml")
    groups = {"app_servers": {"hosts": dict.fromkeys(hosts)}, "lab": {"hosts": hosts, "vars": {"lab_memory": f"{MEMORY}m"}}}
    (directory / "hosts.yml").write_text(yaml.safe_dump(groups), encoding="utf-8")


def memory(process: int) -> int:
    """MiB that a process and its descendants hold, with what they share counted once."""
    parents: dict[int, list[int]] = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            parents.setdefault(int(path.read_text().rsplit(")", 1)[1].split()[1]), []).append(int(path.parent.name))
    left, total = [process], 0
    while left:
        one = left.pop()
        left += parents.get(one, [])
        with contextlib.suppress(OSError):
            found = re.search(r"^Pss:\s+(\d+)", Path(f"/proc/{one}/smaps_rollup").read_text(), re.MULTILINE)
            total += int(found[1]) if found else 0
    return total // 1024


def sample(process: int, found: list[int], over: threading.Event) -> None:
    """Note the memory once a second until it is over: workers live for the moment of a task."""
    while not over.wait(1):
        found.append(memory(process))


def run(playbook: str, directory: Path, count: int, settings: Mapping[str, str] | None = None, program: Sequence[str] = ("ansible-playbook",)) -> Cost:
    """Run a playbook on all servers.

    :raises BenchError: with the end of its output when it fails.
    """
    settings = {
        "ANSIBLE_CONFIG": str(vms.ROOT / "ansible.cfg"),
        "ANSIBLE_FORKS": str(count),
        "ANSIBLE_NOCOLOR": "1",
        "PYTHONUNBUFFERED": "1",
        **(settings or {}),
    }
    environment = {**os.environ, **settings}
    command = [str(vms.ROOT / ".venv/bin" / program[0]), *program[1:], playbook, "-v", "-i", str(directory)]  # -v for the names of the tasks
    steps = dict.fromkeys(STEPS, 0.0)
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    output: list[str] = []
    step, since = "", began
    most, over = [0], threading.Event()
    with subprocess.Popen(
        command, cwd=vms.ROOT, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        sampler = threading.Thread(target=sample, args=(process.pid, most, over))
        sampler.start()
        for line in process.stdout or ():
            output.append(line)
            if found := TASK.match(line):
                now = time.monotonic()
                if step:
                    steps[step] += now - since
                step, since = next((name for name, tasks in STEPS.items() if found[1] in tasks), ""), now
    total = time.monotonic() - began
    over.set()
    sampler.join()
    if process.returncode:
        first = next((number for number, line in enumerate(output) if "fatal: [" in line), max(0, len(output) - vms.SHOWN))
        raise vms.BenchError(f"{''.join(output[first : first + vms.SHOWN])}\n{playbook} failed ({process.returncode})")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return Cost(total, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, max(most), steps)


def change(source: Path, what: str) -> None:
    """Make a one-line change."""
    page = source / CHANGED
    page.write_text(page.read_text(encoding="utf-8") + f"<!-- {what} -->\n", encoding="utf-8")


def measure(work: Path, counts: Sequence[int]) -> dict[int, tuple[Cost, Cost, Cost]]:
    """For each number of servers a redeploy of a one-line change, a deploy with no change, and a look at their status."""
    source, directory = work / "source", work / "inventory"
    found = {}
    for count in counts:
        inventory(directory, count, source)
        try:
            run("lab/create.yml", directory, count)
            run("deploy.yml", directory, count)  # opens the connections, and brings the servers that are new up to date
            change(source, f"{count} servers")
            found[count] = run("deploy.yml", directory, count), run("deploy.yml", directory, count), run("plainstack.web.status", directory, count)
        finally:
            run("lab/destroy.yml", directory, count)
        print(
            f"{count} servers: change {found[count][0].total:.1f} s, no change {found[count][1].total:.1f} s, status {found[count][2].total:.1f} s", flush=True
        )
    return found


def record(work: Path, source: Path, count: int) -> Path:
    """What real servers answer during a deploy of a one-line change and a look at their status: the first one builds, a second one fetches."""
    directory, answers = work / f"recorded-{count}", work / f"answers-{count}"
    program = ("python", str(vms.ROOT / "bench/record.py"), str(answers))
    inventory(directory, count, source)
    try:
        run("lab/create.yml", directory, count)
        run("deploy.yml", directory, count)
        change(source, f"recorded {count}")
        run("deploy.yml", directory, count, program=program)
        run("plainstack.web.status", directory, count, program=program)
    finally:
        run("lab/destroy.yml", directory, count)
    return answers


def simulate(work: Path, counts: Sequence[int]) -> dict[int, tuple[Cost, float, Cost]]:
    """For each number of simulated servers a one-line change, the seconds from the first switch to the last, and a look at their status."""
    source, directory = work / "source", work / "simulated"
    records, found = {count: record(work, source, count) for count in (1, 2)}, {}
    for count in counts:
        change(source, f"{count} simulated")
        shutil.copytree(work / f"recorded-{min(count, 2)}", directory, dirs_exist_ok=True)
        hosts = [f"simulated-{number}" for number in range(1, count + 1)]
        group = {"hosts": dict.fromkeys(hosts), "vars": {"ansible_connection": "recorded"}}
        (directory / "hosts.yml").write_text(yaml.safe_dump({"app_servers": group}), encoding="utf-8")
        with tempfile.TemporaryDirectory(dir=work) as counters:
            answers = str(records[min(count, 2)])
            settings = {"ANSIBLE_CONNECTION_PLUGINS": str(vms.ROOT / "bench/connection"), RECORDS: answers, COUNTERS: counters, FIRST: hosts[0]}
            cost = run("deploy.yml", directory, count, settings)
            ends = [float((Path(counters) / f"{host} step switch").read_text(encoding="utf-8").split()[-1]) for host in hosts]
            status = run("plainstack.web.status", directory, count, settings)
        found[count] = cost, max(ends) - min(ends), status
        print(f"{count} simulated servers: change {cost.total:.1f} s, first switch to last {found[count][1]:.1f} s, status {status.total:.1f} s", flush=True)
    return found


def slope(points: Sequence[tuple[int, float]]) -> float:
    """What each server adds, from the fewest to the most."""
    (few, least), (many, most) = min(points), max(points)
    return (most - least) / (many - few) if many > few else 0.0


def picture(found: dict[int, tuple[Cost, Cost, Cost]]) -> None:
    """Draw time and CPU against the number of servers."""
    rows = [f"{count} {change.total} {change.cpu} {nothing.total} {change.steps['switch']}" for count, (change, nothing, _status) in found.items()]
    data = "$data << EOD\n" + "\n".join(rows) + "\nEOD\n"
    plots = [("2", "change, s"), ("3", "change, controller's CPU, s"), ("4", "no change, s"), ("5", "the switch of it, s")]
    lines = ", ".join(f'$data using 1:{column} with linespoints linewidth 2 title "{title}"' for column, title in plots)
    settings = (
        f"set terminal png size 900,540; set output '{PICTURE}'; set key left top; set grid; set xlabel 'servers'; set ylabel 'seconds'; set yrange [0:*]"
    )
    vms.command(["gnuplot"], f"{data}{settings}\nplot {lines}\n".encode())


def simulation(found: Mapping[int, tuple[Cost, float, Cost]]) -> str:
    """The figures of the simulated servers as Markdown."""
    rows = [
        [f"{n}", f"{c.total:.1f}", f"{c.cpu:.1f}", f"{c.cpu / n:.2f}", f"{c.steps['switch']:.1f}", f"{spread:.1f}", f"{c.memory}", f"{status.total:.1f}"]
        for n, (c, spread, status) in found.items()
    ]
    most, several = max(found), min(n for n in found if n > ONE)
    growth = (found[most][0].cpu / most) / (found[several][0].cpu / several)
    spread = found[most][1]
    change = found[MANY][0].total / found[ONE][0].total
    status = found[MANY][2].total / found[ONE][2].total
    return f"""
## The controller alone

So many simulated servers, with as many forks: each answers as a real one did, after as long as that took. So the servers have cores of
their own, and what is left is the controller's work. A one-line change, and `status`.

{table("Servers | change | its CPU | CPU a server | switch, the task | first switch to last | controller, MiB | status", rows)}

{MANY} servers take {change:.1f} times as long as one; {aim(change <= AIM, f"at most {AIM} times")}. `status` takes {status:.1f} times as
long; {aim(status <= STATUS_AIM, f"at most {STATUS_AIM} times")}.

{most} servers have switched {spread:.0f} s after the first of them; {aim(spread <= WITHIN, f"at most {WITHIN} s")}. A server costs {growth:.1f} times
as much CPU with {most} as with {several}: what grows with the square of their number is Ansible's own handling of all hosts' variables.
"""


def document(found: dict[int, tuple[Cost, Cost, Cost]], simulated: Mapping[int, tuple[Cost, float, Cost]], load: float) -> str:
    """The figures as Markdown."""
    rows = []
    for count, (change, nothing, status) in found.items():
        steps = [f"{change.steps[name]:.1f}" for name in STEPS]
        rows.append([f"{count}", *steps, f"**{change.total:.1f}**", f"{change.cpu:.1f}", f"{nothing.total:.1f}", f"{nothing.cpu:.1f}"])
        rows[-1] += [f"{status.total:.1f}", f"{change.memory}"]
    first, last = min(found), max(count for count in found if count <= 16)
    times = found[last][0].total / found[first][0].total
    looks = found[last][2].total / found[first][2].total
    each = slope([(count, change.total) for count, (change, *_) in found.items()])
    cpu = slope([(count, change.cpu) for count, (change, *_) in found.items()])
    fork = slope([(count, change.memory) for count, (change, *_) in found.items()])
    cores = os.cpu_count() or 1
    return f"""# What a fleet costs

Written by `make bench-fleet` on {datetime.datetime.now(datetime.UTC):%Y-%m-%d}: a deploy of a one-line change and one without a change, to so many
servers at once, with as many `forks` as servers. Seconds; the controller's CPU is that of `ansible-playbook` and all that it started.

{table("Servers | " + " | ".join(STEPS) + " | change | its CPU | no change | its CPU | status | controller, MiB", rows)}

![time and CPU against the number of servers](fleet-cost.png)

One server does all from the switch on in one call. {last} servers take {times:.1f} times as long as {first}; {aim(times <= AIM, f"at most {AIM} times")}.
*Confirm* has the two seconds for which a release is watched.

`status` of {last} servers takes {looks:.1f} times as long as of {first}; {aim(looks <= STATUS_AIM, f"at most {STATUS_AIM} times")}.

- {cores} cores ({machine_of()}); load {load:.1f} before the run. The servers are containers of {MEMORY} MiB on the same
  machine: they and the controller share its cores, and that is the limit here. What each server adds, {each:.2f} s, is
  in part its own work (building, starting, its workers) on cores that real servers bring along.
- Of it {cpu:.2f} s are CPU of the controller, so with real servers the controller's cores are the limit: if it stays a line, a change
  on 500 servers needs {500 * cpu / 60:.0f} minutes of CPU, {500 * cpu / 8 / 60:.0f} minutes on eight cores. With as many forks as servers its memory
  grows by {fork:.0f} MiB a server, {500 * fork / 1024:.1f} GiB for 500. With fewer forks each step takes several turns, the switch too.
{simulation(simulated)}"""


def main() -> int:
    """Run everything; 1 when something could not be measured."""
    parser = argparse.ArgumentParser(description="Measure how the cost of a deploy grows with the number of servers.")
    parser.add_argument("counts", nargs="*", type=int, help="how many servers; without, all are measured and the documents are written")
    asked = parser.parse_args().counts
    load = os.getloadavg()[0]
    free = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_AVPHYS_PAGES") // 2**20
    counts = [count for count in asked or COUNTS if count * MEMORY <= free - SPARE]
    simulated = [count for count in asked if count not in counts] if asked else SIMULATED
    try:
        install_tools({"gnuplot": "gnuplot-nox"})
        vms.command([str(vms.ROOT / ".venv/bin/ansible-playbook"), "lab/provisioned.yml"])
        with tempfile.TemporaryDirectory(prefix="plainstack-bench-") as work:
            shutil.copytree(vms.ROOT / "app_example", Path(work) / "source", ignore=shutil.ignore_patterns("__pycache__", ".*_cache", "instance"))
            found = measure(Path(work), counts)
            alone = simulate(Path(work), sorted({ONE, MANY, *simulated}))
    except vms.BenchError as error:
        print(f"\n{error}\nNothing was written; the servers are removed.", file=sys.stderr)
        return 1
    text = document(found, alone, load)
    if not asked:
        DOCUMENT.parent.mkdir(exist_ok=True)
        DOCUMENT.write_text(text, encoding="utf-8")
        picture(found)
    print(f"\n{text}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
