"""Evolutionary search for the crystal of lowest enthalpy, and the random search it is compared with.

Each generation follows from the candidates of the earlier ones and a seed alone, so that a search that
was killed goes on from its database as if nothing had happened.
"""

import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, replace

import numpy as np
from joblib import Parallel, delayed
from threadpoolctl import threadpool_limits
from tqdm.auto import tqdm

from crystal_search.database import SearchCandidate, SearchDatabase
from crystal_search.errors import SearchError
from crystal_search.ionic import guessed_states
from crystal_search.learned_potential import Learner
from crystal_search.offspring import choose_children, make_offspring
from crystal_search.plans import Plan, Preparation, Search, child_plan, fresh_plan
from crystal_search.population import (
    KINDS,
    LEARNED,
    LEARNED_DROP_EV_ATOM,
    SEED,
    GiveUpRule,
    give_up_rule,
    kind,
    operator_weights,
    survivors,
)
from crystal_search.potentials import make_calculator
from crystal_search.relaxation import Relaxation, relax_together
from crystal_search.search_settings import OPTIMISE, SearchSettings, check_settings

TOGETHER = 8  # candidates relaxed side by side

Relaxer = Callable[..., Relaxation]  # (atoms, calculator=, pressure_gpa=, seed=), of a protocol of its own


@threadpool_limits.wrap(limits=1)  # more threads round otherwise, and cost more than they save
def find_crystals(
    content: Mapping[str, int],
    *,
    name: str,
    settings: SearchSettings,
    database: SearchDatabase,
    n_jobs: int = 1,
    solved: Callable[[SearchCandidate], bool] | None = None,
    relaxer: Relaxer | None = None,
    show_progress: bool = True,
) -> list[SearchCandidate]:
    """Search until a stop rule applies; return every candidate.

    ``content`` is the number of atoms of each element in the cell. Finished candidates are read from
    the database under ``name``, the others are relaxed, ``n_jobs`` at a time, and written as they
    come. ``solved`` ends the search after the generation in which it is true of a candidate. ``relaxer``
    relaxes one candidate where the settings name a protocol of their own. Raises `SearchError` for impossible
    settings and if the search was begun with other ones.
    """
    check_settings(settings)
    if (settings.protocol == OPTIMISE) != (relaxer is None):
        raise SearchError(f"protocol '{settings.protocol}': expected '{OPTIMISE}', or a relaxer for another")
    if settings.oxidation_states is None:
        settings = replace(settings, oxidation_states=guessed_states(content))
    database.open_search(name, {"content": dict(content), **asdict(settings)})
    search, learner = Search(content=content, settings=settings, n_jobs=n_jobs), Learner()
    stored = {c.number: c for c in database.candidates(name)}
    bar = tqdm(desc=name, unit=" structures", leave=False, disable=not show_progress)
    done, why = [], ""
    for generation in range(settings.max_generations):
        bar.set_postfix_str(f"making generation {generation}")
        plans = plan_generation(search, done, generation=generation, stored=stored, learner=learner)
        fresh = _relax_all([p for p in plans if p.number not in stored], search, relaxer)
        for plan in plans:
            done.append(stored[plan.number] if plan.number in stored else next(fresh))
            if plan.number not in stored:
                database.add(name, done[-1])
            bar.update()
            bar.set_postfix_str(f"generation {generation}, best {_best(done):.3f} eV/atom", refresh=False)
            if _why_stop(done, -1, settings=settings, solved=solved):
                break
        fresh.close()
        why = _why_stop(done, generation, settings=settings, solved=solved)
        if why:
            break
    bar.close()
    database.note(name, why or f"{settings.max_generations} generations")
    return done


def plan_generation(
    search: Search,
    done: Sequence[SearchCandidate],
    *,
    generation: int,
    stored: Mapping[int, SearchCandidate],
    learner: Learner,
) -> list[Plan]:
    """Return the candidates of a generation; those in ``stored`` are planned without being built."""
    settings = search.settings
    population = survivors(done, size=settings.population_size) if generation else []
    weights = operator_weights(done, population, weights=settings.weights, adaptive=settings.adaptive)
    if not population:
        weights = {SEED: 1.0}
    n_new = settings.children if generation else settings.first_generation
    numbers = range(len(done), len(done) + n_new)
    missing, learned, spent = [n for n in numbers if n not in stored], [], Preparation()
    if missing and settings.learns and generation:
        learned, spent = _learned_plans(search, done, population, learner, generation, weights)
    rules = _rules(done, population, settings.population_size) if settings.give_up and generation else {}
    plans: list[Plan] = []
    for place, number in enumerate(numbers):
        if number in stored:
            plan = Plan(atoms=stored[number].atoms, **stored[number].origin())
        elif place < len(learned):
            plan = replace(learned[place], number=number)
        else:
            made = {"number": number, "generation": generation}
            plan = _single_plan(search, [*done, *plans], population, made, weights)
        if number in missing[:1]:
            plan = replace(plan, spent=plan.spent + spent)
        plans.append(replace(plan, rule=rules.get(kind(plan))))
    return plans


