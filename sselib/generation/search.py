"""Evolutionary search for the crystal of lowest enthalpy, and the random search it is compared with.

Each generation follows from the candidates of the earlier ones and a seed alone, so that a search that
was killed goes on from its database as if nothing had happened.
"""

import os
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator
from joblib import Parallel, delayed
from tqdm.auto import tqdm

from sselib.errors import ParameterError
from sselib.generation.database import Candidate, SearchDatabase
from sselib.generation.dynamics import BAR_PER_GPA, KIM_RELAXATION, relax_by_npt
from sselib.generation.ionic import has_ions, relax_as_ions
from sselib.generation.operators import N_PARENTS, OPERATORS, make_child
from sselib.generation.polyanions import polyanions, whole_bonds
from sselib.generation.population import (
    KINDS,
    SEED,
    GiveUpRule,
    choose_parents,
    give_up_rule,
    kind,
    operator_weights,
    survivors,
)
from sselib.generation.potentials import make_calculator
from sselib.generation.preselection import SMALLEST_POOL, fitted_to, make_pool, n_seeds, tournament_winner
from sselib.generation.relaxation import Relaxation, RelaxationSettings, Verdict, relax_together
from sselib.generation.seeds import Seed, random_seed

DEFAULT_WEIGHTS: dict[str, float] = {
    SEED: 0.5,
    "heredity": 0.07,
    "rattle": 0.11,
    "strain": 0.035,
    "soft_mutation": 0.18,  # symmetric seeds end on saddle points, which it leaves downhill
    "permutation": 0.07,
    "symmetrise": 0.035,
}
AS_IONS = (SEED, "heredity", "permutation")  # what puts atoms where they do not fit together
OPTIMISE, NPT = "optimise", "npt"
TOGETHER = 8  # candidates relaxed side by side
N_ATTEMPTS = 10  # tries of an operator before a fresh seed takes its place
BEST_SHARE = 0.3  # of the population, whose mean volume the seeds take


@dataclass(frozen=True, kw_only=True)
class SearchSettings:
    """What a search does. Two searches with the same settings and content give the same candidates.

    ``weights``: shares of the operators of `sselib.generation.operators` and of fresh seeds ("seed").
    ``as_ions_first``: seeds and children that the pair model of `sselib.generation.ionic` relaxes before the
    potential sees them. For 24 random crystals each of two development compounds, calcite and Li2SiO3, that
    lowered the median enthalpy at the end from 468 to 59 and from 212 to 150 meV/atom above the known
    crystal, and the evaluations of a relaxation from 96 to 69 and from 100 to 62.
    ``pool_size``: random crystals that the pair model relaxes and ranks at a time, of which
    `sselib.generation.preselection` takes a fifth as seeds; 0 takes each random crystal as it comes, and so
    does a content without ions (an alloy).
    """

    population_size: int = 6
    first_generation: int = 10  # seeds
    children: int = 8  # per generation
    pool_size: int = 120  # random crystals ranked before some of them are seeds; 0: no choice
    max_generations: int = 30
    max_evaluations: int = 100_000  # energy evaluations after which no new generation begins
    symmetric_share: float = 0.5  # of the seeds; of those chosen among crystals with polyanions 0.9
    as_ions_first: tuple[str, ...] = (
        AS_IONS  # seeds and operators whose children the pair model relaxes first
    )
    weights: Mapping[str, float] = field(default_factory=lambda: dict(DEFAULT_WEIGHTS))
    adaptive: bool = True  # operators that succeed are used more
    learn_volume: bool = True  # seeds take the volume of the best structures
    give_up: bool = True  # hopeless and repeated candidates are not relaxed to the end
    patience: int = 4  # generations without a better enthalpy before the search stops
    tolerance_ev_atom: float = 0.001  # what counts as better
    protocol: str = OPTIMISE  # or "npt": 1 ps of dynamics at 50 K, as Kim et al.
    potential: str = "chgnet"
    potential_options: Mapping[str, object] = field(default_factory=dict)
    relaxation: RelaxationSettings = field(default_factory=RelaxationSettings)
    seed: int = 0


