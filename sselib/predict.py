"""`sse predict`: formulas or crystal structures in, one row of scores each out, in the same order.

Inputs stream through in chunks, so memory does not grow with their number. An input that cannot be read
or scored keeps its row, with a note and without scores. See docs/predict.md for the columns.
"""

import hashlib
import os
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import numpy as np
import pandas as pd
from pymatgen.core import Composition, Lattice, Structure

from sselib import __version__
from sselib.applicability import TrainingSpace, judge, training_space
from sselib.columns import Predicted
from sselib.composition import canonical, element_fractions, parse_formula
from sselib.conductivity_model import load_conductivity_model
from sselib.errors import DataError, FormulaError, ParameterError, RunError, SSEError
from sselib.formula_input import read_formula
from sselib.prediction_file import PredictionFile
from sselib.progress import progress
from sselib.structure_input import CifLimits, CifReaders, content_key, list_cifs, read_bytes
from sselib.superionic_model import load_superionic_model
from sselib.table_input import FormulaRow, TableFormat, count_rows, read_table, sniff_table, spool

if TYPE_CHECKING:
    from sselib.conductivity_model import ConductivityModel
    from sselib.superionic_model import SuperionicModel

T = TypeVar("T")
COLUMNS = tuple(str(column) for column in Predicted)
STANDARD_INPUT = Path("-")
CHUNK_FORMULAS, CHUNK_STRUCTURES = 4000, 64
_MIN_SHARED = 200  # formulas that are worth a second thread
_SIGMA = ["log10_sigma", "lower", "upper"]
_SUPERIONIC = ["p_superionic", "p_superionic_sd", "d_training"]
_TRIAL = "Li6PS5Cl"  # what both models are tried on before the first input
_NO_LITHIUM = "no lithium: the models are for Li+ conductors"


@dataclass(frozen=True)
class PredictRequest:
    """What `sse predict` was asked for.

    ``source``: a table with a column of formulas, a CIF, a folder of CIFs, or ``-`` for standard input.
    ``chunk`` None: 4000 formulas or 64 structures at a time.
    """

    source: Path
    run: Path
    out: Path
    confidence: float = 0.9
    formula_column: str = "formula"
    id_column: str = "id"
    chunk: int | None = None
    resume: bool = False
    limits: CifLimits = field(default_factory=CifLimits)


@dataclass(frozen=True)
class PredictSummary:
    """What came of it: the file, its rows, and how many of them have a conductivity."""

    out: Path
    rows: int
    scored: int


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


def predict(request: PredictRequest, *, say: Callable[[str], None] = print) -> PredictSummary:
    """Score every input of a request and write the output CSV.

    Raises `ParameterError` for an impossible request, `DataError` or `SchemaError` for an input that
    cannot be read at all, and `RunError` where the run has no conductivity model.
    """
    _require_possible(request)
    with tempfile.TemporaryDirectory(prefix="sse-predict-") as folder:
        inputs = _open_inputs(request, Path(folder), say)
        scorer = load_scorer(
            request.run, structures=inputs.structures, confidence=request.confidence, say=say
        )
        basis = {"version": __version__, **inputs.basis, **scorer.basis}
        with PredictionFile(request.out, columns=COLUMNS, basis=basis, resume=request.resume) as output:
            _say_resume(output, request, say)
            _score_all(inputs, scorer, output, request)
            output.finish()
    return PredictSummary(request.out, output.done.rows, output.done.scored)


def _require_possible(request: PredictRequest) -> None:
    """Raise for what can be seen to be wrong before anything is read."""
    if not 0 < request.confidence < 1:
        raise ParameterError(f"confidence {request.confidence} is impossible: expected between 0 and 1")
    if request.chunk is not None and request.chunk < 1:
        raise ParameterError(f"chunk {request.chunk} is impossible: expected at least 1")
    if request.source == STANDARD_INPUT:
        if request.resume:
            raise ParameterError("standard input cannot be resumed: write it to a file first")
        return
    if not request.source.exists():
        raise DataError(f"no input at '{request.source}': expected a CSV, a CIF or a folder of CIFs")
    if request.out.exists() and request.out.samefile(request.source):
        raise ParameterError(f"--out {request.out} is the input itself: give another name")


