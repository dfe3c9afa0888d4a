"""What a host must be before anything is touched. Pure: the module measures, this judges."""

from __future__ import annotations

from dataclasses import dataclass

# The least that is needed: what the units, the configuration of nginx and the modules use. Debian 12 has just these.
SYSTEMD, PYTHON, NGINX, OPENSSL = (252,), (3, 11), (1, 22), (3,)
KNOWN = "Debian 12 and 13 are known to be fine; Ubuntu 24.04 and later have it too"
WEB_SERVER = "nginx"


@dataclass(frozen=True)
class Host:
    """What was measured: os-release's PRETTY_NAME, whether there is apt, versions (of systemd only where it is the init system, of nginx
    only where it is installed; else empty), MiB of memory, MiB and inodes free below /srv, seconds that the clock differs from the
    controller's, and which programs listen on the web ports."""

    pretty_name: str
    apt: bool
    systemd: tuple[int, ...]
    python: tuple[int, ...]
    openssl: tuple[int, ...]
    nginx: tuple[int, ...]
    memory_mb: int
    disk_mb: int
    inodes: int
    clock_skew: float
    listeners: dict[int, str]
    foreign_sites: tuple[str, ...] = ()
    # What to do about a certbot that is not Debian's package; empty where none is there, or certbot is not needed
    foreign_certbot: str = ""


@dataclass(frozen=True)
class Needs:
    """The least that is needed: MiB of memory, MiB and inodes free below /srv, and the most seconds of clock skew."""

    memory_mb: int
    disk_mb: int
    inodes: int
    clock_skew: int


def problems(host: Host, needs: Needs) -> list[str]:
    """Everything that keeps the host from being deployed to, each with what to do."""
    found = []
    system = host.pretty_name or "an unknown system"
    if not host.apt:
        found.append(f"it runs {system}, which has no apt-get. Use Debian or a system that comes from it; {KNOWN}.")
    if not host.systemd:
        found.append("systemd is not its init system; Plainstack needs a host that booted with systemd.")
    for program, have, least in (
        ("systemd", host.systemd or SYSTEMD, SYSTEMD),
        ("Python (/usr/bin/python3)", host.python, PYTHON),
        ("OpenSSL", host.openssl, OPENSSL),
        ("nginx", host.nginx or NGINX, NGINX),
    ):
        if have < least:
            found.append(
                f"it runs {system} with {program} {'.'.join(map(str, have)) or 'missing'}; {'.'.join(map(str, least))} or later is needed. "
                f"Use a host that has it; {KNOWN}."
            )
    if host.memory_mb < needs.memory_mb:
        found.append(f"it has {host.memory_mb} MiB of memory; {needs.memory_mb} MiB are needed (preflight_memory_mb). Give it more memory.")
    if host.disk_mb < needs.disk_mb:
        found.append(
            f"{host.disk_mb} MiB of disk are free for /srv; {needs.disk_mb} MiB are needed (preflight_disk_mb). "
            "Make room: 'sudo du -xh --max-depth=2 / | sort -h | tail' shows what is large."
        )
    if host.inodes < needs.inodes:
        found.append(f"{host.inodes} inodes are free for /srv; {needs.inodes} are needed (preflight_inodes). Remove small files, or make a larger file system.")
    if abs(host.clock_skew) > needs.clock_skew:
        found.append(f"its clock differs from this machine's by {round(host.clock_skew)} s; certificates need the right time. 'timedatectl' shows it.")
    if host.foreign_sites:
        found.append(
            f"nginx serves sites of its own there ({', '.join(host.foreign_sites)} in /etc/nginx/sites-enabled), which would go dark. "
            "Use another host, or give the sites up: 'sudo rm /etc/nginx/sites-enabled/NAME'."
        )
    if host.foreign_certbot:
        found.append(host.foreign_certbot)
    found += [
        f"port {port} is taken by {program}, and nginx needs it. Stop and disable it: 'sudo systemctl disable --now {program}'."
        for port, program in sorted(host.listeners.items())
        if program != WEB_SERVER
    ]
    return found
