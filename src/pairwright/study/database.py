"""A study's one file: SQLite, in which an acknowledged vote is on the disk and stays.

Every answer is one transaction, committed (WAL, ``synchronous=FULL``: flushed to the disk) before it is acknowledged. A vote is
never changed or removed; undoing marks it. The database itself refuses a second standing vote on the same showing.
"""

from __future__ import annotations

import json
import os
import secrets
import sqlite3
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from pairwright.study import ballots
from pairwright.study.ballots import RefusedError, Vote
from pairwright.study.design import Pair, StudyError, turns

FILE = "study.sqlite"
_APPLICATION, _VERSION = 0x70775374, 1
_SCHEMA = """
CREATE TABLE study (design TEXT NOT NULL, secret TEXT NOT NULL);
CREATE TABLE pictures (token TEXT PRIMARY KEY, data BLOB NOT NULL, width INTEGER NOT NULL, height INTEGER NOT NULL);
CREATE TABLE pairs (
    number INTEGER PRIMARY KEY, kind TEXT NOT NULL, prompt_id TEXT NOT NULL, prompt TEXT NOT NULL, category TEXT NOT NULL,
    first_model TEXT NOT NULL, second_model TEXT NOT NULL, first_id TEXT NOT NULL, second_id TEXT NOT NULL,
    first TEXT NOT NULL REFERENCES pictures, second TEXT NOT NULL REFERENCES pictures);
CREATE TABLE raters (number INTEGER PRIMARY KEY, token TEXT NOT NULL UNIQUE, made REAL NOT NULL, consented REAL);
CREATE TABLE assignments (
    id TEXT PRIMARY KEY, rater INTEGER NOT NULL REFERENCES raters, position INTEGER NOT NULL,
    pair INTEGER NOT NULL REFERENCES pairs, role TEXT NOT NULL, first_left INTEGER NOT NULL, shown REAL,
    UNIQUE (rater, position));
CREATE TABLE votes (
    sequence INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, assignment TEXT NOT NULL REFERENCES assignments,
    answer TEXT NOT NULL CHECK (answer IN ('left', 'right', 'tie')), milliseconds INTEGER NOT NULL, seconds REAL NOT NULL,
    layout TEXT NOT NULL, received REAL NOT NULL, undone REAL);
CREATE UNIQUE INDEX one_standing_vote ON votes (assignment) WHERE undone IS NULL;
"""
_LONG = """
SELECT a.rater, a.position, a.role, p.number AS pair, p.prompt_id, p.prompt, p.category, p.first_model, p.second_model,
    p.first_id, p.second_id, a.first_left, v.answer, v.milliseconds, v.seconds, v.layout, v.received, v.undone, v.id AS vote
FROM votes v JOIN assignments a ON a.id = v.assignment JOIN pairs p ON p.number = a.pair ORDER BY a.rater, v.sequence
"""
_OVERVIEW = """
SELECT r.number, r.token, r.consented, (SELECT COUNT(*) FROM assignments a WHERE a.rater = r.number) AS total,
    COUNT(v.id) AS done, MAX(v.received) AS last
FROM raters r LEFT JOIN assignments a ON a.rater = r.number LEFT JOIN votes v ON v.assignment = a.id AND v.undone IS NULL
GROUP BY r.number ORDER BY r.number
"""


@dataclass(frozen=True)
class Shown:
    """A picture as raters get it."""

    token: str
    data: bytes
    width: int
    height: int


