"""`sse predict`: formulas or crystal structures in, one row of scores each out, in the same order.

Inputs stream through in chunks, so memory does not grow with their number. An input that cannot be read
or scored keeps its row, with a note and without scores. See docs/predict.md for the columns.
"""

import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import TypeVar

import pandas as pd

from sselib import __version__
from sselib.columns import Predicted
from sselib.errors import DataError, ParameterError
from sselib.materials.composition import parse_formula
from sselib.materials.structure_input import CifLimits
from sselib.prediction.inputs import (
    STANDARD_INPUT,
    Candidate,
    FormulaInputs,
    SeenInputs,
    StructureInputs,
    open_inputs,
)
from sselib.prediction.output import PredictionFile
from sselib.prediction.scorer import SIGMA, SUPERIONIC, Scorer, joined_notes, load_scorer
from sselib.progress import progress

T = TypeVar("T")
COLUMNS = tuple(str(column) for column in Predicted)
CHUNK_FORMULAS, CHUNK_STRUCTURES = 2000, 64
_WIDE = 10.0  # log10 units; an interval as wide says that such compounds were never measured
_CLASSES = " + superionic model"
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
        models = {"run": str(request.run.resolve()), "models": scorer.sha256}
        basis = {"version": __version__, **inputs.basis, **models}
        with PredictionFile(request.out, columns=COLUMNS, basis=basis, resume=request.resume) as output:
            if request.resume and output.restarted_because:
                say(f"starts from the first input ({output.restarted_because})")
            elif output.done.rows:
                say(f"{output.done.rows} rows are there already; continues after them")
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


def _score_all(
    inputs: FormulaInputs | StructureInputs,
    scorer: Scorer,
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
        table = _scored(scorer, chunk, seen, structures=inputs.structures)
        output.append(table.to_numpy(), scored=int((table[Predicted.LOG10_SIGMA] != "").sum()))
        parse_formula.cache_clear()  # the next chunk holds other formulas


def _chunks(items: Iterator[T], size: int) -> Iterator[list[T]]:
    while chunk := list(islice(items, size)):
        yield chunk


def _scored(
    scorer: Scorer, chunk: Sequence[Candidate], seen: SeenInputs, *, structures: bool
) -> pd.DataFrame:
    """Return one row of text per candidate, columns as in `Predicted`."""
    lithium = ["Li" in parse_formula(c.plain) if c.plain else False for c in chunk]
    good = [k for k, c in enumerate(chunk) if lithium[k] and not c.problem]
    crystals = [chunk[k].structure for k in good] if structures else None
    scores = scorer.score([chunk[k].plain for k in good], crystals).set_axis(good, axis=0)
    said = dict(zip(good, (_score_notes(row, scorer) for row in scores.to_dict("records")), strict=True))
    same = "same file content as row" if structures else "same composition as row"
    notes = []
    for k, (c, first) in enumerate(zip(chunk, seen.first_rows([c.key for c in chunk]), strict=True)):
        own = said.get(k, [] if c.problem else [_NO_LITHIUM])
        found = [c.problem, *c.notes, f"{same} {first}" if first else "", *own]
        notes.append(joined_notes(*(" ".join(note.split()) for note in found)))
    scores["model"] = scores["sigma_model"] + _CLASSES * bool(scorer.superionic)
    scores["in_domain"] = scores["in_domain"].astype(str)
    for column in (*SIGMA, *SUPERIONIC):
        scores[column] = ["" if pd.isna(value) else f"{value:.4f}" for value in scores[column]]
    table = scores.astype(object).reindex(range(len(chunk)), fill_value="")
    table = table.assign(id=[c.id for c in chunk], formula=[c.formula for c in chunk], note=notes)
    return table[list(COLUMNS)]


def _score_notes(scores: dict[str, object], scorer: Scorer) -> list[str]:
    """Return what a row of scores has to say beside its numbers."""
    notes = [scores["note"]] if scores["note"] else []
    if scores["unseen"]:
        notes.append(f"outside the domain, not in training: {scores['unseen'].replace(' ', ', ')}")
    elif not scores["in_domain"]:
        notes.append(
            f"outside the domain: the nearest training composition is at L1 {scores['d_composition']:.2f}, "
            f"the limit is {scorer.space.threshold_l1:.2f}"
        )
    width = scores["upper"] - scores["lower"]
    if width > _WIDE:
        notes.append(f"interval of {width:.0f} units: hardly anything like it was measured; read as unknown")
    if scores["measured"]:
        notes.append("this composition is among the training compounds: the score is no test")
    if pd.isna(scores["log10_sigma"]) and not notes:
        notes.append("the conductivity model gives no value for this input")
    return notes
