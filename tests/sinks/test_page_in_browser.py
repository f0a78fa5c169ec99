"""The page of a run in a real browser, from disk: what it shows, what it asks for, and what one can do."""

from __future__ import annotations

import io
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, unquote, urlsplit

import msgspec
import numpy as np
import pytest
from PIL import Image

import layerscope as ls
from layerscope.sinks.page import write_page

if TYPE_CHECKING:
    from collections.abc import Iterator

playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright, which is not installed")
BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))), None)
pytestmark = pytest.mark.skipif(BROWSER is None, reason="needs Chromium, which is not on this machine")

NAMES = ["plain", "sp ace", "per%20cent", "a#b & ü 日本", "q'uote"]
"""Of frames: what `safe_name` lets through and addresses do not."""

LAYERS = ["2_shortcut", "3_convolutional", "5_shortcut"]


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    root = hasattr(os, "geteuid") and os.geteuid() == 0
    with playwright.sync_playwright() as driver:
        chromium = driver.chromium.launch(executable_path=BROWSER, args=["--no-sandbox"] if root else [])
        yield chromium
        chromium.close()


def size_of(path: Path) -> tuple[int, int]:
    with Image.open(path) as picture:
        return picture.size


class Shown:
    """A page that is open, all that it asked for, and everything that went wrong in it."""

    def __init__(self, browser: Any, path: Path, anchor: str = "", **options: Any) -> None:
        self.path, self.asked, self.wrong = path.resolve(), [], []
        context = browser.new_context(**{"viewport": {"width": 1440, "height": 900}, **options})
        self.page = context.new_page()
        self.page.set_default_timeout(10_000)
        context.on("request", lambda request: self.asked.append(request.url))
        self.page.on("pageerror", lambda error: self.wrong.append(str(error)))
        self.page.on("console", lambda message: self.wrong.append(message.text))
        self.page.goto(self.path.as_uri() + anchor)
        self.wait("document.querySelector('#place').textContent || document.querySelector('.message')")

    def wait(self, condition: str, value: object = None) -> None:
        """Wait until a condition on ``value`` holds in the page."""
        self.page.wait_for_function(f"value => {condition}", arg=value)

    def press(self, *keys: str) -> None:
        for key in keys:
            self.page.keyboard.press(key)

    def picture(self, source: str) -> dict[str, Any]:
        """Wait for a picture on the stage; return what the browser made of it."""
        self.wait("document.querySelector('#stage > .picture')?.getAttribute('src') === value", source)
        return self.page.evaluate(
            "() => { const i = document.querySelector('#stage > .picture'); return {size: [i.naturalWidth, "
            "i.naturalHeight], width: i.clientWidth, alt: i.alt}; }"
        )

    def text(self, selector: str) -> str:
        return self.page.locator(selector).inner_text()

    def chosen(self, box: str) -> str | None:
        return self.page.locator(f"{box} [aria-selected=true]").get_attribute("title")

    def check(self) -> None:
        """Nothing went wrong, and nothing outside of the folder was asked for."""
        assert self.wrong == []
        assert self.asked
        for address in self.asked:
            parts = urlsplit(address)
            assert parts.scheme == "file", address
            assert Path(unquote(parts.path)).is_relative_to(self.path.parent), address


@pytest.fixture
def run(tiny: ls.Network, photo: np.ndarray) -> ls.Run:
    """Five frames of nasty names, each a picture of its own, with all kinds of pictures and a page."""
    for turn, name in enumerate(NAMES):
        Image.fromarray(np.roll(photo, 20 * turn, axis=1)).save(f"{name}.png")
    kinds = ["tiles", "sheets", "overlays", "reductions", "tensors"]
    run = ls.run(tiny, [f"{name}.png" for name in NAMES], layers=LAYERS, write=kinds, tile_format="png", out="run")
    frames = []
    for turn, frame in enumerate(run.manifest.frames):
        Image.fromarray(np.roll(photo, 20 * turn, axis=1)).save(run[frame.name].folder / "pic ture.jpg")
        frames.append(msgspec.structs.replace(frame, picture="pic ture.jpg", time_s=turn / 10))
    write_page(run.folder / "index.html", run.head, frames)
    return run


@pytest.fixture
def shown(browser: Any, run: ls.Run) -> Iterator[Shown]:
    shown = Shown(browser, run.folder / "index.html")
    yield shown
    shown.check()
    shown.page.context.close()


