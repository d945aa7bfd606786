"""`sse predict`: formulas or crystal structures in, one row of scores each out, in the same order.

Inputs stream through in chunks, so memory does not grow with their number. An input that cannot be read
or scored keeps its row, with a note and without scores. See docs/predict.md for the columns.
"""

import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import TypeVar

import numpy as np
import pandas as pd
from pymatgen.core import Lattice, Structure

from sselib import __version__
from sselib.atomsets.superionic_model import SuperionicModel, load_superionic_model
from sselib.columns import Predicted
from sselib.errors import DataError, ParameterError, RunError, SSEError
from sselib.materials.composition import element_fractions, parse_formula
from sselib.materials.structure_input import CifLimits
from sselib.prediction.applicability import TrainingSpace, judge, training_space
from sselib.prediction.inputs import (
    STANDARD_INPUT,
    Candidate,
    FormulaInputs,
    SeenInputs,
    StructureInputs,
    n_cores,
    open_inputs,
)
from sselib.prediction.output import PredictionFile
from sselib.progress import progress
from sselib.regression.conductivity_model import ConductivityModel, load_conductivity_model

T = TypeVar("T")
COLUMNS = tuple(str(column) for column in Predicted)
CHUNK_FORMULAS, CHUNK_STRUCTURES = 2000, 64
_MIN_SHARED = 200  # formulas that are worth a second thread
_SIGMA = ["log10_sigma", "lower", "upper"]
_SUPERIONIC = ["p_superionic", "p_superionic_sd", "d_training"]
_WIDE = 10.0  # log10 units; an interval as wide says that such compounds were never measured
_TRIAL = "Li6PS5Cl"  # what both models are tried on before the first input
_ENSEMBLE = " + superionic ensemble"
_NO_LITHIUM = "no lithium: the models are for Li+ conductors"


