"""Controls for text models: what simple methods make of the same information.

They learn from the same rows and, apart from the look-up, from the same information as the prompt, so that
a language model's gain over them is what reading adds.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from sklearn.base import BaseEstimator
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import RidgeCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from sselib.errors import ParameterError
from sselib.features.description import Group, names
from sselib.features.symmetry import symmetry_features
from sselib.materials.composition import element_fractions
from sselib.materials.disorder import DisorderClass
from sselib.text.prompts import CASES

SYMMETRY_ALONE = "symmetry_alone"  # nothing but the symmetry tag, which can stand for the source of a row
_SYMMETRY_CASES = ("case2_symmetry", "case4_both", SYMMETRY_ALONE)
_DISORDER_CASES = ("case3_disorder", "case4_both")


def ngram_ridge() -> BaseEstimator:
    """Return ridge regression on counts of character n-grams (1 to 4, tf-idf weighted, case kept).

    The strength of the ridge is chosen by leave-one-out on the training rows.
    """
    counts = TfidfVectorizer(analyzer="char", ngram_range=(1, 4), lowercase=False, sublinear_tf=True)
    dense = FunctionTransformer(lambda matrix: matrix.toarray(), accept_sparse=True)
    return make_pipeline(counts, dense, RidgeCV(np.logspace(-3, 2, 11)))


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
        known = [symmetry_features(int(g)) if g else {} for g in groups]
        blocks.append(pd.DataFrame(known, columns=list(names(Group.SYMMETRY)), dtype=float))
    if case in _DISORDER_CASES:
        blocks.append(pd.DataFrame({str(c): [float(d == c) for d in disorder] for c in DisorderClass}))
    return pd.concat(blocks, axis=1)
