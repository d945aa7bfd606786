"""The report: a run folder as offline HTML, an index and one self-contained page per notebook.

Candidates of the screening have small pages of their own, which share one file with plotly.
"""

import base64
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path

import bleach
import nbformat
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape
from nbconvert.filters import ansi2html, markdown2html
from nbformat import NotebookNode
from plotly.offline import get_plotlyjs
from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers import PythonLexer

from sselib.errors import RunError
from sselib.reporting.headline import RULE_TEXT, TASKS, headlines, published_numbers, read_metrics
from sselib.runfolder import read_json, write_whole
from sselib.running.notebooks import Notebook, pending_cells, read_notebook, source_cells, tags
from sselib.running.runner import DONE, EXECUTED, INTERRUPTED, PARTIAL, RUNNING, SKIPPED, RunRecord, is_locked

MAX_PAGE_BYTES = 15_000_000
_BUDGET_BYTES = 9_000_000  # for figures and pictures of one page, beside plotly.js (4.8 MB)
_TITLE = "Solid-state electrolyte discovery: report of a run"
_SCREENING, _CANDIDATES = "07_screening", "07_candidate_*.html"
_SHARED_PLOTLY = "plotly.min.js"  # beside the pages of the candidates, which all use it
_PLOTLY = "application/vnd.plotly.v1+json"
_PICTURES = ("image/svg+xml", "image/png", "image/jpeg")
_MORE_TAGS = (
    "p br hr h1 h2 h3 h4 h5 h6 pre div span table thead tbody tfoot tr th td caption sub sup img dl dt dd "
    "details summary del s small figure figcaption"
)
_TAGS = frozenset(bleach.ALLOWED_TAGS) | frozenset(re.findall(r"\w+", _MORE_TAGS))
_OWN_PICTURE = re.compile(r"data:image/(png|jpeg|svg\+xml);base64,[\w+/=]+")
_ATTRIBUTES = {
    "*": ["class", "id", "colspan", "rowspan", "title", "scope"],
    "a": ["href", "title", "download"],
    # Pages load nothing from the network, whatever the data say: a picture is in the page or is not shown.
    "img": lambda _, name, value: name == "alt" or (name == "src" and bool(_OWN_PICTURE.fullmatch(value))),
}
_FORMATTER = HtmlFormatter(cssclass="highlight", style="default")


@dataclass(frozen=True)
class ShownNotebook:
    """One notebook of the run as the pages show it."""

    name: str
    title: str
    question: str
    answer: str  # the first line under "Answer", else empty
    status: str
    problem: str  # a sentence about what is not as it should be, else empty
    failure: Mapping[str, object] | None
    duration: str
    summary: str
    parameters: Mapping[str, object]
    inputs: list[tuple[str, str]]
    outputs: list[tuple[str, str]]
    thumbnail: Markup | None
    node: NotebookNode | None


@dataclass(frozen=True)
class ShownCell:
    """One cell as the page shows it."""

    kind: str
    html: Markup
    number: int = 0
    outputs: tuple[Markup, ...] = ()
    failed: bool = False
    failed_before: bool = False
    pending: bool = False


def render(run: Path) -> list[Path]:
    """Write ``RUN/report/index.html``, a page per notebook and candidate, ``metrics.csv``; return the pages.

    Notebooks that failed or were interrupted are shown as far as they came. Raises `RunError` if the
    folder holds no executed notebook.
    """
    root = Path(run).expanduser().resolve()
    if not root.is_dir():
        raise RunError(f"there is no run folder {root}: expected one written by sse run --out")
    record = RunRecord.open(root)
    executed = {p.parent.name for p in root.glob(f"[0-9]*/{EXECUTED}")}
    entries = [_entry(root, name, record) for name in sorted(executed | set(record.notebooks))]
    if not entries:
        raise RunError(
            f"{root} holds no executed notebook: expected folders such as 01_curation/ with {EXECUTED}. "
            f"Run first: sse run --out {root}"
        )
    css = (Path(__file__).parent / "templates" / "style.css").read_text(encoding="utf-8")
    shared = {
        "entries": entries,
        "data": _data_banner(root),
        "versions": record.content.get("versions", {}),
        "commit": _commit(record),
        "rendered": f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
        "style": Markup(css + _FORMATTER.get_style_defs(".highlight")),
    }
    for path in (root / "report").glob(_CANDIDATES):
        path.unlink()
    names = _write_candidates(root, shared) if any(e.name == _SCREENING for e in entries) else []
    pages = [_write(root, "index", _index(root, record, entries, shared))]
    pages += [_write(root, e.name, _linked(_page(e, record, shared), names)) for e in entries]
    return pages + [root / "report" / f"{name}.html" for name in names]


