"""The visit counter: one row in SQLite, exact under any number of processes and threads."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

TIMEOUT = 5  # seconds to wait for another writer


@contextmanager
def connect(database: Path) -> Iterator[sqlite3.Connection]:
    """Open the database for one use, made if it is new. Each statement commits by itself.

    Raises sqlite3.Error when the database cannot be opened.
    """
    with closing(sqlite3.connect(database, timeout=TIMEOUT, isolation_level=None)) as connection:
        # Readers and the writer do not wait for each other. The mode stays with the file. This one
        # statement does not wait for a lock; whoever holds it on a new file is doing the same.
        with suppress(sqlite3.OperationalError):
            connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("CREATE TABLE IF NOT EXISTS visits (page TEXT PRIMARY KEY, count INTEGER)")
        yield connection


def add(database: Path, page: str) -> int:
    """Count one visit and return the new count, in one statement: no two visits get the same."""
    with connect(database) as connection:
        [(count,)] = connection.execute(
            "INSERT INTO visits (page, count) VALUES (?, 1) ON CONFLICT (page) DO UPDATE SET count = count + 1 RETURNING count",
            (page,),
        )
    return int(count)


def total(database: Path) -> int:
    """Return the visits of all pages."""
    with connect(database) as connection:
        [(count,)] = connection.execute("SELECT coalesce(sum(count), 0) FROM visits")
    return int(count)
