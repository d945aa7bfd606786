"""Which random crystals are worth a relaxation: pools, ranked by the pair model or by one evaluation each.

The pair model of `sselib.generation.ionic` costs no energy evaluation, so many more random crystals are made
than the potential ever relaxes. For oxides and pnictides of large cations its energy points at the known
crystal: of 150 to 200 random crystals of the development compounds LiInO2, LiScO2 and Li2ZrO3 those that
match it are nearly all among the first five. With small, highly charged cations (C, Si, V) it does not: it
puts the known crystal above many random ones, because it knows no covalent bond. So half of the seeds are
the lowest by pair energy, and the other half win a tournament with one evaluation of the potential each,
whose ranks agree better there (Li2SiO3: Spearman 0.64 with the enthalpy at the end, 0.49 for pair energies).
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from ase.calculators.calculator import Calculator

from sselib.generation.evaluations import evaluate_many
from sselib.generation.ionic import pair_energy, relax_as_ions
from sselib.generation.population import same_structure
from sselib.generation.relaxation import FAILURES
from sselib.generation.seeds import Seed, random_seed

CRYSTALS_PER_SEED = 5  # in a pool; after a fifth of it has been taken the next one is made
TOURNAMENT = 4  # crystals that the potential compares, by one evaluation each
SMALLEST_POOL = 2 * CRYSTALS_PER_SEED
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
    content: tuple[tuple[str, int], ...], *, size: int, symmetric_share: float, seed: tuple[int, ...]
) -> Pool:
    """Return ``size`` random crystals relaxed by the pair model; the same for the same arguments.

    ``content``: pairs of element and number of atoms in the cell.
    """
    start, rng = time.process_time(), np.random.default_rng(seed)
    like = {"symmetric_share": symmetric_share, "volume_angstrom3": None, "rng": rng}
    made = [random_seed(dict(content), **like) for _ in range(size)]
    relaxed = [Seed(atoms=relax_as_ions(s.atoms), space_group=s.space_group) for s in made]
    chosen = _lowest_distinct(relaxed, n_seeds(size) // 2)
    return Pool(
        lowest=tuple(relaxed[i] for i in chosen),
        others=tuple(s for i, s in enumerate(relaxed) if i not in chosen),
        n_relaxations=size,
        seconds=time.process_time() - start,
    )


def _lowest_distinct(seeds: Sequence[Seed], n: int) -> list[int]:
    """Return the places of the ``n`` lowest seeds by pair energy; of two that match, the lower one's."""
    energies = np.array([pair_energy(s.atoms) for s in seeds])
    kept: list[int] = []
    for i in np.argsort(energies, kind="stable"):
        near = [seeds[k] for k in kept if abs(energies[k] - energies[i]) < SAME_ENERGY_EV_ATOM]
        if not any(_same(k, seeds[i]) for k in near):
            kept.append(int(i))
        if len(kept) == n:
            break
    return kept


def _same(first: Seed, second: Seed) -> bool:
    close = abs(first.atoms.get_volume() / second.atoms.get_volume() - 1) < SAME_VOLUME
    return close and same_structure(first.atoms, second.atoms)


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
