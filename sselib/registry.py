"""The registry of public files: where each comes from, and a checked path to it.

A file is looked for in the folder `SSE_DATA_MIRROR`, then in the user's cache (`SSE_CACHE`, or the
usual cache folder of the system), then in an installed package that carries it, then downloaded. Its
sha256 is verified on every load. The registry itself is `data/sources.yaml`.

Whether a host answers is asked once: `sse run` asks before the first notebook and passes the answer on
in `SSE_UNREACHABLE`, so that a machine without a network waits a few seconds in all.
"""

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib import metadata
from pathlib import Path
from urllib.parse import urlsplit

import pandas as pd
import pooch
import requests
import yaml

from sselib.errors import DataError, nearest
from sselib.paths import project_root

N_RETRIES = 2  # further attempts after a failed download
TIMEOUT_S = (10, 60)  # to connect, between two packets
PROBE_TIMEOUT_S = 4  # to connect and to answer, when a host is asked whether it is there
UNREACHABLE = "SSE_UNREACHABLE"  # hosts that did not answer, comma-separated


@dataclass(frozen=True)
class RemoteFile:
    """One public file as the registry describes it."""

    key: str  # "obelix/all.csv"
    url: str
    n_bytes: int
    sha256: str
    mirror_path: str  # relative to SSE_DATA_MIRROR
    description: str
    package: str = ""  # path inside an installed distribution of that name, if one carries the file

    @property
    def host(self) -> str:
        """Return the host that serves the file, such as "https://example.org"."""
        return "{0.scheme}://{0.netloc}".format(urlsplit(self.url))


@dataclass(frozen=True)
class RegisteredSource:
    """One published collection of files, with what its users must know and cite."""

    name: str
    title: str
    licence: str
    licence_url: str
    homepage: str
    citation: str
    files: tuple[RemoteFile, ...]


@dataclass(frozen=True)
class Located:
    """A file that is there and whose sha256 is the registered one."""

    key: str
    path: Path
    origin: str  # mirror, cache, package or download
    sha256: str
    n_bytes: int


def sources() -> tuple[RegisteredSource, ...]:
    """Return every registered source, in the order of `data/sources.yaml`."""
    return _read_registry(project_root() / "data" / "sources.yaml")


def files(source: str) -> tuple[RemoteFile, ...]:
    """Return the files of one source. Raises `DataError` if there is no such source."""
    known = {s.name: s for s in sources()}
    if source not in known:
        raise DataError(
            f"no source '{source}': expected one of {', '.join(known)}.{nearest(source, list(known))}"
        )
    return known[source].files


def locate(key: str) -> Located:
    """Return a verified path to a registered file, downloading it if need be.

    Raises `DataError` if the key is unknown, if a file found has the wrong sha256 (it is left as it
    is, and nothing else is tried), or if the file is nowhere and cannot be downloaded.
    """
    file = _file(key)
    for origin, path in _candidates(file):
        if path.is_file():
            return _verified(file, path, origin)
    if offline():
        raise DataError(_ways_out(file, "and SSE_OFFLINE forbids downloads"))
    if unreachable([file.host]):
        raise DataError(_ways_out(file, f"and {file.host} cannot be reached from here"))
    return _verified(file, _download(file), "download")


def available(source: str) -> bool:
    """Say whether every file of a source is here (mirror, cache, package); nothing is downloaded."""
    return all(_origin(file) for file in files(source))


def missing_hosts() -> list[str]:
    """Return the hosts of the files that are not here and that a download would have to ask."""
    absent = [f.host for s in sources() for f in s.files if not _origin(f)]
    return [] if offline() else list(dict.fromkeys(absent))


def unreachable(hosts: Sequence[str]) -> list[str]:
    """Return the hosts that do not answer; each is asked once a process, those of `SSE_UNREACHABLE` never."""
    known = os.environ.get(UNREACHABLE, "").split(",")
    return [host for host in hosts if host in known or not _answers(host)]


@lru_cache(maxsize=64)
def _answers(host: str) -> bool:
    """Say whether a host gives any answer at all within a few seconds."""
    try:
        requests.head(host, timeout=PROBE_TIMEOUT_S)
    except requests.exceptions.RequestException:
        return False
    return True


def offline() -> bool:
    """Say whether `SSE_OFFLINE` forbids downloads."""
    return os.environ.get("SSE_OFFLINE", "").lower() not in ("", "0", "false", "no")


def cache_folder() -> Path:
    """Return the folder that keeps downloads: `SSE_CACHE`, or the system's cache folder."""
    named = os.environ.get("SSE_CACHE")
    return Path(named).expanduser().resolve() if named else Path(pooch.os_cache("sselib"))


def mirror_folder() -> Path | None:
    """Return `SSE_DATA_MIRROR`, or None if it is not set. Raises `DataError` if it is no folder."""
    named = os.environ.get("SSE_DATA_MIRROR")
    if not named:
        return None
    path = Path(named).expanduser()
    if not path.is_dir():
        raise DataError(
            f"SSE_DATA_MIRROR is '{named}', which is not a folder: "
            "correct it, or unset it to use the cache or a download"
        )
    return path


def status_table() -> pd.DataFrame:
    """Return a row per registered file; origin is mirror, cache, package or empty."""
    rows = [
        (s.name, f.key, f.n_bytes, _origin(f), s.licence, f.description) for s in sources() for f in s.files
    ]
    return pd.DataFrame(rows, columns=["source", "file", "bytes", "origin", "licence", "description"])


