"""Retraining without relatives: no row near a candidate is left, in any of the models or their controls."""

import pytest
from labelled_reference import labelled_reference

from sselib.atomsets.superionic_model import fit_superionic_model
from sselib.columns import Curated
from sselib.materials.composition import element_fractions, l1_distances
from sselib.prediction.applicability import training_space
from sselib.prediction.scorer import Scorer
from sselib.regression.conductivity_model import train_conductivity_model
from sselib.screening.published_retraining import without_relatives


def test_no_model_keeps_a_row_near_a_candidate() -> None:
    rows = labelled_reference()
    curated = rows.assign(**{Curated.CHEMICAL_SYSTEM: rows["composition"]})
    superionic = fit_superionic_model(curated.assign(duplicate_group=curated["composition"])).model
    conductivity = train_conductivity_model(curated, seed=0)
    scorer = Scorer(conductivity, None, superionic, training_space(conductivity.training))
    found = without_relatives(["Li6PS5Cl", "LiNbOCl4"], scorer, curated=curated, distance=0.1, seed=3)
    left = set(found.scorer.by_formula.training["id"])
    fractions = element_fractions(["Li6PS5Cl", *curated["composition"]]).to_numpy()
    near = set(curated["id"][l1_distances(fractions[:1], fractions[1:])[0] <= 0.1])
    assert found.n_removed[0] == len(near) > 0 and not near & left
    assert set(found.scorer.space.table["id"]) <= left
    assert set(found.scorer.superionic.training["id"]) <= left
    again = found.scorer.superionic.predict_formulas(["Li6PS5Cl"])["p_superionic"][0]
    assert again != pytest.approx(superionic.predict_formulas(["Li6PS5Cl"])["p_superionic"][0], abs=1e-9)
    assert found.scorer.superionic.formula.calibration == superionic.formula.calibration
