"""Site features of many structures from MEGNet or CHGNet, and occupancies, cached, with what failed and why.

Source: McHaffie et al., Digital Discovery 4, 1518 (2025), doi 10.1039/d5dd00052a (features V0 to V3 of a
pretrained MEGNet, representations). Occupancy columns are an addition: the embedding of a disordered site
is a weighted sum, which alone cannot tell a half-filled site from a mixture.
"""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from joblib import Parallel, delayed
from pymatgen.core import Structure

from sselib import registry
from sselib.errors import DataError, ParameterError, nearest
from sselib.features.representations import Representation, primitive_cell, simplify
from sselib.materials.structures import structure_to_json
from sselib.progress import progress
from sselib.runfolder import write_whole

if TYPE_CHECKING:  # torch is an extra: this module must import without it
    from sselib.features.megnet import MegnetModel

LAYERS: tuple[str, ...] = ("V0", "V1", "V2", "V3", "occupancy")
CHGNET = "chgnet"  # name of the second parent; it has a fourth convolution, V4
MAX_SITES = 1000  # keeps a structure's graph below about 1 GiB
_CHUNK = 64  # structures that a process takes at a time


@dataclass(frozen=True)
class SiteSet:
    """Unique site features of one structure: ``features`` (n_unique, d), ``multiplicity`` (n_unique,)."""

    features: np.ndarray
    multiplicity: np.ndarray


