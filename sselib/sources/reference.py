"""The embedded reference set: lithium conductors and crystal structures written from the literature.

It lies in `data/reference/` as readable YAML, so that the suite runs where nothing can be downloaded.
A fault in these files is a fault of the suite: each raises one `DataError` that names file and row.
"""

import json
import re
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path

import numpy as np
import spglib
from pymatgen.core import Composition, Lattice, Structure

from sselib.columns import Entry
from sselib.errors import DataError, nearest
from sselib.materials.structures import structure_record
from sselib.schemas import ENTRIES, REJECTS, STRUCTURES, validate
from sselib.sources.conductor_rows import (
    CONDUCTORS,
    ROW_KEYS,
    Row,
    composition,
    data_folder,
    entries,
    fault,
    name_of,
    parsed_number,
    provenance,
    record,
    require_keys,
)
from sselib.sources.table import (
    SourceTable,
    entries_frame,
    rejects_frame,
    structures_frame,
)

NAME = "reference"
STRUCTURES_FILE = "structures.yaml"
SAME_SITE = 1e-3  # fractional; images of a site that are closer than this are one site
_ROW_KEYS = ROW_KEYS | dict.fromkeys(("space_group", "lattice", "z", "differs_because"), False)
_STRUCTURE_KEYS = {"id": True, "reference": True, "space_group": True, "lattice": True, "sites": True}
_GROUP_KEYS = {"symbol": True, "number": True, "setting": False}
_SITE_KEYS = {"label": True, "wyckoff": True, "species": True, "xyz": True}
_LATTICE_KEYS = ("a", "b", "c", "alpha", "beta", "gamma")
_LATTICE_COLUMNS = (
    Entry.A_ANGSTROM,
    Entry.B_ANGSTROM,
    Entry.C_ANGSTROM,
    Entry.ALPHA_DEG,
    Entry.BETA_DEG,
    Entry.GAMMA_DEG,
)
_SYSTEMS = (
    (2, "triclinic", "a b c alpha beta gamma"),
    (15, "monoclinic", "a b c beta"),
    (74, "orthorhombic", "a b c"),
    (142, "tetragonal", "a c"),
    (167, "trigonal", "a c"),
    (194, "hexagonal", "a c"),
    (230, "cubic", "a"),
)  # last group, system, free lattice parameters
_N_HALL = 530  # settings of the 230 space groups in spglib


def load(*, structures: bool = True, folder: Path | None = None) -> SourceTable:
    """Return the embedded set; ids are ``reference:<slug>``.

    Space group, lattice (Angstrom, deg) and content of the cell come from the structure where there
    is one. ``folder`` holds `conductors.yaml` and `structures.yaml` (default: `data/reference`).
    Raises `DataError`, which names file and row, for anything that is missing, unknown or impossible.
    """
    rows, described = _rows(folder), _descriptions(folder)
    slugs = [str(row["id"]) for row in rows]
    for slug in described:
        if slug not in slugs:
            raise fault(STRUCTURES_FILE, slug, f"has no row in {CONDUCTORS}.{nearest(slug, slugs)}")
    built = {slug: _build(description) for slug, description in described.items()}
    records = [_record(row, described.get(str(row["id"])), built.get(str(row["id"]))) for row in rows]
    texts = {slug: json.dumps(description, sort_keys=True) for slug, description in described.items()}
    kept = (
        [
            structure_record(
                crystal, structure_id=f"{NAME}:{slug}", source=NAME, text=texts[slug], origin="embedded"
            )
            for slug, crystal in built.items()
        ]
        if structures
        else []
    )
    return SourceTable(
        name=NAME,
        entries=validate(entries_frame(records), ENTRIES, what=CONDUCTORS),
        rejects=validate(rejects_frame([]), REJECTS, what=CONDUCTORS),
        structures=validate(structures_frame(kept), STRUCTURES, what=STRUCTURES_FILE),
        files=tuple(provenance(_path(folder, name)) for name in (CONDUCTORS, STRUCTURES_FILE)),
    )


def structure(slug: str, *, folder: Path | None = None) -> Structure:
    """Return one structure of the set by the slug of its row, for example ``li6ps5cl``.

    Sites carry the label of their asymmetric site. Raises `DataError` if there is none.
    """
    described = _descriptions(folder)
    if slug not in described:
        raise DataError(
            f"the reference set has no structure '{slug}': expected one of "
            f"{', '.join(described)}.{nearest(slug, list(described))}"
        )
    return _build(described[slug])


