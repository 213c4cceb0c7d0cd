"""The report holds all it shows, escapes what it is told, and puts the right numbers first."""

import re
from base64 import b64decode
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fourfold import pictures
from fourfold.runs.report import Picture, Report, ways_back, write_report

pytestmark = pytest.mark.usefixtures("unchecked")

VOID = {"meta", "img", "br", "link"}


class Page(HTMLParser):
    """Tags with their attributes, the text, and whether every tag is closed in its place."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.text = ""
        self.feed(html)
        self.close()
        assert not self.open, f"never closed: {self.open}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += f" {data}"

    def all(self, tag: str) -> list[dict[str, str | None]]:
        """The attributes of every such tag."""
        return [attributes for name, attributes in self.tags if name == tag]


def result(metric: str, value: Any, error: float | None = None, **more: Any) -> dict[str, Any]:
    """An entry of results.json."""
    protocol = {"dataset": "digits", "split": "random", "data_part": "test", "binarize": "dynamic", "seed": 0}
    entry = {"metric": metric, "value": value, "unit": "nats", "standard_error": error, "estimator": "1 draw", "n": 500}
    return {**entry, "protocol": protocol, "non_finite": 0, **more}


def written(folder: Path, **parts: Any) -> tuple[str, Page]:
    """The page that a report becomes, as text and read by a strict reader."""
    path = write_report(folder, Report(**{"title": "vae on digits", "facts": {}, **parts}))
    assert path == folder / "report.html"
    html = path.read_text(encoding="utf-8")
    return html, Page(html)


@pytest.fixture
def drawn(tmp_path: Path) -> list[Picture]:
    """Two pictures in a folder."""
    files = [tmp_path / "pictures" / name for name in ("samples.png", "kl.png")]
    pictures.save(pictures.grid(np.zeros((2, 1, 4, 4))), files[0])
    pictures.save(pictures.kl_bars([1.0, 0.5]), files[1])
    return [Picture("Samples", files[0], "Drawn from the prior."), Picture("KL of each latent", files[1])]


def test_nothing_is_asked_of_any_network(tmp_path: Path, drawn: list[Picture]):
    html, page = written(
        tmp_path,
        facts={"source": "see http://example.org/paper"},
        results=[result("elbo", -98.1, 0.2)],
        pictures=drawn,
        configuration={"Data": {"source": "https://example.org/data.gz"}},
        commands=ways_back(tmp_path),
    )
    for tag, attributes in page.tags:
        assert tag not in {"script", "link", "iframe", "object", "embed", "base", "form"}
        for name, value in attributes.items():
            assert not name.startswith("on")
            if name in {"src", "href", "srcset", "action", "data", "poster"}:
                assert value is not None and value.startswith(("#", "data:image/png;base64,"))
    style = re.search(r"<style>(.*?)</style>", html, re.DOTALL)
    assert style and "url(" not in style[1] and "@import" not in style[1]
    assert "default-src 'none'" in str(page.all("meta"))
    assert "see http://example.org/paper" in page.text


def test_every_picture_is_in_the_page_whole_and_in_order(tmp_path: Path, drawn: list[Picture]):
    _, page = written(tmp_path, pictures=drawn)
    images = page.all("img")
    assert len(images) == 2
    for picture, image in zip(drawn, images, strict=True):
        data = b64decode(str(image["src"]).partition(",")[2], validate=True)
        assert data == picture.file.read_bytes()
    assert [image["alt"] for image in images] == ["Drawn from the prior.", "KL of each latent"]
    assert images[1]["width"] == "660"
    assert page.text.index("Samples") < page.text.index("KL of each latent")


def test_what_it_is_told_is_never_markup(tmp_path: Path, drawn: list[Picture]):
    nasty = '<script>alert("1")</script>&\''
    html, page = written(
        tmp_path,
        title=nasty,
        facts={nasty: nasty},
        results=[
            result(nasty, 1.0, label=nasty, unit=nasty, estimator=nasty, protocol={nasty: nasty, "dataset": nasty})
        ],
        pictures=[Picture(nasty, drawn[0].file, nasty)],
        configuration={nasty: {nasty: {nasty: [nasty, {nasty: nasty}]}}},
        commands=[(nasty, nasty)],
    )
    assert "<script" not in html and "alert(&quot;1&quot;)" in html
    assert page.text.count(nasty) >= 12
    assert page.all("img")[0]["alt"] == nasty
    assert not page.all("script")


def test_the_numbers_one_asks_for_come_first(tmp_path: Path):
    trained = {"data_part": "train"}
    given = [
        result("elbo", -98.1312, 0.2134),
        result("elbo", -90.0, 0.1, protocol=trained),
        result("rate", 25.4, 0.0412),
        result("nll_is", 92.214, 0.64, estimator="importance sampling, K = 5000"),
        result("bits_per_dim", 0.18, 0.01, unit="bits/dim"),
        result("bits_per_dim_is", 0.1697, 0.0012, unit="bits/dim"),
    ]
    html, page = written(tmp_path, results=given)
    cards = [re.sub(r"<[^>]+>", " ", card).split() for card in re.findall(r'<div class="card">(.*?)</div>', html)]
    assert [card[:4] for card in cards] == [
        ["−ELBO", "98.13", "±", "0.21"],
        ["NLL", "(IS)", "92.21", "±"],
        ["bits/dim", "(IS)", "0.1697", "±"],
    ]
    assert "K = 5000" in page.text and "25.400" in page.text and "90.00" in page.text


def test_a_model_without_a_bound_shows_what_it_has(tmp_path: Path):
    html, _ = written(tmp_path, results=[result("distortion", 70.0, 0.5), result("reconstruction_mse", 0.01, None)])
    assert re.findall(r'<div class="card"><h3>(.*?)</h3>', html) == ["distortion", "reconstruction error"]
    html, page = written(tmp_path)
    assert "Not evaluated yet." in page.text and "Full protocol" not in html


def test_a_value_that_is_not_finite_says_so(tmp_path: Path):
    _, page = written(tmp_path, results=[result("elbo", "-inf", None, non_finite=3)])
    assert "not finite" in page.text and "3 of them not finite" in page.text


def test_the_protocol_is_told_whole_and_what_is_shared_once(tmp_path: Path):
    given = [result("elbo", -98.1, 0.2), result("rate", 25.0, 0.1)]
    given[1]["protocol"] = {**given[1]["protocol"], "seed": 7}
    _, page = written(tmp_path, results=given)
    assert "digits, test, split random, dynamic binarisation" in page.text
    details = page.text[page.text.index("Full protocol") :]
    assert details.count("random") == 1
    assert re.findall(r"seed\s+(\d)", details) == ["0", "7"]


def test_the_configuration_is_readable(tmp_path: Path):
    table = {"hidden": [300, 200], "ema": None, "clip": True, "n": 60000, "lr": 0.001, "args": {"latent": 20}}
    _, page = written(tmp_path, configuration={"Training": table, "Nothing": {}})
    said = " ".join(page.text.split())
    for words in ("hidden 300, 200", "ema –", "clip yes", "n 60,000", "lr 0.001", "args latent 20"):
        assert words in said
    assert "Nothing" not in said


def test_the_way_back_names_no_place_on_this_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    inside = ways_back(tmp_path / "runs" / "my run")
    assert inside[0][1].startswith("fourfold evaluate 'runs/my run'")
    assert inside[-1][1] == "model = fourfold.load('runs/my run')"
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    outside = ways_back(tmp_path / "runs" / "vae-1")
    assert all(str(tmp_path) not in typed and "vae-1" in typed for _, typed in outside)


def test_a_report_that_cannot_be_written_leaves_the_old_one(tmp_path: Path, drawn: list[Picture]):
    write_report(tmp_path, Report("first", {}))
    before = {path: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()}
    false = tmp_path / "pictures" / "false.png"
    false.write_bytes(b"GIF89a")
    with pytest.raises(ValueError, match=r"the picture false\.png must be a PNG"):
        write_report(tmp_path, Report("second", {}, pictures=[drawn[0], Picture("False", false)]))
    with pytest.raises(FileNotFoundError):
        write_report(tmp_path, Report("second", {}, pictures=[Picture("Missing", tmp_path / "none.png")]))
    assert {path: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()} == before


def test_a_disk_that_fails_leaves_no_part_of_a_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def full(source: Path, target: Path) -> None:
        raise OSError("No space left on device")

    monkeypatch.setattr("fourfold._files.os.replace", full)
    with pytest.raises(OSError, match="No space left"):
        write_report(tmp_path, Report("title", {}))
    assert not list(tmp_path.iterdir())
