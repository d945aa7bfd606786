"""Figures of notebook 06 show what their data say."""

import numpy as np
import pandas as pd
import pytest

from sselib.plots import classifiers as tables
from sselib.plots.classifiers import (
    by_cluster,
    cluster_map,
    probability_against_sigma,
    reliability_curve,
    reliability_curves,
    score_chart,
)

SCORES = pd.DataFrame(
    [("mean on none", "mean", "loco", "auc_pr", 0.3, np.nan, np.nan, 67),
     ("AtomSets on V1", "AtomSets", "loco", "auc_pr", 0.8, 0.7, 0.9, 67)],
    columns=["name", "model", "protocol", "metric", "value", "ci_low", "ci_high", "n"],
)  # fmt: skip


def test_scores_stand_in_the_column_of_their_protocol_and_controls_are_dashes() -> None:
    records = pd.DataFrame(
        [(m, "all", p, metric, v, v - 0.1, v + 0.1, 9) for m, p, metric, v in
         [("mean", "loco", "auc_pr", 0.3), ("xgb", "loco", "auc_pr", 0.6), ("xgb", "kfold5", "auc_pr", 0.9),
          ("xgb", "loco", "mcc", 0.1)]],
        columns=["model", "features", "protocol", "metric", "value", "ci_low", "ci_high", "n"],
    )  # fmt: skip
    figure = score_chart(records, metric="auc_pr")
    model, control = figure.data
    assert model.name == "xgb, all" and sorted(model.y) == [0.6, 0.9]
    assert control.marker.symbol == "line-ew-open" and list(control.y) == [0.3]
    assert "random" in figure.layout.xaxis.categoryarray[0] and "cluster" in control.x[0]
    assert figure.layout.yaxis.title.text == "AUC-PR"


def test_each_panel_has_its_own_protocol() -> None:
    rows = pd.DataFrame(
        [("xgb", r, p, layer, "mcc", 0.5, 0.4, 0.6, 9)
         for r in ("CAN", "CAMN") for p in ("kfold5", "loco") for layer in ("V0", "V1")],
        columns=["model", "features", "protocol", "layer", "metric", "value", "ci_low", "ci_high", "n"],
    )  # fmt: skip
    figure = score_chart(
        rows, metric="mcc", category="layer", labels={"V0": "V0", "V1": "V1"}, panel="protocol"
    )
    assert len(figure.data) == 4 and len({t.xaxis for t in figure.data}) == 2


def test_clusters_of_one_class_are_left_out() -> None:
    folds = pd.DataFrame(
        {
            "fold": [0, 1, 2] * 2,
            "n": [10, 12, 5] * 2,
            "positives": [3, 4, 0] * 2,
            "model": ["xgb"] * 3 + ["mean"] * 3,
            "features": "all",
            "auc_pr": [0.9, 0.4, np.nan, 0.3, 0.4, np.nan],
        }
    )
    figure = by_cluster(folds)
    assert list(figure.layout.xaxis.categoryarray) == ["0<br>3 of 10", "1<br>4 of 12"]
    assert [len(t.y) for t in figure.data] == [2, 2] and figure.data[1].marker.symbol == "line-ew-open"


def test_reliability_of_a_perfect_model_ends_at_the_corners() -> None:
    y = np.arange(10) < 4
    held = pd.DataFrame(
        {"id": range(10), "route": "formula", "superionic": y, "p_superionic": y.astype(float)}
    )
    curve, _ = reliability_curve(reliability_curves(held, by="route", n_bins=2)).data
    assert (curve.x[0], curve.y[0], curve.y[-1]) == (0, 0, pytest.approx(0.8))


def test_probabilities_stand_over_their_conductivity() -> None:
    held = pd.DataFrame(
        {"id": ["a", "b"], "route": "formula", "log10_sigma": [-3, -8], "p_superionic": [0.9, 0.1],
         "threshold": 0.4}
    )  # fmt: skip
    figure = probability_against_sigma(held)
    assert list(figure.data[0].x) == [-3, -8] and {s.x0 for s in figure.layout.shapes} >= {-4.0}


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


def test_scores_hold_value_and_interval_and_controls_come_last() -> None:
    wide = tables.scores_by_protocol(SCORES, metric="auc_pr", protocols=["loco"])
    assert list(wide.index) == ["AtomSets on V1", "mean on none", "rows judged"]
    assert wide.iloc[:, 0].tolist() == ["0.80<br>[0.70, 0.90]", "0.30", "67"]
    assert list(tables.scores_by_protocol(SCORES, metric="mcc", protocols=["loco"]).index) == ["rows judged"]


def test_metrics_stand_in_columns() -> None:
    wide = tables.by_metric(SCORES)
    assert wide.loc["AtomSets on V1"].tolist() == ["0.80<br>[0.70, 0.90]", 67]


def test_published_numbers_stand_below_ours() -> None:
    ours = {("AtomSets", "V1"): (10, pd.DataFrame({"auc_pr": [0.5, 0.7], "mcc": [0.1, 0.3]}))}
    published = [
        {"who": "McHaffie", "protocol": p, "metric": m, "value": v, "comparable": "their rows"}
        for p, m, v in (("loco_paper", "AUC-PR", 0.86), ("loco_paper", "MCC", 0.61), ("kfold5", "MCC", 0.6))
    ]
    found = tables.choice_table(ours, published).to_numpy().tolist()
    assert found[0][:2] == ["AtomSets, V1", 10] and np.allclose(found[0][2:], [0.6, 0.2])
    assert found[1][0] == "McHaffie, their rows" and found[1][2:] == [0.86, 0.61] and len(found) == 2


def test_no_row_is_hidden() -> None:
    page = tables.styled(pd.DataFrame({"id": range(120), "x": 1 / 3})).to_html()
    assert page.count("<tr>") == 121 and "0.33" in page and "0.333" not in page
