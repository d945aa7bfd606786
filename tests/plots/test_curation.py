"""Figures and summary tables of notebook 01: they hold the data they claim to show."""

import pandas as pd
import pytest

from sselib.columns import Curated, Entry
from sselib.curation.overview import class_table, family_table, finding_table, metric_records, structure_table
from sselib.materials.conductivity import conductivity_class, is_superionic
from sselib.materials.families import normalise_family
from sselib.plots import curation as draw

ROWS = [
    ("Li6PS5Cl", -2.5, False, 216, "Li cation disorder", "train", ""),
    ("Li3YCl6", -3.3, False, 164, "Li cation and Other atom disorder", "test", "no_li;composition_mismatch"),
    ("Li3N", -6.5, False, 191, "No disorder", "train", ""),
    ("LiCl", -10.0, True, None, None, None, ""),
]


@pytest.fixture
def table() -> pd.DataFrame:
    names = [
        Entry.FORMULA,
        Entry.LOG10_SIGMA,
        Entry.CENSORED,
        Entry.SPACE_GROUP_NUMBER,
        Curated.DISORDER_CLASS,
        Entry.OFFICIAL_SPLIT,
        Curated.STRUCTURE_FLAGS,
    ]
    frame = pd.DataFrame(ROWS, columns=[str(n) for n in names]).astype({Entry.SPACE_GROUP_NUMBER: "Int64"})
    labels = list(zip(frame[Entry.LOG10_SIGMA], frame[Entry.CENSORED], strict=True))
    return frame.assign(
        **{
            Entry.ID: [f"x:{k}" for k in range(4)],
            Entry.SOURCE_ID: list("0123"),
            Entry.COMPOSITION: frame[Entry.FORMULA],
            Entry.SPACE_GROUP_SYMBOL: ["F-43m", "P-3m1", "P6/mmm", None],
            Curated.FAMILY: [str(normalise_family(None, f)) for f in frame[Entry.FORMULA]],
            Curated.CONDUCTIVITY_CLASS: [conductivity_class(y, censored=c) for y, c in labels],
            Curated.SUPERIONIC: pd.array([is_superionic(y, censored=c) for y, c in labels], "boolean"),
            Curated.CLUSTER: 0,
            Curated.MAP_X: 0.0,
            Curated.MAP_Y: range(4),
        }
    )


def test_element_counts(table):
    figure, data = draw.element_prevalence(table)
    counts = data.set_index("element")["rows"]
    assert (counts["Li"], counts["Cl"], counts["N"]) == (4, 3, 1) and "O" not in counts
    shown = {text for trace in figure.data for text in trace.text}
    assert "<b>Li</b><br>4" in shown and "<b>O</b>" in shown


def test_every_row_is_in_one_bar_of_the_class_histogram(table):
    figure, data = draw.sigma_by_class(table)
    assert sum(len(trace.x) for trace in figure.data) == len(data) == 4
    assert [t.name for t in figure.data] == ["low (1)", "low, upper bound (1)", "high (1)", "superionic (1)"]
    edges = figure.data[0].xbins
    assert (edges.start / edges.size) % 1 == 0 and edges.start <= -10 < edges.end


@pytest.mark.parametrize(
    ("function", "n_points"),
    [
        (draw.sigma_by_family, 4),
        (draw.map_by_family, 4),
        (draw.map_by_sigma, 4),
    ],
)
def test_scatter_figures_show_every_row(table, function, n_points):
    figure, data = function(table)
    assert sum(len(trace.x) for trace in figure.data) == len(data) == n_points
    assert figure.layout.xaxis.title.text


def test_space_groups_leave_out_rows_without_one(table):
    figure, data = draw.space_group_conductivity(table)
    assert data["site_order"].tolist() == ["disordered", "disordered", "ordered"]
    assert sum(len(t.x) for t in figure.data if t.type == "scatter") == 3


def test_split_shares_add_up(table):
    _, data = draw.split_distribution(table)
    assert data[["train", "test"]].sum().tolist() == pytest.approx([100, 100])


def test_disorder_bars_hold_the_rows_with_a_structure(table):
    figure, data = draw.disorder_counts(table)
    assert data["rows"].sum() == sum(sum(trace.x) for trace in figure.data) == 3


def test_summary_tables(table):
    assert family_table(table)["rows"].sum() == 4
    classes = class_table(table).set_index("class")
    assert classes.loc["low", "rows"] == 2 and classes["rows_kim"].sum() == 499
    structures = structure_table(table).set_index("what")
    assert structures["here"].tolist() == [3, 3, 1, 2, 2, 1]
    assert structures.loc["ordered", "McHaffie"] + structures.loc["disordered", "McHaffie"] == 548
    findings = finding_table(table).set_index("finding")
    assert findings["structures"].tolist() == [1, 0, 0, 1] and findings.loc["no_li", "source ids"] == "1"


def test_metric_records_have_the_keys_of_metrics_json():
    noise = pd.DataFrame(
        [
            ("a", "composition", "mean_abs_deviation", 0.4, 0.3, 0.5, 3, 7),
            ("b", "composition", "mean_abs_deviation", None, None, None, 0, 0),
        ],
        columns=["source", "grouping", "measure", "value", "ci_low", "ci_high", "n_groups", "n_measurements"],
    )
    leakage = pd.DataFrame(
        [("p", "same DOI", 0.5, 0.2, 0.8, 4)],
        columns=["protocol", "criterion", "share", "ci_low", "ci_high", "n"],
    )
    records = metric_records(noise, leakage, seed=1)
    keys = {
        "dataset",
        "model",
        "features",
        "protocol",
        "metric",
        "value",
        "ci_low",
        "ci_high",
        "n",
        "unit",
        "seed",
    }
    assert [set(r) for r in records] == [keys, keys]
    assert [r["n"] for r in records] == [7, 4]
