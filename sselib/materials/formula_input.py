"""The one reader of formulas: what is unambiguous is read, what can mean two things is refused with both.

Steps bring notations (markup, fractions, decimal commas, isotopes, names beside a formula, polymorphs, space
groups, vacancies, dots) to one grammar, mixtures of formulas with amounts. Wherever a reading is a choice, a
note says how the text was read. Where a dot or a digit could be two things, the reading wins whose charges
balance in usual oxidation states; if that does not settle it, the text is refused.
"""

import re
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import combinations, pairwise, product

import numpy as np
from pymatgen.core import Composition, Element
from pymatgen.symmetry.groups import SYMM_DATA

from sselib.errors import FormulaError

MAX_CHARACTERS = 2000
_MAX_NESTING = 20  # brackets inside brackets
_MAX_DOTS = 6  # dots that are weighed against each other
_ELEMENTS = frozenset(Element.from_Z(z).symbol for z in range(1, 104))
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
# Words that say nothing about the composition; any other word (doped, excess, wt) is refused.
_WORDS = frozenset([
    "argyrodite", "garnet", "nasicon", "lisicon", "perovskite", "antiperovskite", "spinel", "glass",
    "glassy", "ceramic", "glassceramic", "olivine", "amorphous", "crystalline", "cubic", "tetragonal",
    "orthorhombic",
    "monoclinic", "trigonal", "hexagonal", "rhombohedral", "triclinic", "alpha", "beta", "gamma", "delta",
    "phase", "type", "pellet", "powder", "crystal", "film", "bulk", "sintered", "annealed", "pristine",
    "undoped", "nominal", "electrolyte", "structure",
])
# fmt: on
_AMOUNT = r"(?:\d+(?:\.\d+)?|\.\d+)"
_PLAIN = re.compile(rf"(?:\(?[A-Z][a-z]?(?:{_AMOUNT})?(?:\)(?:{_AMOUNT})?)?)+")
_NOT_PLAIN = re.compile(r"\([A-Za-z]+\)$|\([IV]+\)")  # a name or an oxidation state
_FRACTIONS = re.compile(
    r"[A-Z][a-z]?\d+\.\d+(?: [A-Z][a-z]?\d+\.\d+)*"
)  # `composition.canonical` of a formula
_SUPERSCRIPTS = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻", "0123456789+-")
_RAISED_DOTS = re.compile(r"[·⋅•∙・‧*×]")
_SOLVENTS = frozenset(["H2O", "D2O", "NH3", "CH3OH", "C2H5OH", "C4H8O"])
_GREEK = "alpha|beta|gamma|delta|epsilon|[α-ω]"
_STATES = "s|l|aq|am|cr"
# An oxidation state in Roman numerals; I and V alone are elements unless they follow an element.
_ROMAN = re.compile(r"(?<=[A-Za-z\d])\((?:II|III|IV|VI|VII|VIII)\)(?![\d.])|(?<=[A-Za-z])\([IV]\)(?![\d.])")
_VACANCY = re.compile(
    rf"\(?(?:[□☐▢⬜◻]|\\(?:square|Box)(?![A-Za-z])|\[\s*\]|Va(?:c(?:ancy)?)?(?![a-z])|vac(?:ancy)?(?![a-z]))\)?_?\{{?"
    rf"{_AMOUNT}?\}}?"
)
_BRACKETS = str.maketrans("[]{}", "()()")
_ODD = {"−": "-", "–": "-", "—": "-", "‐": "-", "⁄": "/", "∕": "/", "،": ","}
_ISOTOPES = "isotopes read as their element"
_OXYNITRIDE = re.compile(r"Li(?:[A-Z][a-z]?){1,3}ON")
# Digits that may stand for letters: (pattern, replacement); read so only where the charges say so.
_LOOKALIKES = ((r"(?<=[1-9])0(?=[1-9]\d?(?![\d.]))", "O"), (r"CI(?![a-z])|C1(?![\d.])", "Cl"))


