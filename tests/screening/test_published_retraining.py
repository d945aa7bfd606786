"""Retraining without relatives: no row near a candidate is left, in any of the models or their controls."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from labelled_reference import labelled_reference
from pymatgen.core import Lattice, Structure

from sselib.atomsets.saved_blend import fit_blend
from sselib.atomsets.superionic_model import SiteSettings, SuperionicModel, training_table
from sselib.columns import Curated
from sselib.materials.structures import structure_to_json
from sselib.regression.conductivity_model import train_conductivity_model
from sselib.screening import published_retraining
from sselib.screening.material_properties import PropertyModels
from sselib.screening.published_retraining import without_relatives
from sselib.screening.scoring import ScreeningModels

ROCK_SALT = Structure(Lattice.cubic(5.13), ["Li", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]])
ASKED = ["Li6PS5Cl", "LiNbOCl4"]


@pytest.fixture(scope="module")
def curated() -> pd.DataFrame:
    """Return the reference set, every row with the structure of rock salt."""
    rows = labelled_reference()
    return rows.assign(
        **{
            Curated.CHEMICAL_SYSTEM: rows["composition"],
            "structure_id": "rock_salt",
        }
    )


@pytest.fixture(scope="module")
def models(curated: pd.DataFrame) -> ScreeningModels:
    """Return small models; the ensemble has two settings of networks, which the tests do not train."""
    labelled = curated[curated["superionic"].notna()]
    networks = tuple(SimpleNamespace(settings=name) for name in ("a", "b", "a", "b"))
    ensemble = SuperionicModel(
        training=training_table(labelled, with_structure=list(labelled["id"])),
        blend=fit_blend(labelled, geometry=None, n_versions=2, seed=0),
        networks=networks,
        sites=SiteSettings("parent", "CAMN", ("V0",)),
        network_weight=0.75,
    )
    conductivity = train_conductivity_model(curated, seed=0)
    return ScreeningModels(conductivity, ensemble, PropertyModels(why_missing="not wanted"))


def test_no_model_keeps_a_row_near_a_candidate(curated, models, monkeypatch) -> None:
    structures = pd.DataFrame(
        {"structure_id": ["rock_salt"], "structure_json": [structure_to_json(ROCK_SALT)]}
    )
    asked: dict[str, object] = {}

    def sets_of(crystals: dict, **_: object) -> SimpleNamespace:
        one = SimpleNamespace(features=np.ones((1, 2)), multiplicity=np.ones(1))
        return SimpleNamespace(sets=dict.fromkeys(list(crystals)[1:], one))  # the first one has no features

    def networks_of(sets, y, duplicates, **options) -> tuple[str, ...]:
        asked.update(n=len(sets), y=len(y), groups=len(duplicates), **options)
        return ("trained",)

    monkeypatch.setattr(published_retraining, "site_sets", sets_of)
    monkeypatch.setattr(published_retraining, "fit_networks", networks_of)
    found = without_relatives(
        ASKED,
        models,
        curated=curated,
        structures=structures,
        features=pd.DataFrame(),
        groups=pd.DataFrame(),
        distance=0.1,
        seed=3,
    )
    ensemble, left = found.models.superionic, set(found.training.table["id"])
    near = set(curated.loc[curated["composition"].isin(["Li6PS5Cl", "Li6 P1 S5 Cl1"]), "id"])
    assert found.n_removed[0] >= 1 and not near & left
    assert set(found.models.conductivity.training["id"]) == left
    assert set(ensemble.training["id"]) <= left and ensemble.network_weight == 0.75
    assert ensemble.networks == ("trained",) and asked["settings"] == ("a", "b") and asked["n_seeds"] == 2
    assert asked["n"] == asked["y"] == asked["groups"] == int(ensemble.training["has_structure"].sum())
    assert len(ensemble.space.training) == asked["n"] and found.models.structure_conductivity is None
