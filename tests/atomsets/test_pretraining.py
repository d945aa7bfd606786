"""Pretraining: Matbench's format, clear errors without the file, weights that start another training."""

import gzip
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import requests
from pymatgen.core import Lattice, Structure

torch = pytest.importorskip("torch", reason="torch is not installed: pip install -e '.[atomsets]'")

from test_superionic_model import SETTINGS, FakeParent  # noqa: E402

from sselib.atomsets import pretraining  # noqa: E402
from sselib.atomsets.pretraining import fetch_is_metal, pretrain, pretrained_starts, read_is_metal  # noqa: E402
from sselib.atomsets.training import fit_atomsets  # noqa: E402
from sselib.errors import DataError  # noqa: E402
from sselib.features import megnet, site_features  # noqa: E402
from sselib.features.site_features import site_sets  # noqa: E402
from sselib.materials.structures import structure_from_json  # noqa: E402
from sselib.sources import reference  # noqa: E402


def crystal(k: int) -> Structure:
    """CsCl cells of a metal pair (even k) or a salt (odd k)."""
    return Structure(
        Lattice.cubic(3 + k / 50), ["Cu", "Zn"] if k % 2 == 0 else ["K", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]]
    )


def matbench_file(path: Path, n: int = 40) -> Path:
    """Write a small file in Matbench's documented format."""
    content = {
        "index": list(range(n)),
        "columns": ["structure", "is_metal"],
        "data": [[crystal(k).as_dict(), k % 2 == 0] for k in range(n)],
    }
    with gzip.open(path, "wt", encoding="utf-8") as file:
        json.dump(content, file)
    return path


def test_matbench_format_is_read_whole_or_in_part(tmp_path: Path) -> None:
    path = matbench_file(tmp_path / "x.json.gz")
    whole = read_is_metal(path)
    assert len(whole.structures) == whole.n_rows == 40 and whole.is_metal.sum() == 20
    part = read_is_metal(path, n_rows=7, seed=1)
    assert len(part.structures) == 7 and part.n_rows == 40
    assert [s.composition.reduced_formula == "ZnCu" for s in part.structures] == (part.is_metal == 1).tolist()


def test_another_file_and_no_network_say_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = tmp_path / "other.json.gz"
    other.write_bytes(gzip.compress(b'{"columns": ["a"], "data": []}'))
    for path in (other, tmp_path / "missing.json.gz"):
        with pytest.raises(DataError, match="is not Matbench's"):
            read_is_metal(path)
    monkeypatch.setenv("SSE_CACHE", str(tmp_path))
    monkeypatch.setattr(pretraining.registry, "offline", lambda: True)
    with pytest.raises(DataError, match=r"put it at .*matbench_mp_is_metal"):
        fetch_is_metal()
    monkeypatch.setattr(pretraining.registry, "offline", lambda: False)

    def refuse(*args: object, **options: object) -> None:
        raise OSError("no route to host")

    monkeypatch.setattr(pretraining.pooch, "retrieve", refuse)
    with pytest.raises(DataError, match="no route to host"):
        fetch_is_metal()
    starts, said = pretrained_starts([SETTINGS], n_rows=5, parent="any", representation="CAMN", layers=["V1"])
    assert starts == () and "no route to host" in said


def test_without_a_connection_the_message_is_one_readable_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*args: object, **options: object) -> None:
        raise requests.exceptions.ConnectionError("HTTPSConnectionPool(host='ml...', port=443): Max retries")

    monkeypatch.setenv("SSE_CACHE", str(tmp_path))
    monkeypatch.setattr(pretraining.registry, "offline", lambda: False)
    monkeypatch.setattr(pretraining.pooch, "retrieve", refuse)
    with pytest.raises(DataError, match=r"\(no connection to ml\.materialsproject\.org\): download https"):
        fetch_is_metal()


def test_pretrained_weights_start_another_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(megnet, "load_megnet", lambda name: FakeParent())
    monkeypatch.setattr(site_features, "_weights_sha256", lambda name: "weights")
    monkeypatch.setenv("SSE_CACHE", str(tmp_path))
    data = read_is_metal(matbench_file(tmp_path / "x.json.gz"))
    options = {"parent": "any", "representation": "CAMN", "layers": ["V1"]}
    first = pretrain(data, settings=SETTINGS, **options)
    sets = list(site_sets(dict(enumerate(data.structures)), parent="any", layers=["V1"]).sets.values())
    inner = np.arange(40) % 5 == 0
    tuned = fit_atomsets(sets, data.is_metal, inner=inner, settings=SETTINGS, seed=3, start=first)
    assert np.array_equal(tuned.mean, first.mean)
    other = fit_atomsets(sets, data.is_metal, inner=inner, settings=SETTINGS, seed=3)
    weight = "out.weight"
    start = first.model.state_dict()[weight]
    moved = [torch.norm(m.model.state_dict()[weight] - start) for m in (tuned, other)]
    assert 0 < moved[0] < moved[1]


@pytest.mark.mirror
def test_the_published_parent_pretrains_on_a_file_and_its_weights_arrive(
    mirror: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The way of the paper profile, on a small file of reference structures; the label is a stand-in."""
    known = reference.load()
    structures = [structure_from_json(text) for text in known.structures["structure_json"]]
    path = tmp_path / "matbench_mp_is_metal.json.gz"
    content = {
        "columns": ["structure", "is_metal"],
        "data": [[s.as_dict(), "O" not in s.composition.chemical_system] for s in structures],
    }
    with gzip.open(path, "wt", encoding="utf-8") as file:
        json.dump(content, file)
    monkeypatch.setattr(pretraining, "fetch_is_metal", lambda: path)
    settings = replace(SETTINGS, max_epochs=5)
    starts, said = pretrained_starts(
        [settings], n_rows=40, parent="formation_energy", representation="CAMN", layers=["V1"]
    )
    assert said == f"Pretrained on 40 of {len(structures)} structures (metal or not)."
    own = site_sets(dict(enumerate(structures)), parent="formation_energy", layers=["V1"])
    sets, y = list(own.sets.values()), np.arange(len(own.sets)) % 2
    still = replace(settings, learning_rate=1e-12, weight_decay=0.0, max_epochs=1)
    options = {"inner": np.arange(len(y)) % 5 < 2, "settings": still, "seed": 0}
    fitted = fit_atomsets(sets, y, start=starts[0], **options)
    assert np.allclose(fitted.probability(sets), starts[0].probability(sets), atol=1e-6)
    fresh = fit_atomsets(sets, y, **options)
    assert np.abs(fresh.probability(sets) - fitted.probability(sets)).max() > 1e-3  # five epochs moved it
