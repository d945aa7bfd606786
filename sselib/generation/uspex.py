"""USPEX in and out: an input folder for a composition, and a finished run as tables like our own.

USPEX is licensed software that the user brings (uspex-team.org); nothing of it is here. The formats follow
the manual of versions 9.4 and 10 (INPUT.txt; results1/Individuals, origin, gatheredPOSCARS,
goodStructures). USPEX 2023 and later read another input file; only its results of the older form are read.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from string import Template

import numpy as np
import pandas as pd
from pymatgen.core import Structure
from pymatgen.io.vasp import Poscar

from crystal_search.population import SEED
from sselib.errors import DataError, ParameterError
from sselib.paths import project_root
from sselib.runfolder import write_whole

# USPEX's name of an origin -> the name used in this suite; others stay as they are, in lower case.
ORIGINS: dict[str, str] = {
    "random": SEED,
    "randtop": SEED,
    "seeds": SEED,
    "heredity": "heredity",
    "softmutate": "soft_mutation",
    "coormutate": "rattle",
    "permutate": "permutation",
    "latmutate": "strain",
    "keptbest": "kept_best",
    "convexhull": "kept_best",
}
KEPT_BEST = "kept_best"  # carried over unchanged: no child of this generation
_NUMBER = r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?"
_INDIVIDUAL = re.compile(
    rf"^\s*(?P<gen>\d+)\s+(?P<id>\d+)\s+(?P<origin>[A-Za-z_]+)\s+\[(?P<content>[\d\s]+)\]\s+"
    rf"(?P<enthalpy>{_NUMBER}|N/A)\s+(?P<volume>{_NUMBER})(?P<rest>.*)$"
)
_ORIGIN = re.compile(
    rf"^\s*(?P<id>\d+)\s+(?P<origin>[A-Za-z_]+)\s+(?P<enthalpy>{_NUMBER}|N/A)\s+"
    rf"(?P<parent>{_NUMBER}|N/A)\s*\[?(?P<parents>[\d\s]*)\]?\s*$"
)
_SPACE_GROUP = re.compile(r"\[[\d\s]+\]\s+(\d+)")
TEMPLATES = "data/uspex"
_TEMPLATES = ("INPUT.txt", "relax_with_ase.py.txt", "submit.sh")
NO_ENTHALPY = 1e4  # USPEX writes 100000 where a relaxation failed


@dataclass(frozen=True, kw_only=True)
class UspexInput:
    """What USPEX is asked for; names after ours, with USPEX's keyword."""

    population_size: int = 20  # populationSize
    generations: int = 20  # numGenerations
    patience: int = 5  # stopCrit: generations without improvement
    pressure_gpa: float = 0.1  # ExternalPressure; Kim et al.: 1000 bar
    heredity: float = 0.5  # fracGene
    random: float = 0.2  # fracRand
    permutation: float = 0.1  # fracPerm
    soft_mutation: float = 0.1  # fracAtomsMut
    strain: float = 0.1  # fracLatMut
    parallel: int = 1  # numParallelCalcs
    potential: str = "chgnet"  # of crystal_search.potentials
    fmax_ev_angstrom: float = 0.05
    max_steps: int = 300


@dataclass(frozen=True, kw_only=True)
class UspexRun:
    """A finished USPEX run: ``table`` with one row per structure, structures by their number, rejects.

    ``rejects`` holds the lines that could not be read: file, row, reason, text.
    """

    table: pd.DataFrame
    structures: dict[int, Structure]
    rejects: pd.DataFrame


def write_input(content: Mapping[str, int], folder: Path, *, settings: UspexInput) -> list[Path]:
    """Write INPUT.txt, Specific/ and a submission script for a cell with ``content`` atoms; return them.

    USPEX starts the relaxation in Specific/ in the place of VASP (abinitioCode 1): the script relaxes
    the POSCAR with a potential through ASE and leaves CONTCAR, OSZICAR and OUTCAR as VASP would. Raises
    `ParameterError` for impossible fractions and if the folder already holds an INPUT.txt.
    """
    folder = Path(folder)
    shares = [getattr(settings, k) for k in ("heredity", "random", "permutation", "soft_mutation", "strain")]
    if min(shares) < 0 or abs(sum(shares) - 1) > 1e-6 or min(content.values()) < 1:
        raise ParameterError(
            f"shares {shares} of a USPEX run: expected none below 0 and a sum of 1; content {dict(content)}: "
            "expected at least one atom of each element"
        )
    if (folder / "INPUT.txt").exists():
        raise ParameterError(f"{folder} already holds an INPUT.txt: choose an empty folder")
    template = {name: (project_root() / TEMPLATES / name).read_text(encoding="utf-8") for name in _TEMPLATES}
    values = {"elements": " ".join(content), "amounts": " ".join(map(str, content.values()))}
    values |= {k: f"{v:g}" if isinstance(v, float) else repr(v) for k, v in vars(settings).items()}
    texts = {
        "INPUT.txt": Template(template["INPUT.txt"]).substitute(values),
        "Specific/INCAR_1": f"# read by nobody: ASE relaxes\nPSTRESS = {10 * settings.pressure_gpa:g}\n",
        "Specific/relax_with_ase.py": Template(template["relax_with_ase.py.txt"]).substitute(values),
        **{f"Specific/POTCAR_{element}": f"{element}: no pseudopotential needed\n" for element in content},
        "submit.sh": template["submit.sh"],
    }
    paths = [
        write_whole(folder / name, lambda p, t=text: p.write_text(t, encoding="utf-8"))
        for name, text in texts.items()
    ]
    (folder / "submit.sh").chmod(0o755)
    return paths


