"""What a compound listed twice does: tables from the same measurements, and the error that falls."""

import numpy as np
import pandas as pd
import pytest

from sselib.columns import Entry
from sselib.errors import ParameterError
from sselib.materials.composition import canonical
from sselib.regression.duplicate_rows import FOLDS, effect_of_duplicates, row_tables, same_compound
from sselib.regression.models import ModelOptions


def measured(*, copies: int) -> pd.DataFrame:
    """Return 60 compounds whose labels are noise, each listed by ``copies`` sources with the same value."""
    rng = np.random.default_rng(0)
    formulas = [f"Li{a:.2f}O{b:.2f}S{c:.2f}" for a, b, c in rng.uniform(0.5, 3, (60, 3))]
    once = pd.DataFrame(
        {
            Entry.COMPOSITION: [canonical(f) for f in formulas],
            Entry.LOG10_SIGMA: rng.normal(-6, 2, 60),
            Entry.CENSORED: False,
        }
    )
    return pd.concat([once.assign(source=f"s{k}") for k in range(copies)], ignore_index=True)


def test_tables_hold_the_same_measurements_merged_once_per_source_and_all() -> None:
    rows = pd.concat([measured(copies=2), measured(copies=1).assign(source="s0")], ignore_index=True)
    rows.loc[0, Entry.CENSORED] = True
    tables = row_tables(measured(copies=1), rows)
    assert [len(t) for t in tables.values()] == [60, 120, 179]
    assert {t["compound"].nunique() for t in tables.values()} == {60}
    assert same_compound(["Li3PS4", "Li6P2S8", "Li3PO4"]).tolist() == [1, 1, 0]


def test_a_copy_in_another_fold_makes_noise_look_learnt() -> None:
    found = effect_of_duplicates(
        row_tables(measured(copies=1), measured(copies=2)),
        models=["extra_trees/composition"],
        options=ModelOptions(n_trees=20),
        n_bootstrap=50,
    ).set_index(["rows", "folds"])
    mae = found["mae"]
    apart = mae["merged over sources", FOLDS[0]]
    assert mae["once per source", FOLDS[0]] < 0.6 * apart
    assert mae["once per source", FOLDS[1]] == pytest.approx(apart, rel=0.25)
    assert ((found["ci_low"] < mae) & (mae < found["ci_high"])).all()
    assert found["n"].to_numpy().tolist() == [60, 60, 120, 120, 120, 120]


def test_other_features_are_an_error() -> None:
    tables = row_tables(measured(copies=1), measured(copies=1))
    with pytest.raises(ParameterError, match="expected features composition or formula"):
        effect_of_duplicates(tables, models=["extra_trees/all"])