@dataclass(frozen=True)
class FormulaReading:
    """A formula that was read.

    ``plain`` is the same composition without any notation, ``notes`` say how a text was read that could be
    read in more than one way.
    """

    composition: Composition
    plain: str
    notes: tuple[str, ...] = ()


def read_formula(value: object) -> FormulaReading:
    """Read one formula, for example ``Li₆PS₅Cl``, ``Li2In1/3Sc1/3Cl4``, ``75Li2S-25P2S5`` or ``LiI·3H2O``.

    Raises `FormulaError`, which says what is wrong and what to write, for a missing value, a name or an
    abbreviation, an unknown element, variables, an unknown mixing ratio, ions and anything else that is
    not one composition, or could be two.
    """
    text = "" if value is None or value != value else str(value).strip()
    if text in MISSING:
        raise FormulaError("the formula is missing" + (f" ({text!r} means a missing value)" if text else ""))
    if len(text) > MAX_CHARACTERS:
        raise FormulaError(f"the formula is {len(text)} characters long: at most {MAX_CHARACTERS} are read")
    return _read(text)


@lru_cache(maxsize=4_000)  # what a table says is asked for again, in the same words, by the models
def _read(text: str) -> FormulaReading:
    notes: list[str] = []
    if _FRACTIONS.fullmatch(text):
        return _reading(_grammar(text.replace(" ", ""), text), notes)
    plain = text
    for step in (_dots,) if _is_plain(text) else _STEPS:
        plain = step(plain, notes)
    _refuse_names(plain, text)
    amounts = _grammar(plain, text, notes)
    _refuse_lookalikes(plain, text, amounts)
    if re.search(r"(?:[A-Z][a-z]?|\))0+(?:\.0+)?(?![\d.])", plain):
        notes.append("elements with the amount 0 left out (the letter O would be oxygen)")
    if re.search(r"CI(?![a-z])", plain):
        notes.append("CI read as carbon and iodine (chlorine is Cl, with a small L)")
    return _reading(amounts, notes)


def _is_plain(text: str) -> bool:
    """Return whether a text is a formula without any notation but dots."""
    plain = _PLAIN.fullmatch(text) and not _NOT_PLAIN.search(text)
    return bool(plain) and _ELEMENTS.issuperset(re.findall(r"[A-Z][a-z]?", text))


def _reading(amounts: Mapping[str, float], notes: Sequence[str]) -> FormulaReading:
    """Return the reading; raises `FormulaError` for amounts that cannot stand beside each other."""
    amounts = {el: x for el, x in amounts.items() if x != 0}
    total = sum(amounts.values())
    if not amounts:
        raise FormulaError("the formula holds no element with a positive amount")
    if not 0 < total < np.inf or min(amounts.values()) / total < 1e-9:
        raise FormulaError("an amount is too large or too small to be read beside the others")
    plain = "".join(f"{el}{'' if x == 1 else number_text(x)}" for el, x in amounts.items())
    return FormulaReading(Composition(amounts), plain, tuple(dict.fromkeys(notes)))


def number_text(amount: float) -> str:
    """Return an amount without exponent and trailing zeros, twelve decimals at most."""
    return f"{amount:.12f}".rstrip("0").rstrip(".")


# Steps: each takes the text and the notes and returns the text in a plainer notation.


def _citation(text: str, notes: list[str]) -> str:
    """Leave out ``[12]`` and a full stop at the end."""
    without = re.sub(r"(?<=[A-Za-z\d)])(?:\s*\[\d+(?:\s*[,–-]\s*\d+)*\]|[.;,])+$", "", text)
    if without != text:
        notes.append("the end of the text is left out (a citation or full stop)")
    return without


