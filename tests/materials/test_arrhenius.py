"""Room-temperature equivalents: the law itself, and which rows count."""

import numpy as np
import pandas as pd
import pytest

from sselib.columns import Entry
from sselib.errors import DataError
from sselib.materials.arrhenius import BOLTZMANN_EV_K, activation_energies, room_temperature_rows
from sselib.materials.composition import canonical


def law(celsius: float, *, energy_ev: float, at_room: float = -5.0) -> float:
    """Return log10(S/cm) at a temperature of a compound with sigma T = A exp(-Ea / k T)."""
    kelvin, room = celsius + 273.15, 298.15
    change = energy_ev / (BOLTZMANN_EV_K * np.log(10)) * (1 / room - 1 / kelvin)
    return at_room + np.log10(room / kelvin) + change


def entries(rows: list[tuple[str, float, float]]) -> pd.DataFrame:
    """Return measurements (formula, deg C, energy in eV) of compounds with 1e-5 S/cm at 25 deg C."""
    return pd.DataFrame(
        {
            Entry.ID: [f"r{k}" for k in range(len(rows))],
            Entry.COMPOSITION: [canonical(f) for f, _, _ in rows],
            Entry.TEMPERATURE_C: [t for _, t, _ in rows],
            Entry.LOG10_SIGMA: [law(t, energy_ev=e) for _, t, e in rows],
            Entry.CENSORED: False,
            Entry.DOI: None,
            Entry.FAMILY_RAW: None,
        }
    )


GARNET, HALIDE = "Li7La3Zr2O12", "Li3YCl6"


def test_a_known_energy_is_found_and_few_rows_are_drawn_to_all() -> None:
    many = [(GARNET, t, 0.3) for t in np.linspace(0, 300, 200)]
    found = activation_energies(entries([*many, (HALIDE, 50, 0.8), (HALIDE, 100, 0.8)]))
    assert found.of("garnet") == pytest.approx(0.3, abs=0.01)
    assert found.overall_ev < found.of("halide") < 0.8
    assert found.of("never seen") == found.overall_ev
    assert found.n_rows == 202


def test_a_compound_measured_hot_gets_its_value_at_room_temperature() -> None:
    known = [(GARNET, t, 0.3) for t in np.linspace(0, 300, 50)]
    hot = ("Li6.5La3Zr1.5Ta0.5O12", 150, 0.3)
    found = room_temperature_rows(entries([*known, hot]), entries([(GARNET, 25, 0.3)]))
    assert found[Entry.LOG10_SIGMA].to_numpy() == pytest.approx([-5.0], abs=0.01)
    assert found["family"].tolist() == ["garnet"]


def test_only_new_compositions_away_from_room_temperature_count_and_the_nearest_of_each() -> None:
    rows = [(GARNET, 25, 0.3), (GARNET, 100, 0.3), (HALIDE, 90, 0.3), (HALIDE, 60, 0.3), ("LiCl", 700, 0.3)]
    table = entries(rows)
    table.loc[len(table)] = {**table.loc[2], Entry.COMPOSITION: canonical("NaCl"), Entry.ID: "no lithium"}
    found = room_temperature_rows(table, entries([(GARNET, 25, 0.3)]))
    assert found[Entry.ID].tolist() == ["r3"]


def test_one_temperature_gives_no_energy() -> None:
    with pytest.raises(DataError, match="two temperatures"):
        activation_energies(entries([(GARNET, 25, 0.3), (HALIDE, 50, 0.3)]))