def _write_candidates(root: Path, shared: dict[str, object]) -> list[str]:
    """Write a page per candidate and the file with plotly that they share; return the names of the pages."""
    from sselib.reporting.candidate_pages import candidate_pages  # with pymatgen, which takes seconds

    pages = list(candidate_pages(root))
    if pages:
        text = get_plotlyjs()
        write_whole(root / "report" / _SHARED_PLOTLY, lambda p: p.write_text(text, encoding="utf-8"))
    names = [page.name for page in pages]
    for k, page in enumerate(pages):
        budget = _Budget(_BUDGET_BYTES)
        html = _rendered(
            "candidate",
            shared,
            title=f"{page.record['rank']}. {page.record['formula']}",
            here=_SCREENING,
            plotly_file=_SHARED_PLOTLY,
            page=page,
            record=page.record,
            before=names[:k][-1:],
            after=names[k + 1 :][:1],
            waterfall=_figure(page.record["waterfall"], budget),
            structure=_figure(page.figure, budget) if page.figure else "",
        )
        _write(root, page.name, html)
    return names


def _rendered(template: str, shared: dict[str, object], **values: object) -> str:
    values = {"plotlyjs": "", **shared, **values}
    return _environment().get_template(f"{template}.html.j2").render(**values)


def _linked(html: str, pages: list[str]) -> str:
    """Return the HTML with links where the notebook names one of the report's pages (`to_page`)."""

    def link(match: re.Match) -> str:
        """Return the link to a page of the report, or the plain text where there is no such page."""
        return f'<a href="{match[1]}.html">{match[2]}</a>' if match[1] in pages else match[2]

    return re.sub(r'<span class="to-page" title="([\w-]+)">(.*?)</span>', link, html)


def _write(root: Path, name: str, html: str) -> Path:
    size = len(html.encode())
    if size > MAX_PAGE_BYTES:
        raise RunError(
            f"the page {name} would have {size / 1e6:.1f} MB, expected at most "
            f"{MAX_PAGE_BYTES / 1e6:.0f} MB: show shorter tables in that notebook"
        )
    path = root / "report" / f"{name}.html"
    return write_whole(path, lambda p: p.write_text(html, encoding="utf-8"))


def _entry(root: Path, name: str, record: RunRecord) -> ShownNotebook:
    known = record.notebooks.get(name, {})
    node = _executed(root / name)
    notebook = Notebook(path=root / name / EXECUTED, name=name, node=node or nbformat.v4.new_notebook())
    status = known.get("status", DONE)
    if status == RUNNING and not is_locked(root):
        status = INTERRUPTED
    seconds = known.get("duration_s")
    return ShownNotebook(
        name=name,
        title=known.get("title") or notebook.title,
        question=_plain(notebook.question),
        answer=_answer(notebook),
        status=status,
        problem=_problem(status, known),
        failure=known.get("failure"),
        duration=f"{seconds:.0f} s" if seconds is not None else "",
        summary=_summary(known, record),
        parameters=known.get("parameters", {}),
        inputs=list(known.get("inputs", {}).items()),
        outputs=list(known.get("outputs", {}).items()),
        thumbnail=_thumbnail(root / name / "figures"),
        node=node,
    )


def _answer(notebook: Notebook) -> str:
    """Return the first line that the executed notebook says under its heading "Answer"."""
    for cell in notebook.node.cells:
        for output in cell.get("outputs", []) if "answer()" in cell.source else []:
            lines = _text(output.get("data", {}).get("text/markdown", "")).splitlines()
            return _plain(lines[0].removeprefix("- ")) if lines and lines[0].startswith("- ") else ""
    return ""


def _executed(folder: Path) -> NotebookNode | None:
    """Return the executed notebook, or what a run that was cut off left of it."""
    for path in (folder / EXECUTED, folder / PARTIAL):
        try:
            return read_notebook(path).node
        except RunError:
            continue  # not there, or cut off in the middle of writing
    return None


