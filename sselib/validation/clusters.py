"""Groups of similar compositions: clusters on the element mover's distance, and near-duplicates."""

import warnings
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.sparse import csr_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree
from sklearn.cluster import DBSCAN

from sselib.materials.composition import elmd_distances

MAP_ROWS = 3000  # rows that a map is made of: its memory and time grow with their square
_BLOCK = 2000  # rows whose neighbours are held at once
_SAME_DECIMALS = 9  # of mole fractions: equal rows are one
_MINIMUM_ROWS = 10  # fewer rows have no neighbourhoods to draw


@dataclass(frozen=True)
class Clusters:
    """Clusters of compositions: ``labels`` (n,), -1 is noise; ``coordinates`` (n, 2), dimensionless."""

    labels: np.ndarray
    coordinates: np.ndarray

    @property
    def n_clusters(self) -> int:
        """Number of clusters, noise not counted."""
        return len(set(self.labels.tolist()) - {-1})


def composition_map(
    fractions: np.ndarray, *, seed: int, spread: float = 5.0, n_neighbors: int = 15
) -> np.ndarray:
    """Return UMAP coordinates (n, 2) of compositions from their element mover's distances.

    ``fractions`` (n, 103) in the modified Pettifor order. One seed gives one map (on one machine and
    one version of UMAP); the axes have no unit. Fewer than ten rows have no map: the coordinates are 0.
    """
    n_rows = len(fractions)
    if n_rows < _MINIMUM_ROWS:
        return np.zeros((n_rows, 2))
    from umap import UMAP  # imported here: it compiles with numba, which takes seconds

    reducer = UMAP(
        metric="precomputed",
        spread=spread,
        n_neighbors=min(n_neighbors, n_rows - 1),
        random_state=seed,
        n_jobs=1,
    )
    with warnings.catch_warnings(), np.errstate(divide="ignore"):  # its curve fit tries exponents below 0
        warnings.filterwarnings("ignore", message="using precomputed metric")
        return np.asarray(reducer.fit_transform(elmd_distances(fractions, fractions)), dtype=float)


def composition_clusters(
    fractions: np.ndarray,
    *,
    seed: int,
    spread: float = 5.0,
    n_neighbors: int = 15,
    eps: float = 4.0,
    min_samples: int = 5,
) -> Clusters:
    """Return clusters of similar composition: element mover's distance, UMAP, DBSCAN.

    The settings are those of McHaffie et al. (section 4.2), after Hargreaves et al.: spread 5, eps 4.
    Arguments as in `composition_map`; ``eps`` is a distance on the map. The result is sensitive: OBELiX's
    321 structures give 10 clusters with seed 42, 9 to 16 with others, and 11 with seed 42 once mole
    fractions are rounded to six decimals. Report over several seeds. Of more than `MAP_ROWS` rows a random
    choice is laid out, and every other row takes the place of the nearest of those.
    """
    if len(fractions) > MAP_ROWS:
        chosen = np.sort(np.random.default_rng(seed).choice(len(fractions), MAP_ROWS, replace=False))
        options = {"spread": spread, "n_neighbors": n_neighbors, "eps": eps, "min_samples": min_samples}
        found = composition_clusters(fractions[chosen], seed=seed, **options)
        place = nearest_rows(fractions, fractions[chosen])
        return Clusters(found.labels[place], found.coordinates[place])
    coordinates = composition_map(fractions, seed=seed, spread=spread, n_neighbors=n_neighbors)
    if len(coordinates) < _MINIMUM_ROWS:
        return Clusters(labels=np.full(len(coordinates), -1), coordinates=coordinates)
    labels = DBSCAN(eps=eps, min_samples=min_samples).fit_predict(coordinates)
    return Clusters(labels=labels, coordinates=coordinates)


def duplicate_groups(fractions: np.ndarray, *, tolerance: float = 0.02) -> np.ndarray:
    """Return a group number (n,) for each row; rows within ``tolerance`` (L1) share one.

    A group is a connected component, so a solid-solution series with small steps is one group even
    where its ends differ by more. Numbers count from 0 in the order of first appearance.
    """
    if len(fractions) == 0:
        return np.empty(0, dtype=int)
    different, back = np.unique(np.round(fractions, _SAME_DECIMALS), axis=0, return_inverse=True)
    tree, labels = cKDTree(different), np.arange(len(different))
    for start in range(0, len(different), _BLOCK):
        near = tree.query_ball_point(different[start : start + _BLOCK], tolerance + 1e-9, p=1)
        first = np.repeat(np.arange(start, start + len(near)), [len(found) for found in near])
        edges = np.unique(np.column_stack([labels[first], labels[np.concatenate(near)]]), axis=0)
        links = csr_array((np.ones(len(edges)), edges.T), shape=(len(labels), len(labels)))
        labels = connected_components(links, directed=False)[1][labels]
    return pd.factorize(labels[back.ravel()])[0]


def nearest_rows(fractions: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Return for each row the position of the nearest of ``others`` by the element mover's distance."""
    blocks = range(0, len(fractions), _BLOCK)
    found = [elmd_distances(fractions[k : k + _BLOCK], others).argmin(axis=1) for k in blocks]
    return np.concatenate(found) if found else np.empty(0, dtype=int)
