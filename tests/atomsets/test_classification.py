"""Classification metrics against scikit-learn, their intervals, and what random scores give."""

import numpy as np
import pandas as pd
import pytest
from scipy.special import expit
from sklearn.metrics import average_precision_score, brier_score_loss, matthews_corrcoef

from sselib.atomsets.classification import (
    auc_pr,
    best_of_random,
    best_threshold,
    brier,
    by_third_of_spread,
    classification_records,
    fold_scores,
    mcc,
    paper_records,
    reliability,
)
from sselib.errors import DataError
from sselib.schemas import CLASS_PREDICTIONS, METRICS, validate


def predictions(*, seed: int = 0, n: int = 60, protocol: str = "kfold5", repeats: int = 1) -> pd.DataFrame:
    """A good model, a useless one and the mean, on the same rows in 4 folds."""
    rng = np.random.default_rng(seed)
    y = rng.random(n) < 0.4
    scores = {
        "good": np.clip(0.5 * y + 0.6 * rng.random(n), 0, 1),
        "noise": rng.random(n),
        "mean": np.full(n, 0.4),
    }
    frames = [
        pd.DataFrame(
            {
                "id": [f"x:{i:03d}" for i in range(n)],
                "dataset": "obelix",
                "model": model,
                "features": "all",
                "protocol": protocol,
                "repeat": repeat,
                "fold": np.arange(n) % 4,
                "log10_sigma": np.where(y, -3.0, -6.0),
                "superionic": y,
                "p_superionic": p,
            }
        )
        for model, p in scores.items()
        for repeat in range(repeats)
    ]
    return validate(pd.concat(frames, ignore_index=True), CLASS_PREDICTIONS, what="test predictions")


def value(records: list[dict], model: str, metric: str) -> float:
    """The value of one record."""
    return next(r["value"] for r in records if (r["model"], r["metric"]) == (model, metric))


@pytest.mark.parametrize("seed", range(5))
def test_metrics_equal_those_of_scikit_learn_with_ties_and_weights(seed: int) -> None:
    rng = np.random.default_rng(seed)
    y, p = rng.integers(0, 2, 80), np.round(rng.random(80), 1)  # ten values: many ties, 0.5 among them
    w = rng.integers(0, 4, (80, 3)).astype(float)
    for k in range(3):
        known = average_precision_score(y, p, sample_weight=w[:, k])
        assert auc_pr(y, p, w)[k] == pytest.approx(known)
        assert mcc(y, p, w)[k] == pytest.approx(matthews_corrcoef(y, p >= 0.5, sample_weight=w[:, k]))
        assert brier(y, p, w)[k] == pytest.approx(brier_score_loss(y, p, sample_weight=w[:, k]))


def test_limits() -> None:
    y, ones = np.array([0, 0, 1, 1, 1]), np.ones((5, 1))
    assert auc_pr(y, y.astype(float), ones)[0] == pytest.approx(1)
    assert auc_pr(y, np.full(5, 0.3), ones)[0] == pytest.approx(0.6)  # the share of positives
    assert mcc(y, 1.0 - y, ones)[0] == pytest.approx(-1)
    assert mcc(y, np.full(5, 0.9), ones)[0] == 0
    assert np.isnan(auc_pr(np.zeros(5), np.arange(5.0), ones)[0])


def test_records_fit_their_schema_and_intervals_hold_the_value() -> None:
    records = classification_records(predictions(), n_bootstrap=200)
    table = validate(pd.DataFrame(records), METRICS, what="metrics")
    main = table[table["metric"].isin(["auc_pr", "brier"])]
    assert (main["ci_low"] <= main["value"]).all() and (main["value"] <= main["ci_high"]).all()
    rows = predictions().query("model == 'good'")
    assert value(records, "good", "auc_pr") == pytest.approx(
        average_precision_score(rows["superionic"], rows["p_superionic"])
    )


def test_paired_difference_sees_the_better_model() -> None:
    records = classification_records(predictions(), baseline=("noise", "all"))
    found = {(r["model"], r["metric"]): r for r in records}
    assert found["good", "delta_auc_pr_vs_mean"]["ci_low"] > 0
    assert found["good", "delta_mcc_vs_mean"]["ci_low"] > 0
    assert found["good", "delta_auc_pr_vs_baseline"]["ci_low"] > 0


def test_noise_rarely_passes_for_better_than_the_mean() -> None:
    passed = 0
    for seed in range(20):
        records = classification_records(predictions(seed=seed), n_bootstrap=200)
        delta = [r for r in records if (r["model"], r["metric"]) == ("noise", "delta_auc_pr_vs_mean")]
        passed += delta[0]["ci_low"] > 0
    assert passed <= 5  # 2.5 % nominal; measured 10 % with 60 rows, because AUC-PR is biased upwards


