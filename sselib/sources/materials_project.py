"""Structures, energies above the hull and screening candidates from the Materials Project, through mp-api.

Needs the extra `materials-project` and a free key in the environment variable `MP_API_KEY`. Every answer is
kept on disk, page by page and formula by formula, so that an interrupted call continues where it stopped and
a repeated one asks nothing. Requests go out one at a time with a pause between them; a busy server is asked
again after a growing pause. Cite A. Jain et al., APL Mater. 1, 011002 (2013), doi 10.1063/1.4812323; the
data are CC-BY-4.0. Materials that come from GNoME are not commercially usable and are left out by default.
"""

import hashlib
import json
import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import requests
from pymatgen.core import Structure

from sselib.errors import DataError, ParameterError
from sselib.materials.composition import parse_formula
from sselib.materials.structures import structure_to_json
from sselib.progress import progress
from sselib.registry import cache_folder, offline
from sselib.runfolder import to_json, write_whole

if TYPE_CHECKING:
    from mp_api.client import MPRester

KEY_VARIABLE = "MP_API_KEY"
KEY_ADDRESS = "https://next-gen.materialsproject.org/api"
EXTRA = "pip install 'sselib[materials-project]'"
FIELDS = ("material_id", "formula_pretty", "structure", "energy_above_hull", "band_gap", "symmetry")
COLUMNS = (
    "id",
    "formula",
    "structure_json",
    "energy_above_hull_ev_atom",
    "band_gap_ev",
    "space_group_number",
)
PAGE_SIZE = 200  # documents of one request
FORMULAS_PER_REQUEST = 50
PAUSE_S = 0.5  # between two requests
N_RETRIES = 4  # further attempts when the server is busy or cannot be reached
BACKOFF_S = 2.0  # pause before the first of them; it doubles
MAX_ATOMS_PER_FORMULA = 200  # a formula of more atoms (a doping level) names no ordered structure


