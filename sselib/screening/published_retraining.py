"""Models trained anew without the relatives of some candidates, for a test that the saved models cannot give.

The saved models of notebooks 04 and 06 have seen most published candidates, or compounds next to them.
Here the same kinds of model, of the same size, are trained on the rows that are left once every row near a
candidate is out.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from sselib.atomsets.superionic_model import fitted_like
from sselib.columns import Entry
from sselib.materials.composition import element_fractions, l1_distances
from sselib.prediction.applicability import training_space
from sselib.prediction.scorer import Scorer
from sselib.regression.conductivity_model import train_conductivity_model


@dataclass(frozen=True)
class Retrained:
    """Models trained without the relatives of candidates; ``n_removed`` (n,) is the number of each one's.

    All relatives are left out for all candidates.
    """

    scorer: Scorer
    n_removed: np.ndarray


def without_relatives(
    formulas: Sequence[str], scorer: Scorer, *, curated: pd.DataFrame, distance: float, seed: int
) -> Retrained:
    """Return models of formulas like those of ``scorer``, trained without every material near a formula.

    ``distance`` is the largest L1 distance of mole fractions (0 to 2) that counts as near; ``curated`` is
    the table of notebook 01. The calibration of the probabilities stays that of the saved model.
    """
    fractions = element_fractions(list(formulas)).to_numpy()
    known = element_fractions(list(curated[Entry.COMPOSITION])).to_numpy()
    close = l1_distances(fractions, known) <= distance
    rest = curated[~close.any(axis=0)].reset_index(drop=True)
    conductivity = train_conductivity_model(rest, seed=seed)
    again = replace(
        scorer,
        by_formula=conductivity,
        by_structure=None,
        superionic=fitted_like(scorer.superionic, rest),
        space=training_space(conductivity.training),
    )
    return Retrained(again, close.sum(axis=1))
