"""Evaluation protocols: which rows train a model and which rows test it.

A split holds row positions, not labels, so that it can be applied to any array of the same table.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.sparse import csr_array
from scipy.sparse.csgraph import connected_components
from sklearn.model_selection import GroupKFold, KFold, StratifiedShuffleSplit

from sselib.columns import Curated, Entry
from sselib.errors import DataError, ParameterError, nearest
from sselib.materials.composition import element_fractions, l1_distances

SAME_COMPOSITION_L1 = 0.05  # other sources' rows at most this far from a test row do not train
TEST_SHARE = 0.2
MATERIAL_GROUP = "material_group"  # column that a table may carry from a larger table's `group_material`
_NOISE = -1  # cluster number of rows that DBSCAN put in no cluster


@dataclass(frozen=True)
class Split:
    """One training and one test set of one protocol: sorted row positions, shapes (n_train,), (n_test,)."""

    protocol: str
    repeat: int
    fold: int
    train: np.ndarray
    test: np.ndarray


def protocol_splits(
    name: str, table: pd.DataFrame, *, seed: int = 0, repeats: int = 10, n_folds: int = 5
) -> list[Split]:
    """Return the splits of one protocol.

    ``table`` has the columns of `Entry` and `Curated` that the protocol needs, one row per
    material; ``repeats`` matters to ``random_stratified`` only. The same table, seed and options
    give the same splits. Raises `ParameterError` for an unknown protocol and `DataError` where the
    table does not allow it (see `why_unavailable`). Protocols:

    - ``obelix_official``: OBELiX's own split (Therrien et al., arXiv 2502.14234). Rows of other sources
      train too, if their composition is farther than 0.05 (L1) from that of every test row.
    - ``recent``: the rows of the source `sselib.sources.recent` test a model that the others train, those
      within 0.05 (L1) of a test row left out.
    - ``random_stratified``: 80/20, stratified on deciles of the target (Kim et al., section II).
    - ``kfold5``: random folds.
    - ``group_doi``, ``group_chemsys``, ``group_family``, ``group_material``: folds of whole groups (see
      `row_groups`).
    - ``loco``: each cluster is held out once. Rows in no cluster (-1) always train, are never tested.
    """
    reason = why_unavailable(name, table, n_folds=n_folds)
    if reason:
        raise DataError(f"protocol {name} is not possible: {reason}")
    pairs = _PROTOCOLS[name](table, seed=seed, repeats=repeats, n_folds=n_folds)
    return [Split(name, repeat, fold, np.sort(train), np.sort(test)) for repeat, fold, train, test in pairs]


def why_unavailable(name: str, table: pd.DataFrame, *, n_folds: int = 5) -> str:
    """Return why ``table`` does not allow the protocol, or an empty text if it does."""
    if name not in _PROTOCOLS:
        raise ParameterError(
            f"protocol {name!r} is unknown: expected one of {', '.join(_PROTOCOLS)}."
            f"{nearest(name, list(_PROTOCOLS))}"
        )
    missing = [c for c in _NEEDS.get(name, (Entry.LOG10_SIGMA,)) if c not in table]
    if missing:
        return f"the table lacks the column {', '.join(missing)}"
    if name == "obelix_official" and not {"train", "test"} <= set(table[Entry.OFFICIAL_SPLIT].dropna()):
        return "no row carries OBELiX's official split, because OBELiX is not part of this run"
    if name == "recent" and not 0 < (table[Entry.SOURCE] == "recent").sum() < len(table):
        return "no rows of the source recent beside others"
    if name == "loco" and (table[Curated.CLUSTER].unique() != _NOISE).sum() < 2:
        return "fewer than two clusters of composition"
    if name in _GROUPED and (found := row_groups(name, table).nunique()) < n_folds:
        return f"{found} groups cannot fill {n_folds} folds"
    if len(table) < 2 * n_folds:
        return f"{len(table)} rows are too few for {n_folds} folds"
    return ""


def row_groups(name: str, table: pd.DataFrame) -> pd.Series:
    """Return the group that a protocol keeps together, one text per row.

    ``group_doi``: the publication. A row without a DOI takes that of the first row of its
    near-duplicate group that has one, else the near-duplicate group itself is its publication, so
    that repeats of one material do not straddle folds for want of a DOI. ``group_material``: rows that are
    near-duplicates or from one publication, directly or through other rows of the table.
    ``group_family``: a missing family is one group, "unknown". ``recent``: the publication. ``loco``: the
    cluster. Other protocols: the near-duplicate group where the table has it, else each row is its own.
    """
    if name in ("group_doi", "recent"):
        return _publication(table)
    if name == "group_material":
        return _material(table)
    if name == "group_chemsys":
        return table[Curated.CHEMICAL_SYSTEM].astype(str)
    if name == "group_family":
        return table[Curated.FAMILY].astype("object").fillna("unknown").astype(str)
    column = Curated.CLUSTER if name == "loco" else Curated.DUPLICATE_GROUP
    labels = table[column] if column in table else table.index.to_series()
    return labels.astype(str)


def _publication(table: pd.DataFrame) -> pd.Series:
    doi = table[Entry.DOI].astype("object").str.strip().str.lower().replace("", None)
    duplicate = table[Curated.DUPLICATE_GROUP]
    borrowed = doi.groupby(duplicate).transform("first")
    return doi.fillna(borrowed).fillna("no doi, near-duplicates " + duplicate.astype(str))


def _material(table: pd.DataFrame) -> pd.Series:
    """Return the connected component of each row in the graph of near-duplicate groups and publications."""
    if MATERIAL_GROUP in table:
        return table[MATERIAL_GROUP].astype(str)
    parts = [pd.factorize(table[Curated.DUPLICATE_GROUP])[0], pd.factorize(_publication(table))[0]]
    n_first, n = parts[0].max() + 1, len(table)
    size = n_first + parts[1].max() + 1
    edges = csr_array((np.ones(n), (parts[0], n_first + parts[1])), shape=(size, size))
    _, labels = connected_components(edges, directed=False)
    return pd.Series(labels[parts[0]], index=table.index).astype(str)


def fold_sizes(splits: list[Split]) -> pd.DataFrame:
    """Return protocol, repeat, fold, n_train and n_test, one row per split."""
    rows = [(s.protocol, s.repeat, s.fold, len(s.train), len(s.test)) for s in splits]
    return pd.DataFrame(rows, columns=["protocol", "repeat", "fold", "n_train", "n_test"])


def _official(table: pd.DataFrame, **_: int) -> list[tuple]:
    label = table[Entry.OFFICIAL_SPLIT].astype("object")
    test, other = np.flatnonzero(label == "test"), np.flatnonzero(label.isna())
    return [(0, 0, np.r_[np.flatnonzero(label == "train"), _far(table, other, test)], test)]


def _recent(table: pd.DataFrame, **_: int) -> list[tuple]:
    is_recent = (table[Entry.SOURCE] == "recent").to_numpy()
    test, other = np.flatnonzero(is_recent), np.flatnonzero(~is_recent)
    return [(0, 0, _far(table, other, test), test)]


def _far(table: pd.DataFrame, rows: np.ndarray, test: np.ndarray) -> np.ndarray:
    """Return those of ``rows`` that are farther than 0.05 (L1) from every test row."""
    fractions = element_fractions(list(table[Entry.COMPOSITION])).to_numpy()
    return rows[l1_distances(fractions[rows], fractions[test]).min(axis=1) > SAME_COMPOSITION_L1]


def _random_stratified(table: pd.DataFrame, *, seed: int, repeats: int, **_: int) -> list[tuple]:
    n_deciles = min(10, int(len(table) * TEST_SHARE))
    rank = table[Entry.LOG10_SIGMA].rank(method="first").to_numpy()
    decile = np.ceil(rank / len(table) * n_deciles).astype(int)
    splitter = StratifiedShuffleSplit(n_splits=repeats, test_size=TEST_SHARE, random_state=seed)
    return [(r, 0, train, test) for r, (train, test) in enumerate(splitter.split(decile, decile))]


def _kfold(table: pd.DataFrame, *, seed: int, n_folds: int, **_: int) -> list[tuple]:
    splitter = KFold(n_folds, shuffle=True, random_state=seed)
    return [(0, f, train, test) for f, (train, test) in enumerate(splitter.split(table))]


def _group_kfold(name: str) -> Callable[..., list[tuple]]:
    """Fill folds with whole groups, the largest group first, always into the fold with fewest rows."""

    def split(table: pd.DataFrame, *, seed: int, n_folds: int, **_: int) -> list[tuple]:
        """Return repeat, fold, training rows and test rows of each fold."""
        codes, groups = pd.factorize(row_groups(name, table), sort=True)
        codes = np.random.default_rng(seed).permutation(len(groups))[codes]  # breaks ties between sizes
        folds = GroupKFold(n_folds).split(codes, groups=codes)
        return [(0, f, train, test) for f, (train, test) in enumerate(folds)]

    return split


def _loco(table: pd.DataFrame, **_: int) -> list[tuple]:
    cluster = table[Curated.CLUSTER].to_numpy()
    held_out = sorted(set(cluster) - {_NOISE})
    return [
        (0, f, np.flatnonzero(cluster != c), np.flatnonzero(cluster == c)) for f, c in enumerate(held_out)
    ]


_GROUPED = ("group_doi", "group_chemsys", "group_family", "group_material")
_PROTOCOLS: dict[str, Callable[..., list[tuple]]] = {
    "obelix_official": _official,
    "recent": _recent,
    "random_stratified": _random_stratified,
    "kfold5": _kfold,
    **{name: _group_kfold(name) for name in _GROUPED},
    "loco": _loco,
}
PROTOCOLS: tuple[str, ...] = tuple(_PROTOCOLS)
_NEEDS: dict[str, tuple[str, ...]] = {
    "obelix_official": (Entry.OFFICIAL_SPLIT, Entry.COMPOSITION),
    "recent": (Entry.SOURCE, Entry.COMPOSITION, Entry.DOI, Curated.DUPLICATE_GROUP),
    "loco": (Curated.CLUSTER,),
    "group_doi": (Entry.DOI, Curated.DUPLICATE_GROUP),
    "group_material": (Entry.DOI, Curated.DUPLICATE_GROUP),
    "group_chemsys": (Curated.CHEMICAL_SYSTEM,),
    "group_family": (Curated.FAMILY,),
}
