"""Hits among the best ranked, against a random choice."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import hypergeom

from sselib.schemas import METRICS, validate
from sselib.screening.enrichment import enrichment_records, enrichment_table, top_hits


def predictions(p: np.ndarray, labels: np.ndarray, folds: np.ndarray) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "id": [f"x:{k}" for k in range(len(p))],
            "dataset": "x",
            "model": "m",
            "features": "f",
            "protocol": "loco",
            "repeat": 0,
            "fold": folds,
            "log10_sigma": -4.0,
            "superionic": labels.astype(bool),
            "p_superionic": p,
        }
    )


def test_a_perfect_ranking_hits_every_time_and_a_reversed_one_never():
    labels = np.r_[np.ones(20), np.zeros(80)]
    one = np.ones((100, 1))
    assert top_hits(labels, labels, one, k=10)[0] == 10
    assert top_hits(-labels, labels, one, k=10)[0] == 0
    assert top_hits(labels, labels, one, k=50)[0] == 20


@given(st.integers(1, 30), st.integers(0, 1000))
def test_a_constant_model_hits_as_often_as_chance(k, seed):
    labels = (np.random.default_rng(seed).random(30) < 0.3).astype(float)
    hits = top_hits(np.full(30, 0.5), labels, np.ones((30, 1)), k=k)[0]
    assert hits == pytest.approx(k * labels.mean())


def test_order_of_rows_makes_no_difference():
    rng = np.random.default_rng(0)
    p, labels = rng.integers(0, 5, 40) / 4, (rng.random(40) < 0.4).astype(float)
    order = rng.permutation(40)
    one = np.ones((40, 1))
    assert top_hits(p, labels, one, k=7) == pytest.approx(top_hits(p[order], labels[order], one, k=7))


def test_weights_count_rows_as_often_as_they_are_drawn():
    p, labels = np.array([0.9, 0.5, 0.1]), np.array([1.0, 0.0, 1.0])
    weights = np.array([[2.0], [0.0], [1.0]])
    assert top_hits(p, labels, weights, k=3)[0] == 3
    assert np.isnan(top_hits(p, labels, weights, k=4)[0])


def test_table_gives_chance_beside_the_hits():
    rng = np.random.default_rng(1)
    labels = (rng.random(120) < 0.25).astype(float)
    p = np.clip(0.5 * labels + 0.5 * rng.random(120), 0, 1)
    table = enrichment_table(predictions(p, labels, np.arange(120) % 8), tops=(10, 20, 500), n_bootstrap=100)
    assert table["k"].tolist() == [10, 20]
    row = table.iloc[0]
    assert row["random_hits"] == pytest.approx(10 * labels.mean())
    assert row["random_high"] == hypergeom(120, int(labels.sum()), 10).ppf(0.975)
    assert row["enrichment"] == pytest.approx(row["hits"] / row["random_hits"])
    assert row["hits_low"] <= row["hits"] <= row["hits_high"]
    assert row["enrichment_low"] > 1


def test_records_fit_the_schema_of_metrics_and_the_table_its_headings():
    labels = np.r_[np.ones(10), np.zeros(30)]
    table = enrichment_table(predictions(labels, labels, np.arange(40) % 4), n_bootstrap=50)
    records = enrichment_records(table, dataset="x", protocol="loco", seed=0)
    validate(pd.DataFrame(records), METRICS, what="records")
    assert [r["metric"] for r in records] == ["enrichment_top10", "enrichment_top20"]
