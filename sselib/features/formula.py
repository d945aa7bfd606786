"""Features of a formula in fixed columns, fast enough to screen thousands of formulas a second.

The columns do not depend on which formulas come together, so that a saved model can be given any.
"""

from collections.abc import Sequence

import pandas as pd

from sselib.composition import element_fractions
from sselib.features.stoichiometry import elemental_features


def formula_features(formulas: Sequence[str]) -> pd.DataFrame:
    """Return features of formulas that `sselib.composition.parse_formula` reads, shape (n, 145).

    The mole fraction of every element (``fraction_He``, ... in the modified Pettifor order) and the
    statistics of `elemental_features`; NaN where an element property is not known. Raises `FormulaError`
    for a formula that cannot be read.
    """
    fractions = element_fractions(formulas).add_prefix("fraction_")
    return pd.concat([fractions, elemental_features(formulas)[0]], axis=1)