def _learned_plans(
    search: Search,
    done: Sequence[SearchCandidate],
    population: Sequence[SearchCandidate],
    learner: Learner,
    generation: int,
    weights: Mapping[str, float],
) -> tuple[list[Plan], Preparation]:
    """Return the children that a potential learned from ``done`` chooses, and what the choice cost.

    There are none if it has nothing to go by, and fewer than wanted where offspring repeat what is known.
    """
    start = time.process_time()
    potential = learner.potential(done)
    if potential is None:
        return [], Preparation()
    fitted = time.process_time() - start
    offspring = make_offspring(search, population, potential, generation=generation, weights=weights)
    start, settings = time.process_time(), search.settings
    pressure = settings.relaxation.pressure_gpa
    plans = choose_children(offspring, done, potential, n=settings.children, pressure_gpa=pressure)
    rest = Preparation(model_seconds=fitted + time.process_time() - start)
    return plans, sum((o.plan.spent for o in offspring), rest)


def _single_plan(
    search: Search,
    earlier: Sequence[SearchCandidate | Plan],
    population: Sequence[SearchCandidate],
    made: Mapping[str, int],
    weights: Mapping[str, float],
) -> Plan:
    """Return a child of an operator or a random crystal, as it comes or chosen by the pair model."""
    rng = np.random.default_rng([search.settings.seed, made["number"]])
    operator = str(rng.choice(list(weights), p=list(weights.values())))
    known = [c for c in earlier if c.generation < made["generation"]]

    def used(operator: str, parent: int) -> int:
        """Return how often the operator was used on this parent alone."""
        return sum(c.operator == operator and c.parents == (parent,) for c in known)

    n_before = sum(c.operator == SEED for c in earlier)
    return child_plan(search, population, operator, made, earlier=used, rng=rng) or fresh_plan(
        search, population, made, n_before=n_before, rng=rng
    )


def _rules(
    done: Sequence[SearchCandidate], population: Sequence[SearchCandidate], size: int
) -> dict[str, GiveUpRule]:
    most, rules = {LEARNED: LEARNED_DROP_EV_ATOM}, {}
    for name in KINDS:
        same = [c for c in done if kind(c) == name]
        rules[name] = give_up_rule(same, population, size=size, most_ev_atom=most.get(name, np.inf))
    return rules


def _relax_all(plans: Sequence[Plan], search: Search, relaxer: Relaxer | None) -> Iterator[SearchCandidate]:
    """Yield the relaxed plans in their order.

    They are taken `TOGETHER` at a time, so that a search that ends at one of them wastes little. A warning of
    joblib is kept back when that happens.
    """
    groups = [plans[i : i + TOGETHER] for i in range(0, len(plans), TOGETHER)]
    n_jobs = search.n_jobs if len(groups) > 1 else 1
    tasks = (delayed(_relaxed)(group, search.settings, relaxer) for group in groups)
    results = Parallel(n_jobs=n_jobs, return_as="generator")(tasks)
    try:
        for group in results:
            yield from group
    finally:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*tasks (have been|which were)", category=UserWarning)
            results.close()


def _relaxed(
    plans: Sequence[Plan], settings: SearchSettings, relaxer: Relaxer | None
) -> list[SearchCandidate]:
    """Relax some plans together; runs in a worker process where there are several."""
    calculator = make_calculator(settings.potential, settings.potential_options)
    if relaxer is not None:
        like = {"calculator": calculator, "pressure_gpa": settings.relaxation.pressure_gpa}
        return [_candidate(p, relaxer(p.atoms, seed=p.number, **like), keep=False) for p in plans]
    results = relax_together(
        [p.atoms for p in plans],
        calculator=calculator,
        settings=settings.relaxation,
        verdicts=[p.rule for p in plans],
    )
    return [_candidate(p, r, keep=settings.learns) for p, r in zip(plans, results, strict=True)]


def _candidate(plan: Plan, result: Relaxation, *, keep: bool) -> SearchCandidate:
    """Return the relaxed plan; ``keep``: with the snapshots to learn from."""
    outcome = ("status", "reason", "enthalpy_ev_atom", "energy_ev_atom", "volume_angstrom3_atom", "curve")
    return SearchCandidate(
        **plan.origin(),
        **{key: getattr(result, key) for key in outcome},
        n_evaluations=plan.spent.n_evaluations + result.n_evaluations,
        seconds=plan.spent.seconds + result.seconds,
        n_model_relaxations=plan.spent.n_model_relaxations,
        model_seconds=plan.spent.model_seconds,
        atoms=result.atoms,
        snapshots=result.snapshots if keep else (),
    )


def _best(done: Sequence[SearchCandidate]) -> float:
    best = survivors(done, size=1)
    return best[0].enthalpy_ev_atom if best else float("nan")


def _why_stop(
    done: Sequence[SearchCandidate],
    generation: int,
    *,
    settings: SearchSettings,
    solved: Callable[[SearchCandidate], bool] | None,
) -> str:
    """Return the stop rule that applies after a generation, or an empty text.

    Generation -1 stands for the time after any one candidate: only success and budget count.
    """
    newest = [c for c in done if c.generation == generation] if generation >= 0 else done[-1:]
    if solved is not None and any(solved(c) for c in newest):
        return "the reference was found"
    if sum(c.n_evaluations for c in done) >= settings.max_evaluations:
        return "the budget of energy evaluations is spent"
    before = [c for c in done if c.generation <= generation - settings.patience]
    waited = generation >= 0 and bool(before) and np.isfinite(_best(before))
    if waited and _best(done) > _best(before) - settings.tolerance_ev_atom:
        return f"no better enthalpy in {settings.patience} generations"
    return ""
