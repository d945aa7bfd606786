"""Batches: neighbours against ASE's, CHGNet against its package, relaxing together against one by one."""

import warnings

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.filters import FrechetCellFilter
from ase.neighborlist import neighbor_list
from ase.optimize import BFGS

from crystal_search.errors import SearchError
from crystal_search.evaluations import evaluate_many
from crystal_search.neighbours import near_pairs
from crystal_search.potentials import make_calculator
from crystal_search.relaxation import (
    CONVERGED,
    FAILED,
    LogStrainFilter,
    RelaxationSettings,
    relax,
    relax_together,
)
from crystal_search.seeds import random_seed

CONTENT = {"Li": 2, "P": 2, "N": 4}


@pytest.fixture(scope="module")
def crystals() -> list[Atoms]:
    rng = np.random.default_rng(4)
    seeds = [random_seed(CONTENT, symmetric_share=s, volume_angstrom3=None, rng=rng) for s in (0.0, 1.0, 1.0)]
    return [*(s.atoms for s in seeds), bulk("LiF", "rocksalt", a=4.1)]


@pytest.fixture(scope="module")
def chgnet():
    return make_calculator("chgnet")


def test_near_pairs_are_those_of_ase_each_once(crystals: list[Atoms]) -> None:
    for atoms in crystals:
        i, j, vectors, lengths = near_pairs(atoms, 5.0)
        theirs = neighbor_list("d", atoms, 5.0)
        np.testing.assert_allclose(np.sort(np.repeat(lengths, 2)), np.sort(theirs), atol=1e-9)
        np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), lengths, atol=1e-9)
        counted = np.bincount(np.concatenate([i, j]), minlength=len(atoms))
        assert counted.tolist() == np.bincount(neighbor_list("i", atoms, 5.0)).tolist()


@pytest.mark.parametrize("model_name", ["0.3.0", "r2scan"])
def test_a_batch_has_the_numbers_of_the_package(crystals: list[Atoms], model_name: str) -> None:
    from chgnet.model import CHGNet
    from pymatgen.io.ase import AseAtomsAdaptor

    model = CHGNet.load(model_name=model_name, use_device="cpu", verbose=False)
    ours = make_calculator("chgnet", {"model_name": model_name}).evaluate_many(crystals)
    for atoms, found in zip(crystals, ours, strict=True):
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Converting a tensor")
            theirs = model.predict_structure(AseAtomsAdaptor.get_structure(atoms), task="efs")
        assert found.energy / len(atoms) == pytest.approx(float(theirs["e"]), abs=2e-5)
        np.testing.assert_allclose(found.forces, theirs["f"], atol=2e-3, rtol=1e-4)
        np.testing.assert_allclose(found.stress * 160.21766, theirs["s"], atol=1e-2, rtol=1e-3)


def test_a_crystal_does_not_see_the_others_of_its_batch(crystals: list[Atoms], chgnet) -> None:
    together = chgnet.evaluate_many(crystals)
    for atoms, found in zip(crystals, together, strict=True):
        alone = chgnet.evaluate_many([atoms])[0]
        assert found.energy == pytest.approx(alone.energy, abs=1e-4)
        np.testing.assert_allclose(found.forces, alone.forces, atol=1e-3)


def test_stress_is_the_slope_of_the_energy_by_strain(crystals: list[Atoms], chgnet) -> None:
    atoms, step = crystals[-1], 2e-3
    shear = np.array([[0, 1, 0], [1, 0, 0], [0, 0, 1]], dtype=float)
    strained = [atoms.copy() for _ in "ab"]
    for copy, sign in zip(strained, (1, -1), strict=True):
        copy.set_cell(atoms.cell @ (np.eye(3) + sign * step * shear), scale_atoms=True)
    up, down = (e.energy for e in chgnet.evaluate_many(strained))
    slope = (chgnet.evaluate_many([atoms])[0].stress * shear).sum() * atoms.get_volume()
    assert slope == pytest.approx((up - down) / (2 * step), abs=0.02)


def test_atoms_without_neighbours_have_no_forces(chgnet) -> None:
    alone = Atoms("Li", cell=[20, 20, 20], pbc=True)
    found = chgnet.evaluate_many([alone])[0]
    assert np.isfinite(found.energy) and not found.forces.any() and not found.stress.any()


