"""The known crystals of the benchmark, and those that the search was set up with."""

import yaml
from pymatgen.core import Structure

from sselib.errors import DataError, nearest
from sselib.paths import project_root
from sselib.sources import reference

# Ordered lithium compounds with at most 24 atoms in the primitive cell, smallest first. None of them was
# used while the search was set up; that was done on those of DEVELOPMENT.
COMPOUNDS: tuple[str, ...] = (
    "li3n-alpha",
    "li3ocl",
    "lipn2",
    "linbo3",
    "li2co3",
    "li6ps5cl-ordered",
    "lialo2-gamma",
    "li2zngeo4",
    "li3po4-beta",
    "li3ps4-gamma",
    "libh4",
    "lialcl4",
)
FURTHER: tuple[str, ...] = ("lino3", "liyf4", "li3bn2-tetragonal", "lialsi2o6")  # run if named
DEVELOPMENT: tuple[str, ...] = (
    "li3p", "liino2", "lisco2", "calcite", "li2sio3", "li2zro3", "zircon", "li3vo4", "ligao2",
)  # fmt: skip


def known_structure(name: str) -> Structure:
    """Return a benchmark or reference structure by name, as published, conventional cell.

    Raises `DataError` if there is none of that name.
    """
    folder = project_root() / "data" / "benchmark"
    listed = [e["id"] for e in yaml.safe_load((folder / "structures.yaml").read_text(encoding="utf-8"))]
    if name in listed:
        return reference.structure(name, folder=folder)
    known = [*COMPOUNDS, *FURTHER, *DEVELOPMENT]
    if name not in known:
        raise DataError(
            f"the benchmark has no compound '{name}': expected one of {', '.join(known)}."
            f"{nearest(name, known)}"
        )
    return reference.structure(name)
