"""Normalised material families, so that errors can be compared and splits grouped by family.

Sources write a family in their own words: OBELiX has 43 strings (some misspelt), LiIon 15. Each known
string is mapped here on purpose. Where the string is missing, unknown or names no chemistry ("Other",
"Rocksalt"), or contradicts the formula (Li3P as "phosphates"), the composition decides.
"""

import re
from collections.abc import Callable, Iterable
from enum import StrEnum

import pandas as pd
from pymatgen.core import Composition

from sselib.materials.composition import parse_formula


class Family(StrEnum):
    """Normalised families of lithium conductors."""

    GARNET = "garnet"
    NASICON = "nasicon"
    PEROVSKITE = "perovskite"
    ANTIPEROVSKITE = "antiperovskite"
    ARGYRODITE = "argyrodite"
    LGPS = "lgps"
    THIO_LISICON = "thio_lisicon"
    LISICON = "lisicon"
    HALIDE = "halide"
    PNICTIDE = "nitride_phosphide"  # nitrides and phosphides, not phosphates
    HYDRIDE = "hydride"  # borohydrides, alanates, amides and imides too
    PHOSPHATE = "phosphate"  # other than NASICON and LISICON; LiPON too
    OXIDE_OTHER = "oxide_other"
    SULFIDE_OTHER = "sulfide_other"  # sulfides, selenides and tellurides of other structure types
    GLASS = "glass"  # only where the source says so: no composition tells it
    OTHER = "other"


_HALOGENS = ("F", "Cl", "Br", "I")
_CHALCOGENS = ("S", "Se", "Te")
_LARGE = (
    "La",
    "Ce",
    "Pr",
    "Nd",
    "Sm",
    "Eu",
    "Gd",
    "Tb",
    "Dy",
    "Ho",
    "Er",
    "Ba",
    "Sr",
    "Ca",
    "K",
    "Na",
    "Ag",
    "Rb",
)  # cations of the garnet's and perovskite's large site
_TETRAHEDRAL = ("P", "Si", "Ge", "Sn", "As", "Sb", "Al", "Ga")  # centres of MS4 tetrahedra
_TETRAHEDRAL_OXIDE = ("P", "V", "Si", "Ge", "As", "Al", "Ga")  # centres of MO4 tetrahedra in LISICON
_ANIONS = ("O", "S", "Se", *_HALOGENS, "N", "H", "C")
_OXIDE_FAMILIES = frozenset(
    {Family.GARNET, Family.NASICON, Family.PEROVSKITE, Family.LISICON, Family.PHOSPHATE, Family.OXIDE_OTHER}
)

# Raw string in lower case, letters only -> family; None: the string names no chemistry, composition decides.
RAW_FAMILIES: dict[str, Family | None] = {
    "nasicon": Family.NASICON,
    "linasicon": Family.NASICON,
    "garnet": Family.GARNET,
    "garnets": Family.GARNET,
    "garnetlike": Family.GARNET,
    "perovskite": Family.PEROVSKITE,
    "perovskites": Family.PEROVSKITE,
    "antiperovskite": Family.ANTIPEROVSKITE,
    "antiperovskites": Family.ANTIPEROVSKITE,
    "argyrodite": Family.ARGYRODITE,
    "argyrodites": Family.ARGYRODITE,
    "lgps": Family.LGPS,
    "thiolisicon": Family.THIO_LISICON,
    "chalcogenidotetrelates": Family.THIO_LISICON,
    "lisicon": Family.LISICON,
    "halide": Family.HALIDE,
    "halides": Family.HALIDE,
    "chloride": Family.HALIDE,
    "chlorides": Family.HALIDE,
    "cholorides": Family.HALIDE,
    "fluoride": Family.HALIDE,
    "fluorides": Family.HALIDE,
    "bromide": Family.HALIDE,
    "bromides": Family.HALIDE,
    "iodide": Family.HALIDE,
    "iodides": Family.HALIDE,
    "nitride": Family.PNICTIDE,
    "nitrides": Family.PNICTIDE,
    "boronnitride": Family.PNICTIDE,
    "nitridosilicates": Family.PNICTIDE,
    "phosphide": Family.PNICTIDE,
    "phosphides": Family.PNICTIDE,
    "nitridephosphide": Family.PNICTIDE,
    "pnictide": Family.PNICTIDE,
    "nitridehalide": None,
    "hydride": Family.HYDRIDE,
    "hydrides": Family.HYDRIDE,
    "borohydride": Family.HYDRIDE,
    "complexhydride": Family.HYDRIDE,
    "amide": Family.HYDRIDE,
    "closoborate": Family.HYDRIDE,
    "phosphate": Family.PHOSPHATE,
    "phosphates": Family.PHOSPHATE,
    "diphosphate": Family.PHOSPHATE,
    "pyrophosphate": Family.PHOSPHATE,
    "fluorophosphates": Family.PHOSPHATE,
    "tavorite": Family.PHOSPHATE,
    "borophosphates": Family.PHOSPHATE,
    "lipon": Family.PHOSPHATE,
    "zircon": Family.PHOSPHATE,
    "oxide": Family.OXIDE_OTHER,
    "oxides": Family.OXIDE_OTHER,
    "oxideother": Family.OXIDE_OTHER,
    "molybdates": Family.OXIDE_OTHER,
    "pyrochlore": Family.OXIDE_OTHER,
    "lanthanumlithiumoxide": Family.OXIDE_OTHER,
    "hexaoxometalates": Family.OXIDE_OTHER,
    "copperpyroborate": Family.OXIDE_OTHER,
    "zirconates": Family.OXIDE_OTHER,
    "fluorooxoborate": Family.OXIDE_OTHER,
    "silicates": Family.OXIDE_OTHER,
    "silicate": Family.OXIDE_OTHER,
    "borate": Family.OXIDE_OTHER,
    "sugilites": Family.OXIDE_OTHER,
    "boracites": Family.OXIDE_OTHER,
    "lysonite": Family.OXIDE_OTHER,  # lyonsite, misspelt by LiIon
    "phenakite": Family.OXIDE_OTHER,
    "sulfide": Family.SULFIDE_OTHER,
    "sulfides": Family.SULFIDE_OTHER,
    "sulfideother": Family.SULFIDE_OTHER,
    "thiophosphate": Family.SULFIDE_OTHER,
    "thiophosphates": Family.SULFIDE_OTHER,
    "glass": Family.GLASS,
    "glassceramic": None,
    "rocksalt": None,
    "olivine": None,
    "layered": None,
    "spinel": None,
    "antifluorite": None,
    "binary": None,
    "binaries": None,
    "other": None,
}


