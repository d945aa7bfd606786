"""Label noise from repeated measurements."""

import numpy as np
import pandas as pd
import pytest

from sselib.columns import Entry
from sselib.curation.noise import label_noise, source_disagreement


def measurements(rows):
    names = [
        Entry.SOURCE,
        Entry.COMPOSITION,
        Entry.SPACE_GROUP_NUMBER,
        Entry.LOG10_SIGMA,
        Entry.CENSORED,
        Entry.DOI,
    ]
    table = pd.DataFrame(rows, columns=[str(n) for n in names])
    return table.astype({Entry.SPACE_GROUP_NUMBER: "Int64"})


ROWS = [
    ("a", "x", 1, -3.0, False, "d1"),
    ("a", "x", 1, -4.0, False, "d2"),
    ("a", "x", 2, -6.0, False, "d3"),
    ("a", "y", 1, -5.0, False, "d4"),
    ("a", "z", 1, -9.0, True, "d5"),
    ("a", "z", 1, -2.0, False, "d6"),
    ("b", "x", None, -3.5, False, "d7"),
    ("b", "y", None, -5.0, False, "D4"),
]


def value(table, source, grouping, measure):
    chosen = table.query("source == @source and grouping == @grouping and measure == @measure")
    assert len(chosen) == 1
    return chosen.iloc[0]


def test_worked_example():
    table = label_noise(measurements(ROWS), seed=0)
    alone = value(table, "a", "composition", "mean_abs_deviation")
    assert alone["value"] == pytest.approx((1 + 0 + 2) / 3)  # median -4; the bound of z is left out
    assert (alone["n_groups"], alone["n_measurements"]) == (1, 3)
    assert value(table, "a", "composition", "mean_pair_difference")["value"] == pytest.approx((1 + 3 + 2) / 3)
    by_group = value(table, "a", "composition and space group", "mean_pair_difference")
    assert by_group["value"] == pytest.approx(1.0)
    none = value(table, "b", "composition", "mean_abs_deviation")
    assert np.isnan(none["value"]) and none["n_groups"] == 0


def test_sources_differ_where_publications_do():
    table = source_disagreement(measurements(ROWS), first="a", second="b", seed=0).set_index("pairs")
    assert table.loc["all shared compositions", "n"] == 2  # x: |-4 + 3.5|, y: 0
    assert table.loc["all shared compositions", "value"] == pytest.approx(0.25)
    apart = table.loc["different publications"]
    assert apart["n"] == 1 and apart["value"] == pytest.approx(0.5)  # median of 0.5, 0.5 and 2.5


def test_interval_holds_the_known_noise():
    rng = np.random.default_rng(3)
    rows = [("a", f"c{k}", 1, y, False, "d") for k in range(300) for y in rng.normal(-5, 0.5, size=2)]
    row = value(label_noise(measurements(rows), seed=0), "a", "composition", "mean_pair_difference")
    expected = 2 * 0.5 / np.sqrt(np.pi)  # mean |difference| of two normal values
    assert row["ci_low"] < expected < row["ci_high"]
    assert row["ci_high"] - row["ci_low"] < 0.15


@pytest.mark.mirror
def test_obelix_repeats(mirror):
    """The noise floor of the design page: 0.39 and 0.74 log units."""
    from sselib.sources import obelix

    table = label_noise(obelix.load().entries, seed=0)
    grouping = "composition and space group"
    deviation = value(table, "obelix", grouping, "mean_abs_deviation")
    assert (deviation["n_groups"], deviation["n_measurements"]) == (51, 129)
    assert deviation["value"] == pytest.approx(0.391, abs=0.001)
    pairs = value(table, "obelix", grouping, "mean_pair_difference")
    assert pairs["value"] == pytest.approx(0.744, abs=0.001)
