"""The children of a generation: the lowest of many offspring, by a potential that the search has learned.

Offspring are fresh random crystals and children of the operators; the learned potential relaxes them, which
costs no energy evaluation. Those that repeat a structure that has been relaxed already are left out.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from ase import Atoms
from joblib import Parallel, delayed

from crystal_search.database import SearchCandidate
from crystal_search.learned_potential import LearnedPotential
from crystal_search.plans import Plan, Preparation, Search, child_plan, seed_plan
from crystal_search.population import SEED, same_structure
from crystal_search.preselection import random_crystal
from crystal_search.relaxation import RELAXED, enthalpy, relax

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
    search: Search,
    population: Sequence[SearchCandidate],
    potential: LearnedPotential,
    *,
    generation: int,
    weights: Mapping[str, float],
) -> list[Offspring]:
    """Return ``search.settings.offspring`` crystals relaxed by the learned potential.

    ``weights``: share of each operator and of fresh crystals. The same for the same arguments, whatever
    ``search.n_jobs`` is.
    """
    parents = [replace(c, snapshots=()) for c in population]  # what goes to other processes is small
    n, n_jobs = search.settings.offspring, search.n_jobs

    def share(numbers: range) -> list[Offspring]:
        return [_offspring(search, parents, potential, k, generation, weights) for k in numbers]

    if n_jobs == 1:
        return share(range(n))
    parts = Parallel(n_jobs=n_jobs)(delayed(share)(range(k, n, n_jobs)) for k in range(n_jobs))
    return sorted((o for part in parts for o in part), key=lambda o: o.plan.number)


def _offspring(
    search: Search,
    population: Sequence[SearchCandidate],
    potential: LearnedPotential,
    number: int,
    generation: int,
    weights: Mapping[str, float],
) -> Offspring:
    """Return the offspring of a number."""
    settings, start = search.settings, time.process_time()
    rng = np.random.default_rng([settings.seed, generation, number])
    operator = str(rng.choice(list(weights), p=list(weights.values())))
    made = {"number": number, "generation": generation}
    n_modes = min(N_SOFT_MODES, 3 * sum(search.content.values()) - 3)  # no translations
    mode = int(rng.integers(max(1, n_modes)))
    plan = child_plan(search, population, operator, made, earlier=lambda *_: mode, rng=rng)
    plan = plan or _fresh(search, made, rng)
    relaxed = relax(
        plan.atoms, calculator=potential, settings=replace(settings.relaxation, max_steps=MAX_STEPS)
    )
    n_relaxations = plan.spent.n_model_relaxations + 1
    spent = Preparation(n_model_relaxations=n_relaxations, model_seconds=time.process_time() - start)
    plan = replace(plan, atoms=relaxed.atoms, spent=spent, learned=True)
    whole = relaxed.status in RELAXED
    return Offspring(plan=plan, enthalpy_ev_atom=relaxed.enthalpy_ev_atom if whole else np.inf)


def _fresh(search: Search, made: Mapping[str, object], rng: np.random.Generator) -> Plan:
    """Return a random crystal, relaxed by the pair model where it has ions."""
    states, share = search.settings.states, search.settings.symmetric_share
    as_ions = SEED in search.settings.as_ions_first and bool(states)
    seed = random_crystal(search.content, states, symmetric_share=share, as_ions=as_ions, rng=rng)
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
    known = []
    for atoms in (c.atoms for c in done if c.status in RELAXED):
        copy = atoms.copy()
        copy.calc = potential
        known.append((atoms, enthalpy(copy, pressure_gpa)))
    whole = [o for o in offspring if np.isfinite(o.enthalpy_ev_atom)]
    chosen: list[Plan] = []
    for one in sorted(whole, key=lambda o: o.enthalpy_ev_atom):
        if not any(_repeats(one, atoms, value) for atoms, value in known):
            known.append((one.plan.atoms, one.enthalpy_ev_atom))
            chosen.append(replace(one.plan, spent=Preparation()))
        if len(chosen) == n:
            break
    return chosen


def _repeats(one: Offspring, atoms: Atoms, enthalpy_ev_atom: float) -> bool:
    """Return whether an offspring is a known structure, within what the learned potential moves that."""
    close = abs(one.enthalpy_ev_atom - enthalpy_ev_atom) < SAME_ENTHALPY_EV_ATOM
    close &= abs(one.plan.atoms.get_volume() / atoms.get_volume() - 1) < SAME_VOLUME
    return bool(close) and same_structure(one.plan.atoms, atoms)
