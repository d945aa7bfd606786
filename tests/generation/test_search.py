"""The search: resuming after a kill, the control, stop rules, duplicates, giving up, weights."""

import sqlite3
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk

from sselib.errors import DataError, ParameterError, RunError
from sselib.generation.campaign import Case, best_structure, run_campaign, size_table
from sselib.generation.database import Candidate, SearchDatabase, candidate_table
from sselib.generation.effort import curves_on_grid, effort_table, operator_success, progress_curve
from sselib.generation.formula_units import CellContent
from sselib.generation.learned_potential import Learner
from sselib.generation.population import (
    CHILD,
    FREE_SEED,
    LEARNED,
    SEED,
    SMALLEST_WEIGHT,
    SYMMETRIC_SEED,
    GiveUpRule,
    choose_parents,
    give_up_rule,
    kind,
    operator_weights,
    survivors,
)
from sselib.generation.relaxation import RelaxationSettings
from sselib.generation.search import generation_of_patience, plan_generation, search
from sselib.generation.search_settings import SearchSettings, random_search

CONTENT = {"Cu": 2, "Au": 1}
FAST = SearchSettings(
    potential="ase.calculators.emt:EMT",
    relaxation=RelaxationSettings(fmax_ev_angstrom=0.1, max_steps=40),
    first_generation=5,
    children=4,
    max_generations=3,
    population_size=3,
    pool_size=0,
    offspring=12,
)


def _candidate(number: int, enthalpy: float, atoms: Atoms, **changes: object) -> Candidate:
    values = {
        "number": number,
        "generation": 0,
        "operator": SEED,
        "parents": (),
        "parent_enthalpy_ev_atom": float("nan"),
        "space_group": 1,
        "status": "converged",
        "reason": "",
        "enthalpy_ev_atom": enthalpy,
        "energy_ev_atom": enthalpy,
        "volume_angstrom3_atom": atoms.get_volume() / len(atoms),
        "n_evaluations": 10,
        "seconds": 1.0,
        "n_model_relaxations": 1,
        "model_seconds": 0.1,
        "curve": tuple(enthalpy + 0.1 * np.exp(-np.arange(40) / 5)),
        "atoms": atoms,
    }
    return Candidate(**(values | changes))


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[SearchDatabase, list[Candidate]]:
    database = SearchDatabase(tmp_path_factory.mktemp("search") / "s.sqlite")
    return database, search(CONTENT, name="a", settings=FAST, database=database)


def test_a_killed_search_ends_with_the_same_candidates(finished, tmp_path: Path) -> None:
    whole = finished[1]

    class Killed(SearchDatabase):
        written = 0

        def add(self, name: str, candidate: Candidate) -> None:
            if self.written == 8:  # in the middle of a generation
                raise KeyboardInterrupt
            self.written += 1
            super().add(name, candidate)

    with pytest.raises(KeyboardInterrupt):
        search(CONTENT, name="a", settings=FAST, database=Killed(tmp_path / "k.sqlite"))
    left = SearchDatabase(tmp_path / "k.sqlite").candidates("a")
    assert 0 < len(left) < len(whole)
    resumed = search(CONTENT, name="a", settings=FAST, database=SearchDatabase(tmp_path / "k.sqlite"))
    assert [(c.operator, c.status, c.n_evaluations) for c in resumed] == [
        (c.operator, c.status, c.n_evaluations) for c in whole
    ]
    np.testing.assert_allclose(
        [c.enthalpy_ev_atom for c in resumed], [c.enthalpy_ev_atom for c in whole], atol=1e-9
    )


def test_a_finished_search_is_read_and_not_repeated(finished) -> None:
    database, whole = finished
    again = search(CONTENT, name="a", settings=FAST, database=database)
    assert [c.seconds for c in again] == [c.seconds for c in whole]


def test_other_settings_under_the_same_name_are_refused(finished) -> None:
    with pytest.raises(RunError, match="children: 4 then, 5 now"):
        search(CONTENT, name="a", settings=replace(FAST, children=5), database=finished[0])


