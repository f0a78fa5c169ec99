"""Fetching weights from a server of this machine that keeps its word, or does not."""

from __future__ import annotations

import hashlib
import http.server
import re
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from layerscope.errors import DownloadError, OptionError, WeightsError
from layerscope.models import download
from layerscope.models.download import OFFICIAL, Official, cache_folder, fetch, official_weights

if TYPE_CHECKING:
    from collections.abc import Iterator

CONTENT = bytes(number * number % 251 for number in range(300_000))


@dataclass
class Site:
    """A server of one file, and how it behaves.

    Attributes:
        ranges: Whether it goes on where it is asked to.
        cut: After how many bytes of a reply it hangs up, reply by reply; None sends all.
        length: Whether it tells the length.
        chunked: Whether it sends chunks instead of telling the length.
        status: What it answers instead of the file.
        asked: The Range header of every request; None where there is none.
    """

    ranges: bool = True
    cut: list[int | None] = field(default_factory=list)
    length: bool = True
    chunked: bool = False
    status: int = 200
    content: bytes = CONTENT
    asked: list[str | None] = field(default_factory=list)
    url: str = ""

    def official(self, content: bytes = CONTENT) -> Official:
        return Official(url=self.url, sha256=hashlib.sha256(content).hexdigest())


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    site: Site

    def log_message(self, *_args: object) -> None:
        pass

    def do_GET(self) -> None:
        site = self.site
        asked = self.headers.get("Range")
        site.asked.append(asked)
        self.close_connection = True
        if site.status == 0:  # no HTTP at all
            self.wfile.write(b"what?\r\n")
            return
        if site.status != 200:
            self.send_error(site.status)
            return
        start = int(re.fullmatch(r"bytes=(\d+)-", asked)[1]) if asked and site.ranges else 0  # type: ignore[index]
        if start >= len(site.content) > 0 and start:
            self.send_error(416)
            return
        body = site.content[start:]
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(site.content) - 1}/{len(site.content)}")
        if site.chunked:
            self.send_header("Transfer-Encoding", "chunked")
        elif site.length:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        sent = body[: site.cut.pop(0) if site.cut else None]
        if site.chunked:
            pieces = [sent[at : at + 4096] for at in range(0, len(sent), 4096)]
            self.wfile.write(b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces))
            if len(sent) == len(body):
                self.wfile.write(b"0\r\n\r\n")
        else:
            self.wfile.write(sent)


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    monkeypatch.setenv("no_proxy", "*")
    own = Site()
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), type("Own", (Handler,), {"site": own}))
    own.url = f"http://127.0.0.1:{server.server_port}/files/net.weights"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield own
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def target() -> Path:
    return Path("deep/cache/net.weights").absolute()


def left(target: Path) -> list[str]:
    return sorted(path.name for path in target.parent.iterdir()) if target.parent.exists() else []


@pytest.mark.parametrize("way", ["with its length", "without", "in chunks"])
def test_a_file_with_the_right_sum_arrives_whole(site: Site, target: Path, way: str) -> None:
    site.length, site.chunked = way == "with its length", way == "in chunks"
    fetch(site.official(), target)
    assert target.read_bytes() == CONTENT
    assert left(target) == ["net.weights"]
    assert site.asked == [None]


def test_an_empty_file_is_a_file(site: Site, target: Path) -> None:
    site.content = b""
    fetch(site.official(b""), target)
    assert target.read_bytes() == b""


