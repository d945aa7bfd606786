"""The chosen blend: nothing held out reaches it, inner folds follow the protocol, thresholds move to 0.5."""

import numpy as np
import pandas as pd
import pytest

from sselib.atomsets import chosen_blend, classifiers, held_out
from sselib.atomsets.chosen_blend import choose_and_predict, inner_splits
from sselib.atomsets.classifiers import (
    CHOSEN,
    ClassifierSettings,
    Inputs,
    Unpaired,
    class_splits,
    fresh_tenth,
    unpaired_rows,
)
from sselib.atomsets.held_out import class_predictions
from sselib.validation.clusters import Clusters
from sselib.validation.splits import Split

NAMES = ("extra_trees/lattice_all_rows", "xgb/elements_all_rows")
SETTINGS = ClassifierSettings(n_jobs=1, blended=NAMES)


@pytest.fixture(autouse=True)
def few_trees(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small forests, so that the tests take seconds."""
    monkeypatch.setattr(classifiers, "N_TREES", 20)
    monkeypatch.setitem(classifiers.XGB_SETTINGS, "n_estimators", 30)


def some_inputs(*, n: int = 72, n_unpaired: int = 24, seed: int = 0) -> Inputs:
    """Rows whose label is the sign of the first feature of ``lattice``; ``elements`` is noise."""
    rng = np.random.default_rng(seed)
    X, noise = rng.normal(size=(2, n + n_unpaired, 4))
    y = (X[:, 0] > 0.8).astype(int)
    k = np.arange(n + n_unpaired)
    table = pd.DataFrame(
        {
            "id": [f"x:{i:03d}" for i in k],
            "composition": [f"Li{1 + i % 9}P{1 + i % 7}S{1 + i % 11}" for i in k],
            "log10_sigma": np.where(y, -3.0, -6.0),
            "superionic": pd.array(y.astype(bool), dtype="boolean"),
            "material_group": k % 18,
            "family": np.where(k % 3, "garnet", "nasicon"),
            "official_split": np.where(k % 4, "train", "test"),
        }
    )
    matrices = {"lattice_all_rows": X, "elements_all_rows": noise, "composition": X, "all": X}
    own = {name: values[:n] for name, values in matrices.items()}
    other = Unpaired(
        table[n:].reset_index(drop=True),
        y[n:],
        {name: values[n:] for name, values in matrices.items()},
        nearest=np.arange(n_unpaired) % n,
    )
    return Inputs(
        table[:n], y[:n], own | {"none": np.zeros((n, 1))}, {}, np.arange(n), other if n_unpaired else None
    )


def clusters(inputs: Inputs) -> dict[int, Clusters]:
    labels = np.where(np.arange(len(inputs.y)) < 6, -1, np.arange(len(inputs.y)) % 4)
    return {0: Clusters(labels, np.zeros((len(labels), 2)))}


def test_the_informative_member_is_chosen_and_the_threshold_lies_at_one_half() -> None:
    inputs = some_inputs()
    splits = class_splits(["kfold5"], inputs, clusters={}, seed=0)
    found = choose_and_predict(inputs, splits, SETTINGS)
    assert all(NAMES[0] in choice.members for _, choice in found)
    calls = np.concatenate([p > 0.5 for p, _ in found])
    truth = np.concatenate([inputs.y[s.test] for s in splits])
    assert np.mean(calls == truth) > 0.9


def test_processes_and_threads_give_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    inputs = some_inputs()
    splits = class_splits(["kfold5"], inputs, clusters={}, seed=0)[:2]
    names = ("logistic/lattice_all_rows", "logistic/elements_all_rows")
    settings = ClassifierSettings(n_jobs=2, blended=names)
    threads = choose_and_predict(inputs, splits, settings)
    monkeypatch.setattr(chosen_blend, "_MANY_FITS", 0)
    for one, other in zip(threads, choose_and_predict(inputs, splits, settings), strict=True):
        assert np.array_equal(one[0], other[0]) and one[1] == other[1]


def test_held_out_labels_reach_neither_choice_nor_prediction() -> None:
    inputs = some_inputs()
    split = class_splits(["loco"], inputs, clusters=clusters(inputs), seed=0)[:1]
    other = some_inputs()
    other.y[split[0].test] = 1 - other.y[split[0].test]
    other.table.loc[split[0].test, "log10_sigma"] = 0.0
    first, second = (choose_and_predict(i, split, SETTINGS)[0] for i in (inputs, other))
    assert np.array_equal(first[0], second[0]) and first[1] == second[1]


@pytest.mark.parametrize("protocol", ["loco", "group_material", "group_family", "obelix_official", "kfold5"])
def test_inner_folds_lie_in_the_training_part_and_keep_groups_whole(protocol: str) -> None:
    inputs = some_inputs()
    labels = clusters(inputs)[0].labels
    if protocol == "group_family":
        test = np.flatnonzero(inputs.table["family"] == "nasicon")[:10]
    else:
        test = np.flatnonzero(labels == 2)
    outer = Split(protocol, 0, 2, np.setdiff1d(np.arange(len(labels)), test), test)
    inner = inner_splits(inputs, outer, labels)
    assert inner
    for s in inner:
        assert not set(s.test) & set(s.train)
        assert set(s.test) | set(s.train) <= set(outer.train)
        if protocol == "loco":
            assert -1 not in labels[s.test] and not set(labels[s.test]) & set(labels[s.train])
        elif protocol != "kfold5":
            name = "family" if protocol == "group_family" else "material_group"
            groups = inputs.table[name].to_numpy()
            assert not set(groups[s.test]) & set(groups[s.train])


def test_rows_without_a_structure_never_share_what_the_protocol_holds_out() -> None:
    inputs = some_inputs()
    test = np.flatnonzero(inputs.table["material_group"] < 4)
    train = np.setdiff1d(np.arange(len(inputs.y)), test)
    kept = unpaired_rows(inputs, Split("group_material", 0, 0, train, test))
    assert len(kept) and (inputs.unpaired.table["material_group"].iloc[kept] >= 4).all()
    inner = unpaired_rows(inputs, Split("group_material", 0, 0, train[:-10], train[-10:]))
    gone = set(inputs.table["material_group"].iloc[np.r_[test, train[-10:]]])
    assert not set(inputs.unpaired.table["material_group"].iloc[inner]) & gone
    official = unpaired_rows(inputs, Split("obelix_official", 0, 0, train, test))
    assert (inputs.unpaired.table["official_split"].iloc[official] == "train").all()
    same = unpaired_rows(inputs, Split("loco", 0, 0, np.arange(0), np.arange(len(inputs.y))))
    assert len(same) == 0  # every row is nearest to a held-out one


def test_centring_moves_the_limit_to_the_mean_logit_and_keeps_the_order() -> None:
    p = np.array([0.02, 0.05, 0.03, 0.3, 0.4])
    found = held_out.centred(p)
    assert (np.argsort(found) == np.argsort(p)).all()
    assert (found >= 0.5).tolist() == [False, False, False, True, True]
    odds, moved = p / (1 - p), found / (1 - found)
    assert np.allclose(odds / moved, (odds / moved)[0])  # one shift of the logit for all
    assert np.isclose(np.log(moved).mean(), 0)
    assert np.isfinite(held_out.centred(np.array([0.0, 1.0, 1.0]))).all()


def test_the_centred_blend_has_the_ranks_of_the_chosen_one_in_every_fold() -> None:
    inputs = some_inputs(n_unpaired=0)
    splits = class_splits(["loco"], inputs, clusters=clusters(inputs), seed=0)
    names = [CHOSEN, classifiers.CENTRED]
    table = class_predictions(inputs, splits, models=names, dataset="x", settings=SETTINGS)
    wide = table.pivot_table(index=["fold", "id"], columns="features", values="p_superionic")
    for _, rows in wide.groupby("fold"):
        assert (rows["chosen"].rank() == rows["centred"].rank()).all()
    only = class_predictions(inputs, splits, models=names[1:], dataset="x", settings=SETTINGS)
    assert set(only[only["model"] == "blend"]["features"]) == {"centred"}


def test_the_fresh_tenth_is_a_tenth_and_always_the_same() -> None:
    split = fresh_tenth(321)
    assert len(split.test) == 33 and len(split.train) == 288
    assert split.test[:3].tolist() == fresh_tenth(321).test[:3].tolist()


def test_the_blend_takes_part_beside_the_controls() -> None:
    inputs = some_inputs(n_unpaired=0)
    splits = class_splits(["kfold5", "fresh_tenth"], inputs, clusters={}, seed=0)
    table = class_predictions(inputs, splits, models=[CHOSEN], dataset="x", settings=SETTINGS)
    assert table.groupby(["model", "protocol"]).size()["blend", "fresh_tenth"] == 8
