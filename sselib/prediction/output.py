"""The output of `sse predict`: it grows aside, chunk by chunk, and gets its name when it is whole."""

import contextlib
import csv
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from sselib.errors import DataError
from sselib.runfolder import locked, to_json, write_whole


@dataclass(frozen=True)
class Progress:
    """How far an output is: complete rows, those of them with a score, and bytes."""

    rows: int = 0
    scored: int = 0
    n_bytes: int = 0


class PredictionFile:
    """A CSV that is written in chunks and can be continued (a context manager).

    ``basis`` describes everything that the rows depend on. With ``resume`` the rows of an interrupted
    output with the same basis are kept, otherwise it starts anew; ``restarted_because`` then says why.
    Raises `RunError` where another process writes to the same output, `DataError` where it cannot be
    written at all.
    """

    def __init__(
        self, out: Path, *, columns: Sequence[str], basis: Mapping[str, object], resume: bool
    ) -> None:
        if out.is_dir():
            raise DataError(f"{out} is a folder: expected the name of a CSV file for --out")
        self.out, self._basis = out, json.loads(to_json(basis))
        ends = ("partial", "partial.json", "lock")
        self._partial, self._state, self._lock = (out.with_name(f".{out.name}.{end}") for end in ends)
        self._held = contextlib.ExitStack()
        busy = f"another 'sse predict' writes {out}: give another name with --out"
        try:
            out.parent.mkdir(parents=True, exist_ok=True)
            self._held.enter_context(locked(self._lock, busy=busy))
            self._partial.touch()
            self._file = self._partial.open("r+b")
        except OSError as error:
            raise DataError(f"{out} cannot be written: {error.strerror or error}") from error
        self.done, self.restarted_because = self._found() if resume else (Progress(), "")
        self._file.truncate(self.done.n_bytes)
        self._file.seek(self.done.n_bytes)
        if self.done.n_bytes == 0:
            self._write([columns])
            self._record(Progress(0, 0, self._file.tell()))

    def _found(self) -> tuple[Progress, str]:
        """Return how far an interrupted output is, and why it cannot be continued where it cannot."""
        if not self._state.is_file():
            return Progress(), "nothing to resume"
        try:
            state = json.loads(self._state.read_text(encoding="utf-8"))
            done = Progress(**state["done"])
        except (ValueError, KeyError, TypeError):
            return Progress(), "the record of the interrupted output cannot be read"
        changed = [k for k in self._basis if state["basis"].get(k) != self._basis[k]]
        if changed:
            return Progress(), f"changed since then: {', '.join(changed)}"
        if self._partial.stat().st_size < done.n_bytes:
            return Progress(), "the interrupted output was cut"
        return done, ""

    def append(self, rows: Iterable[Sequence[str]], *, scored: int) -> None:
        """Add complete rows, and record that they are there."""
        rows = list(rows)
        self._write(rows)
        self._record(Progress(self.done.rows + len(rows), self.done.scored + scored, self._file.tell()))

    def _write(self, rows: Iterable[Sequence[str]]) -> None:
        text = io.StringIO(newline="")
        csv.writer(text, lineterminator="\n").writerows(rows)
        self._file.write(text.getvalue().encode("utf-8", errors="replace"))
        self._file.flush()

    def _record(self, done: Progress) -> None:
        self.done = done
        state = {"basis": self._basis, "done": vars(done)}
        write_whole(self._state, lambda p: p.write_text(to_json(state), encoding="utf-8"))

    def finish(self) -> Path:
        """Give the output its name; it replaces what was there."""
        self._file.close()  # Windows renames no open file
        self._partial.replace(self.out)
        self._state.unlink(missing_ok=True)
        return self.out

    def __enter__(self) -> "PredictionFile":
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()
        self._held.close()
        self._lock.unlink(missing_ok=True)