@dataclass(frozen=True, kw_only=True)
class Preparation:
    """What a candidate cost before its relaxation; ``seconds`` is process time."""

    n_evaluations: int = 0  # of the potential, in a tournament
    seconds: float = 0.0  # of these
    n_pair_relaxations: int = 0
    pair_seconds: float = 0.0  # of making random crystals and relaxing them by the pair model


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A candidate before its relaxation."""

    number: int
    generation: int
    operator: str
    parents: tuple[int, ...]
    parent_enthalpy_ev_atom: float
    space_group: int
    atoms: Atoms
    rule: GiveUpRule | None
    spent: Preparation = Preparation()


def random_search(settings: SearchSettings) -> SearchSettings:
    """Return the settings of the control: random crystals and relaxations alike, and nothing is learned.

    No operators, no choice among the random crystals, no volume taken from earlier structures, no candidate
    given up.
    """
    return replace(settings, weights={SEED: 1.0}, learn_volume=False, give_up=False, pool_size=0)


def search(
    content: Mapping[str, int],
    *,
    name: str,
    settings: SearchSettings,
    database: SearchDatabase,
    n_jobs: int = 1,
    solved: Callable[[Candidate], bool] | None = None,
) -> list[Candidate]:
    """Search until a stop rule applies; return every candidate.

    ``content`` is the number of atoms of each element in the cell. Finished candidates are read from
    the database under ``name``, the others are relaxed, ``n_jobs`` at a time, and written as they
    come. ``solved`` ends the search after the generation in which it is true of a candidate. Raises
    `ParameterError` for impossible settings and `RunError` if the search was begun with other ones.
    """
    _check(settings)
    database.open_search(name, {"content": dict(content), **asdict(settings)})
    done: list[Candidate] = []
    stored = {c.number: c for c in database.candidates(name)}
    bar = tqdm(desc=name, unit=" structures", leave=False, disable=os.environ.get("SSE_PROGRESS") == "log")
    save, why = partial(database.add, name), ""
    for generation in range(settings.max_generations):
        plans = plan_generation(content, done, generation=generation, settings=settings, stored=stored)
        for candidate in _finish(plans, stored, settings=settings, n_jobs=n_jobs, save=save):
            done.append(candidate)
            bar.update()
            bar.set_postfix_str(f"generation {generation}, best {_best(done):.3f} eV/atom", refresh=False)
            if _why_stop(done, -1, settings=settings, solved=solved):
                break
        why = _why_stop(done, generation, settings=settings, solved=solved)
        if why:
            break
    bar.close()
    database.note(name, why or f"{settings.max_generations} generations")
    return done


def plan_generation(
    content: Mapping[str, int],
    done: Sequence[Candidate],
    *,
    generation: int,
    settings: SearchSettings,
    stored: Mapping[int, Candidate],
) -> list[Plan]:
    """Return the candidates of a generation; those in ``stored`` are planned without being built."""
    population = survivors(done, size=settings.population_size) if generation else []
    weights = operator_weights(done, population, weights=settings.weights, adaptive=settings.adaptive)
    if not population:
        weights = {SEED: 1.0}
    rules = _rules(done, population, settings) if settings.give_up and generation else {}
    n_new = settings.children if generation else settings.first_generation
    plans = []
    for number in range(len(done), len(done) + n_new):
        rng = np.random.default_rng([settings.seed, number])
        operator = str(rng.choice(list(weights), p=list(weights.values())))
        if number in stored:
            plan = _stored_plan(stored[number])
        else:
            before = sum(c.operator == SEED for c in (*done, *plans))
            made = {"number": number, "generation": generation, "rule": None}
            plan = _child(done, population, operator, made, settings=settings, rng=rng) or _fresh(
                content, population, made, n_before=before, settings=settings, rng=rng
            )
        plans.append(replace(plan, rule=rules.get(kind(plan.operator, plan.space_group))))
    return plans


def _rules(
    done: Sequence[Candidate], population: Sequence[Candidate], settings: SearchSettings
) -> dict[str, GiveUpRule]:
    size = settings.population_size
    return {name: give_up_rule(done, population, size=size, of_kind=name) for name in KINDS}


def _stored_plan(c: Candidate) -> Plan:
    return Plan(
        number=c.number,
        generation=c.generation,
        operator=c.operator,
        parents=c.parents,
        parent_enthalpy_ev_atom=c.parent_enthalpy_ev_atom,
        space_group=c.space_group,
        atoms=c.atoms,
        rule=None,
    )


def _child(
    done: Sequence[Candidate],
    population: Sequence[Candidate],
    operator: str,
    made: Mapping[str, object],
    *,
    settings: SearchSettings,
    rng: np.random.Generator,
) -> Plan | None:
    """Return a child of the operator, None where it makes none."""
    for _ in range(N_ATTEMPTS if operator != SEED else 0):
        parents = choose_parents(population, N_PARENTS.get(operator, 1), rng)
        if len(parents) < N_PARENTS.get(operator, 1):
            break
        before = sum(c.operator == operator and c.parents == (parents[0].number,) for c in done)
        child = make_child(operator, [p.atoms for p in parents], n_before=before, rng=rng)
        if child is not None:
            wanted = operator in settings.as_ions_first
            child, spent = _as_ions(child, wanted=wanted, keep_volume=True, whole=bool(settings.pool_size))
            return Plan(
                operator=operator,
                parents=tuple(p.number for p in parents),
                parent_enthalpy_ev_atom=min(p.enthalpy_ev_atom for p in parents),
                space_group=0,
                atoms=child,
                spent=spent,
                **made,
            )
    return None


def _as_ions(
    atoms: Atoms, *, wanted: bool, keep_volume: bool, whole: bool = False
) -> tuple[Atoms, Preparation]:
    """Return the crystal relaxed by the pair model where that is wanted, and what it cost.

    With ``whole`` the polyanions of a crystal that has all of them stay as they are.
    """
    if not wanted:
        return atoms, Preparation()
    start = time.process_time()
    bonds = whole_bonds(atoms, polyanions(Counter(atoms.get_chemical_symbols()))) if whole else None
    relaxed = relax_as_ions(atoms, bonds=bonds, keep_volume=keep_volume)
    return relaxed, Preparation(n_pair_relaxations=1, pair_seconds=time.process_time() - start)


def _fresh(
    content: Mapping[str, int],
    population: Sequence[Candidate],
    made: Mapping[str, object],
    *,
    n_before: int,
    settings: SearchSettings,
    rng: np.random.Generator,
) -> Plan:
    """Return a fresh random crystal, the one after ``n_before`` others of the search."""
    volume = _learned_volume(content, population) if settings.learn_volume and population else None
    make = _chosen_seed if settings.pool_size and has_ions(content) else _random_seed
    seed, spent = make(content, volume, n_before=n_before, settings=settings, rng=rng)
    return Plan(
        operator=SEED,
        parents=(),
        parent_enthalpy_ev_atom=float("nan"),
        space_group=seed.space_group,
        atoms=seed.atoms,
        spent=spent,
        **made,
    )


def _learned_volume(content: Mapping[str, int], population: Sequence[Candidate]) -> float:
    """Return the mean volume of the best part of the population for the cell, Angstrom^3."""
    best = population[: max(1, round(BEST_SHARE * len(population)))]
    return float(np.mean([c.volume_angstrom3_atom for c in best])) * sum(content.values())


def _random_seed(
    content: Mapping[str, int],
    volume: float | None,
    *,
    n_before: int,
    settings: SearchSettings,
    rng: np.random.Generator,
) -> tuple[Seed, Preparation]:
    """Return a random crystal as it comes."""
    start = time.process_time()
    seed = random_seed(
        dict(content), symmetric_share=settings.symmetric_share, volume_angstrom3=volume, rng=rng
    )
    wanted = SEED in settings.as_ions_first
    atoms, spent = _as_ions(seed.atoms, wanted=wanted, keep_volume=volume is not None)
    return replace(seed, atoms=atoms), replace(spent, pair_seconds=time.process_time() - start)


def _chosen_seed(
    content: Mapping[str, int],
    volume: float | None,
    *,
    n_before: int,
    settings: SearchSettings,
    rng: np.random.Generator,
) -> tuple[Seed, Preparation]:
    """Return the next random crystal of a pool; the first one of a pool pays for it."""
    number, place = divmod(n_before, n_seeds(settings.pool_size))
    pool = make_pool(
        tuple(content.items()),
        size=settings.pool_size,
        symmetric_share=settings.symmetric_share,
        seed=(settings.seed, number),
    )
    complexes = polyanions(content)
    rivals = [fitted_to(s, volume, complexes) for s in pool.rivals(place)]
    start = time.process_time()
    calculator = make_calculator(settings.potential, settings.potential_options)
    seed, n_evaluations = tournament_winner(rivals, calculator)
    return seed, Preparation(
        n_evaluations=n_evaluations,
        seconds=time.process_time() - start,
        n_pair_relaxations=0 if place else pool.n_relaxations,
        pair_seconds=0.0 if place else pool.seconds,
    )


def _finish(
    plans: Sequence[Plan],
    stored: Mapping[int, Candidate],
    *,
    settings: SearchSettings,
    n_jobs: int,
    save: Callable[[Candidate], None],
) -> Iterator[Candidate]:
    """Yield the finished candidates of a generation in the order of their numbers, each saved first."""
    fresh = _relax_all([p for p in plans if p.number not in stored], settings, n_jobs)
    for plan in plans:
        if plan.number in stored:
            yield stored[plan.number]
        else:
            candidate = next(fresh)
            save(candidate)
            yield candidate


def _relax_all(plans: Sequence[Plan], settings: SearchSettings, n_jobs: int) -> Iterator[Candidate]:
    """Yield the relaxed plans in their order.

    They are taken `TOGETHER` at a time, so that a search that ends at one of them wastes little.
    """
    tasks = [(plans[i : i + TOGETHER], settings) for i in range(0, len(plans), TOGETHER)]
    if n_jobs == 1 or len(tasks) < 2:
        for task in tasks:
            yield from _relaxed(*task)
    else:
        yield from _relaxed_in_parallel(tasks, n_jobs)


def _relaxed_in_parallel(tasks: Sequence[tuple], n_jobs: int) -> Iterator[Candidate]:
    """Yield the results in order; joblib's warning is kept back when a search ends before its last task."""
    results = Parallel(n_jobs=n_jobs, return_as="generator")(delayed(_relaxed)(*t) for t in tasks)
    try:
        for group in results:
            yield from group
    finally:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*tasks (have been|which were)", category=UserWarning)
            results.close()


