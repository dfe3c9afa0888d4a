"""A connection to a server that is not there: it answers what bench/record.py has recorded of one, after as long as that took."""

from __future__ import annotations

import json
import os
import shlex
import sys
import time
from pathlib import Path

from ansible.plugins.connection import ConnectionBase

sys.path.insert(0, str(Path(__file__).parents[1]))
from answers import COUNTERS, FIRST, RECORDS, identifier_of, key_of

DOCUMENTATION = """
name: recorded
short_description: Answers as a recorded server did
description:
  - Each answer is that of the recorded call of the same module, and of the same step of a rollout; the release's id is the one that is asked for.
author: Plainstack
options: {}
"""


class Connection(ConnectionBase):
    """One host's."""

    transport = "recorded"
    has_pipelining = always_pipeline_modules = True

    def _connect(self) -> Connection:
        self._connected = True
        return self

    def exec_command(self, cmd: str, in_data: bytes | None = None, sudoable: bool = True) -> tuple[int, bytes, bytes]:
        """The recorded answer."""
        super().exec_command(cmd, in_data=in_data, sudoable=sudoable)
        host = self._play_context.remote_addr or "host"
        key = key_of(cmd, in_data)
        records = [json.loads(line) for line in Path(os.environ[RECORDS]).read_text(encoding="utf-8").splitlines()]
        # The first server is the first that was recorded, which may have built for the others; all others are like its last one
        ports = sorted(record["port"] for record in records)
        port = ports[0] if host == os.environ[FIRST] else ports[-1]
        answers = [record for record in records if (record["port"], record["key"]) == (port, key)]
        if not answers:
            return 1, b"", f"nothing was recorded for {key}: {shlex.quote(cmd)[:300]}".encode()
        note = Path(os.environ[COUNTERS]) / f"{host} {key}"
        count = int(note.read_text(encoding="utf-8").split()[0]) if note.exists() else 0
        answer = answers[min(count, len(answers) - 1)]
        time.sleep(answer["seconds"])
        note.write_text(f"{count + 1} {time.time()}", encoding="utf-8")
        output = answer["output"]
        if answer.get("identifier") and (identifier := identifier_of(in_data)):
            output = output.replace(answer["identifier"], identifier)
        return answer["code"], output.encode(), answer["errors"].encode()

    def put_file(self, in_path: str, out_path: str) -> None:
        """Nobody reads it."""

    def fetch_file(self, in_path: str, out_path: str) -> None:
        """Nobody has it."""

    def close(self) -> None:
        """There is nothing to close."""
        self._connected = False
