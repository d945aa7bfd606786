"""Figures of notebook 02: what they draw is what their data say."""

import numpy as np
import pandas as pd
import pytest

from sselib.plots import generation as draw


@pytest.fixture
def table() -> pd.DataFrame:
    return pd.DataFrame(
        {
            "generation": [0, 0, 1, 1, 1],
            "operator": ["seed", "seed", "rattle", "heredity", "rattle"],
            "status": ["converged", "failed", "converged", "unconverged", "abandoned"],
            "enthalpy_ev_atom": [-1.0, -9.0, -1.5, -0.8, -2.0],
            "parent_enthalpy_ev_atom": [np.nan, np.nan, -1.0, -1.0, -1.0],
        }
    )


def test_only_relaxed_candidates_are_drawn_above_the_best(table: pd.DataFrame) -> None:
    figure, data = draw.enthalpy_by_generation(table, title="t")
    assert data["above_best_ev_atom"].tolist() == pytest.approx([0.5, 0.0, 0.7])
    best = figure.data[-1]
    assert list(best.y) == pytest.approx([0.5, 0.0]) and "eV/atom" in figure.layout.yaxis.title.text


def test_differences_to_parents_have_their_sign(table: pd.DataFrame) -> None:
    _, data = draw.child_minus_parent(table)
    assert data.set_index("operator")["difference_ev_atom"].to_dict() == pytest.approx(
        {"rattle": -0.5, "heredity": 0.2}
    )


def test_a_uspex_table_gives_both_figures(table: pd.DataFrame) -> None:
    assert set(draw.uspex_figures(table)) == {"uspex_generations", "uspex_children"}
    assert set(draw.uspex_figures(table.assign(parent_enthalpy_ev_atom=np.nan))) == {"uspex_generations"}


def test_dynamics_start_at_zero_energy_and_keep_every_record() -> None:
    one = pd.DataFrame(
        {
            "time_ps": [0.0, 0.1],
            "energy_ev_atom": [-3.0, -2.9],
            "temperature_k": [300.0, 310.0],
            "volume_angstrom3_atom": [10.0, 10.1],
            "framework_displacement_angstrom": [0.0, 0.1],
        }
    )
    figure, data = draw.dynamics({"LiCl": one, "LiF": one})
    assert len(data) == 4 and data["energy_ev_atom"].tolist() == pytest.approx([0, 0.1, 0, 0.1])
    assert len(figure.data) == 6