def _problem(status: str, known: Mapping[str, object]) -> str:
    failure = known.get("failure") or {}
    return {
        DONE: "",
        SKIPPED: "This notebook was not run, because an earlier one failed.",
        RUNNING: "This notebook is still running; the page shows how far it had come.",
        INTERRUPTED: "This notebook was interrupted before its end.",
    }.get(
        status,
        f"This notebook failed in cell {failure.get('cell') or '?'}"
        + (f", section {failure['section']}." if failure.get("section") else "."),
    )


def _summary(known: Mapping[str, object], record: RunRecord) -> str:
    """Return the one line of provenance that is always visible."""
    if not known:
        return "Provenance: not recorded, because this notebook was not executed by sse run"
    parts = [
        f"profile {known.get('profile', 'unknown')}",
        f"seed {known['seed']}" if known.get("seed") is not None else "no seed",
        f"{known['duration_s']:.0f} s" if known.get("duration_s") is not None else "",
        str(known.get("started", ""))[:16].replace("T", " "),
        _commit(record),
    ]
    return "Provenance: " + " · ".join(p for p in parts if p)


def _commit(record: RunRecord) -> str:
    git = record.content.get("git") or {}
    if not git.get("commit"):
        return ""
    return f"{git['commit'][:10]}{' with uncommitted changes' if git.get('dirty') else ''}"


def _thumbnail(figures: Path) -> Markup | None:
    """Return the PNG of the notebook's first figure as a data URI."""
    published = sorted(figures.glob("*.json"), key=lambda p: p.stat().st_mtime_ns)
    pictures = [p.with_suffix(".png") for p in published if p.with_suffix(".png").is_file()]
    return _data_uri("image/png", pictures[0].read_bytes()) if pictures else None


def _data_uri(mime: str, content: bytes) -> Markup:
    return Markup(f"data:{mime};base64,{base64.b64encode(content).decode()}")


def _data_banner(root: Path) -> dict[str, object]:
    """Return what every page says about the data: ``embedded``, ``message`` and the ``files`` read."""
    path = root / "01_curation" / "data_mode.json"
    if not path.is_file():
        return {
            "embedded": False,
            "message": "Data sources: not recorded, because 01_curation was not run here.",
            "files": [],
        }
    mode = read_json(path)
    message = mode.get("message") or ", ".join(
        dict.fromkeys(f"{s.get('name')} ({s.get('rows')} rows)" for s in mode.get("sources", []))
    )
    return {"embedded": mode.get("mode") == "embedded", "message": message, "files": mode.get("sources", [])}


def _index(root: Path, record: RunRecord, entries: list[ShownNotebook], shared: dict[str, object]) -> str:
    metrics = read_metrics(root, [e.name for e in entries if e.status == DONE])
    if len(metrics):
        write_whole(root / "report" / "metrics.csv", lambda p: metrics.to_csv(p, index=False))
    rows = headlines(metrics)
    done = sum(e.status == DONE for e in entries)
    seconds = sum(e.get("duration_s") or 0.0 for e in record.notebooks.values())
    minutes = f", {seconds / 60:.1f} minutes in all." if seconds else "."
    return _rendered(
        "index",
        shared,
        title=_TITLE,
        here="index",
        summary=f"{done} of {len(entries)} notebooks done{minutes}",
        tables=[(task, [r for r in rows if r.metric == task[0]]) for task in TASKS],
        rule=RULE_TEXT,
        problems=[e for e in entries if e.problem],
        n_records=len(metrics),
        published=[p for p in published_numbers() if any(p in row.published for row in rows)],
    )


def _page(entry: ShownNotebook, record: RunRecord, shared: dict[str, object]) -> str:
    budget = _Budget(_BUDGET_BYTES)
    failed_cell = (entry.failure or {}).get("cell")
    cells = _cells(entry.node, budget, failed_cell) if entry.node else []
    made_with = [
        *record.content.get("versions", {}).items(),
        ("commit", _commit(record) or "no git checkout"),
        *record.content.get("machine", {}).items(),
    ]
    return _rendered(
        "page",
        shared,
        title=f"{entry.name}: {entry.title}",
        here=entry.name,
        entry=entry,
        cells=cells,
        made_with=made_with,
        failed_anchor=any(c.failed for c in cells),
        plotlyjs=Markup(get_plotlyjs()) if budget.figures else "",
    )


class _Budget:
    """How many bytes of figures and pictures a page may still take, and how many figures it holds."""

    def __init__(self, left: int) -> None:
        self.left = left
        self.figures = 0

    def takes(self, size: int) -> bool:
        """Take the bytes if there is room."""
        fits = size <= self.left
        self.left -= size if fits else 0
        return fits


