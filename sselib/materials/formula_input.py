"""Formulas as people write them: what is unambiguous is read, what is not is refused with its reason.

`sselib.materials.composition.parse_formula` reads plain formulas; this module brings other notations to that
form first: subscripts, markup, fractions, decimal commas, isotopes, hydrates, mixtures, charges, polymorphs.
Wherever a reading is a choice, a note says how the text was read.
"""

import re
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

import numpy as np
from pymatgen.core import Composition, Element

from sselib.errors import FormulaError
from sselib.materials.composition import MODIFIED_PETTIFOR_ORDER, parse_formula

MAX_CHARACTERS = 2000
MISSING = frozenset(
    ["", "None", "none", "NONE", "nan", "NaN", "NAN", "null", "Null", "NULL", "NA", "N/A", "n/a", "<NA>"]
)
# Abbreviations of the field; "LiPON" alone would otherwise be read as one atom each of Li, P, O and N.
# fmt: off
ABBREVIATIONS = frozenset([
    "LLZO", "LLZTO", "LLTO", "LATP", "LAGP", "LGPS", "LPS", "LPSC", "LPSCL", "LSPS", "LSPSC", "LZP",
    "LFP", "LISICON", "THIOLISICON", "LIPON", "NASICON", "NZSP", "LCO", "NMC", "NCM", "NCA", "LTO",
    "LIBOB", "LITFSI", "LIFSI", "PEO",
])
# fmt: on
_AMOUNT = r"(?:\d+(?:\.\d+)?|\.\d+)"
_PLAIN = re.compile(rf"(?:\(?[A-Z][a-z]?(?:{_AMOUNT})?(?:\)(?:{_AMOUNT})?)?)+")
_NOT_PLAIN = re.compile(r"[DT](?![a-z])|\.\d+H2O|\([IV]+\)")  # a notation that only looks plain
_ZERO = re.compile(r"[A-Z][a-z]?0+(?:\.0+)?(?![\d.])")
_SUPERSCRIPTS = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻", "0123456789+-")
_SEPARATORS = re.compile(r"[·⋅•∙・‧*×]")
_SOLVENT = r"(?:H2O|D2O|NH3|CH3OH|C2H5OH|C4H8O)"
_HYDRATE_DOT = re.compile(rf"(?<!0)\.(?=(?:\d+(?:\.\d+)?)?\(?{_SOLVENT}\)?(?:$|\s*[·.]))")
_GREEK = "alpha|beta|gamma|delta|epsilon|[α-ω]"
_STATES = "s|l|aq|am|cr|glass|amorphous|crystalline|cubic|tetragonal|orthorhombic|monoclinic|trigonal"
# An oxidation state in Roman numerals; I and V alone are elements unless they follow an element.
_ROMAN = re.compile(r"(?<=[A-Za-z\d])\((?:II|III|IV|VI|VII|VIII)\)(?![\d.])|(?<=[A-Za-z])\([IV]\)(?![\d.])")
_BRACKETS = str.maketrans("[]{}", "()()")
_ODD = {"−": "-", "–": "-", "—": "-", "‐": "-", "⁄": "/", "∕": "/", "،": ","}


@dataclass(frozen=True)
class FormulaReading:
    """A formula that was read.

    ``plain`` is the same composition in the notation of `parse_formula`, ``notes`` say how a text was
    read that could be read in more than one way.
    """

    composition: Composition
    plain: str
    notes: tuple[str, ...] = ()


def read_formula(value: object) -> FormulaReading:
    """Read one formula, for example ``Li₆PS₅Cl``, ``Li2In1/3Sc1/3Cl4``, ``75Li2S-25P2S5`` or ``LiI·3H2O``.

    Raises `FormulaError`, which says what is wrong and what to write, for a missing value, a name or an
    abbreviation, an unknown element, variables, an unknown mixing ratio, ions and anything else that is
    not one composition.
    """
    text = "" if value is None or value != value else str(value).strip()
    if text in MISSING:
        raise FormulaError("the formula is missing" + (f" ({text!r} means a missing value)" if text else ""))
    if len(text) > MAX_CHARACTERS:
        raise FormulaError(f"the formula is {len(text)} characters long: at most {MAX_CHARACTERS} are read")
    notes: list[str] = []
    plain = text
    if not _PLAIN.fullmatch(text) or _NOT_PLAIN.search(text):
        for step in _STEPS:
            plain = step(plain, notes)
    _refuse_names(plain, text)
    if _ZERO.search(plain):
        notes.append("elements with the amount 0 left out (the letter O would be oxygen)")
    if re.search(r"CI(?![a-z])", plain):
        notes.append("CI read as carbon and iodine (chlorine is Cl, with a small L)")
    return _reading(_sum_of_parts(plain, text, notes), notes)


