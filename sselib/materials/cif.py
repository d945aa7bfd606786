"""The one reader of CIFs: cell, symmetry and sites are read as written, or the file is refused.

pymatgen splits the text into tokens and spglib knows the space groups; what a site holds and where its images
lie is decided here. One guard compares what was read with everything else that the file states.
"""

import math
import re
import warnings
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import spglib
from pymatgen.core import Composition, Element, Lattice, Species, Structure, SymmOp
from pymatgen.core.sites import PeriodicSite
from pymatgen.io.cif import CifBlock
from pymatgen.util.coord import in_coord_list_pbc

from sselib.errors import DataError, FormulaError
from sselib.materials.composition import element_fractions, l1_distances
from sselib.materials.formula_input import read_formula

COMPOSITION_TOLERANCE_L1 = 0.1  # L1 distance between structure and formula, above which they disagree
OCCUPANCY_READ = "max_occupancy_read"  # structure property: largest sum of occupancies before scaling
_OVERFULL = 1.05  # a sum of occupancies that is no rounding
_SAME_SITE = 1e-4  # fractional: the same position, written twice
_ROUNDED_ANGSTROM = 0.3  # images of one nearly full site that lie closer are one rounded position
_VOLUME_PER_ATOM_ANGSTROM3 = (3.0, 500.0)  # diamond has 5.7, a gas more
_Z_TOLERANCE = 0.1  # relative, of the number of atoms in the cell
_MAX_OPERATIONS = 1000
_VACANCIES = frozenset(["va", "vac", "vacancy", "vc", "void", "empty", "v_", "□"])
_PLACEHOLDERS = frozenset(["x", "du"])
_MOLECULES = re.compile(
    r"(?:wat(?:er)?|oh\d?|o-h|h2o|h3o|nh\d?|bh4|alh4|no3|po4|so4|co3|cn|ch\d)\d*[+-]?", re.I
)
_OPERATIONS = ("_symmetry_equiv_pos_as_xyz", "_space_group_symop_operation_xyz")
_NAMES = tuple(
    f"_{part}_name_{kind}"
    for kind in ("hall", "h-m_alt", "h-m", "h-m_full")
    for part in ("space_group", "symmetry_space_group")
)
_NUMBERS = ("_space_group_it_number", "_symmetry_int_tables_number")
_FORMULAS = tuple(f"_chemical_formula_{kind}" for kind in ("sum", "structural", "moiety", "analytical"))
_OLD_NAMES = {"cmca": "cmce", "cmma": "cmme", "ccca": "ccce", "abm2": "aem2", "aba2": "aea2"}


@dataclass(frozen=True)
class CifContent:
    """What a CIF holds; ``notes`` say how it was read, ``doubt`` why it should not be used (else empty)."""

    structure: Structure
    notes: tuple[str, ...] = ()
    doubt: str = ""


def read_cif(text: str, *, name: str) -> Structure:
    """Return the structure of a curated source's CIF, whatever `inspect_cif` doubts; raises its error."""
    return inspect_cif(text, name=name).structure


