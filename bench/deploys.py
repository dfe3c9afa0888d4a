"""How long a deploy takes beside the floor, and what a release costs."""

from __future__ import annotations

import io
import json
import re
import shutil
import tarfile
from dataclasses import dataclass, field
from pathlib import Path

from vms import FLOOR, ROOT, STACK, STATE, BenchError, Watch, answer, create, playbook, script, watched

CHANGED = Path("hello/templates/base.html")


@dataclass
class Deploys:
    """Seconds of each run; and of each release made by a one-line change its MB of disk, seconds to build and MiB of memory."""

    floor: list[Watch] = field(default_factory=list)
    first: list[Watch] = field(default_factory=list)
    change: list[float] = field(default_factory=list)
    nothing: list[float] = field(default_factory=list)
    rollback: list[float] = field(default_factory=list)
    memory: list[float] = field(default_factory=list)
    disk: list[float] = field(default_factory=list)
    build: list[float] = field(default_factory=list)


def floor(source: Path) -> Watch:
    """Run the shell script on its bare VM."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as tar:
        tar.add(source, "app")
        tar.add(STATE / "pebble" / "ca.pem", "ca.pem")
    with watched(FLOOR) as watch:
        script(FLOOR, (ROOT / "bench" / "floor.sh").read_text(encoding="utf-8"), packed.getvalue())
    return watch


def of(source: Path) -> tuple[str, str]:
    """The variable of bench/inventory that says where the app is."""
    return "--extra-vars", json.dumps({"bench_source": str(source)})


def deploy(source: Path) -> tuple[Watch, int]:
    """Run deploy.yml: the seconds, and how many tasks changed something."""
    with watched(STACK) as watch:
        output = playbook("deploy.yml", *of(source))
    changed = re.search(r"\bchanged=(\d+)", output)
    if changed is None:
        raise BenchError(f"{output}\nthe deploy had no result for {STACK.name}")
    return watch, int(changed[1])


def change(source: Path, number: int) -> float:
    """Deploy after a change of one line, and see the change in the page."""
    page = source / CHANGED
    mark = f"bench-change-{number}"
    text = page.read_text(encoding="utf-8")
    page.write_text(re.sub(r"(<!-- bench-change-\d+ -->)?\n", f"<!-- {mark} -->\n", text, count=1), encoding="utf-8")
    watch, _ = deploy(source)
    status, body = answer(STACK, "/")
    if status != 200 or mark.encode() not in body:
        raise BenchError("the deploy of a one-line change ended without an error, and the page does not show the change")
    return watch.end


def nothing(source: Path) -> float:
    """Deploy what is live already."""
    watch, changed = deploy(source)
    if changed:
        raise BenchError(f"a deploy with no change reports changed={changed}")
    return watch.end


def rollback(source: Path) -> float:
    """Go back to the release before, and see that the page is the one from before."""
    before = answer(STACK, "/")[1]
    with watched(STACK) as watch:
        playbook("rollback.yml", *of(source))
    status, body = answer(STACK, "/")
    marks = [re.findall(rb"bench-change-\d+", page) for page in (before, body)]
    if status != 200 or marks[0] == marks[1]:
        raise BenchError("the rollback ended without an error, and the page is still the same")
    return watch.end


def memory() -> float:
    """MiB that the live instance holds: pages that its processes share count once."""
    output = script(STACK, "for process in $(pgrep -u hello); do grep ^Pss: /proc/$process/smaps_rollup; done")
    return sum(int(line.split()[1]) for line in output.splitlines()) / 1024


def newest_release() -> tuple[float, float]:
    """Of the newest release: MB of disk in inodes that it does not share with the one before, and seconds to build."""
    output = script(
        STACK,
        """
        cd /srv/hello/releases
        mapfile -t two < <(ls | tail -2)
        du -s --block-size=1 "${two[@]}" | tail -1 | cut -f 1 # du counts an inode once, for the first that has it
        cat "${two[1]}/release.json"
        """,
    )
    size, _, story = output.partition("\n")
    return int(size) / 1e6, float(json.loads(story)["build_seconds"])


def measure(work: Path, fresh: int, again: int) -> Deploys:
    """Measure: floor and first deploy on `fresh` pairs of new VMs, in turn; then the other deploys `again` times each.

    :param work: empty directory for the copy of the app, outside of the checkout.
    """
    result = Deploys()
    source = work / "app"
    for number in range(fresh):
        shutil.rmtree(source, ignore_errors=True)
        shutil.copytree(ROOT / "app_example", source, ignore=shutil.ignore_patterns("__pycache__", ".*_cache", "instance"))
        print(f"deploys: new VMs, the floor, then deploy.yml ({number + 1}/{fresh})", flush=True)
        create()
        result.floor.append(floor(source))
        result.first.append(deploy(source)[0])
        print(f"  floor {result.floor[-1].first:.1f} s, deploy.yml {result.first[-1].end:.1f} s", flush=True)
    for number in range(again):
        print(f"deploys: a one-line change, none, and back ({number + 1}/{again})", flush=True)
        result.change.append(change(source, number))
        disk, build = newest_release()
        result.disk.append(disk)
        result.build.append(build)
        result.memory.append(memory())
        result.nothing.append(nothing(source))
        result.rollback.append(rollback(source))
        print(f"  change {result.change[-1]:.1f} s, no change {result.nothing[-1]:.1f} s, rollback {result.rollback[-1]:.1f} s", flush=True)
    return result