def _reading(composition: Composition, notes: list[str]) -> FormulaReading:
    """Return the reading; raises `FormulaError` for elements that no table of this suite holds."""
    amounts = composition.get_el_amt_dict()
    heavy = sorted(set(amounts) - _ELEMENTS)
    if heavy:
        raise FormulaError(f"element {', '.join(heavy)} is beyond lawrencium: no data exist for it")
    total = sum(amounts.values())
    if not 0 < total < np.inf or min(amounts.values()) / total < 1e-9:
        raise FormulaError("an amount is too large or too small to be read beside the others")
    plain = "".join(f"{el}{'' if x == 1 else number_text(x)}" for el, x in amounts.items())
    return FormulaReading(composition, plain, tuple(notes))


_ELEMENTS = frozenset(MODIFIED_PETTIFOR_ORDER)


def number_text(amount: float) -> str:
    """Return an amount without exponent and trailing zeros, twelve decimals at most."""
    return f"{amount:.12f}".rstrip("0").rstrip(".")


def _superscripts(text: str, notes: list[str]) -> str:
    """Take out charges and mass numbers that are written raised (Unicode, ``^`` or ``<sup>``)."""
    text = re.sub(r"<sup>(.*?)</sup>", r"^{\1}", text, flags=re.IGNORECASE)
    text = re.sub(r"[⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻]+", lambda m: "^{" + m[0].translate(_SUPERSCRIPTS) + "}", text)
    without = re.sub(r"\^\{?(?:\d*[+\-−]|[+\-−]\d*)\}?", "", text)
    if without != text:
        notes.append("charges left out")
    return re.sub(
        r"\^\{?(\d+)\}?([A-Z][a-z]?)", lambda m: _without_mass(m[1], m[2], given=text, notes=notes), without
    )


def _without_mass(mass: str, symbol: str, *, given: str, notes: list[str]) -> str:
    """Return the symbol of an isotope; raises `FormulaError` for a mass that it cannot have."""
    name = symbol if Element.is_valid_symbol(symbol) else symbol[0]
    charge = Element(name).Z if Element.is_valid_symbol(name) else 0
    if not charge <= int(mass[:4]) <= 3 * charge:
        raise FormulaError(
            f"formula {given!r}: {mass}{symbol} is no isotope; write amounts after the element"
        )
    if _ISOTOPES not in notes:
        notes.append(_ISOTOPES)
    return symbol


_ISOTOPES = "isotopes read as their element"


def _markup(text: str, _: list[str]) -> str:
    """Bring HTML and LaTeX subscripts, Unicode forms, fractions and odd signs to plain characters."""
    text = re.sub(r"</?sub>|\$|\\(?:mathrm|rm|ce|text)\b", "", text, flags=re.IGNORECASE)
    text = re.sub(r"_\{?([\d.,/]+)\}?", r"\1", text)
    text = re.sub(r"(\d*)([¼-¾⅐-⅞↉])", _vulgar_fraction, text)
    text = "".join(_ODD.get(c, c) for c in unicodedata.normalize("NFKC", text))
    return (
        "".join(c for c in text if unicodedata.category(c) != "Cf").translate(_BRACKETS).strip("\"'` \t\r\n")
    )


def _vulgar_fraction(match: re.Match) -> str:
    """Return ``2½`` as ``2.5``."""
    return number_text(int(match[1] or 0) + unicodedata.numeric(match[2]))


def _polymorph(text: str, notes: list[str]) -> str:
    """Leave out a prefix such as ``β-`` and a suffix such as ``(glass)``: a composition has none."""
    without = re.sub(rf"^(?:{_GREEK}|[acthmor])['′]?\s*-\s*(?=[A-Z(\d])", "", text)
    without = re.sub(rf"\s*\((?:{_STATES}|{_GREEK})\)$", "", without)
    if without != text:
        notes.append("the polymorph or state is left out: only the composition is used")
    return without


def _oxidation_states(text: str, notes: list[str]) -> str:
    """Leave out oxidation states such as those of ``Fe(II)``."""
    without = _ROMAN.sub("", text)
    if without != text:
        notes.append("oxidation states left out")
    return without


