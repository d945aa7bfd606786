"""The search: resuming after a kill, the control, stop rules, duplicates, giving up, weights."""

import json
import sqlite3
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.calculators.emt import EMT
from search_candidates import candidate

from crystal_search.database import Origin, SearchCandidate, SearchDatabase, candidate_table
from crystal_search.errors import SearchError
from crystal_search.evolution import find_crystals, plan_generation
from crystal_search.learned_potential import Learner
from crystal_search.plans import Search
from crystal_search.population import (
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
from crystal_search.relaxation import Relaxation, RelaxationSettings, relax
from crystal_search.search_settings import SearchSettings, random_search

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


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[SearchDatabase, list[SearchCandidate]]:
    database = SearchDatabase(tmp_path_factory.mktemp("search") / "s.sqlite")
    return database, find_crystals(CONTENT, name="a", settings=FAST, database=database)


def test_a_killed_search_ends_with_the_same_candidates(finished, tmp_path: Path) -> None:
    whole = finished[1]

    class Killed(SearchDatabase):
        written = 0

        def add(self, name: str, candidate: SearchCandidate) -> None:
            if self.written == 8:  # in the middle of a generation
                raise KeyboardInterrupt
            self.written += 1
            super().add(name, candidate)

    with pytest.raises(KeyboardInterrupt):
        find_crystals(CONTENT, name="a", settings=FAST, database=Killed(tmp_path / "k.sqlite"))
    left = SearchDatabase(tmp_path / "k.sqlite").candidates("a")
    assert 0 < len(left) < len(whole)
    resumed = find_crystals(CONTENT, name="a", settings=FAST, database=SearchDatabase(tmp_path / "k.sqlite"))
    assert [(c.operator, c.status, c.n_evaluations) for c in resumed] == [
        (c.operator, c.status, c.n_evaluations) for c in whole
    ]
    np.testing.assert_allclose(
        [c.enthalpy_ev_atom for c in resumed], [c.enthalpy_ev_atom for c in whole], atol=1e-9
    )


def test_a_finished_search_is_read_and_not_repeated(finished) -> None:
    database, whole = finished
    again = find_crystals(CONTENT, name="a", settings=FAST, database=database)
    assert [c.seconds for c in again] == [c.seconds for c in whole]


def test_other_settings_under_the_same_name_are_refused(finished) -> None:
    with pytest.raises(SearchError, match="children: 4 then, 5 now"):
        find_crystals(CONTENT, name="a", settings=replace(FAST, children=5), database=finished[0])


def test_another_budget_continues_a_search(finished, tmp_path: Path) -> None:
    database = SearchDatabase(tmp_path / "s.sqlite")
    poor = find_crystals(CONTENT, name="a", settings=replace(FAST, max_evaluations=1), database=database)
    assert len(poor) < len(finished[1])
    rich = find_crystals(CONTENT, name="a", settings=FAST, database=database)
    assert [c.n_evaluations for c in rich] == [c.n_evaluations for c in finished[1]]
    with sqlite3.connect(database.path) as connection:
        ((kept,),) = connection.execute("SELECT settings FROM searches")
    assert json.loads(kept)["max_evaluations"] == FAST.max_evaluations


def test_seeds_with_and_without_symmetry_and_children_are_different_kinds() -> None:
    made = [{"operator": SEED, "space_group": 1}, {"operator": SEED, "space_group": 62}]
    made += [{"operator": "rattle"}, {"operator": "rattle", "learned": True}]
    assert [kind(Origin(number=0, generation=0, **one)) for one in made] == [
        FREE_SEED,
        SYMMETRIC_SEED,
        CHILD,
        LEARNED,
    ]


def test_random_search_learns_nothing() -> None:
    control = random_search(FAST)
    assert dict(control.weights) == {SEED: 1.0} and not control.learn_volume and not control.give_up
    assert control.relaxation == FAST.relaxation and control.symmetric_share == FAST.symmetric_share
    assert control.pool_size == 0 and SearchSettings().pool_size > 0


def test_stop_rules(tmp_path: Path) -> None:
    database = SearchDatabase(tmp_path / "s.sqlite")
    poor = replace(FAST, max_evaluations=1)
    assert {c.generation for c in find_crystals(CONTENT, name="poor", settings=poor, database=database)} == {
        0
    }
    assert "budget" in database.note("poor")
    small = replace(FAST, first_generation=2, children=1)
    find_crystals(CONTENT, name="solved", settings=small, database=database, solved=lambda c: True)
    assert database.note("solved") == "the reference was found"
    patient = replace(small, patience=1, tolerance_ev_atom=100.0, max_generations=9)
    done = find_crystals(CONTENT, name="patient", settings=patient, database=database)
    assert max(c.generation for c in done) == 1 and "no better" in database.note("patient")


@pytest.mark.parametrize(
    "change",
    [
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
    with pytest.raises(SearchError):
        find_crystals(
            CONTENT, name="x", settings=replace(FAST, **change), database=SearchDatabase(tmp_path / "s")
        )


@pytest.mark.parametrize("damage", ["no database", "cut off", "a page overwritten"])
def test_a_damaged_file_is_kept_aside_and_begun_anew(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "s.sqlite"
    database = SearchDatabase(path)
    database.open_search("a", {})
    for number in range(40):
        database.add("a", candidate(number, -1.5, bulk("Cu")))
    whole = path.read_bytes()
    at = len(whole) // 2
    spoiled = {"no database": b"x" * 200, "cut off": whole[:at], "a page overwritten": bytearray(whole)}
    spoiled["a page overwritten"][at : at + 4096] = b"\xff" * 4096
    path.write_bytes(spoiled[damage])
    with pytest.warns(UserWarning, match=r"kept as s\.sqlite\.damaged"):
        anew = SearchDatabase(path)
    assert anew.candidates("a") == [] and (tmp_path / "s.sqlite.damaged").is_file()


def test_a_file_of_another_version_is_kept_aside(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "s.sqlite") as connection:
        connection.execute("CREATE TABLE candidates (search TEXT, number INTEGER, curve TEXT)")
    with pytest.warns(UserWarning, match="another version"):
        SearchDatabase(tmp_path / "s.sqlite").open_search("a", {})


def test_a_damaged_candidate_is_computed_anew_and_the_search_ends_the_same(finished, tmp_path: Path) -> None:
    """One that still reads well, with another enthalpy; and settings that do not fit their hash."""
    path = tmp_path / "s.sqlite"
    whole = find_crystals(CONTENT, name="a", settings=FAST, database=SearchDatabase(path))
    with sqlite3.connect(path) as connection:
        for number in (2, 7):
            change = "SET content = replace(content, '\"enthalpy_ev_atom\": ', '\"enthalpy_ev_atom\": -9')"
            connection.execute(f"UPDATE candidates {change} WHERE number = ?", (number,))
    with pytest.warns(UserWarning, match="2 damaged candidates"):
        again = find_crystals(CONTENT, name="a", settings=FAST, database=SearchDatabase(path))
    assert [c.enthalpy_ev_atom for c in again] == [c.enthalpy_ev_atom for c in whole]
    assert len(SearchDatabase(path).candidates("a")) == len(whole)
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE searches SET settings = '{'")
    SearchDatabase(path).open_search("a", {"seed": 1})
    assert SearchDatabase(path).candidates("a") == []


def test_candidates_survive_the_database(tmp_path: Path) -> None:
    database = SearchDatabase(tmp_path / "s.sqlite")
    database.open_search("a", {})
    one = candidate(0, -1.5, bulk("Cu"), parents=(3, 4))
    database.add("a", one)
    (back,) = database.candidates("a")
    assert (back.parents, back.enthalpy_ev_atom, back.status) == ((3, 4), -1.5, "converged")
    np.testing.assert_allclose(back.atoms.cell, one.atoms.cell)
    assert np.isnan(back.parent_enthalpy_ev_atom)
    with sqlite3.connect(database.path) as connection:
        assert connection.execute("SELECT count(*) FROM candidates").fetchone() == (1,)


def test_survivors_are_the_lowest_distinct_structures() -> None:
    copper, gold = bulk("Cu"), bulk("Au")
    turned = copper.copy()
    turned.rotate(40, "z", rotate_cell=True)
    failed = candidate(3, -9.0, gold, status="failed")
    kept = survivors(
        [candidate(0, -1.0, copper), candidate(1, -1.001, turned), candidate(2, -0.5, gold), failed],
        size=5,
    )
    assert [c.number for c in kept] == [1, 2]


def test_parents_are_distinct_and_low_ones_likelier() -> None:
    population = [candidate(i, float(i), bulk("Cu")) for i in range(5)]
    rng = np.random.default_rng(0)
    pairs = [choose_parents(population, 2, rng) for _ in range(300)]
    assert all(a.number != b.number for a, b in pairs)
    counts = np.bincount([c.number for pair in pairs for c in pair], minlength=5)
    assert counts[0] > counts[4]


def test_weights_follow_success_keep_a_floor_and_the_share_of_seeds() -> None:
    given = {SEED: 0.4, "rattle": 0.3, "strain": 0.3}
    made = [candidate(i, 0.0, bulk("Cu"), operator="strain") for i in range(20)]
    alive = [candidate(99, 0.0, bulk("Cu"), operator="rattle")]
    weights = operator_weights(made + alive, alive, weights=given, adaptive=True)
    assert sum(weights.values()) == pytest.approx(1) and weights[SEED] == pytest.approx(0.4)
    assert weights["rattle"] > 5 * weights["strain"] > 0.5 * SMALLEST_WEIGHT
    fixed = operator_weights(made, alive, weights=given, adaptive=False)
    assert fixed == pytest.approx(given)


def test_of_two_operators_with_equal_success_the_cheaper_one_is_used_more() -> None:
    given = {SEED: 0.4, "symmetrise": 0.3, "strain": 0.3}
    cheap = [candidate(i, 0.0, bulk("Cu"), operator="symmetrise", n_evaluations=5) for i in range(10)]
    dear = [candidate(i, 0.0, bulk("Cu"), operator="strain", n_evaluations=50) for i in range(10)]
    weights = operator_weights(cheap + dear, [cheap[0], dear[0]], weights=given, adaptive=True)
    assert weights["symmetrise"] > 2 * weights["strain"]


def test_random_search_relaxes_its_seeds_as_ions_too() -> None:
    settings = replace(FAST, potential="chgnet", oxidation_states={"Li": 1, "O": -2})
    assert SEED in random_search(settings).as_ions_first
    raw, relaxed = (
        plan_generation(
            Search(content={"Li": 2, "O": 1}, settings=s), [], generation=0, stored={}, learner=Learner()
        )
        for s in (replace(settings, as_ions_first=()), random_search(settings))
    )
    assert [p.space_group for p in raw] == [p.space_group for p in relaxed]
    wrong, right = (np.median([p.atoms.get_volume() for p in plans]) for plans in (raw, relaxed))
    assert right == pytest.approx(4.619**3 / 4, rel=0.3) and wrong > 1.5 * right  # Li2O


def test_hopeless_and_repeated_candidates_are_given_up() -> None:
    copper = bulk("Cu")
    rule = GiveUpRule(cut_ev_atom=-1.0, drops={16: 0.2}, population=(candidate(7, -1.4, copper),))
    assert "hopeless" in rule(16, -0.7, bulk("Au"))
    assert rule(16, -0.9, bulk("Au")) == "" and rule(15, 5.0, copper) == ""
    assert rule(24, -1.401, copper) == "repeats candidate 7"


def test_the_rule_waits_for_enough_finished_relaxations() -> None:
    some = [candidate(i, -1.0 - i / 10, bulk("Cu", a=3 + i / 5)) for i in range(6)]
    assert give_up_rule(some[:4], some[:4], size=6).drops == {}
    rule = give_up_rule(some, survivors(some, size=6), size=6)
    assert rule.drops[8] == pytest.approx(0.1 * np.exp(-8 / 5)) and rule.cut_ev_atom == pytest.approx(-1.0)
    assert give_up_rule(some, some[:2], size=6).cut_ev_atom == float("inf")


def test_what_the_learned_potential_relaxed_is_given_up_without_waiting() -> None:
    some = [candidate(i, -1.0 - i / 10, bulk("Cu", a=3 + i / 5)) for i in range(6)]
    rule = give_up_rule([], survivors(some, size=6), size=6, most_ev_atom=0.1)
    assert "hopeless" in rule(1, -0.89, bulk("Au")) and rule(1, -0.91, bulk("Au")) == ""
    seen = give_up_rule(some, survivors(some, size=6), size=6, most_ev_atom=0.01)
    assert max(seen.drops.values()) == pytest.approx(0.01) and seen.drops[24] < 0.01


def test_costs_add_up(finished) -> None:
    candidates = finished[1]
    table = candidate_table(candidates)
    assert table["evaluations_so_far"].max() == sum(c.n_evaluations for c in candidates)
    begun = [c for c in candidates if not c.generation]
    assert [c.n_model_relaxations for c in begun] == [1] * len(begun)  # by the pair model


def test_another_protocol_needs_a_relaxer_and_gets_eachcandidate(tmp_path: Path) -> None:
    settings = replace(FAST, protocol="as it is", max_generations=1)
    database = SearchDatabase(tmp_path / "s.sqlite")
    with pytest.raises(SearchError, match="expected 'optimise', or a relaxer"):
        find_crystals(CONTENT, name="a", settings=settings, database=database)
    seen = []

    def relaxer(atoms: Atoms, *, calculator: EMT, pressure_gpa: float, seed: int) -> Relaxation:
        seen.append(seed)
        return relax(atoms, calculator=calculator, settings=RelaxationSettings(max_steps=0))

    done = find_crystals(CONTENT, name="a", settings=settings, database=database, relaxer=relaxer)
    assert seen == [0, 1, 2, 3, 4] and {c.n_evaluations for c in done} == {1}


@pytest.mark.slow
def test_two_processes_give_the_same_candidates(finished, tmp_path: Path) -> None:
    both = find_crystals(CONTENT, name="a", settings=FAST, database=SearchDatabase(tmp_path / "p"), n_jobs=2)
    assert [c.n_evaluations for c in both] == [c.n_evaluations for c in finished[1]]
