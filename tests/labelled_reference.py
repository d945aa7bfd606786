"""The reference set with the labels and families that training reads, for tests of several modules."""

import pandas as pd

from sselib.columns import Curated
from sselib.materials.conductivity import is_superionic
from sselib.materials.families import normalise_family
from sselib.sources import reference


def labelled_reference() -> pd.DataFrame:
    """Return the rows of the embedded reference set with ``superionic`` and ``family``."""
    rows = reference.load().entries
    labels = [
        is_superionic(v, censored=c) for v, c in zip(rows["log10_sigma"], rows["censored"], strict=True)
    ]
    families = [str(normalise_family(r, f)) for r, f in zip(rows["family_raw"], rows["formula"], strict=True)]
    superionic = pd.array(labels, dtype="boolean")
    return rows.assign(**{Curated.SUPERIONIC: superionic, Curated.FAMILY: families})
