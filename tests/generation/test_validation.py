"""Validation of crystals: distances, matches in both units, lattices, dynamics, figures."""

import numpy as np
import pytest
from ase.build import bulk
from ase.calculators.emt import EMT
from pymatgen.core import Lattice, Structure

from sselib.errors import ParameterError
from sselib.generation.dynamics import KIM_RELAXATION, MDSettings, relax_by_npt, run_npt
from sselib.generation.validation import closest_pair, lattice_comparison, match, validation_record


@pytest.fixture(scope="module")
def salt() -> Structure:
    return Structure.from_spacegroup("Fm-3m", Lattice.cubic(5.13), ["Li", "Cl"], [[0] * 3, [0.5] * 3])


@pytest.fixture(scope="module")
def shaken(salt: Structure) -> Structure:
    return salt.copy().perturb(0.1, seed=3)


def test_closest_pair_of_rock_salt(salt: Structure) -> None:
    pair = closest_pair(salt)
    assert (pair["closest_pair"], pair["closest_distance_angstrom"]) == ("Cl-Li", pytest.approx(5.13 / 2))
    assert pair["covalent_ratio"] == pytest.approx(2.565 / (1.28 + 1.02))  # Cordero's radii
    assert pair["ionic_ratio"] == pytest.approx(2.565 / (0.90 + 1.67))  # Shannon's radii
    larger = closest_pair(salt.make_supercell([2, 1, 1], in_place=False))
    assert larger["closest_pair"] == pair["closest_pair"]
    assert larger["closest_distance_angstrom"] == pytest.approx(pair["closest_distance_angstrom"])


def test_match_is_exact_for_the_same_crystal_in_another_cell(salt: Structure) -> None:
    found = match(salt.get_primitive_structure(), salt)
    assert found["matches"] and found["rms"] == pytest.approx(0, abs=1e-6)


def test_rms_in_angstrom_scales_with_the_crystal_and_the_dimensionless_one_does_not(
    salt: Structure, shaken: Structure
) -> None:
    small = match(shaken, salt)
    large = match(_scaled(shaken, 1.2), _scaled(salt, 1.2))
    assert 0.01 < small["rms"] < 0.1
    assert large["rms"] == pytest.approx(small["rms"], rel=1e-6)
    assert large["rms_angstrom"] == pytest.approx(1.2 * small["rms_angstrom"], rel=1e-6)
    assert small["rms_angstrom"] == pytest.approx(
        small["rms"] * (salt.volume / len(salt)) ** (1 / 3), rel=1e-6
    )


def _scaled(structure: Structure, factor: float) -> Structure:
    return structure.copy().scale_lattice(structure.volume * factor**3)


def test_another_crystal_does_not_match(salt: Structure) -> None:
    caesium = Structure.from_spacegroup("Pm-3m", Lattice.cubic(3.2), ["Li", "Cl"], [[0] * 3, [0.5] * 3])
    assert not match(caesium, salt)["matches"]


def test_record_of_a_sound_and_of_an_overlapping_crystal(salt: Structure) -> None:
    sound = validation_record(salt, energy_ev_atom=-3.0, reference=salt)
    assert sound["plausible"] and sound["matches_reference"] and sound["space_group_number"] == 225
    assert sound["charge_imbalance_per_atom"] == pytest.approx(0)
    assert not validation_record(_scaled(salt, 0.6), energy_ev_atom=0.0)["plausible"]
    assert np.isnan(validation_record(salt, energy_ev_atom=-3.0)["rms"])


def test_lattice_table_does_not_depend_on_the_order_of_axes() -> None:
    cell = Lattice.orthorhombic(4.0, 5.0, 7.0)
    first = Structure(cell, ["Li", "Cl"], [[0] * 3, [0.5, 0.5, 0.4]])
    turned = Structure(Lattice.orthorhombic(7.0, 4.0, 5.0), ["Li", "Cl"], [[0] * 3, [0.4, 0.5, 0.5]])
    table = lattice_comparison({"LiCl": (first, turned)})
    lengths = table[["short_angstrom", "middle_angstrom", "long_angstrom"]].to_numpy()
    np.testing.assert_allclose(lengths[0], lengths[1])
    np.testing.assert_allclose(lengths[0], [4, 5, 7])
    assert table["matches"].all()


def test_copper_holds_at_300_k_and_the_framework_vibrates() -> None:
    run = run_npt(bulk("Cu"), calculator=EMT(), settings=MDSettings(duration_ps=0.5, timestep_fs=5.0))
    assert run.held and run.n_evaluations == 101
    assert 0.02 < run.framework_displacement_angstrom < 0.5 and abs(run.volume_change) < 0.05
    assert run.table["temperature_k"].iloc[20:].mean() == pytest.approx(300, abs=120)
    assert run.table["time_ps"].iloc[-1] == pytest.approx(0.5)


def test_hot_copper_does_not_hold() -> None:
    hot = MDSettings(duration_ps=0.6, timestep_fs=4.0, temperature_k=20000.0)
    run = run_npt(bulk("Cu"), calculator=EMT(), settings=hot)
    assert not run.held and run.finding


def test_dynamics_start_from_the_seed_alone() -> None:
    settings = MDSettings(duration_ps=0.05, timestep_fs=5.0, seed=4)
    first, second = (run_npt(bulk("Cu"), calculator=EMT(), settings=settings).table for _ in "ab")
    np.testing.assert_allclose(first, second, atol=1e-10)


def test_relaxation_by_dynamics_lowers_a_stretched_crystal() -> None:
    short = MDSettings(temperature_k=20.0, duration_ps=0.4, timestep_fs=4.0)
    result = relax_by_npt(bulk("Cu", a=3.75, cubic=True), calculator=EMT(), settings=short)
    assert result.status == "unconverged" and result.n_evaluations == 101
    assert result.enthalpy_ev_atom < result.curve[0] - 0.01
    work = result.enthalpy_ev_atom - result.energy_ev_atom
    assert work == pytest.approx(0.1 / 160.2177 * result.volume_angstrom3_atom, rel=1e-3)


def test_kim_s_protocol_and_impossible_runs() -> None:
    assert (KIM_RELAXATION.temperature_k, KIM_RELAXATION.pressure_bar) == (50.0, 1000.0)
    with pytest.raises(ParameterError, match="at least one step"):
        run_npt(bulk("Cu"), calculator=EMT(), settings=MDSettings(duration_ps=0.0))


def test_a_lattice_without_a_reference_stands_alone(salt: Structure) -> None:
    table = lattice_comparison({"LiCl": (salt, None)})
    assert table["structure"].tolist() == ["generated"] and table["n_atoms"].tolist() == [2]
    assert table["short_angstrom"].tolist() == [pytest.approx(5.13 / np.sqrt(2))]
    assert table["matches"].isna().all()