@dataclass(frozen=True, kw_only=True)
class MaterialsProject:
    """A connection to the Materials Project; nothing is asked before the first answer is needed.

    ``cache`` keeps the answers (default: `materials_project/` in the suite's cache folder); with
    ``refresh`` they are asked for anew. ``endpoint`` is the address of the API (default: that of mp-api).
    """

    cache: Path | None = None
    endpoint: str | None = None
    refresh: bool = False
    pause_s: float = PAUSE_S
    backoff_s: float = BACKOFF_S

    def candidates(
        self,
        *,
        elements: Sequence[str] = ("Li",),
        exclude_elements: Sequence[str] = (),
        max_energy_above_hull_ev_atom: float = 0.05,
        min_band_gap_ev: float = 0.0,
        max_sites: int | None = None,
        limit: int | None = None,
        include_gnome: bool = False,
    ) -> pd.DataFrame:
        """Return materials that hold all ``elements``, the most stable first.

        Columns `COLUMNS`; energies in eV/atom, band gaps (PBE, too small) in eV; structures as pymatgen
        JSON. ``max_sites`` is per primitive cell; ``limit`` the largest number of rows. Raises `DataError`
        where the Materials Project cannot be asked, `ParameterError` for an impossible limit.
        """
        if limit is not None and limit < 1:
            raise ParameterError(f"limit is {limit}: expected at least 1, or None for all")
        query = {
            "elements": sorted(elements),
            "exclude_elements": sorted(exclude_elements) or None,
            "energy_above_hull": [0.0, max_energy_above_hull_ev_atom],
            "band_gap": [min_band_gap_ev, 100.0] if min_band_gap_ev > 0 else None,
            "num_sites": [1, max_sites] if max_sites else None,
            "include_gnome": include_gnome,
        }
        wanted = {key: value for key, value in query.items() if value is not None}
        return _table(self._paged(wanted, limit=limit)).head(limit)

    def structures_for(self, formulas: Iterable[str], *, include_gnome: bool = False) -> pd.DataFrame:
        """Return the most stable known structure of each formula, one row per formula, in order.

        Column ``asked`` holds the formula as given, the others are `COLUMNS`, missing where the Materials
        Project has no material of that composition. The structure is the ground state (or nearest to
        it): where the asked material is another polymorph, it is the wrong one. Raises `DataError` where
        the Materials Project cannot be asked, `FormulaError` for a formula that cannot be read.
        """
        asked = list(formulas)
        known = self._documents_of({reduced(f) for f in asked} - {""}, include_gnome=include_gnome)
        rows = [_most_stable(known.get(reduced(f), [])) for f in asked]
        return _frame(rows).assign(asked=asked)[["asked", *COLUMNS]]

    def energies_above_hull(self, formulas: Iterable[str], *, include_gnome: bool = False) -> pd.DataFrame:
        """Return asked, id and energy_above_hull_ev_atom (eV/atom) of each formula's most stable material."""
        found = self.structures_for(formulas, include_gnome=include_gnome)
        return found[["asked", "id", "energy_above_hull_ev_atom"]]

    def _paged(self, query: Mapping[str, object], *, limit: int | None) -> list[dict]:
        """Return the documents of a query, page by page, up to at least ``limit``."""
        documents: list[dict] = []
        page = 1
        while True:
            found = self._page(query, page)
            documents += found
            if len(found) < PAGE_SIZE or (limit is not None and len(documents) >= limit):
                return documents
            page += 1

    def _page(self, query: Mapping[str, object], page: int) -> list[dict]:
        """Return one page, from the cache where it is there."""
        digest = hashlib.sha256(to_json({**query, "fields": FIELDS}).encode()).hexdigest()[:16]
        path = self._folder / "queries" / digest / f"page_{page:04d}.json"
        ask = {**query, "_page": page, "_sort_fields": "energy_above_hull,material_id"}
        return self._kept(path, lambda: self._ask(ask), what=ask)

    def _documents_of(self, wanted: set[str], *, include_gnome: bool) -> dict[str, list[dict]]:
        """Return the documents of reduced formulas; what is not cached is asked for in batches."""
        folder = self._folder / ("formulas_with_gnome" if include_gnome else "formulas")
        missing = sorted(f for f in wanted if self.refresh or not (folder / f"{f}.json").is_file())
        batches = [
            missing[k : k + FORMULAS_PER_REQUEST] for k in range(0, len(missing), FORMULAS_PER_REQUEST)
        ]
        for batch in progress(batches, stage="Materials Project"):
            found = self._all_pages({"formula": batch, "include_gnome": include_gnome})
            for formula in batch:
                of_it = [d for d in found if d.get("formula_pretty") == formula]
                self._keep(folder / f"{formula}.json", of_it, what={"formula": formula})
        return {f: _read(folder / f"{f}.json") for f in wanted}

    def _all_pages(self, query: Mapping[str, object]) -> list[dict]:
        """Return all documents of a query without keeping its pages."""
        documents: list[dict] = []
        while len(documents) % PAGE_SIZE == 0:
            page = len(documents) // PAGE_SIZE + 1
            found = self._ask({**query, "_page": page, "_sort_fields": "energy_above_hull,material_id"})
            documents += found
            if not found:
                break
        return documents

    def _kept(self, path: Path, ask: Callable[[], list[dict]], *, what: Mapping[str, object]) -> list[dict]:
        """Return the answer in ``path``, asking and keeping it first where it is not there."""
        if self.refresh or not path.is_file():
            self._keep(path, ask(), what=what)
        return _read(path)

    def _keep(self, path: Path, documents: list[dict], *, what: Mapping[str, object]) -> None:
        record = {
            "query": what,
            "db_version": self._rester.db_version,
            "retrieved": datetime.now(UTC).isoformat(timespec="seconds"),
            "documents": documents,
        }
        write_whole(path, lambda p: p.write_text(json.dumps(record), encoding="utf-8"))

    def _ask(self, query: Mapping[str, object]) -> list[dict]:
        """Return one page of documents from the server, asking again while it is busy."""
        from mp_api.client.core import MPRestError

        summary = self._rester.materials.summary
        arguments = {k: tuple(v) if k in _RANGES else v for k, v in query.items()}
        for attempt in range(N_RETRIES + 1):
            time.sleep(self.pause_s if attempt == 0 else self.backoff_s * 2 ** (attempt - 1))
            try:
                return summary.search(
                    fields=list(FIELDS), all_fields=False, chunk_size=PAGE_SIZE, num_chunks=1, **arguments
                )
            except (MPRestError, requests.RequestException) as error:
                failure = error
                if not _worth_repeating(error):
                    break
        raise DataError(_what_to_do(failure)) from failure

    @property
    def _folder(self) -> Path:
        return self.cache or cache_folder() / "materials_project"

    @cached_property
    def _rester(self) -> "MPRester":
        """Return the client of mp-api. Raises `DataError` where it cannot be had."""
        require_access()
        from mp_api.client import MPRester
        from mp_api.client.core import MPRestError

        try:
            return MPRester(
                api_key=os.environ[KEY_VARIABLE],
                endpoint=self.endpoint,
                use_document_model=False,
                mute_progress_bars=True,
            )
        except (MPRestError, requests.RequestException, ValueError, KeyError) as error:
            raise DataError(_what_to_do(error)) from error


_RANGES = ("energy_above_hull", "band_gap", "num_sites")


def candidates(**options: object) -> pd.DataFrame:
    """Return candidates for screening; options as in `MaterialsProject.candidates`."""
    return MaterialsProject().candidates(**options)


def structures_for(formulas: Iterable[str]) -> pd.DataFrame:
    """Return the most stable structure of each formula; see `MaterialsProject.structures_for`."""
    return MaterialsProject().structures_for(formulas)


def energies_above_hull(formulas: Iterable[str]) -> pd.DataFrame:
    """Return energies above the hull in eV/atom; see `MaterialsProject.energies_above_hull`."""
    return MaterialsProject().energies_above_hull(formulas)


