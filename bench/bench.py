#!/usr/bin/env python3
"""Measure what docs/benchmarks.md says, in one run on fresh VMs, and write it to results/: `make bench`.

.venv/bin/python bench/bench.py            all of it, about 15 minutes
.venv/bin/python bench/bench.py --quick    each thing once and briefly, to see that it works; writes no file
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

import across
import deploys
import layers
import many
import report
import tuned
import tutorial
import vms
import watching

TOOLS = {"h2load": "nghttp2-client"}  # packages by their program
DOCUMENT = vms.ROOT / "results" / "benchmarks.md"  # `make docs` puts it into docs/


def install_tools(tools: dict[str, str]) -> None:
    """Install what measures, where it is missing.

    :param tools: packages by their program.
    :raises BenchError: with the command to run by hand.
    """
    missing = [package for program, package in tools.items() if shutil.which(program) is None]
    if not missing:
        return
    by_hand = f"sudo apt-get install {' '.join(missing)}"
    if shutil.which("apt-get") is None:
        raise vms.BenchError(f"The benchmarks need {', '.join(tools)}, and this machine has no apt to install it with. Install it, then run make bench again.")
    sudo = ["sudo", "--non-interactive"] if os.geteuid() else []
    if sudo and subprocess.run([*sudo, "true"], capture_output=True, check=False).returncode:
        raise vms.BenchError(f"Root is needed to install packages, and sudo wants a password. Run: {by_hand}")
    print(f"Installing{' with sudo' if sudo else ''}: {' '.join(missing)}", flush=True)
    vms.command([*sudo, "apt-get", "update", "--quiet", "--quiet"])
    quiet = ["--yes", "--quiet", "--quiet", "--no-install-recommends"]
    vms.command([*sudo, "env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "install", *quiet, *missing])


def main() -> int:
    """Run everything; 1 when something could not be measured."""
    parser = argparse.ArgumentParser(description="Measure what docs/benchmarks.md says and write it to results/.")
    parser.add_argument("--quick", action="store_true", help="each thing once and briefly; prints the tables and writes no file")
    quick = parser.parse_args().quick
    began = time.monotonic()
    load = os.getloadavg()[0]
    try:
        install_tools(TOOLS)
        try:
            with tempfile.TemporaryDirectory(prefix="plainstack-bench-") as work:
                of_deploys = deploys.measure(Path(work), fresh=1 if quick else 3, again=1 if quick else 3)
                beside = tutorial.measure(Path(work) / "app", 1 if quick else 3, median(of_deploys.change))
            of_watching = watching.measure()
            machine = report.machine(load)
            of_layers = layers.measure(repeats=1 if quick else 3, seconds=1 if quick else 3)
            of_tuned = tuned.measure(rounds=1 if quick else 5, seconds=1 if quick else 5)
            with tempfile.TemporaryDirectory(prefix="plainstack-bench-") as work:
                of_many = many.measure(Path(work), again=1 if quick else 3)
                of_across = across.measure(Path(work))
        finally:
            vms.destroy()
    except vms.BenchError as error:
        print(f"\n{error}\nNothing was written; the VMs of bench/inventory are removed.", file=sys.stderr)
        return 1
    text = report.document(machine, of_deploys, of_many, of_across, beside, of_layers, of_tuned, of_watching, time.monotonic() - began)
    if not quick:
        DOCUMENT.parent.mkdir(exist_ok=True)
        DOCUMENT.write_text(text, encoding="utf-8")
    print(f"\n{text}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
