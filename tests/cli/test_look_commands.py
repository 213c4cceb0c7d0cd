"""``fourfold sample``, ``reconstruct``, ``traverse`` and ``report``."""

from pathlib import Path

import numpy as np
import pytest

from fourfold import pictures
from fourfold.cli import main
from fourfold.runs import Run

PNG = b"\x89PNG"


def is_picture(path: str | Path) -> bool:
    return Path(path).read_bytes()[:4] == PNG


@pytest.mark.parametrize(
    ("words", "name"),
    [
        (["sample", "-n", "4"], "samples.png"),
        (["reconstruct", "-n", "3", "--split", "validation"], "reconstructions.png"),
        (["traverse", "--index", "2"], "traversal.png"),
    ],
)
def test_a_picture_goes_into_the_run_or_where_it_is_said(
    words: list[str], name: str, run: Path, tmp_path: Path, capsys: pytest.CaptureFixture
):
    assert main([words[0], str(run), *words[1:]]) == 0
    assert capsys.readouterr().out == f"{run / 'pictures' / name}\n"
    assert is_picture(run / "pictures" / name)
    assert main([words[0], str(run), *words[1:], "--out", str(tmp_path / "pictures" / "my.png")]) == 0
    assert is_picture(tmp_path / "pictures/my.png")


def test_samples_as_an_array_depend_on_the_seed_alone(run: Path, tmp_path: Path):
    found = []
    for seed in ("0", "0", "1"):
        out = tmp_path / "x.npz"
        assert main(["sample", str(run), "-n", "5", "--seed", seed, "--out", str(out)]) == 0
        with np.load(out) as arrays:
            assert list(arrays) == ["x"]
            found.append(arrays["x"])
    assert found[0].shape == (5, 1, 8, 8) and found[0].min() >= 0 and found[0].max() <= 1
    assert np.array_equal(found[0], found[1]) and not np.array_equal(found[0], found[2])


def test_draws_are_of_the_kind_that_data_are(run: Path, tmp_path: Path):
    out = tmp_path / "x.npz"
    assert main(["sample", str(run), "-n", "5", "--draw", "--out", str(out)]) == 0
    with np.load(out) as arrays:
        assert set(np.unique(arrays["x"])) == {0.0, 1.0}


def test_a_label_is_what_a_conditional_model_draws(tmp_path: Path):
    folder, out = tmp_path / "run", tmp_path / "x.npz"
    words = ["--hidden", "16", "--latent", "2", "--epochs", "4", "--lr", "1e-2", "-q", "--no-report"]
    assert main(["train", "cvae", *words, "--out", str(folder)]) == 0
    assert main(["sample", str(folder), "--label", "0", "-n", "200", "--out", str(out)]) == 0
    with np.load(out) as arrays:
        drawn = arrays["x"].mean(0)
    rows = Run.open(folder).split("train")
    means = [rows.x[rows.labels == label].mean(0) / 255 for label in range(10)]
    distances = [float(((drawn - mean) ** 2).sum()) for mean in means]
    assert int(np.argmin(distances)) == 0


@pytest.mark.filterwarnings("always::UserWarning")
def test_an_autoencoder_is_not_sampled_without_a_word(
    tmp_path: Path, run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
):
    folder, titles = tmp_path / "ae", []
    drawn = pictures.grid
    monkeypatch.setattr(pictures, "grid", lambda x, title: titles.append(title) or drawn(x, title=title))
    assert (
        main(["train", "sparse_ae", "--latent", "2", "--epochs", "1", "-q", "--no-report", "--out", str(folder)]) == 0
    )
    for out in ("x.npz", "x.png"):
        assert main(["sample", str(folder), "-n", "2", "--out", str(tmp_path / out)]) == 0
        said = capsys.readouterr().err
        assert "an autoencoder has no prior that its latents follow" in said and "train a vae" in said
    assert main(["sample", str(run), "-n", "2"]) == 0
    assert capsys.readouterr().err == ""
    means = "means of p(x|z), z from the prior"
    assert titles == [f"Not trained with this prior: {means}", f"Samples: {means}"]
    Run.open(folder).report()
    assert "never held to the prior" in (folder / "report.html").read_text()


def test_other_data_can_be_reconstructed(run: Path, tmp_path: Path):
    np.save(tmp_path / "my.npy", np.full((4, 8, 8), 200, np.uint8))
    assert main(["reconstruct", str(run), "--data", str(tmp_path / "my.npy"), "-n", "2"]) == 0
    assert is_picture(run / "pictures/reconstructions.png")


def test_the_report_holds_results_and_pictures(run: Path, capsys: pytest.CaptureFixture):
    assert main(["evaluate", str(run)]) == 0
    said = capsys.readouterr().out
    assert f"report: {run / 'report.html'}" in said
    first = (run / "report.html").read_text()
    assert "ELBO" in first and first.count("data:image/png;base64,") >= 4
    assert main(["report", str(run)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[-1] == str(run / "report.html") and all(is_picture(line) for line in lines[:-1])


def test_train_ends_with_pictures_and_a_report(tmp_path: Path, capsys: pytest.CaptureFixture):
    folder = tmp_path / "run"
    assert main(["train", "vae", "--hidden", "8", "--latent", "2", "--epochs", "1", "--out", str(folder)]) == 0
    said = capsys.readouterr().out
    assert f"report           {folder / 'report.html'}" in said and f"pictures         {folder / 'pictures'}" in said
    assert (folder / "report.html").is_file() and is_picture(folder / "pictures/samples.png")
