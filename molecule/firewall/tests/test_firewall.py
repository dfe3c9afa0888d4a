"""Who gets through to HTTP and HTTPS, tried over the network between the two servers; runs after the role, and again after a reboot."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from testinfra.host import Host

from support import name_of

INVENTORY = Path(__file__).parents[2] / "inventory"
NETWORK = "10.0.0"
# The last number of addresses that a server has besides its own: one that the role was told of, and one that it was not
ADDRESSES = {"debian12": (2, 12), "debian13": (3, 13)}
PORTS = (80, 443, 8080)
# Says what becomes of a connection, and whether that took less than half a second
TRY = (
    "import socket, sys, time; began = time.monotonic(); word = 'answered'\n"
    "try: socket.create_connection((sys.argv[1], int(sys.argv[2])), 4, (sys.argv[3], 0)).close()\n"
    "except ConnectionRefusedError: word = 'refused'\n"
    "except TimeoutError: word = 'no answer'\n"
    "print(word, 'at once' if time.monotonic() - began < 0.5 else 'late')"
)

Connect = Callable[[int, int], str]


def _ready(host: Host) -> None:
    """Addresses and servers, which a reboot takes."""
    for last in ADDRESSES[name_of(host)]:
        host.check_output(f"ip address replace {NETWORK}.{last}/24 dev eth0")
    for port in PORTS:  # what Debian's nginx has already is as good
        listens = f"ss -Hltn sport = :{port} | grep -q ."
        host.check_output(f"{listens} || systemd-run --quiet --collect python3 -m http.server {port} --directory /usr/share/doc")
        host.check_output(f"timeout 20 sh -c 'until {listens}; do sleep 0.1; done'")


@pytest.fixture
def connect(host: Host) -> Connect:
    """A function that tries a port of the host from an address of the other one, by its last number."""
    [other] = {*ADDRESSES} - {name_of(host)}
    neighbour = host.get_host(f"ansible://{other}?ansible_inventory={INVENTORY}&sudo=True")
    for server in (host, neighbour):
        _ready(server)
    named, _ = ADDRESSES[name_of(host)]

    def connect(port: int, last: int) -> str:
        return str(neighbour.check_output("python3 -c %s %s %s %s", TRY, f"{NETWORK}.{named}", str(port), f"{NETWORK}.{last}"))

    return connect


@pytest.fixture
def other(host: Host) -> tuple[int, int]:
    """The addresses of the other server: the one that the role was told of, and the one that it was not."""
    [addresses] = (addresses for name, addresses in ADDRESSES.items() if name != name_of(host))
    return addresses


@pytest.mark.parametrize("port", [80, 443])
def test_a_named_address_gets_through(port: int, connect: Connect, other: tuple[int, int]) -> None:
    assert connect(port, other[0]) == "answered at once"


@pytest.mark.parametrize("port", [80, 443])
def test_any_other_is_refused_at_once(port: int, connect: Connect, other: tuple[int, int]) -> None:
    """Not dropped: whoever has the wrong address reads so, instead of waiting."""
    assert connect(port, other[1]) == "refused at once"


def test_other_ports_are_as_they_were(connect: Connect, other: tuple[int, int]) -> None:
    assert [connect(8080, last) for last in other] == ["answered at once"] * 2


def test_the_server_reaches_itself(host: Host, connect: Connect) -> None:
    """The health check of a deploy goes through this server's own nginx."""
    own = ADDRESSES[name_of(host)][1]
    for address in ("127.0.0.1", f"{NETWORK}.{own}"):
        assert host.check_output("python3 -c %s %s 80 %s", TRY, address, address) == "answered at once"


def test_the_rules_are_loaded_at_boot(host: Host) -> None:
    assert host.service("plainstack-firewall").is_enabled
    assert host.service("plainstack-firewall").is_running
