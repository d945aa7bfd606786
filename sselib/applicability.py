"""Where a model may be believed: how far a composition lies from the compounds it was trained on.

A composition is in the domain if all its elements occur in the training compounds and its L1 distance to
the nearest of them is at most the 95 % quantile of the distances that the training compounds have to their
own nearest neighbour of another composition (leave one out). Distances are those of
`sselib.composition.l1_distances`: 0 for the same mole fractions, 2 for no common element.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from sselib.columns import Entry
from sselib.composition import MODIFIED_PETTIFOR_ORDER, element_fractions, l1_distances
from sselib.errors import RunError
from sselib.formula_input import read_formula

QUANTILE = 0.95
SAME_L1 = 1e-3  # compositions closer than this are one composition, written with other rounding
_REQUIRED = (Entry.FORMULA, Entry.LOG10_SIGMA, Entry.CENSORED)


@dataclass(frozen=True)
class TrainingSpace:
    """The compounds a model was trained on.

    ``fractions`` (n, 103) mole fractions, columns in the modified Pettifor order; ``labels`` (n,) a formula
    with its measured value each; ``threshold_l1`` the largest distance that counts as in the domain.
    """

    fractions: np.ndarray
    labels: tuple[str, ...]
    threshold_l1: float

    @property
    def seen(self) -> np.ndarray:
        """Which elements occur, shape (103,)."""
        return self.fractions.any(axis=0)


def training_space(training: pd.DataFrame, *, quantile: float = QUANTILE) -> TrainingSpace:
    """Return the space of a model's training table, which has formula, log10_sigma and censored.

    Raises `RunError` where a column is missing or fewer than two compositions are there.
    """
    missing = [column for column in _REQUIRED if column not in training]
    if missing:
        raise RunError(f"the model's training table lacks {', '.join(missing)}: run notebook 04 again")
    fractions = element_fractions([read_formula(f).plain for f in training[Entry.FORMULA]]).to_numpy()
    distances = nearest_other(fractions)
    if len(distances) < 2:
        raise RunError(f"the model was trained on {len(distances)} composition: expected at least two")
    rows = training[list(_REQUIRED)].itertuples(index=False)
    labels = tuple(_label(*row) for row in rows)
    return TrainingSpace(fractions, labels, float(np.quantile(distances, quantile)))


def nearest_other(fractions: np.ndarray) -> np.ndarray:
    """Return the L1 distance of each distinct composition to the nearest other one, shape (n distinct,)."""
    distances = l1_distances(fractions, fractions)
    first = (distances < SAME_L1).argmax(axis=1) == np.arange(len(distances))
    among = distances[np.ix_(first, first)]
    np.fill_diagonal(among, np.inf)
    return among.min(axis=1) if len(among) > 1 else np.empty(0)


def _label(formula: str, log10_sigma: float, censored: bool) -> str:
    return f"{str(formula).strip()}: log10 sigma {'<= ' if censored else ''}{log10_sigma:.2f}"


def judge(space: TrainingSpace, fractions: np.ndarray) -> pd.DataFrame:
    """Return distance_l1, nearest, in_domain, unseen (elements, joined by a blank) and measured.

    ``fractions`` (n, 103) as in `TrainingSpace`. ``measured`` is True where the composition itself is
    among the training compounds, so that its prediction is a memory, not a test.
    """
    seen = space.seen
    distances = l1_distances(fractions[:, seen], space.fractions[:, seen])
    at = distances.argmin(axis=1)
    distance = distances[np.arange(len(at)), at] + fractions[:, ~seen].sum(axis=1)
    unseen = [_names(row) for row in (fractions > 0) & ~seen]
    return pd.DataFrame(
        {
            "distance_l1": distance,
            "nearest": [f"{space.labels[i]} (L1 {d:.3f})" for i, d in zip(at, distance, strict=True)],
            "in_domain": (distance <= space.threshold_l1) & (np.array(unseen, dtype=object) == ""),
            "unseen": unseen,
            "measured": distance < SAME_L1,
        }
    )


def _names(mask: np.ndarray) -> str:
    return " ".join(MODIFIED_PETTIFOR_ORDER[i] for i in np.flatnonzero(mask))