@pytest.mark.parametrize("chunk", [1000, 1 << 20])
def test_progress_counts_up_to_all_of_it(site: Site, target: Path, chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download, "CHUNK_BYTES", chunk)
    seen: list[tuple[int, int | None]] = []
    fetch(site.official(), target, progress=lambda done, total: seen.append((done, total)))
    counts = [done for done, _ in seen]
    assert counts == sorted(set(counts))
    assert seen[-1] == (len(CONTENT), len(CONTENT))
    assert {total for _, total in seen} == {len(CONTENT)}
    assert len(seen) == max(1, -(-len(CONTENT) // chunk))


def test_without_a_length_progress_says_that_it_is_not_known(site: Site, target: Path) -> None:
    site.length = False
    seen: list[tuple[int, int | None]] = []
    fetch(site.official(), target, progress=lambda done, total: seen.append((done, total)))
    assert seen[-1] == (len(CONTENT), None)


def test_after_a_cut_the_next_attempt_asks_for_the_rest_only(site: Site, target: Path) -> None:
    site.cut = [100_000, 50_000, None]
    with pytest.raises(DownloadError, match=r"stopped after 100000 of 300000 bytes; run again to go on"):
        fetch(site.official(), target)
    assert left(target) == ["net.weights.part"]
    assert target.with_name("net.weights.part").read_bytes() == CONTENT[:100_000]
    with pytest.raises(DownloadError, match="stopped after 150000 of 300000 bytes"):
        fetch(site.official(), target)
    seen: list[tuple[int, int | None]] = []
    fetch(site.official(), target, progress=lambda done, total: seen.append((done, total)))
    assert target.read_bytes() == CONTENT
    assert left(target) == ["net.weights"]
    assert site.asked == [None, "bytes=100000-", "bytes=150000-"]
    assert all(150_000 < done <= total == 300_000 for done, total in seen if total is not None)
    assert len(seen) >= 1


def test_chunks_that_break_off_are_one_clear_error_and_go_on(site: Site, target: Path) -> None:
    site.chunked, site.cut = True, [100_000]
    with pytest.raises(DownloadError, match=r"stopped after 100000 bytes; run again to go on"):
        fetch(site.official(), target)
    assert target.with_name("net.weights.part").read_bytes() == CONTENT[:100_000]
    assert left(target) == ["net.weights.part"]
    fetch(site.official(), target)
    assert site.asked == [None, "bytes=100000-"]
    assert target.read_bytes() == CONTENT


def test_a_server_that_starts_over_is_followed(site: Site, target: Path) -> None:
    site.ranges, site.cut = False, [100_000]
    with pytest.raises(DownloadError, match="stopped after"):
        fetch(site.official(), target)
    fetch(site.official(), target)
    assert target.read_bytes() == CONTENT
    assert site.asked == [None, "bytes=100000-"]


def test_a_part_that_is_whole_already_becomes_the_file(site: Site, target: Path) -> None:
    target.parent.mkdir(parents=True)
    target.with_name("net.weights.part").write_bytes(CONTENT)
    fetch(site.official(), target)
    assert target.read_bytes() == CONTENT
    assert left(target) == ["net.weights"]


@pytest.mark.parametrize("before", [b"", b"something else", CONTENT + b"and more"])
def test_a_wrong_sum_is_told_and_nothing_stays(site: Site, target: Path, before: bytes) -> None:
    if before:
        target.parent.mkdir(parents=True)
        target.with_name("net.weights.part").write_bytes(before)
    else:
        site.content = CONTENT[:-1] + b"!"
    came = hashlib.sha256(site.content if not before else (before + CONTENT[len(before) :])).hexdigest()
    with pytest.raises(DownloadError, match="it was thrown away") as caught:
        fetch(site.official(), target)
    assert f"what came has SHA-256 {came}, expected {site.official().sha256}" in str(caught.value)
    assert site.url in str(caught.value)
    assert left(target) == []
    site.content = CONTENT
    fetch(site.official(), target)
    assert target.read_bytes() == CONTENT


@pytest.mark.parametrize(("status", "reason"), [(404, "Not Found"), (403, "Forbidden"), (500, "Internal Server Error")])
def test_a_refusal_is_one_clear_error(site: Site, target: Path, status: int, reason: str) -> None:
    site.status = status
    with pytest.raises(DownloadError, match=rf"net\.weights: cannot be fetched \(.*{reason}\)$") as caught:
        fetch(site.official(), target)
    assert isinstance(caught.value, WeightsError | OSError)
    assert left(target) == []


def test_a_refusal_keeps_what_is_there_and_says_so(site: Site, target: Path) -> None:
    target.parent.mkdir(parents=True)
    target.with_name("net.weights.part").write_bytes(CONTENT[:7])
    site.status = 503
    with pytest.raises(DownloadError, match="7 bytes are kept, run again to go on"):
        fetch(site.official(), target)
    site.status = 200
    fetch(site.official(), target)
    assert site.asked == ["bytes=7-", "bytes=7-"]
    assert target.read_bytes() == CONTENT


def test_an_answer_that_is_no_http_is_one_clear_error(site: Site, target: Path) -> None:
    site.status = 0
    with pytest.raises(DownloadError, match="cannot be fetched") as caught:
        fetch(site.official(), target)
    assert "\n" not in str(caught.value)
    assert left(target) == []


def test_a_connection_that_is_refused_is_one_clear_error(target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import socket

    monkeypatch.setenv("no_proxy", "*")
    with socket.socket() as taken:  # bound, but nobody listens
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}/net.weights"
        with pytest.raises(DownloadError, match=r"net\.weights: cannot be fetched \(.*refused\)"):
            fetch(Official(url=url, sha256="0"), target)
    assert left(target) == []


def test_a_cache_that_cannot_be_written_is_one_clear_error(site: Site) -> None:
    Path("file").write_text("in the way")
    with pytest.raises(DownloadError, match="file"):
        fetch(site.official(), Path("file/net.weights").absolute())
    assert Path("file").read_text() == "in the way"


def test_official_weights_are_fetched_once_into_the_cache(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(OFFICIAL, "yolov3", site.official())
    monkeypatch.setenv("LAYERSCOPE_CACHE", "of mine")
    path = official_weights("yolov3")
    assert path == Path("of mine/net.weights")
    assert path.read_bytes() == CONTENT
    assert official_weights("yolov3") == path
    assert site.asked == [None]
    with pytest.raises(OptionError, match="official weights are known for yolov3 only, not for darknet53"):
        official_weights("darknet53")


def test_the_cache_is_where_the_variable_says_else_the_systems_own(monkeypatch: pytest.MonkeyPatch) -> None:
    import platformdirs

    monkeypatch.setenv("LAYERSCOPE_CACHE", "/somewhere")
    assert cache_folder() == Path("/somewhere")
    for unset in (lambda: monkeypatch.setenv("LAYERSCOPE_CACHE", ""), lambda: monkeypatch.delenv("LAYERSCOPE_CACHE")):
        unset()
        assert cache_folder() == platformdirs.user_cache_path("layerscope")


def test_the_official_files_come_over_tls_with_a_whole_sum() -> None:
    for official in OFFICIAL.values():
        assert official.url.startswith("https://")
        assert re.fullmatch(r"[0-9a-f]{64}", official.sha256)
