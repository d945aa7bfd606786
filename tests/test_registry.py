"""The registry: order of places, sha256 on every load, downloads whole or not at all."""

import hashlib
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import yaml

from sselib import registry
from sselib.errors import DataError

CONTENT = b"ID,sigma\n1,2e-4\n" * 100
SHA256 = hashlib.sha256(CONTENT).hexdigest()


@dataclass
class Host:
    """A small web server and the project, mirror and cache folders of a test."""

    home: Path
    mirror: Path
    cache: Path
    requests: list[str]
    served: bytes = CONTENT
    announced: int | None = None  # Content-Length, if not that of what is served


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Host]:
    """Serve one registered file from this machine, with nothing in mirror and cache."""
    state = Host(tmp_path / "home", tmp_path / "mirror", tmp_path / "cache", [])
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(state))
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    _write_registry(state.home, f"http://127.0.0.1:{server.server_port}/table.csv")
    state.mirror.mkdir()
    monkeypatch.setenv("SSE_HOME", str(state.home))
    monkeypatch.setenv("SSE_CACHE", str(state.cache))
    for name in ("SSE_DATA_MIRROR", "SSE_OFFLINE", "SSE_UNREACHABLE", "HTTP_PROXY", "http_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(registry, "N_RETRIES", 0)
    yield state
    server.shutdown()
    server.server_close()


def _handler(state: Host) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            state.requests.append(self.path)
            self.send_response(200)
            self.send_header("Content-Length", str(state.announced or len(state.served)))
            self.end_headers()
            self.wfile.write(state.served)

        def do_HEAD(self) -> None:
            self.send_response(404)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Keep the test's output clean."""

    return Handler


def _write_registry(home: Path, url: str, **more: str) -> None:
    file = {
        **more,
        "url": url,
        "bytes": len(CONTENT),
        "sha256": SHA256,
        "mirror_path": "far/table.csv",
        "description": "d",
    }
    about = {"title": "t", "licence": "CC0", "licence_url": "u", "homepage": "h", "citation": "c"}
    (home / "data").mkdir(parents=True, exist_ok=True)
    (home / "data" / "sources.yaml").write_text(
        yaml.safe_dump({"sources": {"near": {**about, "files": {"near/table.csv": file}}}})
    )


def _put(path: Path, content: bytes = CONTENT) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def test_mirror_comes_before_cache(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSE_DATA_MIRROR", str(host.mirror))
    in_mirror, _ = _put(host.mirror / "far/table.csv"), _put(host.cache / "near/table.csv")
    found = registry.locate("near/table.csv")
    assert (found.path, found.origin) == (in_mirror, "mirror")
    assert (found.sha256, found.n_bytes) == (SHA256, len(CONTENT))
    assert host.requests == []


def test_cache_comes_before_download_and_download_fills_it(host: Host) -> None:
    first = registry.locate("near/table.csv")
    assert first.origin == "download" and first.path.read_bytes() == CONTENT
    second = registry.locate("near/table.csv")
    assert second.origin == "cache" and second.path == first.path
    assert len(host.requests) == 1


def test_file_missing_in_mirror_is_taken_from_cache(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSE_DATA_MIRROR", str(host.mirror))
    _put(host.cache / "near/table.csv")
    assert registry.locate("near/table.csv").origin == "cache"


@pytest.mark.parametrize("place", ["mirror", "cache"])
def test_wrong_hash_stops_and_names_both_hashes(
    host: Host, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    monkeypatch.setenv("SSE_DATA_MIRROR", str(host.mirror))
    places = {"mirror": host.mirror / "far/table.csv", "cache": host.cache / "near/table.csv"}
    path = _put(places[place], b"altered")
    with pytest.raises(DataError) as caught:
        registry.locate("near/table.csv")
    for part in (str(path), SHA256, hashlib.sha256(b"altered").hexdigest(), "7 bytes", str(len(CONTENT))):
        assert part in str(caught.value)
    assert host.requests == [] and path.read_bytes() == b"altered"


def test_hash_is_checked_on_every_load(host: Host) -> None:
    path = registry.locate("near/table.csv").path
    path.write_bytes(CONTENT[:-1])
    with pytest.raises(DataError, match="is not the registered"):
        registry.locate("near/table.csv")


@pytest.mark.parametrize("n_served", [700, 0])
@pytest.mark.parametrize("announced", [len(CONTENT), None])
def test_truncated_download_leaves_nothing(host: Host, n_served: int, announced: int | None) -> None:
    host.served, host.announced = CONTENT[:n_served], announced
    with pytest.raises(DataError, match=r"download from .* failed"):
        registry.locate("near/table.csv")
    assert [p for p in host.cache.rglob("*") if p.is_file()] == []


def test_download_with_other_content_names_both_hashes(host: Host) -> None:
    host.served = b"x" * len(CONTENT)
    with pytest.raises(DataError) as caught:
        registry.locate("near/table.csv")
    assert SHA256 in str(caught.value) and hashlib.sha256(host.served).hexdigest() in str(caught.value)


def test_a_failed_download_is_tried_again(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "N_RETRIES", 1)
    host.served = b"x"
    with pytest.raises(DataError):
        registry.locate("near/table.csv")
    assert len(host.requests) == 2


def test_offline_names_three_ways_out(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSE_OFFLINE", "1")
    with pytest.raises(DataError) as caught:
        registry.locate("near/table.csv")
    for part in ("SSE_DATA_MIRROR", str(host.cache / "near/table.csv"), "far/table.csv", "unset SSE_OFFLINE"):
        assert part in str(caught.value)
    assert host.requests == []


def test_a_host_that_does_not_answer_is_asked_once(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    monkeypatch.setattr(registry.requests, "head", lambda url, **_: asked.append(url) or _refused())
    registry._answers.cache_clear()
    for _ in range(3):
        with pytest.raises(DataError, match="cannot be reached from here"):
            registry.locate("near/table.csv")
    assert asked == registry.missing_hosts() and host.requests == []
    registry._answers.cache_clear()


def _refused() -> None:
    raise registry.requests.exceptions.ProxyError("refused")


def test_a_run_says_once_what_to_do(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSE_UNREACHABLE", registry.missing_hosts()[0])
    with pytest.raises(DataError, match=r"'sse data get near/table\.csv' says what to do"):
        registry.locate("near/table.csv")
    assert host.requests == []


def test_a_file_in_an_installed_package_is_found_without_a_download(
    host: Host, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    packaged = _put(tmp_path / "site/carrier/table.csv")
    (tmp_path / "site/carrier-1.0.dist-info").mkdir()
    (tmp_path / "site/carrier-1.0.dist-info/METADATA").write_text("Name: carrier\nVersion: 1.0\n")
    monkeypatch.syspath_prepend(tmp_path / "site")
    _write_registry(host.home, "http://127.0.0.1:1/table.csv", package="carrier/table.csv")
    registry._read_registry.cache_clear()
    found = registry.locate("near/table.csv")
    assert (found.path, found.origin) == (packaged, "package") and registry.available("near")
    packaged.write_bytes(b"altered")
    with pytest.raises(DataError, match="is not the registered"):
        registry.locate("near/table.csv")


def test_megnet_of_the_papers_comes_with_a_package(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    pytest.importorskip("torch", reason="needs the extra atomsets")
    monkeypatch.delenv("SSE_DATA_MIRROR", raising=False)
    monkeypatch.setenv("SSE_CACHE", str(tmp_path))
    assert registry.locate("megnet/mp-2019.4.1/formation_energy.hdf5").origin == "package"


def test_available_looks_but_does_not_download(host: Host) -> None:
    assert not registry.available("near")
    assert host.requests == []
    _put(host.cache / "near/table.csv")
    assert registry.available("near")


def test_a_mirror_that_is_no_folder_is_an_error(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSE_DATA_MIRROR", str(host.mirror / "elsewhere"))
    with pytest.raises(DataError, match="is not a folder"):
        registry.locate("near/table.csv")


def test_unknown_names_suggest_the_nearest(host: Host) -> None:
    with pytest.raises(DataError, match=r"Did you mean 'near/table.csv'"):
        registry.locate("near/tabel.csv")
    with pytest.raises(DataError, match=r"Did you mean 'near'"):
        registry.files("naer")


def test_verify_and_status(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSE_DATA_MIRROR", str(host.mirror))
    assert registry.verify().to_numpy().tolist() == [["near/table.csv", "", "absent"]]
    _put(host.mirror / "far/table.csv"), _put(host.cache / "near/table.csv", b"altered")
    table = registry.verify().set_index("origin")["status"]
    assert table["mirror"] == "ok" and table["cache"].startswith("wrong sha256") and SHA256 in table["cache"]
    row = registry.status_table().iloc[0]
    assert row[["source", "bytes", "origin"]].tolist() == ["near", len(CONTENT), "mirror"]


def test_shipped_registry_is_complete() -> None:
    for source in registry.sources():
        assert source.licence and source.citation and source.files
        for file in source.files:
            assert file.url.startswith("https://") and len(file.sha256) == 64 and file.n_bytes > 0
            assert file.key.startswith(f"{source.name}/")
    assert [len(registry.files(name)) for name in ("obelix", "liion", "megnet")] == [4, 1, 22]


@pytest.mark.mirror
def test_every_file_of_the_mirror_has_its_registered_hash(mirror: Path) -> None:
    table = registry.verify()
    in_mirror = table[table["origin"] == "mirror"]
    assert len(in_mirror) == 27 and set(in_mirror["status"]) == {"ok"}
    sizes = {f.key: f.n_bytes for s in registry.sources() for f in s.files}
    assert {k: registry.locate(k).n_bytes for k in sizes} == sizes