@dataclass(frozen=True)
class SiteSets:
    """``sets`` by structure id; ``rejects``: id, reason; ``n_cached`` structures came from the cache."""

    sets: dict[str, SiteSet]
    rejects: pd.DataFrame
    n_cached: int


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

    ``parent`` is a short name of `sselib.features.megnet.MODEL_FILES`, or ``chgnet``. ``layers`` are of
    `layer_names`: V0 (16 columns), V1 to V3 (32 each) of MEGNet; V0 to V4 (64 each) of CHGNet;
    ``occupancy`` (3: Li occupancy, total occupancy, number of species). All layers of a structure are kept
    in ``cache_dir`` under a hash of structure, representation, weights and code. A structure that fails (an
    element that the parent never saw, no atom left, more than ``max_sites`` sites) is a row in ``rejects``;
    one without Li is treated like any other. ``n_jobs`` processes share the structures, if there are enough
    of them. Raises `ParameterError` for an unknown layer and `DataError` where the weights cannot be had.
    """
    options = {"max_sites": max_sites, "cache_dir": cache_dir, "n_jobs": n_jobs}
    named = {"": layers}
    return named_site_sets(structures, named, parent=parent, representation=representation, **options)[""]


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
    for layers in named_layers.values():
        _check(layers, parent)
    _parent(parent)  # raises here, once, where the weights cannot be had
    folder = Path(cache_dir) if cache_dir else registry.cache_folder() / "site_features"
    given = list(structures.values())
    chunks = [given[k : k + _CHUNK] for k in range(0, len(given), _CHUNK)]
    work = Parallel(min(n_jobs, max(1, len(chunks) // 2)), return_as="generator")(
        delayed(_chunk)(chunk, parent, representation, layer_names(parent), max_sites, folder)
        for chunk in chunks
    )
    sets, rejects, n_cached = {name: {} for name in named_layers}, [], 0
    found = progress((one for chunk in work for one in chunk), stage="site features", total=len(given))
    for key, (arrays, reason, cached) in zip(structures, found, strict=True):
        n_cached += cached
        if arrays is None:
            rejects.append((key, reason))
            continue
        for name, layers in named_layers.items():
            sets[name][key] = unique_sites(np.hstack([arrays[layer] for layer in layers]))
    table = pd.DataFrame(rejects, columns=["id", "reason"], dtype=object)
    return {name: SiteSets(own, table, n_cached) for name, own in sets.items()}


def _chunk(
    structures: Sequence[Structure],
    parent: str,
    representation: str,
    names: Sequence[str],
    max_sites: int,
    folder: Path,
) -> list[tuple[dict[str, np.ndarray] | None, str, bool]]:
    """Return for each structure its layers or None, why there are none, and whether the cache had them."""
    compute, identity = _parent(parent)
    found = []
    for structure in structures:
        try:
            path = _cache_path(structure, [representation, identity], folder)
            arrays = _read_cached(path, names)
            cached = arrays is not None
            if not cached:
                arrays = _all_layers(structure, compute, representation, max_sites)
                _write_cached(path, arrays)
            found.append((arrays, "", cached))
        except Exception as error:  # whatever an odd structure raises is its reason
            found.append((None, f"{type(error).__name__}: {' '.join(str(error).split())[:200]}", False))
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


def layer_names(parent: str) -> tuple[str, ...]:
    """Return the names of the layers that a parent offers."""
    return (*LAYERS[:4], "V4", "occupancy") if parent == CHGNET else LAYERS


def layer_columns(parent: str) -> dict[str, slice]:
    """Return where each layer lies in a set of all `layer_names`, in their order."""
    widths = [64] * 5 + [3] if parent == CHGNET else [16, 32, 32, 32, 3]
    ends = np.cumsum(widths).tolist()
    return {
        name: slice(end - width, end)
        for name, end, width in zip(layer_names(parent), ends, widths, strict=True)
    }


def _check(layers: Sequence[str], parent: str) -> None:
    """Raise `ParameterError` for layers that the parent does not have."""
    names = layer_names(parent)
    unknown = [layer for layer in layers if layer not in names]
    if unknown or not layers:
        raise ParameterError(
            f"layers = {list(layers)}: expected some of {', '.join(names)}."
            f"{nearest(unknown[0], list(names)) if unknown else ''}"
        )


def _parent(parent: str) -> tuple[Callable[[Structure], dict[str, np.ndarray]], str]:
    """Return what computes all layers of a simplified structure, and what identifies weights and code."""
    if parent == CHGNET:
        from sselib.features.chgnet_features import CHGNET_MODEL

        code = Path(__file__).with_name("chgnet_features.py").read_text(encoding="utf-8")
        digest = hashlib.sha256(code.encode()).hexdigest()
        return _chgnet_layers, f"chgnet {CHGNET_MODEL} {version('chgnet')} {digest}"
    from sselib.features import megnet

    model = megnet.load_megnet(parent)
    return lambda structure: _megnet_layers(structure, model), _weights_sha256(parent)


def _weights_sha256(parent: str) -> str:
    from sselib.features.megnet import MODEL_FILES

    return registry.locate(MODEL_FILES[parent]).sha256


def _megnet_layers(structure: Structure, model: "MegnetModel") -> dict[str, np.ndarray]:
    from sselib.features.megnet import crystal_graphs

    primitive = primitive_cell(structure)
    graphs = crystal_graphs([primitive], cutoff_angstrom=model.settings.cutoff_angstrom)
    values = [layer.numpy() for layer in model.site_features(graphs)]
    return dict(zip(LAYERS, [*values, occupancies(primitive)], strict=True))


def _chgnet_layers(structure: Structure) -> dict[str, np.ndarray]:
    from sselib.features.chgnet_features import chgnet_layers

    primitive = primitive_cell(structure)
    return {**chgnet_layers(primitive), "occupancy": occupancies(primitive)}


def _all_layers(
    structure: Structure,
    compute: Callable[[Structure], dict[str, np.ndarray]],
    representation: str,
    max_sites: int,
) -> dict[str, np.ndarray]:
    """Return each layer of the parent, shape (n_sites, columns)."""
    if len(structure) > max_sites:
        raise DataError(f"{len(structure)} sites: expected at most {max_sites}; use a smaller cell")
    found = compute(simplify(structure, representation=representation))
    if not all(np.isfinite(values).all() for values in found.values()):
        raise DataError("the site features are not finite numbers: check cell and coordinates")
    return found


def occupancies(structure: Structure, *, mobile_ion: str = "Li") -> np.ndarray:
    """Return per site: occupancy by the mobile ion, by all species, number of species; shape (n, 3)."""
    rows = []
    for site in structure:
        mobile = sum(x for s, x in site.species.items() if s.symbol == mobile_ion)
        rows.append((mobile, site.species.num_atoms, len(site.species)))
    return np.array(rows, dtype=np.float32)


@lru_cache(maxsize=1)
def _code_version() -> str:
    """Return a hash of the code that a cached file depends on."""
    from sselib.features import megnet, representations
    from sselib.materials import oxidation

    paths = [Path(m.__file__) for m in (megnet, oxidation, representations)] + [Path(__file__)]
    return hashlib.sha256("".join(p.read_text(encoding="utf-8") for p in paths).encode()).hexdigest()


def _cache_path(structure: Structure, settings: Sequence[str], folder: Path) -> Path:
    """Return where the layers of a structure lie."""
    content = json.dumps([structure_to_json(structure), *map(str, settings), _code_version()])
    name = hashlib.sha256(content.encode()).hexdigest()
    return folder / name[:2] / f"{name}.npz"


def _read_cached(path: Path, names: Sequence[str]) -> dict[str, np.ndarray] | None:
    """Return the cached layers, None where there are none or they cannot be read."""
    try:
        with np.load(path) as stored:
            return {layer: stored[layer] for layer in names}
    except (OSError, ValueError, KeyError, EOFError):
        return None


def _write_cached(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    write_whole(path, lambda p: np.savez(p, **arrays))
