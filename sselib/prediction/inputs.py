"""The inputs of `sse predict` as a stream of candidates: formulas of a table, structures of CIFs."""

import hashlib
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
from pymatgen.core import Composition, Structure

from sselib.errors import DataError, FormulaError
from sselib.materials.composition import canonical
from sselib.materials.formula_input import read_formula
from sselib.materials.structure_input import (
    CifLimits,
    CifReaders,
    CifReading,
    content_key,
    list_cifs,
    read_bytes,
)
from sselib.materials.structures import FINDINGS, quality_findings
from sselib.sources.spreadsheet_input import as_text_table, is_spreadsheet
from sselib.sources.table_input import FormulaRow, TableFormat, count_rows, read_table, sniff_table, spool

STANDARD_INPUT = Path("-")


@dataclass(frozen=True)
class Candidate:
    """One input: what is shown of it, and its plain formula (empty with a ``problem``).

    ``key``: inputs with the same key are the same; empty: unknown.
    """

    id: str
    formula: str
    plain: str = ""
    structure: Structure | None = None
    notes: tuple[str, ...] = ()
    problem: str = ""
    key: bytes = b""


def n_cores() -> int:
    """Return how many cores this process may use, four at most."""
    return min(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1, 4)


@dataclass(frozen=True)
class FormulaInputs:
    """A table of formulas. ``total`` is about the number of rows."""

    path: Path
    layout: TableFormat
    basis: dict[str, object]
    total: int
    structures: bool = False

    def candidates(self, start: int) -> Iterator[Candidate]:
        """Yield the inputs from row number ``start`` (counted from 0) on."""
        return map(_formula_candidate, islice(read_table(self.path, self.layout), start, None))

    def keys(self, stop: int) -> Iterator[bytes]:
        """Yield the keys of the first ``stop`` inputs."""
        return (candidate.key for candidate in islice(self.candidates(0), stop))


def _formula_candidate(row: FormulaRow) -> Candidate:
    try:
        if row.problem:
            raise FormulaError(row.problem)
        reading = read_formula(row.formula)
    except FormulaError as error:
        return Candidate(row.id, row.formula, problem=str(error))
    key = content_key(canonical(reading.composition).encode())
    return Candidate(row.id, row.formula, reading.plain, notes=reading.notes, key=key)


@dataclass(frozen=True)
class StructureInputs:
    """CIFs in a folder, or one."""

    paths: list[Path]
    folder: Path
    limits: CifLimits
    basis: dict[str, object]
    structures: bool = True

    @property
    def total(self) -> int:
        """The number of files."""
        return len(self.paths)

    def candidates(self, start: int) -> Iterator[Candidate]:
        """Yield the inputs from file number ``start`` (counted from 0) on."""
        paths = self.paths[start:]
        with CifReaders(limits=self.limits, workers=min(n_cores(), max(len(paths), 1))) as readers:
            for path, reading in zip(paths, readers.read(paths), strict=True):
                name = path.relative_to(self.folder).as_posix()
                yield _structure_candidate(name, reading)

    def keys(self, stop: int) -> Iterator[bytes]:
        """Yield the keys of the first ``stop`` inputs."""
        for path in self.paths[:stop]:
            try:
                yield content_key(read_bytes(path, self.limits))
            except DataError:
                yield b""


def _structure_candidate(name: str, reading: CifReading) -> Candidate:
    structure, key = reading.structure, reading.key
    if structure is None:
        return Candidate(name, "", problem=reading.problem, key=key)
    amounts = structure.composition.element_composition.get_el_amt_dict()
    formula = Composition({el: round(x, 4) for el, x in amounts.items()}).reduced_formula
    if reading.doubt:
        return Candidate(name, formula, notes=reading.notes, problem=f"not scored: {reading.doubt}", key=key)
    overfull = "occupancy_above_1" in quality_findings(structure)
    notes = (*reading.notes, *([FINDINGS["occupancy_above_1"]] if overfull else []))
    return Candidate(name, formula, formula, notes=notes, structure=structure, key=key)


def open_inputs(
    source: Path,
    *,
    formula_column: str,
    id_column: str,
    limits: CifLimits,
    scratch: Path,
    say: Callable[[str], None],
) -> FormulaInputs | StructureInputs:
    """Return the inputs at ``source``: a table, a CIF, a folder of CIFs or `STANDARD_INPUT`.

    ``scratch`` is a folder that keeps standard input, and Excel and parquet tables as text. Raises
    `DataError` or `SchemaError` for what is none of these.
    """
    try:
        if source == STANDARD_INPUT:
            path = spool(sys.stdin.buffer, scratch)
        elif source.is_fifo():  # can be read only once
            with source.open("rb") as stream:
                path = spool(stream, scratch)
        elif source.is_dir():
            return _open_folder(source, limits, say)
        else:
            path = source
        basis = {"input": str(path.resolve()), "input_size_and_time": _size_and_time(path)}
        if path.suffix.lower() in (".cif", ".mcif"):
            return StructureInputs([path], path.parent, limits, basis)
        if is_spreadsheet(path):
            path, said = as_text_table(path, scratch, columns=[formula_column, id_column])
            if said:
                say(said)
        layout = sniff_table(path, formula_column=formula_column, id_column=id_column)
        if layout.encoding == "cp1252":
            say(f"{path.name} is not UTF-8: read as Windows-1252")
        return FormulaInputs(path, layout, basis | {"layout": vars(layout)}, count_rows(path))
    except OSError as error:
        raise DataError(f"{source} cannot be read: {error.strerror or error}") from error


def _open_folder(folder: Path, limits: CifLimits, say: Callable[[str], None]) -> StructureInputs:
    paths = list_cifs(folder)
    names = "\n".join(f"{p.relative_to(folder).as_posix()} {_size_and_time(p)}" for p in paths)
    say(f"{len(paths)} CIFs in {folder} and below, in the order of their path")
    basis = {"input": str(folder.resolve()), "files": hashlib.sha256(names.encode()).hexdigest()}
    return StructureInputs(paths, folder, limits, basis | {"limits": vars(limits)})


def _size_and_time(path: Path) -> str:
    try:
        found = path.stat()
    except OSError:
        return "unreadable"
    return f"{found.st_size} {found.st_mtime_ns}"


class SeenInputs:
    """The inputs so far by their key, 16 bytes each."""

    def __init__(self) -> None:
        self._keys = np.empty(0, np.uint64)
        self._rows = np.empty(0, np.int64)
        self._count = 0

    def first_rows(self, keys: Sequence[bytes]) -> list[int]:
        """Add inputs; return for each the 1-based row of the first one with its key, 0 if it is new."""
        rows = np.arange(self._count + 1, self._count + 1 + len(keys))
        self._count += len(keys)
        known = np.array([key != b"" for key in keys], bool)
        numbers = np.array([int.from_bytes(key, "big") for key in keys], np.uint64)[known]
        new, first, back = np.unique(numbers, return_index=True, return_inverse=True)
        first_row = rows[known][first]
        at = np.searchsorted(self._keys, new)
        there = np.append(self._keys, 0)[at] == new
        there &= at < len(self._keys)
        first_row[there] = self._rows[at[there]]
        self._keys = np.insert(self._keys, at[~there], new[~there])
        self._rows = np.insert(self._rows, at[~there], first_row[~there])
        found = np.zeros(len(keys), np.int64)
        found[known] = np.where(first_row[back] < rows[known], first_row[back], 0)
        return found.tolist()
