"""Conductivities and temperatures as people write them: with a unit in the cell or in the column's header."""

import re

from sselib.errors import DataError, nearest
from sselib.materials.conductivity import Conductivity, parse_conductivity
from sselib.sources.table import read_number

TEMPERATURE_UNITS: tuple[str, ...] = ("C", "K")
KELVIN_OF_0_C = 273.15
TEMPERATURE_RANGE_C = (-273.15, 3000.0)
ROOM_TEMPERATURE_WORDS = frozenset({"rt", "roomtemperature", "roomtemp", "ambient", "ambienttemperature"})
_LOOKALIKES = str.maketrans({"μ": "u", "µ": "u", "−": "-", "–": "-", "⁻": "-", "¹": "1", "·": " ", "⋅": " "})
# mS/cm, mS cm-1, mS cm^-1, S.m-1; the group names make the suite's spelling of the unit
_SIGMA_UNIT = r"(?P<prefix>[mu]?)S\s*[./ ]?\s*(?P<length>c?m)\s*(?:\^?\(?-1\)?)?"
_SIGMA_CELL = re.compile(rf"(?P<number>.*\d[.,]?)\s*{_SIGMA_UNIT}")
_SIGMA_HEADER = re.compile(rf"(?<![A-Za-z]){_SIGMA_UNIT}(?![A-Za-z])")
_TEMPERATURE_UNIT = r"(?:°\s*|deg\.?\s*|degrees?\s*)?(?P<unit>[CK℃])"
_TEMPERATURE_CELL = re.compile(rf"(?P<number>.*\d[.,]?)\s*{_TEMPERATURE_UNIT}")
_TEMPERATURE_HEADER = re.compile(rf"(?<![A-Za-z]){_TEMPERATURE_UNIT}(?![A-Za-z])")


def read_conductivity(text: str, *, unit: str) -> Conductivity:
    """Read a conductivity; a unit in the cell (``3.1 mS cm-1``) goes before ``unit``.

    Numbers and bounds as in `sselib.materials.conductivity.parse_conductivity`, whose `ConductivityError` it
    raises.
    """
    match = _SIGMA_CELL.fullmatch(text.strip().translate(_LOOKALIKES))
    if match is None:
        return parse_conductivity(text, unit=unit)
    return parse_conductivity(match["number"], unit=_sigma_unit(match))


def sigma_unit_of(header: str) -> str | None:
    """Return the unit that a header such as ``sigma (mS/cm)`` or ``log10(sigma)`` names, None without one."""
    if re.search(r"\b(?:log|lg)(?:_?10)?(?![a-z])", header.lower()):
        return "log10"
    match = _SIGMA_HEADER.search(header.translate(_LOOKALIKES))
    return _sigma_unit(match) if match else None


def _sigma_unit(match: re.Match[str]) -> str:
    return f"{match['prefix']}S/{match['length']}"


def read_temperature(text: str, *, unit: str = "C") -> float | None:
    """Return a temperature in deg C; None for an empty text or "room temperature".

    ``unit`` (C or K) holds for cells without one; ``298 K`` and ``25 °C`` name their own. Raises `DataError`
    for anything else, and for a temperature below absolute zero or above 3000 deg C.
    """
    require_temperature_unit(unit)
    if re.sub(r"[\s._-]", "", text).lower() in ROOM_TEMPERATURE_WORDS:
        return None
    match = _TEMPERATURE_CELL.fullmatch(text.strip())
    number, unit = (match["number"], match["unit"].replace("℃", "C")) if match else (text, unit)
    shift = KELVIN_OF_0_C if unit == "K" else 0.0
    low, high = TEMPERATURE_RANGE_C
    value = read_number(number, column="temperature_c", low=low + shift, high=high + shift)
    return None if value is None else round(value - shift, 6)


def temperature_unit_of(header: str) -> str | None:
    """Return C or K where a header such as ``T (K)`` or ``T / °C`` names it, None without one."""
    match = _TEMPERATURE_HEADER.search(header.replace("_", " "))
    return match["unit"].replace("℃", "C") if match else None


def require_temperature_unit(unit: str) -> None:
    """Raise `DataError` unless ``unit`` is C or K."""
    if unit not in TEMPERATURE_UNITS:
        raise DataError(
            f"temperature unit {unit!r} is unknown: expected one of {', '.join(TEMPERATURE_UNITS)}."
            f"{nearest(unit, list(TEMPERATURE_UNITS))}"
        )