def verify() -> pd.DataFrame:
    """Check every file in mirror, cache and packages; nothing is downloaded and nothing raised.

    Columns: file, origin (mirror, cache, package, or empty where it is in none) and status ("ok",
    "absent", or "wrong sha256: ..." with the hash found and the one expected).
    """
    rows = [row for s in sources() for f in s.files for row in _verify_file(f)]
    return pd.DataFrame(rows, columns=["file", "origin", "status"])


def sha256_of(path: Path) -> str:
    """Return the sha256 of a file in hexadecimal."""
    with Path(path).open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


@lru_cache(maxsize=8)
def _read_registry(path: Path) -> tuple[RegisteredSource, ...]:
    """Read `data/sources.yaml`."""
    content = yaml.safe_load(path.read_text(encoding="utf-8"))["sources"]
    return tuple(_source(name, entry) for name, entry in content.items())


def _source(name: str, entry: dict) -> RegisteredSource:
    remote = tuple(
        RemoteFile(
            key=key,
            url=f["url"],
            n_bytes=f["bytes"],
            sha256=f["sha256"],
            mirror_path=f["mirror_path"],
            description=f["description"],
            package=f.get("package", ""),
        )
        for key, f in entry["files"].items()
    )
    return RegisteredSource(
        name=name,
        title=entry["title"],
        licence=entry["licence"],
        licence_url=entry["licence_url"],
        homepage=entry["homepage"],
        citation=entry["citation"].strip(),
        files=remote,
    )


def _file(key: str) -> RemoteFile:
    known = {f.key: f for s in sources() for f in s.files}
    if key not in known:
        raise DataError(
            f"'{key}' is not registered in data/sources.yaml.{nearest(key, list(known))} "
            "'sse data list' shows every registered file"
        )
    return known[key]


def _candidates(file: RemoteFile) -> list[tuple[str, Path]]:
    """Return where a file may lie, in the order in which it is looked for."""
    mirror = mirror_folder()
    places = [("mirror", mirror / file.mirror_path)] if mirror else []
    packaged = _in_package(file.package)
    return [*places, ("cache", cache_folder() / file.key), *([("package", packaged)] if packaged else [])]


def _in_package(path: str) -> Path | None:
    """Return where an installed distribution holds a file; the distribution is not imported."""
    if not path:
        return None
    try:
        return Path(metadata.distribution(path.split("/")[0]).locate_file(path))
    except metadata.PackageNotFoundError:
        return None


def _origin(file: RemoteFile) -> str:
    """Return mirror, cache or package, where the file lies, or an empty text."""
    return next((origin for origin, path in _candidates(file) if path.is_file()), "")


def _verified(file: RemoteFile, path: Path, origin: str) -> Located:
    """Return the file if its sha256 is the registered one, else raise `DataError`."""
    found, size = sha256_of(path), path.stat().st_size
    if found != file.sha256:
        raise DataError(
            f"{path} ({origin}) is not the registered '{file.key}': its sha256 is {found}, "
            f"expected {file.sha256}; it has {size} bytes, expected {file.n_bytes}. Delete or "
            "replace it and run again: a file with the wrong content is never used"
        )
    return Located(key=file.key, path=path, origin=origin, sha256=found, n_bytes=size)


def _verify_file(file: RemoteFile) -> list[tuple[str, str, str]]:
    """Return (file, origin, status) for each place that holds the file, or one row that says absent."""
    rows = []
    for origin, path in _candidates(file):
        if path.is_file():
            found = sha256_of(path)
            wrong = f"wrong sha256: found {found}, expected {file.sha256}"
            rows.append((file.key, origin, "ok" if found == file.sha256 else wrong))
    return rows or [(file.key, "", "absent")]


def _download(file: RemoteFile) -> Path:
    """Download a file into the cache, whole or not at all: pooch writes aside, checks and renames."""
    fetcher = pooch.create(
        path=cache_folder(),
        base_url="",
        registry={file.key: f"sha256:{file.sha256}"},
        urls={file.key: file.url},
        retry_if_failed=N_RETRIES,
    )
    bar = os.environ.get("SSE_PROGRESS") != "log"
    downloader = pooch.HTTPDownloader(progressbar=bar, timeout=TIMEOUT_S)
    try:
        return Path(fetcher.fetch(file.key, downloader=downloader))
    except (requests.exceptions.RequestException, OSError, ValueError) as error:
        raise DataError(_ways_out(file, f"and its download from {file.url} failed: {error}")) from error


def _ways_out(file: RemoteFile, why: str) -> str:
    """Say what to do when a file is nowhere; briefly in a run, which has said it at its start."""
    mirror = os.environ.get("SSE_DATA_MIRROR") or "not set"
    package = f" nor in the package {file.package.split('/')[0]}" if file.package else ""
    absent = f"'{file.key}' is neither in SSE_DATA_MIRROR ({mirror}) nor in the cache{package}, {why}"
    if os.environ.get(UNREACHABLE):
        return f"{absent} ('sse data get {file.key}' says what to do)"
    online = "connect to the internet and unset SSE_OFFLINE" if offline() else "connect to the internet"
    return (
        f"{absent}. Do one of these: (1) set SSE_DATA_MIRROR to a folder that holds {file.mirror_path}; "
        f"(2) put the file at {cache_folder() / file.key}, taken from {file.url}; (3) {online}"
    )
