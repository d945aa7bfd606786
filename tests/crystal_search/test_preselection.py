"""Pools of random crystals: the pair model's order, no repeats, tournaments, and what they cost."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from ase.build import bulk
from ase.calculators.lj import LennardJones

from crystal_search.database import SearchDatabase
from crystal_search.evolution import find_crystals
from crystal_search.ionic import pair_energy
from crystal_search.population import SEED, same_structure
from crystal_search.preselection import (
    TOURNAMENT,
    Pool,
    make_pool,
    n_seeds,
    tournament_winner,
)
from crystal_search.relaxation import RelaxationSettings
from crystal_search.search_settings import SearchSettings
from crystal_search.seeds import Seed

LIF = (("Li", 2), ("F", 2))
STATES = (("Li", 1), ("F", -1))
SIZE = 30  # crystals, of which six become seeds


def _energy(seed: Seed) -> float:
    return pair_energy(seed.atoms, dict(STATES))


@pytest.fixture(scope="module")
def pool() -> Pool:
    return make_pool(LIF, states=STATES, size=SIZE, symmetric_share=0.5, seed=(0, 0))


def test_the_lowest_come_first_and_none_twice(pool: Pool) -> None:
    energies = [_energy(s) for s in pool.lowest]
    assert energies == sorted(energies) and energies[0] <= min(_energy(s) for s in pool.others)
    assert len(pool.lowest) <= n_seeds(SIZE) // 2
    assert len(pool.lowest) + len(pool.others) == pool.n_relaxations == SIZE
    pairs = [(a, b) for i, a in enumerate(pool.lowest) for b in pool.lowest[:i]]
    close = [abs(_energy(a) - _energy(b)) < 0.01 for a, b in pairs]
    assert not any(c and same_structure(a.atoms, b.atoms) for c, (a, b) in zip(close, pairs, strict=True))


def test_the_pair_model_finds_rock_salt_first(pool: Pool) -> None:
    assert same_structure(pool.lowest[0].atoms, bulk("LiF", "rocksalt", a=4.03))


def test_places_are_filled_from_both_halves_and_no_crystal_competes_twice(pool: Pool) -> None:
    rivals = [pool.rivals(place) for place in range(n_seeds(SIZE))]
    assert [r[0] for r in rivals[::2]][: len(pool.lowest)] == list(pool.lowest)
    assert all(1 <= len(r) <= TOURNAMENT for r in rivals)
    taken = [id(s) for r in rivals[1::2] for s in r]
    assert len(taken) == len(set(taken))


def test_the_same_arguments_give_the_same_pool_and_another_seed_another_one(pool: Pool) -> None:
    make_pool.cache_clear()
    like = {"size": SIZE, "symmetric_share": 0.5}
    again, other = (make_pool(LIF, states=STATES, seed=(0, k), **like) for k in (0, 1))
    np.testing.assert_allclose(again.others[0].atoms.positions, pool.others[0].atoms.positions)
    assert len(other.others[0].atoms) == 4
    assert not np.allclose(other.others[0].atoms.positions, pool.others[0].atoms.positions)


def test_the_lowest_wins_a_tournament_and_one_alone_costs_nothing() -> None:
    lengths = (3.0, 1.12 * 2**0.5, 2.6)  # the second has the distance of the pair potential's minimum
    rivals = [Seed(atoms=bulk("Ar", "fcc", a=a), space_group=225) for a in lengths]
    potential = LennardJones(sigma=1.0, epsilon=1.0, rc=3.0)
    assert tournament_winner(rivals, potential) == (rivals[1], 3)
    assert tournament_winner(rivals[2:], potential) == (rivals[2], 0)


def test_a_search_counts_the_pool_once_and_every_tournament(tmp_path: Path) -> None:
    settings = SearchSettings(
        potential="ase.calculators.lj:LennardJones",
        potential_options={"sigma": 1.7, "epsilon": 0.5},
        relaxation=RelaxationSettings(max_steps=3),
        first_generation=4,
        max_generations=1,
        pool_size=SIZE,
    )
    database = SearchDatabase(tmp_path / "s.sqlite")
    done = find_crystals(dict(LIF), name="a", settings=settings, database=database)
    assert {c.operator for c in done} == {SEED}
    assert [c.n_model_relaxations for c in done] == [SIZE, 0, 0, 0]
    assert [c.n_evaluations - len(c.curve) for c in done] == [0, TOURNAMENT, 0, TOURNAMENT]
    assert done[0].model_seconds > 0 and done[1].model_seconds == 0
    without = replace(settings, pool_size=0)
    plain = find_crystals(dict(LIF), name="b", settings=without, database=database)
    assert [c.n_model_relaxations for c in plain] == [1, 1, 1, 1]


def test_an_alloy_has_no_pool(tmp_path: Path) -> None:
    settings = SearchSettings(
        potential="ase.calculators.emt:EMT",
        relaxation=RelaxationSettings(max_steps=2),
        first_generation=3,
        max_generations=1,
    )
    database = SearchDatabase(tmp_path / "s.sqlite")
    done = find_crystals({"Cu": 2, "Au": 1}, name="a", settings=settings, database=database)
    assert settings.pool_size > 0 and [c.n_model_relaxations for c in done] == [1, 1, 1]
    assert [c.n_evaluations - len(c.curve) for c in done] == [0, 0, 0]