def test_another_budget_continues_a_search(finished, tmp_path: Path) -> None:
    database = SearchDatabase(tmp_path / "s.sqlite")
    poor = search(CONTENT, name="a", settings=replace(FAST, max_evaluations=1), database=database)
    assert len(poor) < len(finished[1])
    rich = search(CONTENT, name="a", settings=FAST, database=database)
    assert [c.n_evaluations for c in rich] == [c.n_evaluations for c in finished[1]]
    assert database.settings("a")["max_evaluations"] == FAST.max_evaluations


def test_seeds_with_and_without_symmetry_and_children_are_different_kinds() -> None:
    kinds = [kind(SEED, 1), kind(SEED, 62), kind("rattle", 0), kind("rattle", 0, learned=True)]
    assert kinds == [FREE_SEED, SYMMETRIC_SEED, CHILD, LEARNED]


def test_random_search_learns_nothing() -> None:
    control = random_search(FAST)
    assert dict(control.weights) == {SEED: 1.0} and not control.learn_volume and not control.give_up
    assert control.relaxation == FAST.relaxation and control.symmetric_share == FAST.symmetric_share
    assert control.pool_size == 0 and SearchSettings().pool_size > 0


def test_stop_rules(tmp_path: Path) -> None:
    database = SearchDatabase(tmp_path / "s.sqlite")
    poor = replace(FAST, max_evaluations=1)
    assert {c.generation for c in search(CONTENT, name="poor", settings=poor, database=database)} == {0}
    assert "budget" in database.note("poor")
    small = replace(FAST, first_generation=2, children=1)
    search(CONTENT, name="solved", settings=small, database=database, solved=lambda c: True)
    assert database.note("solved") == "the reference was found"
    patient = replace(small, patience=1, tolerance_ev_atom=100.0, max_generations=9)
    done = search(CONTENT, name="patient", settings=patient, database=database)
    assert max(c.generation for c in done) == 1 and "no better" in database.note("patient")
    assert generation_of_patience(done, patient) == 1
    assert np.isnan(generation_of_patience(done, replace(patient, patience=2)))


@pytest.mark.parametrize(
    "change",
    [
        {"protocol": "nvt"},
        {"pool_size": 5},
        {"pool_size": 50, "as_ions_first": ()},
        {"weights": {"ratle": 1.0}},
        {"as_ions_first": ("sead",)},
        {"children": 0},
        {"offspring": 3},
        {"symmetric_share": 2.0},
        {"weights": {SEED: 0}},
    ],
)
def test_impossible_settings_are_refused(change: dict, tmp_path: Path) -> None:
    with pytest.raises(ParameterError):
        search(CONTENT, name="x", settings=replace(FAST, **change), database=SearchDatabase(tmp_path / "s"))


def test_a_file_that_is_no_database_is_named(tmp_path: Path) -> None:
    (tmp_path / "s.sqlite").write_text("something else entirely, long enough to be no database")
    with pytest.raises(DataError, match="no database of searches"):
        SearchDatabase(tmp_path / "s.sqlite")


def test_candidates_survive_the_database(tmp_path: Path) -> None:
    database = SearchDatabase(tmp_path / "s.sqlite")
    database.open_search("a", {})
    one = _candidate(0, -1.5, bulk("Cu"), parents=(3, 4))
    database.add("a", one)
    (back,) = database.candidates("a")
    assert (back.parents, back.enthalpy_ev_atom, back.status) == ((3, 4), -1.5, "converged")
    np.testing.assert_allclose(back.atoms.cell, one.atoms.cell)
    assert np.isnan(back.parent_enthalpy_ev_atom)
    with sqlite3.connect(database.path) as connection:
        assert connection.execute("SELECT count(*) FROM candidates").fetchone() == (1,)


def test_a_file_of_an_earlier_version_can_still_be_read_and_added_to(tmp_path: Path) -> None:
    database = SearchDatabase(tmp_path / "s.sqlite")
    database.open_search("a", {})
    database.add("a", _candidate(0, -1.5, bulk("Cu")))
    with sqlite3.connect(database.path) as connection:
        connection.execute("ALTER TABLE candidates ADD COLUMN screening_enthalpy_ev_atom REAL")
        for column in ("n_model_relaxations", "snapshots"):
            connection.execute(f"ALTER TABLE candidates DROP COLUMN {column}")
        connection.execute("ALTER TABLE candidates RENAME COLUMN model_seconds TO pair_seconds")
        connection.execute("ALTER TABLE candidates DROP COLUMN learned")
    again = SearchDatabase(database.path)
    again.add("a", _candidate(1, -1.4, bulk("Cu")))
    old, new = again.candidates("a")
    assert (old.n_model_relaxations, new.n_model_relaxations) == (0, 1)
    assert old.model_seconds == new.model_seconds == pytest.approx(0.1)
    assert (old.snapshots, old.learned) == ((), False)


