"""Protocols: partitions, whole groups, determinism, stratification, leakage rule of the official split."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sselib.errors import DataError, ParameterError
from sselib.validation.splits import PROTOCOLS, fold_sizes, protocol_splits, row_groups, why_unavailable

GROUPED = ["group_doi", "group_chemsys", "group_family", "group_material"]


def make_table(n: int = 120, *, seed: int = 0) -> pd.DataFrame:
    """Return a made-up curated table with every column that a protocol reads."""
    rng = np.random.default_rng(seed)
    x = rng.integers(1, 60, n) / 100
    return pd.DataFrame(
        {
            "id": [f"obelix:{i}" for i in range(n)],
            "source": "obelix",
            "composition": [f"Li{a:.6f} O{1 - a:.6f}" for a in x],
            "log10_sigma": rng.normal(-6, 2, n),
            "censored": False,
            "doi": [f"10.1/{k}" if k else None for k in rng.integers(0, n // 4, n)],
            "chemical_system": [f"Li-X{k}" for k in rng.integers(0, 25, n)],
            "family": rng.choice(["garnet", "nasicon", "perovskite", "halide", "lgps", "other"], n),
            "duplicate_group": rng.integers(0, n // 2, n),
            "material_group": rng.integers(0, 25, n),
            "cluster": rng.integers(-1, 6, n),
            "official_split": rng.choice(["train", "test"], n, p=[0.8, 0.2]),
        }
    )


@pytest.mark.parametrize("name", [p for p in PROTOCOLS if p != "recent"])  # needs a second source
@given(n=st.integers(40, 150), seed=st.integers(0, 50))
@settings(max_examples=10, deadline=None)
def test_training_and_test_rows_never_overlap_and_lie_in_the_table(name: str, n: int, seed: int) -> None:
    table = make_table(n, seed=seed)
    for split in protocol_splits(name, table, seed=seed, repeats=3):
        assert not set(split.train) & set(split.test)
        assert len(split.train) and len(split.test)
        assert set(split.train) | set(split.test) <= set(range(n))


@pytest.mark.parametrize("name", ["kfold5", *GROUPED])
def test_every_row_is_tested_once_and_trains_otherwise(name: str) -> None:
    table = make_table()
    splits = protocol_splits(name, table)
    assert sorted(np.concatenate([s.test for s in splits])) == list(range(len(table)))
    assert all(len(s.train) + len(s.test) == len(table) for s in splits)


@pytest.mark.parametrize("name", [*GROUPED, "loco"])
def test_no_group_in_two_folds(name: str) -> None:
    table = make_table()
    groups = row_groups(name, table).to_numpy()
    tested = [set(groups[s.test]) for s in protocol_splits(name, table)]
    assert sum(map(len, tested)) == len(set.union(*tested))
    for split in protocol_splits(name, table):
        assert not set(groups[split.train]) & set(groups[split.test])


def test_loco_never_tests_rows_outside_clusters() -> None:
    table = make_table()
    splits = protocol_splits("loco", table)
    noise = set(np.flatnonzero(table["cluster"] == -1))
    assert len(splits) == 6 and noise
    assert all(noise <= set(s.train) for s in splits)


def test_stratified_test_sets_hold_a_fifth_of_each_decile() -> None:
    table = make_table(200)
    decile = pd.qcut(table["log10_sigma"], 10, labels=False).to_numpy()
    for split in protocol_splits("random_stratified", table, repeats=4):
        assert np.bincount(decile[split.test], minlength=10).tolist() == [4] * 10


@pytest.mark.parametrize("name", [p for p in PROTOCOLS if p != "recent"])  # needs a second source
def test_same_seed_same_splits(name: str) -> None:
    first, second = (protocol_splits(name, make_table(), seed=3, repeats=2) for _ in range(2))
    assert all(
        np.array_equal(a.test, b.test) and np.array_equal(a.train, b.train)
        for a, b in zip(first, second, strict=True)
    )


def test_other_seed_other_splits() -> None:
    for name in ("random_stratified", "kfold5", "group_doi"):
        first, second = (protocol_splits(name, make_table(), seed=s, repeats=1)[0].test for s in (0, 1))
        assert not np.array_equal(first, second), name


def test_official_split_drops_only_near_duplicates_of_other_sources() -> None:
    table = make_table(40)
    extra = pd.DataFrame(
        {
            "composition": [
                table.loc[table["official_split"] == "test", "composition"].iloc[0],
                "Na0.5 F0.5",
            ],
            "source": "liion",
        }
    )
    both = pd.concat([table, extra], ignore_index=True)
    (split,) = protocol_splits("obelix_official", both)
    assert 40 not in split.train and 41 in split.train
    assert set(np.flatnonzero(both["official_split"] == "train")) <= set(split.train)
    assert set(split.test) == set(np.flatnonzero(both["official_split"] == "test"))


def test_row_without_doi_joins_its_near_duplicates() -> None:
    table = pd.DataFrame({"doi": ["10.1/A", None, None, None, ""], "duplicate_group": [1, 1, 2, 2, 3]})
    groups = row_groups("group_doi", table)
    assert groups[0] == groups[1] == "10.1/a"
    assert groups[2] == groups[3] and groups.nunique() == 3


def test_unknown_protocol_names_the_nearest() -> None:
    with pytest.raises(ParameterError, match="group_family"):
        protocol_splits("group_familly", make_table())


def test_impossible_protocol_says_why() -> None:
    table = make_table().assign(official_split=None)
    assert "OBELiX is not part" in why_unavailable("obelix_official", table)
    with pytest.raises(DataError, match="OBELiX is not part"):
        protocol_splits("obelix_official", table)
    assert "3 groups cannot fill 5 folds" in why_unavailable(
        "group_family", table.assign(family=["a", "b", "c"] * 40)
    )
    assert "lacks the column doi" in why_unavailable("group_doi", table.drop(columns="doi"))


def test_fold_sizes_counts_rows() -> None:
    sizes = fold_sizes(protocol_splits("group_family", make_table()))
    assert sizes["n_test"].sum() == 120 and (sizes["n_train"] + sizes["n_test"] == 120).all()


def test_material_groups_join_near_duplicates_and_publications_in_chains() -> None:
    table = pd.DataFrame(
        {
            "doi": ["10.1/a", "10.1/b", "10.1/b", "10.1/c", None, "10.1/d"],
            "duplicate_group": [0, 0, 1, 2, 2, 3],
        }
    )
    found = row_groups("group_material", table).tolist()
    assert found[0] == found[1] == found[2]  # 0 and 1 are near-duplicates, 1 and 2 share a publication
    assert found[3] == found[4] and len(set(found)) == 3
