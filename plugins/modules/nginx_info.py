#!/usr/bin/python
"""What the configuration of nginx depends on."""

from __future__ import annotations

DOCUMENTATION = r"""
module: nginx_info
short_description: What the configuration of nginx depends on
version_added: "0.1.0"
description: Looks at the host; changes nothing.
author: Plainstack contributors
options:
  packages:
    description: Debian packages that must be installed.
    type: list
    elements: str
    default: []
  certificates:
    description: Paths of certificate chains.
    type: list
    elements: path
    default: []
  coming:
    description: Certificate chains (PEM texts) that the configuration is about to lay down, by their path; they count as there.
    type: dict
    default: {}
attributes:
  check_mode:
    description: Changes nothing in any mode.
    support: full
"""

EXAMPLES = r"""
- name: Look at nginx
  plainstack.web.nginx_info:
    certificates: [/etc/letsencrypt/live/hello/fullchain.pem]
  register: nginx
"""

RETURN = r"""
missing:
  description: Those of the packages that are not installed.
  returned: always
  type: list
  elements: str
version:
  description: Version of nginx; C(0) where it is not installed (a dry run on a fresh host).
  returned: always
  type: str
ipv6:
  description: Whether the host has IPv6.
  returned: always
  type: bool
post_quantum:
  description: Whether the host's OpenSSL has the key exchange X25519MLKEM768.
  returned: always
  type: bool
present:
  description: Those of the certificates that are there or are coming.
  returned: always
  type: list
  elements: path
trusted:
  description: Those that the host's own certificate store trusts; only with these may HSTS be sent.
  returned: always
  type: list
  elements: path
"""

import os
import re
import subprocess
import tempfile

from ansible.module_utils.basic import AnsibleModule


def missing(packages: list[str]) -> list[str]:
    """Those of the packages that dpkg does not have as installed."""
    command = ["dpkg-query", "--show", "--showformat=${Package} ${db:Status-Status}\\n", *packages]
    listed = subprocess.run(command, capture_output=True, text=True, check=False).stdout.splitlines()
    return [package for package in packages if f"{package} installed" not in listed]


def version() -> str:
    """Version of nginx."""
    try:
        said = subprocess.run(["/usr/sbin/nginx", "-v"], capture_output=True, text=True, check=True).stderr
    except FileNotFoundError:
        return "0"
    return re.findall(r"nginx/([0-9.]+)", said)[0]


def ipv6() -> bool:
    """Whether a socket can be bound to IPv6: it can be compiled out, or switched off by sysctl."""
    try:
        with open("/proc/net/if_inet6", encoding="ascii") as stream:
            return bool(stream.read().strip())
    except FileNotFoundError:
        return False


def post_quantum() -> bool:
    """Whether OpenSSL has X25519MLKEM768 (from 3.5 on); nginx does not start with a curve that it does not know."""
    return "X25519MLKEM768" in subprocess.run(["openssl", "list", "-kem-algorithms"], capture_output=True, text=True, check=False).stdout


def trusted(path: str, text: str | None) -> bool:
    """Whether the host's own certificate store trusts a chain, and it has not expired.

    :param path: where the chain is.
    :param text: the chain itself, where it is not yet at its place.
    """
    with tempfile.NamedTemporaryFile("w", encoding="ascii") as stream:
        if text is not None:
            stream.write(text)
            stream.flush()
            path = stream.name
        done = subprocess.run(["openssl", "verify", "-CApath", "/etc/ssl/certs", "-untrusted", path, path], capture_output=True, check=False)
    return done.returncode == 0


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "packages": {"type": "list", "elements": "str", "default": []},
            "certificates": {"type": "list", "elements": "path", "default": []},
            "coming": {"type": "dict", "default": {}},
        },
        supports_check_mode=True,
    )
    coming = module.params["coming"]
    present = [path for path in module.params["certificates"] if path in coming or os.path.exists(path)]
    module.exit_json(
        changed=False,
        missing=missing(module.params["packages"]),
        version=version(),
        ipv6=ipv6(),
        post_quantum=post_quantum(),
        present=present,
        trusted=[path for path in present if trusted(path, coming.get(path))],
    )


if __name__ == "__main__":
    main()