def _space_group_number(text: str, notes: list[str]) -> str:
    """Leave out the space group of ``LiTi2(PO4)3_167``; raises `FormulaError` where it may be an amount."""
    match = re.fullmatch(r"(.*[A-Za-z\d)])_(\d{1,3})", text)
    if match is None or "_" in match[1]:
        return text
    if match[1][-1] in "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz)":
        without, within = (_balanced(t) for t in (match[1], f"{match[1]}{match[2]}"))
        if within or not without:
            return text
        if not 1 <= int(match[2]) <= 230:
            raise _two_readings(text, f"{match[1]}{match[2]}", f"{match[1]} with a label")
    notes.append(f"_{match[2]} is left out (a space group)")
    return match[1]


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
    name = symbol if symbol in _ELEMENTS else symbol[0]
    charge = Element(name).Z if name in _ELEMENTS else 0
    if not charge <= int(mass[:4]) <= 3 * charge:
        raise FormulaError(
            f"formula {given!r}: {mass}{symbol} is no isotope; write amounts after the element"
        )
    notes.append(_ISOTOPES)
    return symbol


def _vacancies(text: str, notes: list[str]) -> str:
    without = _VACANCY.sub("", text)
    if without != text:
        notes.append("vacancies left out")
    return without


def _markup(text: str, _: list[str]) -> str:
    """Bring HTML and LaTeX subscripts, Unicode forms, fractions and odd signs to plain characters."""
    text = re.sub(r"</?sub>|\$|\\(?:mathrm|rm|ce|text)\b", "", text, flags=re.IGNORECASE)
    text = re.sub(r"\\(?:cdot|times)\b", "·", text)
    text = re.sub(r"_\{?([\d.,/]+)\}?", r"\1", text)
    text = re.sub(r"(\d*)([¼-¾⅐-⅞↉])", _vulgar_fraction, text)
    text = "".join(_ODD.get(c, c) for c in unicodedata.normalize("NFKC", text))
    return (
        "".join(c for c in text if unicodedata.category(c) != "Cf").translate(_BRACKETS).strip("\"'` \t\r\n")
    )


def _vulgar_fraction(match: re.Match) -> str:
    """Return ``2½`` as ``2.5``."""
    return number_text(int(match[1] or 0) + unicodedata.numeric(match[2]))


def _ratio(text: str, _: list[str]) -> str:
    """Return ``Li2S-P2S5 (75:25)`` as ``75Li2S-25P2S5``, without ``mol%``, which amounts are anyway."""
    text = re.sub(r"[\s,]*\(?\s*(?:in\s+)?mol\.?\s*%\s*\)?", " ", text).strip()
    number = rf"{_AMOUNT}(?:\s*:\s*{_AMOUNT})+"
    match = re.fullmatch(rf"(?P<parts>[A-Z].*?)[\s=,(]+(?P<ratio>{number})\)?", text) or re.fullmatch(
        rf"(?P<ratio>{number})\s+(?P<parts>[A-Z].*)", text
    )
    parts = re.split(r"\s*[-:]\s*", match["parts"]) if match else []
    amounts = re.split(r"\s*:\s*", match["ratio"]) if match else []
    if len(parts) < 2 or len(parts) != len(amounts):
        return text
    return "-".join(amount + part for amount, part in zip(amounts, parts, strict=True))


def _polymorph(text: str, notes: list[str]) -> str:
    """Leave out a prefix such as ``β-`` and a state such as ``(aq)``: a composition has none."""
    without = re.sub(rf"^(?:{_GREEK}|[acthmor])['′]?\s*-\s*(?=[A-Z(\d])", "", text)
    without = re.sub(rf"\s*\((?:{_STATES}|{_GREEK})\)$", "", without)
    if without != text:
        notes.append("the polymorph or state is left out: only the composition is used")
    return without


def _names(text: str, notes: list[str]) -> str:
    """Leave out names, family words and space groups beside a formula: ``LiPON (Li2.88PO3.73N0.14)``."""
    if not re.search(r"[\s(:,=]", text):
        return text
    chunks = re.findall(r"[^\s:,=()]*(?:\((?:[^()]|\([^()]*\))*\)[^\s:,=()]*)*[:,=]?", text.strip())
    parts = [part for chunk in chunks for part in _tail_in_brackets(chunk.rstrip(":=,")) if part]
    names = [part for part in parts if _is_name(part.strip("()"))]
    if not names or len(names) == len(parts):
        return text
    kept = [part for part in parts if part not in names]
    notes.append(f"the name {', '.join(repr(name.strip('()')) for name in names)} is left out")
    bare = kept[0]
    return bare[1:-1] if len(kept) == 1 and bare[0] == "(" and bare[-1] == ")" else " ".join(kept)