def is_known_family(raw: str | None) -> bool:
    """Return whether the source's family string is mapped on purpose (a missing string counts as known)."""
    return _key(raw) in RAW_FAMILIES or _key(raw) == ""


def unknown_families(names: Iterable[str]) -> list[str]:
    """Return those family strings that are not mapped, in order; the composition decides there."""
    return sorted(name for name in set(names) if not is_known_family(name))


def normalise_family(raw: str | None, composition: Composition | str) -> Family:
    """Return the normalised family of a material.

    ``raw`` is the source's own string; upper case, blanks, hyphens and underscores make no difference.
    ``composition`` is a formula or composition. A mapped string decides unless the formula contradicts
    it (a phosphate without oxygen); otherwise `family_from_composition` does.
    """
    parsed = _parsed(composition)
    family = RAW_FAMILIES.get(_key(raw))
    if family is not None and _possible(family, parsed):
        return family
    return family_from_composition(parsed)


def family_from_composition(composition: Composition | str) -> Family:
    """Return the family that the composition alone suggests.

    First the stoichiometries of structure types (garnet Li_x A3 B2 O12, NASICON A_x M2(PO4)3,
    perovskite (Li,A)BO3, LISICON Li3+xMO4, antiperovskite Li3OX, argyrodite Li6PS5X, LGPS Li10MP2S12,
    thio-LISICON Li4-xMS4), then the most frequent anion. Polymorphs of one composition cannot be told
    apart: the thio-LISICON of the composition Li10GeP2S12 counts as LGPS. Glass is never concluded.
    """
    parsed = _parsed(composition)
    for family, fits in _STRUCTURE_TYPES:
        if fits(parsed):
            return family
    return _family_from_anions(parsed)


def _key(raw: str | None) -> str:
    """Return the letters of a family string in lower case, empty where there is none."""
    return "" if raw is None or pd.isna(raw) else re.sub(r"[^a-z]", "", str(raw).lower())


class _Amounts(dict[str, float]):
    """Amounts by element symbol, 0 for an absent one; a tenth of the time that a Composition takes."""

    def __missing__(self, symbol: str) -> float:
        return 0.0

    def __mul__(self, factor: float) -> "_Amounts":
        return _Amounts({symbol: amount * factor for symbol, amount in self.items()})

    @property
    def num_atoms(self) -> float:
        return sum(self.values())


def _parsed(composition: "Composition | str | _Amounts") -> _Amounts:
    """Return the amounts of the elements without oxidation states."""
    if isinstance(composition, _Amounts):
        return composition
    parsed = parse_formula(composition) if isinstance(composition, str) else composition
    return _Amounts(parsed.get_el_amt_dict())


def _sum(composition: _Amounts, elements: tuple[str, ...]) -> float:
    """Return the amount of these elements together."""
    return sum(composition[el] for el in elements)


def _possible(family: Family, composition: _Amounts) -> bool:
    """Return whether the formula holds the anions without which the family makes no sense."""
    oxygen, chalcogen = composition["O"], _sum(composition, _CHALCOGENS)
    if family is Family.PHOSPHATE:
        return oxygen > 0 and composition["P"] > 0
    if family in _OXIDE_FAMILIES:
        return oxygen > 0
    if family in (Family.LGPS, Family.THIO_LISICON, Family.SULFIDE_OTHER):
        return chalcogen > 0
    if family is Family.ARGYRODITE:
        return oxygen + chalcogen > 0
    return family is not Family.HALIDE or _sum(composition, _HALOGENS) > 0


