"""``fourfold evaluate``, ``encode`` and ``score``."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest

import fourfold as ff
from fourfold.cli import main
from fourfold.runs import Run


def test_evaluate_prints_a_table_and_keeps_the_rows(run: Path, capsys: pytest.CaptureFixture):
    assert main(["evaluate", str(run), "--no-report"]) == 0
    said = capsys.readouterr().out
    found = Run.open(run).evaluate(save=False)
    elbo = next(row for row in found.rows if row.metric == "elbo")
    assert "digits, random, test, binarize dynamic, seed 0" in said
    assert f"−ELBO             {-elbo.value:.2f} ±" in said and "n = 179" in said
    kept = json.loads((run / "results.json").read_text())
    assert [row["metric"] for row in kept] == [row.metric for row in found.rows]


def test_fewer_data_than_were_asked_for_are_told_in_a_line(run: Path, capsys: pytest.CaptureFixture):
    words = ["evaluate", str(run), "--no-report", "--two-sample", "1000"]
    assert main(words) == 0
    said = "two_sample: 1,000 data were asked for, there are 179: it is of those."
    assert f"note: {said}" in capsys.readouterr().out.splitlines()
    assert main([*words, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["remarks"] == [said]


def test_json_is_one_document_and_nothing_else(run: Path, capsys: pytest.CaptureFixture):
    words = ["--json", "--split", "validation", "--importance-samples", "3", "--importance-data", "20", "--draws", "2"]
    assert main(["evaluate", str(run), "--no-report", *words]) == 0
    document = json.loads(capsys.readouterr().out)
    rows = {row["metric"]: row for row in document["rows"]}
    assert rows["elbo"]["estimator"] == "2 draws, analytic KL" and rows["elbo"]["n"] == 179
    assert rows["nll_is"]["n"] == 20 and "K = 3" in rows["nll_is"]["estimator"]
    assert rows["elbo"]["protocol"]["data_part"] == "validation"
    assert len(document["kl_per_latent"][0]) == 2
    assert rows["rate"]["value"] == pytest.approx(sum(document["kl_per_latent"][0]), rel=1e-4)


def test_the_seed_and_the_checkpoint_can_be_chosen(run: Path, capsys: pytest.CaptureFixture):
    values = {}
    for words in (["--seed", "0"], ["--seed", "1"], ["--seed", "1", "--checkpoint", "best", "--device", "cpu"]):
        assert main(["evaluate", str(run), "--no-report", "--json", *words]) == 0
        row = json.loads(capsys.readouterr().out)["rows"][0]
        values[tuple(words)] = row["value"]
        assert row["protocol"]["seed"] == int(words[1])
        assert row["protocol"]["checkpoint"] == ("best" if "best" in words else "last")
    assert len(set(values.values())) >= 2


@pytest.fixture
def own_data(tmp_path: Path) -> Path:
    """The first 30 test digits, as a file."""
    test = ff.data.digits().test
    np.savez(tmp_path / "my.npz", x=test.x[:30], y=test.labels[:30])
    return tmp_path / "my.npz"


def test_evaluate_on_other_data_says_which(run: Path, own_data: Path, capsys: pytest.CaptureFixture):
    assert main(["evaluate", str(run), "--no-report", "--json", "--data", str(own_data)]) == 0
    row = json.loads(capsys.readouterr().out)["rows"][0]
    assert (row["n"], row["protocol"]["dataset"], row["protocol"]["split"]) == (30, "my", "all")
    assert main(["evaluate", str(run), "--no-report", "--json"]) == 0
    kept = json.loads((run / "results.json").read_text())
    assert {row["protocol"]["dataset"] for row in kept} == {"my", "digits"}


def test_encode_writes_the_posterior_means(run: Path, own_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture):
    out = tmp_path / "new" / "codes.npz"
    assert main(["encode", str(run), "--data", str(own_data), "--out", str(out)]) == 0
    assert "z (30, 2)" in capsys.readouterr().out
    with np.load(out) as arrays:
        assert set(arrays) == {"z", "labels"}
        opened = Run.open(run)
        data = ff.data.load(own_data, split="all")
        np.testing.assert_array_equal(arrays["z"], opened.encode(data.train)[0])
        np.testing.assert_array_equal(arrays["labels"], data.train.labels)
    assert list(out.parent.iterdir()) == [out]


def test_one_row_can_be_encoded_and_the_runs_own_rows_too(run: Path, tmp_path: Path):
    np.save(tmp_path / "one.npy", ff.data.digits().test.x[:1])
    for words, n in ((["--data", str(tmp_path / "one.npy")], 1), ([], 179), (["--split", "train"], 1439)):
        assert main(["encode", str(run), "--out", str(tmp_path / "z.npz"), *words]) == 0
        with np.load(tmp_path / "z.npz") as arrays:
            assert arrays["z"].shape == (n, 2)


def test_score_writes_a_line_for_every_datum(run: Path, own_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture):
    out = tmp_path / "scores.csv"
    words = ["--data", str(own_data), "--out", str(out), "--importance-samples", "4"]
    assert main(["score", str(run), *words]) == 0
    said = capsys.readouterr().out
    assert "lower bound on log p(x)" in said and "K = 4" in said
    with out.open() as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["row", "elbo [nats]", "distortion [nats]", "rate [nats]", "nll_is [nats]"]
    assert [row["row"] for row in rows] == [str(i) for i in range(30)]
    for row in rows:
        assert float(row["elbo [nats]"]) == pytest.approx(
            -float(row["distortion [nats]"]) - float(row["rate [nats]"]), rel=1e-5
        )
    wanted = Run.open(run).score(ff.data.load(own_data, split="all").train)["elbo"]
    np.testing.assert_allclose([float(row["elbo [nats]"]) for row in rows], wanted, rtol=1e-6)


def test_an_autoencoder_has_no_bound(tmp_path: Path, capsys: pytest.CaptureFixture):
    words = ["--hidden", "8", "--latent", "2", "--epochs", "0.2", "-q", "--no-report", "--out", str(tmp_path / "run")]
    assert main(["train", "autoencoder", *words]) == 0
    assert main(["score", str(tmp_path / "run"), "--out", str(tmp_path / "s.csv")]) == 0
    assert (tmp_path / "s.csv").read_text().startswith("row,distortion [nats]\n0,")
    said = capsys.readouterr().out
    assert "not computed: elbo" in said and "bound on" not in said.replace("no bound on", "")


def test_the_plain_monte_carlo_nll_can_be_asked_for(run: Path, own_data: Path, tmp_path: Path, capsys):
    assert main(["evaluate", str(run), "--no-report", "--json", "--prior-samples", "6", "--importance-data", "9"]) == 0
    row = next(row for row in json.loads(capsys.readouterr().out)["rows"] if row["metric"] == "nll_mc")
    assert row["n"] == 9 and "S = 6" in row["estimator"]
    out = tmp_path / "scores.csv"
    assert main(["score", str(run), "--data", str(own_data), "--out", str(out), "--prior-samples", "6"]) == 0
    assert out.read_text().splitlines()[0].endswith("rate [nats],nll_mc [nats]")


def test_a_score_that_is_no_number_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture):
    x = np.random.default_rng(0).normal(size=(40, 3)).astype(np.float32)
    np.save(tmp_path / "x.npy", x)
    words = ["--data", str(tmp_path / "x.npy"), "--out", str(tmp_path / "run"), "--hidden", "4", "--latent", "2", "-q"]
    assert main(["train", "vae", "--batch-size", "20", "--epochs", "1", "--no-report", *words]) == 0
    x[3] = 1e38
    np.save(tmp_path / "far.npy", x)
    words = ["score", str(tmp_path / "run"), "--data", str(tmp_path / "far.npy"), "--out", str(tmp_path / "s.csv")]
    assert main(words) != 0
    said = capsys.readouterr().err
    assert "row 3 is not a number" in said and "Scale the data" in said
    assert not (tmp_path / "s.csv").exists()
