"""What a rater may do: see the pair whose turn it is, answer it once, take the last answer back.

Each function runs inside one transaction of :class:`pairwright.study.database.Database`.
"""

from __future__ import annotations

import sqlite3
import time
from dataclasses import dataclass
from typing import Any

_OPEN = """
SELECT a.id, a.shown, a.first_left, p.prompt, p.first, p.second FROM assignments a JOIN pairs p ON p.number = a.pair
WHERE a.rater = ? AND NOT EXISTS (SELECT 1 FROM votes v WHERE v.assignment = a.id AND v.undone IS NULL)
ORDER BY a.position LIMIT 2
"""
_STANDING = """
SELECT v.id FROM votes v JOIN assignments a ON a.id = v.assignment WHERE a.rater = ? AND v.undone IS NULL ORDER BY v.sequence
"""
_KNOWN = "SELECT v.assignment, v.answer, v.undone, a.rater FROM votes v JOIN assignments a ON a.id = v.assignment WHERE v.id = ?"
_ASKED = "SELECT a.shown, r.consented FROM assignments a JOIN raters r ON r.number = a.rater WHERE a.id = ? AND a.rater = ?"
_VOTE = "INSERT INTO votes (id, assignment, answer, milliseconds, seconds, layout, received) VALUES (?, ?, ?, ?, ?, ?, ?)"


class RefusedError(Exception):
    """A request that is not granted: an HTTP status, a word for programs and a sentence."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status, self.code = status, code


@dataclass(frozen=True)
class Vote:
    """An answer as a rater's page sends it."""

    id: str
    """Made by the page: the same vote sent twice is one vote."""
    assignment: str
    answer: str
    milliseconds: int
    """Since both pictures were seen, by the page's clock."""
    layout: str
    """``side`` or ``stacked``: left is then above."""


def state(connection: sqlite3.Connection, rater: int) -> dict[str, Any]:
    """What the rater's page shows now: the pair, the one after it, how far they are, which vote can be undone."""
    left = connection.execute(_OPEN, (rater,)).fetchall()
    if left and left[0]["shown"] is None:
        connection.execute("UPDATE assignments SET shown = ? WHERE id = ?", (time.time(), left[0]["id"]))
    total = connection.execute("SELECT COUNT(*) FROM assignments WHERE rater = ?", (rater,)).fetchone()[0]
    voted = connection.execute(_STANDING, (rater,)).fetchall()
    shown = [_shown(row) for row in left]
    return {
        "done": len(voted),
        "total": total,
        "pair": shown[0] if shown else None,
        "next": shown[1] if len(shown) > 1 else None,
        "undo": voted[-1]["id"] if voted else None,
    }


def vote(connection: sqlite3.Connection, rater: int, vote: Vote, *, least_seconds: float, ties: bool) -> dict[str, Any]:
    """Take an answer. The same one sent again changes nothing and is answered as the first time.

    Raises:
        RefusedError: another rater's pair, not the one that is shown, answered already, too soon, or no answer here.
    """
    known = connection.execute(_KNOWN, (vote.id,)).fetchone()
    if known is not None:
        if (known["assignment"], known["answer"], known["rater"]) != (vote.assignment, vote.answer, rater):
            raise RefusedError(409, "taken", "Another vote has this id.")
        return state(connection, rater)
    asked = connection.execute(_ASKED, (vote.assignment, rater)).fetchone()
    if asked is None:
        raise RefusedError(404, "foreign", "This pair belongs to another link.")
    if asked["consented"] is None:
        raise RefusedError(403, "consent", "Nothing is taken before you have agreed.")
    current = connection.execute(_OPEN, (rater,)).fetchone()
    if current is None or current["id"] != vote.assignment or asked["shown"] is None:
        raise RefusedError(409, "elsewhere", "This pair is answered already or not yet shown.")
    if vote.answer == "tie" and not ties:
        raise RefusedError(422, "tie", "This study asks for a preference.")
    now = time.time()
    seconds = now - asked["shown"]  # since the pair was handed out; the page's own clock starts when both pictures are seen
    if 0 <= seconds < least_seconds:  # a clock that was set back keeps nobody waiting
        raise RefusedError(425, "soon", "Please look at both pictures first.")
    connection.execute(_VOTE, (vote.id, vote.assignment, vote.answer, vote.milliseconds, max(0.0, seconds), vote.layout, now))
    return state(connection, rater)


def undo(connection: sqlite3.Connection, rater: int, vote: str) -> dict[str, Any]:
    """Take back the rater's last standing vote; the row stays, marked. Sent again, nothing changes.

    Raises:
        RefusedError: not theirs, or not the last one.
    """
    known = connection.execute(_KNOWN, (vote,)).fetchone()
    if known is None or known["rater"] != rater:
        raise RefusedError(404, "foreign", "There is no such answer of yours.")
    if known["undone"] is None:
        if connection.execute(_STANDING, (rater,)).fetchall()[-1]["id"] != vote:
            raise RefusedError(409, "elsewhere", "Only the last answer can be taken back.")
        now = time.time()
        connection.execute("UPDATE votes SET undone = ? WHERE id = ?", (now, vote))
        connection.execute("UPDATE assignments SET shown = ? WHERE id = ?", (now, known["assignment"]))
    return state(connection, rater)


def _shown(row: sqlite3.Row) -> dict[str, str]:
    first, second = row["first"], row["second"]
    left, right = (first, second) if row["first_left"] else (second, first)
    return {"assignment": row["id"], "prompt": row["prompt"], "left": left, "right": right}
