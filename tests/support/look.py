"""Runs in a VM, as `python3 - APP`: prints all that a run could leave behind of an app, as JSON; see State in vm.py."""

from __future__ import annotations

import glob
import json
import os
import subprocess
import sys
from typing import Any

APP = sys.argv[1]
ROOT = f"/srv/{APP}"


def names(path: str) -> list[str]:
    return sorted(os.listdir(path)) if os.path.isdir(path) else []


def text(path: str) -> str:
    if not os.path.exists(path):
        return ""
    with open(path, encoding="utf-8") as stream:
        return stream.read()


def story(name: str) -> dict[str, Any] | None:
    told: dict[str, Any] | None = json.loads(text(f"{ROOT}/releases/{name}/release.json") or "null")
    return told


def units() -> dict[str, str]:
    command = ["systemctl", "list-units", "--plain", "--no-legend", "--all", f"{APP}@*"]
    listed = [line.split() for line in subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()]
    # systemd forgets a unit some time after it has ended
    return {unit.removeprefix(f"{APP}@"): state for unit, _loaded, state, *_ in listed if state != "inactive"}


def beside() -> list[str]:
    """Ids of the releases of which a process or a timer works beside the web server."""
    command = ["systemctl", "list-units", "--plain", "--no-legend", "--state=active,activating,deactivating", f"{APP}.*@*"]
    listed = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    return sorted({line.split()[0].split("@")[1].rsplit(".", 1)[0] for line in listed})


def main() -> None:
    patterns = (f"{ROOT}/*.new", f"{ROOT}/.plainstack-*", f"{ROOT}/releases/*/.plainstack-*", f"/etc/plainstack/{APP}/*/.plainstack-*")
    state = {
        "live": os.path.basename(os.readlink(f"{ROOT}/live")),
        "socket": os.path.basename(os.readlink(f"{ROOT}/live.sock")).removesuffix(".sock"),
        "releases": {name: story(name) for name in names(f"{ROOT}/releases")},
        "settings": names(f"/etc/plainstack/{APP}"),
        "unit_files": [name.removeprefix(f"{APP}@") for name in names("/etc/systemd/system") if name.startswith(f"{APP}@")],
        "units": units(),
        "beside": beside(),
        "enabled": sorted(os.path.basename(path).removeprefix(f"{APP}@") for path in glob.glob(f"/etc/systemd/system/*.wants/{APP}@*")),
        "lock": text(f"/run/plainstack-locks/{APP}"),
        "litter": [path for pattern in patterns for path in glob.glob(pattern)],
        "log": [json.loads(line) for line in text(f"/var/log/plainstack/{APP}.log").splitlines()],
    }
    print(json.dumps(state))


if __name__ == "__main__":
    main()
