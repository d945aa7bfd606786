"""Metrics against independent sklearn and scipy computations; bootstrap against known limits."""

import time

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.stats import spearmanr
from sklearn.metrics import mean_absolute_error, r2_score, root_mean_squared_error

from sselib.errors import DataError
from sselib.validation.metrics import (
    beside_published,
    interval_score,
    metrics_from_predictions,
    score_table,
    srcc,
)


def make_predictions(
    n: int = 80, *, models: tuple[str, ...] = ("good", "mean"), repeats: int = 1, seed: int = 0
) -> pd.DataFrame:
    """Return made-up predictions: "good" errs by 0.5 log units, "mean" predicts the mean."""
    rng = np.random.default_rng(seed)
    y = rng.normal(-6, 2, n)
    censored = rng.random(n) < 0.1
    frames = []
    for repeat in range(repeats):
        rows = np.sort(rng.choice(n, n // 2 if repeats > 1 else n, replace=False))
        for model in models:
            guess = y.mean() + np.zeros(n) if model == "mean" else y + rng.normal(0, 0.5, n)
            frames.append(
                pd.DataFrame(
                    {
                        "id": [f"r{i}" for i in rows],
                        "dataset": "obelix",
                        "model": model,
                        "features": "all",
                        "protocol": "kfold5",
                        "repeat": repeat,
                        "fold": 0,
                        "y_true": y[rows],
                        "censored": censored[rows],
                        "y_pred": guess[rows],
                        "lower": np.nan,
                        "upper": np.nan,
                    }
                )
            )
    return pd.concat(frames, ignore_index=True)


def values_of(records: list[dict], model: str) -> dict[str, dict]:
    """Return the records of one model by metric."""
    return {r["metric"]: r for r in records if r["model"] == model}


@pytest.mark.parametrize("repeats", [1, 3])
def test_values_agree_with_sklearn_and_scipy(repeats: int) -> None:
    predictions = make_predictions(repeats=repeats)
    found = values_of(metrics_from_predictions(predictions, n_bootstrap=10), "good")
    parts = [p for _, p in predictions[predictions["model"] == "good"].groupby("repeat")]
    for treatment in ("floor", "bound", "uncensored"):
        expected = {"mae": [], "rmse": [], "r2": [], "srcc": []}
        for part in parts:
            rows = part[~part["censored"]] if treatment == "uncensored" else part
            y, p = rows["y_true"].where(~rows["censored"] | (treatment != "floor"), -15.0), rows["y_pred"]
            expected["mae"].append(mean_absolute_error(y, p))
            expected["rmse"].append(root_mean_squared_error(y, p))
            expected["r2"].append(r2_score(y, p))
            expected["srcc"].append(spearmanr(y, p).statistic)
        for name in ("mae",) if treatment == "floor" else expected:
            record = found[f"{name}_{treatment}"]
            assert record["value"] == pytest.approx(np.mean(expected[name]), abs=1e-9)
            if repeats > 1:
                assert found[f"{name}_{treatment}_std"]["value"] == pytest.approx(
                    np.std(expected[name], ddof=1), abs=1e-9
                )


def test_only_the_floor_moves_with_bounds_and_n_counts_them() -> None:
    predictions = make_predictions(models=("good",))
    found = values_of(metrics_from_predictions(predictions, n_bootstrap=10), "good")
    n_bounds = int(predictions["censored"].sum())
    assert n_bounds > 0 and found["mae_uncensored"]["n"] == 80 - n_bounds
    assert found["mae_bound"]["n"] == found["mae_floor"]["n"] == 80
    assert found["mae_floor"]["value"] > found["mae_bound"]["value"] + 0.5


@given(
    counts=arrays(int, 12, elements=st.integers(0, 3)),
    y=arrays(float, 12, elements=st.integers(-3, 3).map(float)),
    p=arrays(float, 12, elements=st.integers(-3, 3).map(float)),
)
@settings(max_examples=100, deadline=None)
def test_rank_correlation_equals_scipy_on_repeated_rows(
    counts: np.ndarray, y: np.ndarray, p: np.ndarray
) -> None:
    drawn_y, drawn_p = np.repeat(y, counts), np.repeat(p, counts)
    found = srcc(y, p, counts[:, None].astype(float))[0]
    if len(set(drawn_y)) > 1 and len(set(drawn_p)) > 1:
        assert found == pytest.approx(spearmanr(drawn_y, drawn_p).statistic, abs=1e-9)
    else:
        assert found == 0


def test_interval_of_the_mean_error_has_the_known_width() -> None:
    predictions = make_predictions(400, models=("good",))
    record = values_of(metrics_from_predictions(predictions, n_bootstrap=2000), "good")["mae_bound"]
    assert record["ci_low"] < record["value"] < record["ci_high"]
    standard_error = 0.5 * np.sqrt(1 - 2 / np.pi) / np.sqrt(400)  # of |N(0, 0.5)|
    assert record["ci_high"] - record["ci_low"] == pytest.approx(2 * 1.96 * standard_error, rel=0.25)


def test_whole_groups_widen_the_interval_of_correlated_errors() -> None:
    predictions = make_predictions(200, models=("good",))
    family = pd.Series(np.repeat(np.arange(10), 20).astype(str), index=[f"r{i}" for i in range(200)])
    shift = predictions["id"].map(family).astype(int) * 0.3
    predictions["y_pred"] = predictions["y_true"] + shift
    rows, groups = (
        values_of(metrics_from_predictions(predictions, groups=g), "good")["mae_bound"]
        for g in (None, {"kfold5": family})
    )
    assert rows["value"] == groups["value"]
    assert groups["ci_high"] - groups["ci_low"] > 2 * (rows["ci_high"] - rows["ci_low"])


def test_difference_to_a_control_is_paired() -> None:
    records = metrics_from_predictions(make_predictions(models=("good", "mean")))
    good, mean = values_of(records, "good"), values_of(records, "mean")
    delta = good["delta_mae_bound_vs_mean"]
    assert delta["value"] == pytest.approx(good["mae_bound"]["value"] - mean["mae_bound"]["value"])
    assert delta["ci_high"] < 0 and delta["n"] == 80
    assert not any(m.startswith("delta") for m in mean)


def test_a_model_does_not_differ_from_its_own_copy() -> None:
    one = make_predictions(models=("good",))
    both = pd.concat([one, one.assign(features="copy")], ignore_index=True)
    records = metrics_from_predictions(both, pairs=[("good/copy", "good/all")])
    (delta,) = (r for r in records if r["metric"] == "delta_mae_bound_vs_good/all")
    assert delta["value"] == delta["ci_low"] == delta["ci_high"] == 0


def test_interval_metrics() -> None:
    predictions = make_predictions(models=("good",))
    predictions["lower"], predictions["upper"] = predictions["y_pred"] - 1, predictions["y_pred"] + 1
    found = values_of(metrics_from_predictions(predictions, nominal=0.9), "good")
    rows = predictions[~predictions["censored"]]
    error = (rows["y_true"] - rows["y_pred"]).abs()
    assert found["coverage"]["value"] == pytest.approx((error <= 1).mean())
    assert found["interval_width"]["value"] == pytest.approx(2)
    assert found["interval_score"]["value"] == pytest.approx((2 + 20 * (error - 1).clip(lower=0)).mean())


def test_interval_score_worked_by_hand() -> None:
    score = interval_score(np.array([0.0, 2.0, -3.0]), np.full(3, -1.0), np.full(3, 1.0), nominal=0.8)
    assert score.tolist() == pytest.approx([2, 2 + 10 * 1, 2 + 10 * 2])


def test_missing_predictions_are_an_error() -> None:
    predictions = make_predictions()
    predictions.loc[3, "y_pred"] = np.nan
    with pytest.raises(DataError, match=r"1 of 160 predictions lack.*r3"):
        metrics_from_predictions(predictions)


def test_models_on_different_rows_are_an_error() -> None:
    with pytest.raises(DataError, match=r"good/all and mean/all predict different rows \(80 and 79\)"):
        metrics_from_predictions(make_predictions().iloc[:-1])


def test_groups_must_cover_every_row() -> None:
    with pytest.raises(DataError, match="79 predicted ids have no group"):
        metrics_from_predictions(make_predictions(), groups={"kfold5": pd.Series({"r0": "a"})})


def test_forty_models_take_seconds() -> None:
    predictions = make_predictions(600, models=tuple(f"m{i}" for i in range(40)))
    start = time.perf_counter()
    records = metrics_from_predictions(predictions, n_bootstrap=1000)
    assert len(records) == 40 * 9 and time.perf_counter() - start < 30  # about 4 s on one idle core


def test_score_table_keeps_the_order_of_protocols_and_shows_intervals() -> None:
    predictions = pd.concat([make_predictions(), make_predictions().assign(protocol="group_doi")])
    records = metrics_from_predictions(predictions, n_bootstrap=50)
    table = score_table(records, dataset="obelix", metrics=["mae_bound"], protocols=["group_doi", "kfold5"])
    assert table["protocol"].tolist() == ["group_doi"] * 2 + ["kfold5"] * 2 and (table["n"] == 80).all()
    record = values_of(records, "good")["mae_bound"]
    assert table["mae_bound"][2] == "{value:.2f} [{ci_low:.2f}, {ci_high:.2f}]".format(**record)


def test_published_numbers_stand_beside_the_same_features() -> None:
    predictions = make_predictions(models=("good",))
    both = pd.concat([predictions, predictions.assign(features="kim_geometric", y_pred=-5.0)])
    published = [
        {
            "who": "A, geometric features",
            "protocol": "kfold5",
            "metric": "MAE",
            "value": 0.72,
            "comparable": "no",
        },
        {"who": "B", "protocol": "kfold5", "metric": "R2", "value": 0.84, "comparable": "no"},
        {"who": "C", "protocol": "loco_paper", "metric": "MAE", "value": 1.0, "comparable": "no"},
    ]
    records = metrics_from_predictions(both, n_bootstrap=50)
    found = beside_published(records, published, dataset="obelix", model="good", features="all")
    assert found["features"].tolist() == ["kim_geometric", "all"]
    assert found["metric"].tolist() == ["mae_bound", "r2_bound"]
    own = values_of(metrics_from_predictions(predictions, n_bootstrap=50), "good")
    assert found["here"][1].startswith(f"{own['r2_bound']['value']:.2f} [")
