"""Figures of notebook 04: every number is drawn once, controls are told apart, panels share one legend."""

import pandas as pd
import pytest

from sselib.plots import models

SCORES = pd.DataFrame(
    [
        (p, m, f, 1.0 + k, 0.9 + k, 1.2 + k, 30)
        for p in ("group_doi", "random_stratified")
        for k, (m, f) in enumerate([("mean", "none"), ("routed", "formula"), ("xgb_kim", "kim_all")])
    ],
    columns=["protocol", "model", "features", "value", "ci_low", "ci_high", "n"],
)


def test_protocols_stand_in_their_order_and_controls_are_grey_and_last() -> None:
    figure = models.error_by_protocol(SCORES.assign(metric="mae_bound"), noise=0.4)
    assert [t.name for t in figure.data] == ["routed, formula", "xgb_kim, kim_all", "mean"]
    assert [t.marker.color for t in figure.data][-1] == "#444444"
    assert list(figure.layout.xaxis.categoryarray) == ["random<br>80/20", "by<br>publication"]
    routed = figure.data[0]
    assert set(routed.x) == {"random<br>80/20", "by<br>publication"} and set(routed.y) == {2.0}
    assert routed.error_y.array[0] == pytest.approx(0.2)
    assert "label noise 0.40" in [a.text for a in figure.layout.annotations]


def test_panels_share_one_legend() -> None:
    rows = SCORES.assign(conductivity_class="low")
    figure = models.class_points(rows, protocols=["random_stratified", "group_doi"])
    assert len(figure.data) == 6 and sum(bool(t.showlegend) for t in figure.data) == 3
    assert [a.text for a in figure.layout.annotations] == ["random 80/20", "by publication"]


def test_families_are_drawn_largest_first_and_small_ones_have_no_coverage() -> None:
    rows = pd.DataFrame({"family": ["a", "b", "c"], "n": [9, 20, 3], "width": 5.0, "coverage": 0.9})
    figure = models.coverage_bars(rows.assign(protocol="loco"), protocols=["loco"], nominal=0.9)
    assert sorted(figure.data[0].y) == ["a", "b"]
    assert list(figure.layout.yaxis.categoryarray) == ["a", "b"]  # from below
