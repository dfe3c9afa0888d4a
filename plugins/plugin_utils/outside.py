"""What visitors of a site would meet, seen from the controller."""

from __future__ import annotations

import contextlib
import errno
import socket
import ssl
from collections.abc import Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from ansible_collections.plainstack.web.plugins.module_utils.controller.doctor import Finding, of_caa, of_certificate, of_names, of_port

REACHED_WITHIN = 5  # seconds
NO_WAY = "this machine has no IPv6"
NO_IPV6 = "Addresses of IPv6 were not connected to: this machine has no way to them."
NO_CAA = "CAA records were not looked up: the Python package dnspython is not installed beside Ansible."


def resolve(name: str) -> set[str]:
    """The addresses of a name; none where it has none."""
    with contextlib.suppress(OSError, UnicodeError):
        return {str(found[4][0]) for found in socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)}
    return set()


def connect(address: str, port: int) -> str:
    """Why a connection cannot be made; empty where it can."""
    try:
        socket.create_connection((address, port), REACHED_WITHIN).close()
    except ConnectionRefusedError:
        return "refused"
    except TimeoutError:
        return f"no answer within {REACHED_WITHIN} s"
    except OSError as error:
        no_way = error.errno in (errno.ENETUNREACH, errno.EHOSTUNREACH, errno.EADDRNOTAVAIL) and ":" in address
        return NO_WAY if no_way else error.strerror or str(error)
    return ""


def verify(address: str, domain: str) -> str:
    """Why a browser would not trust the certificate of a domain; empty where it would, or nothing answers."""
    try:
        with (
            socket.create_connection((address, 443), REACHED_WITHIN) as connection,
            ssl.create_default_context().wrap_socket(connection, server_hostname=domain),
        ):
            return ""
    except ssl.SSLCertVerificationError as error:
        return error.verify_message
    except OSError:
        return ""


def caa(domain: str) -> set[str] | None:
    """Who may issue certificates for a domain by the CAA records of it or of what it belongs to (RFC 8659); None where there are none.

    :raises ImportError: without dnspython.
    """
    import dns.exception
    import dns.resolver

    labels = domain.split(".")
    for place in range(len(labels) - 1):
        try:
            answer = dns.resolver.resolve(".".join(labels[place:]), "CAA", lifetime=REACHED_WITHIN)
        except (dns.resolver.NoAnswer, dns.resolver.NXDOMAIN):
            continue
        except dns.exception.DNSException:
            return None
        named = [record for record in answer if record.tag.lower() == b"issue"]
        return {record.value.decode("ascii", "replace").split(";")[0].strip() for record in named} if named else None
    return None


def _of_domain(domain: str, own: Collection[str], proxied: bool, serves: bool, default_issuer: bool) -> tuple[list[Finding], set[str]]:
    """What is wrong with it, and what could not be looked at."""
    addresses, notes = sorted(resolve(domain)), set()
    found, reached = of_names(domain, addresses, own, proxied), []
    for address in addresses:
        outcomes = {port: connect(address, port) for port in (80, 443)}
        if NO_WAY in outcomes.values():
            notes.add(NO_IPV6)
            continue
        for port, outcome in outcomes.items():
            found += of_port(domain, address, port, outcome, serves)
        reached += [address] if not outcomes[443] else []
    wrong = next((why for address in reached if (why := verify(address, domain))), "")
    found += of_certificate(domain, wrong, serves)
    if default_issuer and addresses:
        try:
            found += of_caa(domain, caa(domain))
        except ImportError:
            notes.add(NO_CAA)
    return found, notes


def look(sites: Sequence[Mapping[str, Any]]) -> tuple[list[Finding], list[str]]:
    """What is wrong with sites, and what could not be looked at.

    :param sites: each with its `domain`, the `own` addresses of its servers, whether it is `proxied`, whether nginx `serves` it already, and whether
        Let's Encrypt, the `default_issuer`, is to issue its certificate.
    """

    def ask(site: Mapping[str, Any]) -> tuple[list[Finding], set[str]]:
        return _of_domain(**site)

    with ThreadPoolExecutor(16) as pool:
        found = list(pool.map(ask, sites))
    return [one for findings, _notes in found for one in findings], sorted({note for _findings, notes in found for note in notes})
