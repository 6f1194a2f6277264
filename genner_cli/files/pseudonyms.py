"""The key file of pseudonyms: a secret, and the names that were replaced with it, to be put back.

Takes and gives strings. One SQLite file, which several processes may share; whoever has it can put all names back.
Knows nothing of how a pseudonym is made.
"""

from __future__ import annotations

import os
import secrets
import sqlite3
from collections.abc import Iterable
from typing import Self

from genner_cli.errors import GennerError, UsageError

KEY_BYTES = 32
_SECONDS = 60
_SCHEMA = (
    "CREATE TABLE secret (key BLOB NOT NULL)",
    "CREATE TABLE names (pseudonym TEXT, spelling TEXT, text TEXT NOT NULL, PRIMARY KEY (pseudonym, spelling))"
    " WITHOUT ROWID",
)
_OTHER_KEY = "name the key file of this corpus, or another path for a new one"


class KeyFile:
    """An open key file; a context manager. `created`: it was not there before.

    Raises UsageError for a file that cannot be opened, is not a key file or, without `create`, is not there;
    GennerError where the disk refuses what is written.
    """

    def __init__(self, path: str, *, create: bool) -> None:
        self.path = path
        self.created = False
        if not create and not os.path.exists(path):
            raise UsageError(f"{path}: no such file; name the key file that genner redact wrote")
        try:
            os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
            self._database = sqlite3.connect(path, timeout=_SECONDS)
            self.key = self._read_key(create)
        except OSError as error:
            raise UsageError(f"{path}: {error.strerror}; name another file after --key-file") from error
        except sqlite3.Error as error:
            raise UsageError(f"{path}: is not a key file of genner ({error}); {_OTHER_KEY}") from error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._database.close()

    def add(self, names: Iterable[tuple[str, str, str]]) -> None:
        """Makes (pseudonym, spelling, text) durable; those that are there already stay. Raises GennerError for two
        texts of one pseudonym and spelling."""
        try:
            with self._database:
                for name in names:
                    self._add(*name)
        except sqlite3.Error as error:
            raise GennerError(
                f"{self.path}: cannot be written ({error}); make room, and run the same command again to resume"
            ) from error

    def _add(self, pseudonym: str, spelling: str, text: str) -> None:
        known = self.original(pseudonym, spelling)
        if known is None:
            self._database.execute("INSERT INTO names VALUES (?, ?, ?)", (pseudonym, spelling, text))
        elif known != text:
            raise GennerError(
                f"{self.path}: two names have the pseudonym {pseudonym} by chance; start over with a new key file"
            )

    def original(self, pseudonym: str, spelling: str) -> str | None:
        """The text that a pseudonym stands for in this spelling. Raises GennerError for a broken file."""
        query = "SELECT text FROM names WHERE pseudonym = ? AND spelling = ?"
        try:
            row = self._database.execute(query, (pseudonym, spelling)).fetchone()
        except sqlite3.Error as error:
            raise GennerError(f"{self.path}: cannot be read ({error}); restore it from a copy") from error
        return None if row is None else str(row[0])

    def _read_key(self, create: bool) -> bytes:
        """The secret; a new one in a file that is empty."""
        with self._database as database:
            database.execute("BEGIN IMMEDIATE")
            if create and database.execute("SELECT count(*) FROM sqlite_schema").fetchone() == (0,):
                for statement in _SCHEMA:
                    database.execute(statement)
                database.execute("INSERT INTO secret VALUES (?)", (secrets.token_bytes(KEY_BYTES),))
                self.created = True
            row = database.execute("SELECT key FROM secret").fetchone()
        if row is None or len(row[0]) != KEY_BYTES:
            raise sqlite3.DatabaseError("it has no key")
        return bytes(row[0])
