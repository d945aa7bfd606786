"""Running notebooks in order through papermill, and the record `run.json` of what was run with what."""

import contextlib
import json
import os
import re
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from unittest.mock import patch

import jsonschema
import nbformat
import papermill
from nbformat import NotebookNode
from traitlets.config import Config

from sselib import provenance, registry
from sselib.errors import DataError, RunError
from sselib.paths import project_root
from sselib.runfolder import locked, read_json, to_json, write_whole
from sselib.running.notebooks import (
    Notebook,
    cells_with_errors,
    last_line,
    pending_cells,
    read_notebook,
    read_parameters,
    select_notebooks,
    source_cells,
    tags,
)
from sselib.running.parameters import RUN_DIR, resolve
from sselib.running.pngs import export_pngs
from sselib.running.processes import descendants, end
from sselib.sources import data_import

DONE, FAILED, INTERRUPTED, RUNNING, SKIPPED = "done", "failed", "interrupted", "running", "skipped"
EXECUTED = "notebook.ipynb"
PARTIAL = ".notebook.running.ipynb"  # papermill writes it cell by cell, so it may end in the middle
RECORD = "run.json"
_LOCK = ".lock"
_BASIS = ("profile", "parameters", "notebook_sha256", "code_sha256", "inputs", "own_files")
# Colleagues send each other run folders, so a record may have been made by hand: names of notebooks become
# names of pages, and files that it lists are removed when a notebook runs again. Both stay inside the folder.
_RECORD_SCHEMA = json.loads(Path(__file__).with_name("run_record.schema.json").read_text(encoding="utf-8"))
_ENCRYPTED = Config({"KernelManager": {"transport_encryption": "auto"}})  # the kernel listens on TCP
# What a kernel of `sse run` sees: progress as lines, figures as plotly JSON whatever the user has set.
_KERNEL_ENVIRONMENT = {
    "SSE_PROGRESS": "log",
    "SSE_PANELS": "static",
    "PLOTLY_RENDERER": "plotly_mimetype",
    "JUPYTER_PREFER_ENV_PATH": "1",
}


@dataclass(frozen=True)
class RunRequest:
    """What `sse run` was asked for. No notebook named means all of them."""

    out: Path
    profile: str = "smoke"
    notebooks: tuple[str, ...] = ()
    overrides: tuple[str, ...] = ()
    resume: bool = False
    keep_going: bool = False
    pngs: bool = True


@dataclass(frozen=True)
class Failure:
    """Why a notebook did not finish: ``cell`` is its number in the source notebook, 0 if unknown."""

    cell: int
    section: str
    error: str
    message: str
    remedy: str

    def __str__(self) -> str:
        place = f"cell {self.cell}" + (f" (section '{self.section}')" if self.section else "")
        return f"{place if self.cell else 'no cell'}: {self.error}: {self.message}. {self.remedy}"


@dataclass
class RunRecord:
    """The content of `run.json`, written whole after every change."""

    root: Path
    content: dict[str, object] = field(default_factory=dict)

    @classmethod
    def open(cls, root: Path) -> "RunRecord":
        """Read the record of a run folder, or start an empty one. Raises `RunError` if it is damaged."""
        path = root / RECORD
        content = read_json(path) if path.is_file() else {}
        try:
            jsonschema.validate(content, _RECORD_SCHEMA)
        except jsonschema.ValidationError as error:
            where = "/".join(map(str, error.absolute_path)) or "the whole"
            raise RunError(
                f"{path} was not written by sse run ({where}: {last_line(error.message)}): "
                "restore it, or move the folder away"
            ) from error
        content.setdefault("notebooks", {})
        return cls(root=root, content=content)

    @property
    def notebooks(self) -> dict[str, dict[str, object]]:
        """The records of the notebooks, by name."""
        return self.content["notebooks"]

    def begin(self, profile: str) -> None:
        """Note what this run is made with; a notebook still "running" was cut off, so it is interrupted."""
        made_with = {"versions": provenance.versions(), "git": provenance.git_state()}
        made_with |= {"machine": provenance.machine(), "profile": profile}
        self.content |= made_with | {"started": _now(), "ended": None}
        for name, entry in self.notebooks.items():
            if entry.get("status") == RUNNING:
                entry |= {"status": INTERRUPTED, "outputs": list_outputs(self.root, name)}
        self.save()

    def note(self, notebook: str, **values: object) -> None:
        """Add values to a notebook's record and write the file."""
        self.notebooks.setdefault(notebook, {}).update(values)
        self.save()

    def save(self) -> None:
        """Write `run.json`, notebooks in the order of their numbers."""
        self.content["notebooks"] = dict(sorted(self.notebooks.items()))
        text = to_json(self.content) + "\n"
        write_whole(self.root / RECORD, lambda p: p.write_text(text, encoding="utf-8"))


