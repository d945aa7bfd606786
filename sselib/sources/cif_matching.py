"""Which CIF belongs to which row of the user's table: by file name, by id, by formula, by its content."""

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pymatgen.core import Composition, Structure
from pymatgen.symmetry.analyzer import SpacegroupAnalyzer, SymmetryUndeterminedError
from pymatgen.symmetry.groups import SpaceGroup, sg_symbol_from_int_number

from sselib.columns import Entry
from sselib.errors import DataError, FormulaError
from sselib.materials.composition import element_fractions, l1_distances, parse_formula
from sselib.materials.structure_input import CifReading

NAME_TOLERANCE_L1 = 0.002  # a formula in the file name means this very composition
CONTENT_TOLERANCE_L1 = 0.02  # refined occupancies differ a little from the nominal formula
SYMPREC_ANGSTROM = 0.01
_NUMBER_TAGS = ("_space_group_IT_number", "_symmetry_Int_Tables_number")
_SYMBOL_TAGS = ("_space_group_name_H-M_alt", "_symmetry_space_group_name_H-M")


@dataclass(frozen=True)
class Cif:
    """One CIF that could be read; ``text`` is its content, ``space_group`` (symbol, number)."""

    path: Path
    text: str
    structure: Structure
    space_group: tuple[str, int]


def cifs_beside_table(folder: str) -> list[Path]:
    """Return the CIFs of a folder in alphabetical order; none without a folder."""
    if not folder:
        return []
    path = Path(folder).expanduser()
    if not path.is_dir():
        raise DataError(f"no folder of CIFs at '{folder}': expected a folder with files named <id>.cif")
    return [file for file in sorted(path.iterdir()) if file.suffix.lower() in (".cif", ".mcif")]


def usable(path: Path, reading: CifReading) -> Cif:
    """Return a CIF that was read. Raises `DataError` if it was not, or disagrees with what it states."""
    if reading.structure is None:
        raise DataError(reading.problem)
    if reading.doubt:
        raise DataError(f"CIF {path.name} is not used: {reading.doubt}")
    group = space_group(reading.text, reading.structure)
    return Cif(path=path, text=reading.text, structure=reading.structure, space_group=group)


def space_group(text: str, structure: Structure) -> tuple[str, int]:
    """Return (symbol, number): those the CIF states unless it says P1, else those that spglib finds.

    Where spglib finds no symmetry at all it is P1.
    """
    stated = _stated_number(text)
    if stated is not None and stated > 1:
        return sg_symbol_from_int_number(stated), stated
    try:
        analyzer = SpacegroupAnalyzer(structure, symprec=SYMPREC_ANGSTROM)
        return analyzer.get_space_group_symbol(), analyzer.get_space_group_number()
    except (SymmetryUndeterminedError, ValueError):
        return "P1", 1


def _stated_number(text: str) -> int | None:
    """Return the number of the space group that a CIF states, None where it states none that is valid."""
    number = next((v for tag in _NUMBER_TAGS if (v := _value(text, tag)) and v.isdigit()), None)
    if number and 1 <= int(number) <= 230:
        return int(number)
    for symbol in filter(None, (_value(text, tag) for tag in _SYMBOL_TAGS)):
        try:
            return SpaceGroup(re.sub(r"\s|:.*$", "", symbol)).int_number
        except ValueError:
            continue
    return None


def _value(text: str, tag: str) -> str | None:
    """Return the value of a CIF tag without its quotes."""
    found = re.search(rf"^\s*{re.escape(tag)}\s+(?:'([^']*)'|\"([^\"]*)\"|(\S+))", text, flags=re.M | re.I)
    return next((group for group in found.groups() if group), None) if found else None


