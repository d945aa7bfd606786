"""Non-dominated fronts and weighted scores."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sselib.errors import DataError, ParameterError
from sselib.screening import scores
from sselib.screening.pareto import (
    Objective,
    objectives_of,
    pareto_front_numbers,
    rank_by_objectives,
    ranked,
    with_values,
)

values = st.lists(st.tuples(*[st.integers(0, 5)] * 3), min_size=1, max_size=25).map(
    lambda rows: np.array(rows, dtype=float)
)


def dominates(a: np.ndarray, b: np.ndarray) -> bool:
    return bool((a >= b).all() and (a > b).any())


@given(values)
def test_fronts_follow_the_definition(points):
    fronts = pareto_front_numbers(points)
    for i, p in enumerate(points):
        beaten_by = [fronts[j] for j, q in enumerate(points) if dominates(q, p)]
        assert fronts[i] == 1 + max(beaten_by, default=0)


@given(values)
def test_fronts_do_not_depend_on_units(points):
    scaled = points * np.array([1000.0, 0.1, 3.0]) + np.array([5.0, -2.0, 0.0])
    assert (pareto_front_numbers(points) == pareto_front_numbers(scaled)).all()


def test_a_missing_value_is_in_no_front():
    assert pareto_front_numbers(np.array([[1.0, np.nan], [0.0, 0.0]])).tolist() == [0, 1]


def test_scores_weigh_ranks_not_values():
    table = pd.DataFrame({"p": [0.1, 0.5, 0.9], "cost": [1.0, 1e6, 10.0]})
    found = rank_by_objectives(table, [Objective("p", "max", 3.0), Objective("cost", "min", 1.0)])
    assert found["score"].tolist() == pytest.approx([0.25, 0.375, 0.875])
    assert found["pareto_front"].tolist() == [1, 2, 1]


def test_a_missing_value_counts_as_worst():
    table = pd.DataFrame({"p": [np.nan, 0.2, 0.4]})
    score = rank_by_objectives(table, [Objective("p", "max")])["score"]
    assert score.tolist() == pytest.approx([0.0, 0.5, 1.0])


def test_ranked_puts_dropped_rows_last_without_a_rank():
    table = pd.DataFrame({"id": ["a", "b", "c"], "p": [0.9, 0.2, 0.5], "kept": [False, True, True]})
    found = ranked(table, [Objective("p", "max")])
    assert found["id"].tolist() == ["c", "b", "a"]
    assert found["rank"].tolist()[:2] == [1, 2] and found["rank"].isna().tolist() == [False, False, True]


def test_ranked_without_any_kept_row():
    table = pd.DataFrame({"id": ["a"], "p": [0.9], "kept": [False]})
    assert ranked(table, [Objective("p", "max")])["rank"].isna().all()


def test_objectives_are_the_columns_with_a_weight():
    weights = {"p_superionic": 2, "p_superionic_sd": 0.5, "band_gap_ev": 0.0}
    assert objectives_of(weights) == [
        Objective("p_superionic", "max", 2.0),
        Objective("p_superionic_sd", "min", 0.5),
    ]
    for impossible in ({"p_superionic": -1.0, "band_gap_ev": 2.0}, {"p_superionic": 0.0}):
        with pytest.raises(ParameterError, match="one above 0"):
            objectives_of(impossible)


def test_an_objective_without_values_is_left_out():
    table = pd.DataFrame({"p": [1.0], "gap": [np.nan]})
    goals = [Objective("p", "max"), Objective("gap", "max")]
    assert with_values(goals, table) == goals[:1]
    with pytest.raises(ParameterError, match="no objective"):
        with_values(goals[1:], table)


def test_an_unknown_word_in_the_list_of_columns_is_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "scores.yaml").write_text("ranked:\n  score: {heading: score, unit: 1}\n")
    monkeypatch.setattr(scores, "project_root", lambda: tmp_path)
    with pytest.raises(DataError, match=r"scores.yaml, ranked: .*'unit'"):
        scores.described_columns.__wrapped__()
