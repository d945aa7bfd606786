"""What a search learns from its own evaluations, and the children that it chooses by it."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.calculators.emt import EMT
from scipy.stats import spearmanr

from crystal_search import evolution as search_module
from crystal_search.database import SearchCandidate, SearchDatabase
from crystal_search.evaluations import Snapshot, evaluate_many
from crystal_search.evolution import find_crystals
from crystal_search.learned_potential import Learner, NormalEquations
from crystal_search.offspring import choose_children, make_offspring
from crystal_search.plans import Preparation, Search
from crystal_search.population import SEED, same_structure, survivors
from crystal_search.relaxation import FAILED, SNAPSHOT_STEPS, RelaxationSettings, relax
from crystal_search.search_settings import SearchSettings
from crystal_search.seeds import random_seed

CONTENT = {"Cu": 3, "Au": 3}
SETTINGS = SearchSettings(
    potential="ase.calculators.emt:EMT",
    relaxation=RelaxationSettings(fmax_ev_angstrom=0.05, max_steps=40),
    first_generation=12,
    children=3,
    max_generations=3,
    offspring=16,
    pool_size=0,
)


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> list[SearchCandidate]:
    database = SearchDatabase(tmp_path_factory.mktemp("learned") / "s.sqlite")
    return find_crystals(CONTENT, name="a", settings=SETTINGS, database=database)


@pytest.fixture(scope="module")
def first(done: list[SearchCandidate]) -> list[SearchCandidate]:
    return [c for c in done if not c.generation]


def test_relaxations_leave_snapshots_of_their_way(first: list[SearchCandidate]) -> None:
    for c in first:
        assert len(c.snapshots) <= len(SNAPSHOT_STEPS) + 1
        assert c.snapshots[0].energy_ev_atom == pytest.approx(c.curve[0], abs=1e-4)
        assert c.snapshots[-1].energy_ev_atom == pytest.approx(c.energy_ev_atom)
        np.testing.assert_allclose(c.snapshots[-1].atoms.positions, c.atoms.positions)


def test_snapshots_survive_the_database_to_the_last_digit(
    first: list[SearchCandidate], tmp_path: Path
) -> None:
    database = SearchDatabase(tmp_path / "s.sqlite")
    database.open_search("a", {})
    database.add("a", first[0])
    (back,) = database.candidates("a")
    for old, new in zip(first[0].snapshots, back.snapshots, strict=True):
        assert old.energy_ev_atom == new.energy_ev_atom
        np.testing.assert_array_equal(old.forces, new.forces)
        np.testing.assert_array_equal(old.stress_voigt, new.stress_voigt)
        np.testing.assert_array_equal(old.atoms.positions, new.atoms.positions)


def test_the_learned_potential_ranks_crystals_that_it_has_not_seen(first: list[SearchCandidate]) -> None:
    potential, rng = Learner().potential(first), np.random.default_rng(99)
    true, learned = [], []
    for _ in range(12):
        seed = random_seed(CONTENT, symmetric_share=0.5, volume_angstrom3=None, rng=rng)
        atoms = relax(seed.atoms, calculator=EMT(), settings=SETTINGS.relaxation).atoms
        true.append(evaluate_many(EMT(), [atoms])[0].energy)
        learned.append(evaluate_many(potential, [atoms])[0].energy)
    assert spearmanr(true, learned)[0] > 0.7
    assert np.median(np.abs(np.array(true) - learned)) < 0.2 * np.std(true)


def test_lessons_in_several_parts_teach_the_same_and_bad_ones_are_left_out(
    first: list[SearchCandidate],
) -> None:
    learner = Learner()
    learner.potential(first[:5])
    lessons = NormalEquations((29, 79), [s for c in first[:5] for s in c.snapshots])
    lessons.add(s for c in first[5:] for s in c.snapshots)
    lessons.add([replace(first[0].snapshots[0], forces=np.full((6, 3), np.nan))])
    atoms = first[0].atoms
    energies = [evaluate_many(p, [atoms])[0].energy for p in (learner.potential(first), lessons.potential())]
    assert energies[0] == pytest.approx(energies[1], abs=1e-8)


def test_without_snapshots_nothing_is_learned(first: list[SearchCandidate]) -> None:
    assert Learner().potential([replace(c, snapshots=()) for c in first]) is None
    assert Learner().potential([replace(c, status=FAILED) for c in first]) is None


def test_an_energy_that_is_not_finite_does_not_spoil_the_lessons(first: list[SearchCandidate]) -> None:
    bad = replace(first[0].snapshots[0], energy_ev_atom=float("nan"))
    spoiled = [replace(first[0], snapshots=(bad, *first[0].snapshots[1:])), *first[1:]]
    energy = evaluate_many(Learner().potential(spoiled), [first[0].atoms])[0].energy
    assert energy / 6 == pytest.approx(first[0].energy_ev_atom, abs=0.1)


def _offspring(first: list[SearchCandidate], **changes: object) -> tuple:
    potential = Learner().potential(first)
    population = survivors(first, size=6)
    search = Search(content=CONTENT, settings=SETTINGS, **changes)
    weights = {SEED: 0.5, "rattle": 0.5}
    return make_offspring(search, population, potential, generation=1, weights=weights), potential


def test_children_are_the_lowest_and_repeat_neither_each_other_nor_the_past(
    first: list[SearchCandidate],
) -> None:
    made, potential = _offspring(first)
    assert len(made) == SETTINGS.offspring
    children = choose_children(made, first, potential, n=5, pressure_gpa=0.0)
    predicted = {o.plan.number: o.enthalpy_ev_atom for o in made}
    energies = [predicted[p.number] for p in children]
    assert energies == sorted(energies)
    pairs = [(a, b) for i, a in enumerate(children) for b in children[:i]]
    close = [abs(predicted[a.number] - predicted[b.number]) < 0.01 for a, b in pairs]
    assert not any(c and same_structure(a.atoms, b.atoms) for c, (a, b) in zip(close, pairs, strict=True))
    best = replace(first[0], atoms=children[0].atoms)
    again = choose_children(made, [*first, best], potential, n=5, pressure_gpa=0.0)
    assert children[0].number not in [p.number for p in again]
    assert choose_children([], first, potential, n=5, pressure_gpa=0.0) == []


def test_the_cost_is_that_of_all_offspring(first: list[SearchCandidate]) -> None:
    made, potential = _offspring(first)
    children = choose_children(made, first, potential, n=3, pressure_gpa=0.0)
    spent = sum((o.plan.spent for o in made), Preparation())
    assert spent.n_model_relaxations >= SETTINGS.offspring and spent.model_seconds > 0
    assert [p.spent.n_model_relaxations for p in children] == [0, 0, 0]


@pytest.mark.slow
def test_offspring_do_not_depend_on_the_number_of_processes(first: list[SearchCandidate]) -> None:
    alone, both = (_offspring(first, n_jobs=n)[0] for n in (1, 2))
    assert [o.enthalpy_ev_atom for o in alone] == pytest.approx([o.enthalpy_ev_atom for o in both])


def test_a_search_that_learns_saves_evaluations_after_its_first_generation(
    done: list[SearchCandidate],
) -> None:
    begun = [c.n_evaluations for c in done if not c.generation]
    later = [c.n_evaluations for c in done if c.generation]
    assert len(later) == 2 * SETTINGS.children and np.mean(later) < 0.7 * np.mean(begun)
    assert not any(c.learned for c in done if not c.generation) and any(c.learned for c in done)
    assert min(c.enthalpy_ev_atom for c in done) <= min(c.enthalpy_ev_atom for c in done if not c.generation)


def test_a_search_that_is_told_not_to_learn_keeps_no_snapshots(tmp_path: Path) -> None:
    database = SearchDatabase(tmp_path / "s.sqlite")
    plain = replace(SETTINGS, learn=False, max_generations=2)
    found = find_crystals(CONTENT, name="plain", settings=plain, database=database)
    assert len(found) == 15 and not any(c.snapshots or c.learned for c in found)
    assert not replace(SETTINGS, protocol="npt").learns


def test_where_too_few_offspring_are_new_the_other_children_are_made_directly(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    all_children = search_module.choose_children
    monkeypatch.setattr(search_module, "choose_children", lambda *a, **k: all_children(*a, **k)[:1])
    short = replace(SETTINGS, max_generations=2)
    found = find_crystals(CONTENT, name="a", settings=short, database=SearchDatabase(tmp_path / "s.sqlite"))
    assert [c.learned for c in found[12:]] == [True, False, False]
    monkeypatch.setattr(search_module, "choose_children", lambda *a, **k: [])
    found = find_crystals(CONTENT, name="b", settings=short, database=SearchDatabase(tmp_path / "s.sqlite"))
    assert [c.number for c in found[12:]] == [12, 13, 14] and not any(c.learned for c in found)
    assert found[12].n_model_relaxations >= SETTINGS.offspring  # the choice has cost what it has cost


def test_a_snapshot_holds_ase_units() -> None:
    atoms = bulk("Cu")
    atoms.calc = EMT()
    snapshot = Snapshot.of(Atoms(atoms), evaluate_many(EMT(), [bulk("Cu")])[0])
    assert snapshot.energy_ev_atom == pytest.approx(atoms.get_potential_energy())
    np.testing.assert_allclose(snapshot.stress_voigt, atoms.get_stress())