def references(*, folder: Path | None = None) -> dict[str, str]:
    """Return, by slug, the paper or type that each structure was written from."""
    return {slug: str(described["reference"]) for slug, described in _descriptions(folder).items()}


def differences(*, folder: Path | None = None) -> dict[str, str]:
    """Return, by slug, why a row differs by more than a factor of ten from OBELiX or LiIon."""
    return {str(row["id"]): str(row["differs_because"]) for row in _rows(folder) if "differs_because" in row}


def _path(folder: Path | None, name: str) -> Path:
    return (folder or data_folder(NAME)) / name


def _rows(folder: Path | None) -> list[Row]:
    """Return the rows of conductors.yaml with their keys and ids checked."""
    return entries(_path(folder, CONDUCTORS), _ROW_KEYS)


def _descriptions(folder: Path | None) -> dict[str, Row]:
    """Return the entries of structures.yaml by slug, with their keys checked."""
    return {str(e["id"]): e for e in entries(_path(folder, STRUCTURES_FILE), _STRUCTURE_KEYS)}


def _record(row: Row, description: Row | None, crystal: Structure | None) -> dict[str, object]:
    """Return the record of `Entry` for one row."""
    slug = str(row["id"])
    return {
        **record(row, source=NAME),
        Entry.STRUCTURE_ID: f"{NAME}:{slug}" if crystal else None,
        **_cell(row, composition(str(row["formula"]), slug), description, crystal),
    }


def _cell(
    row: Row, content_of_unit: Composition, description: Row | None, crystal: Structure | None
) -> dict[str, object]:
    """Return space group, lattice and content of the cell, from the structure where there is one."""
    slug = str(row["id"])
    if crystal and description:
        if row.keys() & {"space_group", "lattice", "z"}:
            raise fault(
                CONDUCTORS,
                slug,
                f"gives space_group, lattice or z, which {STRUCTURES_FILE} gives too: keep only the latter",
            )
        group, lattice, content = description["space_group"], crystal.lattice, crystal.composition
    else:
        group, z = row.get("space_group"), parsed_number(row, "z", slug)
        lattice = _row_lattice(row, slug)
        content = content_of_unit * z if z else None
    record: dict[str, object] = {Entry.CELL_FORMULA: _cell_formula(content) if content else None}
    if group is not None:
        _hall_number(group, file=CONDUCTORS, name=slug)
        record |= {Entry.SPACE_GROUP_SYMBOL: group["symbol"], Entry.SPACE_GROUP_NUMBER: group["number"]}
    if lattice is not None:
        record |= dict(zip(_LATTICE_COLUMNS, lattice.parameters, strict=True))
    return record


def _row_lattice(row: Row, slug: str) -> Lattice | None:
    """Return the lattice that a row gives; it needs the space group to be completed."""
    if "lattice" not in row:
        return None
    if "space_group" not in row:
        raise fault(CONDUCTORS, slug, "gives a lattice without its space_group")
    _hall_number(row["space_group"], file=CONDUCTORS, name=slug)
    return _lattice(row["lattice"], row["space_group"], file=CONDUCTORS, name=slug)


def _cell_formula(content: Composition) -> str:
    """Return the content of a cell, such as ``Li24P4S20Cl4``."""
    return "".join(f"{element}{amount:.6g}" for element, amount in content.get_el_amt_dict().items())


def _hall_number(group: object, *, file: str, name: str) -> int:
    """Return the Hall number (1 to 530) of a space group; its symbol, number and setting must fit."""
    require_keys(group, _GROUP_KEYS, file=file, name=f"{name}: space_group")
    symbol, number, setting = group["symbol"], group["number"], group.get("setting")
    settings = _settings().get(number, {})
    hall = settings.get(setting) if setting else min(settings.values(), default=None)
    if hall is None:
        raise fault(
            file,
            name,
            f"has space group number {number!r}, setting {setting!r}: expected 1 to "
            f"230 and one of the settings {list(settings)}",
        )
    expected = spglib.get_spacegroup_type(hall).international_short
    if symbol != expected:
        raise fault(file, name, f"calls space group {number} {symbol!r}: expected {expected!r}")
    return hall