def read_run(folder: Path) -> UspexRun:
    """Read a finished run: ``folder`` is results1 (or what contains it).

    Enthalpies become eV/atom. Where an ``origin`` file is there the parents come from it. Structures are
    those of gatheredPOSCARS, else of goodStructures_POSCARS. Raises `DataError` without an Individuals
    file or a readable line.
    """
    places = [f for f in (Path(folder), Path(folder) / "results1") if (f / "Individuals").is_file()]
    if not places:
        raise DataError(f"no file Individuals in {folder} or its results1: expected a finished USPEX run")
    folder = places[0]
    rejects: list[dict[str, object]] = []
    rows = _read_lines(folder / "Individuals", _INDIVIDUAL, rejects, header_lines=2)
    if not rows:
        why = f"line {rejects[0]['row']}: {rejects[0]['text']!r}" if rejects else "it is empty"
        raise DataError(f"{folder / 'Individuals'} has no readable line: {why}")
    origin = folder / "origin"
    lines = _read_lines(origin, _ORIGIN, rejects, header_lines=1) if origin.is_file() else []
    origins = {int(m["id"]): m for m in lines}
    table = pd.DataFrame([_row(m, origins) for m in rows])
    structures = _read_structures(folder, rejects)
    sizes = dict(zip(table["number"], table["n_atoms"], strict=True))
    for number in [n for n, s in structures.items() if len(s) != sizes.get(n)]:
        reason = f"EA{number}: its number of atoms is not that of Individuals"
        rejects.append({"file": "gatheredPOSCARS", "row": None, "reason": reason, "text": ""})
        del structures[number]
    reject_table = pd.DataFrame(rejects, columns=["file", "row", "reason", "text"])
    return UspexRun(table=table, structures=structures, rejects=reject_table)


def _read_lines(
    path: Path, pattern: re.Pattern, rejects: list[dict[str, object]], *, header_lines: int
) -> list[re.Match]:
    """Return the lines that fit the pattern; others go to the rejects, except headers and empty ones."""
    found = []
    for number, line in enumerate(path.read_text(encoding="utf-8", errors="replace").splitlines(), start=1):
        match = pattern.match(line)
        if match:
            found.append(match)
        elif line.strip() and (number > header_lines or re.match(r"\s*\d", line)):
            rejects.append(_reject(path, number, "the line does not have the form of this file", line))
    return found


def _reject(path: Path, row: int, reason: str, text: str) -> dict[str, object]:
    return {"file": path.name, "row": row, "reason": reason, "text": text[:200]}


def _row(m: re.Match, origins: Mapping[int, re.Match]) -> dict[str, object]:
    """Return one row of the table from a line of Individuals and the matching line of origin."""
    n_atoms = sum(map(int, m["content"].split()))
    enthalpy = _number(m["enthalpy"])
    origin = origins.get(int(m["id"]))
    parents = origin["parents"].split() if origin else []
    parent = _number(origin["parent"]) if parents else np.nan
    if parents and abs(_number(origin["enthalpy"]) - enthalpy / n_atoms) >= abs(
        _number(origin["enthalpy"]) - enthalpy
    ):
        parent /= n_atoms  # its own column tells that `origin` gives enthalpies per cell, not per atom
    group, name = _SPACE_GROUP.search(m["rest"]), m["origin"].lower()
    failed = not np.isfinite(enthalpy) or enthalpy >= NO_ENTHALPY
    return {
        "number": int(m["id"]),
        "generation": int(m["gen"]),
        "operator": ORIGINS.get(name, name),
        "parents": " ".join(parents),
        "n_atoms": n_atoms,
        "enthalpy_ev_atom": np.nan if failed else enthalpy / n_atoms,
        "parent_enthalpy_ev_atom": parent,
        "volume_angstrom3_atom": float(m["volume"]) / n_atoms,
        "space_group": int(group[1]) if group else 0,
        "status": "failed" if failed else "converged",
    }


def _number(text: str) -> float:
    return float("nan") if text == "N/A" else float(text)


def _read_structures(folder: Path, rejects: list[dict[str, object]]) -> dict[int, Structure]:
    """Return the structures by number; each begins with a line such as ``EA33 ... Sym.group: 62``."""
    names = ("gatheredPOSCARS", "goodStructures_POSCARS")
    path = next((folder / n for n in names if (folder / n).is_file()), None)
    if path is None:
        return {}
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    starts = [i for i, line in enumerate(lines) if re.match(r"\s*EA\s*\d+", line)]
    found = {}
    for begin, end in zip(starts, [*starts[1:], len(lines)], strict=True):
        number = int(re.match(r"\s*EA\s*(\d+)", lines[begin])[1])
        try:
            found[number] = Poscar.from_str("\n".join(lines[begin:end]) + "\n").structure
        except (ValueError, IndexError, KeyError) as error:
            why = " ".join(str(error).split()) or type(error).__name__
            rejects.append(_reject(path, begin + 1, f"the structure cannot be read ({why})", lines[begin]))
    return found
