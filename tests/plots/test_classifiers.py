"""Figures of notebook 06 show what their data say."""

import numpy as np
import pandas as pd
import pytest

from sselib.plots.classifiers import (
    cluster_map,
    clusters_above_controls,
    precision_recall,
    reliability_curve,
    score_by_cluster,
    score_by_protocol,
)


@pytest.fixture
def predictions() -> pd.DataFrame:
    """A perfect and a constant model of ten rows, four of them superionic."""
    y = np.arange(10) < 4
    frames = [
        pd.DataFrame({"id": np.arange(10), "model": m, "features": "all", "superionic": y, "p_superionic": p})
        for m, p in {"perfect": y.astype(float), "mean": np.full(10, 0.4)}.items()
    ]
    return pd.concat(frames)


def test_scores_stand_in_the_column_of_their_protocol_and_controls_are_dashes() -> None:
    records = pd.DataFrame(
        [(f"{m}/all", m, p, "auc_pr", v, v - 0.1, v + 0.1, 9) for m, p, v in
         [("mean", "loco", 0.3), ("xgb", "loco", 0.6), ("xgb", "kfold5", 0.9)]],
        columns=["name", "model", "protocol", "metric", "value", "ci_low", "ci_high", "n"],
    )  # fmt: skip
    figure = score_by_protocol(records)
    model, control = figure.data
    assert model.name == "xgb/all" and list(model.y) == [0.9, 0.6]
    assert [round(x) for x in model.x] == [0, 1] and [round(x) for x in control.x] == [1]
    assert control.marker.symbol == "line-ew-open"
    assert "random" in figure.layout.xaxis.ticktext[0]


def test_a_perfect_model_has_full_precision_at_every_recall(predictions: pd.DataFrame) -> None:
    perfect, constant = precision_recall(predictions, names=["perfect/all", "mean/all"]).data
    assert min(p for p, r in zip(perfect.y, perfect.x, strict=True) if r < 1) == 1
    assert min(constant.y) == pytest.approx(0.4)


def test_reliability_of_a_perfect_model_ends_at_the_corners(predictions: pd.DataFrame) -> None:
    _, curve = reliability_curve(predictions, names=["perfect/all"], n_bins=2).data
    assert (curve.x[0], curve.y[0], curve.y[-1]) == (0, 0, pytest.approx(0.8))


def test_cluster_map_fills_superionic_rows_and_names_shares() -> None:
    points = pd.DataFrame(
        {
            "map_x": [0.0, 1.0, 2.0],
            "map_y": [0.0, 1.0, 2.0],
            "cluster": [0, 0, -1],
            "superionic": [True, False, False],
            "formula": ["a", "b", "c"],
        }
    )
    noise, cluster = cluster_map(points).data
    assert cluster.name == "cluster 0: 2 rows, 50% superionic" and noise.name.startswith("in no cluster")
    assert list(cluster.marker.symbol) == ["circle", "circle-open"]


def test_clusters_of_one_class_are_left_out_and_a_draw_with_a_control_is_no_gain() -> None:
    folds = pd.DataFrame(
        {
            "fold": [0, 1, 2] * 2,
            "n": [10, 12, 5] * 2,
            "positives": [3, 4, 0] * 2,
            "name": ["xgb/all"] * 3 + ["mean/none"] * 3,
            "auc_pr": [0.9, 0.4, np.nan, 0.3, 0.4, np.nan],
        }
    )
    figure = score_by_cluster(folds, names=["xgb/all", "mean/none"])
    assert list(figure.layout.xaxis.ticktext) == ["0<br>3 of 10", "1<br>4 of 12"]
    assert [len(t.y) for t in figure.data] == [2, 2] and figure.data[1].marker.symbol == "line-ew-open"
    said = clusters_above_controls(folds, names=["xgb/all", "mean/none"])
    assert "of 2 clusters" in said and "`xgb/all` 1" in said
    assert "not part" in clusters_above_controls(folds.iloc[:0], names=["xgb/all"])
