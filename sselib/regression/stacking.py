"""Blends of models whose errors differ, made from their predictions under one protocol."""

from collections.abc import Sequence

import pandas as pd

from sselib.columns import Prediction as P
from sselib.errors import ParameterError
from sselib.validation.metrics import require_same_rows

BLEND = "blend"


def members_of(name: str) -> list[str]:
    """Return the members of a blend written "gp/formula + extra_trees/formula"."""
    return [member.strip() for member in name.split("+")]


def blend(predictions: pd.DataFrame, *, members: Sequence[str]) -> pd.DataFrame:
    """Return the mean prediction of the ``members``, where all of them predicted the same rows.

    ``predictions`` has the columns of `Prediction`; members are written "model/features". The rows are
    named model "blend" with the features of the last member. Equal weights: nothing is learnt from the
    rows that judge. The interval is that of the first member, moved to the mean. A data set or protocol
    that one member lacks is left out. Raises `ParameterError` for a member without any prediction.
    """
    names = predictions[P.MODEL] + "/" + predictions[P.FEATURES]
    absent = [m for m in members if m not in set(names)]
    if absent or not members:
        raise ParameterError(
            f"the blend needs predictions of {', '.join(members) or 'at least one model'}; without: "
            f"{', '.join(absent)}. Add them to `models`"
        )
    taken = predictions[names.isin(members)].assign(member=names)
    complete = taken.groupby([P.DATASET, P.PROTOCOL])["member"].transform("nunique") == len(set(members))
    taken = taken[complete]
    require_same_rows(taken)
    keys = [P.DATASET, P.PROTOCOL, P.REPEAT, P.FOLD, P.ID]
    mean = taken.groupby(keys, sort=False)[P.Y_PRED].mean().rename("mean")
    found = taken[taken["member"] == members[0]].join(mean, on=keys)
    for end in (P.LOWER, P.UPPER):
        found[end] = found[end] + found["mean"] - found[P.Y_PRED]
    found[P.Y_PRED], found[P.MODEL] = found["mean"], BLEND
    found[P.FEATURES] = members[-1].split("/")[1]
    return found[[str(c) for c in P]].reset_index(drop=True)
