"""The saved model of conductivity: what it promises about rows, units and intervals."""

import functools
import json
import os
from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace
from pathlib import Path

import joblib
import numpy as np
import pandas as pd
import pytest
import skops.io
from pymatgen.core import Lattice, Structure

from sselib.columns import Curated, Entry
from sselib.errors import DataError, ParameterError, RunError
from sselib.features.structure import STRUCTURE_COLUMNS
from sselib.materials.composition import canonical, chemical_system
from sselib.materials.families import family_from_composition
from sselib.regression.conductivity_model import (
    ConductivityModel,
    load_conductivity_model,
    save_conductivity_model,
    train_conductivity_model,
    train_structure_model,
)
from sselib.regression.models import ModelOptions


def labelled() -> pd.DataFrame:
    """Return 120 materials whose conductivity grows with their sulfur content, a tenth of them bounds."""
    rng = np.random.default_rng(0)
    cations, share = ["Zr", "Ti", "P", "Ge", "Al", "Si"], rng.random(120)
    formulas = [f"Li3{cations[k % 6]}S{4 * x + 0.01:.3f}O{4.01 - 4 * x:.3f}" for k, x in enumerate(share)]
    return pd.DataFrame(
        {
            Entry.ID: [f"made-up:{k}" for k in range(120)],
            Entry.FORMULA: formulas,
            Entry.COMPOSITION: [canonical(f) for f in formulas],
            Entry.LOG10_SIGMA: -9 + 6 * share + rng.normal(0, 0.1, 120),
            Entry.CENSORED: np.arange(120) % 10 == 0,
            Entry.TEMPERATURE_C: 25.0,
            Curated.FAMILY: [str(family_from_composition(f)) for f in formulas],
            Curated.CHEMICAL_SYSTEM: [chemical_system(f) for f in formulas],
            Curated.DUPLICATE_GROUP: np.arange(120),
            Curated.N_MEASUREMENTS: 1,
        }
    )


@pytest.fixture(scope="module")
def model() -> ConductivityModel:
    return train_conductivity_model(labelled(), options=ModelOptions(n_trees=30))


def test_rows_stay_in_order_and_what_cannot_be_had_is_missing(model: ConductivityModel) -> None:
    found = model.predict(["Li3PS4", "not a formula", "NaCl", "Li3PO4"])
    assert list(found.columns) == ["log10_sigma", "lower", "upper"]
    assert found.isna().all(axis=1).tolist() == [False, True, True, False]
    assert found["log10_sigma"][0] > found["log10_sigma"][3] + 3
    assert ((found["lower"] <= found["log10_sigma"]) & (found["log10_sigma"] <= found["upper"]))[[0, 3]].all()


def test_a_prediction_depends_neither_on_its_neighbours_nor_on_how_the_formula_is_written(
    model: ConductivityModel,
) -> None:
    alone = model.predict(["Li3PS4"])
    among = model.predict(["LiF", "P2Li6S8", "S4Li3P"])
    assert np.allclose(among.iloc[1:], alone.iloc[0], atol=1e-9)


def test_a_surer_interval_is_wider(model: ConductivityModel) -> None:
    narrow, wide = (model.predict(["Li3PS3O"], confidence=c) for c in (0.5, 0.95))
    assert (wide["upper"] - wide["lower"])[0] > (narrow["upper"] - narrow["lower"])[0]


def test_a_far_formula_has_a_wider_interval(model: ConductivityModel) -> None:
    found = model.predict(["Li3PS2O2", "Li2UBr6"])
    width = found["upper"] - found["lower"]
    assert width[1] > width[0]


def test_contributions_add_up_to_the_prediction(model: ConductivityModel) -> None:
    formulas = ["Li3PS4", "?", "Li3AlO4"]
    parts = model.explain(formulas).sum(axis=1, skipna=False)
    assert np.allclose(parts, model.predict(formulas)["log10_sigma"], atol=1e-6, equal_nan=True)


def test_saved_and_loaded_predicts_the_same(model: ConductivityModel, tmp_path: Path) -> None:
    save_conductivity_model(model, folder=tmp_path / "04_gbr_shap" / "models")
    again = load_conductivity_model(tmp_path)
    pd.testing.assert_frame_equal(again.predict(["Li3PS4", "LiCl"]), model.predict(["Li3PS4", "LiCl"]))
    assert list(again.training.columns) == ["id", "formula", "log10_sigma", "censored", "family"]


def test_no_model_in_the_run_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="run notebook 04 first"):
        load_conductivity_model(tmp_path)
    with pytest.raises(ParameterError, match="formula"):
        load_conductivity_model(tmp_path, inputs="picture")


def test_confidence_is_a_probability(model: ConductivityModel) -> None:
    with pytest.raises(ParameterError, match="between 0 and 1"):
        model.predict(["Li3PS4"], confidence=90)


def rock_salt(a: float = 5.13) -> Structure:
    return Structure.from_spacegroup("Fm-3m", Lattice.cubic(a), ["Li", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]])