def test_survivors_are_the_lowest_distinct_structures() -> None:
    copper, gold = bulk("Cu"), bulk("Au")
    turned = copper.copy()
    turned.rotate(40, "z", rotate_cell=True)
    failed = _candidate(3, -9.0, gold, status="failed")
    kept = survivors(
        [_candidate(0, -1.0, copper), _candidate(1, -1.001, turned), _candidate(2, -0.5, gold), failed],
        size=5,
    )
    assert [c.number for c in kept] == [1, 2]


def test_parents_are_distinct_and_low_ones_likelier() -> None:
    population = [_candidate(i, float(i), bulk("Cu")) for i in range(5)]
    rng = np.random.default_rng(0)
    pairs = [choose_parents(population, 2, rng) for _ in range(300)]
    assert all(a.number != b.number for a, b in pairs)
    counts = np.bincount([c.number for pair in pairs for c in pair], minlength=5)
    assert counts[0] > counts[4]


def test_weights_follow_success_keep_a_floor_and_the_share_of_seeds() -> None:
    given = {SEED: 0.4, "rattle": 0.3, "strain": 0.3}
    made = [_candidate(i, 0.0, bulk("Cu"), operator="strain") for i in range(20)]
    alive = [_candidate(99, 0.0, bulk("Cu"), operator="rattle")]
    weights = operator_weights(made + alive, alive, weights=given, adaptive=True)
    assert sum(weights.values()) == pytest.approx(1) and weights[SEED] == pytest.approx(0.4)
    assert weights["rattle"] > 5 * weights["strain"] > 0.5 * SMALLEST_WEIGHT
    fixed = operator_weights(made, alive, weights=given, adaptive=False)
    assert fixed == pytest.approx(given)


def test_of_two_operators_with_equal_success_the_cheaper_one_is_used_more() -> None:
    given = {SEED: 0.4, "symmetrise": 0.3, "strain": 0.3}
    cheap = [_candidate(i, 0.0, bulk("Cu"), operator="symmetrise", n_evaluations=5) for i in range(10)]
    dear = [_candidate(i, 0.0, bulk("Cu"), operator="strain", n_evaluations=50) for i in range(10)]
    weights = operator_weights(cheap + dear, [cheap[0], dear[0]], weights=given, adaptive=True)
    assert weights["symmetrise"] > 2 * weights["strain"]


def test_random_search_relaxes_its_seeds_as_ions_too() -> None:
    settings = replace(FAST, potential="chgnet")
    assert SEED in random_search(settings).as_ions_first
    raw, relaxed = (
        plan_generation({"Li": 2, "O": 1}, [], generation=0, settings=s, stored={}, learner=Learner())
        for s in (replace(settings, as_ions_first=()), random_search(settings))
    )
    assert [p.space_group for p in raw] == [p.space_group for p in relaxed]
    wrong, right = (np.median([p.atoms.get_volume() for p in plans]) for plans in (raw, relaxed))
    assert right == pytest.approx(4.619**3 / 4, rel=0.3) and wrong > 1.5 * right  # Li2O


def test_hopeless_and_repeated_candidates_are_given_up() -> None:
    copper = bulk("Cu")
    rule = GiveUpRule(cut_ev_atom=-1.0, drops={16: 0.2}, population=(_candidate(7, -1.4, copper),))
    assert "hopeless" in rule(16, -0.7, bulk("Au"))
    assert rule(16, -0.9, bulk("Au")) == "" and rule(15, 5.0, copper) == ""
    assert rule(24, -1.401, copper) == "repeats candidate 7"


def test_the_rule_waits_for_enough_finished_relaxations() -> None:
    some = [_candidate(i, -1.0 - i / 10, bulk("Cu", a=3 + i / 5)) for i in range(6)]
    assert give_up_rule(some[:4], some[:4], size=6).drops == {}
    rule = give_up_rule(some, survivors(some, size=6), size=6)
    assert rule.drops[8] == pytest.approx(0.1 * np.exp(-8 / 5)) and rule.cut_ev_atom == pytest.approx(-1.0)
    assert give_up_rule(some, some[:2], size=6).cut_ev_atom == float("inf")


