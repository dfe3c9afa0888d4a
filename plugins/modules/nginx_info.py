#!/usr/bin/python
"""What the configuration of nginx depends on."""

from __future__ import annotations

DOCUMENTATION = r"""
module: nginx_info
short_description: What the configuration of nginx depends on
version_added: "0.1.0"
description: Looks at the host with one quick command (an action plugin); changes nothing.
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
