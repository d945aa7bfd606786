"""Filters of a screening, each with the reason that it gives."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sselib.materials.composition import element_fractions
from sselib.screening.filters import (
    FilterSettings,
    apply_filters,
    filter_summary,
    is_intermetallic,
    is_known,
    open_d_shell_ions,
)
from sselib.screening.published_candidates import published_candidates


def known(formulas: list[str], training: list[str], tolerance: float = 0.05) -> list[bool]:
    first, second = element_fractions(formulas).to_numpy(), element_fractions(training).to_numpy()
    return is_known(first, second, tolerance=tolerance).tolist()


def scores(**columns: list) -> pd.DataFrame:
    """Return two rows that pass every filter, with some columns replaced."""
    row = {
        "id": ["a", "b"],
        "formula": ["Li3YCl6", "Li6PS5Cl"],
        "problem": "",
        "has_structure": True,
        "is_intermetallic": False,
        "is_known": False,
        "imbalance_per_atom": 0.0,
        "open_d_shell_ions": "",
        "lithium_filling": 0.9,
        "band_gap_ev": 3.0,
        "radioactive_elements": "",
        "toxic_elements": "",
    }
    return pd.DataFrame(row | columns)


def test_within_five_percent_is_relative_and_element_by_element():
    assert known(["Li10SnP2S12"], ["Li10.1SnP2S12"]) == [True]
    assert known(["Li9.9SnP2S11.9Cl0.1"], ["Li10SnP2S12"]) == [False]  # McHaffie's Table 2 keeps it
    assert known(["Li10SnP2S12"], ["Li9.9SnP2S11.9Cl0.1"]) == [False]  # an element is gone
    assert known(["Li6.55Ga0.05La2.91Zr2O12"], ["Li6.55Ga0.15La3Zr2O12"]) == [False]


@given(st.floats(0.5, 7), st.integers(1, 9))
def test_a_composition_is_known_to_itself_whatever_its_formula_unit(lithium, z):
    amounts = {"Li": lithium, "La": 3.0, "Zr": 2.0, "O": 12.0}
    once = "".join(f"{el}{x:.6f}" for el, x in amounts.items())
    often = "".join(f"{el}{x * z:.6f}" for el, x in amounts.items())
    assert known([often], [once]) == [True]


def test_blocks_give_the_same_as_one_block():
    rng = np.random.default_rng(0)
    training = rng.dirichlet(np.ones(5), 30)
    rows = np.vstack([rng.dirichlet(np.ones(5), 1200), training * 1.0])
    whole = is_known(rows, training)
    one_by_one = [bool((np.abs(r - training) <= 0.05 * training + 1e-6).all(axis=1).any()) for r in rows]
    assert whole.tolist() == one_by_one and whole[-30:].all()


def test_intermetallics_are_all_metal():
    assert [is_intermetallic(f) for f in ("Li17Sn4", "LiAl", "Li2MgPb")] == [True] * 3
    assert [is_intermetallic(f) for f in ("LiCaAs", "LiSrAlSb2", "LiBSi2", "LiP5", "Li3N")] == [False] * 5


def test_no_published_candidate_is_called_intermetallic():
    """They left intermetallics out of their Table 2."""
    assert not any(is_intermetallic(f) for f in published_candidates()["formula"])


@pytest.mark.parametrize(
    ("states", "ions"),
    [
        ({"Li": 1, "Ti": 4, "Zr": 4, "Nb": 5, "O": -2}, ""),
        ({"Li": 1, "Zn": 2, "Cu": 1, "Ag": 1, "S": -2}, ""),
        ({"Li": 1, "Rh": 4, "P": 5, "S": -2}, "Rh4+"),
        ({"Li": 1, "Ti": 3.5, "Fe": 2, "O": -2}, "Ti3.5+ Fe2+"),
        ({"Li": 1, "Er": 3, "Y": 3, "La": 3, "Eu": 2, "Cl": -1}, ""),
        ({"Li": 0, "Fe": 0}, ""),
    ],
)
def test_ions_with_a_partly_filled_d_shell_are_named(states, ions):
    assert open_d_shell_ions(states) == ions


def test_a_row_that_passes_is_kept_and_one_that_fails_names_every_reason():
    table = apply_filters(scores(band_gap_ev=[0.5, 3.0], is_known=[True, False]), FilterSettings())
    assert table["kept"].tolist() == [False, True]
    assert table["dropped_by"].tolist() == ["known; band gap", ""]


def test_a_missing_value_drops_nothing_and_is_named():
    table = apply_filters(scores(band_gap_ev=[np.nan, 3.0]), FilterSettings())
    assert table["kept"].all() and table["not_judged"].tolist() == ["band gap", ""]


def test_a_filter_without_its_column_judges_nothing():
    table = apply_filters(scores(), FilterSettings(max_energy_above_hull_ev_atom=0.05))
    assert table["kept"].all() and (table["not_judged"] == "energy above hull").all()


def test_filters_that_are_off_drop_nothing():
    off = FilterSettings(
        min_band_gap_ev=None,
        novelty_tolerance=None,
        drop_intermetallics=False,
        drop_radioactive=False,
        max_imbalance_per_atom=None,
        drop_open_d_shell=False,
        max_lithium_filling=None,
        min_d_better=None,
    )
    bad = scores(
        band_gap_ev=0.0,
        is_known=True,
        is_intermetallic=True,
        imbalance_per_atom=1.0,
        open_d_shell_ions="Rh4+",
        lithium_filling=2.0,
        variant_of="x:1",
    )
    assert apply_filters(bad, off)["kept"].all()


@pytest.mark.parametrize(
    ("settings", "columns", "reason"),
    [
        ({"drop_toxic": True}, {"toxic_elements": ["Cd", ""]}, "toxic"),
        ({}, {"radioactive_elements": ["U", ""]}, "radioactive"),
        ({}, {"open_d_shell_ions": ["Rh4+", ""]}, "open d shell"),
        ({}, {"lithium_filling": [1.03, 1.0]}, "more lithium than its sites hold"),
        ({}, {"imbalance_per_atom": [0.03, 0.01]}, "charge not balanced"),
        ({}, {"variant_of": ["x:1", ""]}, "variant of a better one"),
        ({"excluded_elements": ["Y"]}, {}, "unwanted element"),
        ({"min_d_composition": 0.1}, {"d_composition": [0.01, 0.5]}, "close to training"),
        ({"max_element_cost_usd_kg": 20}, {"element_cost_usd_kg": [100.0, 5.0]}, "cost"),
        (
            {"max_energy_above_hull_ev_atom": 0.05},
            {"energy_above_hull_ev_atom": [0.2, 0.0]},
            "energy above hull",
        ),
    ],
)
def test_each_filter_drops_the_first_row_only(settings, columns, reason):
    table = apply_filters(scores(**columns), FilterSettings(**settings))
    assert table["dropped_by"].tolist() == [reason, ""]


def test_a_formula_that_cannot_be_read_is_dropped_for_that():
    bad = scores(problem=["no lithium", ""], is_known=[None, False], band_gap_ev=[np.nan, 2.0])
    table = apply_filters(bad, FilterSettings(excluded_elements=["I"]))
    assert table["dropped_by"].tolist() == ["cannot be read", ""]
    assert "known" in table["not_judged"].iloc[0] and "unwanted element" in table["not_judged"].iloc[0]


def test_rows_that_the_second_pass_left_out_say_so():
    table = apply_filters(scores(scored_from=["structure", "formula"]), FilterSettings())
    assert table["dropped_by"].tolist() == ["", "not among the best by formula"]
    assert apply_filters(scores(scored_from="formula"), FilterSettings())["kept"].all()


def test_summary_counts_add_up():
    table = apply_filters(scores(band_gap_ev=[0.5, np.nan], is_known=[True, False]), FilterSettings())
    summary = filter_summary(table).set_index("filter")
    assert summary.loc["known", ["drops", "drops_alone"]].tolist() == [1, 0]
    assert summary.loc["band gap"].tolist() == [1, 0, 1]
