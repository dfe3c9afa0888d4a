#!/usr/bin/env python3
"""Build the root file systems of the lab: what a cloud image has and no more.

    lab/image.py debian-12 debian-13 pebble

Each image is localhost/plainstack-lab/NAME:DIGEST, where the digest covers everything that goes
in, so that a changed recipe or CA certificate builds anew and anything else is a cache hit.
The tag `latest` is the one that lab/create.yml boots.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shlex
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

REPOSITORY = "localhost/plainstack-lab"
CONTAINERS_CONF = Path(__file__).resolve().with_name("containers.conf")
# A network that inspects TLS has its CA here on the host; without it nothing downloads in a VM either.
HOST_CAS = Path("/usr/local/share/ca-certificates")
CA_BUNDLE = "/etc/ssl/certs/ca-certificates.crt"


@dataclass(frozen=True)
class Recipe:
    """A Debian suite, the packages on top of `minbase`, files, a script and image settings."""

    suite: str
    packages: tuple[str, ...]
    files: tuple[tuple[str, str], ...] = ()  # (path, content)
    script: str = ""  # runs in the new root, `sh -eu`
    changes: tuple[str, ...] = ()  # Dockerfile instructions for `podman import`


# What the roles install from Debian; a VM that has it already shows the same in a fraction of the time
OF_THE_ROLES = (
    "certbot",
    "curl",
    "libnginx-mod-http-brotli-filter",
    "libnginx-mod-http-brotli-static",
    "logrotate",
    "nftables",
    "nginx",
    "python3-apt",
    "python3-venv",
    "ssl-cert",
)


def virtual_machine(suite: str, more: tuple[str, ...] = ()) -> Recipe:
    """Return the recipe of a Debian as a cloud provider hands it over, and of one with more packages."""
    return Recipe(
        suite=suite,
        packages=(
            "ca-certificates",
            "dbus",
            "iproute2",
            "libpam-systemd",
            "netbase",
            "openssh-server",
            "procps",
            "python3",
            "sudo",
            "systemd",
            "systemd-sysv",
            *more,
        ),
        files=(
            ("/etc/locale.conf", "LANG=C.UTF-8\n"),
            # The names that cloud-init uses, so that roles meet what they meet on a real server
            ("/etc/sudoers.d/90-cloud-init-users", "admin ALL=(ALL) NOPASSWD:ALL\n"),
            (
                "/etc/ssh/sshd_config.d/50-cloud-init.conf",
                "PermitRootLogin no\nPasswordAuthentication no\nKbdInteractiveAuthentication no\n",
            ),
            (
                "/etc/systemd/system/ssh-host-keys.service",
                "[Unit]\n"
                "Description=SSH host keys, made at first boot\n"
                "Before=ssh.service\n"
                "ConditionPathExists=!/etc/ssh/ssh_host_ed25519_key\n"
                "[Service]\n"
                "Type=oneshot\n"
                "ExecStart=/usr/bin/ssh-keygen -A\n"
                "[Install]\n"
                "WantedBy=multi-user.target\n",
            ),
        ),
        script="""
            useradd --create-home --shell /bin/bash --groups sudo admin
            install -d -m 0700 -o admin -g admin /home/admin/.ssh
            chmod 0440 /etc/sudoers.d/*
            rm -f /etc/ssh/ssh_host_*
            : > /etc/machine-id
            systemctl enable --quiet ssh-host-keys.service
            ln -sf ../locale.conf /etc/default/locale
            # The kernel and the consoles are the host's
            systemctl mask --quiet systemd-modules-load.service getty.target
        """,
        changes=('CMD ["/sbin/init"]', "STOPSIGNAL SIGRTMIN+3"),
    )


RECIPES = {
    "debian-12": virtual_machine("bookworm"),
    "debian-13": virtual_machine("trixie"),
    "debian-12-packages": virtual_machine("bookworm", OF_THE_ROLES),
    "debian-13-packages": virtual_machine("trixie", OF_THE_ROLES),
    "pebble": Recipe(
        suite="bookworm",
        packages=("ca-certificates", "pebble"),
        changes=('ENTRYPOINT ["/usr/bin/pebble"]',),
    ),
}


def as_root(*command: str) -> list[str]:
    """Return the command with sudo in front unless this process is root already."""
    environment = f"CONTAINERS_CONF={CONTAINERS_CONF}"
    return [*(["sudo"] if os.geteuid() else []), "env", environment, *command]


def tags(name: str) -> set[str]:
    """Return the tags that podman has of an image, such as {"1f0c…", "latest"}."""
    listing = subprocess.run(
        as_root("podman", "images", "--format={{.Tag}}", f"--filter=reference={REPOSITORY}/{name}"),
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    return set(listing.stdout.split())


def digest(recipe: Recipe, certificates: list[Path]) -> str:
    """Return 12 hex digits that stand for everything that goes into the image."""
    inputs = hashlib.sha256(json.dumps(asdict(recipe), sort_keys=True).encode())
    for certificate in certificates:
        inputs.update(certificate.name.encode() + b"\0" + certificate.read_bytes())
    return inputs.hexdigest()[:12]


def bootstrap(recipe: Recipe, certificates: list[Path], archive: Path) -> None:
    """Write the root file system that the recipe describes to a tar archive."""
    files = dict(recipe.files)
    script = recipe.script
    if certificates:
        script = f"update-ca-certificates\n{script}"
        # uv and pip bring their own CA bundles; sudo drops the variables unless told to keep them
        files["/etc/environment"] = f"SSL_CERT_FILE={CA_BUNDLE}\nPIP_CERT={CA_BUNDLE}\n"
        files["/etc/sudoers.d/host-ca"] = 'Defaults env_keep += "SSL_CERT_FILE PIP_CERT"\n'
    with tempfile.TemporaryDirectory() as overlay:
        for path, content in files.items():
            target = Path(overlay, path.lstrip("/"))
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(content)
        for certificate in certificates:
            target = Path(overlay, str(HOST_CAS).lstrip("/"), certificate.name)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(certificate.read_bytes())
        subprocess.run(
            as_root(
                "mmdebstrap",
                "--quiet",
                "--variant=minbase",
                f"--include={','.join(recipe.packages)}",
                # Owner and mode do not depend on who builds
                f'--customize-hook=tar -C {overlay} --owner=0 --group=0 --mode=u=rwX,go=rX -c . | tar -C "$1" --no-overwrite-dir -x',
                f'--customize-hook=chroot "$1" sh -euc {shlex.quote(script)}',
                recipe.suite,
                str(archive),
            ),
            check=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )


def build(name: str) -> str:
    """Build one image unless it is there, drop its older versions, and return a line that says what happened."""
    recipe = RECIPES[name]
    certificates = sorted(HOST_CAS.glob("*.crt"))
    tag = digest(recipe, certificates)
    present = tags(name)
    message = f"{name}: present ({tag})"
    if tag not in present:
        print(f"{name}: building Debian {recipe.suite} (about a minute)", flush=True)
        started = time.monotonic()
        with tempfile.TemporaryDirectory(dir="/var/tmp") as directory:
            archive = Path(directory, "root.tar")
            bootstrap(recipe, certificates, archive)
            changes = [f"--change={change}" for change in recipe.changes]
            subprocess.run(
                as_root("podman", "import", "--quiet", *changes, str(archive), f"{REPOSITORY}/{name}:{tag}"),
                check=True,
                stdout=subprocess.DEVNULL,
            )
        message = f"{name}: built in {time.monotonic() - started:.0f} s ({tag})"
    subprocess.run(as_root("podman", "tag", f"{REPOSITORY}/{name}:{tag}", f"{REPOSITORY}/{name}:latest"), check=True)
    for old in present - {tag, "latest"}:
        # Refused while a VM runs from it; a later build removes it then
        subprocess.run(as_root("podman", "rmi", f"{REPOSITORY}/{name}:{old}"), check=False, capture_output=True)
    return message


def main() -> None:
    parser = argparse.ArgumentParser(description="Build the images of the lab that are missing or out of date.")
    parser.add_argument("names", nargs="+", choices=RECIPES, metavar="NAME", help=", ".join(RECIPES))
    names = parser.parse_args().names
    # Two at a time: a build alternates between the network and one core
    with ThreadPoolExecutor(max_workers=2) as pool:
        builds = [(name, pool.submit(build, name)) for name in dict.fromkeys(names)]
        failed = False
        for name, future in builds:
            try:
                print(future.result(), flush=True)
            except subprocess.CalledProcessError as error:
                failed = True
                print(f"{error.stdout or ''}{name}: {shlex.join(error.cmd)} failed ({error.returncode})", file=sys.stderr)
    sys.exit(failed)


if __name__ == "__main__":
    main()
