"""Classifiers under protocols: same rows for all, nothing held out is seen, thresholds, checkpoints."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.stats import norm

from sselib.atomsets import held_out
from sselib.atomsets.classification import classification_records
from sselib.atomsets.classifiers import (
    BASELINE,
    CLASSIFIERS,
    CONTROL_CASES,
    SUITE,
    ClassifierInputs,
    ClassifierSettings,
    SiteInputs,
    Unpaired,
    class_splits,
    classifier_inputs,
    cluster_summary,
    fresh_tenth,
    inner_part,
    make_classifier,
    possible_models,
    probability_of,
    sendek_table,
    site_inputs,
    split_probability,
    structure_rows,
    unpaired_rows,
)
from sselib.atomsets.held_out import class_predictions, inner_splits
from sselib.atomsets.superionic_model import SUPERIONIC_LOG10_SIGMA
from sselib.errors import DataError, ParameterError
from sselib.features.formula import formula_features, with_formula_features
from sselib.schemas import CLASS_PREDICTIONS, validate
from sselib.validation.clusters import Clusters
from sselib.validation.splits import Split

BY_NAME = {c.name: c for c in CLASSIFIERS}
BOOSTING = BY_NAME["gradient boosting on composition and structure"]
LOGISTIC = BY_NAME["logistic regression on Sendek's features"]
NETWORK = BY_NAME["AtomSets on MEGNet V1"]
PROCESS = BY_NAME["Gaussian process on formula and structure"]
QUICK = ClassifierSettings(n_jobs=1, n_members=1, max_epochs=30, patience=10)


def some_inputs(
    *, n: int = 80, with_sets: bool = False, n_unpaired: int = 0, seed: int = 0
) -> ClassifierInputs:
    """Rows whose label is the sign of the first feature; the other four columns are noise.

    Neighbours are near-duplicates, four rows are one publication.
    """
    rng, k = np.random.default_rng(seed), np.arange(n + n_unpaired)
    X = rng.normal(size=(len(k), 5))
    y = (X[:, 0] > 0).astype(int)
    formulas = [f"Li{1 + i % 7}P{1 + i % 5}S{4 + i % 3}" for i in k]
    table = pd.DataFrame(
        {
            "id": [f"x:{i:03d}" for i in k],
            "composition": formulas,
            "family": np.where(k % 3, "garnet", "nasicon"),
            "superionic": pd.array(y.astype(bool), dtype="boolean"),
            "log10_sigma": np.where(y, -3.0, -6.0),
            "material_group": k % 20,
            "official_split": np.where(k % 4, "train", "test"),
        }
    )
    of_process = np.hstack([formula_features(formulas).to_numpy(float), X])
    names = ("composition", "composition and structure", "Sendek's features")
    matrices = dict.fromkeys(names, X[:n])
    matrices |= {"formula and structure": of_process[:n], "none": np.zeros((n, 1))}
    sets = {}
    if with_sets:
        from sselib.features.site_features import unique_sites

        sets = {"MEGNet V1": [unique_sites(np.vstack([x, x, -x / 2])) for x in X[:n]]}
    other = Unpaired(table[n:].reset_index(drop=True), of_process[n:], np.arange(n_unpaired) % n)
    return ClassifierInputs(
        table[:n], y[:n], matrices, sets, np.arange(n) // 2, other if n_unpaired else None
    )


def two_clusters(inputs: ClassifierInputs) -> dict[int, Clusters]:
    """Two clusterings of the rows: thirds and halves, the first five rows in none."""
    k = np.arange(len(inputs.y))
    found = {42: np.where(k < 5, -1, k % 3), 0: np.where(k < 5, -1, k % 2)}
    return {seed: Clusters(labels, np.zeros((len(k), 2))) for seed, labels in found.items()}


def scored(inputs: ClassifierInputs, models: list, **options: object) -> pd.DataFrame:
    """Predictions under random folds and leave-one-cluster-out."""
    splits = class_splits(["kfold5", "loco"], inputs, clusters=two_clusters(inputs), seed=0)
    found = class_predictions(inputs, splits, models=models, dataset="obelix", settings=QUICK, **options)
    return validate(found.predictions, CLASS_PREDICTIONS, what="predictions")


def test_every_row_is_predicted_once_and_models_beat_the_controls() -> None:
    inputs = some_inputs()
    table = scored(inputs, [BOOSTING, LOGISTIC])
    counts = table.groupby(["model", "features", "protocol", "repeat"]).size().unique()
    assert sorted(counts) == [75, 80]  # under loco the five rows in no cluster are not tested
    auc = {
        r["model"]: r["value"]
        for r in classification_records(table, n_bootstrap=50)
        if (r["protocol"], r["metric"]) == ("kfold5", "auc_pr")
    }
    assert auc["gradient boosting"] > 0.95 and auc["logistic regression"] > 0.95
    assert max(auc["mean"], auc["shuffled"]) < 0.75


@pytest.mark.parametrize("model", [BOOSTING, SUITE], ids=lambda c: c.model)
def test_what_is_held_out_reaches_neither_prediction_nor_threshold(model) -> None:
    inputs = some_inputs()
    split = class_splits(["kfold5"], inputs, clusters={}, seed=0)[:1]
    table = inputs.table.copy()
    table.loc[split[0].test, "log10_sigma"] *= 2
    flipped = replace(inputs, y=inputs.y.copy(), table=table)
    flipped.y[split[0].test] = 1 - flipped.y[split[0].test]
    found = [
        class_predictions(i, split, models=[model], dataset="obelix", settings=QUICK)
        for i in (inputs, flipped)
    ]
    own = [f.predictions.loc[f.predictions["model"] == model.model, "p_superionic"] for f in found]
    assert np.array_equal(*own) and found[0].thresholds.equals(found[1].thresholds)


def test_loco_holds_each_cluster_out_once_per_clustering() -> None:
    inputs = some_inputs()
    splits = class_splits(["loco"], inputs, clusters=two_clusters(inputs), seed=0)
    assert [(s.repeat, s.fold) for s in splits] == [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1)]
    for s in splits:
        assert set(range(5)) <= set(s.train) and not set(s.train) & set(s.test)


def test_atomsets_learns_from_sites() -> None:
    pytest.importorskip("torch")
    table = scored(some_inputs(with_sets=True), [NETWORK])
    rows = table[(table["model"] == "AtomSets") & (table["protocol"] == "kfold5")]
    assert np.mean((rows["p_superionic"] > 0.5) == rows["superionic"]) > 0.7


def test_the_chosen_threshold_lies_at_one_half_and_keeps_the_order() -> None:
    inputs = some_inputs()
    splits = class_splits(["kfold5"], inputs, clusters={}, seed=0)
    found = class_predictions(inputs, splits, models=[PROCESS, SUITE], dataset="x", settings=QUICK)
    wide = found.predictions.pivot_table(index=["fold", "id"], columns="model", values="p_superionic")
    for fold, rows in wide.groupby("fold"):
        limit = found.thresholds.set_index("fold")["limit"][fold]
        assert ((rows[PROCESS.model] >= limit) == (rows[SUITE.model] >= 0.5)).all()
        assert (rows[PROCESS.model].rank() == rows[SUITE.model].rank()).all()


@pytest.mark.parametrize("protocol", ["loco", "group_material", "group_family", "obelix_official", "kfold5"])
def test_inner_folds_lie_in_the_training_part_and_keep_groups_whole(protocol: str) -> None:
    inputs = some_inputs()
    labels = np.where(np.arange(80) < 6, -1, np.arange(80) % 4)
    test = np.flatnonzero(labels == 2)
    if protocol == "group_family":
        test = np.flatnonzero(inputs.table["family"] == "nasicon")[:10]
    outer = Split(protocol, 0, 2, np.setdiff1d(np.arange(80), test), test)
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
    inputs = some_inputs(n_unpaired=24)
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


def test_the_process_learns_from_rows_without_a_structure_too() -> None:
    inputs = some_inputs(n_unpaired=24)
    split = Split("loco", 0, 0, np.arange(40), np.arange(40, 80))
    alone = split_probability(PROCESS, replace(inputs, unpaired=None), split, QUICK)
    assert not np.allclose(alone, split_probability(PROCESS, inputs, split, QUICK))
    p, q = (split_probability(BOOSTING, i, split, QUICK) for i in (inputs, replace(inputs, unpaired=None)))
    assert np.array_equal(p, q)


def test_the_process_gives_the_share_of_its_distribution_above_the_limit() -> None:
    formulas = [f"Li{a}{m}{x}{n}" for m in ("P", "La") for x in ("S", "O") for a, n in ((2, 3), (4, 5))]
    X = formula_features(formulas).to_numpy(float)
    sigma = np.array([-3.0 if "S" in f[3:] else -7 for f in formulas])
    process = make_classifier(PROCESS, seed=0).fit(X, sigma)
    far = formula_features(["Na7Tl3Br2"]).to_numpy(float)  # unlike everything in training
    mean, spread = process.predict(np.vstack([X, far]), return_spread=True)
    p = probability_of(process, np.vstack([X, far]))
    assert np.allclose(norm.ppf(p) * spread, mean - SUPERIONIC_LOG10_SIGMA, atol=1e-6)
    assert ((p[:-1] > 0.5) == (sigma > SUPERIONIC_LOG10_SIGMA)).all() and spread[-1] > spread[:-1].max()


def test_checkpoints_are_read_back_and_follow_the_data(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inputs = some_inputs()
    first = scored(inputs, [LOGISTIC], parts=tmp_path)
    n_files = len(list(tmp_path.rglob("*.npz")))
    scored(some_inputs(seed=1), [LOGISTIC], parts=tmp_path)
    assert len(list(tmp_path.rglob("*.npz"))) == 2 * n_files
    monkeypatch.setattr(held_out, "split_probability", None)  # nothing may be computed again
    assert first.equals(scored(inputs, [LOGISTIC], parts=tmp_path))


def test_the_fresh_tenth_is_a_tenth_and_always_the_same() -> None:
    split = fresh_tenth(321)
    assert len(split.test) == 33 and len(split.train) == 288
    assert split.test[:3].tolist() == fresh_tenth(321).test[:3].tolist()


@pytest.mark.filterwarnings("ignore:The least populated class")
def test_the_stopping_part_has_both_classes_and_whole_groups() -> None:
    inputs = some_inputs()
    inner = inner_part(inputs.y, inputs.duplicates, seed=3)
    assert len(set(inputs.y[inner])) == len(set(inputs.y[~inner])) == 2
    assert not set(inputs.duplicates[inner]) & set(inputs.duplicates[~inner])
    with pytest.raises(DataError, match="cannot be divided"):
        inner_part(np.array([0, 0, 0, 1]), np.array([0, 0, 1, 1]), seed=0)


def test_without_a_parent_the_models_on_site_features_are_left_out() -> None:
    none = site_inputs({}, parent="", representation="CAMN")
    assert not none.sets and "no parent model" in none.why_missing
    assert possible_models([BASELINE.name, NETWORK.name], some_inputs()) == [BASELINE]
    assert NETWORK in possible_models([], some_inputs(with_sets=True))
    with pytest.raises(ParameterError, match="Did you mean 'AtomSets on MEGNet V1'"):
        possible_models(["AtomSet on MEGNet V1"], some_inputs())


def test_no_two_classifiers_share_a_name() -> None:
    assert len({c.name for c in (*CLASSIFIERS, *CONTROL_CASES)}) == len(CLASSIFIERS) + len(CONTROL_CASES)


def test_rows_without_a_structure_or_a_label_are_left_out() -> None:
    table = pd.DataFrame(
        {"id": list("abcd"), "structure_id": ["s", None, "s", "s"], "superionic": [True, False, None, False]}
    ).astype({"superionic": "boolean"})
    structures = pd.DataFrame({"structure_id": ["s"], "structure_json": ["{}"]})
    assert list(structure_rows(table, structures)["id"]) == ["a", "d"]
    with pytest.raises(DataError, match="needs both classes"):
        structure_rows(table.iloc[:1], structures)


def test_a_row_that_one_model_cannot_use_is_left_out_for_all() -> None:
    rows = some_inputs(n=4).table.assign(duplicate_group=[0, 1, 2, 3])
    ids = list(rows["id"])
    features = pd.DataFrame({"id": ids, "x_li": [0.1, 0.2, 0.3, 0.4], "density_g_cm3": 2.0})
    groups = pd.DataFrame(
        {"feature": ["x_li", "density_g_cm3"], "group": ["stoichiometric", "geometric"], "kim": True}
    )
    features, groups = with_formula_features(features, groups, rows)
    found = classifier_inputs(
        rows,
        features=features,
        groups=groups,
        sendek=pd.DataFrame({"f": 1.0}, index=ids[1:]),
        sites=SiteInputs(rejects=pd.DataFrame({"id": [ids[1]], "reason": ["x"]})),
        labelled=rows,
    )
    assert list(found.table["id"]) == ids[2:]
    assert found.matrices["composition"].ravel().tolist() == [0.3, 0.4]
    X = found.matrices["formula and structure"]
    known = formula_features(list(found.table["composition"]))
    assert X.shape == (2, known.shape[1] + 1) and (X[:, -1] == 2).all()  # the density, not the fraction
    assert list(found.unpaired.table["id"]) == ids[:2]


def test_an_odd_structure_is_a_reject_of_the_sendek_table() -> None:
    values, rejects = sendek_table({"a": None})
    assert values.empty and rejects["id"].tolist() == ["a"] and rejects["reason"][0]


def test_cluster_summary_counts_rows_and_shares() -> None:
    inputs = some_inputs()
    labels = two_clusters(inputs)[42].labels
    found = cluster_summary(inputs.table, labels)
    assert found["rows"].sum() == (labels >= 0).sum() and (found["median_l1_to_training"] >= 0).all()
    shares = [inputs.y[labels == c].mean() for c in (0, 1, 2)]
    assert np.allclose(found["share_superionic"], shares)
