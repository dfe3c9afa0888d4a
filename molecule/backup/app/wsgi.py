"""Guests sign a book in SQLite: POST does, GET says how many have. It is not healthy with a book of which that is not to be."""

import os
import sqlite3
from collections.abc import Callable, Iterable
from typing import Any

BOOK = os.path.join(os.environ["PLAINSTACK_SHARED"], "data", "guests.db")


def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    """The app."""
    os.makedirs(os.path.dirname(BOOK), exist_ok=True)
    book = sqlite3.connect(BOOK, timeout=30)
    try:
        book.execute("PRAGMA journal_mode=WAL")
        book.execute("CREATE TABLE IF NOT EXISTS guests (name TEXT)")
        if environ["REQUEST_METHOD"] == "POST":
            with book:
                book.execute("INSERT INTO guests VALUES (?)", (environ["PATH_INFO"].strip("/"),))
        [count] = book.execute("SELECT count(*) FROM guests").fetchone()
        ill = book.execute("SELECT 1 FROM guests WHERE name = 'plague'").fetchone()
    finally:
        book.close()
    start_response("500 Internal Server Error" if ill else "200 OK", [("Content-Type", "text/plain")])
    return [str(count).encode()]
