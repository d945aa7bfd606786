"""CIFs from strangers: each broken file has one reason, and none stops or delays the others."""

import os
import time
from pathlib import Path

import pytest
from cif_text import p1_cif
from hypothesis import given, settings
from hypothesis import strategies as st

from sselib.errors import DataError
from sselib.materials import structure_input
from sselib.materials.structure_input import (
    CifLimits,
    CifReaders,
    CifReading,
    cif_text,
    list_cifs,
    read_bytes,
    read_content,
)

P1 = p1_cif()
LIMITS = CifLimits(max_bytes=100_000, max_sites=50, timeout_s=20)


def read_all(paths: list[Path], limits: CifLimits = LIMITS) -> list[CifReading]:
    with CifReaders(limits=limits, workers=1) as readers:
        return list(readers.read(paths))


def written(folder: Path, **contents: str | bytes) -> list[Path]:
    """Write files named by keyword; return their paths."""
    for name, content in contents.items():
        data = content if isinstance(content, bytes) else content.encode()
        (folder / f"{name}.cif").write_bytes(data)
    return [folder / f"{name}.cif" for name in contents]


def test_each_broken_file_has_its_reason_and_the_others_are_read(tmp_path: Path) -> None:
    paths = written(
        tmp_path,
        good=P1,
        marked=b"\xef\xbb\xbf" + P1.encode(),
        windows=P1.replace("\n", "\r\n"),
        old_mac=P1.replace("\n", "\r"),
        latin=P1.replace("data_LiCl", "data_LiCl # Müller").encode("latin-1"),
        empty="",
        text="This is no CIF.",
        binary=bytes(range(256)) * 40,
        cut=P1[:150],
        blocks=P1 + P1.replace("LiCl", "again"),
        large=P1 + "#" * 100_000,
        many_sites=p1_cif(a_angstrom=40) + "".join(f"Li{k} Li {k / 60} 0.1 0.2\n" for k in range(1, 60)),
    )
    (tmp_path / "folder.cif").mkdir()
    (tmp_path / "broken_link.cif").symlink_to(tmp_path / "nowhere")
    paths += [tmp_path / "folder.cif", tmp_path / "broken_link.cif"]
    problems = {p.stem: r.problem for p, r in zip(paths, read_all(paths), strict=True)}
    assert [name for name, problem in problems.items() if not problem] == [
        "good",
        "marked",
        "windows",
        "old_mac",
        "latin",
    ]
    expected = {
        "empty": "is empty",
        "text": "0 unit cells",
        "binary": "0 unit cells",
        "cut": "cannot be read",
        "blocks": "2 unit cells",
        "large": "0.1 MB: at most 0.1 MB are read",
        "many_sites": "61 sites: at most 50",
        "folder": "cannot be opened",
        "broken_link": "cannot be opened",
    }
    for name, reason in expected.items():
        assert reason in problems[name] and f"{name}.cif" in problems[name]


def test_without_symmetry_lines_the_atoms_are_those_written(tmp_path: Path) -> None:
    (reading,) = read_all(written(tmp_path, x=P1))
    assert reading.structure.composition.reduced_formula == "LiCl" and len(reading.structure) == 2


def test_a_large_file_is_refused_without_being_read(tmp_path: Path) -> None:
    path = tmp_path / "large.cif"
    with path.open("wb") as file:
        file.truncate(50_000_000)
    start = time.process_time()
    with pytest.raises(DataError, match=r"50\.0 MB: at most 5 MB"):
        read_bytes(path, CifLimits())
    assert time.process_time() - start < 0.05


def test_a_parser_that_hangs_is_ended_and_the_next_file_is_read(tmp_path: Path) -> None:
    pipe = tmp_path / "b_hangs.cif"  # a named pipe that nobody writes to: reading it never ends
    os.mkfifo(pipe)
    first, last = written(tmp_path, a=P1, c=P1)
    readings = read_all([first, pipe, last], CifLimits(timeout_s=1.0))
    assert [bool(r.structure) for r in readings] == [True, False, True]
    assert readings[1].problem == "CIF b_hangs.cif took longer than 1 s to read"


def test_a_parser_that_dies_is_a_note_and_the_next_file_is_read(tmp_path: Path) -> None:
    paths = written(tmp_path, a=P1, b=P1)
    with CifReaders(limits=LIMITS, workers=1) as readers:
        assert next(iter(readers.read(paths[:1]))).structure is not None
        (child,) = readers._children.values()
        child._running[0].kill()
        first, second = readers.read(paths)
    assert first.problem == "CIF a.cif ended the process that read it" and second.structure is not None


def test_no_child_outlives_its_reader(tmp_path: Path) -> None:
    paths = written(tmp_path, a=P1)
    with CifReaders(limits=LIMITS) as readers:
        list(readers.read(paths))
        process = next(iter(readers._children.values()))._running[0]
        assert process.is_alive()
    assert not process.is_alive()


def test_a_folder_is_listed_with_its_subfolders_in_the_order_of_the_path(tmp_path: Path) -> None:
    for name in ("b.cif", "a.CIF", "sub/a.cif", "A/z.cif", ".hidden/x.cif", "a.cif.bak", ".x.cif"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(P1)
    names = [path.relative_to(tmp_path).as_posix() for path in list_cifs(tmp_path)]
    assert names == ["A/z.cif", "a.CIF", "b.cif", "sub/a.cif"]
    with pytest.raises(DataError, match="no file named"):
        list_cifs(tmp_path / "sub" / "nothing")


def test_files_with_the_same_content_have_the_same_key(tmp_path: Path) -> None:
    one, same, other = read_all(written(tmp_path, a=P1, b=P1, c=P1 + "\n"))
    assert one.key == same.key != other.key


@settings(max_examples=40)
@given(st.binary(max_size=200), st.integers(0, len(P1)), st.booleans())
def test_any_bytes_give_a_structure_or_the_one_error(noise: bytes, at: int, cut: bool) -> None:
    content = P1.encode()[:at] + noise + (b"" if cut else P1.encode()[at:])
    try:
        structure = read_content(cif_text(content, name="x.cif"), name="x.cif", limits=LIMITS).structure
    except DataError as error:
        assert "x.cif" in str(error)
        return
    assert 0 < len(structure) <= LIMITS.max_sites


def test_a_child_that_cannot_start_is_one_clear_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(structure_input, "_START_S", 0.0)
    with pytest.raises(DataError, match="cannot be started"):
        read_all(written(tmp_path, a=P1))


@pytest.mark.parametrize(
    ("stated", "doubt"),
    [
        ("'Li1 Cl1'", ""),
        ("'Li4 Cl4'", ""),
        ("'Li3 Y1 Cl6'", "states the formula Li3 Y1 Cl6, its sites hold Li1Cl1: is it complete?"),
        ("?", ""),
    ],
)
def test_sites_that_disagree_with_the_stated_formula_are_doubted(stated: str, doubt: str) -> None:
    """A file cut off between two atoms can be read; only the formula that it states tells."""
    found = read_content(f"{P1}_chemical_formula_sum   {stated}\n", name="x.cif", limits=LIMITS).doubt
    assert doubt in found and bool(doubt) == bool(found)