def run(request: RunRequest, *, say: Callable[[str], None] = print) -> dict[str, object]:
    """Run the notebooks in order and return the content of `run.json`.

    Everything that can be checked without starting is checked first: notebooks, parameters, the lock.
    Raises `ParameterError` or `RunError`; a notebook that fails leaves its partial copy, and the ones
    after it are recorded as skipped unless ``keep_going``.
    """
    notebooks = select_notebooks(request.notebooks, profile=request.profile)
    values = resolve(notebooks, profile=request.profile, overrides=list(request.overrides))
    root = request.out.expanduser().resolve()
    root.mkdir(parents=True, exist_ok=True)
    silent = registry.unreachable(registry.missing_hosts())
    if silent:
        say(
            f"{', '.join(silent)} cannot be reached from here: the run goes on with the files at hand "
            "('sse data list') and every page says what is left out. To use the others, set SSE_DATA_MIRROR "
            "to a folder that holds them, or run 'sse data get' where there is a network and copy its cache"
        )
    asked_once = {registry.UNREACHABLE: ",".join(silent)}
    with lock_of(root), patch.dict(os.environ, _KERNEL_ENVIRONMENT | asked_once), _terminable():
        record = RunRecord.open(root)
        record.begin(request.profile)
        failures = _run_all(notebooks, values, record, request, say)
        record.content["ended"] = _now()
        record.save()
    if failures:
        raise RunError("\n".join(failures))
    return record.content


def _run_all(
    notebooks: list[Notebook],
    values: Mapping[str, dict],
    record: RunRecord,
    request: RunRequest,
    say: Callable[[str], None],
) -> list[str]:
    """Run one notebook after the other; return one message for each that failed."""
    failures: list[str] = []
    for position, notebook in enumerate(notebooks, start=1):
        name, label = notebook.name, f"[{position}/{len(notebooks)}] {notebook.name}"
        if failures and not request.keep_going:
            entry = {"status": SKIPPED, "title": notebook.title, "reason": "an earlier one failed"}
            record.notebooks[name] = entry
            say(f"{label}: skipped, because an earlier notebook failed")
            continue
        basis = _basis(notebook, values[name], record, request.profile)
        reasons = changes(record.root, record.notebooks.get(name), basis)
        if request.resume and not reasons:
            say(f"{label}: unchanged, kept")
            continue
        _clear(record, name, basis, request.resume)
        say(f"{label}: starts" + (f" ({'; '.join(reasons)})" if request.resume else ""))
        failure = _run_one(notebook, values[name], basis, record, request, say)
        entry = record.notebooks[name]
        say(f"{label}: {entry['status']} in {entry['duration_s']:.0f} s")
        if failure:
            failures.append(
                f"{name} failed in {failure} As far as it came: {record.root / name / EXECUTED}. "
                f"When it is mended: sse run {name[:2]} --out {record.root} --resume"
            )
    return failures


def _basis(
    notebook: Notebook, values: dict[str, object], record: RunRecord, profile: str
) -> dict[str, object]:
    """Return all that a notebook's result depends on, as it is now."""
    inputs = {
        file: digest
        for name, entry in record.notebooks.items()
        if name < notebook.name
        for file, digest in entry.get("outputs", {}).items()
        if "/figures/" not in file
    }
    used = {p.name: p.default for p in read_parameters(notebook).values() if p.name != RUN_DIR} | values
    own = {key: provenance.path_state(path) for key, value in used.items() if (path := _existing(value))}
    hashes = {"notebook_sha256": notebook.sha256, "code_sha256": provenance.code_sha256()}
    basis = {"profile": profile, "parameters": used, "inputs": inputs, "own_files": own | _imported(used)}
    return json.loads(to_json(basis | hashes))  # as `run.json` holds it


def _existing(value: object) -> Path | None:
    """Return the file or folder that a parameter names, None if it names none."""
    if not isinstance(value, str) or not value:
        return None
    try:
        path = Path(value).expanduser()
        return path if path.exists() else None
    except (OSError, RuntimeError, ValueError):  # too long for a name, the home of nobody, a zero byte
        return None


def _imported(values: Mapping[str, object]) -> dict[str, str]:
    """Return the state of the imported own data that the parameter ``sources`` names."""
    named = values.get("sources") if isinstance(values.get("sources"), list) else []
    return {str(name): state for name in named if (state := data_import.fingerprint(str(name)))}


