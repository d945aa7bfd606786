"""Controls for text models: character n-grams, trees on the information of each prompt case, symmetry alone.

They learn from the same rows and, apart from the look-up, from the same information as the prompt, so that
a language model's gain over them is what reading adds.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import RidgeCV

from sselib.errors import ParameterError
from sselib.features.symmetry import SYMMETRY_FEATURES, symmetry_features
from sselib.materials.composition import element_fractions
from sselib.materials.disorder import DisorderClass
from sselib.text.prompts import CASES

SYMMETRY_ALONE = "symmetry_alone"  # the provenance control: nothing but the symmetry tag
_SYMMETRY_CASES = ("case2_symmetry", "case4_both", SYMMETRY_ALONE)
_DISORDER_CASES = ("case3_disorder", "case4_both")
_RIDGE_STRENGTHS = np.logspace(-3, 2, 11)


class NgramRidge(RegressorMixin, BaseEstimator):
    """Ridge regression on counts of character n-grams (1 to 4, tf-idf weighted, case kept).

    The strength of the ridge is chosen by leave-one-out on the training rows.
    """

    def fit(self, texts: Sequence[str], y: np.ndarray) -> "NgramRidge":
        """Learn from texts and labels, shape (n,)."""
        self.vectorizer_ = TfidfVectorizer(
            analyzer="char", ngram_range=(1, 4), lowercase=False, sublinear_tf=True
        )
        counts = self.vectorizer_.fit_transform(list(texts)).toarray()
        self.ridge_ = RidgeCV(_RIDGE_STRENGTHS).fit(counts, np.asarray(y, float))
        return self

    def predict(self, texts: Sequence[str]) -> np.ndarray:
        """Return predictions, shape (m,)."""
        return self.ridge_.predict(self.vectorizer_.transform(list(texts)).toarray())


def information(
    compositions: Sequence[str], groups: Sequence[int], disorder: Sequence[str], *, case: str
) -> pd.DataFrame:
    """Return the information of a prompt case as numbers, one row per material, for a tree model.

    ``compositions`` are formulas, ``groups`` space-group numbers (0: unknown), ``disorder`` the classes of
    the prompt. Element fractions, for cases 2 and 4 the symmetry features of notebook 03 (NaN where
    unknown), for cases 3 and 4 one flag per disorder class (all 0 where unknown). ``symmetry_alone``
    leaves the fractions out. Raises `ParameterError` for another case.
    """
    if case not in (*CASES, SYMMETRY_ALONE):
        raise ParameterError(
            f"prompt case {case!r} is unknown: expected one of {', '.join((*CASES, SYMMETRY_ALONE))}"
        )
    blocks = [] if case == SYMMETRY_ALONE else [element_fractions(list(compositions))]
    if case in _SYMMETRY_CASES:
        blocks.append(_symmetry(groups))
    if case in _DISORDER_CASES:
        blocks.append(pd.DataFrame({str(c): [float(d == c) for d in disorder] for c in DisorderClass}))
    return pd.concat(blocks, axis=1)


def _symmetry(groups: Sequence[int]) -> pd.DataFrame:
    names = [feature.name for feature in SYMMETRY_FEATURES]
    return pd.DataFrame([symmetry_features(int(g)) if g else {} for g in groups], columns=names, dtype=float)


def provenance(groups: Sequence[int], structure_ids: Sequence[object], y: np.ndarray) -> pd.DataFrame:
    """Return rows and mean label, log10(S/cm), by what the symmetry tag gives away.

    Columns: tag, n, with_structure, mean_label, std_label. Generated structures are mostly in space group
    1, measured ones hardly ever, so that "P1" can stand for a source rather than for a symmetry.
    """
    number = np.asarray(groups, int)
    tags = np.select([number == 0, number == 1, number == 2], ["unknown", "P1", "P-1"], "higher")
    table = pd.DataFrame({"tag": tags, "known": pd.notna(np.asarray(structure_ids, object)), "y": y})
    found = table.groupby("tag").agg(
        n=("y", "size"), with_structure=("known", "sum"), mean_label=("y", "mean"), std_label=("y", "std")
    )
    return (
        found.reindex(["P1", "P-1", "higher", "unknown"]).fillna({"n": 0, "with_structure": 0}).reset_index()
    )
