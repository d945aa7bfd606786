"""Models that learn log10(σ): what they see, and how a regression becomes a probability."""

import numpy as np
import pandas as pd
import pytest
from scipy.stats import norm

from sselib.atomsets.classifiers import (
    BLEND_MEMBERS,
    CLASSIFIERS,
    SUPERIONIC_LOG10_SIGMA,
    ClassifierSettings,
    Inputs,
    SiteInputs,
    classifier_inputs,
    make_classifier,
    possible_models,
    probability_of,
    split_probability,
)
from sselib.features.formula import formula_features, with_formula_features
from sselib.validation.splits import Split

MODELS = ("gp_sigma/environment_all_rows", "xgb_sigma/environment_all_rows")
FORMULAS = [
    f"Li{a}{m}{x}{n}" for m in ("P", "Si", "La", "Zr") for x in ("S", "O") for a, n in ((2, 3), (4, 5))
]


def sulfides_conduct() -> tuple[np.ndarray, np.ndarray]:
    """Features of the formulas, and log10(S/cm): sulfides -3, oxides -7."""
    return formula_features(FORMULAS).to_numpy(float), np.array(
        [-3.0 if "S" in f[3:] else -7 for f in FORMULAS]
    )


@pytest.mark.parametrize("name", MODELS)
def test_what_lies_above_the_limit_has_more_than_one_half(name: str) -> None:
    X, sigma = sulfides_conduct()
    p = probability_of(make_classifier(name, seed=0).fit(X, sigma), X)
    assert p.shape == (len(X),) and ((p > 0.5) == (sigma > SUPERIONIC_LOG10_SIGMA)).all()
    assert p.min() > 0 and p.max() < 1


def test_the_process_gives_the_share_of_its_spread_above_the_limit() -> None:
    X, sigma = sulfides_conduct()
    process = make_classifier(MODELS[0], seed=0).fit(X, sigma)
    far = formula_features(["Na7Tl3Br2"]).to_numpy(float)  # unlike everything in training
    mean, spread = process.predict(np.vstack([X, far]), return_spread=True)
    p = probability_of(process, np.vstack([X, far]))
    assert np.allclose(norm.ppf(p) * spread, mean - SUPERIONIC_LOG10_SIGMA, atol=1e-6)
    assert spread[-1] > spread[:-1].max()  # less sure there


@pytest.mark.parametrize("name", MODELS)
def test_they_learn_the_conductivity_and_see_no_held_out_row(name: str) -> None:
    X, sigma = sulfides_conduct()
    table = pd.DataFrame({"id": FORMULAS, "composition": FORMULAS, "log10_sigma": sigma})
    y = (sigma > SUPERIONIC_LOG10_SIGMA).astype(int)
    split = Split("kfold5", 0, 0, np.arange(12), np.arange(12, 16))

    def predicted(table: pd.DataFrame, y: np.ndarray) -> np.ndarray:
        inputs = Inputs(table, y, {"environment_all_rows": X}, {}, np.arange(16))
        return split_probability(name, inputs, split, ClassifierSettings(n_jobs=1))

    found = predicted(table, y)
    assert np.array_equal(found, predicted(table, 1 - y))  # labels are not what is learnt
    other = table.assign(log10_sigma=np.r_[sigma[:12], -sigma[12:]])
    assert np.array_equal(found, predicted(other, y))  # nor what is held out
    moved = table.assign(log10_sigma=np.r_[sigma[:12] - 4, sigma[12:]])
    assert (predicted(moved, y) < found).all()


def test_the_columns_of_the_formula_must_be_there() -> None:
    rows = pd.DataFrame(
        {"id": FORMULAS, "composition": FORMULAS, "log10_sigma": -3.0, "duplicate_group": range(16)}
    ).assign(superionic=pd.array([True, False] * 8, dtype="boolean"))
    features = pd.DataFrame({"id": FORMULAS, "x_li": 0.3, "density_g_cm3": 2.0})
    groups = pd.DataFrame(
        {"feature": ["x_li", "density_g_cm3"], "group": ["stoichiometric", "geometric"], "kim": True}
    )
    options = {"sendek": pd.DataFrame({"f": 1.0}, index=FORMULAS), "sites": SiteInputs()}
    without = classifier_inputs(rows, features=features, groups=groups, **options)
    assert possible_models(MODELS[:1], without) == []
    features, groups = with_formula_features(features, groups, rows)
    found = classifier_inputs(rows, features=features, groups=groups, **options)
    assert possible_models(MODELS[:1], found) == list(MODELS[:1])
    X = found.matrices["environment_all_rows"]
    assert X.shape == (16, formula_features(FORMULAS).shape[1] + 1)  # the density, not the element's fraction
    assert np.array_equal(X[:, :-1], formula_features(FORMULAS), equal_nan=True) and (X[:, -1] == 2).all()


def test_the_members_of_the_blend_are_models() -> None:
    assert set(BLEND_MEMBERS) <= set(CLASSIFIERS)
