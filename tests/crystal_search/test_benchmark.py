"""Benchmark crystals: composition, bonds, symmetry; and the arithmetic of the comparison."""

import pandas as pd
import pytest
from ase.build import bulk
from pymatgen.io.ase import AseAtomsAdaptor
from search_candidates import candidate

from crystal_search.benchmark import (
    arms,
    benchmark_settings,
    random_budget,
)
from crystal_search.benchmark_results import (
    PLAIN,
    RESULT_COLUMNS,
    RESULTS_BLOCK,
    against_plain,
    compare_arms,
    cost_table,
    operator_success,
    paired_ratio,
    results_text,
    seed_table,
    stored_operators,
    stored_results,
    summary,
)
from crystal_search.errors import SearchError
from crystal_search.known_crystals import (
    COMPOUNDS,
    DATA,
    DEVELOPMENT,
    FURTHER,
    known_structure,
)
from crystal_search.population import SEED
from crystal_search.relaxation import shortest_ratio

FORMULAS = {
    "li3n-alpha": ("Li3N", 4, 191),
    "li3ocl": ("Li3ClO", 5, 221),
    "lipn2": ("LiPN2", 8, 122),
    "lino3": ("LiNO3", 10, 167),
    "linbo3": ("LiNbO3", 10, 161),
    "li2co3": ("Li2CO3", 12, 15),
    "liyf4": ("LiYF4", 12, 88),
    "li3bn2-tetragonal": ("Li3BN2", 12, 136),
    "li6ps5cl-ordered": ("Li6PS5Cl", 13, 216),
    "lialo2-gamma": ("LiAlO2", 16, 92),
    "li2zngeo4": ("Li2ZnGeO4", 16, 31),
    "ligao2": ("LiGaO2", 16, 33),
    "li3po4-beta": ("Li3PO4", 16, 31),
    "li3ps4-gamma": ("Li3PS4", 16, 31),
    "lialsi2o6": ("LiAl(SiO3)2", 20, 15),
    "libh4": ("LiBH4", 24, 62),
    "lialcl4": ("LiAlCl4", 24, 14),
    "calcite": ("CaCO3", 10, 167),
    "zircon": ("ZrSiO4", 12, 141),
    "li5la3sb2o12-garnet": ("Li5La3(SbO6)2", 88, 142),
}
DENSITIES = {  # g/cm3, of the papers or standard tables
    "lino3": 2.38,
    "linbo3": 4.64,
    "li2co3": 2.11,
    "liyf4": 3.99,
    "lialo2-gamma": 2.62,
    "ligao2": 4.19,
    "lialsi2o6": 3.18,
    "calcite": 2.71,
    "zircon": 4.66,
}


def test_the_benchmark_has_at_least_twelve_compounds_smallest_first() -> None:
    sizes = [len(known_structure(name).get_primitive_structure()) for name in COMPOUNDS]
    assert len(COMPOUNDS) >= 12 and sizes == sorted(sizes) and max(sizes) <= 24
    assert not {*COMPOUNDS, *FURTHER} & {*DEVELOPMENT}
    assert {*COMPOUNDS, *FURTHER} <= {*FORMULAS}


@pytest.mark.parametrize("name", FORMULAS)
def test_crystals_have_formula_symmetry_and_sound_distances(name: str) -> None:
    structure = known_structure(name)
    formula, n_atoms, group = FORMULAS[name]
    assert structure.is_ordered and structure.composition.reduced_formula == formula
    assert len(structure.get_primitive_structure()) == n_atoms
    assert structure.get_space_group_info(symprec=0.01)[1] == group
    assert shortest_ratio(AseAtomsAdaptor.get_atoms(structure)) > 0.8
    assert structure.density == pytest.approx(DENSITIES.get(name, structure.density), rel=0.02)


def test_an_unknown_compound_is_named() -> None:
    with pytest.raises(SearchError, match="Did you mean 'lino3'"):
        known_structure("lin03")


def _rows(compound: str, seed: int, evolutionary: float | None, random: float | None) -> list[dict]:
    def row(arm: str, value: float | None) -> dict:
        values = dict.fromkeys(RESULT_COLUMNS) | {"compound": compound, "arm": arm, "seed": seed}
        return values | {
            "solved": value is not None,
            "evaluations_to_solution": value,
            "evaluations": 1000,
            "ended": True,
        }

    return [row("evolutionary", evolutionary), row("random", random)]


