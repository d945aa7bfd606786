"""The Materials Project through mp-api, against answers in the documented shape from a local server."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlparse

import numpy as np
import pytest
from pymatgen.core import Lattice, Structure

from sselib import cli
from sselib.errors import DataError, FormulaError, ParameterError
from sselib.materials.structures import structure_from_json
from sselib.sources import materials_project
from sselib.sources.materials_project import COLUMNS, MaterialsProject, reduced, status_line

pytest.importorskip("mp_api")
KEY = "k" * 32  # keys of the Materials Project have 32 characters


def _document(number: int, anion: str, energy: float | None, *, gap: float | None = 5.0) -> dict:
    """Return a document of materials/summary with the fields that the suite asks for."""
    structure = Structure.from_spacegroup(
        "Fm-3m", Lattice.cubic(4 + number / 100), ["Li", anion], [[0, 0, 0], [0.5, 0.5, 0.5]]
    )
    return {
        "material_id": f"mp-{number}",
        "formula_pretty": f"Li{anion}",
        "structure": structure.get_primitive_structure().as_dict(),
        "energy_above_hull": energy,
        "band_gap": gap,
        "symmetry": {"crystal_system": "Cubic", "symbol": "Fm-3m", "number": 225, "symprec": 0.1},
        "nsites": 2,
    }


DOCUMENTS = [
    _document(1, "F", 0.0, gap=8.7),
    _document(2, "Cl", 0.03),
    _document(3, "Cl", 0.0),
    _document(4, "Br", 0.01),
    _document(5, "I", 0.2),
    _document(6, "H", 0.0, gap=3.0),
]


class Api:
    """A stand-in for the API: it answers like the summary endpoint and notes what it was asked."""

    def __init__(self):
        self.documents, self.requests, self.failures, self.keys = list(DOCUMENTS), [], [], set()

    def answer(self, query: dict[str, str]) -> tuple[int, dict]:
        self.requests.append(query)
        if self.failures:
            return self.failures.pop(0), {"detail": "not now"}
        found = [d for d in self.documents if _fits(d, query)]
        found.sort(key=lambda d: (d["energy_above_hull"] is None, d["energy_above_hull"], d["material_id"]))
        size, page = int(query["_per_page"]), int(query["_page"])
        fields = query["_fields"].split(",")
        shown = [{k: d[k] for k in fields} for d in found[(page - 1) * size : page * size]]
        return 200, {"data": shown, "meta": {"api_version": "0.86", "total_doc": len(found)}}


def _fits(document: dict, query: dict[str, str]) -> bool:
    """The filters of the endpoint that the suite uses."""
    formulas = query.get("formula", document["formula_pretty"]).split(",")
    low, high = float(query.get("energy_above_hull_min", -1)), float(query.get("energy_above_hull_max", 9))
    energy = np.nan if document["energy_above_hull"] is None else document["energy_above_hull"]
    in_hull = low <= energy <= high or "energy_above_hull_max" not in query
    return (
        document["formula_pretty"] in formulas
        and in_hull
        and (document["band_gap"] or 0) >= float(query.get("band_gap_min", 0))
        and document["nsites"] <= int(query.get("nsites_max", 999))
    )


@pytest.fixture
def api(monkeypatch):
    """A local API, its address in ``api.endpoint``; a key is set."""
    state = Api()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            address = urlparse(self.path)
            if address.path == "/heartbeat":
                code, body = (
                    200,
                    {"db_version": "2026.10.1", "access_controlled_batch_ids": [], "version": "0.86.9"},
                )
            else:
                assert address.path == "/materials/summary/"
                state.keys.add(self.headers.get("x-api-key"))
                code, body = state.answer({k: v[0] for k, v in parse_qs(address.query).items()})
            self.send_response(code)
            self.end_headers()
            self.wfile.write(json.dumps(body).encode())

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    state.endpoint = f"http://127.0.0.1:{server.server_address[1]}/"
    monkeypatch.setenv("MP_API_KEY", KEY)
    monkeypatch.delenv("SSE_OFFLINE", raising=False)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setattr(materials_project, "PAGE_SIZE", 2)
    yield state
    server.shutdown()


@pytest.fixture
def connect(api, tmp_path):
    """Return a connection to the local API whose answers are kept in this test's folder."""

    def new(**options) -> MaterialsProject:
        return MaterialsProject(
            cache=tmp_path / "mp", endpoint=api.endpoint, pause_s=0, backoff_s=0, **options
        )

    return new