def inspect_cif(text: str, *, name: str) -> CifContent:
    """Read a CIF, in the cell and setting that it is written in, and compare it with what it states.

    Sites without any occupancy and vacancies are left out. Where the occupancies of a site add up to more
    than 1 they are scaled down to 1, and `sselib.materials.structures.quality_findings` says so. ``name`` (a
    file name) is for the errors. Raises `DataError` if the text is empty, holds no atoms or more than one
    structure, or cannot be read.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # pymatgen warns of what the errors and notes say
            return _content(_block(text), stem=name.rsplit(".", 1)[0])
    except Exception as error:  # a broken line makes the parser raise almost anything
        reason = " ".join(str(error).split()) or type(error).__name__
        if isinstance(error, ZeroDivisionError):
            reason = "a loop is empty or incomplete"
        if reason.startswith(("zip() argument", "len(items)")):  # columns of a loop and their values
            reason = "a loop lacks values: is the file cut off?"
        raise DataError(
            f"CIF {name} cannot be read ({reason}): expected a cell, a symmetry and atom sites "
            "with elements, coordinates and occupancies"
        ) from error


Items = Mapping[str, str | list[str]]
_Place = tuple[float, float, float]


def _block(text: str) -> Items:
    """Return the items of the one block with a cell and atoms, names in lower case and without dots."""
    parts = re.split(r"^\s*data_", "x\n" + text.removeprefix("\ufeff"), flags=re.MULTILINE | re.IGNORECASE)
    blocks = [_lower(CifBlock.from_str(f"data_{part}").data) for part in parts[1:]]
    cells = [b for b in blocks if re.match(r"[\d.]|nan", str(b.get("_cell_length_a", "")))]
    filled = [b for b in cells if any(re.search(r"\d", x) for x in _column(b, "_atom_site_fract_x"))]
    found = filled if len(cells) > 1 else cells
    if len(found) != 1:
        raise ValueError(
            f"it holds {len(found)} unit cells{' with atoms' if filled else ''}: one structure per file"
        )
    return found[0]


def _lower(data: Items) -> Items:
    return {key.lower().replace(".", "_").rstrip("_"): value for key, value in data.items()}


def _column(block: Items, key: str) -> list[str]:
    value = block.get(key, [])
    return value if isinstance(value, list) else [value]


def _content(block: Items, *, stem: str) -> CifContent:
    notes: list[str] = []
    lattice = _lattice(block)
    rows = _rows(block, notes)
    if not rows:
        raise ValueError("no site with an occupancy above 0")
    settings, symmetry_doubt = _settings(block, lattice)
    stated = _stated_formulas(block)
    readings = [_expanded(rows, operations, lattice) for operations in settings]
    if len(readings) > 1:
        readings = [r for r in readings if stated and not _disagreement(r[0], stated, "") and not r[2]]
        if len({r[0].composition.reduced_formula for r in readings}) != 1:
            raise ValueError("the origin or setting of the space group is not stated")
        notes.append("the origin is chosen so that the sites hold the stated formula")
    structure, more, overlap = readings[0]
    if symmetry_doubt and stated and "_cell_formula_units_z" in block:
        symmetry_doubt = ""  # Z tells whether all atoms are listed
    doubt = (
        _disagreement(structure, stated, stem)
        or _wrong_multiplicity(block, structure)
        or _wrong_z(block, structure)
        or overlap
        or symmetry_doubt
    )
    return CifContent(structure, tuple(dict.fromkeys([*notes, *more])), doubt)


def _lattice(block: Items) -> Lattice:
    names = ("length_a", "length_b", "length_c", "angle_alpha", "angle_beta", "angle_gamma")
    values = [block.get(f"_cell_{name}") for name in names]
    missing = [name for name, value in zip(names, values, strict=True) if value is None]
    if missing:
        raise ValueError(f"_cell_{', _cell_'.join(missing)} missing")
    parameters = [_number(str(value)) for value in values]
    if not all(map(math.isfinite, parameters)) or not all(0 < angle < 180 for angle in parameters[3:]):
        raise ValueError(f"impossible cell or coordinates, cell {tuple(parameters)}")
    if not all(0 < length < 1000 for length in parameters[:3]):
        raise ValueError(
            f"impossible cell or coordinates (Singular matrix or too long), cell {tuple(parameters)}"
        )
    return Lattice.from_parameters(*parameters)


def _number(text: str) -> float:
    """Return ``0.333(2)``, ``0,333`` or ``1/3`` as a number."""
    plain = re.sub(r"\(.*\)?$", "", text.strip()).replace(",", ".")
    above, _, below = plain.partition("/")
    try:
        return float(above) / float(below) if below else float(above)
    except (ValueError, ZeroDivisionError) as error:
        raise ValueError(f"could not convert {text!r} to a number") from error


# Sites


@dataclass(frozen=True)
class _Row:
    """One line of the list of sites."""

    label: str
    position: _Place
    species: Mapping[Element | Species, float]


def _rows(block: Items, notes: list[str]) -> list[_Row]:
    """Return the filled sites of the list; raises `ValueError` for one that cannot be read."""
    columns = {c: _column(block, f"_atom_site_{c}") for c in
               ("label", "type_symbol", "fract_x", "fract_y", "fract_z", "occupancy")}  # fmt: skip
    n = len(columns["label"] or columns["type_symbol"])
    if not n:
        raise ValueError("a loop is empty or incomplete")
    if any(len(c) not in (0, n) for c in columns.values()) or not columns["fract_z"]:
        raise ValueError("a loop lacks values: is the file cut off?")
    states = _oxidation_numbers(block)
    mixed = _shared_places(columns)
    rows = []
    for i in range(n):
        label = (columns["label"] or columns["type_symbol"])[i]
        type_symbol = columns["type_symbol"][i] if columns["type_symbol"] else ""
        filled = _occupancy(columns["occupancy"][i] if columns["occupancy"] else ".", label, notes)
        if filled == 0:
            continue
        species = _species(type_symbol, label, shared=mixed[i], notes=notes)
        if not species:
            notes.append("vacancies left out")
            continue
        position = tuple(_third(_number(columns[f"fract_{axis}"][i])) for axis in "xyz")
        if not all(map(math.isfinite, position)):
            raise ValueError("impossible cell or coordinates")
        charged = {_charged(el, type_symbol, states): x * filled for el, x in species.items()}
        rows.append(_Row(label, position, charged))
    if any(_number(x) > 0 for x in _column(block, "_atom_site_attached_hydrogens") if re.match(r"\d", x)):
        raise ValueError("hydrogen atoms without coordinates (_atom_site_attached_hydrogens)")
    return rows


def _third(x: float) -> float:
    """Return 1/3 for 0.3333, as pymatgen does, so that an image falls on its site."""
    return next((third for third in (1 / 3, 2 / 3) if abs(x / third - 1) < 1e-4), x)


def _shared_places(columns: Mapping[str, list[str]]) -> list[bool]:
    """Return for each line whether another one has its coordinates."""
    places = list(zip(*(columns[f"fract_{axis}"] for axis in "xyz"), strict=True))
    counts = Counter(places)
    return [counts[place] > 1 for place in places]


def _occupancy(text: str, label: str, notes: list[str]) -> float:
    """Return an occupancy; ``.`` (the default of a CIF) and ``?`` mean 1, a site without atoms is 0."""
    plain = text.strip()
    if plain in (".", "?", ""):
        notes.extend(["an occupancy that is not given counts as 1"] if plain == "?" else [])
        return 1.0
    value = _number(plain.removesuffix("%")) / (100 if plain.endswith("%") else 1)
    if not value >= 0:
        raise ValueError(f"site {label} has the occupancy {text}: expected 0 to 1")
    if value > 2:
        raise ValueError(f"site {label} has the occupancy {text}: expected 0 to 1; is it in per cent?")
    return value


def _species(type_symbol: str, label: str, *, shared: bool, notes: list[str]) -> dict[str, float]:
    """Return the elements of one line and their shares, empty for a vacancy."""
    written = type_symbol if type_symbol not in ("", ".", "?") else label
    if " + " in written:  # 0.6(1)Li + 0.4(1)Na, as the Pauling File writes a shared site
        parts = [re.fullmatch(r"\s*(\d*\.?\d+)(?:\(\d+\))?\s*(\S+)\s*", p) for p in written.split(" + ")]
        if not all(parts):
            raise ValueError(f"site {label} holds {written!r}: expected for example '0.6Li + 0.4Na'")
        found: dict[str, float] = {}
        for part in parts:
            for el in _species(part[2], label, shared=True, notes=notes):
                found[el] = found.get(el, 0.0) + float(part[1])
        return found
    bare = re.sub(r"[\d()+\-_. ]+$", "", written).lower()
    names = {bare, re.sub(r"[\d()+\-_. ]+$", "", label).lower()}
    if names & _VACANCIES or (bare in _PLACEHOLDERS and shared):
        return {}
    return {_element(written, label, is_type=written is type_symbol, notes=notes): 1.0}


def _element(written: str, label: str, *, is_type: bool, notes: list[str]) -> str:
    """Return the element of a type symbol or label; raises `ValueError` where it names none for certain."""
    isotope = re.fullmatch(r"\d{1,3}[-_]?([A-Za-z]{1,2})[\d+\-]*", written)
    text = isotope[1] if isotope else written
    letters = re.match(r"[A-Za-z]*", text)[0]
    if isotope or (is_type and re.fullmatch(r"(?:Li[-_]?[67]|[Hh][-_][123]|[DT])", text, re.I)):
        notes.append("isotopes read as their element")
    if (letters in ("D", "T") and is_type) or letters == "D":
        return "H"
    symbol = _symbol(letters, whole=is_type or bool(isotope))
    if symbol:
        return symbol
    if _MOLECULES.fullmatch(text.rstrip("0123456789")) or _MOLECULES.fullmatch(letters):
        raise ValueError(f"site {label} is {written!r}, a group of atoms: give each atom its own coordinates")
    raise ValueError(f"site {label} names the unknown element {letters or written}")


def _symbol(letters: str, *, whole: bool) -> str:
    """Return the element that letters begin with; a label may go on with one letter from A to F or W."""
    for length in (2, 1):
        symbol, rest = letters[:length].capitalize(), letters[length:]
        if len(letters) < length or not Element.is_valid_symbol(symbol) or symbol in ("D", "T"):
            continue
        if not rest or (not whole and re.fullmatch(r"[A-FWa-f]", rest)):
            return symbol
    return ""


def _oxidation_numbers(block: Items) -> dict[str, float]:
    """Return {type symbol: oxidation number} that the file states."""
    symbols, numbers = (_column(block, f"_atom_type_{c}") for c in ("symbol", "oxidation_number"))
    try:
        found = {s: _number(n) for s, n in zip(symbols, numbers, strict=True)}
    except ValueError:
        return {}
    return found | {re.sub(r"\d?[+\-]?$", "", s): x for s, x in found.items()}


def _charged(symbol: str, type_symbol: str, states: Mapping[str, float]) -> Element | Species:
    return Species(symbol, states.get(type_symbol, states.get(symbol, 0))) if states else Element(symbol)


# Symmetry


def _settings(block: Items, lattice: Lattice) -> tuple[list[list[SymmOp]], str]:
    """Return the operations, several lists where the setting is open, and what is doubtful about them."""
    written = next((ops for key in _OPERATIONS if (ops := _column(block, key))), [])
    if len(written) > _MAX_OPERATIONS:
        raise ValueError(f"{len(written)} symmetry operations: at most {_MAX_OPERATIONS} are read")
    named = _hall_numbers(block, lattice)
    if written:
        operations = [SymmOp.from_xyz_str(xyz) for xyz in written]
        short = len(written) == 1 and bool(named) and named[0] > 2
        doubt = "the file names a space group but lists one symmetry operation" if short else ""
        return [operations], doubt
    if named:
        return [_operations(hall) for hall in named], ""
    stated = next((v for key in (*_NAMES, *_NUMBERS) if (v := str(block.get(key, ""))).strip(".? ")), "")
    if stated:
        raise ValueError(f"no symmetry operations, and the space group {stated!r} is not known")
    return [[SymmOp.from_xyz_str("x, y, z")]], "no symmetry is given: P1 was assumed"


def _hall_numbers(block: Items, lattice: Lattice) -> list[int]:
    """Return spglib's numbers of the settings that the file's space group may mean, none without one."""
    halls, names, numbers = _settings_by_name()
    for key in _NAMES:
        stated = str(block.get(key, "")).strip()
        found = halls.get(_plain(stated)) if "hall" in key else None
        if found := found or _named(stated, names, lattice):
            return found
    stated = next((str(block[key]) for key in _NUMBERS if key in block), "")
    return _fitting(numbers.get(stated.strip(), []), "", lattice)


def _named(stated: str, names: Mapping[str, list[int]], lattice: Lattice) -> list[int]:
    """Return the settings of a Hermann-Mauguin symbol such as ``F d -3 m :2``, ``I a 3 d`` or ``P 21/n``."""
    for name, choice in _with_choice(stated):
        plain = _OLD_NAMES.get(_plain(name), _plain(name))
        found = names.get(plain) or names.get(re.sub(r"(?<=[a-z])3", "-3", plain), [])
        if fitting := _fitting(found, choice, lattice):
            return fitting
    return []


def _with_choice(stated: str) -> Iterable[tuple[str, str]]:
    yield stated, ""
    match = re.fullmatch(r"(.*?)\s*:?\s*([12HRSZhrsz])", stated)
    if match:
        yield match[1], {"S": "1", "Z": "2"}.get(match[2].upper(), match[2].upper())


def _fitting(halls: Sequence[int], choice: str, lattice: Lattice) -> list[int]:
    """Return the settings whose unique axis or centring the cell allows, of those the first named."""
    oblique = [axis for axis, angle in zip("abc", lattice.angles, strict=True) if abs(angle - 90) > 0.01]
    found = []
    for hall in halls:
        kind = spglib.get_spacegroup_type(hall)
        letter = re.sub(r"[-\d]", "", kind.choice)
        rhombohedral = abs(lattice.gamma - 120) > 0.1 or abs(lattice.alpha - 90) > 0.1
        if kind.choice in ("H", "R"):
            fits = choice == kind.choice or (not choice and (kind.choice == "R") == rhombohedral)
        elif 3 <= kind.number <= 15:
            fits = letter == (oblique[0] if len(oblique) == 1 else "b")
        else:
            fits = not choice or kind.choice.endswith(choice)
        found += [hall] if fits else []
    if found and spglib.get_spacegroup_type(found[0]).choice in ("1", "2"):
        return found
    return found[:1]


@lru_cache(maxsize=1)
def _settings_by_name() -> tuple[dict[str, list[int]], dict[str, list[int]], dict[str, list[int]]]:
    """Return {symbol: settings} by Hall symbol, by Hermann-Mauguin symbol and by number."""
    halls: dict[str, list[int]] = {}
    names: dict[str, list[int]] = {}
    numbers: dict[str, list[int]] = {}
    for hall in range(1, 531):
        kind = spglib.get_spacegroup_type(hall)
        halls.setdefault(_plain(kind.hall_symbol), []).append(hall)
        numbers.setdefault(str(kind.number), []).append(hall)
        full = kind.international_full
        short = re.sub(r"(?<= )1(?= |$)", "", full) if 3 <= kind.number <= 15 else full
        for name in {
            _plain(n) for n in (full, short, kind.international_short, *kind.international.split("="))
        }:
            names.setdefault(_plain(name), []).append(hall)
    return halls, names, numbers


def _plain(symbol: str) -> str:
    return re.sub(r"[\s_'\"]", "", symbol).lower()


def _operations(hall: int) -> list[SymmOp]:
    found = spglib.get_symmetry_from_database(hall)
    pairs = zip(found["rotations"], found["translations"], strict=True)
    return [SymmOp.from_rotation_and_translation(r, t) for r, t in pairs]


# Images


def _expanded(
    rows: Sequence[_Row], operations: Sequence[SymmOp], lattice: Lattice
) -> tuple[Structure, list[str], str]:
    """Return the structure, its sums of occupancies scaled down to 1, notes and what overlaps."""
    groups: dict[_Place, Composition] = {}
    labels: dict[_Place, str] = {}
    for row in rows:
        place = _known_place(row.position, groups, operations)
        groups[place] = groups.get(place, Composition()) + Composition(row.species)
        labels[place] = row.label
    notes: list[str] = []
    sites: list[PeriodicSite] = []
    sums: list[float] = []
    for place, mix in sorted(groups.items(), key=lambda item: item[1]):
        images = _images(place, operations)
        merged = _merged(images, lattice) if mix.num_atoms > 0.5 + 1e-6 else images
        if len(merged) < len(images):
            notes.append("images of a rounded special position were merged")
        total = sum(mix.values())
        shares = {s: x / max(1.0, total) for s, x in mix.items()}
        sites += [PeriodicSite(shares, x, lattice, label=labels[place]) for x in merged]
        sums += [total] * len(merged)
    structure = Structure.from_sites(
        sites, properties={OCCUPANCY_READ: float(max(sums))} if max(sums) > 1 else None
    )
    low, high = _VOLUME_PER_ATOM_ANGSTROM3
    per_atom = structure.volume / structure.composition.num_atoms
    if not low <= per_atom <= high:
        raise ValueError(
            f"impossible cell or coordinates: {per_atom:.3g} cubic Angstrom per atom; "
            f"expected {low:g} to {high:g} (is the cell in Angstrom?)"
        )
    return structure, notes, _overlap(structure, np.array(sums))


def _known_place(
    place: _Place,
    places: Iterable[_Place],
    operations: Sequence[SymmOp],
) -> _Place:
    """Return the place among ``places`` that an image of ``place`` falls on, else ``place``."""
    known = list(places)
    if not known:
        return place
    for operation in operations:
        difference = np.array(known) - operation.operate(place)
        hits = np.where(np.all(np.abs(difference - np.round(difference)) < _SAME_SITE, axis=1))[0]
        if len(hits):
            return known[hits[0]]
    return place


def _images(place: _Place, operations: Sequence[SymmOp]) -> list[np.ndarray]:
    """Return the different images of a place in the cell."""
    found: list[np.ndarray] = []
    for operation in operations:
        x = operation.operate(place)
        x = np.array([i - math.floor(i) for i in x])
        if not in_coord_list_pbc(found, x, atol=_SAME_SITE):
            found.append(x)
    return found


def _merged(images: list[np.ndarray], lattice: Lattice) -> list[np.ndarray]:
    """Return the images with those that nearly coincide replaced by their mean."""
    if len(images) < 2:
        return images
    distances = lattice.get_all_distances(images, images)
    if distances[~np.eye(len(images), dtype=bool)].min() > _ROUNDED_ANGSTROM:
        return images
    merged, left = [], list(range(len(images)))
    while left:
        near = [i for i in left if distances[left[0], i] <= _ROUNDED_ANGSTROM]
        shifts = [(images[i] - images[near[0]] + 0.5) % 1 - 0.5 for i in near]
        merged.append((images[near[0]] + np.mean(shifts, axis=0)) % 1)
        left = [i for i in left if i not in near]
    return merged


def _overlap(structure: Structure, filled: np.ndarray) -> str:
    """Return a doubt about places that hold more than one atom; ``filled`` are the sums of occupancies."""
    if filled.max() > _OVERFULL:
        return f"the occupancies of a site add up to {filled.max():.2f}"
    first, second, _, distance = structure.get_neighbor_list(0.6)
    both = filled[first] + filled[second] > _OVERFULL
    if both.any():
        return f"sites {distance[both].min():.2f} Angstrom apart are both filled"
    return ""


# The guard


def _stated_formulas(block: Items) -> dict[str, str]:
    """Return the readable formulas that the file states, in a plain notation."""
    found = {}
    for key in _FORMULAS:
        text = " ".join(str(block.get(key, "")).replace(",", "·").split())
        try:
            found[text] = read_formula(text).plain
        except FormulaError:
            continue
    return found


def _disagreement(structure: Structure, stated: Mapping[str, str], stem: str) -> str:
    """Return a doubt where the sites hold another composition than the file or its name states."""
    found = structure.composition.element_composition.formula.replace(" ", "")
    named = {}
    try:
        reading = read_formula(re.sub(r"_.*", "", stem))
        if "Li" in reading.plain and len(reading.composition) > 2:
            named = {f"of its name, {stem}": reading.plain}
    except FormulaError:
        pass
    for text, plain in {**stated, **named}.items():
        fractions = element_fractions([plain, found]).to_numpy()
        if l1_distances(fractions[:1], fractions[1:]).item() > COMPOSITION_TOLERANCE_L1:
            return f"the file states the formula {text}, its sites hold {found}: is it complete?"
    return ""


def _wrong_multiplicity(block: Items, structure: Structure) -> str:
    """Return a doubt where a site has another number of images than the file states."""
    keys = ("_atom_site_symmetry_multiplicity", "_atom_site_site_symmetry_multiplicity")
    stated = next((c for key in keys if (c := _column(block, key))), [])
    labels = _column(block, "_atom_site_label")
    found, listed = Counter(site.label for site in structure), Counter(labels)
    for label, n in zip(labels, stated, strict=False):
        if n.isdigit() and found[label] not in (0, int(n)) and listed[label] == 1:
            return f"site {label} has {found[label]} images in the cell, the file states {n}"
    return ""


def _wrong_z(block: Items, structure: Structure) -> str:
    """Return a doubt where the cell holds neither Z nor one of the stated formula."""
    z = str(block.get("_cell_formula_units_z", ""))
    text = " ".join(str(block.get("_chemical_formula_sum", "")).split())
    try:
        composition = read_formula(text).composition
    except FormulaError:
        return ""
    expected, found = composition.num_atoms, structure.composition.num_atoms
    if not z.isdigit() or int(z) == 0:
        return ""
    whole = all(float(x).is_integer() for x in composition.values())
    of_the_cell = not whole or all(x % int(z) == 0 for x in composition.values())  # as pymatgen writes it
    factors = (int(z), 1) if of_the_cell else (int(z),)
    if any(abs(found / (n * expected) - 1) <= _Z_TOLERANCE for n in factors):
        return ""
    return (
        f"the file states {z} x {text} in its cell, {int(z) * expected:.4g} atoms; its sites hold {found:.4g}"
    )
