"""Tables of notebook 06: every model is described, every row is shown, a verdict follows its numbers."""

import numpy as np
import pandas as pd
import pytest
from pymatgen.core import Lattice, Structure

from sselib.atomsets.classifiers import CENTRED, CHOSEN, CLASSIFIERS, CONTROL_CASES
from sselib.errors import ParameterError
from sselib.plots import classifier_tables as tables


def records(**values: float) -> pd.DataFrame:
    """Scores of `CHOSEN` and a control; ``lowest`` is the lower end against every control."""
    low = values.pop("lowest", 0.1)
    rows = [
        (CHOSEN, "obelix_official", metric, value, value - 0.1, value + 0.1, 67)
        for metric, value in values.items()
    ]
    rows += [
        (CHOSEN, "obelix_official", f"delta_{metric}_vs_{c}", 0.2, low, 0.3, 67)
        for metric in values
        for c in ("mean", "1nn", "shuffled")
    ]
    rows.append(("mean/none", "obelix_official", "auc_pr", 0.3, np.nan, np.nan, 67))
    names = ["name", "protocol", "metric", "value", "ci_low", "ci_high", "n"]
    return pd.DataFrame(rows, columns=names)


def test_every_model_and_control_is_described() -> None:
    found = tables.model_table([*CLASSIFIERS, *CONTROL_CASES])
    assert len(found) == len(CLASSIFIERS) + len(CONTROL_CASES)
    assert (found["from what"].str.len() > 5).all()
    also = found.set_index("model/features")["without structure"] == "also"
    assert all(also[n] for n in CLASSIFIERS if n.endswith("_all_rows") or n in (CHOSEN, CENTRED))
    with pytest.raises(ParameterError, match="no description of magic/beans"):
        tables.model_table(["magic/beans"])


def test_scores_hold_value_and_interval_and_controls_come_last() -> None:
    scores = records(auc_pr=0.8)
    wide = tables.scores_by_protocol(scores.iloc[::-1], metric="auc_pr", protocols=["obelix_official"])
    assert list(wide.index) == [CHOSEN, "mean/none", "rows judged"]
    assert wide.iloc[:, 0].tolist() == ["0.80<br>[0.70, 0.90]", "0.30", "67"]


def test_a_missing_metric_gives_no_model_rows() -> None:
    wide = tables.scores_by_protocol(records(auc_pr=0.8), metric="brier", protocols=["obelix_official"])
    assert list(wide.index) == ["rows judged"] and wide.shape[1] == 0


@pytest.mark.parametrize(
    ("value", "lowest", "reached", "above"),
    [(0.85, 0.01, "yes", "yes"), (0.849, 0.01, "no", "yes"), (0.9, -0.01, "yes", "not certain")],
)
def test_a_goal_is_judged_by_its_numbers(value: float, lowest: float, reached: str, above: str) -> None:
    found = tables.goal_table(records(auc_pr=value, lowest=lowest))
    assert found[["metric", "reached", "above every control"]].to_numpy().tolist() == [
        ["AUC-PR", reached, above]
    ]


def test_a_goal_without_controls_is_not_certain() -> None:
    scores = records(auc_pr=0.9)
    alone = scores[~scores["metric"].str.startswith("delta")]
    assert tables.goal_table(alone)["above every control"].tolist() == ["not certain"]


def test_clusters_stand_in_columns_with_their_positives() -> None:
    folds = pd.DataFrame(
        {
            "name": ["a", "b", "a", "b"],
            "fold": [1, 1, 0, 0],
            "positives": [2, 2, 0, 0],
            "n": [5, 5, 4, 4],
            "auc_pr": [0.5, 0.25, np.nan, np.nan],
        }
    )
    found = tables.scores_by_cluster(folds)
    assert list(found.columns) == ["1<br>2 of 5"] and found.iloc[:, 0].tolist() == ["0.50", "0.25"]


def test_no_row_is_hidden_and_long_texts_break() -> None:
    long = pd.DataFrame({"id": range(120), "reason": ["a <b " * 30] * 120})
    page = tables.readable(long, wrap=40).to_html()
    assert page.count("<tr>") == 121 and "…" not in page and "&lt;b" in page and "<br>" in page


def test_names_of_differences() -> None:
    assert tables.column_name("delta_mcc_vs_1nn") == "MCC − 1nn"
    assert tables.column_name("longest_s") == "longest s"


def test_structures_are_counted_by_the_rule_of_their_charges() -> None:
    salt = Structure(Lattice.cubic(4), ["Li", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]])
    found = tables.oxidation_rules([salt, salt * 2])
    assert found[["structures", "worst_imbalance_per_atom"]].to_numpy().tolist() == [[2, 0]]