def _mole_percent(text: str, notes: list[str]) -> str:
    """Leave out ``(mol%)`` after a mixture, whose amounts are moles anyway."""
    return re.sub(r"[\s,]*\(?(?:in\s+)?mol\.?\s*%\)?$", "", text)


def _decimal_commas(text: str, notes: list[str]) -> str:
    without = re.sub(r"(?<=\d),(?=\d)", ".", text) if "." not in text else text
    if without != text:
        notes.append("decimal commas read as points")
    return without


def _fractions(text: str, _: list[str]) -> str:
    """Return ``In1/3`` as ``In0.333333333333``."""
    return re.sub(rf"({_AMOUNT})/({_AMOUNT})(?![\d.])", lambda m: _quotient(m, text), text)


def _quotient(match: re.Match, text: str) -> str:
    if float(match[2]) == 0:
        raise FormulaError(f"formula {text!r} divides by zero in {match[0]!r}")
    return number_text(float(match[1]) / float(match[2]))


def _isotopes(text: str, notes: list[str]) -> str:
    """Read ``(6Li)2S`` as ``Li2S`` and deuterium as hydrogen."""
    text = re.sub(
        r"\((\d+)([A-Z][a-z]?)\)",
        lambda m: f"({_without_mass(m[1], m[2], given=text, notes=notes)})",
        text,
    )
    if re.search(r"T(?![a-z])", text) and text not in ABBREVIATIONS:
        raise FormulaError(f"formula {text!r} names 'T': expected an element, such as Ti, Ta or Te")
    hydrogen = re.sub(r"D(?![a-z])", "H", text)
    if hydrogen != text and _ISOTOPES not in notes:
        notes.append(_ISOTOPES)
    return hydrogen


def _hydrate_dots(text: str, _: list[str]) -> str:
    """Replace every sign that joins a solvent or a second compound by a middle dot."""
    joined = re.sub(r"\.(?=\s*[A-Z(])", "·", _SEPARATORS.sub("·", text))
    return _HYDRATE_DOT.sub("·", joined) if re.search(r"[A-Z].*[A-Z].*\.", joined) else joined


def _blanks(text: str, _: list[str]) -> str:
    """Join what blanks separate; raises `FormulaError` where a number could belong to either side."""
    text = re.sub(r"\s*([·\-()])\s*", r"\1", text)
    text = re.sub(r"(?<=[^·\-(])\(", " (", text)
    words = text.split()
    for before, word in pairwise(words):
        after_element = re.fullmatch(r"[A-Z][a-z]?|.*\)", before) is not None
        if word[0] in "0123456789." and not (after_element and re.fullmatch(_AMOUNT, word)):
            raise FormulaError(
                f"formula {text!r}: it is not clear what {word!r} counts; "
                "write compounds as (Li2S)0.75(P2S5)0.25"
            )
    _refuse_several(words, text)
    return "".join(words)


def _refuse_several(words: Sequence[str], text: str) -> None:
    """Raise `FormulaError` where two words are compounds of their own, with an element in common."""
    compounds = [set(re.findall(r"[A-Z][a-z]?", w)) for w in words if not w.startswith("(")]
    seen: set[str] = set()
    for elements in (c for c in compounds if len(c) > 1):
        if seen & elements:
            raise FormulaError(
                f"formula {text!r} holds several compounds: write one in a row, "
                "or their ratio as (Li2S)0.75(P2S5)0.25"
            )
        seen |= elements


_STEPS: tuple[Callable[[str, list[str]], str], ...] = (
    _superscripts,
    _markup,
    _mole_percent,
    _polymorph,
    _oxidation_states,
    _decimal_commas,
    _fractions,
    _isotopes,
    _hydrate_dots,
    _blanks,
)


def _refuse_names(text: str, given: str) -> None:
    """Raise `FormulaError` for a name of an element or compound and for an abbreviation."""
    if re.sub(r"[^A-Za-z]", "", text).upper() in ABBREVIATIONS and not re.search(r"\d", text):
        raise FormulaError(f"{given!r} is an abbreviation: write the formula, for example 'Li7La3Zr2O12'")
    word = re.search(r"[A-Za-z]*[a-z]{3,}", text)
    if word is None:
        return
    symbol = _element_names().get(word[0].lower())
    hint = f"write the symbol {symbol!r}" if symbol else "write the formula with element symbols"
    raise FormulaError(f"{given!r} reads like a name, not a formula ({word[0]!r}): {hint}")


