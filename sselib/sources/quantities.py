"""Temperatures as people write them: with a unit in the cell or in the column's header."""

import re
import unicodedata

from sselib.errors import DataError, nearest
from sselib.sources.table import read_number

TEMPERATURE_UNITS: tuple[str, ...] = ("C", "K")
KELVIN_OF_0_C = 273.15
TEMPERATURE_RANGE_C = (-273.15, 3000.0)
_ROOM = re.compile(
    r"\b(?:r\.?\s*t\.?|room[\s._-]*temp(?:erature|\.)?|ambient(?:[\s._-]*temp(?:erature)?)?)(?![a-z])",
    re.IGNORECASE,
)
_UNIT = r"(?:(?:°|deg(?:ree)?s?\.?|[oº˚∘](?=\s*C))?\s*(?P<unit>C(?:elsius)?|K(?:elvin)?)(?![A-Za-z]))"
_CELL = re.compile(rf"(?P<number>.*\d[.,]?)\s*{_UNIT}", re.IGNORECASE)
_HEADER = re.compile(rf"(?<![A-Za-z]){_UNIT}", re.IGNORECASE)


def read_temperature(text: str, *, unit: str = "C") -> float | None:
    """Return a temperature in deg C; None for an empty text or "room temperature".

    ``unit`` (C or K) holds for cells without one; ``298 K``, ``25 °C`` and ``RT (25 °C)`` name their own.
    Raises `DataError` for anything else, and for a temperature below absolute zero or above 3000 deg C.
    """
    require_temperature_unit(unit)
    plain = _degrees(text)
    rest = _ROOM.sub(" ", plain).strip(" ()[],;:=~") if _ROOM.search(plain) else plain
    if rest != plain and not rest:
        return None
    match = _CELL.fullmatch(rest)
    number, unit = (match["number"], match["unit"][0].upper()) if match else (rest, unit)
    shift = KELVIN_OF_0_C if unit == "K" else 0.0
    low, high = TEMPERATURE_RANGE_C
    value = read_number(number, column="temperature_c", low=low + shift, high=high + shift)
    return None if value is None else round(value - shift, 6)


def has_unit(text: str) -> bool:
    """Return whether a cell names its unit, or says nothing about the temperature."""
    return not text.strip() or bool(_ROOM.search(text)) or _CELL.fullmatch(_degrees(text)) is not None


def temperature_unit_of(header: str) -> str | None:
    """Return C or K where a header such as ``T (K)``, ``T / °C`` or ``temp_kelvin`` names it, else None.

    Raises `DataError` for Fahrenheit.
    """
    plain = _degrees(header.replace("_", " "))
    if re.search(r"fahrenheit|°\s*F", plain, re.IGNORECASE):
        raise DataError(f"the column '{header}' is in Fahrenheit: convert it to C or K")
    match = _HEADER.search(plain)
    return match["unit"][0].upper() if match else None


def _degrees(text: str) -> str:
    """Return the text with one kind of degree sign, minus and blank."""
    text = re.sub(r"[º˚∘⁰](?=\s*[CcFfKk])", "°", text.replace("℃", "°C").replace("K", "K"))
    return re.sub(r"[−–—]", "-", unicodedata.normalize("NFKC", text)).strip()


def require_temperature_unit(unit: str) -> None:
    """Raise `DataError` unless ``unit`` is C or K."""
    if unit not in TEMPERATURE_UNITS:
        raise DataError(
            f"temperature unit {unit!r} is unknown: expected one of {', '.join(TEMPERATURE_UNITS)}."
            f"{nearest(unit, list(TEMPERATURE_UNITS))}"
        )