def changes(root: Path, entry: Mapping[str, object] | None, basis: Mapping[str, object]) -> list[str]:
    """Return why a recorded notebook has to run again; empty if it is done and nothing changed."""
    if not entry:
        return ["not run yet"]
    reasons = [] if entry.get("status") == DONE else [f"was {entry.get('status')}"]
    reasons += [f"{key.replace('_', ' ')} changed" for key in _BASIS if entry.get(key) != basis[key]]
    if entry.get("status") == DONE and entry.get("sources") != _sources_at_hand():
        reasons.append("other data sources are at hand")
    for file, digest in entry.get("outputs", {}).items():
        path = root / file
        if not path.is_file() or provenance.file_sha256(path) != digest:
            reasons.append(f"{file} is gone or was changed")
    return reasons


def _sources_at_hand() -> list[str]:
    """Return the registered files that lie in the mirror or the cache."""
    try:
        table = registry.status_table()
    except DataError:
        return []
    return sorted(table.loc[table["origin"] != "", "file"])


def _clear(record: RunRecord, name: str, basis: Mapping[str, object], resume: bool) -> None:
    """Remove what an earlier run of the notebook listed, unless this run continues that one."""
    entry = record.notebooks.pop(name, {})
    if resume and all(entry.get(key) == basis[key] for key in _BASIS):
        return
    for path in (record.root / file for file in entry.get("outputs", {})):
        if not path.resolve().is_relative_to(record.root):  # a link in the folder leads out of it
            continue
        path.unlink(missing_ok=True)
        if path.parent.name == "figures":
            path.with_suffix(".png").unlink(missing_ok=True)
    (record.root / name / EXECUTED).unlink(missing_ok=True)


def _run_one(
    notebook: Notebook,
    values: dict[str, object],
    basis: dict[str, object],
    record: RunRecord,
    request: RunRequest,
    say: Callable[[str], None],
) -> Failure | None:
    """Execute one notebook and record how it went; a Ctrl-C is recorded and passed on."""
    root, start = record.root, time.time()
    mode = root / notebook.name / "data_mode.json"  # what a notebook says about its data sources
    mode.parent.mkdir(parents=True, exist_ok=True)
    begun = {"status": RUNNING, "title": notebook.title, "seed": basis["parameters"].get("seed")}
    record.note(notebook.name, started=_now(), **begun, **basis)
    status, failure, node = INTERRUPTED, None, None
    try:
        error = _execute(notebook, values, root)
        node = _read_partial(root, notebook)
        failure = find_failure(node, error)
        status = FAILED if failure else DONE
    finally:
        if status == INTERRUPTED:
            end(descendants(since=start))
            node = _read_partial(root, notebook)
        _keep_executed(node, root, notebook, status=status, failure=failure)
        record.note(
            notebook.name,
            status=status,
            ended=_now(),
            duration_s=round(time.time() - start, 1),
            failure=vars(failure) if failure else None,
            sources=_sources_at_hand(),
            outputs=list_outputs(root, notebook.name),
            **({"data_mode": read_json(mode)} if mode.is_file() else {}),
        )
    if request.pngs and (missing := export_pngs(root / notebook.name / "figures")):
        say(f"  {missing}")
    return failure


def _execute(notebook: Notebook, values: dict[str, object], root: Path) -> Exception | None:
    """Run a notebook with papermill into the partial file; return the error that stopped it, if any."""
    partial = str(root / notebook.name / PARTIAL)
    try:
        papermill.execute_notebook(
            nbformat.from_dict(notebook.node),
            partial.replace("{", "{{").replace("}", "}}"),  # papermill formats it
            parameters=values | {RUN_DIR: str(root)},
            kernel_name="python3",
            progress_bar=sys.stderr.isatty(),
            stderr_file=_Indented(),
            start_timeout=120,
            config=_ENCRYPTED,
        )
    except Exception as error:  # whatever stops a kernel is reported as the notebook's failure
        return error
    return None


class _Indented:
    """Passes what a notebook writes to stderr (its progress lines) on to ours, indented."""

    def write(self, text: str) -> None:
        for line in text.splitlines():
            print(f"    {line}", file=sys.stderr)

    def flush(self) -> None:
        sys.stderr.flush()


def find_failure(node: NotebookNode | None, error: Exception | None) -> Failure | None:
    """Return the first thing that went wrong in an executed notebook, whether or not papermill noticed."""
    name, message = type(error).__name__, last_line(str(error))
    if node is None:
        return Failure(0, "", name, message, "The notebook was not started.")
    raised, pending = cells_with_errors(node), pending_cells(node)
    begun = [n for n, c in source_cells(node) if c.metadata.get("papermill", {}).get("start_time")]
    if raised:
        number, output = raised[0]
        name, message = output.ename, last_line(output.evalue)
    elif error:
        number = begun[-1] if begun else 0  # the last one begun: there a kernel died
    elif pending:
        number, name, message = pending[0], "Unfinished", "cells were not executed"
    else:
        return None
    return Failure(number, section_of(node, number), name, message, _remedy(node, number, name))


