"""Groups of similar compositions: clusters on the element mover's distance, and near-duplicates."""

import warnings
from dataclasses import dataclass

import numpy as np
from scipy.sparse import csr_array
from scipy.sparse.csgraph import connected_components
from sklearn.cluster import DBSCAN

from sselib.materials.composition import elmd_distances, l1_distances

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
    fractions are rounded to six decimals. Report over several seeds.
    """
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
    close = l1_distances(fractions, fractions) <= tolerance + 1e-9
    _, labels = connected_components(csr_array(close), directed=False)
    return labels.astype(int)
