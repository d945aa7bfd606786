"""Coverage of features, their correlation with conductivity, and the figures of notebook 03."""

import numpy as np
import pandas as pd
import pytest

from sselib.features import checks
from sselib.plots import features as draw

GROUPS = pd.DataFrame(
    {
        "feature": ["fraction_Li", "poav_cm3_g", "largest_free_sphere_angstrom"],
        "group": ["stoichiometric", "geometric", "pores"],
        "kim": [True, True, False],
        "unit": ["1", "cm3/g", "Angstrom"],
        "description": ["x", "y", "z"],
    }
)


def table(n: int = 60) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return curated rows whose conductivity grows with the first feature, and features."""
    rng = np.random.default_rng(0)
    x = rng.random(n)
    curated = pd.DataFrame(
        {
            "id": [f"t:{i}" for i in range(n)],
            "formula": "Li2O",
            "log10_sigma": x**3 - 8,
            "censored": [i % 5 == 0 for i in range(n)],
            "duplicate_group": np.arange(n) // 2,
        }
    )
    features = pd.DataFrame(
        {
            "id": curated["id"],
            "fraction_Li": x,
            "poav_cm3_g": rng.random(n),
            "largest_free_sphere_angstrom": np.where(np.arange(n) < 10, 1.0, np.nan),
        }
    )
    return curated, features


def test_rank_correlation_of_a_monotonic_feature_is_one():
    curated, features = table()
    found = checks.rank_correlations(curated, features, GROUPS, n_bootstrap=50).set_index("feature")
    assert found.loc["fraction_Li", ["rho", "ci_low", "ci_high"]].tolist() == pytest.approx([1, 1, 1])
    other = found.loc["poav_cm3_g"]
    assert other["ci_low"] < other["rho"] < other["ci_high"]
    assert "largest_free_sphere_angstrom" not in found.index  # ten rows are too few


def test_copies_of_rows_do_not_narrow_the_interval():
    """Drawing groups of near-duplicates: five copies of each row leave the width as it was."""
    curated, features = table()
    curated["duplicate_group"] = np.arange(len(curated))
    copies = [pd.concat([t] * 5, ignore_index=True) for t in (curated, features)]
    widths = [
        checks.rank_correlations(c, f, GROUPS, n_bootstrap=300).set_index("feature").loc["poav_cm3_g"]
        for c, f in ((curated, features), copies)
    ]
    once, often = (w["ci_high"] - w["ci_low"] for w in widths)
    assert often == pytest.approx(once, rel=0.05)


def test_coverage_by_group_and_family():
    _, features = table()
    found = checks.coverage(features, GROUPS).set_index("group")["share"]
    assert found.to_dict() == pytest.approx({"stoichiometric": 1.0, "geometric": 1.0, "pores": 10 / 60})
    families = pd.Series(["a"] * 10 + [None] * 50)
    split = checks.coverage(features, GROUPS, by=families).set_index(["group", "by"])["share"]
    assert split["pores", "a"] == 1.0
    assert split["pores", "unknown"] == 0.0


def test_figures_show_every_row_that_has_a_value():
    curated, features = table()
    figure, data = draw.against_conductivity(curated, features, GROUPS, ["poav_cm3_g"])
    assert sum(len(trace.x) for trace in figure.data) == len(data) == 60
    figure, _ = draw.distributions(features, GROUPS, ["poav_cm3_g", "largest_free_sphere_angstrom"])
    assert [a.text for a in figure.layout.annotations] == ["n = 60", "n = 10"]
    assert draw.axis_title("poav_cm3_g", "cm3/g") == "POAV per gram (cm<sup>3</sup> g<sup>−1</sup>)"
