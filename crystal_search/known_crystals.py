"""The known crystals of the benchmark, and those that the search was set up with."""

from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path

import numpy as np
import spglib
import yaml
from pymatgen.core import Lattice, Structure

from crystal_search.errors import SearchError, did_you_mean

DATA = Path(__file__).resolve().parents[1] / "data"  # of the repository
FILES: tuple[str, ...] = ("reference/structures.yaml", "benchmark/structures.yaml")  # the later one wins
SAME_SITE = 1e-3  # fractional; images of a site that are closer than this are one site
# Ordered lithium compounds with at most 24 atoms in the primitive cell, smallest first. None of them was
# used while the search was set up; that was done on those of DEVELOPMENT.
COMPOUNDS: tuple[str, ...] = (
    "li3n-alpha", "li3ocl", "lipn2", "linbo3", "li2co3", "li6ps5cl-ordered",
    "lialo2-gamma", "li2zngeo4", "li3po4-beta", "li3ps4-gamma", "libh4", "lialcl4",
)  # fmt: skip
FURTHER: tuple[str, ...] = ("lino3", "liyf4", "li3bn2-tetragonal", "lialsi2o6")  # run if named
DEVELOPMENT: tuple[str, ...] = (
    "li3p", "liino2", "lisco2", "calcite", "li2sio3", "li2zro3", "zircon", "li3vo4", "ligao2",
)  # fmt: skip


def known_structure(name: str, *, folder: Path = DATA) -> Structure:
    """Return an ordered crystal of the `FILES` in ``folder`` by its id, as published, conventional cell.

    Raises `SearchError` if there is none of that name.
    """
    texts = [(folder / file).read_text(encoding="utf-8") for file in FILES]
    described = {entry["id"]: entry for text in texts for entry in yaml.safe_load(text)}
    if name not in described:
        raise SearchError(
            f"the benchmark has no compound '{name}': expected one of "
            f"{', '.join([*COMPOUNDS, *FURTHER, *DEVELOPMENT])}.{did_you_mean(name, list(described))}"
        )
    return _built(described[name])


def _built(entry: Mapping[str, object]) -> Structure:
    """Return the crystal that space group, lattice (completed by the crystal system) and sites describe."""
    operations = spglib.get_symmetry_from_database(_hall_number(**entry["space_group"]))
    species, points = [], np.empty((0, 3))
    for site in entry["sites"]:
        images = (operations["rotations"] @ site["xyz"] + operations["translations"]) % 1.0
        shift = images[:, None] - images[None]
        same = (np.abs(shift - np.round(shift)) < SAME_SITE).all(axis=2)
        orbit = images[~np.tril(same, k=-1).any(axis=1)]
        species += [site["species"]] * len(orbit)
        points = np.vstack([points, orbit])
    gamma, given = 120.0 if 143 <= entry["space_group"]["number"] <= 194 else 90.0, entry["lattice"]
    full = {"b": given["a"], "c": given["a"], "alpha": 90.0, "beta": 90.0, "gamma": gamma, **given}
    cell = Lattice.from_parameters(*(float(full[k]) for k in ("a", "b", "c", "alpha", "beta", "gamma")))
    return Structure(cell, species, points)


@lru_cache
def _hall_number(*, symbol: str, number: int, setting: str = "") -> int:
    """Return the first Hall number of a space group, in a setting where one is named."""
    types = {hall: spglib.get_spacegroup_type(hall) for hall in range(1, 531)}
    return next(h for h, t in types.items() if t.number == number and setting in ("", t.choice))
