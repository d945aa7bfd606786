"""Benchmark crystals: composition, bonds, symmetry; and the arithmetic of the comparison."""

from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
from ase.build import bulk
from pymatgen.io.ase import AseAtomsAdaptor
from search_candidates import candidate

from crystal_search.benchmark import arms, benchmark_settings, random_budget, run_benchmark
from crystal_search.benchmark_results import (
    PLAIN,
    arm_table,
    compound_table,
    operator_success,
    paired_ratio,
    stored_results,
    within_a_third,
)
from crystal_search.errors import SearchError
from crystal_search.known_crystals import (
    COMPOUNDS,
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
        values = dict.fromkeys(stored_results().columns) | {
            "compound": compound,
            "n_atoms": 4,
            "arm": arm,
            "seed": seed,
        }
        spent = {"evaluations_to_solution": value, "evaluations": 1000, "arm": arm, "seed": seed}
        return values | spent | {"solved": value is not None, "ended": True}

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


def test_one_row_per_arm_counts_what_ended_and_leaves_out_what_has_no_partner(results: pd.DataFrame) -> None:
    table = arm_table(results).set_index("arm")
    assert table[["searches", "found"]].to_numpy().tolist() == [[4, 4], [3, 2]]
    row = table.loc["random"]
    assert row["ratio"] == pytest.approx((0.25 * 0.5) ** 0.5)
    assert row["ratio_low"] <= row["ratio"] <= row["ratio_high"] and row["found_low"] < 2 / 3
    assert (row["pairs"], row["within_a_third"]) == (2, 2)  # that of "b" spent 1000, not three times 500


def test_plain_random_search_counts_where_it_was_run(results: pd.DataFrame) -> None:
    plain = [
        {"compound": "a", "seed": 0, "evaluations_to_solution": 300.0, "solved": True},
        {"compound": "a", "seed": 1, "evaluations_to_solution": 599.0, "solved": True},
        {"compound": "b", "seed": 0, "evaluations_to_solution": float("nan"), "solved": False},
    ]
    rows = pd.DataFrame(plain).assign(arm=PLAIN, evaluations=1500, ended=True)
    table = pd.concat([results, rows], ignore_index=True)
    assert within_a_third(table)["within_a_third"].tolist() == [True, False, True]
    early = pd.concat([results, rows.assign(evaluations=1499)], ignore_index=True)
    assert len(within_a_third(early)) == 2  # "b" is undecided until plain has spent 1500
    assert paired_ratio(table)["ratio"] == pytest.approx(
        (100 / 300 * 200 / 599) ** 0.25 * (500 / 1500) ** 0.5
    )


def test_seeds_stand_side_by_side_and_an_interrupted_search_in_brackets(results: pd.DataFrame) -> None:
    cut = [dict(r, ended=False) for r in _rows("d", 1, None, 900)]
    table = compound_table(pd.concat([results, pd.DataFrame(cut)], ignore_index=True)).set_index("compound")
    assert table.loc["a", "evolutionary"] == "100, 200" and table.loc["a", PLAIN] == "-, -"
    assert table.loc["b", "random"] == ">1000" and table.loc["d", "evolutionary"] == "(>1000)"


def test_the_plain_arm_knows_no_ions_and_random_search_does() -> None:
    settings = arms(benchmark_settings(100))
    assert settings["evolutionary"].pool_size > settings["random"].pool_size == settings[PLAIN].pool_size == 0
    assert settings[PLAIN].as_ions_first == () and SEED in settings["random"].as_ions_first
    assert settings[PLAIN].weights == settings["random"].weights == {SEED: 1.0}


def test_stored_results_have_the_columns_of_the_command() -> None:
    table = stored_results()
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


def test_the_benchmark_runs_and_continues(tmp_path: Path) -> None:
    settings = replace(
        benchmark_settings(6),
        potential="ase.calculators.lj:LennardJones",
        potential_options={"sigma": 2.0, "epsilon": 0.3},
        first_generation=2,
        pool_size=0,
    )
    like = {"seeds": [0], "settings": settings, "folder": tmp_path}
    results = run_benchmark(["li3ocl"], **like)
    assert list(results.columns) == list(stored_results().columns)
    assert set(results["arm"]) == {"evolutionary", "random", PLAIN} and (results["n_atoms"] == 5).all()
    assert (results["evaluations"] >= 6).all() and len(pd.read_csv(tmp_path / "benchmark_results.csv")) == 3
    pd.testing.assert_frame_equal(run_benchmark(["li3ocl"], **like), results)
