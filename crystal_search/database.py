"""Every candidate of a search in one SQLite file, so that a killed search goes on where it stopped."""

import json
import sqlite3
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
from ase import Atoms

from crystal_search.errors import SearchError
from crystal_search.evaluations import Snapshot

_SCHEMA = """
CREATE TABLE IF NOT EXISTS searches (name TEXT PRIMARY KEY, settings TEXT NOT NULL, note TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS candidates (
  search TEXT NOT NULL, number INTEGER NOT NULL, generation INTEGER NOT NULL, operator TEXT NOT NULL,
  parents TEXT NOT NULL, parent_enthalpy_ev_atom REAL, space_group INTEGER, status TEXT NOT NULL,
  reason TEXT NOT NULL, enthalpy_ev_atom REAL,
  energy_ev_atom REAL, volume_angstrom3_atom REAL,
  n_evaluations INTEGER NOT NULL, seconds REAL NOT NULL,
  n_model_relaxations INTEGER NOT NULL, model_seconds REAL, curve TEXT NOT NULL, atoms TEXT NOT NULL,
  snapshots TEXT NOT NULL DEFAULT '[]', learned INTEGER NOT NULL DEFAULT 0,
  PRIMARY KEY (search, number));
"""

STOP_RULES = ("max_evaluations", "max_generations", "patience", "tolerance_ev_atom")
_REALS = (
    "parent_enthalpy_ev_atom", "enthalpy_ev_atom", "energy_ev_atom", "volume_angstrom3_atom", "model_seconds"
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class SearchCandidate:
    """One structure of a search: where it came from, what became of it and what it cost.

    ``parent_enthalpy_ev_atom`` is that of the better parent, NaN for seeds; ``space_group`` that of the
    seed (0 for children); ``curve`` the enthalpy in eV/atom at the start and after each step.
    ``n_evaluations`` and ``seconds`` (process time) are those of the potential, ``n_model_relaxations`` and
    ``model_seconds`` those of the cheap models before it (pair model, learned potential); the first candidate
    of a pool carries those of the pool. ``learned``: whether a learned potential has relaxed and chosen it;
    ``snapshots``: what the search learns that potential from.
    """

    number: int
    generation: int
    operator: str
    parents: tuple[int, ...]
    parent_enthalpy_ev_atom: float
    space_group: int
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
    learned: bool = False


class SearchDatabase:
    """The candidates of any number of searches in one SQLite file; each is written at once."""

    def __init__(self, path: Path) -> None:
        """Open or create the file. Raises `SearchError` if it is no such database."""
        self.path = Path(path)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with closing(self._connect()) as connection, connection:
                connection.executescript(_SCHEMA)
        except sqlite3.DatabaseError as error:
            raise SearchError(
                f"{self.path} is no database of searches ({error}): delete it, or name another file"
            ) from error

    def _connect(self) -> sqlite3.Connection:
        return sqlite3.connect(self.path, timeout=60)

    def open_search(self, name: str, settings: Mapping[str, object]) -> None:
        """Register a search. Raises `SearchError` if one of that name was begun with other settings.

        Other `STOP_RULES` continue a search: its candidates do not depend on them.
        """
        text = json.dumps(settings, sort_keys=True)
        with closing(self._connect()) as connection, connection:
            found = connection.execute("SELECT settings FROM searches WHERE name = ?", (name,)).fetchone()
            if found is None:
                connection.execute("INSERT INTO searches VALUES (?, ?, '')", (name, text))
                return
            changed = _changed(json.loads(found[0]), json.loads(text))
            if changed:
                raise SearchError(
                    f"the search '{name}' in {self.path} was begun with other settings ({changed}): "
                    "choose another file or delete this one to begin anew"
                )
            connection.execute("UPDATE searches SET settings = ? WHERE name = ?", (text, name))

    def note(self, name: str, text: str | None = None) -> str:
        """Return the note of a search (why it stopped); with ``text``, write it first."""
        with closing(self._connect()) as connection, connection:
            if text is not None:
                connection.execute("UPDATE searches SET note = ? WHERE name = ?", (text, name))
            found = connection.execute("SELECT note FROM searches WHERE name = ?", (name,)).fetchone()
        return found[0] if found else ""

    def searches(self) -> list[str]:
        """Return the names of all searches, in the order in which they were begun."""
        with closing(self._connect()) as connection:
            return [name for (name,) in connection.execute("SELECT name FROM searches ORDER BY rowid")]

    def settings(self, name: str) -> dict[str, object]:
        """Return the settings of a search. Raises `SearchError` if there is none of that name."""
        with closing(self._connect()) as connection:
            found = connection.execute("SELECT settings FROM searches WHERE name = ?", (name,)).fetchone()
        if found is None:
            raise SearchError(f"{self.path} has no search '{name}': expected one of {self.searches()}")
        return json.loads(found[0])

    def add(self, name: str, candidate: SearchCandidate) -> None:
        """Write one candidate; one that is there already is replaced."""
        values = {key: getattr(candidate, key) for key in SearchCandidate.__dataclass_fields__} | {
            "search": name,
            "parents": json.dumps(candidate.parents),
            "curve": json.dumps([round(x, 5) for x in candidate.curve]),
            "atoms": json.dumps(_plain(candidate.atoms)),
            "snapshots": json.dumps([_plain_snapshot(s) for s in candidate.snapshots]),
        }
        marks = ", ".join(f":{key}" for key in values)
        with closing(self._connect()) as connection, connection:
            connection.execute(
                f"INSERT OR REPLACE INTO candidates ({', '.join(values)}) VALUES ({marks})", values
            )

    def candidates(self, name: str) -> list[SearchCandidate]:
        """Return the candidates of a search in the order of their numbers."""
        with closing(self._connect()) as connection:
            connection.row_factory = sqlite3.Row
            rows = connection.execute("SELECT * FROM candidates WHERE search = ? ORDER BY number", (name,))
            return [_candidate(dict(row)) for row in rows]


def candidate_table(candidates: Sequence[SearchCandidate]) -> pd.DataFrame:
    """Return one row per candidate without its structure.

    ``evaluations_so_far``: energy evaluations that the search had spent when the candidate was done with.
    """
    hidden = ("curve", "atoms", "parents", "snapshots")
    names = [n for n in SearchCandidate.__dataclass_fields__ if n not in hidden]
    table = pd.DataFrame([{n: getattr(c, n) for n in names} for c in candidates], columns=names)
    parents = [" ".join(map(str, c.parents)) for c in candidates]
    return table.assign(parents=parents, evaluations_so_far=table["n_evaluations"].cumsum())


def _changed(before: Mapping[str, object], now: Mapping[str, object]) -> str:
    keys = sorted(k for k in {*before, *now} - {*STOP_RULES} if before.get(k) != now.get(k))
    return ", ".join(f"{k}: {before.get(k)} then, {now.get(k)} now" for k in keys)


def _plain(atoms: Atoms) -> dict[str, list]:
    return {"numbers": atoms.numbers.tolist(), "cell": atoms.cell.tolist(), "at": atoms.positions.tolist()}


def _atoms(plain: Mapping[str, list]) -> Atoms:
    return Atoms(numbers=plain["numbers"], cell=plain["cell"], positions=plain["at"], pbc=True)


def _plain_snapshot(s: Snapshot) -> dict[str, object]:
    """Return what JSON can hold, every digit of it: a continued search has to learn the same."""
    forces, stress = s.forces.tolist(), s.stress_voigt.tolist()
    return {**_plain(s.atoms), "energy": s.energy_ev_atom, "forces": forces, "stress": stress}


def _snapshot(plain: Mapping[str, object]) -> Snapshot:
    return Snapshot(
        atoms=_atoms(plain),
        energy_ev_atom=plain["energy"],
        forces=np.array(plain["forces"]),
        stress_voigt=np.array(plain["stress"]),
    )


def _candidate(row: dict[str, object]) -> SearchCandidate:
    row = {key: row[key] for key in SearchCandidate.__dataclass_fields__}
    for key in _REALS:
        row[key] = float("nan") if row[key] is None else row[key]
    for key in ("parents", "curve"):
        row[key] = tuple(json.loads(row[key]))
    row["atoms"] = _atoms(json.loads(row["atoms"]))
    row["learned"] = bool(row["learned"])
    row["snapshots"] = tuple(_snapshot(s) for s in json.loads(row["snapshots"]))
    return SearchCandidate(**row)