def test_every_picture_of_every_layer_of_every_frame_comes_by_the_keyboard(shown: Shown, run: ls.Run) -> None:
    for index, name in enumerate(run):
        for layer in LAYERS:
            files = run[name][layer].record.files
            paths = {"1": files["sheets"], "3": files["overlays"], "4": files["reductions"], "5": "pic ture.jpg"}
            for key, path in paths.items():
                shown.press(key)
                picture = shown.picture(
                    f"{quote(run[name].record.folder, safe='')}/{quote(path, safe='/')}".replace("%27", "'")
                )
                assert tuple(picture["size"]) == size_of(run[name].folder / path)
                assert name in picture["alt"]
            assert shown.text("#title h2") == layer
            shown.press("j")
        assert (shown.chosen("#frames"), shown.text("#input b")) == (name, name)
        assert shown.text("#place") == f"{index + 1} / 5 · {index / 10:.2f} s"
        shown.press("Home", "ArrowRight")


def test_the_layer_and_the_kind_of_picture_stay_while_frames_are_stepped(shown: Shown, run: ls.Run) -> None:
    shown.press("j", "3", "ArrowRight", "ArrowRight", "ArrowRight", "ArrowLeft")
    picture = shown.picture("per%2520cent/overlays/3_convolutional.png")
    assert picture["alt"] == "Overlay of 3_convolutional, per%20cent"
    shown.press("ArrowLeft", "ArrowLeft", "ArrowLeft")
    assert shown.chosen("#frames") == "plain"


def test_the_table_shows_the_manifests_numbers_and_sorts_by_them(shown: Shown, run: ls.Run) -> None:
    shown.press("End")
    channels = run["plain"]["5_shortcut"].record.channels
    assert channels is not None
    for title, values in {"min": channels.min, "max": channels.max, "mean": channels.mean, "ch": range(6)}.items():
        for clicks in range(2):
            shown.page.get_by_role("columnheader", name=title).get_by_role("button").click()
            rows = [row.split() for row in shown.page.locator("#rows > div").all_inner_texts()]
            order = sorted(range(6), key=lambda channel: values[channel], reverse=(clicks == 0) != (title == "ch"))
            assert [int(row[0]) for row in rows] == order
            for channel, low, high, mean, *_ in rows:
                true = (channels.min[int(channel)], channels.max[int(channel)], channels.mean[int(channel)])
                assert [float(text.replace("−", "-")) for text in (low, high, mean)] == pytest.approx(true, rel=5.1e-4)
            direction = shown.page.get_by_role("columnheader", name=title).get_attribute("aria-sort")
            assert direction == ("descending" if (clicks == 0) != (title == "ch") else "ascending")


def test_a_channel_that_is_chosen_shows_its_tile_and_its_numbers(shown: Shown, run: ls.Run) -> None:
    shown.page.locator("#channel-2").click()
    tile = shown.page.locator("#channel img")
    assert tile.get_attribute("src") == "plain/2_shortcut/out2.png"
    tile.evaluate("image => image.decode()")
    assert shown.text("#channel h2").strip() == "Channel 2"
    shown.press("ArrowRight")
    assert tile.get_attribute("src") == "sp%20ace/2_shortcut/out2.png"
    shown.press("2")
    shown.page.get_by_role("button", name="Channel 3", exact=True).click()
    assert tile.get_attribute("src") == "sp%20ace/2_shortcut/out3.png"
    assert shown.page.locator("#rows [aria-selected=true]").get_attribute("id") == "channel-3"
    looks = "[...document.querySelectorAll('.tiles button')].map(tile => getComputedStyle(tile).backgroundColor)"
    *others, chosen = shown.page.evaluate(looks)
    assert len(set(others)) == 1
    assert chosen != others[0]
    shown.page.set_viewport_size({"width": 360, "height": 260})
    shown.press(",", ",", ",", ".", ".", ".")
    tile_box, stage = (shown.page.locator(box).bounding_box() for box in (".tiles [aria-pressed=true]", "#stage"))
    assert stage["y"] - 1 < tile_box["y"]
    assert tile_box["y"] + tile_box["height"] < stage["y"] + stage["height"] + 1
    shown.wait("[...document.querySelectorAll('.tiles img')].every(i => i.naturalWidth === 32)")


def test_an_address_leads_to_a_frame_and_a_layer_and_follows_what_is_chosen(browser: Any, run: ls.Run) -> None:
    name = list(run)[3]
    asked = f"#frame={quote(name)}&layer=5_shortcut&kind=overlays&channel=1"
    shown = Shown(browser, run.folder / "index.html", asked)
    shown.picture(f"{quote(run[name].record.folder)}/overlays/5_shortcut.png")
    assert (shown.chosen("#frames"), shown.chosen("#layers")) == (name, "5_shortcut")
    assert shown.text("#channel h2").strip() == "Channel 1"
    shown.press("ArrowRight", "k")
    shown.wait("location.hash.includes('layer=3_')")
    again = Shown(browser, run.folder / "index.html", shown.page.evaluate("location.hash"))
    assert (again.chosen("#frames"), again.chosen("#layers")) == (list(run)[4], "3_convolutional")
    again.page.evaluate("location.hash = '#frame=plain&layer=gone'")
    again.page.wait_for_selector(".message")
    assert again.text("#stage") == "plain has no layer gone."
    shown.check()
    again.check()