def test_candidates_come_page_by_page_the_most_stable_first(api, connect):
    table = connect().candidates(min_band_gap_ev=4)
    assert table.columns.tolist() == list(COLUMNS)
    assert table["id"].tolist() == ["mp-1", "mp-3", "mp-4", "mp-2"]
    assert table["energy_above_hull_ev_atom"].tolist() == [0.0, 0.0, 0.01, 0.03]
    assert (table["space_group_number"] == 225).all() and table["band_gap_ev"].iloc[0] == 8.7
    assert structure_from_json(table["structure_json"][1]).composition.reduced_formula == "LiCl"
    query = api.requests[0]
    assert query["elements"] == "Li" and query["_sort_fields"] == "energy_above_hull,material_id"
    assert query["batch_id_not_eq"].startswith("gnome") and query["energy_above_hull_max"] == "0.05"
    assert [q["_page"] for q in api.requests] == ["1", "2", "3"] and api.keys == {KEY}


def test_filters_reach_the_server_and_the_limit_saves_requests(api, connect):
    table = connect().candidates(
        elements=["Li", "Cl"], exclude_elements=["H"], max_sites=40, limit=1, include_gnome=True
    )
    assert len(table) == 1 and len(api.requests) == 1
    query = api.requests[0]
    assert query["elements"] == "Cl,Li" and query["exclude_elements"] == "H" and query["nsites_max"] == "40"
    assert "batch_id_not_eq" not in query
    with pytest.raises(ParameterError, match="limit is 0"):
        connect().candidates(limit=0)


def test_an_answer_is_kept_and_needs_no_key_again(api, connect, monkeypatch):
    first = connect().candidates()
    n_requests = len(api.requests)
    monkeypatch.delenv("MP_API_KEY")
    assert connect().candidates().equals(first) and len(api.requests) == n_requests
    monkeypatch.setenv("MP_API_KEY", KEY)
    api.documents = api.documents[:1]
    assert len(connect(refresh=True).candidates()) == 1


def test_an_interrupted_query_continues_where_it_stopped(api, connect):
    whole = connect().candidates(max_energy_above_hull_ev_atom=0.5)
    api.requests.clear()
    pages = sorted((connect().cache / "queries").rglob("page_*.json"))
    assert len(pages) == 4
    pages[2].unlink()
    assert connect().candidates(max_energy_above_hull_ev_atom=0.5).equals(whole)
    assert [q["_page"] for q in api.requests] == ["3"]


def test_a_busy_server_is_asked_again_and_a_refusal_is_not(api, connect):
    api.failures = [500, 503]
    assert len(connect().candidates(limit=2)) == 2 and len(api.requests) == 3
    api.requests.clear()
    api.failures = [403]
    with pytest.raises(DataError, match="refuses the key in MP_API_KEY"):
        connect().candidates(max_sites=3)
    assert len(api.requests) == 1
    api.failures = [500] * 9
    with pytest.raises(DataError, match=r"busy .* try again later; what was already answered is kept"):
        connect().candidates(max_sites=3)
    assert len(api.requests) == 1 + materials_project.N_RETRIES + 1


