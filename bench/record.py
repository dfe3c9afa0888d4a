#!/usr/bin/env python3
"""Run a playbook as ansible-playbook does, and record what its servers answer: `bench/record.py FILE ANSIBLE_PLAYBOOK_ARGUMENTS`.

FILE gets a line of JSON for each round trip; bench/connection/recorded.py answers with them.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

from ansible.cli.playbook import PlaybookCLI
from ansible.plugins.connection import ssh

from answers import identifier_of, key_of


def record(into: Path) -> None:
    """Have ssh's connections note each command's key, answer and seconds."""
    original = ssh.Connection.exec_command

    def exec_command(self: Any, cmd: str, in_data: bytes | None = None, sudoable: bool = True) -> tuple[int, bytes, bytes]:
        began = time.monotonic()
        code, output, errors = original(self, cmd, in_data=in_data, sudoable=sudoable)
        line = {
            "port": int(self.get_option("port")),
            "key": key_of(cmd, in_data),
            "seconds": time.monotonic() - began,
            "identifier": identifier_of(in_data),
            "code": code,
            "output": output.decode(),
            "errors": errors.decode(),
        }
        with into.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(line) + "\n")
        return code, output, errors

    ssh.Connection.exec_command = exec_command


if __name__ == "__main__":
    record(Path(sys.argv[1]))
    PlaybookCLI.cli_executor(["ansible-playbook", *sys.argv[2:]])
