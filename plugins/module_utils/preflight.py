"""What a host must be before anything is touched. Pure: the module measures, this judges."""

from __future__ import annotations

from dataclasses import dataclass

# Tested; others are refused, because a half-working server is worse than a clear no
SUPPORTED = {("debian", "12"): "Debian 12", ("debian", "13"): "Debian 13"}
WEB_SERVER = "nginx"


@dataclass(frozen=True)
class Host:
    """What was measured: os-release's ID and VERSION_ID, MiB of memory, MiB and inodes free below /srv, seconds that the
    clock differs from the controller's, and which programs other than nginx listen on the web ports."""

    system: str
    version: str
    pretty_name: str
    systemd: bool
    memory_mb: int
    disk_mb: int
    inodes: int
    clock_skew: float
    listeners: dict[int, str]
    foreign_sites: tuple[str, ...] = ()


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
    if (host.system, host.version) not in SUPPORTED:
        found.append(f"it runs {host.pretty_name or 'an unknown system'}; supported are {' and '.join(SUPPORTED.values())}. Use a host with one of these.")
    if not host.systemd:
        found.append("systemd is not its init system; Plainstack needs a host that booted with systemd.")
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
    found += [
        f"port {port} is taken by {program}, and nginx needs it. Stop and disable it: 'sudo systemctl disable --now {program}'."
        for port, program in sorted(host.listeners.items())
        if program != WEB_SERVER
    ]
    return found