def test_chgnet_models_are_named() -> None:
    with pytest.raises(SearchError, match=r"expected one of 0\.3\.0, r2scan"):
        make_calculator("chgnet", {"model_name": "0.2.0"})


def test_any_ase_calculator_evaluates_a_batch() -> None:
    batch = [bulk("Cu", a=a, cubic=True) for a in (3.5, 3.7)]
    for atoms, found in zip(batch, evaluate_many(EMT(), batch), strict=True):
        atoms.calc = EMT()
        assert found.energy == pytest.approx(atoms.get_potential_energy())
        np.testing.assert_allclose(found.results()["stress"], atoms.get_stress(), atol=1e-12)


def _distorted() -> Atoms:
    atoms = bulk("Cu", cubic=True)
    atoms.rattle(0.1, seed=1)
    strain = 0.05 * np.random.default_rng(0).normal(size=(3, 3))
    atoms.set_cell(atoms.cell @ (np.eye(3) + strain), scale_atoms=True)
    return atoms


def test_the_cell_filter_takes_the_steps_of_ase_s() -> None:
    ends = []
    for cell_filter in (FrechetCellFilter, LogStrainFilter):
        atoms = _distorted()
        atoms.calc = EMT()
        moving = cell_filter(atoms, exp_cell_factor=4 / 3, scalar_pressure=0.01)
        BFGS(moving, logfile=None).run(fmax=1e-4, steps=9)
        ends.append((atoms.get_potential_energy(), *atoms.cell.lengths(), np.abs(moving.get_forces()).max()))
    np.testing.assert_allclose(ends[0], ends[1], rtol=1e-7, atol=1e-9)


def test_relaxed_side_by_side_as_one_by_one_and_as_by_ase(chgnet) -> None:
    settings = RelaxationSettings(fmax_ev_angstrom=0.02, max_steps=300)
    start = [bulk("LiF", "rocksalt", a=4.3), bulk("MgO", "rocksalt", a=4.0)]
    for atoms in start:  # near a minimum: on a saddle point rounding decides where a relaxation ends
        atoms.rattle(0.1, seed=2)
    together = relax_together(start, calculator=chgnet, settings=settings)
    for atoms, found in zip(start, together, strict=True):
        alone = relax(atoms, calculator=chgnet, settings=settings)
        assert found.status == alone.status == CONVERGED
        assert found.energy_ev_atom == pytest.approx(alone.energy_ev_atom, abs=5e-4)
    theirs = start[1].copy()
    theirs.calc = chgnet
    BFGS(FrechetCellFilter(theirs, exp_cell_factor=2 / 3), logfile=None).run(fmax=0.02, steps=300)
    assert together[1].energy_ev_atom == pytest.approx(theirs.get_potential_energy() / 2, abs=2e-4)
    assert together[1].volume_angstrom3_atom == pytest.approx(theirs.get_volume() / 2, rel=5e-3)


class _Choosy(EMT):
    """EMT that refuses gold."""

    def calculate(self, atoms: Atoms, properties: list[str], system_changes: list[str]) -> None:
        if "Au" in atoms.get_chemical_symbols():
            raise ValueError("no parameters for gold")
        super().calculate(atoms, properties, system_changes)


def test_a_structure_that_fails_does_not_harm_the_others() -> None:
    copper, gold = bulk("Cu", a=3.7), bulk("Au", a=4.2)
    good, bad = relax_together([copper, gold], calculator=_Choosy(), settings=RelaxationSettings())
    assert (good.status, bad.status) == (CONVERGED, FAILED) and "no parameters for gold" in bad.reason
    assert bad.n_evaluations == 0 and good.n_evaluations == len(good.curve)
    alone = relax(copper, calculator=EMT(), settings=RelaxationSettings())
    assert good.curve == pytest.approx(alone.curve)


def test_verdicts_concern_their_own_structure() -> None:
    batch = [bulk("Cu", a=3.9), bulk("Cu", a=3.9)]
    verdicts = [None, lambda steps, enthalpy, atoms: "enough" if steps == 1 else ""]
    kept, left = relax_together(batch, calculator=EMT(), settings=RelaxationSettings(), verdicts=verdicts)
    assert kept.status == CONVERGED and (left.reason, left.n_evaluations) == ("enough", 2)