def _relaxed(plans: Sequence[Plan], settings: SearchSettings) -> list[Candidate]:
    """Relax some plans together; runs in a worker process where there are several."""
    calculator = make_calculator(settings.potential, settings.potential_options)
    if settings.protocol == NPT:
        return [_relaxed_by_npt(p, calculator, settings) for p in plans]
    results = relax_together(
        [p.atoms for p in plans],
        calculator=calculator,
        settings=settings.relaxation,
        verdicts=[_verdict(p.rule) for p in plans],
    )
    return [_candidate(p, r) for p, r in zip(plans, results, strict=True)]


def _verdict(rule: GiveUpRule | None) -> Verdict | None:
    if rule is None:
        return None
    return lambda steps, enthalpy, atoms: rule(steps, enthalpy, atoms) if steps else ""


def _relaxed_by_npt(plan: Plan, calculator: Calculator, settings: SearchSettings) -> Candidate:
    pressure_bar = settings.relaxation.pressure_gpa * BAR_PER_GPA
    kim = replace(KIM_RELAXATION, pressure_bar=pressure_bar, seed=plan.number)
    return _candidate(plan, relax_by_npt(plan.atoms, calculator=calculator, settings=kim))


def _candidate(plan: Plan, result: Relaxation) -> Candidate:
    return Candidate(
        number=plan.number,
        generation=plan.generation,
        operator=plan.operator,
        parents=plan.parents,
        parent_enthalpy_ev_atom=plan.parent_enthalpy_ev_atom,
        space_group=plan.space_group,
        status=result.status,
        reason=result.reason,
        enthalpy_ev_atom=result.enthalpy_ev_atom,
        energy_ev_atom=result.energy_ev_atom,
        volume_angstrom3_atom=result.volume_angstrom3_atom,
        n_evaluations=plan.spent.n_evaluations + result.n_evaluations,
        seconds=plan.spent.seconds + result.seconds,
        n_pair_relaxations=plan.spent.n_pair_relaxations,
        pair_seconds=plan.spent.pair_seconds,
        curve=result.curve,
        atoms=result.atoms,
    )


