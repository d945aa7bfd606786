"""Coverage, convergence, invariance and correlations of features, and the figures of notebook 03."""

import numpy as np
import pandas as pd
import pytest
from pymatgen.core import Lattice, Structure

from sselib.features import checks
from sselib.features.pores import PoreSettings
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


@pytest.fixture(scope="module")
def structures() -> dict[str, Structure]:
    layered = Structure(
        Lattice.orthorhombic(3.4, 4.1, 7.0),
        ["O", "S", "Li"],
        [[0.1, 0.2, 0.1], [0.6, 0.7, 0.3], [0.4, 0.1, 0.7]],
    )
    return {"layered": layered, "cubic": Structure(Lattice.cubic(4), ["O"], [[0, 0, 0]])}


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


def test_convergence_ends_at_the_finest_spacing(structures):
    found = checks.volume_convergence(structures, PoreSettings(), spacings_angstrom=[0.2, 0.4, 0.15])
    last = found[found["spacing_angstrom"] == 0.15]
    assert (last["difference"] == 0).all()
    assert len(found) == 6
    assert checks.grid_difference(found, 0.2) < 0.05


def test_test_structures_have_unequal_axes_where_there_are_some(structures):
    assert list(checks.small_structures(structures, n=2)) == ["layered"]
    assert list(checks.small_structures({"cubic": structures["cubic"]}, n=2)) == ["cubic"]


def test_invariance_finds_what_changes_and_what_does_not(structures):
    found = checks.invariance({"layered": structures["layered"]}, PoreSettings())
    assert checks.largest_invariant_change(found) < 0.01
    labels = found[found["kind"] == "a, b, c"].set_index("rewriting")["change"]
    assert labels["axis labels"] > 0.4
    assert labels["origin"] == pytest.approx(0, abs=1e-9)


def test_a_value_that_vanishes_is_an_infinite_change():
    assert checks._largest_change({"x": 1.0, "y": 2.0}, {"x": 1.0}, ["x", "y"]) == ("y", np.inf)


def test_figures_show_every_row_that_has_a_value():
    curated, features = table()
    figure, data = draw.against_conductivity(curated, features, GROUPS, ["poav_cm3_g"])
    assert sum(len(trace.x) for trace in figure.data) == len(data) == 60
    figure, _ = draw.distributions(features, GROUPS, ["poav_cm3_g", "largest_free_sphere_angstrom"])
    assert [a.text for a in figure.layout.annotations] == ["n = 60", "n = 10"]
    assert draw.axis_title("poav_cm3_g", "cm3/g") == "POAV per gram (cm<sup>3</sup> g<sup>−1</sup>)"
