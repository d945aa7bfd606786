"""Folders of CIFs, read in child processes with a limit on size and time, so that no file stops the work.

A CIF may make the parser run for hours, fill the memory or end the process. Each worker therefore has a
child that reads one file after the other; a child that is late is ended and replaced.
"""

import hashlib
import multiprocessing
import os
import signal
import stat
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from threading import Lock, get_ident
from types import TracebackType

from pymatgen.core import Structure

from sselib.errors import DataError
from sselib.materials.cif import CifContent, inspect_cif

_START_S = 120.0  # seconds that a child may take to import what it needs
_AHEAD = 32  # files that are read ahead of the one in use, for each worker


@dataclass(frozen=True)
class CifLimits:
    """What one file may cost."""

    max_bytes: int = 5_000_000
    max_sites: int = 2_000
    timeout_s: float = 20.0


@dataclass(frozen=True)
class CifReading:
    """One file: its structure, or the ``problem`` that kept it from being read.

    ``key`` is the same for files with the same content, and empty where the file was not read; ``notes`` say
    how it was read, ``doubt`` that its sites disagree with what else it states.
    """

    structure: Structure | None
    problem: str = ""
    key: bytes = b""
    notes: tuple[str, ...] = ()
    doubt: str = ""
    text: str = ""


def list_cifs(folder: Path) -> list[Path]:
    """Return the CIFs of a folder and its subfolders, sorted by their path as text.

    Files and folders whose name begins with a dot are left out. Raises `DataError` where there is none.
    """
    found = []
    for parent, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        names = [name for name in [*files, *folders] if name.lower().endswith((".cif", ".mcif"))]
        found += [Path(parent, name) for name in names if not name.startswith(".")]
    if not found:
        raise DataError(f"no file named *.cif in the folder {folder} or below: expected at least one")
    return sorted(found, key=lambda path: path.relative_to(folder).as_posix())


def read_bytes(path: Path, limits: CifLimits) -> bytes:
    """Return the content of a file; raises `DataError` where it is too large or cannot be opened."""
    try:
        found = path.stat()
        size = found.st_size
        if stat.S_ISCHR(found.st_mode) or stat.S_ISBLK(found.st_mode):
            raise DataError(f"CIF {path.name} is a device, not a file")
        if size > limits.max_bytes:
            raise DataError(
                f"CIF {path.name} has {size / 1e6:.1f} MB: at most {limits.max_bytes / 1e6:g} MB are read "
                "(--max-cif-mb)"
            )
        return path.read_bytes()
    except OSError as error:
        raise DataError(f"CIF {path.name} cannot be opened: {error.strerror or error}") from error


def content_key(content: bytes) -> bytes:
    """Return 8 bytes that are the same for the same content only (BLAKE2b)."""
    return hashlib.blake2b(content, digest_size=8).digest()


def cif_text(content: bytes, *, name: str) -> str:
    """Return the text of a CIF, bytes that are no UTF-8 replaced; raises `DataError` for an empty file."""
    if not content.strip():
        raise DataError(f"CIF {name} is empty: expected one structure")
    text = content.decode("utf-8-sig", errors="replace").replace("\x00", "")
    return text.replace("\r\n", "\n").replace("\r", "\n")


def read_content(text: str, *, name: str, limits: CifLimits) -> CifContent:
    """Read the text of one CIF, without a limit on time; raises `DataError` with the reason."""
    content = inspect_cif(text, name=name)
    if len(content.structure) > limits.max_sites:
        raise DataError(f"CIF {name} has {len(content.structure)} sites: at most {limits.max_sites} are used")
    return content


def _reading(path: Path, limits: CifLimits) -> CifReading:
    key = b""
    try:
        content = read_bytes(path, limits)
        key, text = content_key(content), cif_text(content, name=path.name)
        found = read_content(text, name=path.name, limits=limits)
        return CifReading(found.structure, key=key, notes=found.notes, doubt=found.doubt, text=text)
    except (DataError, MemoryError, RecursionError) as error:
        return CifReading(None, str(error) or f"CIF {path.name} needs too much memory", key)


def _serve(pipe: Connection, limits: CifLimits) -> None:
    """Read the files whose paths come through the pipe, until it closes (body of a child process)."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, which then ends this process
    pipe.send(None)
    with suppress(EOFError):
        while True:
            pipe.send(_reading(pipe.recv(), limits))


class _Child:
    """A child process that reads CIFs, started when first asked and again after a failure."""

    def __init__(self, limits: CifLimits) -> None:
        self._limits = limits
        self._running: tuple[BaseProcess, Connection] | None = None

    def read(self, path: Path) -> CifReading:
        """Return the reading; one that takes too long or ends the child is a problem of its own."""
        if self._running is None:
            self._running = _start(self._limits)
        _, pipe = self._running
        try:
            pipe.send(path)
            if pipe.poll(self._limits.timeout_s):
                return pipe.recv()
            problem = f"CIF {path.name} took longer than {self._limits.timeout_s:g} s to read"
        except (EOFError, OSError):
            problem = f"CIF {path.name} ended the process that read it"
        self.close()
        return CifReading(None, problem)

    def close(self) -> None:
        """End the child."""
        running, self._running = self._running, None
        if running is not None:
            process, pipe = running
            process.kill()
            process.join()
            pipe.close()


def _start(limits: CifLimits) -> tuple[BaseProcess, Connection]:
    """Start a child and wait until it is ready, so that a file's time does not include the imports."""
    context = multiprocessing.get_context("spawn")
    pipe, theirs = context.Pipe()
    process = context.Process(target=_serve, args=(theirs, limits), daemon=True)
    process.start()
    theirs.close()
    try:
        if pipe.poll(_START_S):
            pipe.recv()
            return process, pipe
        reason = f"not ready after {_START_S:g} s"
    except (EOFError, OSError) as error:
        reason = str(error) or "it ended at once"
    process.kill()
    raise DataError(f"the process that reads CIFs cannot be started ({reason}): is enough memory free?")


class CifReaders:
    """Workers that read CIFs ahead of their use, one child process each (a context manager)."""

    def __init__(self, *, limits: CifLimits, workers: int = 1) -> None:
        self._limits = limits
        self._pool = ThreadPoolExecutor(max_workers=workers, thread_name_prefix="cif")
        self._children: dict[int, _Child] = {}
        self._lock = Lock()
        self._n_ahead = workers * _AHEAD

    def __enter__(self) -> "CifReaders":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)
        self._close()
        self._pool.shutdown(wait=True)
        self._close()  # a worker may have replaced its child meanwhile

    def _close(self) -> None:
        for child in list(self._children.values()):
            child.close()

    def read(self, paths: Sequence[Path]) -> Iterator[CifReading]:
        """Yield the reading of each file in order, while later files are being read."""
        ahead: deque[Future[CifReading]] = deque()
        for path in paths:
            ahead.append(self._pool.submit(self._read_one, path))
            if len(ahead) >= self._n_ahead:
                yield ahead.popleft().result()
        while ahead:
            yield ahead.popleft().result()

    def _read_one(self, path: Path) -> CifReading:
        with self._lock:
            child = self._children.setdefault(get_ident(), _Child(self._limits))
        return child.read(path)