def test_pictures_that_are_missing_are_said_to_be(browser: Any, run: ls.Run) -> None:
    shutil.rmtree(run["plain"].folder)
    (run["sp ace"].folder / "sheets/2_shortcut.png").write_bytes(b"no picture")
    shown = Shown(browser, run.folder / "index.html", "#channel=0")
    shown.page.wait_for_selector(".message")
    assert shown.text("#stage") == "plain/sheets/2_shortcut.png is not there, or is no picture."
    shown.press("ArrowRight")
    shown.wait("document.querySelector('#stage').innerText.startsWith('sp ace/sheets')")
    shown.press("ArrowLeft", "2")
    shown.wait("document.querySelectorAll('.tiles .gone').length === 4")
    shown.press("ArrowRight")
    shown.wait("document.querySelectorAll('.tiles .gone').length === 0")
    assert all("ERR_FILE_NOT_FOUND" in words for words in shown.wrong)
    shown.wrong.clear()
    shown.check()


def test_the_browser_refuses_whatever_is_not_the_pages_own(shown: Shown) -> None:
    refused = shown.page.evaluate(
        """async () => {
            const refused = [];
            addEventListener("securitypolicyviolation", (event) => refused.push(event.effectiveDirective));
            new Image().src = "http://127.0.0.1:9/a.png";
            document.body.append(Object.assign(document.createElement("script"), { textContent: "window.ran = 1" }));
            document.body.append(Object.assign(document.createElement("script"), { src: "plain/evil.js" }));
            document.body.append(Object.assign(document.createElement("style"), { textContent: "* { color: red }" }));
            await fetch("manifest.json").catch(() => null);
            await new Promise((done) => setTimeout(done, 300));
            return [...refused, String(window.ran)];
        }"""
    )
    assert sorted(refused) == [
        "connect-src",
        "img-src",
        "script-src-elem",
        "script-src-elem",
        "style-src-elem",
        "undefined",
    ]
    shown.wrong.clear()
    shown.asked.remove("http://127.0.0.1:9/a.png")


def test_thousands_of_frames_are_listed_found_and_stepped_through(browser: Any, run: ls.Run) -> None:
    first = run.manifest.frames[0]
    frames = (msgspec.structs.replace(first, name=f"frame-{index:05d}", time_s=index / 25) for index in range(5000))
    write_page(run.folder / "many.html", run.head, frames)
    shown = Shown(browser, run.folder / "many.html")
    rows = shown.page.locator("#frames .row")
    assert rows.count() < 60
    shown.page.locator("#slider").fill("4321")
    assert shown.chosen("#frames") == "frame-04321"
    assert shown.page.locator("#frames [aria-selected=true]").is_visible()
    shown.page.locator("#frames .list").focus()
    shown.press("ArrowUp")
    assert shown.chosen("#frames") == "frame-04320"
    shown.press("End")
    assert shown.text("#place") == "5000 / 5000 · 199.96 s"
    shown.press("/")
    shown.page.keyboard.type("777")
    assert shown.text("#frames h2 span") == "5 of 5000"
    shown.press("Escape", "Home")
    assert shown.chosen("#frames") == "frame-00777"
    shown.press("ArrowRight")
    assert shown.chosen("#frames") == "frame-01777"
    shown.press("/", "Control+a")
    shown.page.keyboard.type("778")
    shown.press("Enter", "ArrowRight")
    assert shown.chosen("#frames") == "frame-01778"
    shown.check()


def test_play_goes_through_the_frames_and_around(shown: Shown) -> None:
    shown.press(" ")
    for name in [*NAMES[1:], NAMES[0]]:
        shown.wait("document.querySelector('#input b').textContent === value", name)
    shown.press(" ")
    assert shown.page.locator("#play").get_attribute("aria-pressed") == "false"
    stopped = shown.text("#place")
    shown.page.wait_for_timeout(400)
    assert shown.text("#place") == stopped