def _tail_in_brackets(chunk: str) -> list[str]:
    """Split ``Li7La3Zr2O12(LLZO)`` before its last bracket where that holds a name."""
    match = re.fullmatch(r"(.+)(\([^()\d]+\))", chunk)
    return [match[1], match[2]] if match and _is_name(match[2].strip("()")) else [chunk]


def _is_name(text: str) -> bool:
    """Return whether a piece is an abbreviation, a family word or a space group."""
    letters = re.sub(r"[^A-Za-z]", "", text)
    words = [w for w in re.split(r"[\s\-/]+", text) if w]
    known = [w.lower() in _WORDS or re.sub(r"[^A-Za-z]", "", w).upper() in ABBREVIATIONS for w in words]
    if words and not re.search(r"\d", text) and (all(known) or letters.upper() in ABBREVIATIONS):
        return True
    return text.replace("_", "").replace(" ", "") in _space_groups()


@lru_cache(maxsize=1)
def _space_groups() -> frozenset[str]:
    """Return the Hermann-Mauguin symbols that cannot be read as a formula."""
    symbols = {symbol.replace("_", "") for symbol in SYMM_DATA["space_group_encoding"]}
    return frozenset(s for s in symbols if re.search(r"[A-Z][a-z]{2}|[/-]", s) and not _PLAIN.fullmatch(s))


def _oxidation_states(text: str, notes: list[str]) -> str:
    """Leave out oxidation states such as those of ``Fe(II)``."""
    without = _ROMAN.sub("", text)
    if without != text:
        notes.append("oxidation states left out")
    return without


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
    if hydrogen != text:
        notes.append(_ISOTOPES)
    return hydrogen


def _blanks(text: str, _: list[str]) -> str:
    """Join what blanks separate; raises `FormulaError` where a number could belong to either side."""
    text = _RAISED_DOTS.sub("·", re.sub(rf"(?<![A-Za-z\d.)])({_AMOUNT})\s*[*×·]\s*(?=[A-Z(])", r"\1", text))
    text = re.sub(r"\s*([·\-()])\s*", _tight, re.sub(r"\s\+\s", "·", text)).strip()
    text = re.sub(rf"(^|[·\-(])({_AMOUNT})\s+(?=[A-Z(])", r"\1\2", text)  # 75 Li2S - 25 P2S5
    return "".join(_joined_words(part, text) for part in re.split(r"([·\-])", text))


def _joined_words(part: str, text: str) -> str:
    words = part.split()
    if len(words) > 1 and all(re.fullmatch(rf"{_AMOUNT}[A-Z(].*[A-Z)].*", word) for word in words):
        return "·".join(words)  # 0.2(Li2S) 0.8(GeS2)
    for before, word in pairwise(words):
        after_element = re.fullmatch(r"[A-Z][a-z]?|.*\)", before) is not None
        if word[0] in "0123456789." and not (after_element and re.fullmatch(_AMOUNT, word)):
            raise FormulaError(
                f"formula {text!r}: it is not clear what {word!r} counts; "
                "write compounds as (Li2S)0.75(P2S5)0.25"
            )
    _refuse_several(words, text)
    return "".join(words)


def _tight(match: re.Match) -> str:
    """Return a sign without blanks around it; a bracket keeps the blank outside it."""
    return {"(": " (", ")": ") "}.get(match[1], match[1]) if match[0] != match[1] else match[1]


