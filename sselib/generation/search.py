"""Evolutionary search for the crystal of lowest enthalpy, and the random search it is compared with.

Each generation follows from the candidates of the earlier ones and a seed alone, so that a search that
was killed goes on from its database as if nothing had happened.
"""

import os
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from math import ceil

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator
from joblib import Parallel, delayed
from tqdm.auto import tqdm

from sselib.errors import ParameterError
from sselib.generation.database import Candidate, SearchDatabase
from sselib.generation.dynamics import BAR_PER_GPA, KIM_RELAXATION, relax_by_npt
from sselib.generation.ionic import relax_as_ions
from sselib.generation.operators import N_PARENTS, OPERATORS, make_child
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
from sselib.generation.relaxation import (
    ABANDONED,
    FAILED,
    UNCONVERGED,
    Relaxation,
    RelaxationSettings,
    Verdict,
    relax_together,
)
from sselib.generation.seeds import Seed, random_seed

DEFAULT_WEIGHTS: dict[str, float] = {
    SEED: 0.3,
    "heredity": 0.1,
    "rattle": 0.15,
    "strain": 0.05,
    "soft_mutation": 0.25,  # symmetric seeds end on saddle points, which it leaves downhill
    "permutation": 0.1,
    "symmetrise": 0.05,
}
AS_IONS = (SEED, "heredity", "permutation")  # what puts atoms where they do not fit together
SCREENED = "screened"  # relaxed for a few steps, not yet decided upon
SCREENED_OUT = "screened out: others of its kind were lower after the first steps"
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
    Screening is off because it costs more than it saves: in a trial with some 200 seeds of the benchmark's
    development compounds, keeping the lower third after 15 steps gave 0.73 to 0.95 times as many good
    structures per evaluation as relaxing all of them.
    """

    population_size: int = 6
    first_generation: int = 10  # seeds
    children: int = 8  # per generation
    screening_steps: int = 0  # relaxation steps before a first choice; 0: none
    keep_share: float = 0.34  # of each kind (seeds with and without symmetry, children) after screening
    max_generations: int = 30
    max_evaluations: int = 100_000  # energy evaluations after which no new generation begins
    symmetric_share: float = 0.5  # of the seeds; the others have no symmetry
    as_ions_first: tuple[str, ...] = (
        AS_IONS  # seeds and operators whose children the pair model relaxes first
    )
    weights: Mapping[str, float] = field(default_factory=lambda: dict(DEFAULT_WEIGHTS))
    adaptive: bool = True  # operators that succeed are used more
    learn_volume: bool = True  # seeds take the volume of the best structures
    give_up: bool = True  # hopeless and repeated candidates are not relaxed to the end
    patience: int = 4  # generations without a better enthalpy before the search stops
    tolerance_ev_atom: float = 0.001  # what counts as better
    protocol: str = OPTIMISE  # or "npt": 1 ps of dynamics at 50 K, as Kim et al.; no screening then
    potential: str = "chgnet"
    potential_options: Mapping[str, object] = field(default_factory=dict)
    relaxation: RelaxationSettings = field(default_factory=RelaxationSettings)
    seed: int = 0


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


def random_search(settings: SearchSettings) -> SearchSettings:
    """Return the settings of the control: the same seeds and relaxations, and nothing is learned.

    No operators, no volume taken from earlier structures, no screening, no candidate given up.
    """
    return replace(settings, weights={SEED: 1.0}, learn_volume=False, give_up=False, screening_steps=0)


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
            if not settings.screening_steps and _why_stop(done, -1, settings=settings, solved=solved):
                break  # without stages every candidate is final, so the search may end at any of them
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
            plan = _plan(content, done, population, operator, number, generation, settings=settings, rng=rng)
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


def _plan(
    content: Mapping[str, int],
    done: Sequence[Candidate],
    population: Sequence[Candidate],
    operator: str,
    number: int,
    generation: int,
    *,
    settings: SearchSettings,
    rng: np.random.Generator,
) -> Plan:
    """Return a child of the operator, or a fresh seed where it makes none."""
    made = {"number": number, "generation": generation, "rule": None}
    for _ in range(N_ATTEMPTS if operator != SEED else 0):
        parents = choose_parents(population, N_PARENTS.get(operator, 1), rng)
        if len(parents) < N_PARENTS.get(operator, 1):
            break
        before = sum(c.operator == operator and c.parents == (parents[0].number,) for c in done)
        child = make_child(operator, [p.atoms for p in parents], n_before=before, rng=rng)
        if child is not None:
            if operator in settings.as_ions_first:
                child = relax_as_ions(child, keep_volume=True)
            return Plan(
                operator=operator,
                parents=tuple(p.number for p in parents),
                parent_enthalpy_ev_atom=min(p.enthalpy_ev_atom for p in parents),
                space_group=0,
                atoms=child,
                **made,
            )
    seed = _seed(content, population, settings=settings, rng=rng)
    return Plan(
        operator=SEED,
        parents=(),
        parent_enthalpy_ev_atom=float("nan"),
        space_group=seed.space_group,
        atoms=seed.atoms,
        **made,
    )


def _seed(
    content: Mapping[str, int],
    population: Sequence[Candidate],
    *,
    settings: SearchSettings,
    rng: np.random.Generator,
) -> Seed:
    volume = None
    if settings.learn_volume and population:
        best = population[: max(1, round(BEST_SHARE * len(population)))]
        volume = float(np.mean([c.volume_angstrom3_atom for c in best])) * sum(content.values())
    seed = random_seed(
        dict(content), symmetric_share=settings.symmetric_share, volume_angstrom3=volume, rng=rng
    )
    if SEED not in settings.as_ions_first:
        return seed
    return replace(seed, atoms=relax_as_ions(seed.atoms, keep_volume=volume is not None))


def _finish(
    plans: Sequence[Plan],
    stored: Mapping[int, Candidate],
    *,
    settings: SearchSettings,
    n_jobs: int,
    save: Callable[[Candidate], None],
) -> Iterator[Candidate]:
    """Yield the finished candidates of a generation in the order of their numbers.

    With screening every candidate is relaxed for a few steps, the better part of each kind (seeds with and
    without symmetry, children) goes on, the others are given up. Each candidate is saved as soon as a stage
    is done.
    """
    if not settings.screening_steps:
        missing = [p for p in plans if p.number not in stored]
        fresh = _saved(_relax_all(missing, settings, n_jobs, steps=settings.relaxation.max_steps), save)
        for plan in plans:
            yield stored[plan.number] if plan.number in stored else next(fresh)
        return
    missing = [p for p in plans if p.number not in stored]
    screened = {p.number: stored[p.number] for p in plans if p.number in stored}
    for c in _saved(_relax_all(missing, settings, n_jobs, steps=settings.screening_steps), save):
        screened[c.number] = c
    waiting = {c.number for c in screened.values() if c.status == SCREENED}
    going_on = _chosen(list(screened.values()), settings.keep_share) & waiting
    for number in waiting - going_on:
        screened[number] = replace(screened[number], status=ABANDONED, reason=SCREENED_OUT)
        save(screened[number])
    rest = settings.relaxation.max_steps - settings.screening_steps
    again = [replace(p, atoms=screened[p.number].atoms) for p in plans if p.number in going_on]
    for c in _relax_all(again, settings, n_jobs, steps=rest, offset=settings.screening_steps):
        screened[c.number] = _joined(screened[c.number], c)
        save(screened[c.number])
    yield from (screened[p.number] for p in plans)


def _saved(candidates: Iterable[Candidate], save: Callable[[Candidate], None]) -> Iterator[Candidate]:
    """Yield the candidates, each saved first; one cut short by the screening counts as screened."""
    for c in candidates:
        save(c)
        yield c


def _chosen(screened: Sequence[Candidate], share: float) -> set[int]:
    """Return the numbers of the lower part of each kind of candidate of a generation.

    The choice is the same before and after some of them were relaxed further, because it rests on the
    enthalpy at the end of the screening.
    """
    chosen: set[int] = set()
    sound = [c for c in screened if c.status != FAILED]
    for name in KINDS:
        same = [c for c in sound if kind(c.operator, c.space_group) == name]
        same.sort(key=lambda c: (c.screening_enthalpy_ev_atom, c.number))
        chosen.update(c.number for c in same[: ceil(share * len(same))])
    return chosen


def _joined(first: Candidate, second: Candidate) -> Candidate:
    """Return a candidate after both stages, with the cost and the curve of both."""
    return replace(
        second,
        screening_enthalpy_ev_atom=first.screening_enthalpy_ev_atom,
        n_evaluations=first.n_evaluations + second.n_evaluations,
        seconds=first.seconds + second.seconds,
        curve=first.curve + second.curve[1:],
    )


def _relax_all(
    plans: Sequence[Plan], settings: SearchSettings, n_jobs: int, *, steps: int, offset: int = 0
) -> Iterator[Candidate]:
    """Yield the plans relaxed for at most ``steps`` steps, in their order.

    They are taken `TOGETHER` at a time, so that a search that ends at one of them wastes little.
    """
    groups = [plans[i : i + TOGETHER] for i in range(0, len(plans), TOGETHER)]
    tasks = [(group, settings, steps, offset) for group in groups]
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


def _relaxed(plans: Sequence[Plan], settings: SearchSettings, steps: int, offset: int) -> list[Candidate]:
    """Relax some plans together; runs in a worker process where there are several.

    ``offset``: steps done before, which the rule for giving up counts.
    """
    calculator = make_calculator(settings.potential, settings.potential_options)
    if settings.protocol == NPT:
        return [_relaxed_by_npt(p, calculator, settings) for p in plans]
    results = relax_together(
        [p.atoms for p in plans],
        calculator=calculator,
        settings=replace(settings.relaxation, max_steps=steps),
        verdicts=[_verdict(p.rule, offset) for p in plans],
    )
    screening = steps < settings.relaxation.max_steps - offset
    return [_candidate(p, r, screening=screening) for p, r in zip(plans, results, strict=True)]


def _verdict(rule: GiveUpRule | None, offset: int) -> Verdict | None:
    if rule is None:
        return None
    return lambda steps, enthalpy, atoms: rule(steps + offset, enthalpy, atoms) if steps else ""


def _relaxed_by_npt(plan: Plan, calculator: Calculator, settings: SearchSettings) -> Candidate:
    pressure_bar = settings.relaxation.pressure_gpa * BAR_PER_GPA
    kim = replace(KIM_RELAXATION, pressure_bar=pressure_bar, seed=plan.number)
    return _candidate(plan, relax_by_npt(plan.atoms, calculator=calculator, settings=kim), screening=False)


def _candidate(plan: Plan, result: Relaxation, *, screening: bool) -> Candidate:
    return Candidate(
        number=plan.number,
        generation=plan.generation,
        operator=plan.operator,
        parents=plan.parents,
        parent_enthalpy_ev_atom=plan.parent_enthalpy_ev_atom,
        space_group=plan.space_group,
        status=SCREENED if screening and result.status == UNCONVERGED else result.status,
        reason=result.reason,
        screening_enthalpy_ev_atom=result.enthalpy_ev_atom,
        enthalpy_ev_atom=result.enthalpy_ev_atom,
        energy_ev_atom=result.energy_ev_atom,
        volume_angstrom3_atom=result.volume_angstrom3_atom,
        n_evaluations=result.n_evaluations,
        seconds=result.seconds,
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
    if generation < 0:
        return ""
    before = [c for c in done if c.generation <= generation - settings.patience]
    earlier, now = _best(before), _best(done)
    if before and np.isfinite(earlier) and now > earlier - settings.tolerance_ev_atom:
        return f"no better enthalpy in {settings.patience} generations"
    return ""


def _check(settings: SearchSettings) -> None:
    """Raise `ParameterError` for settings that make no search."""
    named = (*settings.weights, *settings.as_ions_first)
    unknown = [n for n in named if n not in (*OPERATORS, SEED)]
    if unknown:
        raise ParameterError(f"there is no operator '{unknown[0]}': expected {SEED}, {', '.join(OPERATORS)}")
    if not any(w > 0 for w in settings.weights.values()) or min(settings.weights.values()) < 0:
        raise ParameterError(f"weights {dict(settings.weights)}: expected none below 0 and one above")
    if settings.protocol not in (OPTIMISE, NPT) or (settings.protocol == NPT and settings.screening_steps):
        raise ParameterError(
            f"protocol '{settings.protocol}' with {settings.screening_steps} screening steps: expected "
            f"'{OPTIMISE}', or '{NPT}' with 0 screening steps"
        )
    counts = (settings.population_size, settings.first_generation, settings.children, settings.patience)
    if min(counts) < 1 or not 0 <= settings.symmetric_share <= 1:
        raise ParameterError(
            "expected population_size, first_generation, children and patience of at least 1 and "
            f"symmetric_share from 0 to 1, found {counts} and {settings.symmetric_share}"
        )