@lru_cache(maxsize=1)
def _settings() -> dict[int, dict[str, int]]:
    """Return the Hall numbers of each space group by setting; the smallest is the standard setting."""
    settings: dict[int, dict[str, int]] = {}
    for hall in range(1, _N_HALL + 1):
        found = spglib.get_spacegroup_type(hall)
        settings.setdefault(found.number, {})[found.choice] = hall
    return settings


def _lattice(given: object, group: Row, *, file: str, name: str) -> Lattice:
    """Complete and check the lattice parameters with the crystal system of the space group."""
    _, system, free = next(entry for entry in _SYSTEMS if group["number"] <= entry[0])
    require_keys(given, dict.fromkeys(free.split(), True), file=file, name=f"{name}: {system} lattice")
    gamma = 120.0 if system in ("hexagonal", "trigonal") else 90.0
    full = {"b": given["a"], "c": given["a"], "alpha": 90.0, "beta": 90.0, "gamma": gamma, **given}
    try:
        return Lattice.from_parameters(*(float(full[key]) for key in _LATTICE_KEYS))
    except (TypeError, ValueError) as error:
        raise fault(file, name, f"has the lattice {given!r}: expected Angstrom and deg") from error


def _build(description: Row) -> Structure:
    """Build one structure from space group, lattice and asymmetric unit.

    Raises `DataError` where an orbit has not the multiplicity of its Wyckoff position or two orbits
    meet on one point.
    """
    slug, group = str(description["id"]), description["space_group"]
    operations = spglib.get_symmetry_from_database(_hall_number(group, file=STRUCTURES_FILE, name=slug))
    lattice = _lattice(description["lattice"], group, file=STRUCTURES_FILE, name=slug)
    species, labels, coords = [], [], np.empty((0, 3))
    for position, site in enumerate(description["sites"], start=1):
        name = f"{slug}: site {name_of(site, position, key='label')}"
        require_keys(site, _SITE_KEYS, file=STRUCTURES_FILE, name=name)
        orbit = _orbit(operations, site, slug)
        if _same(orbit, coords).any():
            raise fault(STRUCTURES_FILE, slug, f"has site {site['label']} on top of another site")
        coords = np.vstack([coords, orbit])
        species += [_occupancies(site, slug)] * len(orbit)
        labels += [str(site["label"])] * len(orbit)
    return Structure(lattice, species, coords, labels=labels)


def _orbit(operations: Mapping[str, np.ndarray], site: Row, slug: str) -> np.ndarray:
    """Return the images of a site, shape (n, 3), n being the multiplicity of its Wyckoff position."""
    label, wyckoff, xyz = site["label"], str(site["wyckoff"]), site["xyz"]
    if not re.fullmatch(r"[1-9]\d*[a-zA-Z]", wyckoff):
        raise fault(STRUCTURES_FILE, slug, f"has site {label} at {wyckoff!r}: expected for example 24d")
    try:
        point = np.asarray(xyz, dtype=float).reshape(3)
    except (TypeError, ValueError) as error:
        raise fault(STRUCTURES_FILE, slug, f"has site {label} at {xyz!r}: expected [x, y, z]") from error
    images = (operations["rotations"] @ point + operations["translations"]) % 1.0
    orbit = images[~np.tril(_same(images, images), k=-1).any(axis=1)]
    if len(orbit) != int(wyckoff[:-1]):
        raise fault(
            STRUCTURES_FILE,
            slug,
            f"has site {label} at {xyz} with {len(orbit)} images: expected "
            f"those of Wyckoff position {wyckoff}",
        )
    return orbit


def _same(points: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Return which fractional coordinates are one point of the crystal, shape (n, m)."""
    shift = points[:, None, :] - others[None, :, :]
    return (np.abs(shift - np.round(shift)) < SAME_SITE).all(axis=2)


def _occupancies(site: Row, slug: str) -> Composition:
    """Return elements and occupancies of a site, which add up to at most 1."""
    try:
        mix = Composition(site["species"], strict=True)
    except (TypeError, ValueError) as error:
        raise fault(
            STRUCTURES_FILE,
            slug,
            f"has site {site['label']} with {site['species']!r}: expected {{element: occupancy}}",
        ) from error
    if not 0 < mix.num_atoms <= 1 + 1e-6 or min(mix.values()) <= 0:
        raise fault(
            STRUCTURES_FILE,
            slug,
            f"has site {site['label']} with occupancies {site['species']}: "
            "expected positive numbers that add up to at most 1",
        )
    return mix