def _refuse_several(words: Sequence[str], text: str) -> None:
    """Raise `FormulaError` where two words are compounds of their own, or repeat an element."""
    seen: set[str] = set()
    for at, word in enumerate(words):
        elements = set(re.findall(r"[A-Z][a-z]?", word))
        group = re.fullmatch(r"\(([^()]*)\)", word)
        alias = group and group[1] not in _SOLVENTS and _balanced(group[1]) and _balanced("".join(words[:at]))
        if alias or (seen & elements and not word.startswith("(")):
            raise FormulaError(
                f"formula {text!r} holds several compounds or a label: write one in a row, "
                "or their ratio as (Li2S)0.75(P2S5)0.25"
            )
        seen |= elements


def _dots(text: str, notes: list[str]) -> str:
    """Decide for every dot whether it is a decimal point or joins two compounds (then ``·``)."""
    if "." not in text and "·" not in text:
        return text
    text = re.sub(r"[.·](?=[A-Z(])", "·", text)
    text = re.sub(r"(?<=\()[^()]*[.·][^()]*(?=\))", lambda m: _settled(m[0], notes), text)
    return _bare_dot(_settled(text, notes), notes)


def _settled(text: str, notes: list[str]) -> str:
    """Decide for the dots outside brackets; a raised dot that no digit precedes is a joint."""
    depths = np.cumsum([(c == "(") - (c == ")") for c in text])
    dots = [i for i, c in enumerate(text) if c in ".·" and depths[i] == 0 and text[i + 1 : i + 2].isdigit()]
    joints = [i for i in dots if text[i] == "·" and not text[i - 1].isdigit()]
    unsure = [i for i in dots if i not in joints and _may_join(text, i)][:_MAX_DOTS]
    raised = [i for i in dots if text[i] == "·"]
    decimal, as_written = _joined(text, dots, joints), _joined(text, dots, raised)
    choices = [(*joints, *c) for n in range(1, len(unsure) + 1) for c in combinations(unsure, n)]
    sums = [t for t in (_joined(text, dots, c) for c in choices) if all(map(_balanced, _parts(t)))]
    if sums and (_balanced(decimal) or len({_unit(t) for t in sums}) > 1):
        raise _two_readings(text, decimal, *sums)
    if sums:
        return sums[0]
    if raised != joints and not _is_decimal(as_written):
        return as_written
    bare = [i for i in unsure if text[i] == "." and not text[i - 1].isdigit()]
    if bare and not _balanced(decimal):
        raise _two_readings(text, decimal, _joined(text, dots, [*joints, *bare]))
    if raised != joints:
        notes.append("raised dots read as decimal points")
    return decimal


def _is_decimal(text: str) -> bool:
    """Return whether the middle dots of a text cannot all join compounds, so that they are decimal points."""
    return not all(map(_is_compound, _parts(text)))


def _may_join(text: str, at: int) -> bool:
    """Return whether a dot before a digit may stand between two compounds."""
    left, right = _parts(text[:at])[-1], _parts(text[at + 1 :])[0]
    if not re.search(r"(?:F|O|Cl|N|Br|I|S|Se|Te|H|\))(?:[1-9]\d*)?$", left):
        return False
    if re.search(r"\)\d+$", left) and text[at] == "." and not _is_solvent(right):
        return False  # (Li2S)1.5(P2S5)1
    return bool(re.match(rf"{_AMOUNT}\(?[A-Z]", right)) and _is_compound(left) and _is_compound(right)


def _parts(text: str) -> list[str]:
    """Split a text at the middle dots outside brackets that no decimals are meant by."""
    parts, depth = [""], 0
    for c in text:
        depth += (c == "(") - (c == ")")
        if c == "·" and depth == 0:
            parts.append("")
        else:
            parts[-1] += c
    return parts


def _is_solvent(text: str) -> bool:
    return re.sub(rf"^{_AMOUNT}", "", text).strip("()") in _SOLVENTS


def _joined(text: str, dots: Sequence[int], joints: Sequence[int]) -> str:
    """Return the text with those of the ``dots`` that are no ``joints`` as decimal points."""
    signs = {i: "·" if i in joints else "." for i in dots}
    return "".join(signs.get(i, c) for i, c in enumerate(text))


