"""Which column of the user's table is which: the command line's pairs, and names that are common."""

import re
from collections.abc import Iterable, Mapping, Sequence

from sselib.errors import ParameterError, nearest
from sselib.sources.own import COLUMNS
from sselib.sources.quantities import temperature_unit_of

# Headers without units and punctuation, in lower case; a column that is named so needs no entry.
SYNONYMS: dict[str, tuple[str, ...]] = {
    "id": ("id", "sample", "sampleid", "nr", "no"),
    "formula": ("formula", "composition", "material", "compound", "chemicalformula", "nominalcomposition"),
    "conductivity": (
        "conductivity",
        "ionicconductivity",
        "sigma",
        "σ",
        "sigmart",
        "σrt",
        "log10sigma",
        "logsigma",
        "logσ",
        "log10σ",
        "logconductivity",
        "log10conductivity",
    ),
    "temperature_c": ("temperature", "temp", "t", "temperaturec", "tc", "tk", "temperaturek"),
    "doi": ("doi",),
    "family": ("family", "materialfamily", "structuretype"),
    "space_group": ("spacegroup", "sg", "spacegroupnumber", "spacegroupsymbol"),
    "a_angstrom": ("a", "aangstrom"),
    "b_angstrom": ("b", "bangstrom"),
    "c_angstrom": ("c", "cangstrom"),
    "alpha_deg": ("alpha", "alphadeg", "α"),
    "beta_deg": ("beta", "betadeg", "β"),
    "gamma_deg": ("gamma", "gammadeg", "γ"),
    "conductivity_kind": ("conductivitykind", "kind", "bulkortotal"),
    "cif": ("cif", "ciffile", "cifname"),
    "note": ("note", "notes", "comment", "comments", "remark", "remarks"),
}
_LENGTH_OR_ANGLE = re.compile(r"Å|Å|angstrom|°|deg|\bA\b", re.IGNORECASE)
_UNIT = re.compile(r"[\(\[/,].*$|_(?:angstrom|deg)$")


def parse_pairs(pairs: Iterable[str], *, columns: Sequence[str]) -> dict[str, str]:
    """Return {suite's name: column of the table} from texts ``COLUMN=NAME`` of the command line.

    A header may hold '=' itself: the last one separates. Raises `ParameterError` for a text without
    '=', an unknown name, a column that the table has not, or a name given twice.
    """
    found: dict[str, str] = {}
    for pair in pairs:
        column, separator, name = (part.strip() for part in pair.rpartition("="))
        if not separator or not column:
            raise ParameterError(f"--map {pair!r}: expected COLUMN=NAME, for example 'sigma=conductivity'")
        _require_pair(column, name, pair=pair, columns=columns)
        if name in found:
            raise ParameterError(f"--map gives '{name}' twice, as '{found[name]}' and '{column}'")
        found[name] = column
    return found


def _require_pair(column: str, name: str, *, pair: str, columns: Sequence[str]) -> None:
    """Raise `ParameterError` unless the table has the column and the suite knows the name."""
    if column not in columns and column in COLUMNS and name in columns:
        raise ParameterError(f"--map {pair!r}: the table's column comes first; write '{name}={column}'")
    if name not in COLUMNS:
        raise ParameterError(
            f"--map {pair!r}: '{name}' is not known here; expected one of {', '.join(COLUMNS)}."
            f"{nearest(name, list(COLUMNS))}"
        )
    if column not in columns:
        raise ParameterError(
            f"--map {pair!r}: the table has no column '{column}'; found {', '.join(columns)}."
            f"{nearest(column, list(columns))}"
        )


def guess(columns: Sequence[str], *, given: Mapping[str, str]) -> dict[str, str]:
    """Return {suite's name: column} for headers that are the suite's or a common name, beside ``given``.

    A name that two headers could mean is left out: it has to be given.
    """
    free = [c for c in columns if c not in given.values()]
    guessed = {}
    for name, synonyms in SYNONYMS.items():
        exact = [c for c in free if c == name]
        fitting = exact or [c for c in free if plain_header(c) in synonyms and _is_plain_enough(c)]
        if name not in given and len(fitting) == 1:
            guessed[name] = fitting[0]
    return guessed


def _is_plain_enough(header: str) -> bool:
    """False for a single letter with a unit that it does not go with: ``t (h)`` and ``c (mol/l)``."""
    letter, rest = header.strip()[:1], header.strip()[1:].strip()
    if len(plain_header(header)) > 1 or not rest:
        return header.strip() != "t"
    return temperature_unit_of(header) is not None if letter in "tT" else bool(_LENGTH_OR_ANGLE.search(rest))


def plain_header(header: str) -> str:
    """Return the letters and digits of a header without its unit: ``Sigma_RT (mS/cm)`` gives ``sigmart``."""
    stripped = _UNIT.sub("", header.strip()) or header
    return re.sub(r"[^\w]|_", "", stripped.lower())
