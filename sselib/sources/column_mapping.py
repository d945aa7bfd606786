"""Which column of the user's table is which: the command line's pairs, and names that are common."""

import re
from collections.abc import Iterable, Mapping, Sequence

from sselib.errors import DataError, ParameterError, nearest
from sselib.sources.quantities import temperature_unit_of

REQUIRED = ("formula", "conductivity")
LATTICE_RANGES: dict[str, tuple[float, float]] = {
    **dict.fromkeys(("a_angstrom", "b_angstrom", "c_angstrom"), (0.5, 1000.0)),
    **dict.fromkeys(("alpha_deg", "beta_deg", "gamma_deg"), (1.0, 179.0)),
}
# What a column map may name, on its left side.
COLUMNS = (
    "id",
    *REQUIRED,
    "temperature_c",
    "doi",
    "family",
    "space_group",
    *LATTICE_RANGES,
    "conductivity_kind",
    "cif",
    "note",
)

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
_UNIT = re.compile(r"\s*[\(\[/,×].*$|_(?:angstrom|deg)$|\s+(?:in|x)\s+.*$")
_SNAKE_UNIT = re.compile(
    r"_(?:[mun]?s_?(?:per_)?c?m(?:_?-?1)?|in_[ck]|celsius|kelvin)$|\s+[munµμ]?S\s*c?m\S*$", re.IGNORECASE
)


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
    if letter in "σΣ":
        return True
    if len(plain_header(header)) > 1 or not rest:
        return header.strip() != "t"
    return _names_temperature(header) if letter in "tT" else bool(_LENGTH_OR_ANGLE.search(rest))


def _names_temperature(header: str) -> bool:
    try:
        return temperature_unit_of(header) is not None
    except DataError:  # Fahrenheit: the reader of the column says so
        return True


def is_header(names: Sequence[str], *, given: Iterable[str] = ()) -> bool:
    """Return whether a line can be the header of a table of measurements."""
    return (bool(set(given)) and set(given) <= set(names)) or bool(
        guess(names, given={}).keys() & set(REQUIRED)
    )


def plain_header(header: str) -> str:
    """Return the letters and digits of a header without its unit: ``Sigma_RT (mS/cm)`` gives ``sigmart``."""
    log = re.fullmatch(r"\s*((?:log|lg)_?(?:10)?)\s*[\(\[](.*?)[\)\]]?\s*", header, re.IGNORECASE)
    if log:
        return f"log{plain_header(log[2])}"
    stripped = _SNAKE_UNIT.sub("", _UNIT.sub("", header.strip())) or header
    return re.sub(r"[^\w]|_", "", stripped.lower())