@pytest.fixture
def results() -> pd.DataFrame:
    rows = [
        *_rows("a", 0, 100, 400),
        *_rows("a", 1, 200, 800),
        *_rows("b", 0, 500, None),
        *_rows("c", 0, 5, 5),
    ]
    table = pd.DataFrame(rows[:-1])  # the second arm of "c" has not run yet
    return table.assign(evaluations_to_solution=table["evaluations_to_solution"].astype(float))


def test_comparison_counts_bounds_and_leaves_out_what_has_no_partner(results: pd.DataFrame) -> None:
    table = compare_arms(results, beside="random").set_index("compound")
    assert list(table.index) == ["a", "b"]
    assert (table.loc["a", "ratio"], table.loc["a", "bound"]) == (0.25, "")
    assert (table.loc["b", "ratio"], table.loc["b", "bound"]) == (0.5, "random")
    assert table.loc["b", "solved_random"] == 0


def test_geometric_mean_of_the_ratios(results: pd.DataFrame) -> None:
    ratio = paired_ratio(results, beside="random")
    assert ratio["ratio"] == pytest.approx((0.25 * 0.5) ** 0.5)
    assert ratio["ci_low"] <= ratio["ratio"] <= ratio["ci_high"] and ratio["n"] == 3
    assert "3 of 12 compounds, 4 evolutionary" in summary(results) and "random 2 of 3" in summary(results)


def test_plain_random_search_counts_where_it_was_run(results: pd.DataFrame) -> None:
    plain = [
        {"compound": "a", "seed": 0, "evaluations_to_solution": 300.0, "solved": True},
        {"compound": "a", "seed": 1, "evaluations_to_solution": 599.0, "solved": True},
        {"compound": "b", "seed": 0, "evaluations_to_solution": float("nan"), "solved": False},
    ]
    rows = pd.DataFrame(plain).assign(arm=PLAIN, evaluations=1500, ended=True)
    table = pd.concat([results, rows], ignore_index=True)
    assert against_plain(table)["within_a_third"].tolist() == [True, False, True]
    early = pd.concat([results, rows.assign(evaluations=1499)], ignore_index=True)
    assert len(against_plain(early)) == 2  # "b" is undecided until plain has spent 1500
    assert "in 2 of the 3 pairs" in summary(table) and "for 1 of 3 compounds" in summary(table)
    assert paired_ratio(table)["ratio"] == pytest.approx(
        (100 / 300 * 200 / 599) ** 0.25 * (500 / 1500) ** 0.5
    )


def test_an_interrupted_search_is_named_and_not_counted(results: pd.DataFrame) -> None:
    cut = [dict(r, ended=False) for r in _rows("d", 1, None, 900)]
    table = pd.concat([results, pd.DataFrame(cut)], ignore_index=True)
    assert "d" not in compare_arms(table, beside="random")["compound"].tolist()
    assert "d seed 1 after 1000 evaluations" in summary(table) and "Interrupted" not in summary(results)


def test_the_goal_is_judged_against_each_random_search() -> None:
    rows = [row for k in range(12) for seed in range(3) for row in _rows(f"c{k}", seed, 100, 200)]
    plain = [dict(r, arm=PLAIN, evaluations_to_solution=400.0) for r in rows if r["arm"] == "random"]
    text = summary(pd.DataFrame([*rows, *plain]))
    assert "(by this count the goal, two of three, is reached), with most" in text
    assert "(in this count the goal, two of three, is not reached); evolutionary" in text
    late = [dict(r, evaluations_to_solution=299.0) if r["seed"] == 0 else r for r in plain]
    assert "(by this count the goal, two of three, is not reached)" in summary(pd.DataFrame([*rows, *late]))


def test_costs_count_the_pair_model_and_estimate_it_where_it_was_not_recorded() -> None:
    both = {"compound": "a", "seed": 0, "solved": True, "ended": True, "generation_of_solution": 0.0}
    rows = [
        {"arm": "evolutionary", "evaluations_to_solution": 10.0, "seconds": 1.0}
        | {"model_relaxations": 100, "model_seconds": 20.0},
        {"arm": "random", "evaluations_to_solution": 40.0, "seconds": 4.0}
        | {"model_relaxations": 5, "model_seconds": float("nan")},
    ]
    table = cost_table(pd.DataFrame([both | r for r in rows])).set_index("beside")
    row = table.loc["random"]
    assert (row["pairs"], row["evaluations, other"], row["s potential, other"]) == (1, 40, 4)
    assert (row["s in all, evolutionary"], row["s in all, other"]) == (21, 4 + 5 * 0.2)
    assert table.loc[PLAIN, "pairs"] == 0