@dataclass(frozen=True)
class PredictRequest:
    """What `sse predict` was asked for.

    ``source``: a table with a column of formulas, a CIF, a folder of CIFs, or ``-`` for standard input.
    ``chunk`` None: 2000 formulas or 64 structures at a time.
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


def predict(request: PredictRequest, *, say: Callable[[str], None] = print) -> PredictSummary:
    """Score every input of a request and write the output CSV.

    Raises `ParameterError` for an impossible request, `DataError` or `SchemaError` for an input that
    cannot be read at all, and `RunError` where the run has no conductivity model.
    """
    _require_possible(request)
    with tempfile.TemporaryDirectory(prefix="sse-predict-") as folder:
        inputs = open_inputs(
            request.source,
            formula_column=request.formula_column,
            id_column=request.id_column,
            limits=request.limits,
            scratch=Path(folder),
            say=say,
        )
        scorer = load_scorer(
            request.run, structures=inputs.structures, confidence=request.confidence, say=say
        )
        basis = {"version": __version__, **inputs.basis, **scorer.basis}
        with PredictionFile(request.out, columns=COLUMNS, basis=basis, resume=request.resume) as output:
            _say_resume(output, request, say)
            _score_all(inputs, scorer, output, request)
            output.finish()
        if not output.done.rows:
            say(f"{request.source} has a header and no row below it: there is nothing to score")
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
    inputs: FormulaInputs | StructureInputs,
    scorer: "Scorer",
    output: PredictionFile,
    request: PredictRequest,
) -> None:
    done = output.done.rows
    seen = SeenInputs()
    for keys in _chunks(inputs.keys(done), CHUNK_FORMULAS):
        seen.first_rows(keys)
    size = request.chunk or (CHUNK_STRUCTURES if inputs.structures else CHUNK_FORMULAS)
    candidates = progress(inputs.candidates(done), stage="predict", total=max(inputs.total - done, 0))
    for chunk in _chunks(candidates, size):
        rows = scorer.rows(chunk, seen.first_rows([c.key for c in chunk]))
        output.append(rows, scored=sum(row[2] != "" for row in rows))
        parse_formula.cache_clear()  # the next chunk holds other formulas


def _chunks(items: Iterator[T], size: int) -> Iterator[list[T]]:
    while chunk := list(islice(items, size)):
        yield chunk


@dataclass(frozen=True)
class Scorer:
    """The models of a run, ready to score chunks of candidates.

    ``by_formula`` predicts the conductivity of a structure that ``conductivity`` cannot read.
    """

    conductivity: ConductivityModel
    superionic: SuperionicModel | None
    space: TrainingSpace
    structures: bool
    confidence: float
    basis: dict[str, object]
    by_formula: ConductivityModel | None = None

    @property
    def name(self) -> str:
        """What the column ``model`` says."""
        return self.conductivity.name + _ENSEMBLE * bool(self.superionic)

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
        sigma, reasons, names = self._with_fallback(good, sigma, reasons)
        chances, more = robust(self._chances, good, _SUPERIONIC)
        where = judge(self.space, element_fractions([c.plain for c in good]).to_numpy())
        table = pd.concat([sigma, chances, where], axis=1)
        reasons = [(*a, *b) for a, b in zip(reasons, more, strict=True)]
        return table.assign(reasons=reasons, model=names)

    def _with_fallback(
        self, good: Sequence[Candidate], sigma: pd.DataFrame, reasons: list[tuple[str, ...]]
    ) -> tuple[pd.DataFrame, list[tuple[str, ...]], list[str]]:
        """Return the conductivities with those that only the formula gives, their notes, and model names."""
        names, reasons = [self.name] * len(good), list(reasons)
        missing = np.flatnonzero(sigma["log10_sigma"].isna()) if self.by_formula else []
        if len(missing):
            found = self.by_formula.predict([good[k].plain for k in missing], confidence=self.confidence)
            sigma = sigma.copy()
            sigma.iloc[missing] = found[_SIGMA].to_numpy()
            for k in missing:
                names[k] = self.by_formula.name + _ENSEMBLE * bool(self.superionic)
                reasons[k] = (*reasons[k], "the conductivity comes from the formula alone")
        return sigma, reasons, names

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
        return [candidate.id, candidate.formula, *values, nearest, scores["model"] if scores else "", note]

    def _score_notes(self, scores: dict[str, object]) -> list[str]:
        notes = list(scores["reasons"])
        if scores["unseen"]:
            notes.append(f"outside the domain, not in training: {scores['unseen'].replace(' ', ', ')}")
        elif not scores["in_domain"]:
            notes.append(
                f"outside the domain: the nearest training composition is at L1 {scores['distance_l1']:.2f}, "
                f"the limit is {self.space.threshold_l1:.2f}"
            )
        width = scores["upper"] - scores["lower"]
        if width > _WIDE:
            notes.append(
                f"interval of {width:.0f} units: hardly anything like it was measured; read as unknown"
            )
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
    conductivity, by_formula = _load_conductivity(run, structures=structures, say=say)
    try:
        superionic = load_superionic_model(run)
    except SSEError as error:
        superionic = None
        say(f"p_superionic, p_superionic_sd and d_training stay empty: {error}")
    space = training_space(conductivity.training)
    say(f"in_domain: all elements in training, nearest composition within {space.threshold_l1:.3f} (L1)")
    scorer = Scorer(conductivity, superionic, space, structures, confidence, {}, by_formula)
    return replace(scorer, basis=_tried(scorer, run))


def _load_conductivity(
    run: Path, *, structures: bool, say: Callable[[str], None]
) -> tuple[ConductivityModel, ConductivityModel | None]:
    """Return the model for these inputs and, for structures, the one for those that it cannot read."""
    by_formula = load_conductivity_model(run, inputs="formula")
    if structures:
        try:
            return load_conductivity_model(run, inputs="structure"), by_formula
        except RunError:
            say("the conductivity comes from the formula alone: this run has no model that reads structures")
    return by_formula, None


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
