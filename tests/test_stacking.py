"""The blend is the mean of its members on the same rows, and says what it lacks."""

import pandas as pd
import pytest

from sselib.columns import Prediction as P
from sselib.errors import ParameterError
from sselib.regression.stacking import blend, members_of


def predictions(model: str, values: list[float], protocol: str = "kfold5") -> pd.DataFrame:
    table = pd.DataFrame({P.ID: list("abc"), P.Y_PRED: values}).reindex(columns=[str(c) for c in P])
    named = {P.DATASET: "obelix", P.MODEL: model, P.FEATURES: "formula", P.PROTOCOL: protocol}
    return table.assign(**named, **{P.REPEAT: 0, P.FOLD: 0, P.Y_TRUE: -5.0, P.CENSORED: False})


def test_the_mean_of_the_members_row_by_row() -> None:
    both = pd.concat([predictions("gp", [-1, -2, -3]), predictions("extra_trees", [-3, -4, -9])[::-1]])
    found = blend(both, members=["gp/formula", "extra_trees/formula"])
    assert found.set_index(P.ID)[P.Y_PRED].to_dict() == {"a": -2, "b": -3, "c": -6}
    assert set(found[P.MODEL]) == {"blend"}


def test_the_interval_of_the_first_member_moves_with_the_prediction() -> None:
    first = predictions("gp", [-1, -2, -3]).assign(**{P.LOWER: [-2, -4, -6], P.UPPER: [0.5, 0, 0]})
    both = pd.concat([first, predictions("extra_trees", [-3, -4, -9])])
    found = blend(both, members=members_of("gp/formula + extra_trees/formula"))
    assert found[P.LOWER].tolist() == [-3, -5, -9]
    assert found[P.UPPER].tolist() == [-0.5, -1, -3]


def test_a_protocol_that_one_member_lacks_is_left_out() -> None:
    parts = [predictions("gp", [1, 1, 1]), predictions("extra_trees", [1, 1, 1])]
    found = blend(
        pd.concat([*parts, predictions("gp", [1, 1, 1], "loco")]),
        members=["gp/formula", "extra_trees/formula"],
    )
    assert set(found[P.PROTOCOL]) == {"kfold5"}


def test_a_member_without_predictions_is_named() -> None:
    with pytest.raises(ParameterError, match="xgb_kim/kim_all"):
        blend(predictions("gp", [1, 2, 3]), members=["gp/formula", "xgb_kim/kim_all"])