def test_loco_is_the_mean_over_clusters_with_both_classes() -> None:
    table = predictions(protocol="loco")
    lonely = table["fold"] == 3
    table.loc[lonely, "superionic"] = False  # a cluster without a positive
    scores = fold_scores(table).query("model == 'good'")
    assert scores["auc_pr"].isna().tolist() == [False, False, False, True]
    records = classification_records(table)
    assert value(records, "good", "auc_pr") == pytest.approx(scores["auc_pr"].mean())
    assert value(records, "good", "auc_pr_std") == pytest.approx(scores["auc_pr"].std(ddof=1))


def test_whole_groups_are_resampled() -> None:
    table = predictions()
    one_group_per_class = table.drop_duplicates("id").set_index("id")["superionic"].astype(str)
    narrow = classification_records(table, n_bootstrap=300)
    wide = classification_records(table, n_bootstrap=300, groups={"kfold5": one_group_per_class})
    width = [
        next(r["ci_high"] - r["ci_low"] for r in found if (r["model"], r["metric"]) == ("good", "brier"))
        for found in (narrow, wide)
    ]
    assert width[0] != pytest.approx(width[1])
    with pytest.raises(DataError, match="no group"):
        classification_records(table, groups={"kfold5": one_group_per_class.iloc[1:]})


def test_a_missing_probability_and_different_rows_are_refused() -> None:
    table = predictions()
    with pytest.raises(DataError, match="different rows"):
        classification_records(table.iloc[1:])
    table.loc[0, "p_superionic"] = np.nan
    with pytest.raises(DataError, match="missing, the first for x:000"):
        classification_records(table)


def test_choosing_among_random_scores_pays_and_pays_more_with_more_tries() -> None:
    y, clusters = np.arange(40) % 20 < 6, np.arange(40) // 20
    y[20:] = False  # a cluster of one class
    one, many = (best_of_random(y, clusters, n_tries=n, seed=0) for n in (1, 250))
    assert many["cluster"].tolist() == [0] and many["n"].tolist() == [20]
    assert many["auc_pr"][0] > 0.6 > one["auc_pr"][0]


def test_reliability_of_a_calibrated_model_lies_on_the_diagonal() -> None:
    rng = np.random.default_rng(0)
    p = rng.random(20000)
    table = pd.DataFrame({"id": np.arange(20000), "p_superionic": p, "superionic": rng.random(20000) < p})
    found = reliability(table, n_bins=4)
    assert found["n"].tolist() == [5000] * 4
    assert np.allclose(found["p_superionic"], found["share_superionic"], atol=0.03)


def test_records_of_the_paper_protocol_are_means_over_clusters() -> None:
    chosen = pd.DataFrame({"n": [10, 6], "auc_pr": [0.9, 0.7], "mcc": [0.6, 0.4]})
    records = paper_records({("AtomSets", "V1"): chosen}, dataset="x", n_bootstrap=20)
    validate(pd.DataFrame(records), METRICS, what="metrics")
    assert value(records, "AtomSets", "auc_pr") == pytest.approx(0.8) and len(records) == 2
    assert records[0]["protocol"] == "loco_paper" and records[0]["n"] == 16


@pytest.mark.parametrize("shift", [0.0, 2.0])
def test_the_threshold_follows_a_shift_of_all_probabilities(shift: float) -> None:
    rng = np.random.default_rng(0)
    folds = [rng.random(100) < 0.4 for _ in range(3)]
    p = [expit(np.where(y, 1.5, -1.5) + rng.normal(size=100) / 2 - shift) for y in folds]
    for per_fold in (False, True):
        threshold, score = best_threshold(folds, p, per_fold=per_fold)
        assert threshold == pytest.approx(expit(-shift), abs=0.11) and score > 0.9


def test_without_both_classes_the_threshold_is_one_half() -> None:
    assert best_threshold([], []) == (0.5, 0.0)
    assert best_threshold([np.ones(3)], [np.full(3, 0.2)], per_fold=True) == (0.5, 0.0)


def test_thirds_of_the_spread_hold_their_own_errors() -> None:
    y = np.array([True, False] * 6)
    p = np.where(y, 0.9, 0.1)
    p[8:] = np.where(y[8:], 0.2, 0.8)  # the four rows with the largest spread are wrong
    table = pd.DataFrame(
        {
            "id": [f"x:{k:02d}" for k in range(12)],
            "route": "formula",
            "superionic": y,
            "p_superionic": p,
            "p_superionic_sd": np.arange(12) / 100,
        }
    )
    found = by_third_of_spread(table.sample(frac=1, random_state=0))
    assert found["n"].tolist() == [4, 4, 4] and found["share_wrong_at_0.5"].tolist() == [0, 0, 1]
    assert found["brier"].tolist() == pytest.approx([0.01, 0.01, 0.64])
    assert found["mean_sd"].tolist() == pytest.approx([0.015, 0.055, 0.095])
