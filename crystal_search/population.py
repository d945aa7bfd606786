"""Who survives: duplicates, ranks, choice of parents and operators, and when to give a candidate up."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from ase import Atoms
from pymatgen.analysis.structure_matcher import StructureMatcher
from pymatgen.io.ase import AseAtomsAdaptor

from crystal_search.database import Origin, SearchCandidate
from crystal_search.relaxation import CONVERGED, RELAXED

MATCHER = StructureMatcher()  # with pymatgen's default tolerances
SAME_ENTHALPY_EV_ATOM = 0.005  # structures further apart than this are never compared
SAME_VOLUME = 0.03  # relative
CHECKPOINTS = (1, 2, 4, 8, 12, 16, 24, 32, 48, 64, 96)  # steps after which a candidate may be given up
N_FOR_RULE = 5  # finished relaxations of a kind before the rule is used
LEARNED_DROP_EV_ATOM = 0.1  # credited at most to what a learned potential has relaxed before
SMALLEST_WEIGHT = 0.05  # share of the offspring that every operator keeps
SEED = "seed"  # operator name of fresh random crystals
FREE_SEED, SYMMETRIC_SEED, CHILD, LEARNED = KINDS = ("free seed", "symmetric seed", "child", "learned")


def same_structure(first: Atoms, second: Atoms) -> bool:
    """Return whether two crystals match within StructureMatcher's default tolerances."""
    return bool(MATCHER.fit(*(AseAtomsAdaptor.get_structure(a) for a in (first, second))))


def near(candidate: SearchCandidate, *, enthalpy: float, volume: float) -> bool:
    """Return whether enthalpy (eV/atom) and volume (Angstrom^3/atom) are those of the candidate."""
    close = abs(candidate.enthalpy_ev_atom - enthalpy) < SAME_ENTHALPY_EV_ATOM
    return close and abs(candidate.volume_angstrom3_atom / volume - 1) < SAME_VOLUME


def survivors(candidates: Sequence[SearchCandidate], *, size: int) -> list[SearchCandidate]:
    """Return the ``size`` lowest distinct structures, lowest enthalpy first.

    Only relaxed structures take part; of two that match, the lower one stays.
    """
    relaxed = [c for c in candidates if c.status in RELAXED]
    kept: list[SearchCandidate] = []
    for c in sorted(relaxed, key=lambda c: (c.enthalpy_ev_atom, c.number)):
        near_ones = (k for k in kept if near(k, enthalpy=c.enthalpy_ev_atom, volume=c.volume_angstrom3_atom))
        if not any(same_structure(k.atoms, c.atoms) for k in near_ones):
            kept.append(c)
        if len(kept) == size:
            break
    return kept


def choose_parents(
    population: Sequence[SearchCandidate], n: int, rng: np.random.Generator
) -> tuple[SearchCandidate, ...]:
    """Return ``n`` different members, the lower their enthalpy the likelier (linear in rank)."""
    weights = np.arange(len(population), 0, -1, dtype=float)
    chosen = rng.choice(
        len(population), size=min(n, len(population)), replace=False, p=weights / weights.sum()
    )
    return tuple(population[i] for i in chosen)


def operator_weights(
    candidates: Sequence[SearchCandidate],
    population: Sequence[SearchCandidate],
    *,
    weights: Mapping[str, float],
    adaptive: bool,
) -> dict[str, float]:
    """Return the share of offspring that each operator makes next; they add up to 1.

    Adaptive: the given weight times the members of the population that an operator made, per energy
    evaluation that its children cost: (members + 1) / (cost + 2), the cost in units of the mean one of all
    children, so that an untried operator gets half; none falls below `SMALLEST_WEIGHT`. Fresh seeds keep
    their given share.
    """
    total = sum(weights.values())
    share = {name: w / total for name, w in weights.items() if w > 0}
    if not adaptive or set(share) <= {SEED}:
        return share
    alive, cost = [c.operator for c in population], _relative_costs(candidates)
    raw = {n: w * (alive.count(n) + 1) / (cost.get(n, 0.0) + 2) for n, w in share.items() if n != SEED}
    floored = {n: max(w / sum(raw.values()), SMALLEST_WEIGHT) for n, w in raw.items()}
    rest = (1 - share.get(SEED, 0.0)) / sum(floored.values())
    return {n: share[SEED] if n == SEED else rest * floored[n] for n in share}


def _relative_costs(candidates: Sequence[SearchCandidate]) -> dict[str, float]:
    """Return the energy evaluations of each operator's children, in units of the mean of all children."""
    spent, children = Counter(), [c for c in candidates if c.operator != SEED]
    for c in children:
        spent[c.operator] += c.n_evaluations
    mean = max(1, spent.total()) / max(1, len(children))
    return {operator: n / mean for operator, n in spent.items()}


@dataclass(frozen=True, kw_only=True)
class GiveUpRule:
    """When a relaxation is not worth its cost.

    ``cut_ev_atom``: enthalpy to be reached for a place in the population. ``drops``: for each number of
    steps the drop in enthalpy (eV/atom) that a candidate is still credited with. ``population``: those
    that a candidate may turn out to repeat.
    """

    cut_ev_atom: float
    drops: dict[int, float]
    population: tuple[SearchCandidate, ...]

    def __call__(self, steps: int, enthalpy: float, atoms: Atoms) -> str:
        """Return the reason to give up, or an empty text."""
        if steps not in CHECKPOINTS:
            return ""
        if steps in self.drops and enthalpy - self.drops[steps] > self.cut_ev_atom:
            return f"hopeless after {steps} steps"
        volume = atoms.get_volume() / len(atoms)
        for member in self.population:
            if near(member, enthalpy=enthalpy, volume=volume) and same_structure(member.atoms, atoms):
                return f"repeats candidate {member.number}"
        return ""


def kind(one: Origin) -> str:
    """Return what a candidate is compared with while it is relaxed, one of `KINDS`.

    Seeds without symmetry begin higher, take more steps and end lower than symmetric ones, so an early
    comparison of the two would throw away the better ones; what a learned potential has relaxed before
    begins near its end.
    """
    if one.learned:
        return LEARNED
    if one.operator != SEED:
        return CHILD
    return FREE_SEED if one.space_group == 1 else SYMMETRIC_SEED


def give_up_rule(
    same: Sequence[SearchCandidate],
    population: Sequence[SearchCandidate],
    *,
    size: int,
    most_ev_atom: float = np.inf,
) -> GiveUpRule:
    """Return the rule that follows from the finished relaxations among candidates of the ``same`` `kind`.

    ``most_ev_atom``: what a candidate is credited with at most, and where too few have finished; infinite:
    without enough of them none is given up.
    """
    full = len(population) >= size
    cut = population[-1].enthalpy_ev_atom if full else float("inf")
    finished = [c for c in same if c.status == CONVERGED]
    drops = {}
    for step in CHECKPOINTS:
        seen = [c.curve[step] - c.enthalpy_ev_atom for c in finished if len(c.curve) > step]
        expected = max(seen) if len(seen) >= N_FOR_RULE else np.inf
        if min(expected, most_ev_atom) < np.inf:
            drops[step] = min(expected, most_ev_atom)
    return GiveUpRule(cut_ev_atom=cut, drops=drops, population=tuple(population))