@pytest.fixture(scope="module")
def with_structures(model: ConductivityModel) -> ConductivityModel:
    """Return a model of rows, half of them with a cell, whose conductivity grows with the cell too."""
    volume = np.random.default_rng(1).uniform(14, 26, 120)
    table = labelled().assign(log10_sigma=lambda t: t[Entry.LOG10_SIGMA] + (volume - 20) / 3)
    features = pd.DataFrame(np.nan, index=range(120), columns=list(STRUCTURE_COLUMNS))
    features["volume_per_atom_angstrom3"] = np.where(np.arange(120) % 2, volume, np.nan)
    features["id"] = table[Entry.ID]
    return train_structure_model(table, features, fallback=model, options=ModelOptions(n_trees=30))


def test_a_row_without_structure_is_left_to_the_formula_model(
    model: ConductivityModel, with_structures: ConductivityModel
) -> None:
    formulas, structures = ["Li3PS4", "LiCl", "?"], [None, rock_salt(), rock_salt()]
    found = with_structures.predict(formulas, structures=structures)
    alone = model.predict(formulas)
    pd.testing.assert_frame_equal(found.iloc[[0]], alone.iloc[[0]])
    assert found.iloc[1].notna().all()
    assert found["log10_sigma"][1] != alone["log10_sigma"][1]
    assert found.iloc[2].isna().all()
    pd.testing.assert_frame_equal(with_structures.predict(formulas), alone)
    assert np.allclose(with_structures.explain(["Li3PS4"]), model.explain(["Li3PS4"]))


def test_the_structure_moves_the_prediction_and_the_size_of_its_cell_does_not(
    with_structures: ConductivityModel,
) -> None:
    dense, loose = rock_salt(4.9), rock_salt(5.8)
    both = with_structures.predict(["Li3PS2O2"] * 2, structures=[dense, loose])
    assert both["log10_sigma"][1] > both["log10_sigma"][0] + 0.3
    larger = loose.make_supercell([2, 1, 1], in_place=False)
    again = with_structures.predict(["Li6P2S4O4"], structures=[larger])
    assert np.allclose(again.iloc[0], both.iloc[1], atol=1e-6)
    with pytest.raises(ParameterError, match="1 structures for 2 formulas"):
        with_structures.predict(["LiCl"] * 2, structures=[dense])


def test_the_model_that_reads_structures_is_saved_beside_the_other(
    with_structures: ConductivityModel, tmp_path: Path
) -> None:
    for found in (with_structures.fallback, with_structures):
        save_conductivity_model(found, folder=tmp_path / "04_gbr_shap" / "models")
    again = load_conductivity_model(tmp_path, inputs="structure")
    for structures in ([rock_salt()], [None]):
        pd.testing.assert_frame_equal(
            again.predict(["LiCl"], structures=structures),
            with_structures.predict(["LiCl"], structures=structures),
        )


def test_a_model_trained_on_other_features_is_refused(model: ConductivityModel, tmp_path: Path) -> None:
    older = replace(model, background=model.background[:, 1:])
    save_conductivity_model(older, folder=tmp_path / "04_gbr_shap" / "models")
    with pytest.raises(DataError, match="train it anew"):
        load_conductivity_model(tmp_path)


def test_a_model_with_intervals_of_an_earlier_version_is_refused(
    model: ConductivityModel, tmp_path: Path
) -> None:
    older = deepcopy(model)
    del older.estimator.calibration_.__dict__["hidden_errors"]  # as a file of that version has it
    save_conductivity_model(older, folder=tmp_path / "04_gbr_shap" / "models")
    with pytest.raises(DataError, match="earlier version"):
        load_conductivity_model(tmp_path)


class _Planted:
    """Runs a command when it is unpickled."""

    def __reduce__(self) -> tuple:
        return os.system, ("touch planted",)


def _pickled(path: Path) -> None:
    joblib.dump(_Planted(), path)


def _of_another_type(path: Path) -> None:
    skops.io.dump({"sklearn": "1.0", "estimator": functools.partial(os.system, "touch planted")}, path)


def _cut_off(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:1000])


def _emptied(path: Path) -> None:
    path.write_bytes(b"")


@pytest.mark.parametrize("damage", [_pickled, _of_another_type, _cut_off, _emptied])
def test_a_planted_or_damaged_file_is_refused_and_runs_nothing(
    model: ConductivityModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, damage: Callable[[Path], None]
) -> None:
    monkeypatch.chdir(tmp_path)
    path = save_conductivity_model(model, folder=tmp_path / "04_gbr_shap" / "models")
    damage(path)
    with pytest.raises(DataError, match=r"conductivity_formula\.skops cannot be read"):
        load_conductivity_model(tmp_path)
    assert not (tmp_path / "planted").exists()


def test_a_model_that_the_run_did_not_record_is_refused(model: ConductivityModel, tmp_path: Path) -> None:
    save_conductivity_model(model, folder=tmp_path / "04_gbr_shap" / "models")
    outputs = {"04_gbr_shap/models/conductivity_formula.skops": "ab" * 32}
    (tmp_path / "run.json").write_text(json.dumps({"notebooks": {"04_gbr_shap": {"outputs": outputs}}}))
    with pytest.raises(DataError, match="not the file that the run recorded"):
        load_conductivity_model(tmp_path)
