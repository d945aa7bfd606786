"""Classifiers under protocols: same rows for all, nothing held out is seen, controls, checkpoints."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from sselib.atomsets import classifiers, held_out
from sselib.atomsets.classification import classification_records
from sselib.atomsets.classifiers import (
    BLEND,
    CONTROLS,
    ClassifierSettings,
    Inputs,
    SiteInputs,
    class_splits,
    classifier_inputs,
    cluster_summary,
    inner_part,
    possible_models,
    sendek_table,
    site_inputs,
    structure_rows,
)
from sselib.atomsets.held_out import class_predictions
from sselib.errors import DataError, ParameterError
from sselib.schemas import CLASS_PREDICTIONS, validate
from sselib.validation.clusters import Clusters

QUICK = ClassifierSettings(n_jobs=1, n_members=1, max_epochs=30, patience=10)


def some_inputs(*, n: int = 80, with_sets: bool = False, seed: int = 0) -> Inputs:
    """Rows whose label is the sign of the first feature; the other four columns are noise."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, 5))
    y = (X[:, 0] > 0).astype(int)
    formulas = [f"Li{1 + k % 7}P{1 + k % 5}S{4 + k % 3}" for k in range(n)]
    table = pd.DataFrame(
        {
            "id": [f"x:{k:03d}" for k in range(n)],
            "composition": formulas,
            "family": np.where(np.arange(n) % 3, "garnet", "nasicon"),
            "superionic": pd.array(y.astype(bool), dtype="boolean"),
            "log10_sigma": np.where(y, -3.0, -6.0),
        }
    )
    matrices = dict.fromkeys(("composition", "all", "sendek", "pooled_v1"), X)
    sets = {}
    if with_sets:
        from sselib.features.site_features import unique_sites

        sets = {name: [unique_sites(np.vstack([x, x, -x / 2])) for x in X] for name in classifiers.LAYERS_OF}
    return Inputs(table, y, matrices | {"none": np.zeros((n, 1))}, sets, np.arange(n) // 2)


def two_clusters(inputs: Inputs) -> dict[int, Clusters]:
    """Two clusterings of the rows: thirds and halves, the first five rows in none."""
    k = np.arange(len(inputs.y))
    found = {42: np.where(k < 5, -1, k % 3), 0: np.where(k < 5, -1, k % 2)}
    return {seed: Clusters(labels, np.zeros((len(k), 2))) for seed, labels in found.items()}


def scored(inputs: Inputs, models: list[str], **options: object) -> pd.DataFrame:
    """Predictions under random folds and leave-one-cluster-out."""
    splits = class_splits(["kfold5", "loco"], inputs, clusters=two_clusters(inputs), seed=0)
    table = class_predictions(inputs, splits, models=models, dataset="obelix", settings=QUICK, **options)
    return validate(table, CLASS_PREDICTIONS, what="predictions")


def test_every_row_is_predicted_once_and_models_beat_the_controls() -> None:
    inputs = some_inputs()
    table = scored(inputs, ["xgb/all", "logistic/sendek"])
    counts = table.groupby(["model", "features", "protocol", "repeat"]).size().unique()
    assert sorted(counts) == [75, 80]  # under loco the five rows in no cluster are not tested
    auc = {
        r["model"]: r["value"]
        for r in classification_records(table, controls=CONTROLS, n_bootstrap=50)
        if (r["protocol"], r["metric"]) == ("kfold5", "auc_pr")
    }
    assert auc["xgb"] > 0.95 and auc["logistic"] > 0.95
    assert max(auc["mean"], auc["shuffled"]) < 0.75


def test_the_label_of_a_held_out_row_does_not_reach_its_prediction() -> None:
    inputs = some_inputs()
    flipped = Inputs(inputs.table, inputs.y.copy(), inputs.matrices, inputs.sets, inputs.duplicates)
    split = class_splits(["kfold5"], inputs, clusters={}, seed=0)[:1]
    flipped.y[split[0].test] = 1 - flipped.y[split[0].test]
    found = [
        class_predictions(i, split, models=["xgb/all"], dataset="obelix", settings=QUICK)["p_superionic"]
        for i in (inputs, flipped)
    ]
    assert np.array_equal(*found)


def test_loco_holds_each_cluster_out_once_per_clustering() -> None:
    inputs = some_inputs()
    splits = class_splits(["loco"], inputs, clusters=two_clusters(inputs), seed=0)
    assert [(s.repeat, s.fold) for s in splits] == [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1)]
    for s in splits:
        assert set(range(5)) <= set(s.train) and not set(s.train) & set(s.test)


def test_atomsets_and_the_blend() -> None:
    pytest.importorskip("torch")
    table = scored(some_inputs(with_sets=True), [BLEND, "xgb/all", "atomsets/v0123_occupancy"])
    wide = table.assign(name=table["model"] + "/" + table["features"]).pivot_table(
        index=["protocol", "repeat", "id"], columns="name", values="p_superionic"
    )
    assert np.allclose(wide[BLEND], (wide["xgb/all"] + wide["atomsets/v0123_occupancy"]) / 2)
    rows = table[(table["model"] == "atomsets") & (table["protocol"] == "kfold5")]
    assert np.mean((rows["p_superionic"] > 0.5) == rows["superionic"]) > 0.7


def test_checkpoints_are_read_back_and_follow_the_data(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inputs = some_inputs()
    first = scored(inputs, ["xgb/all"], parts=tmp_path)
    n_files = len(list(tmp_path.glob("*.npz")))
    scored(some_inputs(seed=1), ["xgb/all"], parts=tmp_path)
    assert len(list(tmp_path.glob("*.npz"))) == 2 * n_files
    monkeypatch.setattr(held_out, "_probabilities", None)  # nothing may be computed again
    assert first.equals(scored(inputs, ["xgb/all"], parts=tmp_path))


@pytest.mark.filterwarnings("ignore:The least populated class")
def test_the_stopping_part_has_both_classes_and_whole_groups() -> None:
    inputs = some_inputs()
    inner = inner_part(inputs.y, inputs.duplicates, seed=3)
    assert len(set(inputs.y[inner])) == len(set(inputs.y[~inner])) == 2
    assert not set(inputs.duplicates[inner]) & set(inputs.duplicates[~inner])
    with pytest.raises(DataError, match="cannot be divided"):
        inner_part(np.array([0, 0, 0, 1]), np.array([0, 0, 1, 1]), seed=0)


def test_without_a_parent_the_models_on_site_features_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    none = site_inputs({}, parent="", representation="CAMN")
    assert not none.sets and "no parent model" in none.why_missing
    assert possible_models(["xgb/all", "atomsets/v1", BLEND], some_inputs()) == ["xgb/all"]
    with pytest.raises(ParameterError, match="Did you mean 'atomsets/v1'"):
        possible_models(["atomset/v1"], some_inputs())


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
    features = pd.DataFrame({"id": ids, "x_li": [0.1, 0.2, 0.3, 0.4]})
    groups = pd.DataFrame({"feature": ["x_li"], "group": ["stoichiometric"], "kim": [True]})
    rejects = pd.DataFrame({"id": [ids[1]], "reason": ["x"]})
    found = classifier_inputs(
        rows,
        features=features,
        groups=groups,
        sendek=pd.DataFrame({"f": 1.0}, index=ids[1:]),
        sites=SiteInputs(rejects=rejects),
    )
    assert list(found.table["id"]) == ids[2:]
    assert found.matrices["all"].ravel().tolist() == [0.3, 0.4]


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
