"""Candidates before their relaxation: random crystals as they come or chosen, and children of operators."""

import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace

import numpy as np
from ase import Atoms

from crystal_search.database import Origin, SearchCandidate
from crystal_search.ionic import relax_as_ions
from crystal_search.operators import N_PARENTS, Modes, make_child
from crystal_search.polyanions import polyanions, whole_bonds
from crystal_search.population import SEED, GiveUpRule, choose_parents
from crystal_search.potentials import make_calculator
from crystal_search.preselection import fitted_to, make_pool, n_seeds, tournament_winner
from crystal_search.search_settings import SearchSettings
from crystal_search.seeds import Seed, random_seed

N_ATTEMPTS = 10  # tries of an operator before a fresh seed takes its place
BEST_SHARE = 0.3  # of the population, whose mean volume the seeds take

Earlier = Callable[[str, int], int]  # (operator, number of a parent) -> how often it was used on it before


@dataclass(frozen=True, kw_only=True)
class Search:
    """What is searched for, and how: the atoms of each element in the cell, settings, processes.

    ``modes``: vibrations of parents by the bond model, filled as soft mutations ask for them.
    """

    content: Mapping[str, int]
    settings: SearchSettings
    n_jobs: int = 1
    modes: Modes = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Preparation:
    """What a candidate cost before its relaxation; ``seconds`` is process time."""

    n_evaluations: int = 0  # of the potential, in a tournament
    seconds: float = 0.0  # of these
    n_model_relaxations: int = 0
    model_seconds: float = 0.0  # of making crystals and relaxing them by the pair model or the learned one

    def __add__(self, other: "Preparation") -> "Preparation":
        """Return what both cost together."""
        return Preparation(**{k: v + getattr(other, k) for k, v in asdict(self).items()})


@dataclass(frozen=True, kw_only=True)
class Plan(Origin):
    """A candidate before its relaxation."""

    atoms: Atoms
    rule: GiveUpRule | None = None
    spent: Preparation = Preparation()


def child_plan(
    search: Search,
    population: Sequence[SearchCandidate],
    operator: str,
    made: Mapping[str, object],
    *,
    earlier: Earlier,
    rng: np.random.Generator,
) -> Plan | None:
    """Return a child of the operator, None where it makes none; ``made`` are the other fields of the plan."""
    n_parents = N_PARENTS.get(operator, 1)
    for _ in range(N_ATTEMPTS if operator != SEED else 0):
        parents = choose_parents(population, n_parents, rng)
        if len(parents) < n_parents:
            break
        before = earlier(operator, parents[0].number)
        child = make_child(operator, [p.atoms for p in parents], n_before=before, modes=search.modes, rng=rng)
        if child is not None:
            whole = bool(search.settings.pool_size)
            child, spent = _as_ions(child, operator, search.settings, keep_volume=True, whole=whole)
            return Plan(
                operator=operator,
                parents=tuple(p.number for p in parents),
                parent_enthalpy_ev_atom=min(p.enthalpy_ev_atom for p in parents),
                atoms=child,
                spent=spent,
                **made,
            )
    return None


def _as_ions(
    atoms: Atoms, operator: str, settings: SearchSettings, *, keep_volume: bool, whole: bool = False
) -> tuple[Atoms, Preparation]:
    """Return the crystal relaxed by the pair model where the settings want it, and what it cost.

    With ``whole`` the polyanions of a crystal that has all of them stay as they are.
    """
    if operator not in settings.as_ions_first:
        return atoms, Preparation()
    start, content = time.process_time(), Counter(atoms.get_chemical_symbols())
    bonds = whole_bonds(atoms, polyanions(content, settings.states)) if whole else None
    relaxed = relax_as_ions(atoms, settings.states, bonds=bonds, keep_volume=keep_volume)
    return relaxed, Preparation(n_model_relaxations=1, model_seconds=time.process_time() - start)


def fresh_plan(
    search: Search,
    population: Sequence[SearchCandidate],
    made: Mapping[str, object],
    *,
    n_before: int,
    rng: np.random.Generator,
) -> Plan:
    """Return a fresh random crystal, the one after ``n_before`` others of the search."""
    settings, volume = search.settings, None
    if settings.learn_volume and population:
        best = population[: max(1, round(BEST_SHARE * len(population)))]
        per_atom = float(np.mean([c.volume_angstrom3_atom for c in best]))
        volume = per_atom * sum(search.content.values())
    if settings.pool_size and settings.states:
        seed, spent = _chosen_seed(search, volume, n_before)
    else:
        seed, spent = _random_seed(search, volume, rng)
    return seed_plan(seed, spent, made)


def seed_plan(seed: Seed, spent: Preparation, made: Mapping[str, object]) -> Plan:
    """Return the plan of a random crystal, which has no parents."""
    return Plan(operator=SEED, space_group=seed.space_group, atoms=seed.atoms, spent=spent, **made)


def _random_seed(search: Search, volume: float | None, rng: np.random.Generator) -> tuple[Seed, Preparation]:
    """Return a random crystal as it comes."""
    start, share = time.process_time(), search.settings.symmetric_share
    seed = random_seed(dict(search.content), symmetric_share=share, volume_angstrom3=volume, rng=rng)
    atoms, spent = _as_ions(seed.atoms, SEED, search.settings, keep_volume=volume is not None)
    return replace(seed, atoms=atoms), replace(spent, model_seconds=time.process_time() - start)


def _chosen_seed(search: Search, volume: float | None, n_before: int) -> tuple[Seed, Preparation]:
    """Return the next random crystal of a pool; the first one of a pool pays for it."""
    settings = search.settings
    number, place = divmod(n_before, n_seeds(settings.pool_size))
    pool = make_pool(
        tuple(search.content.items()),
        states=tuple(settings.states.items()),
        size=settings.pool_size,
        symmetric_share=settings.symmetric_share,
        seed=(settings.seed, number),
    )
    rivals = [fitted_to(s, volume, settings.states) for s in pool.rivals(place)]
    start = time.process_time()
    calculator = make_calculator(settings.potential, settings.potential_options)
    seed, n_evaluations = tournament_winner(rivals, calculator)
    return seed, Preparation(
        n_evaluations=n_evaluations,
        seconds=time.process_time() - start,
        n_model_relaxations=0 if place else pool.n_relaxations,
        model_seconds=0.0 if place else pool.seconds,
    )