def test_what_the_learned_potential_relaxed_is_given_up_without_waiting() -> None:
    some = [_candidate(i, -1.0 - i / 10, bulk("Cu", a=3 + i / 5)) for i in range(6)]
    rule = give_up_rule([], survivors(some, size=6), size=6, most_ev_atom=0.1)
    assert "hopeless" in rule(1, -0.89, bulk("Au")) and rule(1, -0.91, bulk("Au")) == ""
    seen = give_up_rule(some, survivors(some, size=6), size=6, most_ev_atom=0.01)
    assert max(seen.drops.values()) == pytest.approx(0.01) and seen.drops[24] < 0.01


def test_progress_and_effort_add_up(finished) -> None:
    candidates = finished[1]
    curve = progress_curve(candidates)
    assert (np.diff(curve["best_enthalpy_ev_atom"]) <= 0).all()
    assert curve["evaluations_so_far"].iloc[-1] == sum(c.n_evaluations for c in candidates)
    grid = curves_on_grid([curve, curve.assign(best_enthalpy_ev_atom=curve["best_enthalpy_ev_atom"] + 1)])
    assert (grid["high"] - grid["low"]).to_numpy() == pytest.approx(1) and (grid["n"] == 2).all()
    costs = effort_table({"a": candidates}).iloc[0]
    assert costs["relaxed"] + costs["given_up"] + costs["failed"] == costs["structures"] == len(candidates)
    table = candidate_table(candidates)
    assert table["evaluations_so_far"].max() == costs["energy_evaluations"]
    begun = [c for c in candidates if not c.generation]
    assert [c.n_model_relaxations for c in begun] == [1] * len(begun)  # by the pair model
    assert costs["model_relaxations"] == sum(c.n_model_relaxations for c in candidates)


def test_operator_success_counts_what_was_given_up_as_failure() -> None:
    child = {"operator": "rattle", "parents": (0,), "parent_enthalpy_ev_atom": -1.0, "generation": 1}
    made = [
        _candidate(0, -1.0, bulk("Cu")),
        _candidate(1, -1.2, bulk("Cu"), **child),
        _candidate(2, -0.8, bulk("Cu"), **child),
        _candidate(3, -1.5, bulk("Cu"), **child, status="abandoned"),
    ]
    (row,) = operator_success(made).to_dict("records")
    assert (row["n"], row["below_parent"], row["given_up"]) == (3, 1, 1)
    assert row["ci_low"] < 1 / 3 < row["ci_high"]


def test_a_campaign_gives_both_arms_the_same_budget_and_a_best_structure(tmp_path: Path) -> None:
    content = CellContent(formula="Cu2Au", z=1, amounts=CONTENT)
    settings = replace(FAST, max_generations=2, first_generation=4, children=2)
    found = run_campaign([content], seeds=[0], settings=settings, database=SearchDatabase(tmp_path / "s"))
    spent = {k.arm: sum(c.n_evaluations for c in v) for k, v in found.items()}
    mine = found[Case(formula="Cu2Au", arm="evolutionary", seed=0)]
    last = found[Case(formula="Cu2Au", arm="random", seed=0)]
    last_generation = max(c.generation for c in last)
    before = sum(c.n_evaluations for c in last if c.generation < last_generation)
    assert before < spent["evolutionary"] <= spent["random"]
    best = best_structure("Cu2Au", found, settings=settings)
    lowest = min(c.enthalpy_ev_atom for c in mine if c.status == "converged")
    assert best.relaxed.enthalpy_ev_atom <= lowest + 1e-6
    assert set(size_table(found)["n_atoms"]) == {3}
    with pytest.raises(DataError, match="Li2S"):
        best_structure("Li2S", found, settings=settings)


@pytest.mark.slow
def test_two_processes_give_the_same_candidates(finished, tmp_path: Path) -> None:
    both = search(CONTENT, name="a", settings=FAST, database=SearchDatabase(tmp_path / "p"), n_jobs=2)
    assert [c.n_evaluations for c in both] == [c.n_evaluations for c in finished[1]]