def _bare_dot(text: str, notes: list[str]) -> str:
    """Return the text; raises `FormulaError` for ``Li6PS5Cl.18``, which may end with a citation."""
    match = re.fullmatch(r"(.*[A-Za-z])\.(\d+)", text)
    if match and not re.search(r"[A-Za-z)]\.\d", match[1]) and not _balanced(text):
        raise _two_readings(text, f"{match[1]}0.{match[2]}", f"{match[1]} with a citation")
    return text


_STEPS: tuple[Callable[[str, list[str]], str], ...] = (
    _citation,
    _space_group_number,
    _superscripts,
    _vacancies,
    _markup,
    _ratio,
    _polymorph,
    _names,
    _oxidation_states,
    _decimal_commas,
    _fractions,
    _isotopes,
    _blanks,
    _dots,
)


def _two_readings(text: str, *readings: str) -> FormulaError:
    return FormulaError(
        f"formula {text!r} can be read in two ways: {' or '.join(dict.fromkeys(readings))}; "
        "write the one that is meant"
    )


def _refuse_names(text: str, given: str) -> None:
    """Raise `FormulaError` for a name of an element or compound and for an abbreviation."""
    if re.sub(r"[^A-Za-z]", "", text).upper() in ABBREVIATIONS and not re.search(r"\d", text):
        raise FormulaError(f"{given!r} is an abbreviation: write the formula, for example 'Li7La3Zr2O12'")
    if _OXYNITRIDE.fullmatch(text):
        one_each = re.sub(r"([A-Z][a-z]?)", r"\g<1>1", text)
        raise _two_readings(given, f"{one_each} (one atom each)", "an oxynitride glass of that name")
    word = re.search(r"[A-Za-z]*[a-z]{3,}", text)
    if word is None:
        return
    symbol = _element_names().get(word[0].lower())
    hint = f"write the symbol {symbol!r}" if symbol else "write the formula with element symbols"
    raise FormulaError(f"{given!r} reads like a name, not a formula ({word[0]!r}): {hint}")


@lru_cache(maxsize=1)
def _element_names() -> dict[str, str]:
    names = {Element(symbol).long_name.lower(): symbol for symbol in _ELEMENTS}
    return names | {"aluminium": "Al", "sulphur": "S", "caesium": "Cs"}


def _refuse_lookalikes(text: str, given: str, amounts: Mapping[str, float]) -> None:
    """Raise `FormulaError` for a lost decimal point or an 0, I or 1 that may stand for O or l."""
    lost = re.search(r"([A-Z][a-z]?|\))0(\d*[1-9]\d*)(?![\d.])", text)
    if lost:
        raise _two_readings(given, f"{lost[1]}0.{lost[2]}", f"{lost[1]}O{lost[2]}")
    for pattern, letters in _LOOKALIKES:
        other = re.sub(pattern, letters, text)
        settled = other == text or (letters == "O" and "O" in amounts) or _balances(amounts)
        if not settled and _balanced(other):
            raise _two_readings(given, text, other)


# The grammar: amounts, elements, brackets and sums.


def _grammar(text: str, given: str, notes: list[str] | None = None) -> dict[str, float]:
    """Return the amounts of a text such as ``0.7(0.75Li2S-0.25P2S5)-0.3LiI``."""
    if re.match(rf"{_AMOUNT}\([^()]*\){_AMOUNT}\(", text) and text.endswith(")"):
        amount, first, second = re.match(rf"({_AMOUNT})(\([^()]*\))({_AMOUNT}.*)", text).groups()
        raise _two_readings(given, f"{amount}{first} + {second}", f"{amount} x [{first}{second}]")
    parser = _Parser(text, given)
    amounts = parser.mixture(0)
    if parser.at != len(text):
        raise parser.fault()
    if notes is not None:
        notes += parser.notes
    return amounts