def by_name(
    paths: Sequence[Path], *, records: Sequence[Mapping[str, object]], cif_column: Mapping[str, str]
) -> dict[Path, list[str]]:
    """Return the ids of the rows that a file is named for: in the rows' ``cif`` column, or by its own name.

    ``records`` are rows of `Entry`; ``cif_column`` maps ids to the file (or its stem) that the row names.
    """
    ids = {str(r[Entry.SOURCE_ID]) for r in records}
    named = defaultdict(list)
    for key, file in cif_column.items():
        if key in ids and file:
            named[Path(file).name.lower().removesuffix(".cif")].append(key)
    found = {path: named.get(path.stem.lower()) or [i for i in ids if i == path.stem] for path in paths}
    return {path: keys for path, keys in found.items() if keys}


def by_formula(cif: Cif, *, records: Sequence[Mapping[str, object]]) -> list[Mapping[str, object]]:
    """Return the rows of the formula in the file's name, or without one, of the CIF's composition.

    Rows that state another space group than the CIF are left out; rows that state the same go before
    rows that state none.
    """
    formula, tolerance = _formula_of(cif)
    if not records:
        return []
    fractions = element_fractions([str(r[Entry.FORMULA]) for r in records]).to_numpy()
    distances = l1_distances(element_fractions([formula]).to_numpy(), fractions)[0]
    near = [r for r, d in zip(records, distances, strict=True) if d <= tolerance]
    same = [r for r in near if r.get(Entry.SPACE_GROUP_NUMBER) == cif.space_group[1]]
    return same or [r for r in near if r.get(Entry.SPACE_GROUP_NUMBER) is None]


def _formula_of(cif: Cif) -> tuple[str, float]:
    """Return the formula in the file's name and how near a row must be, else that of the content."""
    content = cif.structure.composition.element_composition
    try:
        named = parse_formula(cif.path.stem)
    except FormulaError:
        return formula_text(content), CONTENT_TOLERANCE_L1
    same_elements = set(named.get_el_amt_dict()) == set(content.get_el_amt_dict())
    return (
        (cif.path.stem, NAME_TOLERANCE_L1) if same_elements else (formula_text(content), CONTENT_TOLERANCE_L1)
    )


def formula_text(composition: Composition) -> str:
    """Return a composition as a formula without blanks, such as ``Li24P4S20Cl4``."""
    return composition.formula.replace(" ", "")


def decide(
    cifs: Sequence[Cif], *, records: Sequence[Mapping[str, object]]
) -> tuple[dict[Path, list[str]], dict[Path, str]]:
    """Return ({file: ids of its rows}, {file: why it fits none}) for files that no row is named for.

    A file goes to one row, or to several that all state its space group. A row that two files fit, and a
    file that several rows without a space group fit, are left open: the user has to name the file.
    """
    fits = {cif.path: by_formula(cif, records=records) for cif in cifs}
    owners = defaultdict(list)
    for path, rows in fits.items():
        for row in rows:
            owners[row[Entry.SOURCE_ID]].append(path)
    chosen, refused = {}, {}
    for cif in cifs:
        reason = _why_open(cif, fits[cif.path], owners)
        if reason:
            refused[cif.path] = reason
        else:
            chosen[cif.path] = [str(row[Entry.SOURCE_ID]) for row in fits[cif.path]]
    return chosen, refused


def _why_open(cif: Cif, rows: Sequence[Mapping[str, object]], owners: Mapping[object, list[Path]]) -> str:
    """Return why a file is not given to its rows, an empty text where nothing speaks against it."""
    stem, ids = cif.path.stem, [str(row[Entry.SOURCE_ID]) for row in rows]
    remedy = "name it <id>.cif, or give the rows a column 'cif'"
    if not rows:
        formula = cif.structure.composition.element_composition.reduced_formula
        return (
            f"no row has the id '{stem}', and none without a structure has its composition {formula} "
            f"(space group {cif.space_group[1]} or not stated): {remedy}"
        )
    if len(rows) > 1 and rows[0].get(Entry.SPACE_GROUP_NUMBER) is None:
        return f"it fits the rows {', '.join(ids)}, none of which states its space group: {remedy}"
    rivals = {p.name for key in ids for p in owners[key]} - {cif.path.name}
    return f"{', '.join(sorted(rivals))} fits the row '{ids[0]}' too: {remedy}" if rivals else ""
