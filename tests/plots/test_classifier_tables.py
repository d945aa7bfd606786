"""Tables of notebook 06: value and interval in one cell, published numbers beside ours, every row shown."""

import numpy as np
import pandas as pd

from sselib.plots import classifier_tables as tables

SCORES = pd.DataFrame(
    [("mean on none", "mean", "loco", "auc_pr", 0.3, np.nan, np.nan, 67),
     ("AtomSets on V1", "AtomSets", "loco", "auc_pr", 0.8, 0.7, 0.9, 67)],
    columns=["name", "model", "protocol", "metric", "value", "ci_low", "ci_high", "n"],
)  # fmt: skip


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
