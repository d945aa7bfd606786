"""The blend is the mean of its members on the same rows; the stack learns weights out of fold."""

import numpy as np
import pandas as pd
import pytest
from sklearn.dummy import DummyRegressor

from sselib.columns import Prediction as P
from sselib.errors import ParameterError
from sselib.features.formula import formula_features
from sselib.regression.conformal import suggested_families
from sselib.regression.routed import compressed
from sselib.regression.stacking import StackedModel, blend, convex_weights, members_of


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


def test_convex_weights_find_the_mixture_and_stay_weights() -> None:
    rng = np.random.default_rng(0)
    members = rng.normal(-8, 2, (200, 3))
    found = convex_weights(members, members @ [0.7, 0.3, 0.0])
    assert np.allclose(found, [0.7, 0.3, 0.0], atol=1e-3)
    biased = convex_weights(members, 3 * members[:, 0])
    assert biased.sum() == pytest.approx(1) and (biased >= 0).all()


FORMULAS = [
    f"Li{3 + x / 10:.1f}{m}S{4 * x / 30 + 0.1:.2f}O{4 - x / 10:.2f}"
    for x in range(10)
    for m in ("P", "Zr", "Ti")
]


@pytest.fixture(scope="module")
def fitted() -> tuple[StackedModel, np.ndarray, np.ndarray]:
    X = formula_features(FORMULAS).to_numpy(float)
    y = -7 + 10 * X[:, :103] @ np.linspace(0, 1, 103) + np.random.default_rng(0).normal(0, 0.1, len(X))
    return StackedModel(booster=DummyRegressor(), n_trees=5).fit(X, y), X, y


def test_a_useless_member_gets_next_to_no_weight(fitted: tuple) -> None:
    model, X, y = fitted
    for weights in model.weights_.values():
        assert weights.sum() == pytest.approx(1) and (weights >= 0).all()
    assert np.abs(model.predict(X) - y).mean() < np.abs(np.median(y) - y).mean()
    assert model.weights_[True][-1] < 0.5


def test_the_stack_is_the_weighted_mean_of_its_members(fitted: tuple) -> None:
    model, X, _ = fitted
    members = np.column_stack([m.predict(X) for m in model.members_])
    known = np.isin(suggested_families(X), model.known_)
    expected = np.where(known, members @ model.weights_[True], members @ model.weights_[False])
    assert np.allclose(compressed(model.predict(X)), expected)


def test_one_family_alone_gives_equal_weights_outside() -> None:
    X = formula_features(FORMULAS[:12]).to_numpy(float)
    y = np.linspace(-9, -3, 12)
    model = StackedModel(booster=DummyRegressor(), n_trees=3).fit(X, y, families=np.array(["one"] * 12))
    assert np.allclose(model.weights_[False], 1 / 4)
