"""Every candidate of a search in one SQLite file, so that a killed search goes on where it stopped."""

import hashlib
import json
import sqlite3
import warnings
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field, fields
from pathlib import Path

import pandas as pd
from ase import Atoms
from ase.io.jsonio import decode, encode

from crystal_search.errors import SearchError
from crystal_search.evaluations import Snapshot

# Candidates are JSON, each beside its hash: one that is damaged is left out, and so computed anew.
_SCHEMA = """
CREATE TABLE IF NOT EXISTS searches (
  name TEXT PRIMARY KEY, settings TEXT NOT NULL, sha256 TEXT NOT NULL, note TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS candidates (
  search TEXT NOT NULL, number INTEGER NOT NULL, content TEXT NOT NULL, sha256 TEXT NOT NULL,
  PRIMARY KEY (search, number));
"""
STOP_RULES = ("max_evaluations", "max_generations", "patience", "tolerance_ev_atom")


@dataclass(frozen=True, kw_only=True)
class Origin:
    """Where a structure of a search came from: what is known before it is relaxed.

    ``parent_enthalpy_ev_atom`` is that of the better parent, NaN for seeds; ``space_group`` that of the
    seed (0 for children); ``learned``: whether a learned potential has relaxed and chosen it.
    """

    number: int
    generation: int
    operator: str
    parents: tuple[int, ...] = ()
    parent_enthalpy_ev_atom: float = float("nan")
    space_group: int = 0
    learned: bool = False

    def origin(self) -> dict[str, object]:
        """Return the fields of `Origin` alone."""
        return {f.name: getattr(self, f.name) for f in fields(Origin)}


@dataclass(frozen=True, kw_only=True)
class SearchCandidate(Origin):
    """One structure of a search: where it came from, what became of it and what it cost.

    ``curve``: the enthalpy in eV/atom at the start and after each step. ``n_evaluations`` and ``seconds``
    (process time) are those of the potential, ``n_model_relaxations`` and ``model_seconds`` those of the
    cheap models before it (pair model, learned potential); the first candidate of a pool carries those of
    the pool. ``snapshots``: what the search learns a potential from.
    """

    status: str
    reason: str
    enthalpy_ev_atom: float
    energy_ev_atom: float
    volume_angstrom3_atom: float
    n_evaluations: int
    seconds: float
    n_model_relaxations: int
    model_seconds: float
    curve: tuple[float, ...] = field(repr=False)
    atoms: Atoms = field(repr=False)
    snapshots: tuple[Snapshot, ...] = field(default=(), repr=False)