class _Parser:
    """Recursive descent over ``mixture = [amount] formula (('·' | '-') [amount] formula)*``."""

    _TOKEN = re.compile(rf"([A-Z][a-z]?)({_AMOUNT})?")
    _NUMBER = re.compile(_AMOUNT)

    def __init__(self, text: str, given: str) -> None:
        self.text, self.given, self.at = text, given, 0
        self.notes: list[str] = []

    def mixture(self, depth: int) -> dict[str, float]:
        start, parts, signs, total = self.at, [], set(), {}
        while True:
            begin, amount = self.at, self._number()
            formula = self._formula(depth)
            if not formula:
                raise self.fault()
            parts.append((amount, self.text[begin : self.at]))
            for element, x in formula.items():
                total[element] = total.get(element, 0.0) + x * (1.0 if amount is None else amount)
            if self.text[self.at : self.at + 1] not in ("·", "-") or self.text[self.at :] == "-":
                break
            signs.add(self.text[self.at])
            self.at += 1
        self._require_ratio(parts, signs)
        if depth and signs and abs(sum(amount or 1.0 for amount, _ in parts) - 100) < 0.5:
            total = {element: x / 100 for element, x in total.items()}  # 90(75Li2S-25P2S5)-10LiI
        self._say(parts, signs, whole=start == 0 and self.at == len(self.text))
        return total

    def _require_ratio(self, parts: list[tuple[float | None, str]], signs: set[str]) -> None:
        if "-" in signs and parts[0][0] is None:
            raise FormulaError(f"formula {self.given!r}: the ratio is not known; write (Li2S)0.75(P2S5)0.25")

    def _say(self, parts: list[tuple[float | None, str]], signs: set[str], *, whole: bool) -> None:
        if signs:
            kind = "a mixture of" if "-" in signs else "the sum of"
            self.notes.append(f"read as {kind} " + " and ".join(part for _, part in parts))
        elif whole and parts[0][0] not in (None, 1.0):
            self.notes.append(
                f"the leading number {number_text(parts[0][0])} changes no fraction and is left out"
            )

    def _number(self) -> float | None:
        match = self._NUMBER.match(self.text, self.at)
        if match is None:
            return None
        self.at = match.end()
        return float(match[0])

    def _formula(self, depth: int) -> dict[str, float]:
        found: dict[str, float] = {}
        if depth > _MAX_NESTING:
            raise FormulaError(f"formula {self.given[:60]!r} has more than {_MAX_NESTING} nested brackets")
        while self.at < len(self.text):
            group = self._group(depth)
            if group is None:
                break
            inside, factor = group
            for element, x in inside.items():
                found[element] = found.get(element, 0.0) + x * factor
        return found

    def _group(self, depth: int) -> tuple[dict[str, float], float] | None:
        """Return one element or bracket and its amount, None where neither begins."""
        if self.text[self.at] == "(":
            self.at += 1
            inside = self.mixture(depth + 1)
            if self.text[self.at : self.at + 1] != ")":
                raise self.fault()
            self.at += 1
            factor = self._number()
            return inside, 1.0 if factor is None else factor
        match = self._TOKEN.match(self.text, self.at)
        if match is None:
            return None
        if match[1] not in _ELEMENTS:
            raise self.fault()
        self.at = match.end()
        return {match[1]: 1.0}, float(match[2] or 1)

    def fault(self) -> FormulaError:
        """Return what is wrong with the text, as well as it can be said."""
        return FormulaError(_diagnosis(self.text, self.given))


