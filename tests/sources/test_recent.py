"""The recent electrolytes: the file, its errors, and their place in curation and in the protocols."""

import numpy as np
import pandas as pd
import pytest
import yaml

from sselib.columns import Curated, Entry
from sselib.curation.inputs import load_sources
from sselib.curation.merging import curate
from sselib.errors import DataError
from sselib.materials.composition import element_fractions, l1_distances
from sselib.materials.families import is_known_family
from sselib.sources import recent
from sselib.validation.splits import protocol_splits, row_groups, why_unavailable


def written(folder, **changes):
    """Write a file of one entry and return its folder."""
    entry = {
        "id": "x",
        "formula": "Li3YCl6",
        "log10_sigma": -3.3,
        "kind": "total",
        "year": 2018,
        "family": "halide",
        "read_in": "abstract",
    } | changes
    (folder / "conductors.yaml").write_text(yaml.safe_dump([entry]), encoding="utf-8")
    return folder


def test_every_row_states_its_value_year_and_text():
    entries = recent.load().entries
    assert len(entries) >= 50 and entries[Entry.STRUCTURE_ID].isna().all()
    assert entries[Entry.LOG10_SIGMA].between(-12, -1).all() and not entries[Entry.CENSORED].any()
    assert entries[Entry.NOTE].str.match(r"20(1[89]|2\d); \S").all()
    assert all(is_known_family(raw) for raw in entries[Entry.FAMILY_RAW])
    assert entries[Entry.COMPOSITION].str.contains("Li").all()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"year": "2018"}, "has year '2018'"),
        ({"read_in": None}, "lacks read_in"),
        ({"kind": "grain"}, "has kind 'grain'"),
        ({"formula": "Li3YZz6"}, "cannot be used"),
        ({"doi": "nature"}, "has doi 'nature'"),
        ({"url": "x"}, "unknown field 'url'"),
    ],
)
def test_a_faulty_row_is_named(tmp_path, changes, message):
    with pytest.raises(DataError, match=message) as error:
        recent.load(folder=written(tmp_path, **changes))
    assert "conductors.yaml: 'x'" in str(error.value)


@pytest.fixture(scope="module")
def curated():
    return curate(load_sources(["reference", "recent"]).tables).curated


def test_recent_rows_change_no_cluster_of_the_others(curated):
    alone = curate(load_sources(["reference"]).tables).curated.set_index(Entry.ID)
    both = curated.set_index(Entry.ID).loc[alone.index]
    columns = [Curated.CLUSTER, Curated.MAP_X, Curated.MAP_Y]
    pd.testing.assert_frame_equal(both[columns], alone[columns])
    of_recent = curated.loc[curated[Entry.SOURCE] == "recent", Curated.CLUSTER]
    assert len(of_recent) > 20 and set(of_recent) <= set(alone[Curated.CLUSTER])


def test_the_protocol_tests_every_recent_row_without_its_relatives(curated):
    (split,) = protocol_splits("recent", curated)
    is_recent = (curated[Entry.SOURCE] == "recent").to_numpy()
    assert set(split.test) == set(np.flatnonzero(is_recent))
    fractions = element_fractions(list(curated[Entry.COMPOSITION])).to_numpy()
    nearest = l1_distances(fractions[~is_recent], fractions[is_recent]).min(axis=1)
    assert set(split.train) == set(np.flatnonzero(~is_recent)[nearest > 0.05])
    publications = row_groups("recent", curated)[is_recent]
    assert publications.nunique() < is_recent.sum()


def test_without_recent_rows_the_protocol_says_so(curated):
    table = curated[curated[Entry.SOURCE] != "recent"]
    assert "no rows of the source recent" in why_unavailable("recent", table)
