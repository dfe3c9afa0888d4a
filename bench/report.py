"""The measured figures as docs/benchmarks.md: what, how, and what they do not show."""

from __future__ import annotations

import datetime
import os
import platform
import re
import textwrap
from collections.abc import Sequence
from pathlib import Path
from statistics import median

from across import CLIENTS, EVERY, JOB, ORDERED, Across
from deploys import Deploys
from layers import KILL_AFTER, KILL_CLIENTS, KILL_SECONDS, PROBE_TIMEOUT, PROBES, SLOW_CLIENTS, Layers
from load import Tally
from many import COUNT, Many
from tuned import Throughput
from tutorial import Beside
from vms import FLOOR, ROOT, command, script
from watching import ALERTS, LOOKS, METRICS, Watching


def machine_of() -> str:
    """The processor of this machine."""
    model = re.search(r"^model name\s*: (.*)$", Path("/proc/cpuinfo").read_text(encoding="utf-8"), re.MULTILINE)
    return model[1] if model else platform.machine()


def machine(load: float) -> list[str]:
    """Where it was measured, as lines of a list.

    :param load: load average of a minute before the run began.
    """
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    guest = script(
        FLOOR,
        """
        . /etc/os-release
        echo "$PRETTY_NAME ($(cat /etc/debian_version)), $(nginx -v 2>&1 | cut -d ' ' -f 3 | tr / ' ')"
        /srv/hello/venv/bin/python -V
        /srv/hello/venv/bin/python -c 'from importlib.metadata import version; print(*(name + " " + version(name) for name in ("gunicorn", "flask")), sep=", ")'
        """,
    )
    ansible = command([f"{ROOT}/.venv/bin/ansible", "--version"]).split("]")[0].replace("[", "")
    tools = f"{ansible}, {command(['podman', '--version']).strip()}, {command(['h2load', '--version']).strip()}"
    commit = command(["git", "describe", "--always", "--dirty"]).strip() if (ROOT / ".git").exists() else "without git"
    return [
        f"{os.cpu_count()} cores ({machine_of()}), {memory:.0f} GiB of memory, Linux {platform.release()}; load {load:.1f} before the run",
        f"VMs: systemd containers with all the cores and 1 GiB, {', '.join(guest.splitlines())}",
        f"Controller and load on the same machine: {tools}",
        f"{datetime.datetime.now(datetime.UTC):%Y-%m-%d}, commit {commit}",
    ]