class SearchDatabase:
    """The candidates of any number of searches in one SQLite file; each is written at once."""

    def __init__(self, path: Path) -> None:
        """Open or create the file; one that is damaged is renamed, with a warning, and begun anew.

        Raises `SearchError` if it cannot be opened.
        """
        self.path = Path(path)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        if fault := self._prepared():
            aside = self.path.with_name(f"{self.path.name}.damaged")
            warnings.warn(
                f"{self.path.name} is no sound database of searches ({fault}): it is kept as {aside.name}, "
                "and its searches begin anew",
                stacklevel=2,
            )
            self.path.replace(aside)
            self._prepared()

    def _prepared(self) -> str:
        """Make the tables of a new file; return what is wrong with an old one, or an empty text."""
        try:
            with closing(self._connect()) as connection, connection:
                (found,) = connection.execute("PRAGMA quick_check(1)").fetchone()
                connection.executescript(_SCHEMA)
                connection.execute("SELECT content, sha256 FROM candidates LIMIT 0")
            return "" if found == "ok" else found
        except sqlite3.OperationalError as error:
            if "no such column" in str(error):
                return "another version has written it"
            raise SearchError(
                f"{self.path} cannot be opened ({error}): wait, or name another file"
            ) from error
        except sqlite3.DatabaseError as error:
            return str(error)

    def _connect(self) -> sqlite3.Connection:
        return sqlite3.connect(self.path, timeout=60)

    def open_search(self, name: str, settings: Mapping[str, object]) -> None:
        """Register a search. Raises `SearchError` if one of that name was begun with other settings.

        Other `STOP_RULES` continue a search: its candidates do not depend on them.
        """
        text = json.dumps(settings, sort_keys=True)
        with closing(self._connect()) as connection, connection:
            query = "SELECT settings, sha256 FROM searches WHERE name = ?"
            before, digest = connection.execute(query, (name,)).fetchone() or (text, _sha256(text))
            if _sha256(before) != digest:  # nobody knows what its candidates were made with
                connection.execute("DELETE FROM candidates WHERE search = ?", (name,))
            elif changed := _changed(json.loads(before), json.loads(text)):
                raise SearchError(
                    f"the search '{name}' in {self.path} was begun with other settings ({changed}): "
                    "choose another file or delete this one to begin anew"
                )
            connection.execute(
                "INSERT INTO searches VALUES (?, ?, ?, '') ON CONFLICT (name) "
                "DO UPDATE SET settings = excluded.settings, sha256 = excluded.sha256",
                (name, text, _sha256(text)),
            )

    def note(self, name: str, text: str | None = None) -> str:
        """Return the note of a search (why it stopped); with ``text``, write it first."""
        with closing(self._connect()) as connection, connection:
            if text is not None:
                connection.execute("UPDATE searches SET note = ? WHERE name = ?", (text, name))
            found = connection.execute("SELECT note FROM searches WHERE name = ?", (name,)).fetchone()
        return found[0] if found else ""

    def add(self, name: str, candidate: SearchCandidate) -> None:
        """Write one candidate; one that is there already is replaced."""
        values = vars(candidate) | {"snapshots": [vars(s) for s in candidate.snapshots]}
        text = encode(values)  # every digit of it: a continued search has to learn the same
        row = (name, candidate.number, text, _sha256(text))
        with closing(self._connect()) as connection, connection:
            connection.execute("INSERT OR REPLACE INTO candidates VALUES (?, ?, ?, ?)", row)

    def candidates(self, name: str) -> list[SearchCandidate]:
        """Return the candidates of a search in the order of their numbers, without damaged ones."""
        query = "SELECT content, sha256 FROM candidates WHERE search = ? ORDER BY number"
        with closing(self._connect()) as connection:
            rows = connection.execute(query, (name,)).fetchall()
        sound = [content for content, digest in rows if _sha256(content) == digest]
        if len(sound) < len(rows):
            text = f"{self.path.name}: {len(rows) - len(sound)} damaged candidates of '{name}' are left out"
            warnings.warn(text, stacklevel=2)
        return [_candidate(decode(content)) for content in sound]


def _sha256(text: str | bytes) -> str:
    return hashlib.sha256(text if isinstance(text, bytes) else text.encode()).hexdigest()


def candidate_table(candidates: Sequence[SearchCandidate]) -> pd.DataFrame:
    """Return one row per candidate without its structure.

    ``evaluations_so_far``: energy evaluations that the search had spent when the candidate was done with.
    """
    hidden = {"curve", "atoms", "parents", "snapshots"}
    names = [f.name for f in fields(SearchCandidate) if f.name not in hidden]
    table = pd.DataFrame([{n: getattr(c, n) for n in names} for c in candidates], columns=names)
    parents = [" ".join(map(str, c.parents)) for c in candidates]
    return table.assign(parents=parents, evaluations_so_far=table["n_evaluations"].cumsum())


def _changed(before: Mapping[str, object], now: Mapping[str, object]) -> str:
    keys = sorted(k for k in {*before, *now} - {*STOP_RULES} if before.get(k) != now.get(k))
    return ", ".join(f"{k}: {before.get(k)} then, {now.get(k)} now" for k in keys)


def _candidate(values: dict[str, object]) -> SearchCandidate:
    snapshots = tuple(Snapshot(**s) for s in values["snapshots"])
    sequences = {key: tuple(values[key]) for key in ("parents", "curve")}
    return SearchCandidate(**(values | sequences | {"snapshots": snapshots}))
