"""The part of the rows on which members of the blend are compared: no test row, no fresh row."""

from dataclasses import replace

import numpy as np
import pytest
from test_chosen_blend import some_inputs

from sselib.atomsets import classifiers
from sselib.atomsets.blend_design import design_scores, training_part
from sselib.atomsets.classifiers import ClassifierSettings, fresh_tenth, unpaired_rows
from sselib.errors import DataError
from sselib.validation.clusters import Clusters
from sselib.validation.splits import Split

SETTINGS = ClassifierSettings(n_jobs=1)


def test_neither_test_rows_nor_the_fresh_tenth_take_part() -> None:
    inputs = some_inputs()
    part = training_part(inputs)
    assert (part.table["official_split"] == "train").all()
    fresh = set(inputs.table["id"].iloc[fresh_tenth(len(inputs.y)).test])
    assert not fresh & set(part.table["id"]) and len(part.y) == len(part.table)
    place = {i: k for k, i in enumerate(inputs.table["id"])}
    rows = [place[i] for i in part.table["id"]]
    assert np.array_equal(part.y, inputs.y[rows])
    assert np.array_equal(part.matrices["lattice_all_rows"], inputs.matrices["lattice_all_rows"][rows])


def test_rows_without_structure_are_those_that_may_train() -> None:
    inputs = some_inputs()
    part = training_part(inputs)
    rows = np.flatnonzero(inputs.table["id"].isin(part.table["id"]))
    held_out = np.setdiff1d(np.arange(len(inputs.y)), rows)
    allowed = unpaired_rows(inputs, Split("obelix_official", 0, 0, rows, held_out))
    assert 0 < len(allowed) < len(inputs.unpaired.y)
    assert list(part.unpaired.table["id"]) == list(inputs.unpaired.table["id"].iloc[allowed])
    assert part.unpaired.nearest.max() < len(part.y)


def test_without_the_official_split_nothing_is_compared() -> None:
    inputs = some_inputs()
    other = replace(inputs, table=inputs.table.assign(official_split=None))
    with pytest.raises(DataError, match="official split"):
        training_part(other)


def test_the_informative_features_score_best(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(classifiers, "N_TREES", 20)
    monkeypatch.setitem(classifiers.XGB_SETTINGS, "n_estimators", 30)
    inputs = some_inputs()
    n = len(training_part(inputs).y)
    flat = Clusters(np.arange(n) % 4, np.zeros((n, 2)))
    clusters = lambda table, seeds: {seeds[0]: flat}  # noqa: E731
    monkeypatch.setattr("sselib.atomsets.blend_design.clusters_by_seed", clusters)
    table = inputs.table.assign(
        duplicate_group=range(len(inputs.y)), doi=[f"10.1/{k % 12}" for k in range(len(inputs.y))]
    )
    other = replace(inputs.unpaired, table=inputs.unpaired.table.assign(duplicate_group=-1, doi="10.1/99"))
    found = design_scores(
        replace(inputs, table=table, unpaired=other),
        models=["extra_trees/lattice_all_rows", "xgb/elements_all_rows"],
        settings=SETTINGS,
        n_bootstrap=20,
    )
    auc = found[found["metric"] == "auc_pr"].set_index(["protocol", "name"])["value"]
    for protocol in ("group_material", "group_doi", "loco"):
        assert auc[protocol, "extra_trees/lattice_all_rows"] > auc[protocol, "xgb/elements_all_rows"]
        assert (protocol, "mean/none") in auc.index