def table(head: str, rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table; `head` has its columns between bars."""
    columns = head.split(" | ")
    lines = [columns, ["---"] + ["--:"] * (len(columns) - 1), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def runs(values: Sequence[float], digits: int = 1) -> str:
    """Every value that a median was taken of."""
    return ", ".join(f"{value:.{digits}f}" for value in values)


def paragraphs(text: str) -> str:
    """The same with its paragraphs and list items in lines that can be read in an editor; tables and headings stay."""
    done = []
    for part in text.split("\n\n"):
        if part.startswith(("|", "#", "!")):
            done.append(part)
        elif part.startswith("- "):
            done.append("\n".join(textwrap.fill(item, 120, subsequent_indent="  ", break_on_hyphens=False) for item in part.split("\n")))
        else:
            done.append(textwrap.fill(part, 120, break_long_words=False, break_on_hyphens=False))
    return "\n\n".join(done)


def aim(holds: bool, text: str) -> str:
    """An aim and whether it was met."""
    return f"{text}: {'met' if holds else '**missed**'}"


def of_deploys(result: Deploys) -> str:
    """The table of deploys, and what a release costs."""
    floor = [watch.first for watch in result.floor]
    base = median(floor)

    def row(what: str, values: Sequence[float], wanted: str = "") -> list[str]:
        return [what, f"{median(values):.1f}", f"{median(values) / base:.2f}", runs(values), wanted]

    first = [watch.end for watch in result.first]
    return "\n\n".join(
        [
            table(
                "Run | Seconds | To the floor | Each run | Aim",
                [
                    row("Floor: a bare shell script, until HTTPS answers", floor),
                    row("The same with a certificate from certbot", [watch.end for watch in result.floor]),
                    row("`deploy.yml` on a bare VM, until HTTPS answers", [watch.first for watch in result.first]),
                    row("`deploy.yml` on a bare VM, whole", first, aim(median(first) / base <= 1.6, "at most 1.6 x the floor")),
                    row("`deploy.yml` after a one-line change", result.change, aim(median(result.change) <= 7, "at most 7 s")),
                    row("`deploy.yml` with no change", result.nothing, aim(median(result.nothing) <= 3, "at most 3 s")),
                    row("`rollback.yml`", result.rollback, aim(median(result.rollback) <= 4, "at most 4 s")),
                ],
            ),
            table(
                "A release with unchanged requirements | Median | Each | Aim",
                [
                    ["Disk that it does not share, MB", f"{median(result.disk):.2f}", runs(result.disk, 2), aim(median(result.disk) < 1, "under 1")],
                    ["Memory that it holds, MiB, with 2 workers a core + 1", f"{median(result.memory):.0f}", runs(result.memory, 0), ""],
                    ["Seconds to build", f"{median(result.build):.2f}", runs(result.build, 2), aim(median(result.build) < 1, "under 1")],
                ],
            ),
        ]
    )


OTHERS = """\
Other measurements have pages of their own, each with its date: failed requests of [releases under load](releases.md) and of \
[a fleet under load](fleet-load.md), and [what a fleet costs](fleet-cost.md) in seconds and CPU."""

DEPLOYS_HOW = """\
How: floor and `deploy.yml` each on a fresh VM, in turn; the script (`bench/floor.sh`) over one SSH session, `deploy.yml` as a user starts it, over \
new SSH connections every time. A thread asks for `/healthz` over HTTPS every 50 ms. "Whole" is until the command has ended, with the certificate \
from the ACME server (Pebble) in use. Seconds are medians. Disk is `du` of the newest release after the one before it, so inodes that both have \
count for the first; time is `build_seconds` in its `release.json`. Memory is the Pss of its processes, and what a deploy needs besides while both \
instances run. A deploy watches the new release for 2 s (`confirm_seconds`), which is in its seconds; a rollback asks it once.

What this does not show: the floor has no users, limits, sandbox, health check, renewal hook or rollback, and its packages come from the same mirrors at \
another moment, so the network's mood is in the ratio. SSH here is over loopback; a server 50 ms away adds its round trips to every task of `deploy.yml` \
and hardly any to the script. One app on one host; a container boots without a kernel of its own."""

LAYERS_HOW = """\
How: `flask run` and Gunicorn alone run on a TCP port of the floor's VM, without TLS; the floor (nginx and a plain unit) and the deployed stack over HTTPS. \
Same app, same environment, and except for `flask run` the same workers (2 a core + 1) with 4 threads each."""

LAYERS_NOT = """\
What this does not show: Flask's server starts a thread for each request, without a limit, so ten at once or 200 slow clients need not stop it; \
Gunicorn has a fixed number of \
threads, which is why slow clients belong to nginx. A Gunicorn worker accepts more connections than it has threads, so now and then ten at once \
queue in one worker while another could take them (the likely cause of a worst case of 1 s or more). One process of each kind is \
killed, once, so the failed requests are those of that moment. Slow readers of answers are not measured. Load and servers share the cores."""


def of_beside(deploys: Deploys, beside: Beside) -> str:
    """The tables beside a tutorial's playbook, and beside a ping."""
    change, nothing, ping = median(beside.change), median(beside.nothing), median(beside.ping)
    ours, idle, back = (median(found) for found in (deploys.change, deploys.nothing, deploys.rollback))

    def failed(tally: Tally) -> str:
        return f"{tally.failed} of {tally.failed + tally.good}, longest silence {tally.silence:.1f} s"

    def to_ping(value: float, most: float) -> str:
        return f"{value / ping:.1f} ({aim(value / ping <= most, f'at most {most}')})"

    def cost(found: tuple[int, int], tasks: int, trips: int) -> list[str]:
        holds = [aim(found[0] <= tasks, f"at most {tasks}"), aim(found[1] <= trips, f"at most {trips}")]
        return [f"{found[0]} ({holds[0]})", f"{found[1]} ({holds[1]})"]

    return "\n\n".join(
        [
            table(
                "Run | A tutorial's playbook | `deploy.yml` | Ratio",
                [
                    ["One-line change, s", f"{change:.1f}", f"{ours:.1f}", f"{ours / change:.2f} ({aim(ours / change <= 0.4, 'at most 0.4')})"],
                    ["No change, s", f"{nothing:.1f}", f"{idle:.1f}", f"{idle / nothing:.2f}"],
                    ["Requests failed while it deploys a change", failed(beside.tutorial), failed(beside.ours), aim(not beside.ours.failed, "0")],
                ],
            ),
            table(
                "`deploy.yml` | To a playbook with one `ping` | Tasks | Round trips to the server",
                [
                    ["One-line change", to_ping(ours, 5), *cost(beside.of_change, 22, 4)],
                    ["No change", to_ping(idle, 2.2), *cost(beside.of_nothing, 22, 1)],
                    ["`rollback.yml`", to_ping(back, 3), "", ""],
                ],
            ),
        ]
    )


BESIDE_HOW = """\
How: `bench/tutorial.yml` copies the source, installs the requirements into one environment, restarts the service and reloads nginx, with the same \
`ansible.cfg`, on a VM of its own. Load: ten clients on kept connections, from a second before the deploy until after its end. `bench/ping.yml` has one \
task. Round trips are the commands that `-vvv` shows. A change with `deploy.yml` has 2 s of watching in it.

What this does not show: the tutorial's playbook takes longer with each file of the source, and fails more requests the longer an app takes to start."""


def of_layers(result: Layers) -> str:
    """The tables of layers."""
    names = {
        "flask": "`flask run`",
        "flask alone": "`flask run --without-threads`",
        "gunicorn": "Gunicorn alone",
        "floor": "nginx, Gunicorn in a plain unit",
        "stack": "Deployed stack",
    }

    def milliseconds(seconds: float) -> str:
        return f"{seconds * 1000:.0f} ms" if seconds else "-"

    def killed(name: str, what: str) -> str:
        tally: Tally | None = result.killed.get((name, what))
        if tally is None:
            return "has none"
        share = f"{tally.failed} of {tally.good + tally.failed} failed"
        return f"{share}, longest silence {tally.silence:.1f} s" if tally.alive else f"{share}: down until somebody starts it"

    static, nginx = median(result.static["flask"]), median(result.static["nginx"])
    return "\n\n".join(
        [
            table(
                "Ten requests at once, each of half a second | Median until all are answered | Worst",
                [[names[name], f"{median(took):.2f} s", f"{max(took):.2f} s"] for name, took in result.ten.items()],
            ),
            table(
                f"{SLOW_CLIENTS} clients that send a byte a second | Quick requests answered without them | With them",
                [
                    [names[name], f"{alone} of {PROBES}, {milliseconds(fast)}", f"{beside} of {PROBES}, {milliseconds(slow)}"]
                    for name, (alone, fast, beside, slow) in result.slow.items()
                ],
            ),
            table(
                "Static file (`style.css`) | Requests a second | Bytes for a browser",
                [
                    ["Through Flask, behind nginx", f"{static:.0f}", str(result.sent["flask"])],
                    ["From nginx, as deployed", f"{nginx:.0f} ({nginx / static:.0f} x)", f"{result.sent['nginx']} (Brotli)"],
                ],
            ),
            table(
                "Killed with -9 under load | A worker | The master",
                [[names[name], killed(name, "worker"), killed(name, "master")] for name in ("flask", "gunicorn", "floor", "stack")],
            ),
            f"A quick request counts when it is answered within {PROBE_TIMEOUT:.0f} s; one begins every 100 ms. The kills happen {KILL_AFTER} s into "
            f"{KILL_SECONDS} s of {KILL_CLIENTS} clients, each asking for 50 ms of work at a time.",
        ]
    )


def of_tuned(result: Throughput) -> str:
    """The table of requests a second."""
    ratio = result.ratio()
    return "\n\n".join(
        [
            table(
                "Requests a second, over HTTPS | Median | To the best | Each run",
                [
                    [f"Best tuned by hand: {result.best}", f"{median(result.tuned):.0f}", "1", runs(result.tuned, 0)],
                    ["Deployed stack", f"{median(result.deployed):.0f}", f"{ratio:.2f} ({aim(ratio >= 0.92, 'aim 0.92')})", runs(result.deployed, 0)],
                ],
            ),
            "Tried once each to find the best: " + "; ".join(f"{name} {rate:.0f}" for name, rate in result.tried.items()) + ".",
        ]
    )


TUNED_HOW = """\
How: `h2load --h1`, 20 kept connections, `/api/whoami`, after a second of warm-up; tuned and deployed in turn on VMs of the same size. The ratio is the \
median of those of neighbouring runs. Tuned by hand: Gunicorn (gthread, preloaded) on a unix socket behind nginx, with no sandbox, no restart of workers, \
no security headers and no limits.

What this does not show: an app that does more hides the difference, and h2load takes its part of the same cores."""


def of_many(result: Many) -> str:
    """The table of deploys to a server with many apps."""
    return table(
        f"`deploy.yml` of {COUNT} apps on one server | Seconds | Each run | Aim",
        [
            ["One of them changed", f"{median(result.change):.1f}", runs(result.change), aim(median(result.change) <= 9, "at most 9 s")],
            ["No change", f"{median(result.nothing):.1f}", runs(result.nothing), aim(median(result.nothing) <= 4, "at most 4 s")],
        ],
    )


MANY_HOW = """\
How: copies of app_example with a worker each and a certificate of their own, in one inventory; measured last, on the same VM."""


def of_across(result: Across) -> str:
    """What those who are connected, and jobs, notice of a deploy."""
    away = sorted(result.away)
    return table(
        f"One deploy of two apps, in {result.deploys[0]:.1f} s | Measured",
        [
            [f"{CLIENTS} WebSockets, a message each {EVERY * 1000:.0f} ms: answered", f"{result.answered}"],
            ["Sent as the old release closed the connection, and not answered", f"{result.unanswered}"],
            ["From the last answer of the old release to the first of the new one, ms: median, longest", f"{median(away) * 1000:.0f}, {away[-1] * 1000:.0f}"],
            [f"A job of {JOB} s that had begun before", "ended in its own release" if result.ended else "**was cut**"],
            [f"Jobs that were ordered every {ORDERED * 1000:.0f} ms: done; longest pause between two", f"{result.jobs}; {result.pause * 1000:.0f} ms"],
        ],
    )


ACROSS_HOW = """\
How: the apps of `molecule/apps`, a chat on Gunicorn's ASGI worker with a `timeout` of 5 s, and a shop with a Huey worker, on the same VM. The clients \
connect anew as soon as they are closed."""


WATCHING_HOW = f"""
How: on the VM of `deploy.yml` with one app that nobody visits, {LOOKS} looks of each program, as its timer starts it, with all that it starts; a core
has so many seconds between two looks. `status` as a user starts it, over new SSH connections. What this does not show: logs of a busy site, of which
the last five minutes are read, by alerts each two minutes, for metrics each time.
"""


def of_watching(watching: Watching) -> str:
    """What runs while nobody deploys."""
    rows = []
    for name, each, every, aim in (("Alerts", watching.alerts, ALERTS, " (at most 1 %: {})"), ("Metrics for Prometheus", watching.metrics, METRICS, "")):
        share = median(each) / every
        rows.append([name, f"{median(each):.2f}", f"each {every} s", f"{share:.1%}{aim.format('met' if share <= 0.01 else '**missed**')}"])
    resident = "none" if watching.resident == 0 else f"**{watching.resident}**"
    return (
        f"{table('Program | CPU of a look, s | Looks | Of a core', rows)}\n\n"
        f"Processes that are left between two looks: {resident}. `status` of one server: {median(watching.status):.1f} s."
    )


def document(
    where: Sequence[str],
    deploys: Deploys,
    many: Many,
    across: Across,
    beside: Beside,
    layers: Layers,
    tuned: Throughput,
    watching: Watching,
    seconds: float,
) -> str:
    """The whole page."""
    parts = [
        "# Benchmarks",
        f"Written by `make bench` ({seconds / 60:.0f} min); every figure is of one run on one machine. Compare within it: the seconds are the machine's.",
        OTHERS,
        "\n".join(f"- {line}" for line in where),
        "## Deploys",
        of_deploys(deploys),
        DEPLOYS_HOW,
        of_many(many),
        MANY_HOW,
        "## Across a deploy",
        of_across(across),
        ACROSS_HOW,
        "## Beside a playbook as tutorials show it",
        of_beside(deploys, beside),
        BESIDE_HOW,
        "## What each layer is for",
        LAYERS_HOW,
        of_layers(layers),
        LAYERS_NOT,
        "## Beside the best by hand",
        of_tuned(tuned),
        TUNED_HOW,
        "## What watching costs",
        of_watching(watching),
        WATCHING_HOW,
    ]
    return paragraphs("\n\n".join(parts)) + "\n"
