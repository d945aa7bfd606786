"""The children of a generation: the lowest of many offspring, by a potential that the search has learned.

Offspring are fresh random crystals and children of the operators; the learned potential relaxes them, which
costs no energy evaluation. Those that repeat a structure that has been relaxed already are left out. What the
learned potential takes for low and is not teaches it most: each child is relaxed by the real potential, and
the next generation's choice follows from a fit that knows it.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from ase import Atoms
from joblib import Parallel, delayed

from crystal_search.database import SearchCandidate
from crystal_search.learned_potential import LearnedPotential
from crystal_search.plans import Plan, Preparation, child_plan, seed_plan
from crystal_search.population import SEED, same_structure
from crystal_search.preselection import random_crystal
from crystal_search.relaxation import RELAXED, enthalpy, relax
from crystal_search.search_settings import SearchSettings

MAX_STEPS = 60  # of the learned potential
N_SOFT_MODES = 12  # of which a soft mutation takes one at random
SAME_ENTHALPY_EV_ATOM = 0.02  # by the learned potential; structures further apart are never compared
SAME_VOLUME = 0.05  # relative


@dataclass(frozen=True, kw_only=True)
class Offspring:
    """A plan whose crystal the learned potential has relaxed, and the enthalpy that it predicts.

    The enthalpy is infinite where the crystal fell apart.
    """

    plan: Plan
    enthalpy_ev_atom: float


def make_offspring(
    content: Mapping[str, int],
    population: Sequence[SearchCandidate],
    potential: LearnedPotential,
    *,
    generation: int,
    weights: Mapping[str, float],
    settings: SearchSettings,
    n_jobs: int = 1,
) -> list[Offspring]:
    """Return ``settings.offspring`` crystals relaxed by the learned potential.

    ``weights``: share of each operator and of fresh crystals. The same for the same arguments, whatever
    ``n_jobs`` is.
    """
    parents = [replace(c, snapshots=()) for c in population]  # what goes to other processes is small
    make = partial(
        _offspring, content, parents, potential, generation=generation, weights=weights, settings=settings
    )
    numbers = range(settings.offspring)
    if n_jobs == 1:
        return [make(n) for n in numbers]
    return Parallel(n_jobs=n_jobs)(delayed(make)(n) for n in numbers)


def _offspring(
    content: Mapping[str, int],
    population: Sequence[SearchCandidate],
    potential: LearnedPotential,
    number: int,
    *,
    generation: int,
    weights: Mapping[str, float],
    settings: SearchSettings,
) -> Offspring:
    """Return the offspring of a number."""
    start, rng = time.process_time(), np.random.default_rng([settings.seed, generation, number])
    operator = str(rng.choice(list(weights), p=list(weights.values())))
    made = {"number": number, "generation": generation}
    n_modes = min(N_SOFT_MODES, 3 * sum(content.values()) - 3)  # no translations
    mode = int(rng.integers(max(1, n_modes)))
    plan = child_plan(
        population, operator, made, earlier=lambda *_: mode, settings=settings, rng=rng
    ) or _fresh(content, made, settings=settings, rng=rng)
    shortened = replace(settings.relaxation, max_steps=MAX_STEPS)
    relaxed = relax(plan.atoms, calculator=potential, settings=shortened)
    whole = relaxed.status in RELAXED
    n_relaxations = plan.spent.n_model_relaxations + 1
    spent = Preparation(n_model_relaxations=n_relaxations, model_seconds=time.process_time() - start)
    plan = replace(plan, atoms=relaxed.atoms, spent=spent, learned=True)
    return Offspring(plan=plan, enthalpy_ev_atom=relaxed.enthalpy_ev_atom if whole else np.inf)


def _fresh(
    content: Mapping[str, int],
    made: Mapping[str, object],
    *,
    settings: SearchSettings,
    rng: np.random.Generator,
) -> Plan:
    """Return a random crystal, relaxed by the pair model where it has ions."""
    states = settings.states
    as_ions = SEED in settings.as_ions_first and bool(states)
    share = settings.symmetric_share
    seed = random_crystal(content, states, symmetric_share=share, as_ions=as_ions, rng=rng)
    return seed_plan(seed, Preparation(n_model_relaxations=int(as_ions)), made)


def choose_children(
    offspring: Sequence[Offspring],
    done: Sequence[SearchCandidate],
    potential: LearnedPotential,
    *,
    n: int,
    pressure_gpa: float,
) -> list[Plan]:
    """Return the plans of the ``n`` lowest offspring that repeat neither each other nor a relaxed candidate.

    Fewer if there are not as many. What they cost is left out: it is that of all offspring.
    """
    known = [_Place.of(c.atoms, potential, pressure_gpa) for c in done if c.status in RELAXED]
    whole = [o for o in offspring if np.isfinite(o.enthalpy_ev_atom)]
    chosen: list[Plan] = []
    for one in sorted(whole, key=lambda o: o.enthalpy_ev_atom):
        place = _Place(atoms=one.plan.atoms, enthalpy_ev_atom=one.enthalpy_ev_atom)
        if not any(place.repeats(k) for k in known):
            known.append(place)
            chosen.append(replace(one.plan, spent=Preparation()))
        if len(chosen) == n:
            break
    return chosen


@dataclass(frozen=True, kw_only=True)
class _Place:
    """A crystal on the surface of the learned potential."""

    atoms: Atoms
    enthalpy_ev_atom: float

    @classmethod
    def of(cls, atoms: Atoms, potential: LearnedPotential, pressure_gpa: float) -> "_Place":
        copy = atoms.copy()
        copy.calc = potential
        return cls(atoms=atoms, enthalpy_ev_atom=enthalpy(copy, pressure_gpa))

    def repeats(self, other: "_Place") -> bool:
        """Return whether both are the same structure, within what the learned potential moves it."""
        close = abs(self.enthalpy_ev_atom - other.enthalpy_ev_atom) < SAME_ENTHALPY_EV_ATOM
        close &= abs(self.atoms.get_volume() / other.atoms.get_volume() - 1) < SAME_VOLUME
        return bool(close) and same_structure(self.atoms, other.atoms)
