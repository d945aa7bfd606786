"""Campaigns: both arms with one budget, the best structure, what searches cost."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from crystal_search.database import SearchCandidate, SearchDatabase
from crystal_search.relaxation import RelaxationSettings
from crystal_search.search_settings import SearchSettings
from sselib.errors import DataError, ParameterError
from sselib.generation.campaign import SearchCase, best_structure, run_campaign
from sselib.generation.effort import curves_on_grid, effort_table, progress_curve
from sselib.generation.formula_units import CellContent

CONTENT = {"Cu": 2, "Au": 1}
FAST = SearchSettings(
    potential="ase.calculators.emt:EMT",
    relaxation=RelaxationSettings(fmax_ev_angstrom=0.1, max_steps=40),
    first_generation=4,
    children=2,
    max_generations=2,
    population_size=3,
    pool_size=0,
    offspring=12,
)


@pytest.fixture(scope="module")
def campaign(tmp_path_factory: pytest.TempPathFactory) -> dict[SearchCase, list[SearchCandidate]]:
    content = CellContent(formula="Cu2Au", z=1, amounts=CONTENT)
    database = SearchDatabase(tmp_path_factory.mktemp("campaign") / "s.sqlite")
    return run_campaign([content], seeds=[0], settings=FAST, database=database)


def test_both_arms_have_the_same_budget_and_the_best_structure_is_relaxed_on(campaign) -> None:
    found = campaign
    spent = {k.arm: sum(c.n_evaluations for c in v) for k, v in found.items()}
    mine = found[SearchCase(formula="Cu2Au", arm="evolutionary", seed=0)]
    last = found[SearchCase(formula="Cu2Au", arm="random", seed=0)]
    last_generation = max(c.generation for c in last)
    before = sum(c.n_evaluations for c in last if c.generation < last_generation)
    assert before < spent["evolutionary"] <= spent["random"]
    best = best_structure("Cu2Au", found, settings=FAST)
    lowest = min(c.enthalpy_ev_atom for c in mine if c.status == "converged")
    assert best.relaxed.enthalpy_ev_atom <= lowest + 1e-6
    with pytest.raises(DataError, match="Li2S"):
        best_structure("Li2S", found, settings=FAST)


def test_an_unknown_protocol_is_refused(tmp_path: Path) -> None:
    content = CellContent(formula="Cu2Au", z=1, amounts=CONTENT)
    with pytest.raises(ParameterError, match="protocol 'nvt': expected optimise, npt"):
        run_campaign(
            [content],
            seeds=[0],
            settings=replace(FAST, protocol="nvt"),
            database=SearchDatabase(tmp_path / "s.sqlite"),
        )


def test_progress_and_effort_add_up(campaign) -> None:
    candidates = campaign[SearchCase(formula="Cu2Au", arm="evolutionary", seed=0)]
    curve = progress_curve(candidates)
    assert (np.diff(curve["best_enthalpy_ev_atom"]) <= 0).all()
    assert curve["evaluations_so_far"].iloc[-1] == sum(c.n_evaluations for c in candidates)
    grid = curves_on_grid([curve, curve.assign(best_enthalpy_ev_atom=curve["best_enthalpy_ev_atom"] + 1)])
    assert (grid["high"] - grid["low"]).to_numpy() == pytest.approx(1) and (grid["n"] == 2).all()
    costs = effort_table(campaign).iloc[0]
    assert costs["relaxed"] + costs["given_up"] + costs["failed"] == costs["structures"] == len(candidates)
    assert (costs["formula"], costs["arm"], costs["n_atoms"]) == ("Cu2Au", "evolutionary", 3)
    low = min(c.enthalpy_ev_atom for c in candidates if c.status in ("converged", "unconverged"))
    assert costs["best_enthalpy_ev_atom"] == low and costs["generation_of_best"] < costs["generations"]
    assert costs["model_relaxations"] == sum(c.n_model_relaxations for c in candidates)