@lru_cache(maxsize=1)
def _element_names() -> dict[str, str]:
    names = {el.long_name.lower(): el.symbol for el in map(Element, MODIFIED_PETTIFOR_ORDER)}
    return names | {"aluminium": "Al", "sulphur": "S", "caesium": "Cs"}


def _sum_of_parts(text: str, given: str, notes: list[str]) -> Composition:
    """Return the sum of the compounds that dots, or hyphens after a leading amount, separate."""
    if "·" in text:
        parts = text.split("·")
        notes.append("read as the sum of " + " and ".join(parts))
    elif re.match(rf"{_AMOUNT}[A-Z(]", text) and re.search(r"[A-Za-z\d)]-[\dA-Z(]", text):
        parts = text.split("-")
        notes.append("read as a mixture of " + " and ".join(parts))
    else:
        _refuse_signs(text, given)
        parts = [text]
    amounts, formulas = zip(*(_amount_and_formula(part, given) for part in parts))
    if len(parts) == 1:
        if amounts[0] != 1:
            notes.append(f"the leading number {number_text(amounts[0])} changes no fraction and is left out")
        return _parsed(formulas[0], given=given)
    total = Composition()
    for amount, formula in zip(amounts, formulas):
        total = total + Composition(_parsed(formula, given=given).get_el_amt_dict()) * amount
    return total


def _refuse_signs(text: str, given: str) -> None:
    """Raise `FormulaError` for plus, minus, slash and letters that no formula holds."""
    if re.search(r"[A-Za-z\d)]-[A-Z(]", text):
        raise FormulaError(f"formula {given!r}: the ratio is not known; write (Li2S)0.75(P2S5)0.25")
    if re.search(r"[+\-]", text):
        raise FormulaError(
            f"formula {given!r} holds a charge, a variable or a sum: write amounts as numbers and no charges"
        )
    odd = re.search(r"[^A-Za-z\d.()]", text)
    if odd:
        name = unicodedata.name(odd[0], "a control character").lower()
        raise FormulaError(
            f"formula {given!r} holds {odd[0]!r} (U+{ord(odd[0]):04X}, {name}): "
            "expected Latin letters, digits, points and brackets"
        )


def _amount_and_formula(part: str, given: str) -> tuple[float, str]:
    """Split ``0.75Li2S`` into 0.75 and ``Li2S``."""
    match = re.fullmatch(rf"({_AMOUNT})?([A-Za-z(].*)", part, flags=re.DOTALL)
    if match is None:
        raise FormulaError(f"formula {given!r} cannot be read: {part!r} names no compound")
    return float(match[1] or 1), match[2]


def _parsed(formula: str, *, given: str) -> Composition:
    """Parse a plain formula; the error names unknown elements and the likely spelling."""
    try:
        if re.match(r"[a-z]|.*[\d.()][a-z]", formula):
            raise FormulaError(f"formula {given!r} has a small letter where an element begins")
        return parse_formula(formula)
    except FormulaError as error:
        raise FormulaError(_diagnosis(formula, given) or str(error)) from error


def _diagnosis(formula: str, given: str) -> str:
    """Return what is wrong where it can be said better than `parse_formula` does, else nothing."""
    if formula.count("(") != formula.count(")"):
        return f"formula {given!r} has {formula.count('(')} opening and {formula.count(')')} closing brackets"
    symbols = re.findall(r"[A-Z][a-z]*|[a-z]+", formula)
    unknown = sorted({s for s in symbols if s not in _ELEMENTS})
    if not unknown or len(formula) > 200:
        return ""
    runs = re.findall(r"[A-Za-z]+", formula)
    recased = re.sub(r"[A-Za-z]+", lambda m: _recased(m[0]), formula)
    hint = f" Did you mean {recased!r}?" if all(map(_recased, runs)) else ""
    return f"formula {given!r} names no known element with {', '.join(map(repr, unknown))}.{hint}"


def _recased(run: str) -> str:
    """Return a run of letters with upper and lower case set so that all are elements, where one way does."""
    if not run:
        return ""
    for length in (2, 1):
        symbol = run[:length].capitalize()
        rest = _recased(run[length:]) if len(run) > length else ""
        if len(run) >= length and symbol in _ELEMENTS and (rest or len(run) == length):
            return symbol + rest
    return ""