def test_a_video_is_at_the_chosen_frame_and_the_frame_follows_it(browser: Any, run: ls.Run) -> None:
    av = pytest.importorskip("av", reason="needs PyAV")
    (run.folder / "video").mkdir()
    with av.open(str(run.folder / "video/5_shortcut.mp4"), "w") as container:
        stream = container.add_stream("libx264", rate=10, options={"g": "1"})
        stream.width, stream.height, stream.pix_fmt = 64, 64, "yuv420p"
        for level in range(0, 250, 50):
            picture = av.VideoFrame.from_ndarray(np.full((64, 64, 3), level, np.uint8), format="rgb24")
            container.mux(stream.encode(picture))
        container.mux(stream.encode())
    series = {"video/channel3": {"5_shortcut": "video/5_shortcut.mp4"}}
    write_page(run.folder / "index.html", msgspec.structs.replace(run.head, series=series), run.manifest.frames)
    shown = Shown(browser, run.folder / "index.html", "#layer=5_shortcut&kind=video/channel3")
    shown.page.get_by_role("button", name="Video: channel 3", pressed=True).wait_for()
    shown.press("ArrowRight", "ArrowRight", "ArrowRight")
    shown.wait("(v => Math.abs(v.currentTime - 0.35) < 0.01 && !v.seeking)(document.querySelector('video'))")
    shown.page.evaluate("document.querySelector('video').controls = false")
    shown.page.wait_for_timeout(200)
    with Image.open(io.BytesIO(shown.page.locator("video").screenshot())) as picture:
        assert picture.convert("L").getpixel((picture.width // 2, picture.height // 4)) == pytest.approx(150, abs=8)
    shown.page.evaluate("document.querySelector('video').currentTime = 0.12")
    shown.wait("document.querySelector('#place').textContent.startsWith('2 ')")
    shown.check()


def test_zoom_shows_pixel_by_pixel_what_is_under_the_pointer(shown: Shown, run: ls.Run) -> None:
    width, _ = size_of(run["plain"].folder / "sheets/2_shortcut.png")
    source = "plain/sheets/2_shortcut.png"
    fitted = shown.picture(source)["width"]
    shown.page.get_by_role("button", name="1:1").click()
    assert shown.picture(source)["width"] == width
    shown.press("z")
    assert shown.picture(source)["width"] == fitted
    shown.page.set_viewport_size({"width": 800, "height": 500})
    shown.wait("document.querySelector('.picture').clientWidth < value", min(fitted, width))
    before = shown.page.locator(".picture").bounding_box()
    shown.page.locator(".picture").click(position={"x": before["width"] * 0.5, "y": before["height"] * 0.75})
    assert shown.picture(source)["width"] == width
    after = shown.page.locator(".picture").bounding_box()
    pointer_y = before["y"] + before["height"] * 0.75
    assert (pointer_y - after["y"]) / after["height"] == pytest.approx(0.75, abs=0.01)


def test_keys_open_the_help_find_layers_and_move_in_the_list_that_has_the_focus(shown: Shown) -> None:
    shown.press("?")
    assert shown.page.get_by_role("dialog", name="Keys").is_visible()
    shown.press("j", "Escape")
    assert not shown.page.locator("#help").is_visible()
    assert shown.chosen("#layers") == "2_shortcut"
    shown.press("/")
    assert shown.page.evaluate("document.activeElement.getAttribute('aria-label')") == "Search frames"
    shown.press("1", "Escape")
    assert shown.text("#frames h2 span") == "0 of 5"
    shown.page.locator("#table").focus()
    shown.press("ArrowDown", "ArrowDown")
    assert shown.page.locator("#rows [aria-selected=true]").get_attribute("id") == "channel-1"


@pytest.mark.parametrize("width", [360, 800, 1100, 1440])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_fits_any_window_and_every_control_has_a_name(
    browser: Any, run: ls.Run, width: int, scheme: str
) -> None:
    size = {"width": width, "height": 800}
    shown = Shown(browser, run.folder / "index.html", "#channel=0", viewport=size, color_scheme=scheme)
    assert shown.page.evaluate("document.documentElement.scrollWidth") <= width
    nameless = (
        "[...document.querySelectorAll('button, input, [tabindex]')].filter(e => !(e.ariaLabel || e.innerText.trim()))"
    )
    assert shown.page.evaluate(f"{nameless}.map(e => e.outerHTML)") == []
    ground, ink = shown.page.evaluate(
        "[...'ab'].map((_, i) => getComputedStyle(document.querySelector('main'))[['backgroundColor', 'color'][i]])"
    )
    levels = [sum(map(int, colour[4:-1].split(","))) / 765 for colour in (ground, ink)]
    assert (levels[0] > 0.9 and levels[1] < 0.2) if scheme == "light" else (levels[0] < 0.2 and levels[1] > 0.8)
    shown.check()