def test_the_plain_arm_knows_no_ions_and_random_search_does() -> None:
    settings = arms(benchmark_settings(100))
    assert settings["evolutionary"].pool_size > settings["random"].pool_size == settings[PLAIN].pool_size == 0
    assert settings[PLAIN].as_ions_first == () and SEED in settings["random"].as_ions_first
    assert settings[PLAIN].weights == settings["random"].weights == {SEED: 1.0}


def test_what_a_patient_search_alone_found_is_said(results: pd.DataFrame) -> None:
    generations = {
        "generation_of_solution": [2.0, None, 9.0, None, 3.0, None, 1.0],
        "generation_of_patience": 4.0,
    }
    text = summary(results.assign(**generations))
    assert "after 4 generations without a lower enthalpy, and 3 of 4 had found" in text


def test_stored_results_have_the_columns_of_the_command() -> None:
    table = stored_results()
    assert list(table.columns) == list(RESULT_COLUMNS)
    assert set(table["compound"]) <= set(COMPOUNDS)
    assert not table.duplicated(["compound", "arm", "seed"]).any()


def test_the_random_arm_may_spend_enough_to_decide_about_a_third() -> None:
    found = {"solved": True, "evaluations_to_solution": 1200.0}
    assert random_budget(found, 3000) == 3600
    assert random_budget(found | {"evaluations_to_solution": 90.0}, 3000) == 3000
    assert random_budget({"solved": False, "evaluations_to_solution": float("nan")}, 3000) == 3000


def test_operator_success_counts_what_was_given_up_as_failure() -> None:
    child = {"operator": "rattle", "parents": (0,), "parent_enthalpy_ev_atom": -1.0, "generation": 1}
    made = [
        candidate(0, -1.0, bulk("Cu")),
        candidate(1, -1.2, bulk("Cu"), **child),
        candidate(2, -0.8, bulk("Cu"), **child),
        candidate(3, -1.5, bulk("Cu"), **child, status="abandoned"),
    ]
    (row,) = operator_success(made).to_dict("records")
    assert (row["n"], row["below_parent"], row["given_up"]) == (3, 1, 1)
    assert row["ci_low"] < 1 / 3 < row["ci_high"]


def test_stored_operators_are_shares_with_intervals() -> None:
    table = stored_operators()
    assert (table["below_parent"] <= table["n"]).all()
    assert ((table["ci_low"] <= table["share"]) & (table["share"] <= table["ci_high"])).all()


@pytest.mark.parametrize(("n_good", "words"), [(8, "is reached"), (7, "is not reached")])
def test_the_goal_is_eight_of_twelve_within_a_third_over_three_seeds(n_good: int, words: str) -> None:
    rows = [
        row
        for k in range(12)
        for seed in range(3)
        for row in _rows(f"c{k}", seed, 100 if k < n_good else 200, 400)
    ]
    assert words in summary(pd.DataFrame(rows))
    assert "is not reached" in summary(pd.DataFrame([r for r in rows if r["seed"] < 2]))


def test_results_become_a_block_of_markdown(results: pd.DataFrame) -> None:
    operators = pd.DataFrame(
        {"operator": ["soft_mutation"], "n": [10], "below_parent": [3], "ci_low": [0.11], "ci_high": [0.6]}
    )
    text = results_text(results, operators)
    assert "| a | 2 | 2 | 2 |" in text and "soft mutation 3 of 10 [0.11, 0.60]" in text
    page = (DATA / "benchmark" / "README.md").read_text(encoding="utf-8")
    assert len(RESULTS_BLOCK.findall(page)) == 1


def test_summary_without_results_says_so() -> None:
    empty = pd.DataFrame(columns=list(RESULT_COLUMNS))
    assert compare_arms(empty).empty and "No search" in summary(empty)


def test_seeds_stand_side_by_side(results: pd.DataFrame) -> None:
    plain = dict(results.iloc[0], arm=PLAIN, solved=False, evaluations_to_solution=float("nan"))
    table = seed_table(pd.concat([results, pd.DataFrame([plain])], ignore_index=True)).set_index("compound")
    assert table.loc["a", "evolutionary"] == "100, 200" and table.loc["a", PLAIN] == ">1000, -"
    assert table.loc["b", "random"] == ">1000" and table.loc["a", "within a third of plain"] == "1 of 2"
