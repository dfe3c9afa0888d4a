"""A deploy beside what most people have: a playbook as tutorials show it; and beside the least that Ansible can do."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

from deploys import CHANGED, of
from load import Tally, site, steady
from vms import STACK, TUTORIAL, VM, BenchError, answer, playbook

CLIENTS = 10
BEFORE, AFTER = 1.0, 3.0  # seconds of load before the deploy begins, and after it has ended


@dataclass
class Beside:
    """Seconds of the tutorial's playbook and of a ping; of both deploys under load what the clients saw; and of deploy.yml its tasks and round trips."""

    change: list[float] = field(default_factory=list)
    nothing: list[float] = field(default_factory=list)
    ping: list[float] = field(default_factory=list)
    tutorial: Tally = field(default_factory=Tally)
    ours: Tally = field(default_factory=Tally)
    of_change: tuple[int, int] = (0, 0)
    of_nothing: tuple[int, int] = (0, 0)


def seconds(path: str, *arguments: str) -> float:
    """How long a playbook takes."""
    began = time.monotonic()
    playbook(path, *arguments)
    return time.monotonic() - began


def edit(source: Path, mark: str) -> None:
    """Change one line of the app."""
    page = source / CHANGED
    text = page.read_text(encoding="utf-8")
    page.write_text(re.sub(r"(<!-- bench-\S+ -->)?\n", f"<!-- bench-{mark} -->\n", text, count=1), encoding="utf-8")


def see(vm: VM, mark: str) -> None:
    """Check that a VM serves the change."""
    status, body = answer(vm, "/")
    if status != 200 or f"bench-{mark}".encode() not in body:
        raise BenchError(f"{vm.name} was deployed to without an error, and its page does not show the change")


def under_load(vm: VM, deploy: Callable[[], float], took: float) -> Tally:
    """What clients see while it is deployed.

    :param took: seconds that such a deploy has taken.
    """

    async def event() -> None:
        await asyncio.to_thread(deploy)

    return asyncio.run(steady(site(vm), "/", CLIENTS, BEFORE + took * 1.5 + AFTER, BEFORE, event))


def cost(source: Path) -> tuple[int, int]:
    """Tasks of a run of deploy.yml, and its round trips to the server."""
    output = playbook("deploy.yml", "-vvv", *of(source))
    return len(re.findall(r"^TASK \[", output, re.MULTILINE)), output.count("SSH: EXEC")


def measure(source: Path, again: int, change: float) -> Beside:
    """Measure on the VMs of bench/inventory.

    :param source: the copy of the app that was deployed.
    :param change: seconds that deploy.yml takes for a one-line change.
    """
    result = Beside()
    print("beside a tutorial's playbook", flush=True)
    playbook("bench/tutorial.yml", *of(source))
    for number in range(again):
        edit(source, f"tutorial-{number}")
        result.change.append(seconds("bench/tutorial.yml", *of(source)))
        see(TUTORIAL, f"tutorial-{number}")
        result.nothing.append(seconds("bench/tutorial.yml", *of(source)))
        result.ping.append(seconds("bench/ping.yml"))
        print(f"  change {result.change[-1]:.1f} s, no change {result.nothing[-1]:.1f} s, ping {result.ping[-1]:.1f} s", flush=True)
    edit(source, "load")
    result.tutorial = under_load(TUTORIAL, lambda: seconds("bench/tutorial.yml", *of(source)), median(result.change))
    see(TUTORIAL, "load")
    result.ours = under_load(STACK, lambda: seconds("deploy.yml", *of(source)), change)
    see(STACK, "load")
    result.of_nothing = cost(source)
    edit(source, "cost")
    result.of_change = cost(source)
    return result