def _diagnosis(text: str, given: str) -> str:
    """Return what keeps a text from being read."""
    odd = re.search(r"[^A-Za-z\d.()·+\-]", text)
    if odd:
        name = unicodedata.name(odd[0], "a control character").lower()
        return (
            f"formula {given!r} holds {odd[0]!r} (U+{ord(odd[0]):04X}, {name}): "
            "expected Latin letters, digits, points and brackets"
        )
    if text.count("(") != text.count(")"):
        return f"formula {given!r} has {text.count('(')} opening and {text.count(')')} closing brackets"
    unknown = sorted({s for s in re.findall(r"[A-Z][a-z]*|[a-z]+", text) if s not in _ELEMENTS})
    heavy = [symbol for symbol in unknown if Element.is_valid_symbol(symbol)]
    if heavy:
        return f"element {', '.join(heavy)} is beyond lawrencium: no data exist for it"
    if re.search(r"[+\-]", text):
        return (
            f"formula {given!r} holds a charge, a variable or a sum: write amounts as numbers and no charges"
        )
    if not unknown:
        return f"formula {given!r} cannot be read: a part of it names no compound"
    hint = re.sub(r"[A-Za-z]+", lambda m: _recased(m[0]) or "?", text)
    meant = "" if "?" in hint or len(hint) > 200 else f" Did you mean {hint!r}?"
    small = " (a small letter where an element begins)" if any(s[0].islower() for s in unknown) else ""
    names = ", ".join(map(repr, unknown[:5]))
    return f"formula {given!r} names no known element with {names}{small}.{meant}"


def _recased(run: str) -> str:
    """Return a run of letters with upper and lower case set so that all are elements, "" where none does.

    From the end backwards, so that the time grows with the length only; two letters go before one.
    """
    best: list[str | None] = [None] * len(run) + [""]
    for at in range(len(run) - 1, -1, -1):
        for length in (2, 1):
            symbol, rest = run[at : at + length].capitalize(), best[min(at + length, len(run))]
            if len(symbol) == length and symbol in _ELEMENTS and rest is not None:
                best[at] = symbol + rest
                break
    return best[0] or ""


# Charges, which settle what a dot or a digit means.

_ANIONS = {"F": -1, "O": -2, "Cl": -1, "N": -3, "Br": -1, "I": -1, "S": -2, "Se": -2, "Te": -2}
_USUAL = {"C": (2, 3, 4), "P": (5,)}  # pymatgen lists more, which balance almost anything
_STATES_BESIDE_ANIONS = {"S": (4, 6), "N": (3, 5), "Cl": (5, 7), "Se": (4, 6), "I": (5,), "Te": (4, 6)}


def _balanced(text: str) -> bool:
    """Return whether a formula (one part of a sum, with or without its amount) balances its charges."""
    if _is_solvent(text):
        return True
    try:
        return _balances(_grammar(text, text))
    except FormulaError:
        return False


def _balances(amounts: Mapping[str, float], tolerance: float = 0.005) -> bool:
    """Return whether some usual states add up to a charge of at most ``tolerance`` per atom."""
    if len(amounts) < 2 or len(amounts) > 10 or not amounts.keys() & {*_ANIONS, "H"}:
        return False
    states = [_usual_states(symbol, amounts) for symbol in amounts]
    total = sum(amounts.values())
    charges = (
        sum(x * z for x, z in zip(amounts.values(), chosen, strict=True)) for chosen in product(*states)
    )
    return total > 0 and any(abs(charge) <= tolerance * total for charge in charges)


def _usual_states(symbol: str, beside: Mapping[str, float]) -> tuple[int, ...]:
    """Return the states of an element beside others: an anion is one, unless a stronger one binds it."""
    if symbol in _ANIONS:
        bound = _STATES_BESIDE_ANIONS.get(symbol, ()) if beside.keys() & {"O", "F"} - {symbol} else ()
        return (_ANIONS[symbol], *bound)
    if symbol in _USUAL:
        return _USUAL[symbol]
    positive = tuple(z for z in Element(symbol).common_oxidation_states if z > 0)
    return (*positive, -1) if symbol == "H" else positive or (0,)


def _is_compound(text: str) -> bool:
    """Return whether a part of a sum is more than one element."""
    try:
        return len(_grammar(text, text)) > 1
    except FormulaError:
        return False


def _unit(text: str) -> tuple[tuple[str, float], ...]:
    """Return the mole fractions of a readable formula, rounded, in alphabetical order."""
    amounts = _grammar(text, text)
    total = sum(amounts.values()) or 1.0
    return tuple(sorted((el, round(x / total, 6)) for el, x in amounts.items()))
