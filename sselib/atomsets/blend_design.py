"""Which models should a blend choose from? Compared on training rows alone, before the test rows are scored.

The part on which candidates are compared holds OBELiX's official training rows without the fresh tenth, and
the rows without a structure that may train beside them. What is picked here has seen no official test row
and no row of the fresh tenth.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pandas as pd

from sselib.atomsets.classification import classification_records
from sselib.atomsets.classifiers import (
    CONTROLS,
    ClassifierSettings,
    Inputs,
    Unpaired,
    class_splits,
    clusters_by_seed,
    fresh_tenth,
    unpaired_rows,
)
from sselib.atomsets.held_out import centred, class_predictions
from sselib.columns import ClassPrediction as C
from sselib.columns import Entry
from sselib.errors import DataError
from sselib.materials.composition import element_fractions, elmd_distances
from sselib.validation.splits import Split

PROTOCOLS: tuple[str, ...] = ("group_material", "group_doi", "loco")


def training_part(inputs: Inputs) -> Inputs:
    """Return the official training rows without the fresh tenth, and rows without structure that may train.

    Raises `DataError` where no row carries OBELiX's official split.
    """
    official = (inputs.table[Entry.OFFICIAL_SPLIT] == "train").fillna(False).to_numpy(bool)
    if not official.any():
        raise DataError(
            "no row carries OBELiX's official split: candidates are compared on its training rows"
        )
    rows = np.setdiff1d(np.flatnonzero(official), fresh_tenth(len(inputs.table)).test)
    held_out = np.setdiff1d(np.arange(len(inputs.table)), rows)
    table = inputs.table.iloc[rows].reset_index(drop=True)
    other = unpaired_rows(inputs, Split("obelix_official", 0, 0, rows, held_out))
    return replace(
        inputs,
        table=table,
        y=inputs.y[rows],
        matrices={name: values[rows] for name, values in inputs.matrices.items()},
        sets={name: [sets[k] for k in rows] for name, sets in inputs.sets.items()},
        duplicates=inputs.duplicates[rows],
        unpaired=_nearest_of(inputs.unpaired, other, table) if len(other) else None,
    )


def _nearest_of(unpaired: Unpaired, kept: np.ndarray, table: pd.DataFrame) -> Unpaired:
    """Return the rows ``kept`` of ``unpaired``, each with its nearest row in ``table``."""
    rows = unpaired.table.iloc[kept].reset_index(drop=True)
    fractions = [element_fractions(list(t[Entry.COMPOSITION])).to_numpy() for t in (rows, table)]
    return Unpaired(
        table=rows,
        y=unpaired.y[kept],
        matrices={name: values[kept] for name, values in unpaired.matrices.items()},
        nearest=elmd_distances(*fractions).argmin(axis=1),
    )


def design_scores(
    inputs: Inputs,
    *,
    models: Sequence[str],
    settings: ClassifierSettings,
    cluster_seed: int = 42,
    n_bootstrap: int = 500,
) -> pd.DataFrame:
    """Return metric records of single models on `training_part`, one row each, with a column ``name``.

    Under `PROTOCOLS`; ``inputs`` are those of notebook 06. MCC under ``loco`` is that of the limit at the
    mean logit of the held-out cluster (as `blend/centred`), elsewhere of probability 0.5.
    """
    part = training_part(inputs)
    clusters = clusters_by_seed(part.table, seeds=[cluster_seed])
    splits = class_splits(PROTOCOLS, part, clusters=clusters, seed=settings.seed)
    found = class_predictions(part, splits, models=models, dataset="training part", settings=settings)
    own = (found[C.PROTOCOL] == "loco") & ~found[C.MODEL].isin(CONTROLS)
    keys = [C.MODEL, C.FEATURES, C.REPEAT, C.FOLD]
    found.loc[own, C.P_SUPERIONIC] = (
        found[own].groupby(keys)[C.P_SUPERIONIC].transform(lambda p: centred(p.to_numpy()))
    )
    records = pd.DataFrame(
        classification_records(found, controls=CONTROLS, n_bootstrap=n_bootstrap, seed=settings.seed)
    )
    return records.assign(name=records["model"] + "/" + records["features"])
