"""Where a model may be believed: how far a composition lies from the compounds it was trained on.

A composition is in the domain if all its elements occur in the training compounds and its L1 distance to
the nearest of them is at most the 95 % quantile of the distances that the training compounds have to their
own nearest neighbour of another composition (leave one out). Distances are those of
`sselib.materials.composition.l1_distances`: 0 for the same mole fractions, 2 for no common element.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from sselib.columns import Entry
from sselib.errors import RunError
from sselib.materials.composition import MODIFIED_PETTIFOR_ORDER, element_fractions, l1_distances
from sselib.materials.formula_input import read_formula

QUANTILE = 0.95
SAME_L1 = 1e-3  # compositions closer than this are one composition, written with other rounding
_REQUIRED = (Entry.ID, Entry.FORMULA, Entry.LOG10_SIGMA, Entry.CENSORED)


@dataclass(frozen=True)
class TrainingSpace:
    """The distinct compositions a model was trained on.

    ``fractions`` (n, 103) mole fractions, columns in the modified Pettifor order. ``table``, one row each:
    id, formula, log10_sigma, censored of the first row of that composition, ``plain`` (the formula without
    notation) and ``label`` (the formula with all that was measured). ``threshold_l1`` is the largest distance
    that counts as in the domain.
    """

    fractions: np.ndarray
    table: pd.DataFrame
    threshold_l1: float

    @property
    def seen(self) -> np.ndarray:
        """Which elements occur, shape (103,)."""
        return self.fractions.any(axis=0)


def training_space(training: pd.DataFrame, *, quantile: float = QUANTILE) -> TrainingSpace:
    """Return the space of a model's training table, which has id, formula, log10_sigma and censored.

    Raises `RunError` where a column is missing or fewer than two compositions are there.
    """
    missing = [column for column in _REQUIRED if column not in training]
    if missing:
        raise RunError(f"the model's training table lacks {', '.join(missing)}: run notebook 04 again")
    plain = [read_formula(f).plain for f in training[Entry.FORMULA]]
    fractions = element_fractions(plain).to_numpy()
    same = l1_distances(fractions, fractions) < SAME_L1
    first = np.flatnonzero(same.argmax(axis=1) == np.arange(len(same)))
    if len(first) < 2:
        raise RunError(f"the model was trained on {len(first)} composition: expected at least two")
    table = training[list(_REQUIRED)].assign(plain=plain).iloc[first].reset_index(drop=True)
    table["label"] = [_label(training[same[i]]) for i in first]
    threshold = float(np.quantile(nearest_other(fractions[first]), quantile))
    return TrainingSpace(fractions[first], table, threshold)


def nearest_other(fractions: np.ndarray) -> np.ndarray:
    """Return the L1 distance of each composition to the nearest other one, shape (n,)."""
    distances = l1_distances(fractions, fractions)
    np.fill_diagonal(distances, np.inf)
    return distances.min(axis=1)


def _label(rows: pd.DataFrame) -> str:
    """Return the formula and the measured value, or the range over polymorphs and authors."""
    formula = str(rows[Entry.FORMULA].iloc[0]).strip(" \"'")
    bounds = rows[Entry.CENSORED].to_numpy(bool)
    low, high = rows[Entry.LOG10_SIGMA].min(), rows[Entry.LOG10_SIGMA].max()
    if len(rows) == 1:
        return f"{formula}: log10 sigma {'<= ' if bounds[0] else ''}{low:.2f}"
    also = f", {bounds.sum()} of them upper bounds" if bounds.any() else ""
    return f"{formula}: log10 sigma {low:.2f} to {high:.2f}, {len(rows)} entries{also}"


def judge(space: TrainingSpace, fractions: np.ndarray) -> pd.DataFrame:
    """Return where compositions lie beside the training compounds, one row each.

    ``fractions`` (n, 103) as in `TrainingSpace`. Columns: d_composition (L1 to the nearest, 0 to 2);
    nearest_id, nearest_formula, nearest_log10_sigma and ``nearest`` (the same in words); in_domain; unseen
    (elements, joined by a blank); measured: True where the composition itself is among the training
    compounds, so that its prediction is a memory, not a test.
    """
    seen = space.seen
    distances = l1_distances(fractions[:, seen], space.fractions[:, seen])
    at = distances.argmin(axis=1)
    distance = distances[np.arange(len(at)), at] + fractions[:, ~seen].sum(axis=1)
    symbols = np.array(MODIFIED_PETTIFOR_ORDER)
    unseen = [" ".join(symbols[new]) for new in (fractions > 0) & ~seen]
    nearest = space.table.iloc[at]
    return pd.DataFrame(
        {
            "d_composition": distance,
            "nearest_id": nearest[Entry.ID].to_numpy(),
            "nearest_formula": nearest[Entry.FORMULA].to_numpy(),
            "nearest_log10_sigma": nearest[Entry.LOG10_SIGMA].to_numpy(),
            "nearest": [f"{label} (L1 {d:.3f})" for label, d in zip(nearest["label"], distance, strict=True)],
            "in_domain": (distance <= space.threshold_l1) & (np.array(unseen, dtype=object) == ""),
            "unseen": unseen,
            "measured": distance < SAME_L1,
        }
    )
