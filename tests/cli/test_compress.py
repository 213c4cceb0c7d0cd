"""``fourfold compress`` and ``decompress``."""

import json
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import fourfold as ff
from fourfold.cli import main
from fourfold.runs import Run

SMALL = ["--hidden", "8", "--latent", "2", "--epochs", "1", "--quiet", "--no-report"]


@pytest.fixture(scope="module")
def grey(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with a likelihood over 256 levels; not to be changed."""
    folder = tmp_path_factory.mktemp("grey") / "run"
    assert main(["train", "vae", "--likelihood", "discretised_logistic", "--out", str(folder), *SMALL]) == 0
    return folder


@pytest.fixture
def digits(tmp_path: Path) -> Path:
    """20 grey digits and their labels."""
    test = ff.data.digits().test
    np.savez(tmp_path / "digits.npz", x=test.x[:20, 0], y=test.labels[:20])
    return tmp_path / "digits.npz"


def equal(one: Path, other: Path) -> bool:
    with np.load(one) as a, np.load(other) as b:
        return a.files == b.files and all(
            a[key].dtype == b[key].dtype and np.array_equal(a[key], b[key]) for key in a.files
        )


def numbers(said: str) -> dict[str, tuple[int, float]]:
    """Bytes and bits/dim of the rows that have both, by name and how."""
    found = {}
    for line in said.splitlines()[2:]:
        cells = [cell.strip() for cell in line.split("  ") if cell.strip()]
        if len(cells) == 4:
            found[f"{cells[0]}, {cells[3]}"] = int(cells[1].replace(",", "")), float(cells[2])
    return found


def test_there_and_back(grey: Path, digits: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    out, back = tmp_path / "new" / "digits.ff", tmp_path / "back.npz"
    assert main(["compress", str(grey), str(digits), str(out)]) == 0
    said = capsys.readouterr().out
    assert f"{out}: 20 images of 1 × 8 × 8 from an .npz file; model run (vae, last checkpoint) of digest" in said
    rows = numbers(said)
    assert rows["fourfold, the whole file"] == (out.stat().st_size, round(out.stat().st_size / 160, 4))
    assert rows["raw, 8 bits a value"] == (1280, 8.0)
    names = ["gzip -9, one file", "bz2 -9, one file", "xz -9e, one file", "PNG, a file each", "PNG, strips"]
    assert {*names, "WebP lossless, a file each", "WebP lossless, strips"} < set(rows)
    assert "−ELBO, quantised" in said
    assert main(["decompress", str(out), "--run", str(grey), "--out", str(back)]) == 0
    assert "exactly as compressed" in capsys.readouterr().out
    assert equal(digits, back)


def test_json_is_one_document_of_rows_with_their_protocol(
    grey: Path, digits: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    out = tmp_path / "digits.ff"
    assert main(["compress", str(grey), str(digits), str(out), "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["size"] == out.stat().st_size
    assert document["bits_per_dim"] > document["coded_bits_per_dim"] > document["bound_bits_per_dim"] > 1
    assert document["coded_bits_per_dim"] - document["initial_bits_per_dim"] < 1.05 * document["bound_bits_per_dim"]
    rows = {(row["metric"], row["estimator"].split(",")[0]): row for row in document["rows"]}
    assert (
        rows["bits_per_dim_file", "gzip -9"]["value"] == rows["bits_per_dim_file", "gzip -9"]["protocol"]["bytes"] / 160
    )
    assert all(row["n"] == 20 and row["protocol"]["recipe"] == "vae" for row in document["rows"])
    assert main(["decompress", str(out), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["header"] == document["header"] and told["bits_per_dim"] == document["bits_per_dim"]


def test_the_bound_is_the_evaluated_one(grey: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """On the run's own test data: what the code aims at is the −ELBO of evaluate, up to one draw's noise."""
    assert main(["compress", str(grey), str(tmp_path / "a.ff"), "--json", "--no-baselines"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert len(document["rows"]) == 3 and document["header"]["n"] == 179
    row = next(r for r in Run.open(grey).evaluate(save=False, draws=5).rows if r.metric == "bits_per_dim")
    assert document["bound_bits_per_dim"] == pytest.approx(row.value, rel=0.01)
    assert main(["decompress", str(tmp_path / "a.ff"), "--run", str(grey), "--out", str(tmp_path / "b.npz")]) == 0
    with np.load(tmp_path / "b.npz") as back:
        np.testing.assert_array_equal(back["x"], ff.data.digits().test.x)


def test_a_folder_of_pictures(grey: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    for i, pixels in enumerate(ff.data.digits().test.x[:7, 0]):
        path = tmp_path / "mine" / str(i % 2) / f"photo {i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(path)
    words = [str(tmp_path / "mine.ff"), "--run", str(grey), "--out", str(tmp_path / "back")]
    assert main(["compress", str(grey), str(tmp_path / "mine"), str(tmp_path / "mine.ff"), "-q"]) == 0
    assert main(["decompress", *words, "-q"]) == 0
    files = [sorted(p.relative_to(top) for p in top.rglob("*.png")) for top in (tmp_path / "mine", tmp_path / "back")]
    assert files[0] == files[1] and len(files[0]) == 7
    for name in files[0]:
        with Image.open(tmp_path / "mine" / name) as one, Image.open(tmp_path / "back" / name) as other:
            assert one.mode == other.mode and one.tobytes() == other.tobytes()
    capsys.readouterr()
    assert main(["decompress", *words, "-q"]) == 2
    assert "exists already" in capsys.readouterr().err


@pytest.mark.slow
def test_frey_faces(shared_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("FOURFOLD_DATA", str(shared_data))
    run, out, back = str(tmp_path / "run"), str(tmp_path / "faces.ff"), tmp_path / "faces.npz"
    words = ["--likelihood", "discretised_logistic", "--data", "freyfaces", "--out", run]
    assert main(["train", "vae", *words, *SMALL]) == 0
    assert main(["compress", run, out, "--no-baselines"]) == 0
    assert main(["decompress", out, "--run", run, "--out", str(back)]) == 0
    with np.load(back) as found:
        np.testing.assert_array_equal(found["x"], ff.data.freyfaces(data_dir=shared_data).test.x)


def test_nothing_is_binarised(run: Path, digits: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """Grey images are refused by a Bernoulli, also where it was trained on binarised ones; binary files are coded."""
    for source in ([str(digits)], []):
        assert main(["compress", str(run), *source, str(tmp_path / "a.ff")]) == 2
        said = capsys.readouterr().err
        assert "over 0 and 1, got grey values in row 0. Nothing is binarised here" in said
    assert not (tmp_path / "a.ff").exists()
    opened = Run.open(run)
    x = np.concatenate([batch.x.numpy() for batch in opened.batches(opened.split("test"))()]).astype(np.uint8)
    np.save(tmp_path / "bits.npy", x)
    assert main(["compress", str(run), str(tmp_path / "bits.npy"), str(tmp_path / "a.ff"), "-q"]) == 0
    rows = numbers(capsys.readouterr().out)
    assert rows["raw, 1 bit a value"] == (x.size // 8, 1.0) and "gzip -9, one file, 1 bit a value" in rows
    assert main(["decompress", str(tmp_path / "a.ff"), "--run", str(run), "--out", str(tmp_path / "b.npy")]) == 0
    assert (tmp_path / "b.npy").read_bytes() == (tmp_path / "bits.npy").read_bytes()


def test_a_conditional_model_is_told_the_labels(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    run, test = str(tmp_path / "run"), ff.data.digits().test
    assert main(["train", "cvae", "--likelihood", "discretised_logistic", "--out", run, *SMALL]) == 0
    assert main(["compress", run, str(tmp_path / "a.ff"), "--no-baselines"]) == 0
    assert main(["decompress", str(tmp_path / "a.ff"), "--run", run, "--out", str(tmp_path / "b.npz")]) == 0
    with np.load(tmp_path / "b.npz") as back:
        np.testing.assert_array_equal(back["x"], test.x)
        np.testing.assert_array_equal(back["labels"], test.labels)
    np.save(tmp_path / "x.npy", test.x)
    capsys.readouterr()
    assert main(["compress", run, str(tmp_path / "x.npy"), str(tmp_path / "c.ff")]) == 2
    assert "conditioned on a label, and there are none" in capsys.readouterr().err


def test_a_model_of_parts_of_images_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    run = str(tmp_path / "run")
    assert main(["train", "structured_cvae", "--observed", "2", "--out", run, *SMALL]) == 0
    assert main(["compress", run, str(tmp_path / "a.ff")]) == 2
    assert "predicts a part of an image from the rest" in capsys.readouterr().err


def test_a_file_says_what_is_in_it_and_finds_its_run(
    grey: Path, digits: Path, here: Path, capsys: pytest.CaptureFixture[str]
):
    shutil.copytree(grey, here / "runs" / "mine")
    assert main(["compress", "runs/mine", str(digits), "a.ff", "--no-baselines"]) == 0
    capsys.readouterr()
    assert main(["decompress", "a.ff"]) == 0
    said = capsys.readouterr().out
    digest = ff.compression.model_digest(ff.load(grey))
    for words in (
        "20 images of 1 × 8 × 8 from an .npz file",
        "runs/mine (vae, last checkpoint)",
        digest,
        "constriction",
    ):
        assert words in said
    assert "fourfold decompress a.ff --run runs/mine --out images.npz" in said
    assert main(["decompress", "a.ff", "--out", "images.npz"]) == 0
    assert equal(digits, here / "images.npz")
    shutil.rmtree(here / "runs")
    assert main(["decompress", "a.ff"]) == 0
    capsys.readouterr()
    assert main(["decompress", "a.ff", "--out", "again.npz"]) == 2
    assert f"of digest {digest}, which is not there. Give --run RUN" in capsys.readouterr().err


def test_no_path_of_the_machine_is_told(grey: Path, digits: Path, tmp_path: Path):
    assert main(["compress", str(grey), str(digits), str(tmp_path / "a.ff"), "-q", "--no-baselines"]) == 0
    data = (tmp_path / "a.ff").read_bytes()
    assert str(tmp_path).encode() not in data and str(grey.parent).encode() not in data
    assert b'"run":"run"' in data


def test_the_checkpoint_is_kept_in_mind(tmp_path: Path):
    """A file coded with the best checkpoint is decoded with it, also where the last one is the default."""
    words = ["--likelihood", "discretised_logistic", "--patience", "0", "--hidden", "8", "--latent", "2"]
    folder = str(tmp_path / "two")
    assert main(["train", "vae", *words, "--epochs", "2", "-q", "--no-report", "--out", folder]) == 0
    last = tmp_path / "two" / "checkpoints" / "last.safetensors"
    before = last.read_bytes()
    assert main(["train", "--resume", folder, "--epochs", "3", "-q"]) == 0
    last.with_name("best.safetensors").write_bytes(before)
    digests = {ff.compression.model_digest(ff.load(folder, checkpoint=which)) for which in ("last", "best")}
    assert len(digests) == 2
    out = str(tmp_path / "a.ff")
    assert main(["compress", folder, out, "--checkpoint", "best", "--no-baselines"]) == 0
    assert main(["decompress", out, "--run", folder, "--out", str(tmp_path / "b.npz")]) == 0
    assert main(["decompress", out, "--run", folder, "--out", str(tmp_path / "c.npz"), "--checkpoint", "last"]) == 2


@pytest.mark.parametrize(
    ("words", "saying"),
    [
        (["compress", "RUN", "a.npz"], "wanted a name that ends in .ff, got 'a.npz'"),
        (["compress", "RUN", "a.npz", "b.npz", "c.ff"], "got 4 names"),
        (["compress", "RUN", "a.npz", "c.ff", "--split", "train"], "two things"),
        (["compress", "RUN", "none.npz", "c.ff"], "there is no file or folder none.npz"),
        (["compress", "RUN", "c.ff", "--data", "some.npz"], "wanted known data"),
        (["compress", "nowhere", "c.ff"], "not a run folder"),
        (["decompress", "none.ff"], "none.ff"),
        (["decompress", "RUN"], "RUN"),
    ],
)
def test_wrong_words_are_refused(
    words: list[str], saying: str, grey: Path, here: Path, capsys: pytest.CaptureFixture[str]
):
    shutil.copytree(grey, here / "RUN")
    assert main(words) == 2
    assert saying in capsys.readouterr().err
    assert [path.name for path in here.iterdir()] == ["RUN"]


def test_an_interrupted_command_leaves_nothing(
    grey: Path, tmp_path: Path, program: Callable, capsys: pytest.CaptureFixture[str]
):
    x = np.resize(ff.data.digits().train.x, (20_000, 1, 8, 8))
    np.save(tmp_path / "many.npy", x)
    process = program("compress", str(grey), str(tmp_path / "many.npy"), str(tmp_path / "a.ff"), "-q")
    part = tmp_path / "a.ff.part"
    while not part.exists():
        assert process.poll() is None, process.communicate()
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    said = process.communicate(timeout=60)
    assert process.returncode == 130 and "Traceback" not in said[1]
    assert [path.name for path in tmp_path.iterdir()] == ["many.npy"]
