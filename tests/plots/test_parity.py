"""Panels of predicted against measured values: every row is drawn once, on common axes."""

import pandas as pd

from sselib.plots import text
from sselib.plots.parity import Marks, parity_panels


def _table(kinds):
    n = len(kinds)
    return pd.DataFrame(
        {"id": [f"own:{k}" for k in range(n)], "y_true": range(-n, 0), "y_pred": -3.0, "kind": kinds}
    )


def test_every_row_is_drawn_in_its_panel_and_kind():
    cells = [[_table(["a", "b", "a"]), _table([])], [_table(["b"]), _table(["a"] * 5)]]
    figure = parity_panels(cells, titles=list("1234"), marks=[Marks("a"), Marks("b")])
    drawn = [len(t.x) for t in figure.data if t.mode == "markers"]
    assert drawn == [2, 1, 0, 1, 5, 0]  # nothing where a table is empty
    assert sum(bool(t.showlegend) for t in figure.data) == 2


def test_all_panels_share_their_limits_and_hold_the_diagonal():
    figure = parity_panels([[_table(["a"] * 2), _table(["a"] * 9)]], titles=["", ""], marks=[Marks("a")])
    assert {tuple(axis.range) for axis in (figure.layout.xaxis2, figure.layout.yaxis)} == {(-9.5, -0.5)}
    assert [list(t.x) == list(t.y) for t in figure.data if t.mode == "lines"] == [True, True]


def test_the_lowest_filled_panel_of_each_column_carries_the_axis_and_empty_ones_are_hidden():
    cells = [[_table(["a"]), _table(["a"])], [_table(["a"]), _table([])]]
    layout = parity_panels(cells, titles=list("1234"), marks=[Marks("a")]).layout
    titled = [bool(axis.title.text) for axis in (layout.xaxis, layout.xaxis2, layout.xaxis3, layout.xaxis4)]
    assert titled == [False, True, True, False] and layout.xaxis4.visible is False


def test_models_that_took_part_in_some_cases_only_leave_no_empty_panel():
    rows = pd.concat(
        [
            _table(["a"] * 3).assign(model=model, features=case, censored=False)
            for model, case in [("x", "case4_both"), ("y", "case1_formula"), ("y", "case4_both")]
        ]
    )
    figure = text.parity_grid(rows, models=["x", "y"], cases=["case1_formula", "case4_both"])
    titles = [note.text.split("<br>")[0] for note in figure.layout.annotations]
    assert titles == ["x", "y", "y"] and sum(t.mode == "lines" for t in figure.data) == 3
