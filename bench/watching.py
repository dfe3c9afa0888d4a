"""What watching a server costs: the programs that a timer starts, and how long `status` takes."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, field

from vms import ROOT, STACK, playbook, script

LOOKS = 10
ALERTS, METRICS = 30, 30  # seconds between two looks, as the roles have them
TIMED = """
systemctl stop plainstack-{name}.timer
while systemctl is-active plainstack-{name}.service | grep -q activating; do sleep 0.2; done
TIMEFORMAT='%U %S'
for look in $(seq {looks}); do {{ time python3 -I /usr/local/lib/plainstack/{name}.pyz >/dev/null 2>&1; }} 2>&1; sleep 1; done
"""
RESTING = "systemctl show --property=MemoryCurrent --value plainstack-alerts.service plainstack-metrics.service; pgrep --count --full '[.]pyz' || :"


@dataclass
class Watching:
    """Seconds of CPU of each look, seconds of each `status`, and the processes that are left between two looks."""

    alerts: list[float] = field(default_factory=list)
    metrics: list[float] = field(default_factory=list)
    status: list[float] = field(default_factory=list)
    resident: int = 0


def _looks(name: str) -> list[float]:
    """Seconds of CPU, its own and the kernel's, of it and all that it starts."""
    printed = script(STACK, TIMED.format(name=name, looks=LOOKS))
    return [float(user) + float(system) for user, system in (line.split() for line in printed.strip().splitlines())]


def _run(name: str, **variables: object) -> None:
    """Run a playbook of the collection; none of these reads the source."""
    playbook(f"plainstack.web.{name}", "--extra-vars", json.dumps({"bench_source": str(ROOT / "app_example"), **variables}))


def measure() -> Watching:
    """Measure on the VM that deploy.yml has set up already."""
    print("watching", flush=True)
    _run("alerts", alerts_targets=["json://127.0.0.1:9/"], alerts_deploys=False)
    _run("monitoring", monitoring_address="127.0.0.1")
    result = Watching(alerts=_looks("alerts"), metrics=_looks("metrics"))
    result.resident = int(script(STACK, RESTING).split()[-1])
    for _turn in range(3):
        began = time.monotonic()
        _run("status")
        result.status.append(time.monotonic() - began - 1)  # `playbook` waits for a second
    _run("alerts", alerts_targets=[])
    _run("monitoring", monitoring_address="")
    return result
