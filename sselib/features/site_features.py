"""Site features of many structures from MEGNet, and occupancies, cached, with what failed and why.

Source: McHaffie et al., Digital Discovery 4, 1518 (2025), doi 10.1039/d5dd00052a (features V0 to V3 of a
pretrained MEGNet, representations). Occupancy columns are an addition: the embedding of a disordered site
is a weighted sum, which alone cannot tell a half-filled site from a mixture.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from joblib import Parallel, delayed
from pymatgen.core import Structure

from sselib import registry
from sselib.errors import DataError, ParameterError, nearest
from sselib.features.representations import Representation, primitive_cell, simplify
from sselib.kept import kept_arrays
from sselib.progress import progress

if TYPE_CHECKING:  # torch is an extra: this module must import without it
    from sselib.features.megnet import MegnetModel

LAYERS: tuple[str, ...] = ("V0", "V1", "V2", "V3", "occupancy")
MAX_SITES = 1000  # keeps a structure's graph below about 1 GiB
_CHUNK = 64  # structures that a process takes at a time


@dataclass(frozen=True)
class SiteSet:
    """Unique site features of one structure: ``features`` (n_unique, d), ``multiplicity`` (n_unique,)."""

    features: np.ndarray
    multiplicity: np.ndarray


@dataclass(frozen=True)
class SiteSets:
    """``sets`` by structure id; ``rejects``: id, reason."""

    sets: dict[str, SiteSet]
    rejects: pd.DataFrame


def site_sets(
    structures: Mapping[str, Structure],
    *,
    parent: str,
    representation: str = Representation.CAMN,
    layers: Sequence[str] = ("V1",),
    max_sites: int = MAX_SITES,
    cache_dir: Path | str | None = None,
    n_jobs: int = 1,
) -> SiteSets:
    """Return the set of site features of each structure, the ``layers`` side by side.

    ``parent`` is a short name of `sselib.features.megnet.MODEL_FILES`. ``layers`` are of `LAYERS`: V0 (16
    columns), V1 to V3 (32 each), ``occupancy`` (3: Li occupancy, total occupancy, number of species). All
    layers of a structure are kept in ``cache_dir`` (`sselib.kept`). A structure that fails (an
    element that the parent never saw, no atom left, more than ``max_sites`` sites) is a row in ``rejects``;
    one without Li is treated like any other. ``n_jobs`` processes share the structures, if there are enough
    of them. Raises `ParameterError` for an unknown layer and `DataError` where the weights cannot be had.
    """
    options = {"parent": parent, "representation": representation, "max_sites": max_sites}
    return named_site_sets(structures, {"": layers}, cache_dir=cache_dir, n_jobs=n_jobs, **options)[""]


def named_site_sets(
    structures: Mapping[str, Structure],
    named_layers: Mapping[str, Sequence[str]],
    *,
    parent: str,
    representation: str = Representation.CAMN,
    max_sites: int = MAX_SITES,
    cache_dir: Path | str | None = None,
    n_jobs: int = 1,
) -> dict[str, SiteSets]:
    """Return `site_sets` for each name and its layers, from one pass over the structures."""
    from sselib.features import megnet

    for layers in named_layers.values():
        unknown = [layer for layer in layers if layer not in LAYERS]
        if unknown or not layers:
            raise ParameterError(
                f"layers = {list(layers)}: expected some of {', '.join(LAYERS)}."
                f"{nearest(unknown[0], list(LAYERS)) if unknown else ''}"
            )
    megnet.load_megnet(parent)  # raises here, once, where the weights cannot be had
    folder = Path(cache_dir) if cache_dir else registry.cache_folder() / "site_features"
    given = list(structures.values())
    chunks = [given[k : k + _CHUNK] for k in range(0, len(given), _CHUNK)]
    work = Parallel(min(n_jobs, max(1, len(chunks) // 2)), return_as="generator")(
        delayed(_chunk)(chunk, parent, representation, max_sites, folder) for chunk in chunks
    )
    sets, rejects = {name: {} for name in named_layers}, []
    found = progress((one for chunk in work for one in chunk), stage="site features", total=len(given))
    for key, arrays in zip(structures, found, strict=True):
        if isinstance(arrays, str):
            rejects.append((key, arrays))
            continue
        for name, layers in named_layers.items():
            sets[name][key] = unique_sites(np.hstack([arrays[layer] for layer in layers]))
    table = pd.DataFrame(rejects, columns=["id", "reason"], dtype=object)
    return {name: SiteSets(own, table) for name, own in sets.items()}


def _chunk(
    structures: Sequence[Structure], parent: str, representation: str, max_sites: int, folder: Path
) -> list[dict[str, np.ndarray] | str]:
    """Return for each structure its layers, or why there are none."""
    from sselib.features import megnet

    model, weights = megnet.load_megnet(parent), registry.locate(megnet.MODEL_FILES[parent]).sha256
    found: list[dict[str, np.ndarray] | str] = []
    for structure in structures:
        try:
            if len(structure) > max_sites:
                raise DataError(f"{len(structure)} sites: expected at most {max_sites}; use a smaller cell")
            compute = partial(_layers, structure, model, representation)
            found.append(kept_arrays(folder, [structure, representation, weights], compute))
        except Exception as error:  # whatever an odd structure raises is its reason
            found.append(f"{type(error).__name__}: {' '.join(str(error).split())[:200]}")
    return found


def unique_sites(features: np.ndarray, *, decimals: int = 4) -> SiteSet:
    """Merge equal rows of site features (after rounding) into one with its multiplicity."""
    rounded = np.round(np.asarray(features, float), decimals)
    rows, count = np.unique(rounded, axis=0, return_counts=True)
    return SiteSet(features=rows.astype(np.float32), multiplicity=count.astype(np.float32))


def pooled(sets: "Sequence[SiteSet]") -> np.ndarray:
    """Return mean and standard deviation over the sites of each structure, shape (n, 2 d)."""
    rows = []
    for s in sets:
        mean = np.average(s.features, axis=0, weights=s.multiplicity)
        spread = np.sqrt(np.average((s.features - mean) ** 2, axis=0, weights=s.multiplicity))
        rows.append(np.concatenate([mean, spread]))
    return np.array(rows)


def _layers(structure: Structure, model: "MegnetModel", representation: str) -> dict[str, np.ndarray]:
    """Return each layer of the parent, shape (n_sites, columns)."""
    from sselib.features.megnet import crystal_graphs

    primitive = primitive_cell(simplify(structure, representation=representation))
    graphs = crystal_graphs([primitive], cutoff_angstrom=model.settings.cutoff_angstrom)
    values = [layer.numpy() for layer in model.site_features(graphs)]
    found = dict(zip(LAYERS, [*values, occupancies(primitive)], strict=True))
    if not all(np.isfinite(layer).all() for layer in found.values()):
        raise DataError("the site features are not finite numbers: check cell and coordinates")
    return found


def occupancies(structure: Structure, *, mobile_ion: str = "Li") -> np.ndarray:
    """Return per site: occupancy by the mobile ion, by all species, number of species; shape (n, 3)."""
    of_sites = [site.species for site in structure]
    mobile = [sum(x for s, x in species.items() if s.symbol == mobile_ion) for species in of_sites]
    rows = [(x, species.num_atoms, len(species)) for x, species in zip(mobile, of_sites, strict=True)]
    return np.array(rows, dtype=np.float32)
