"""Panels of predicted against measured values: every row is drawn once, on common axes."""

import pandas as pd

from sselib.plots import text
from sselib.plots.parity import HELD_OUT_ROWS, TRAINING_ROWS, UPPER_BOUNDS, parity_panels


def _table(kinds, panel="p"):
    n = len(kinds)
    ids = [f"own:{k}" for k in range(n)]
    return pd.DataFrame({"id": ids, "y_true": range(-n, 0), "y_pred": -3.0, "kind": kinds, "panel": panel})


def test_every_row_is_drawn_in_its_panel_and_kind():
    first = _table([TRAINING_ROWS, UPPER_BOUNDS, TRAINING_ROWS], "a")
    figure = parity_panels(
        pd.concat([first, _table([HELD_OUT_ROWS] * 5, "b")]), titles={"b": "B", "a": "A"}, columns=1
    )
    drawn = {(t.name, len(t.x)) for t in figure.data if len(t.x)}
    assert drawn == {(TRAINING_ROWS, 2), (UPPER_BOUNDS, 1), (HELD_OUT_ROWS, 5)}
    assert len({t.yaxis for t in figure.data}) == 2
    shown = [t.name for t in figure.data if t.showlegend is not False]
    assert sorted(shown) == sorted(set(shown)), "one legend for all panels"
    heights = {a.text: a.y for a in figure.layout.annotations}
    assert heights["B"] > heights["A"], "in the order of the titles"


def test_all_panels_share_their_limits_and_hold_the_diagonal():
    points = pd.concat([_table([HELD_OUT_ROWS] * 2, "a"), _table([HELD_OUT_ROWS] * 9, "b")])
    layout = parity_panels(points, titles={"a": "A", "b": "B"}, columns=2).layout
    assert {tuple(axis.range) for axis in (layout.xaxis2, layout.yaxis)} == {(-9.5, -0.5)}
    assert [(s.x0, s.x1) == (s.y0, s.y1) == (-9.5, -0.5) for s in layout.shapes] == [True, True]


def test_a_place_without_a_panel_is_empty_and_the_one_above_carries_the_axis():
    points = pd.concat([_table([HELD_OUT_ROWS], panel) for panel in "abc"])
    figure = parity_panels(points, titles={panel: panel for panel in "abc"}, columns=2)
    below, above = next(figure.select_xaxes(row=1, col=2)), next(figure.select_xaxes(row=2, col=2))
    assert below.visible is False and "measured" in above.title.text and len(figure.layout.shapes) == 3


def test_models_that_took_part_in_some_cases_only_leave_no_empty_panel():
    rows = pd.concat(
        [
            _table([HELD_OUT_ROWS] * 3).assign(model=model, features=case, censored=False)
            for model, case in [("x", "case4_both"), ("y", "case1_formula"), ("y", "case4_both")]
        ]
    )
    figure = text.parity_grid(rows, models=["x", "y"], cases=["case1_formula", "case4_both"])
    titles = [note.text.split("<br>")[0] for note in figure.layout.annotations]
    assert titles == ["x", "y", "y"] and len(figure.layout.shapes) == 3
