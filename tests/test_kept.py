"""Kept results: computed once, told apart by their keys, and never read when they are damaged."""

import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from pymatgen.core import Lattice, Structure

from sselib import kept
from sselib.kept import kept_arrays, kept_json, kept_table
from sselib.provenance import content_sha256

TABLE = pd.DataFrame({"id": ["a", "b"], "value": [1.5, np.nan], "n": [1, 2]}, index=[4, 7])
ARRAYS = {"x": np.arange(6.0).reshape(2, 3), "label": np.array(["low", "high"])}


@dataclass(frozen=True)
class Settings:
    """What a key may hold."""

    seed: int = 0
    sizes: tuple[int, ...] = (1, 2)


class Column(StrEnum):
    """A name of a column."""

    ID = "id"


class Counted:
    """Computes a result and counts how often."""

    def __init__(self, result: object) -> None:
        self.result, self.calls = result, 0

    def __call__(self) -> object:
        self.calls += 1
        return self.result


def _same(a: object, b: object) -> bool:
    if isinstance(a, pd.DataFrame):
        return a.equals(b) and a.index.equals(b.index)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(np.array_equal(a[k], b[k]) for k in a)
    return a == b


@pytest.mark.parametrize(
    ("keep", "result"), [(kept_table, TABLE), (kept_arrays, ARRAYS), (kept_json, [1.5, "a", None])]
)
class TestEveryForm:
    """What holds for tables, arrays and JSON alike."""

    def test_a_result_is_computed_once_and_read_as_it_was(
        self, keep: Callable, result: object, tmp_path: Path
    ) -> None:
        make = Counted(result)
        found = [keep(tmp_path / "parts", ("key", 1), make) for _ in range(3)]
        assert make.calls == 1
        assert all(_same(f, result) for f in found)

    def test_without_a_folder_nothing_is_kept(self, keep: Callable, result: object) -> None:
        make = Counted(result)
        assert all(_same(keep(None, "key", make), result) for _ in range(2))
        assert make.calls == 2

    def test_a_damaged_file_is_computed_anew_and_said(
        self, keep: Callable, result: object, tmp_path: Path
    ) -> None:
        keep(tmp_path, "key", lambda: result)
        [path] = [p for p in tmp_path.rglob("*") if p.is_file()]
        content = path.read_bytes()
        for damaged in (content[:-3], b"", content[:20] + bytes([content[20] ^ 1]) + content[21:]):
            path.write_bytes(damaged)
            make = Counted(result)
            with pytest.warns(UserWarning, match=f"{path.name} is damaged and is computed anew"):
                assert _same(keep(tmp_path, "key", make), result)
            assert make.calls == 1
            assert path.read_bytes() == content

    def test_other_code_or_another_key_computes_anew(
        self, keep: Callable, result: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        make = Counted(result)
        keep(tmp_path, Settings(), make)
        keep(tmp_path, Settings(seed=1), make)
        assert make.calls == 2
        monkeypatch.setattr(kept, "_version", lambda: "other code")
        keep(tmp_path, Settings(), make)
        assert make.calls == 3

    def test_an_error_leaves_no_file(self, keep: Callable, result: object, tmp_path: Path) -> None:
        with pytest.raises(ZeroDivisionError):
            keep(tmp_path, result, lambda: 1 / 0)
        assert not [p for p in tmp_path.rglob("*") if p.is_file()]


def test_what_differs_has_another_digest() -> None:
    structure = Structure(Lattice.cubic(4.0), ["Li", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]])
    stretched = Structure(Lattice.cubic(4.1), ["Li", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]])
    values = [
        *(None, True, 1, 1.0, "1", b"1", "", (), {}, set(), np.array([]), pd.DataFrame()),
        *((1, 2), (2, 1), ((1,), 2), {"a": 1}, {"b": 1}, {"a": 2}, {1, 2}, Settings(), Settings(seed=1)),
        *(np.arange(4), np.arange(4.0), np.arange(4).reshape(2, 2), np.array(["a", None], dtype=object)),
        *(TABLE, TABLE.rename(columns={"n": "m"}), TABLE.reset_index(drop=True), TABLE[["n", "id", "value"]]),
        *(TABLE["n"], TABLE.assign(value=2.0), structure, stretched, "a, b", ("a", "b"), "('a', 'b')"),
    ]
    digests = [content_sha256(v) for v in values]
    assert len(set(digests)) == len(values)


def test_what_is_the_same_has_the_same_digest() -> None:
    wide = np.asfortranarray(np.arange(12.0).reshape(3, 4))
    pairs = [
        ({"a": 1, "b": (2, None)}, {"b": (2, None), "a": 1}),
        ({3, 1, 2}, {1, 2, 3}),
        ([1, 2], (1, 2)),
        (np.float64(1.5), 1.5),
        (Column.ID, "id"),
        (wide, np.ascontiguousarray(wide)),
        (wide[::2], wide[::2].copy()),
        (TABLE, pd.concat([TABLE[["id"]], TABLE[["value", "n"]]], axis=1)),
    ]
    assert all(content_sha256(a) == content_sha256(b) for a, b in pairs)


def test_a_digest_does_not_depend_on_the_process() -> None:
    key = "({'a', 'b', 'c'}, {'x': 1.5, 'y': None})"
    code = f"from sselib.provenance import content_sha256; print(content_sha256({key}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == content_sha256(({"c", "b", "a"}, {"y": None, "x": 1.5}))


@pytest.mark.parametrize("value", [object(), Settings, Path("a"), ("nested", [lambda: 0])])
def test_a_key_whose_content_is_unknown_is_refused(value: object, tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="has no content to hash"):
        kept_json(tmp_path, value, lambda: 1)