class Database:
    """One study. Safe to use from several threads, and the file from several processes."""

    def __init__(self, path: Path, *, new: bool = False) -> None:
        if not new and not path.is_file():
            raise StudyError(f"{path} is not there")
        self._path, self._lock = path, threading.Lock()
        if new:
            os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))  # it holds everybody's links
        self._connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=20)
        self._connection.row_factory = sqlite3.Row
        try:
            self._open(new=new)
        except sqlite3.DatabaseError as error:
            self._connection.close()
            raise StudyError(f"{path} cannot be read as a study ({error})") from error
        except StudyError:
            self._connection.close()
            raise

    def _open(self, *, new: bool) -> None:
        run = self._connection.execute
        run("PRAGMA foreign_keys = ON")
        run("PRAGMA synchronous = FULL")
        if new:  # a temporary file, which is flushed as a whole before it gets its name
            run("PRAGMA journal_mode = MEMORY")
            run("PRAGMA synchronous = OFF")
            self._connection.executescript(_SCHEMA)
            run(f"PRAGMA application_id = {_APPLICATION}")
            run(f"PRAGMA user_version = {_VERSION}")
            return
        found = [run(f"PRAGMA {name}").fetchone()[0] for name in ("application_id", "user_version")]
        if found != [_APPLICATION, _VERSION]:
            raise StudyError(f"{self._path} is no study of this version of pairwright")
        run("PRAGMA journal_mode = WAL")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Wait for what is under way and close the file."""
        with self._lock:
            self._connection.close()

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._lock:
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield self._connection
            except BaseException:
                self._connection.execute("ROLLBACK")
                raise
            self._connection.execute("COMMIT")

    def _rows(self, query: str, *values: Any) -> list[sqlite3.Row]:
        with self._lock:
            return self._connection.execute(query, values).fetchall()

    def fill(
        self, design: Mapping[str, Any], pairs: Sequence[Pair], pictures: Iterable[tuple[tuple[str, str], Shown]], secret: str
    ) -> None:
        """Everything but the raters: once, into a new file."""
        with self._transaction() as connection:
            connection.execute("INSERT INTO study VALUES (?, ?)", (json.dumps(dict(design), ensure_ascii=False), secret))
            tokens: dict[tuple[str, str], str] = {}
            for key, each in pictures:
                connection.execute("INSERT INTO pictures VALUES (?, ?, ?, ?)", (each.token, each.data, each.width, each.height))
                tokens[key] = each.token
            for pair in pairs:
                shown = [tokens[key] for key in zip(pair.models, pair.pictures, strict=True)]
                values = (pair.number, pair.kind, pair.prompt_id, pair.prompt, pair.category, *pair.models, *pair.pictures, *shown)
                connection.execute(f"INSERT INTO pairs VALUES ({', '.join('?' * len(values))})", values)  # noqa: S608 - only marks

    def design(self) -> dict[str, Any]:
        """The study's options as they were resolved, ``models``, ``pictures`` (fingerprint) and ``name``."""
        return dict(json.loads(self._rows("SELECT design FROM study")[0]["design"]))

    def secret(self) -> str:
        """The researcher's token."""
        return str(self._rows("SELECT secret FROM study")[0]["secret"])

    def add_rater(self) -> str:
        """One more rater; the token of their link."""
        design, pairs = self.design(), self.pairs()
        token = secrets.token_urlsafe(24)
        with self._transaction() as connection:
            number = 1 + connection.execute("SELECT COALESCE(MAX(number), 0) FROM raters").fetchone()[0]
            connection.execute("INSERT INTO raters VALUES (?, ?, ?, NULL)", (number, token, time.time()))
            for position, turn in enumerate(turns(pairs, number, repeats=design["repeats"], seed=design["seed"]), 1):
                row = (secrets.token_urlsafe(12), number, position, turn.pair, turn.role, int(turn.first_left))
                connection.execute("INSERT INTO assignments VALUES (?, ?, ?, ?, ?, ?, NULL)", row)
        return token

    def pairs(self) -> list[Pair]:
        """All pairs, in the order of their numbers."""
        return [
            Pair(
                row["number"],
                row["kind"],
                row["prompt_id"],
                row["prompt"],
                row["category"],
                (row["first_model"], row["second_model"]),
                (row["first_id"], row["second_id"]),
            )
            for row in self._rows("SELECT * FROM pairs ORDER BY number")
        ]

    def picture(self, token: str) -> bytes | None:
        """The PNG behind a token."""
        rows = self._rows("SELECT data FROM pictures WHERE token = ?", token)
        return bytes(rows[0]["data"]) if rows else None

    def rater(self, token: str) -> int:
        """The number of the rater with that link.

        Raises:
            RefusedError: there is none.
        """
        rows = self._rows("SELECT number FROM raters WHERE token = ?", token)
        if not rows:
            raise RefusedError(404, "unknown", "This link is not known here.")
        return int(rows[0]["number"])

    def consented(self, rater: int) -> bool:
        """Whether the rater has agreed to take part."""
        return self._rows("SELECT consented FROM raters WHERE number = ?", rater)[0]["consented"] is not None

    def consent(self, rater: int) -> None:
        """Note that they have; the first time counts."""
        with self._transaction() as connection:
            connection.execute("UPDATE raters SET consented = COALESCE(consented, ?) WHERE number = ?", (time.time(), rater))

    def state(self, rater: int) -> dict[str, Any]:
        """See :func:`pairwright.study.ballots.state`."""
        with self._transaction() as connection:
            return ballots.state(connection, rater)

    def vote(self, rater: int, vote: Vote, *, least_seconds: float, ties: bool) -> dict[str, Any]:
        """See :func:`pairwright.study.ballots.vote`. Once this returns, the vote is on the disk."""
        with self._transaction() as connection:
            return ballots.vote(connection, rater, vote, least_seconds=least_seconds, ties=ties)

    def undo(self, rater: int, vote: str) -> dict[str, Any]:
        """See :func:`pairwright.study.ballots.undo`."""
        with self._transaction() as connection:
            return ballots.undo(connection, rater, vote)

    def overview(self) -> list[dict[str, Any]]:
        """Every rater: ``number``, ``token``, ``consented``, ``total``, ``done``, ``last`` (seconds since the epoch)."""
        return [dict(row) for row in self._rows(_OVERVIEW)]

    def votes(self) -> list[dict[str, Any]]:
        """Every vote that was ever taken, undone ones included, with all that is known of its pair."""
        return [dict(row) for row in self._rows(_LONG)]