def require_access() -> None:
    """Raise `DataError` with what to do unless package, key and permission to go online are there."""
    if find_spec("mp_api") is None:
        raise DataError(f"the Materials Project needs the package mp-api: {EXTRA}")
    if not os.environ.get(KEY_VARIABLE):
        raise DataError(
            f"the Materials Project needs a key, and {KEY_VARIABLE} is not set: get one free of charge at "
            f"{KEY_ADDRESS} and set {KEY_VARIABLE} to it. Everything else in the suite works without it"
        )
    if offline():
        raise DataError("the Materials Project is online, and SSE_OFFLINE forbids that: unset SSE_OFFLINE")


def status_line(cache: Path | None = None) -> str:
    """Return in a line whether the Materials Project can be asked, for `sse data list`."""
    folder = cache or cache_folder() / "materials_project"
    kept = f"{sum(1 for _ in folder.rglob('*.json'))} answers kept in {folder}"
    try:
        require_access()
    except DataError as error:
        return f"materials-project: not at hand, {error} ({kept})"
    return f"materials-project: {KEY_VARIABLE} is set ({kept})"


def reduced(formula: str) -> str:
    """Return the reduced formula in the form of the Materials Project, ``Li6PS5Cl``.

    Empty where the formula has non-integer amounts that no cell of `MAX_ATOMS_PER_FORMULA` can hold.
    """
    integers, _ = parse_formula(formula).get_integer_formula_and_factor(max_denominator=100)
    composition = parse_formula(integers)
    fits = composition.num_atoms <= MAX_ATOMS_PER_FORMULA and composition.almost_equals(
        parse_formula(formula) * (composition.num_atoms / parse_formula(formula).num_atoms), rtol=1e-3
    )
    return composition.reduced_formula if fits else ""


def _read(path: Path) -> list[dict]:
    """Return the documents of a kept answer. Raises `DataError` if the file is broken."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))["documents"]
    except (OSError, ValueError, KeyError) as error:
        raise DataError(f"{path} cannot be read ({error}): delete it, and it is asked for anew") from error


def _worth_repeating(error: Exception) -> bool:
    """True where the server is busy or cannot be reached, False where it refuses."""
    text = str(error)
    refused = any(f"status code {code}" in text for code in (400, 401, 403, 404, 422))
    return not refused and "does not support the request" not in text


def _what_to_do(error: Exception) -> str:
    """Return one line that says what failed and what to do."""
    text = " ".join(str(error).split())[:300]
    if any(f"status code {code}" in text for code in (401, 403)):
        remedy = f"copy it anew from {KEY_ADDRESS}"
        return f"the Materials Project refuses the key in {KEY_VARIABLE} ({text}): {remedy}"
    if isinstance(error, requests.RequestException) or "status code 5" in text or "429" in text:
        return (
            f"the Materials Project cannot be reached or is busy ({text}): try again later; "
            "what was already answered is kept"
        )
    return f"the Materials Project cannot answer ({text}): check {KEY_VARIABLE} and the version of mp-api"


def _most_stable(documents: Sequence[Mapping[str, object]]) -> Mapping[str, object] | None:
    """Return the document lowest above the hull, None where there is none."""
    return min(documents, key=_stability, default=None)


def _stability(document: Mapping[str, object]) -> tuple[float, str]:
    energy = document.get("energy_above_hull")
    return (np.inf if energy is None else float(energy), str(document.get("material_id")))


def _table(documents: Sequence[Mapping[str, object]]) -> pd.DataFrame:
    """Return documents as a table, the most stable first, each material once."""
    unique = {str(document.get("material_id")): document for document in documents}
    return _frame(sorted(unique.values(), key=_stability))


def _frame(documents: Sequence[Mapping[str, object] | None]) -> pd.DataFrame:
    """Return one row per document with the columns `COLUMNS`; None becomes a row of missing values."""
    rows = [_row(document) if document else dict.fromkeys(COLUMNS) for document in documents]
    table = pd.DataFrame(rows, columns=list(COLUMNS))
    numbers = {"energy_above_hull_ev_atom": float, "band_gap_ev": float, "space_group_number": "Int64"}
    return table.astype(numbers)


def _row(document: Mapping[str, object]) -> dict[str, object]:
    """Return one document of the summary endpoint as a row. Raises `DataError` if it is not as documented."""
    try:
        structure = Structure.from_dict(document["structure"])
        number = (document.get("symmetry") or {}).get("number")
        values = (
            str(document["material_id"]),
            str(document["formula_pretty"]),
            structure_to_json(structure),
            document.get("energy_above_hull"),
            document.get("band_gap"),
            number,
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise DataError(
            f"the Materials Project's answer for {document.get('material_id')} is not as documented "
            f"({error!r}): expected {', '.join(FIELDS)}; check the version of mp-api"
        ) from error
    return dict(zip(COLUMNS, values, strict=True))
