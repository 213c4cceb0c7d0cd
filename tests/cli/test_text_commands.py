"""The commands on sentences: text in, text out."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from fourfold.cli import main
from fourfold.models import Model

LINES = [f"{who} {did} the {what} ." for who in ("a", "b", "c c") for did in ("saw", "ate") for what in ("dog", "tree")]
SMALL = ["--embedding", "4", "--hidden", "6", "--epochs", "1", "--batch-size", "8", "--quiet", "--no-report"]


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("text") / "mine.txt"
    path.write_text("\n".join(LINES * 4))
    return path


@pytest.fixture(scope="module")
def finished(text: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "vae"
    assert main(["train", "sentence_vae", "--data", str(text), "--latent", "2", "--out", str(folder), *SMALL]) == 0
    return folder


@pytest.fixture
def sentences(finished: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(finished, tmp_path / "vae"))


def test_samples_and_reconstructions_are_text(sentences: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    assert main(["sample", str(sentences), "-n", "3"]) == 0
    drawn = capsys.readouterr().out.splitlines()
    assert len(drawn) == 3
    assert main(["sample", str(sentences), "-n", "3", "--out", str(tmp_path / "s.txt")]) == 0
    assert (tmp_path / "s.txt").read_text().splitlines() == drawn
    assert main(["sample", str(sentences), "-n", "3", "--out", str(tmp_path / "s.npz")]) == 0
    assert np.load(tmp_path / "s.npz")["x"].shape == (3, 7)
    capsys.readouterr()
    assert main(["reconstruct", str(sentences), "-n", "2", "--split", "validation"]) == 0
    said = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in said] == ["data", "model"] * 2 and said[0].removeprefix("data   ") in LINES


def test_the_temperature_of_sentences_is_of_their_latents(sentences: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given, plain = [], Model.sample

    def kept(self: Model, *words: object, **more: object) -> object:
        given.append(more["temperature"])
        return plain(self, *words, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(Model, "sample", kept)
    assert main(["sample", str(sentences), "-n", "2", "--temperature", "0.5"]) == 0
    assert given == [0.5]


def test_a_model_without_latents_has_no_temperature(text: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    folder = tmp_path / "lm"
    assert main(["train", "rnn_lm", "--data", str(text), "--out", str(folder), *SMALL]) == 0
    assert main(["sample", str(folder), "-n", "2", "--temperature", "1"]) == 0
    for out in ([], ["--out", str(tmp_path / "x.npz")]):
        assert main(["sample", str(folder), "-n", "2", "--temperature", "0.5", *out]) == 2
        assert "temperature: this model has no latents" in capsys.readouterr().err


def test_numbers_of_sentences(sentences: Path, text: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    assert main(["evaluate", str(sentences), "--importance-samples", "5", "--quiet"]) == 0
    said = capsys.readouterr().out
    assert "perplexity (−ELBO)" in said and "perplexity (IS)" in said and "nats/token" in said and "bits" not in said
    assert main(["results", str(sentences)]) == 0
    assert "perplexity (IS)" in capsys.readouterr().out
    assert main(["encode", str(sentences), "--out", str(tmp_path / "z.npz")]) == 0
    assert np.load(tmp_path / "z.npz")["z"].shape == (4, 2)
    assert main(["score", str(sentences), "--data", str(text), "--out", str(tmp_path / "s.csv")]) == 0
    assert len((tmp_path / "s.csv").read_text().splitlines()) == 1 + len(LINES) * 4


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["traverse", "RUN"], "this run is of sentences, which make no picture"),
        (["sample", "RUN", "--out", "a.png"], "wanted a name that ends in .txt, got 'a.png'"),
        (["sample", "RUN", "--label", "1"], "not conditioned on a label"),
        (["sample", "RUN", "--draw"], "--draw: sentences are draws in any case"),
        (["sample", "RUN", "--temperature", "1,1"], "one for each of the 1 levels"),
        (["reconstruct", "RUN", "--keep-top", "1"], "--keep-top: nothing is drawn anew when sentences"),
        (["reconstruct", "RUN", "--keep-bottom", "1"], "--keep-bottom: nothing is drawn anew when sentences"),
        (["reconstruct", "RUN", "--draws", "2"], "--draws: nothing is drawn anew when sentences"),
        (["reconstruct", "RUN", "--temperature", "1"], "--temperature: nothing is drawn anew when sentences"),
        (["train", "rnn_lm", "--data", "TEXT", "--size", "8"], "size is of images, and this is text"),
        (["compress", "RUN", "a.ff"], "its model is of sentences, and only images are coded"),
        (["score", "RUN", "--data", "digits", "--out", "a.csv"], "this model takes sentences, and digits holds none"),
        (["train", "vae", "--data", "TEXT"], "Take sentence_vae or rnn_lm"),
        (["train", "rnn_lm", "--data", "digits"], "recipe rnn_lm needs sentences"),
        (["train", "rnn_lm", "--data", "TEXT", "--binarize", "static"], "holds words, not pixels"),
    ],
    ids=lambda value: value if isinstance(value, str) else value[0],
)
def test_what_sentences_are_not_for(
    words: list[str], said: str, sentences: Path, text: Path, here: Path, capsys: pytest.CaptureFixture
) -> None:
    places = {"RUN": str(sentences), "TEXT": str(text)}
    assert main([places.get(word, word) for word in words]) == 2
    error = capsys.readouterr().err
    assert said in error and error.count("\n") == 1
    assert not (here / "runs").exists()


def test_two_sample_tests_are_of_pictures_and_vectors(sentences: Path, capsys: pytest.CaptureFixture) -> None:
    assert main(["evaluate", str(sentences), "--two-sample", "4", "--no-report", "--quiet"]) == 0
    assert "numbers of words have no distances" in capsys.readouterr().out


def test_a_picture_of_images_has_no_text(run: Path, capsys: pytest.CaptureFixture) -> None:
    assert main(["sample", str(run), "--out", "a.txt"]) == 2
    assert "this run is of no sentences" in capsys.readouterr().err