def test_structures_of_formulas_are_the_ground_states_in_the_order_asked(api, connect):
    table = connect().structures_for(["Li2Cl2", "NaCl", "LiF", "Li6.4La3Zr1.4Ta0.6O12"])
    assert table["asked"].tolist() == ["Li2Cl2", "NaCl", "LiF", "Li6.4La3Zr1.4Ta0.6O12"]
    assert table["id"].fillna("").tolist() == ["mp-3", "", "mp-1", ""]
    assert table["formula"].fillna("").tolist() == ["LiCl", "", "LiF", ""]
    n_requests = len(api.requests)
    energies = connect().energies_above_hull(["LiF", "NaCl", "LiBr"])
    assert energies["energy_above_hull_ev_atom"].fillna(9).tolist() == [0.0, 9.0, 0.01]
    assert [q["formula"] for q in api.requests[n_requests:]] == ["LiBr"]  # only what was not known
    with pytest.raises(FormulaError):
        connect().structures_for(["Li-x"])


def test_many_formulas_go_in_batches_and_an_empty_list_asks_nothing(api, connect, monkeypatch):
    monkeypatch.setattr(materials_project, "FORMULAS_PER_REQUEST", 2)
    connect().structures_for(["LiF", "LiCl", "LiBr", "LiI", "LiH"])
    assert {len(q["formula"].split(",")) for q in api.requests} == {1, 2}
    api.requests.clear()
    assert connect().structures_for([]).empty and not api.requests


def test_missing_numbers_stay_missing_and_a_wrong_answer_is_named(api, connect):
    api.documents = [_document(7, "F", None, gap=None)]
    row = connect().structures_for(["LiF"]).iloc[0]
    assert np.isnan(row["energy_above_hull_ev_atom"]) and np.isnan(row["band_gap_ev"])
    api.documents = [{**_document(8, "Cl", 0.0), "structure": {"lattice": 1}}]
    with pytest.raises(DataError, match="answer for mp-8 is not as documented"):
        connect().structures_for(["LiCl"])


@pytest.mark.parametrize(
    ("formula", "expected"),
    [
        ("Li2Cl2", "LiCl"),
        ("Li12P2S10Cl2", "Li6PS5Cl"),
        ("Li1.5Al0.5Ge1.5(PO4)3", "Li3Al1Ge3P6O24"),
        ("Li0.34La0.51TiO2.94", ""),
    ],
)
def test_reduced_formulas(formula, expected):
    assert reduced(formula).replace("(PO4)6", "P6O24").replace("AlGe", "Al1Ge") == expected


def test_without_key_package_or_network_one_message_says_what_to_do(monkeypatch, tmp_path):
    connection = MaterialsProject(cache=tmp_path, endpoint="http://127.0.0.1:9/", pause_s=0, backoff_s=0)
    monkeypatch.delenv("MP_API_KEY", raising=False)
    monkeypatch.delenv("SSE_OFFLINE", raising=False)
    with pytest.raises(DataError, match=r"MP_API_KEY is not set: get one free of charge at https"):
        connection.candidates()
    assert "not at hand" in status_line(tmp_path) and "0 answers kept" in status_line(tmp_path)
    monkeypatch.setenv("MP_API_KEY", "short")
    with pytest.raises(DataError, match="Valid API keys are 32 characters"):
        connection.candidates()
    monkeypatch.setenv("MP_API_KEY", KEY)
    with pytest.raises(DataError, match="cannot be reached"):
        connection.candidates()
    assert status_line(tmp_path).startswith("materials-project: MP_API_KEY is set")
    monkeypatch.setenv("SSE_OFFLINE", "1")
    with pytest.raises(DataError, match="SSE_OFFLINE forbids"):
        connection.candidates()
    monkeypatch.setattr(materials_project, "find_spec", lambda _: None)
    with pytest.raises(DataError, match=r"pip install 'sselib\[materials-project\]'"):
        connection.structures_for(["LiF"])


def test_data_list_names_the_source(monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("SSE_CACHE", str(tmp_path))
    monkeypatch.delenv("MP_API_KEY", raising=False)
    assert cli.main(["data", "list"]) == 0
    assert "materials-project: not at hand" in capsys.readouterr().out
