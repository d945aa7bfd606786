"""Panels of predicted against measured values: every row is drawn once, on common axes."""

import pandas as pd

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
    assert drawn == [2, 1, 0, 0, 0, 1, 5, 0]
    assert sum(bool(t.showlegend) for t in figure.data) == 2


def test_all_panels_share_their_limits_and_hold_the_diagonal():
    figure = parity_panels([[_table(["a"] * 2), _table(["a"] * 9)]], titles=["", ""], marks=[Marks("a")])
    assert {tuple(axis.range) for axis in (figure.layout.xaxis2, figure.layout.yaxis)} == {(-9.5, -0.5)}
    assert [list(t.x) == list(t.y) for t in figure.data if t.mode == "lines"] == [True, True]