def _per(composition: _Amounts, anions: tuple[str, ...], n: float) -> _Amounts | None:
    """Scale the composition to ``n`` of these anions together; None without them or with many others."""
    amount = _sum(composition, anions)
    others = _sum(composition, tuple(el for el in _ANIONS if el not in anions))
    return composition * (n / amount) if amount > 0 and others <= 0.1 * amount else None


def _is_garnet(composition: _Amounts) -> bool:
    cell = _per(composition, ("O", "F"), 12)
    if cell is None or cell["P"] > 0 or not 2.5 <= cell["Li"] <= 7.6:
        return False
    heavy = sum(cell.values()) - 12 - cell["Li"]
    return 2.5 <= _sum(cell, _LARGE) <= 3.6 and 4.7 <= heavy <= 5.8


def _is_nasicon(composition: _Amounts) -> bool:
    cell = _per(composition, ("O", "F"), 12)
    if cell is None or cell["Li"] == 0:
        return False
    centres = cell["P"] + cell["Si"]
    octahedral = sum(cell.values()) - 12 - centres - cell["Li"] - cell["Na"]
    return cell["P"] >= 1.5 and abs(centres - 3) <= 0.15 and 1.8 <= octahedral <= 2.15


def _is_perovskite(composition: _Amounts) -> bool:
    cell = _per(composition, ("O", "F"), 3)
    if cell is None or cell["P"] > 0 or cell["Li"] == 0:
        return False
    large = _sum(cell, _LARGE)
    small = sum(cell.values()) - 3 - large - cell["Li"]
    return large >= 0.15 and 0.9 <= small <= 1.1 and 0.3 <= large + cell["Li"] <= 1.2


def _is_lisicon(composition: _Amounts) -> bool:
    cell = _per(composition, ("O",), 4)
    return cell is not None and abs(_sum(cell, _TETRAHEDRAL_OXIDE) - 1) <= 0.12 and 2.7 <= cell["Li"] <= 4.4


def _is_antiperovskite(composition: _Amounts) -> bool:
    halogen = _sum(composition, _HALOGENS)
    if halogen == 0 or composition["O"] == 0:
        return False
    light = composition["Li"] + composition["Na"] + composition["H"]
    return (
        abs(composition["O"] / halogen - 1) <= 0.15
        and abs(light / halogen - 3) <= 0.3
        and light + halogen + composition["O"] >= 0.95 * composition.num_atoms
    )


def _is_argyrodite(composition: _Amounts) -> bool:
    cell = _per(composition, (*_CHALCOGENS, *_HALOGENS), 6)
    if cell is None:
        return False
    halogen = _sum(cell, _HALOGENS)
    return 0.4 <= halogen <= 2.1 and abs(_sum(cell, _TETRAHEDRAL) - 1) <= 0.1 and 4.9 <= cell["Li"] <= 7.1


def _is_lgps(composition: _Amounts) -> bool:
    cell = _per(composition, _CHALCOGENS, 12)
    tetrahedral = 0.0 if cell is None else _sum(cell, _TETRAHEDRAL)
    return (
        cell is not None
        and abs(tetrahedral - 3) <= 0.15
        and 9.3 <= cell["Li"] <= 10.6
        and abs((tetrahedral - cell["P"]) / tetrahedral - 1 / 3) <= 0.1
    )


def _is_thio_lisicon(composition: _Amounts) -> bool:
    cell = _per(composition, _CHALCOGENS, 4)
    return cell is not None and abs(_sum(cell, _TETRAHEDRAL) - 1) <= 0.1 and 2.7 <= cell["Li"] <= 5.1


_STRUCTURE_TYPES: tuple[tuple[Family, Callable[[_Amounts], bool]], ...] = (
    (Family.GARNET, _is_garnet),
    (Family.NASICON, _is_nasicon),
    (Family.PEROVSKITE, _is_perovskite),
    (Family.LISICON, _is_lisicon),
    (Family.ANTIPEROVSKITE, _is_antiperovskite),
    (Family.ARGYRODITE, _is_argyrodite),
    (Family.LGPS, _is_lgps),
    (Family.THIO_LISICON, _is_thio_lisicon),
)


def _family_from_anions(composition: _Amounts) -> Family:
    """Return the family of the most frequent anion; carbon with hydrogen (organic salts) is other."""
    if composition["C"] > 0 and composition["H"] > 0:
        return Family.OTHER
    oxygen = composition["O"]
    amounts = {
        Family.OXIDE_OTHER: oxygen,
        Family.SULFIDE_OTHER: _sum(composition, _CHALCOGENS),
        Family.HALIDE: _sum(composition, _HALOGENS),
        Family.PNICTIDE: composition["N"] + (0 if oxygen or composition["S"] else composition["P"]),
        Family.HYDRIDE: 0 if oxygen else composition["H"],
    }
    family = max(amounts, key=lambda f: amounts[f])
    if amounts[family] == 0:
        return Family.OTHER
    return Family.PHOSPHATE if family is Family.OXIDE_OTHER and composition["P"] > 0 else family
