"""How uncertain a label is, from repeated measurements, against that of a single one.

Labels differ in what stands behind them: most are one measurement, some the median of several that agree or
do not. The variance of a single measurement and the scatter of a row's own repeats are pooled (empirical
Bayes with an inverse chi-squared prior of `_PRIOR_MEASUREMENTS` degrees of freedom; Smyth, Stat. Appl. Genet.
Mol. Biol. 3, 3 (2004), doi 10.2202/1544-6115.1027). The pooled variance is that of all rows given: of a row
that is tested its scatter enters one number, its label nothing.
"""

import numpy as np
import pandas as pd

from sselib.columns import Curated

_PRIOR_MEASUREMENTS = 2.0


def relative_noise(table: pd.DataFrame) -> np.ndarray:
    """Return the variance of each label against that of a single measurement, shape (n,).

    ``table`` is curated rows with ``n_measurements`` and ``label_std`` (log10(S/cm), missing for one). 1 for
    a single measurement, and for every row where no row has repeats.
    """
    n = table[Curated.N_MEASUREMENTS].to_numpy(float)
    freedom = np.maximum(n - 1, 0.0)
    scatter = freedom * np.nan_to_num(table[Curated.LABEL_STD].to_numpy(float)) ** 2
    if not scatter.sum() > 0:
        return np.ones(len(table))
    single = scatter.sum() / freedom.sum()
    own = (_PRIOR_MEASUREMENTS * single + scatter) / (_PRIOR_MEASUREMENTS + freedom)
    return own / single / np.maximum(n, 1.0)
