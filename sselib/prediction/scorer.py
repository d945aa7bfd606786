"""The models of a run, and what they say of a formula or a structure: one row of scores each, from one call.

`sse predict` and notebook 07 both ask here, so that a material has one answer.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TypeVar

import numpy as np
import pandas as pd
from pymatgen.core import Lattice, Structure

from sselib.atomsets import superionic_model
from sselib.atomsets.superionic_model import SuperionicModel, load_superionic_model
from sselib.errors import RunError, SSEError
from sselib.materials.composition import element_fractions
from sselib.prediction.applicability import TrainingSpace, judge, training_space
from sselib.prediction.inputs import n_cores
from sselib.provenance import content_sha256, file_sha256
from sselib.regression import conductivity_model
from sselib.regression.conductivity_model import ConductivityModel, load_conductivity_model

T = TypeVar("T")
Item = tuple[str, Structure | None]
SIGMA = ["log10_sigma", "lower", "upper"]
SUPERIONIC = ["p_superionic", "p_superionic_sd", "d_training"]
FROM_FORMULA = "the conductivity comes from the formula alone"
_MIN_SHARED = 200  # formulas that are worth a second thread
_TRIAL = "Li6PS5Cl"  # what the models are tried on before the first input


@dataclass(frozen=True)
class Scorer:
    """The models of a run, ready to score.

    ``by_structure`` is None where the run has no conductivity model that reads structures, ``superionic``
    where it has no notebook 06. ``space`` holds the compositions that ``by_formula`` was trained on.
    ``sha256`` changes with every saved model and with the ``confidence`` of the intervals.
    """

    by_formula: ConductivityModel
    by_structure: ConductivityModel | None
    superionic: SuperionicModel | None
    space: TrainingSpace
    confidence: float = 0.9
    sha256: str = ""

    def score(self, formulas: Sequence[str], structures: Sequence[Structure] | None = None) -> pd.DataFrame:
        """Return one row per formula, in order: from its structure where ``structures`` are given.

        Columns: log10_sigma, lower, upper in log10(S/cm) and sigma_model; p_superionic, p_superionic_sd,
        d_training; note; and those of `sselib.prediction.applicability.judge`. What a model cannot score is
        NaN, with the reason in the note; a conductivity that its structure does not give comes from the
        formula. Formulas must hold lithium. Many of them are shared among threads, one for each core.
        """
        items = list(zip(formulas, structures or [None] * len(formulas), strict=True))
        size = -(-len(items) // n_cores()) if structures is None and len(items) >= _MIN_SHARED else len(items)
        parts = [items[k : k + size] for k in range(0, len(items), size)] if items else [items]
        if len(parts) == 1:  # structures are not shared: their cores are busy with reading
            return self._scores(items)
        with ThreadPoolExecutor(len(parts)) as pool:
            return pd.concat(pool.map(self._scores, parts), ignore_index=True)

    def _scores(self, items: Sequence[Item]) -> pd.DataFrame:
        sigma = self._sigma(items)
        chances = robust(self._chances, items, SUPERIONIC)
        notes = [joined_notes(*both) for both in zip(sigma.pop("note"), chances.pop("note"), strict=True)]
        where = judge(self.space, element_fractions([formula for formula, _ in items]).to_numpy())
        return pd.concat([sigma, chances, where], axis=1).assign(note=notes)

    def _sigma(self, items: Sequence[Item]) -> pd.DataFrame:
        """Return the conductivities, from the formula where the structure gives none."""
        by_structure = self.by_structure if items and items[0][1] is not None else None
        first = by_structure or self.by_formula
        found = robust(partial(self._conductivity, first), items, SIGMA).assign(sigma_model=first.name)
        missing = np.flatnonzero(found["log10_sigma"].isna()) if by_structure else []
        if len(missing):
            again = self._conductivity(self.by_formula, [(items[k][0], None) for k in missing])
            found.loc[missing, SIGMA] = again[SIGMA].to_numpy()
            found.loc[missing, "sigma_model"] = self.by_formula.name
            found.loc[missing, "note"] = [joined_notes(n, FROM_FORMULA) for n in found["note"][missing]]
        return found

    def _conductivity(self, model: ConductivityModel, items: Sequence[Item]) -> pd.DataFrame:
        structures = [structure for _, structure in items]
        known = None if structures[0] is None else structures
        return model.predict([f for f, _ in items], structures=known, confidence=self.confidence)

    def _chances(self, items: Sequence[Item]) -> pd.DataFrame:
        if self.superionic is None:
            return pd.DataFrame(np.nan, index=range(len(items)), columns=SUPERIONIC)
        if items[0][1] is None:
            return self.superionic.predict_formulas([formula for formula, _ in items])
        return self.superionic.predict_structures([structure for _, structure in items])

    def require_working(self) -> None:
        """Raise `RunError` where a model does not work on a known compound, before the first input."""
        crystal = Structure(Lattice.cubic(5.13), ["Li", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]])
        try:
            for model in filter(None, (self.by_formula, self.by_structure)):
                structure = crystal if model is self.by_structure else None
                self._conductivity(model, [(_TRIAL, structure)])
            self._chances([(_TRIAL, None)])
        except SSEError:
            raise
        except Exception as error:
            raise RunError(
                f"a model of this run does not work ({type(error).__name__}: {error}): "
                "run notebooks 04 and 06 again (sse run 04 06)"
            ) from error


def joined_notes(*notes: str) -> str:
    """Return the notes that say something, each once."""
    return "; ".join(dict.fromkeys(note for note in notes if note))


def robust(
    model: Callable[[Sequence[T]], pd.DataFrame], items: Sequence[T], columns: list[str]
) -> pd.DataFrame:
    """Return a model's columns and ``note`` per item; an item that makes it fail loses only its own row.

    A chunk that fails is halved until the item is found.
    """
    if not items:
        return pd.DataFrame(columns=columns, dtype=float).assign(note="")
    try:
        table = model(items).reset_index(drop=True)
        if len(table) != len(items):
            raise RunError(f"the model returned {len(table)} rows for {len(items)} inputs")
        return table[columns].astype(float).assign(note=table.get("note", ""))
    except Exception as error:  # any model, any input: the reason goes into the row's note
        if len(items) == 1:
            reason = f"not scored: {error or type(error).__name__}"
            return pd.DataFrame(np.nan, index=[0], columns=columns).assign(note=reason)
    half = len(items) // 2
    return pd.concat(
        [robust(model, part, columns) for part in (items[:half], items[half:])], ignore_index=True
    )


def load_scorer(
    run: Path, *, structures: bool = True, confidence: float = 0.9, say: Callable[[str], None] = print
) -> Scorer:
    """Load the models of a run, for ``structures`` too or for formulas alone, and see that they work.

    Raises `RunError` where the run has no conductivity model (notebook 04) or a model does not work. What
    else is not there is said: without notebook 06 the columns of the class stay empty.
    """
    if not run.is_dir():
        raise RunError(f"there is no run folder {run}: make one with sse run 01 03 04 06 --out {run}")
    by_formula = load_conductivity_model(run, inputs="formula")
    by_structure = superionic = None
    if structures:
        try:
            by_structure = load_conductivity_model(run, inputs="structure")
        except RunError:
            say(f"{FROM_FORMULA}: this run has no model that reads structures")
    try:
        superionic = load_superionic_model(run)
    except SSEError as error:
        say(f"p_superionic, p_superionic_sd and d_training stay empty: {error}")
    space = training_space(by_formula.training)
    say(f"in_domain: all elements in training, nearest composition within {space.threshold_l1:.3f} (L1)")
    scorer = Scorer(by_formula, by_structure, superionic, space, confidence)
    scorer.require_working()
    return replace(scorer, sha256=content_sha256([confidence, _model_files(run)]))


def _model_files(run: Path) -> list[tuple[str, str]]:
    """Return name and sha256 of every file of the models that a run has saved."""
    folders = (
        run / conductivity_model.NOTEBOOK / "models",
        run / superionic_model.NOTEBOOK / superionic_model.FOLDER,
    )
    files = [path for folder in folders for path in sorted(folder.glob("*")) if path.is_file()]
    return [(path.name, file_sha256(path)) for path in files]
