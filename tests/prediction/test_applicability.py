"""The domain of a model: distances, elements, and what the nearest compound says."""

import numpy as np
import pandas as pd
import pytest

from sselib.errors import RunError
from sselib.materials.composition import element_fractions
from sselib.prediction.applicability import judge, nearest_other, training_space

TRAINING = pd.DataFrame(
    [
        ("a", "Li6PS5Cl", -2.5, False),
        ("b", "Li12P2S10Cl2", -3.5, True),
        ("c", "Li6PS5Br", -3.0, False),
        ("d", "Li3PS4", -4.0, False),
        ("e", "Li2S", -10.0, True),
    ],
    columns=["id", "formula", "log10_sigma", "censored"],
)


def judged(*formulas: str) -> pd.DataFrame:
    return judge(training_space(TRAINING), element_fractions(formulas).to_numpy())


def test_threshold_is_the_quantile_of_leave_one_out_distances_of_distinct_compositions() -> None:
    fractions = element_fractions(["Li6PS5Cl", "Li6PS5Br", "Li3PS4", "Li2S"]).to_numpy()
    loop = [
        min(np.abs(a - b).sum() for j, b in enumerate(fractions) if j != i) for i, a in enumerate(fractions)
    ]
    assert nearest_other(fractions) == pytest.approx(loop)
    assert training_space(TRAINING).threshold_l1 == pytest.approx(np.quantile(loop, 0.95))
    assert training_space(TRAINING, quantile=0.5).threshold_l1 == pytest.approx(np.median(loop))


def test_a_training_composition_is_its_own_nearest_however_it_is_written() -> None:
    found = judged("Li6PS5Cl", "Cl3S15P3Li18")
    assert found["d_composition"].tolist() == pytest.approx([0, 0], abs=1e-9)
    assert found["in_domain"].all() and found["measured"].all()
    assert found["nearest"][0].startswith("Li6PS5Cl: log10 sigma -3.50 to -2.50, 2 entries, 1 of them upper")


def test_distance_is_that_of_a_loop_and_names_the_value() -> None:
    found = judged("Li2S0.9Se0.1")
    expected = 2 * 0.1 / 3
    assert found["d_composition"][0] == pytest.approx(expected)
    assert found["nearest"][0] == f"Li2S: log10 sigma <= -10.00 (L1 {expected:.3f})"
    assert not found["measured"][0]


def test_an_element_never_seen_is_out_of_the_domain_however_little_there_is() -> None:
    found = judged("Li6PS5Cl0.999U0.001", "Li6PS5Cl0.999Br0.001")
    assert found["in_domain"].tolist() == [False, True] and found["unseen"].tolist() == ["U", ""]


def test_what_is_far_is_out_of_the_domain() -> None:
    assert judged("LiCl", "Li6PS5Cl0.9Br0.1")["in_domain"].tolist() == [False, True]


def test_a_training_table_that_cannot_serve_says_so() -> None:
    with pytest.raises(RunError, match="lacks censored"):
        training_space(TRAINING.drop(columns="censored"))
    with pytest.raises(RunError, match="at least two"):
        training_space(TRAINING.head(2))
