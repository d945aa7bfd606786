"""Where a model errs: classes, and whether its doubt ranks its errors."""

import numpy as np
import pandas as pd
import pytest

from sselib.plots.models import class_points, width_curves
from sselib.regression.residuals import (
    CLASSES,
    binned_by_width,
    class_errors,
    interval_widths,
    rank_of_width,
    structure_gain,
)


def predictions(n: int = 60, *, seed: int = 0) -> pd.DataFrame:
    """Return two models under one protocol; the width of the first grows with its error."""
    rng = np.random.default_rng(seed)
    y, error = rng.uniform(-9, -2, n), np.linspace(0.1, 2, n)
    frames = [
        pd.DataFrame({"model": model, "y_pred": y + scale * error, "lower": y - error, "upper": y + error})
        for model, scale in (("routed", 1.0), ("gp", 3.0))
    ]
    place = {"dataset": "made-up", "features": "formula", "protocol": "group_doi", "repeat": 0, "fold": 0}
    shared = {"id": [f"m:{k}" for k in range(n)], "y_true": y, "censored": np.arange(n) % 10 == 0}
    return pd.concat([f.assign(**shared, **place, p_superionic=np.nan) for f in frames], ignore_index=True)


@pytest.fixture
def groups() -> dict[str, pd.Series]:
    return {"group_doi": pd.Series({f"m:{k}": f"doi {k // 3}" for k in range(60)})}


def test_classes_share_all_rows_and_an_undecided_one_belongs_to_none(groups: dict) -> None:
    found = predictions()
    first = found[found["model"] == "routed"]
    limits = [-6.0, -4.0, -3.0]
    names = np.array(CLASSES)[np.digitize(first["y_true"], limits)]
    table = pd.DataFrame({"id": first["id"], "conductivity_class": names})
    table.loc[0, "conductivity_class"] = "undecided"
    errors = class_errors(found, table, groups=groups, n_bootstrap=50)
    own = errors[errors["model"] == "routed"]
    assert own["n"].sum() == len(first) - 1
    assert own["conductivity_class"].tolist() == [c for c in CLASSES if c in set(names)]
    mean = (own["value"] * own["n"]).sum() / own["n"].sum()
    assert mean == pytest.approx((first["y_pred"] - first["y_true"]).abs().iloc[1:].mean())
    assert np.allclose(own["bias"], own["value"])  # made too high everywhere
    assert (own["ci_low"] <= own["value"]).all() and (own["value"] <= own["ci_high"]).all()
    drawn = class_points(errors, protocols=["group_doi"])
    assert {t.name for t in drawn.data} == {"routed, formula", "gp, formula"}


def test_a_width_that_follows_the_error_ranks_it(groups: dict) -> None:
    found = interval_widths(predictions().query("model == 'routed'"))
    assert len(found) == 54  # bounds are left out
    rank = rank_of_width(found, groups=groups, n_bootstrap=50)
    assert np.allclose(rank[["srcc", "ci_low", "ci_high"]], 1)
    binned = binned_by_width(found, groups=groups, n_bootstrap=50)
    assert binned["n"].sum() == 54 and binned["value"].is_monotonic_increasing
    assert len(width_curves(binned).data) == 1


def test_a_width_without_meaning_does_not(groups: dict) -> None:
    shuffled = predictions().query("model == 'routed'")
    rng = np.random.default_rng(1)
    shuffled[["lower", "upper"]] = shuffled[["lower", "upper"]].to_numpy()[rng.permutation(len(shuffled))]
    rank = rank_of_width(interval_widths(shuffled), groups=groups, n_bootstrap=200)
    assert rank.loc[0, "ci_low"] < 0.3


def test_what_a_structure_adds_is_judged_on_rows_with_a_structure() -> None:
    ids = [f"m:{k}" for k in range(6)]
    table = pd.DataFrame({"id": ids, "structure_id": ["s0", "s1", "s2", None, None, None]})
    structures = pd.DataFrame({"structure_id": ["s0", "s1", "s2"]})
    place = {"dataset": "made-up", "model": "routed", "protocol": "kfold5", "repeat": 0, "fold": 0}
    one = pd.DataFrame({"id": ids, "y_pred": [-6.0, -6.0, -6.0, 0.0, 0.0, 0.0]}).assign(
        **place, features="formula", y_true=-5.0, censored=False, lower=-7.0, upper=-4.0
    )
    both = pd.concat([one, one.assign(features="formula_environment", y_pred=-5.5)])
    found = structure_gain(both, table, structures=structures, groups={}, n_bootstrap=20)
    assert found["n"].tolist() == [3, 3]
    assert found["mae_bound"].str[:4].tolist() == ["1.00", "0.50"]
    assert found["change"].str[:5].tolist()[1] == "-0.50"
    assert structure_gain(both, table, structures=structures[:0], groups={}, n_bootstrap=20).empty