def _remedy(node: NotebookNode, number: int, error: str) -> str:
    """Say what to do about an error of a cell."""
    if any(n == number and "raises-exception" in tags(cell) for n, cell in source_cells(node)):
        return "The tag 'raises-exception' hides errors: remove it, or catch the error and show it."
    if error in ("SystemExit", "Unfinished"):
        return "Later cells were not executed: remove sys.exit() or exit(), or raise an error that says why."
    if error == "DeadKernelError":
        return "The notebook's Python ended: it ran out of memory, or a compiled library called exit()."
    return "Correct the parameter, input or cell that the message names."


def section_of(node: NotebookNode, number: int) -> str:
    """Return the last heading above a cell."""
    heading = ""
    for n, cell in source_cells(node):
        if n == number:
            break
        if cell.cell_type == "markdown" and (found := re.findall(r"^#+\s+(.+)$", cell.source, re.MULTILINE)):
            heading = found[-1].strip()
    return heading


def _read_partial(root: Path, notebook: Notebook) -> NotebookNode | None:
    try:
        return read_notebook(root / notebook.name / PARTIAL).node
    except RunError:
        return None  # nothing written yet, or cut off in the middle of writing


def _keep_executed(
    node: NotebookNode | None, root: Path, notebook: Notebook, *, status: str, failure: Failure | None
) -> None:
    """Write the executed notebook whole, without this machine's paths, marked with how it went."""
    if node is not None:
        node.cells = [c for c in node.cells if "papermill-error-cell-tag" not in tags(c)]
        for cell in node.cells:
            cell.metadata.pop("papermill", None)
        kernel = {k: v for k, v in node.metadata.items() if k in ("kernelspec", "language_info")}
        how = {"status": status, "failed_cell": failure.cell if failure else None}
        node.metadata = {**kernel, "sse": how}
        text = nbformat.writes(nbformat.from_dict(without_paths(node, private_paths(root))))
        write_whole(root / notebook.name / EXECUTED, lambda p: p.write_text(text + "\n", encoding="utf-8"))
    (root / notebook.name / PARTIAL).unlink(missing_ok=True)


def private_paths(root: Path) -> dict[str, str]:
    """Return the paths of this machine that must not leave it, with what stands for them."""
    named = ((root, "RUN"), (project_root(), "SUITE"), (sys.prefix, "PYTHON"), (Path.cwd(), "WORKDIR"))
    found = {str(path): name for path, name in (*named, (Path.home(), "~"))}
    return {path: found[path] for path in sorted(found, key=len, reverse=True) if len(path) > 1}


def without_paths(value: object, names: Mapping[str, str]) -> object:
    """Return a notebook's content with each path replaced by its name, wherever it stands in a text."""
    if isinstance(value, Mapping):
        return {key: without_paths(v, names) for key, v in value.items()}
    if isinstance(value, list):
        return [without_paths(v, names) for v in value]
    if isinstance(value, str):
        for path, name in names.items():
            value = re.sub(re.escape(path) + r"(?![\w.-])", lambda _, name=name: name, value)
    return value


def list_outputs(root: Path, notebook: str) -> dict[str, str]:
    """Return ``{file: sha256}`` of what a notebook left, without its executed copy, PNGs and hidden files."""
    files = {p.relative_to(root): p for p in sorted((root / notebook).rglob("*")) if p.is_file()}
    shown = {f: p for f, p in files.items() if not any(part.startswith(".") for part in f.parts)}
    return {
        f.as_posix(): provenance.file_sha256(p)
        for f, p in shown.items()
        if f.name != EXECUTED and not (f.suffix == ".png" and f.parent.name == "figures")
    }


def lock_of(root: Path) -> contextlib.AbstractContextManager[None]:
    """Return what holds the run folder for this process. Raises `RunError` if another run holds it."""
    busy = f"another 'sse run' writes to {root}: wait until it ends, or give another folder with --out"
    return locked(root / _LOCK, busy=busy)


def is_locked(root: Path) -> bool:
    """True while a run writes to the folder."""
    try:
        with lock_of(root):
            return False
    except RunError:
        return True


@contextlib.contextmanager
def _terminable() -> Iterator[None]:
    """Treat SIGTERM like Ctrl-C, so that a run that is told to stop records it and ends its kernel."""

    def interrupt(number: int, _frame: object) -> None:
        raise KeyboardInterrupt(f"signal {number}")

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