def _say_resume(output: PredictionFile, request: PredictRequest, say: Callable[[str], None]) -> None:
    if request.resume and output.restarted_because:
        say(f"starts from the first input ({output.restarted_because})")
    elif output.done.rows:
        say(f"{output.done.rows} rows are there already; continues after them")


def _score_all(
    inputs: "FormulaInputs | StructureInputs",
    scorer: "Scorer",
    output: PredictionFile,
    request: PredictRequest,
) -> None:
    done = output.done.rows
    seen = SeenInputs()
    for keys in _chunks(inputs.keys(done), CHUNK_FORMULAS):
        seen.first_rows(keys)
    size = request.chunk or (CHUNK_STRUCTURES if inputs.structures else CHUNK_FORMULAS)
    candidates = progress(inputs.candidates(done), stage="predict", total=inputs.total - done)
    for chunk in _chunks(candidates, size):
        rows = scorer.rows(chunk, seen.first_rows([c.key for c in chunk]))
        output.append(rows, scored=sum(row[2] != "" for row in rows))
        parse_formula.cache_clear()  # the next chunk holds other formulas


def n_cores() -> int:
    """Return how many cores this process may use, four at most."""
    return min(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1, 4)


def _chunks(items: Iterator[T], size: int) -> Iterator[list[T]]:
    while chunk := list(islice(items, size)):
        yield chunk


# ------------------------------------------------------------------------------------------- inputs


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
        return (_formula_candidate(row).key for row in islice(read_table(self.path, self.layout), stop))


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
                yield _structure_candidate(name, reading.structure, reading.problem, reading.key)

    def keys(self, stop: int) -> Iterator[bytes]:
        """Yield the keys of the first ``stop`` inputs."""
        for path in self.paths[:stop]:
            try:
                yield content_key(read_bytes(path, self.limits))
            except DataError:
                yield b""


def _structure_candidate(name: str, structure: Structure | None, problem: str, key: bytes) -> Candidate:
    if structure is None:
        return Candidate(name, "", problem=problem, key=key)
    amounts = structure.composition.element_composition.get_el_amt_dict()
    formula = Composition({el: round(x, 4) for el, x in amounts.items()}).reduced_formula
    return Candidate(name, formula, formula, structure=structure, key=key)


def _open_inputs(
    request: PredictRequest, folder: Path, say: Callable[[str], None]
) -> FormulaInputs | StructureInputs:
    path = spool(sys.stdin.buffer, folder) if request.source == STANDARD_INPUT else request.source
    if path.is_dir():
        return _open_folder(path, request.limits, say)
    if path.suffix.lower() == ".cif":
        return StructureInputs([path], path.parent, request.limits, _file_basis(path))
    layout = sniff_table(path, formula_column=request.formula_column, id_column=request.id_column)
    if layout.encoding == "cp1252":
        say(f"{path.name} is not UTF-8: read as Windows-1252")
    return FormulaInputs(path, layout, _file_basis(path) | {"layout": vars(layout)}, count_rows(path))


def _open_folder(folder: Path, limits: CifLimits, say: Callable[[str], None]) -> StructureInputs:
    paths = list_cifs(folder)
    names = "\n".join(f"{p.relative_to(folder).as_posix()} {_size_and_time(p)}" for p in paths)
    say(f"{len(paths)} CIFs in {folder} and below, in the order of their path")
    basis = {"input": str(folder.resolve()), "files": hashlib.sha256(names.encode()).hexdigest()}
    return StructureInputs(paths, folder, limits, basis | {"limits": vars(limits)})