def _best(done: Sequence[Candidate]) -> float:
    best = survivors(done, size=1)
    return best[0].enthalpy_ev_atom if best else float("nan")


def _why_stop(
    done: Sequence[Candidate],
    generation: int,
    *,
    settings: SearchSettings,
    solved: Callable[[Candidate], bool] | None,
) -> str:
    """Return the stop rule that applies after a generation, or an empty text.

    Generation -1 stands for the time after any one candidate: only success and budget count.
    """
    newest = [c for c in done if c.generation == generation] if generation >= 0 else done[-1:]
    if solved is not None and any(solved(c) for c in newest):
        return "the reference was found"
    if sum(c.n_evaluations for c in done) >= settings.max_evaluations:
        return "the budget of energy evaluations is spent"
    if generation >= 0 and _out_of_patience(done, generation, settings):
        return f"no better enthalpy in {settings.patience} generations"
    return ""


def _out_of_patience(done: Sequence[Candidate], generation: int, settings: SearchSettings) -> bool:
    before = [c for c in done if c.generation <= generation - settings.patience]
    earlier, now = _best(before), _best(done)
    return bool(before) and np.isfinite(earlier) and now > earlier - settings.tolerance_ev_atom


def generation_of_patience(candidates: Sequence[Candidate], settings: SearchSettings) -> float:
    """Return after which generation `SearchSettings.patience` would have ended a search, NaN if not yet."""
    for generation in range(1 + max((c.generation for c in candidates), default=-1)):
        done = [c for c in candidates if c.generation <= generation]
        if _out_of_patience(done, generation, settings):
            return float(generation)
    return float("nan")


