"""Which random crystals are worth a relaxation: pools, ranked by the pair model or by one evaluation each.

The pair model of `crystal_search.ionic` costs no energy evaluation, so many more random crystals are made
than the potential ever relaxes. Half of the seeds are the lowest by pair energy, the other half win a
tournament with one evaluation of the potential each, which ranks better where the pair model misleads
(the README says where).
"""

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
from ase.calculators.calculator import Calculator

from crystal_search.evaluations import evaluate_many
from crystal_search.ionic import pair_energy, relax_as_ions
from crystal_search.polyanion_seeds import polyanion_seed
from crystal_search.polyanions import Polyanion, polyanions, whole_bonds
from crystal_search.population import same_structure
from crystal_search.relaxation import FAILURES
from crystal_search.seeds import Seed, random_seed, scaled_to

CRYSTALS_PER_SEED = 5  # in a pool; once a fifth of it has been taken the next one is made
TOURNAMENT = 4  # crystals that the potential compares, by one evaluation each
SMALLEST_POOL = 2 * CRYSTALS_PER_SEED
POLYANION_SYMMETRIC_SHARE = 0.9  # of crystals with polyanions; without symmetry none was the known one
FITTING_STEPS = 15  # of the pair model, after a crystal has been scaled to another volume
SAME_ENERGY_EV_ATOM = 0.01  # pair energies further apart than this belong to different crystals
SAME_VOLUME = 0.03  # relative


@dataclass(frozen=True, kw_only=True)
class Pool:
    """Random crystals relaxed by the pair model.

    ``lowest``: the distinct ones of lowest pair energy; ``others``: the rest in the order of their making.
    ``seconds``: process time.
    """

    lowest: tuple[Seed, ...]
    others: tuple[Seed, ...]
    n_relaxations: int
    seconds: float

    def rivals(self, place: int) -> tuple[Seed, ...]:
        """Return the crystals of which one is the pool's seed number ``place``, 0 to `n_seeds` - 1.

        Even places: the next one by pair energy, alone. Odd ones: up to `TOURNAMENT` of the others.
        """
        half, odd = divmod(place, 2)
        if not odd and half < len(self.lowest):
            return (self.lowest[half],)
        return self.others[half :: n_seeds(self.n_relaxations) // 2][:TOURNAMENT]


def n_seeds(pool_size: int) -> int:
    """Return how many seeds a pool gives, an even number."""
    return 2 * (pool_size // (2 * CRYSTALS_PER_SEED))


@lru_cache(maxsize=4)
def make_pool(
    content: tuple[tuple[str, int], ...],
    *,
    states: tuple[tuple[str, float], ...],
    size: int,
    symmetric_share: float,
    seed: tuple[int, ...],
) -> Pool:
    """Return ``size`` random crystals relaxed by the pair model; the same for the same arguments.

    ``content`` and ``states``: pairs of element and number of atoms in the cell, and oxidation state.
    """
    start, rng = time.process_time(), np.random.default_rng(seed)
    charges = dict(states)
    complexes = polyanions(dict(content), charges)
    made = [_random(dict(content), complexes, symmetric_share, rng) for _ in range(size)]
    relaxed = [_relaxed(s, complexes, charges) for s in made]
    bonds = [whole_bonds(s.atoms, complexes) for s in relaxed]
    broken = [bool(complexes) and b is None for b in bonds]  # compares with no other
    pairs = zip(relaxed, bonds, broken, strict=True)
    energies = np.array([np.inf if bad else pair_energy(s.atoms, charges, bonds=b) for s, b, bad in pairs])
    chosen = _lowest_distinct(relaxed, energies, n_seeds(size) // 2)
    return Pool(
        lowest=tuple(relaxed[i] for i in chosen),
        others=tuple(s for i, s in enumerate(relaxed) if i not in chosen),
        n_relaxations=size,
        seconds=time.process_time() - start,
    )


def random_crystal(
    content: Mapping[str, int],
    states: Mapping[str, float],
    *,
    symmetric_share: float,
    as_ions: bool,
    rng: np.random.Generator,
) -> Seed:
    """Return a random crystal, its polyanions whole; relaxed by the pair model with ``as_ions``."""
    complexes = polyanions(content, states)
    seed = _random(content, complexes, symmetric_share, rng)
    return _relaxed(seed, complexes, states) if as_ions else seed


def _random(
    content: Mapping[str, int],
    complexes: Sequence[Polyanion],
    symmetric_share: float,
    rng: np.random.Generator,
) -> Seed:
    if complexes:
        return polyanion_seed(content, complexes, symmetric_share=POLYANION_SYMMETRIC_SHARE, rng=rng)
    return random_seed(dict(content), symmetric_share=symmetric_share, volume_angstrom3=None, rng=rng)


def _relaxed(seed: Seed, complexes: Sequence[Polyanion], states: Mapping[str, float]) -> Seed:
    bonds = whole_bonds(seed.atoms, complexes)
    return replace(seed, atoms=relax_as_ions(seed.atoms, states, bonds=bonds))


def fitted_to(seed: Seed, volume_angstrom3: float | None, states: Mapping[str, float]) -> Seed:
    """Return a relaxed crystal at another volume, its polyanions as large as before; None: as it is."""
    content = Counter(seed.atoms.get_chemical_symbols())
    bonds = whole_bonds(seed.atoms, polyanions(content, states))
    atoms = scaled_to(seed.atoms, volume_angstrom3)
    if bonds is not None and volume_angstrom3 is not None:
        atoms = relax_as_ions(atoms, states, bonds=bonds, keep_volume=True, max_steps=FITTING_STEPS)
    return replace(seed, atoms=atoms)


def _lowest_distinct(seeds: Sequence[Seed], energies: np.ndarray, n: int) -> list[int]:
    """Return the places of the ``n`` lowest seeds by pair energy; of two that match, the lower one's."""
    kept: list[int] = []
    for i in np.argsort(energies, kind="stable"):
        near = [seeds[k].atoms for k in kept if abs(energies[k] - energies[i]) < SAME_ENERGY_EV_ATOM]
        mine, volume = seeds[i].atoms, seeds[i].atoms.get_volume()
        alike = (a for a in near if abs(a.get_volume() / volume - 1) < SAME_VOLUME)
        if not any(same_structure(a, mine) for a in alike):
            kept.append(int(i))
        if len(kept) == n:
            break
    return kept


def tournament_winner(rivals: Sequence[Seed], calculator: Calculator) -> tuple[Seed, int]:
    """Return the rival of lowest energy under the potential, and the evaluations spent; one alone costs none.

    One that makes the potential fail loses; if all do, the first is returned.
    """
    if len(rivals) == 1:
        return rivals[0], 0
    energies = [_energy(s, calculator) for s in rivals]
    return rivals[int(np.argmin(energies))], len(rivals)


def _energy(seed: Seed, calculator: Calculator) -> float:
    try:
        energy = evaluate_many(calculator, [seed.atoms])[0].energy
    except FAILURES:
        return float("inf")
    return energy if np.isfinite(energy) else float("inf")