def _file_basis(path: Path) -> dict[str, object]:
    return {"input": str(path.resolve()), "input_size_and_time": _size_and_time(path)}


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
        numbers = np.array([int.from_bytes(key, "big") for key in keys], np.uint64)
        rows = np.arange(self._count + 1, self._count + 1 + len(keys))
        self._count += len(keys)
        known = np.array([key != b"" for key in keys], bool)
        new, first, back = np.unique(numbers[known], return_index=True, return_inverse=True)
        first_row = self._merged(new, rows[known][first])[back]
        found = np.zeros(len(keys), np.int64)
        found[known] = np.where(first_row < rows[known], first_row, 0)
        return found.tolist()

    def _merged(self, keys: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """Insert sorted keys that are not there yet; return the first row of each."""
        at = np.searchsorted(self._keys, keys)
        there = np.zeros(len(keys), bool)
        inside = at < len(self._keys)
        there[inside] = self._keys[at[inside]] == keys[inside]
        rows = rows.copy()
        rows[there] = self._rows[at[there]]
        self._keys = np.insert(self._keys, at[~there], keys[~there])
        self._rows = np.insert(self._rows, at[~there], rows[~there])
        return rows


# ------------------------------------------------------------------------------------------- scores


@dataclass(frozen=True)
class Scorer:
    """The models of a run, ready to score chunks of candidates."""

    conductivity: "ConductivityModel"
    superionic: "SuperionicModel | None"
    space: TrainingSpace
    structures: bool
    confidence: float
    basis: dict[str, object]

    @property
    def name(self) -> str:
        """What the column ``model`` says."""
        return self.conductivity.name + (" + superionic ensemble" if self.superionic else "")

    def rows(self, chunk: Sequence[Candidate], first_rows: Sequence[int]) -> list[list[str]]:
        """Return one row of text per candidate, columns as in `Predicted`."""
        good = [k for k, c in enumerate(chunk) if not c.problem and "Li" in _elements(c.plain)]
        scores = dict(zip(good, self._parallel([chunk[k] for k in good]), strict=True))
        return [self._row(c, scores.get(k), first) for k, (c, first) in enumerate(zip(chunk, first_rows))]

    def _parallel(self, good: Sequence[Candidate]) -> list[dict[str, object]]:
        """Return the scores of candidates; formulas are shared among threads, one for each core.

        Structures are not: their cores are busy with reading.
        """
        if self.structures or len(good) < _MIN_SHARED:
            return self.scores(good).to_dict("records")
        size = -(-len(good) // n_cores())
        with ThreadPoolExecutor(n_cores()) as pool:
            tables = list(pool.map(self.scores, _chunks(iter(good), size)))
        return pd.concat(tables).to_dict("records")

    def scores(self, good: Sequence[Candidate]) -> pd.DataFrame:
        """Return the scores of candidates that can be read and hold lithium."""
        sigma, reasons = robust(self._sigma, good, _SIGMA)
        chances, more = robust(self._chances, good, _SUPERIONIC)
        where = judge(self.space, element_fractions([c.plain for c in good]).to_numpy())
        table = pd.concat([sigma, chances, where], axis=1)
        return table.assign(reasons=[(*a, *b) for a, b in zip(reasons, more, strict=True)])

    def _sigma(self, good: Sequence[Candidate]) -> pd.DataFrame:
        structures = [c.structure for c in good] if self.structures else None
        return self.conductivity.predict(
            [c.plain for c in good], structures=structures, confidence=self.confidence
        )

    def _chances(self, good: Sequence[Candidate]) -> pd.DataFrame:
        if self.superionic is None:
            return pd.DataFrame(np.nan, index=range(len(good)), columns=_SUPERIONIC)
        if self.structures:
            return self.superionic.predict_structures([c.structure for c in good])
        return self.superionic.predict_formulas([c.plain for c in good])

    def _row(self, candidate: Candidate, scores: dict[str, object] | None, first_row: int) -> list[str]:
        notes = [candidate.problem, *candidate.notes]
        if first_row:
            notes.append(f"same {'file content' if self.structures else 'composition'} as row {first_row}")
        values = [""] * 7
        nearest = ""
        if scores is not None:
            notes += self._score_notes(scores)
            values = [*(_number(scores[c]) for c in (*_SIGMA, *_SUPERIONIC)), str(scores["in_domain"])]
            nearest = str(scores["nearest"])
        elif not candidate.problem:
            notes.append(_NO_LITHIUM)
        note = "; ".join(dict.fromkeys(" ".join(note.split()) for note in notes if note))
        return [candidate.id, candidate.formula, *values, nearest, self.name if scores else "", note]

    def _score_notes(self, scores: dict[str, object]) -> list[str]:
        notes = list(scores["reasons"])
        if scores["unseen"]:
            notes.append(f"not in training: {scores['unseen'].replace(' ', ', ')}")
        if scores["measured"]:
            notes.append("this composition is among the training compounds: the score is no test")
        if pd.isna(scores["log10_sigma"]) and not notes:
            notes.append("the conductivity model gives no value for this input")
        return notes


def _elements(plain: str) -> dict[str, float]:
    return parse_formula(plain).get_el_amt_dict() if plain else {}


def _number(value: object) -> str:
    return "" if pd.isna(value) else f"{float(value):.4f}"


def robust(
    model: Callable[[Sequence[T]], pd.DataFrame], items: Sequence[T], columns: list[str]
) -> tuple[pd.DataFrame, list[tuple[str, ...]]]:
    """Return a model's columns and notes per item; an item that makes it fail loses only its own row.

    A chunk that fails is halved until the item is found.
    """
    if not items:
        return pd.DataFrame(columns=columns, dtype=float), []
    try:
        table = model(items).reset_index(drop=True)
        if len(table) != len(items):
            raise RunError(f"the model returned {len(table)} rows for {len(items)} inputs")
        notes = table["note"] if "note" in table else [""] * len(items)
        return table[columns].astype(float), [(note,) if note else () for note in notes]
    except Exception as error:  # any model, any input: the reason goes into the row's note
        if len(items) == 1:
            reason = f"not scored: {error or type(error).__name__}"
            return pd.DataFrame(np.nan, index=[0], columns=columns), [(reason,)]
    half = len(items) // 2
    (first, notes), (second, more) = (robust(model, p, columns) for p in (items[:half], items[half:]))
    return pd.concat([first, second], ignore_index=True), notes + more


def load_scorer(
    run: Path, *, structures: bool, confidence: float, say: Callable[[str], None] = print
) -> Scorer:
    """Load the models of a run and try them on one known compound.

    Raises `RunError` where the run has no conductivity model (notebook 04) or a model does not work. A run
    without the superionic ensemble (notebook 06) leaves its columns empty.
    """
    if not run.is_dir():
        raise RunError(f"there is no run folder {run}: make one with sse run 01 03 04 06 --out {run}")
    conductivity = _load_conductivity(run, structures=structures, say=say)
    try:
        superionic = load_superionic_model(run)
    except SSEError as error:
        superionic = None
        say(f"p_superionic, p_superionic_sd and d_training stay empty: {error}")
    space = training_space(conductivity.training)
    say(f"in_domain: all elements in training, nearest composition within {space.threshold_l1:.3f} (L1)")
    scorer = Scorer(conductivity, superionic, space, structures, confidence, {})
    return Scorer(**{**vars(scorer), "basis": _tried(scorer, run)})


def _load_conductivity(run: Path, *, structures: bool, say: Callable[[str], None]) -> "ConductivityModel":
    if structures:
        try:
            return load_conductivity_model(run, inputs="structure")
        except RunError:
            say("the conductivity comes from the formula alone: this run has no model that reads structures")
    return load_conductivity_model(run, inputs="formula")


def _tried(scorer: Scorer, run: Path) -> dict[str, object]:
    """Score a known compound; return what tells these models from others, to know when to start anew."""
    structure = Structure(Lattice.cubic(5.13), ["Li", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]])
    trial = [Candidate("trial", _TRIAL, _TRIAL, structure=structure)]
    try:
        values = [scorer._sigma(trial)[_SIGMA], scorer._chances(trial)[_SUPERIONIC]]
    except SSEError:
        raise
    except Exception as error:
        raise RunError(
            f"a model of the run {run} does not work ({type(error).__name__}: {error}): "
            f"run notebooks 04 and 06 again (sse run 04 06 --out {run})"
        ) from error
    numbers = [f"{x:.6g}" for table in values for x in table.to_numpy(float).ravel()]
    return {
        "run": str(run.resolve()),
        "model": scorer.name,
        "trial": numbers,
        "confidence": scorer.confidence,
    }