def _check(settings: SearchSettings) -> None:
    """Raise `ParameterError` for settings that make no search."""
    named = (*settings.weights, *settings.as_ions_first)
    unknown = [n for n in named if n not in (*OPERATORS, SEED)]
    if unknown:
        raise ParameterError(f"there is no operator '{unknown[0]}': expected {SEED}, {', '.join(OPERATORS)}")
    if not any(w > 0 for w in settings.weights.values()) or min(settings.weights.values()) < 0:
        raise ParameterError(f"weights {dict(settings.weights)}: expected none below 0 and one above")
    if settings.protocol not in (OPTIMISE, NPT):
        raise ParameterError(f"protocol '{settings.protocol}': expected '{OPTIMISE}' or '{NPT}'")
    if settings.pool_size and SEED not in settings.as_ions_first:
        raise ParameterError(
            f"pool_size {settings.pool_size} without '{SEED}' in as_ions_first: expected pool_size 0, as "
            "the pair model ranks only what it has relaxed"
        )
    if settings.pool_size and settings.pool_size < SMALLEST_POOL:
        raise ParameterError(
            f"pool_size {settings.pool_size}: expected 0 (no choice) or at least {SMALLEST_POOL}"
        )
    counts = (settings.population_size, settings.first_generation, settings.children, settings.patience)
    if min(counts) < 1 or not 0 <= settings.symmetric_share <= 1:
        raise ParameterError(
            "expected population_size, first_generation, children and patience of at least 1 and "
            f"symmetric_share from 0 to 1, found {counts} and {settings.symmetric_share}"
        )