def _cells(node: NotebookNode, budget: _Budget, failed_cell: int | None) -> list[ShownCell]:
    cells: list[ShownCell] = []
    pending, failed_before = set(pending_cells(node)), False
    for number, cell in source_cells(node):
        if "papermill-error-cell-tag" in tags(cell) or not cell.source.strip():
            continue
        if cell.cell_type != "code":
            cells.append(ShownCell("markdown", _prose(cell.source)))
            continue
        failed = number == failed_cell or any(o.output_type == "error" for o in cell.outputs)
        outputs = tuple(_output(o, budget) for o in cell.outputs)
        code = Markup(highlight(cell.source, PythonLexer(), _FORMATTER))
        cells.append(ShownCell("code", code, number, outputs, failed, failed_before, number in pending))
        failed_before = failed_before or failed
    return cells


def _prose(markdown: str) -> Markup:
    return _clean(markdown2html(markdown))


def _plain(markdown: str) -> str:
    """Return the text of a line of markdown."""
    text = bleach.clean(markdown2html(markdown), tags=set(), strip=True)
    return " ".join(text.replace("¶", "").split())


def _clean(html: str) -> Markup:
    """Return HTML without scripts, styles and event handlers; tables get a box that scrolls."""
    bare = re.sub(r"<(script|style)\b.*?</\1\s*>", "", html, flags=re.DOTALL | re.IGNORECASE)
    kept = bleach.clean(
        bare, tags=_TAGS, attributes=_ATTRIBUTES, protocols={"http", "https", "mailto", "data"}, strip=True
    )
    return Markup(
        re.sub(r"<table\b", '<div class="scroll"><table', kept).replace("</table>", "</table></div>")
    )


def _dashed(html: str) -> str:
    """Return HTML in which a table cell without a value, as pandas prints it, is a dash."""
    return re.sub(r"(<td[^>]*>)\s*(?:NaN|NaT|None|&lt;NA&gt;)\s*</td>", r"\1–</td>", html)


def _output(output: NotebookNode, budget: _Budget) -> Markup:
    """Return one output of a cell as HTML."""
    if output.output_type == "stream":
        text = ansi2html(_text(output.text))
        log = Markup(f"<details><summary>log</summary><pre>{text}</pre></details>")
        return log if output.name == "stderr" else Markup(f'<pre class="text">{text}</pre>')
    if output.output_type == "error":
        return Markup(f'<pre class="traceback">{ansi2html(chr(10).join(output.traceback))}</pre>')
    data = output.data
    if _PLOTLY in data:
        return _figure(data[_PLOTLY], budget)
    for mime in _PICTURES:
        if mime in data:
            return _picture(mime, data[mime], budget)
    if "text/html" in data:
        return Markup(f'<div class="output">{_clean(_dashed(_text(data["text/html"])))}</div>')
    if "text/markdown" in data:
        return Markup(f'<div class="prose">{_prose(_text(data["text/markdown"]))}</div>')
    return Markup(f'<pre class="text">{escape(_text(data.get("text/plain", "")))}</pre>')


def _text(value: str | list[str]) -> str:
    return value if isinstance(value, str) else "".join(value)


def _figure(figure: Mapping[str, object], budget: _Budget) -> Markup:
    """Return a plotly figure as data for the page's script; "<" is escaped so that no text can end it."""
    text = json.dumps(figure).replace("<", "\\u003c")
    if not budget.takes(len(text)):
        return _too_large(len(text))
    budget.figures += 1
    return Markup(
        f'<div class="figure"></div><script type="application/json" class="figure-data">{text}</script>'
    )


def _picture(mime: str, content: str | list[str], budget: _Budget) -> Markup:
    """Return a picture as an ``img``, in which an SVG can run no script."""
    text = _text(content)
    if not budget.takes(len(text)):
        return _too_large(len(text))
    uri = _data_uri(mime, text.encode() if mime == "image/svg+xml" else base64.b64decode(text))
    return Markup(f'<div class="output"><img src="{uri}" alt="figure"></div>')


def _too_large(size: int) -> Markup:
    return Markup(
        f'<p class="note">A figure of {size / 1e6:.1f} MB does not fit into this page; its data are in the '
        "run folder, under figures.</p>"
    )


@lru_cache(maxsize=1)
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("sselib.reporting"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["number"] = lambda value: "–" if value is None or value != value else f"{value:.2f}"
    return environment
