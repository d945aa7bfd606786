"""SHAP values against the prediction they explain; ranks, groups and axis labels on a known answer."""

import numpy as np
import pandas as pd
import pytest

from sselib.errors import DataError
from sselib.regression.explain import (
    axis_relabelling,
    importance,
    rank_stability,
    relabel_axes,
    shap_out_of_fold,
)
from sselib.regression.models import ModelOptions, make_model
from sselib.validation.splits import protocol_splits

OPTIONS = ModelOptions(max_bin=32)
COLUMNS = ["a_angstrom", "b_angstrom", "c_angstrom", "noise"]


def made_up(n: int = 90, *, seed: int = 0) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return rows whose label follows b alone, with a and c unrelated."""
    rng = np.random.default_rng(seed)
    lengths = rng.uniform(4, 14, (n, 3))
    table = pd.DataFrame({"id": [f"r{i}" for i in range(n)], "log10_sigma": -10 + 0.5 * lengths[:, 1]})
    features = pd.DataFrame(lengths, columns=COLUMNS[:3]).assign(
        noise=rng.random(n), volume=lengths.prod(axis=1), id=table["id"]
    )
    return table, features


@pytest.fixture(scope="module")
def values() -> pd.DataFrame:
    table, features = made_up()
    splits = protocol_splits("kfold5", table)
    return shap_out_of_fold(table, features, COLUMNS, splits=splits, options=OPTIONS)


def test_shap_values_add_up_to_the_held_out_prediction(values: pd.DataFrame) -> None:
    table, features = made_up()
    y = table["log10_sigma"]
    split = protocol_splits("kfold5", table)[2]
    X = features[COLUMNS].iloc
    model = make_model("xgb_single", options=OPTIONS, seed=2).fit(X[split.train], y[split.train])
    fold = values[values["fold"] == 2].drop_duplicates("id").set_index("id")
    expected = model.predict(X[split.test])
    assert fold.loc[table["id"][split.test], "y_pred"].to_numpy() == pytest.approx(expected, abs=1e-4)
    assert values.groupby("id").size().eq(len(COLUMNS)).all() and values["id"].nunique() == 90


def test_importance_names_the_feature_that_made_the_label(values: pd.DataFrame) -> None:
    table = importance(values)
    assert table["feature"][0] == "b_angstrom" and table["rank"].tolist() == [1, 2, 3, 4]
    assert table["best_rank"][0] == table["worst_rank"][0] == 1
    assert (table["lowest"] <= table["mean"]).all() and (table["mean"] <= table["highest"]).all()
    of_b = values[values["feature"] == "b_angstrom"]
    by_hand = of_b["shap"].abs().groupby(of_b["fold"]).mean()
    assert table["mean"][0] == pytest.approx(by_hand.mean())
    assert table["std"][0] == pytest.approx(by_hand.std(ddof=1))


def test_group_value_is_the_sum_over_its_features() -> None:
    rows = pd.DataFrame(
        {"id": ["x", "x"], "repeat": 0, "fold": 0, "feature": ["p", "q"], "group": "g", "shap": [1.0, -1.0]}
    )
    assert importance(rows, by="group")["mean"][0] == 0
    assert importance(rows)["mean"].tolist() == [1, 1]


def test_rank_stability_is_one_for_equal_folds_and_minus_one_for_opposite() -> None:
    def fold(k: int, sizes: list[float]) -> pd.DataFrame:
        return pd.DataFrame({"id": f"r{k}", "repeat": 0, "fold": k, "feature": list("pqr"), "shap": sizes})

    same = pd.concat([fold(0, [3.0, 2.0, 1.0]), fold(1, [-6.0, 4.0, 2.0])])
    opposite = pd.concat([fold(0, [3.0, 2.0, 1.0]), fold(1, [1.0, 2.0, 3.0])])
    assert rank_stability(same) == pytest.approx(1)
    assert rank_stability(opposite) == pytest.approx(-1)
    assert np.isnan(rank_stability(fold(0, [1.0, 2.0, 3.0])))


def test_relabelling_permutes_within_rows_only() -> None:
    _, features = made_up()
    after = relabel_axes(features, seed=1)
    before, lengths = (np.sort(f[COLUMNS[:3]].to_numpy(), axis=1) for f in (features, after))
    assert np.array_equal(before, lengths)
    assert (after["b_angstrom"] != features["b_angstrom"]).mean() == pytest.approx(2 / 3, abs=0.15)
    assert after["noise"].equals(features["noise"])
    assert after.equals(relabel_axes(features, seed=1)) and not after.equals(relabel_axes(features, seed=2))


def test_importance_of_a_label_is_lost_on_relabelling() -> None:
    table, features = made_up()
    found = axis_relabelling(
        table,
        features,
        COLUMNS,
        invariant=["volume"],
        n_relabellings=2,
        options=OPTIONS,
        splits=protocol_splits("kfold5", table),
    )
    b = found[found["feature"] == "b_angstrom"].set_index(["variant", "run"])["mean_abs_shap"]
    assert b["raw", 0] > 2 * b["relabelled"].max()
    mae = found.groupby("variant")["mae_bound"].mean()
    assert mae["raw"] < 0.6 * mae["relabelled"] and mae["raw"] < mae["invariant"]
    assert set(found["variant"]) == {"raw", "relabelled", "invariant", "none"} and (found["n"] == 90).all()
    assert found.loc[found["variant"] == "none", "feature"].isna().all()


def test_missing_axis_is_an_error() -> None:
    with pytest.raises(DataError, match="lack b_angstrom"):
        relabel_axes(pd.DataFrame({"a_angstrom": [1.0], "c_angstrom": [1.0]}), seed=0)
