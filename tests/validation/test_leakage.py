"""Leakage audit of a split."""

import numpy as np
import pandas as pd
import pytest

from sselib.columns import Curated, Entry
from sselib.errors import DataError
from sselib.materials.composition import canonical, chemical_system, element_fractions
from sselib.validation.clusters import duplicate_groups
from sselib.validation.leakage import audit_protocol, audit_split
from sselib.validation.splits import Split

FORMULAS = ["Li6PS5Cl", "Li6.1PS5Cl", "Li3YCl6", "Li7La3Zr2O12", "Li3N", "Li6PS5Br"]


def table(formulas=FORMULAS, doi=("d1", "d1", "d2", None, "d3", "d1"), cluster=(0, 0, -1, 1, -1, 0)):
    fractions = element_fractions(list(formulas)).to_numpy()
    return pd.DataFrame(
        {
            Entry.ID: [f"r{k}" for k in range(len(formulas))],
            Entry.COMPOSITION: [canonical(f) for f in formulas],
            Entry.DOI: list(doi),
            Curated.CLUSTER: list(cluster),
            Curated.CHEMICAL_SYSTEM: [chemical_system(f) for f in formulas],
            Curated.DUPLICATE_GROUP: duplicate_groups(fractions),
        }
    )


def test_worked_example():
    audit = audit_split(table(), ["r0", "r2"], ["r1", "r3", "r4", "r5"]).set_index("criterion")
    assert audit.loc["within 2% in composition", "share"] == pytest.approx(1 / 4)  # r1 beside r0
    assert audit.loc["same DOI", ["share", "n"]].tolist() == pytest.approx([2 / 3, 3])  # r3 has none
    assert audit.loc["same cluster", ["share", "n"]].tolist() == pytest.approx([2 / 3, 3])  # r4 is noise
    assert audit.loc["same chemical system", "share"] == pytest.approx(1 / 4)
    assert audit.loc["same near-duplicate group", "share"] == pytest.approx(1 / 4)
    inside = (audit["ci_low"] <= audit["share"]) & (audit["share"] <= audit["ci_high"])
    assert inside.all() and (audit["ci_high"] - audit["ci_low"] > 0.3).all()


def test_wider_limits_find_more():
    formulas = ["Li6PS5Cl", "Li6.25PS5Cl"]
    audit = audit_split(table(formulas, ("a", "b"), (0, 0)), ["r0"], ["r1"]).set_index("criterion")["share"]
    assert (audit["within 2% in composition"], audit["within 5% in composition"]) == (0, 1)


def test_a_leak_that_is_planted_is_seen():
    doubled = table(FORMULAS * 2, ["d"] * 12, [0] * 12)
    audit = audit_split(doubled, [f"r{k}" for k in range(6)], [f"r{k}" for k in range(6, 12)])
    assert (audit["share"] == 1).all() and (audit["n"] == 6).all()


@pytest.mark.parametrize(
    ("train", "test", "message"),
    [
        (["r0"], [], "no id"),
        (["r0"], ["zz"], "'zz'"),
        (["r0", "r1"], ["r1"], "both sides"),
    ],
)
def test_impossible_splits(train, test, message):
    with pytest.raises(DataError, match=message):
        audit_split(table(), train, test)


def test_folds_are_pooled_and_repeats_do_not_narrow_the_interval():
    fold = [
        Split("p", 0, 0, np.array([0, 2, 3]), np.array([1, 4, 5])),
        Split("p", 0, 1, np.array([1, 4, 5]), np.array([0, 2, 3])),
    ]
    again = [Split("p", 1, s.fold, s.train, s.test) for s in fold]
    once, twice = (audit_protocol(table(), splits).set_index("criterion") for splits in (fold, fold + again))
    assert once.loc["within 2% in composition", ["share", "n"]].tolist() == pytest.approx([2 / 6, 6])
    pd.testing.assert_frame_equal(once, twice)
