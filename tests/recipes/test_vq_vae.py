"""The VQ-VAE as a recipe: trained in two stages, resumed, on two processes, looked at, measured; what it refuses."""

import json
import subprocess
import sys
from math import log
from pathlib import Path

import numpy as np
import pytest
import torch

import fourfold as ff
from fourfold.cli import main
from fourfold.data import DataSpec
from fourfold.evaluation import Annealing, CodeUse, ais, evidence, inference_gaps
from fourfold.models import VQVAE
from fourfold.networks import FiniteScalar
from fourfold.noise import Noise
from fourfold.objectives import ELBO
from fourfold.runs.diagnose import Diagnostics
from fourfold.runs.gallery import draw_traversal, samples
from fourfold.training import load_tensors

TINY = {"codes": 8, "dim": 4, "hidden": (8,), "places": (4, 4), "layers": 2, "filters": 8}
HOW = {"batch_size": 100, "lr": 1e-2, "quiet": True}
SPEC = DataSpec((1, 8, 8), 2, None)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> ff.Run:
    folder = tmp_path_factory.mktemp("runs") / "vq"
    return ff.fit(ff.recipes.vq_vae(**TINY), ff.data.digits(), epochs=12, out=folder, **HOW)


def test_the_learned_prior_is_worth_more_than_the_uniform_one(run: ff.Run) -> None:
    found = run.evaluate().per_datum
    uniform = 16 * log(8)
    assert found["elbo"].mean() > -64 * log(2)  # a coin for each pixel
    assert found["rate"].mean() < uniform - 3
    validated = [row for row in run.metrics if "validation/objective [nats]" in row]
    before = [row for row in run.metrics if "validation/codes/rate [nats]" in row]
    assert before and all(row["validation/codes/rate [nats]"] == pytest.approx(uniform, rel=1e-5) for row in before)
    assert validated[-1]["validation/rate [nats]"] < uniform - 3
    told = before[-1]
    assert told["train/codes/commitment weighted [nats]"] == pytest.approx(
        -0.25 * told["train/codes/commitment raw [squared units of z]"]
    )
    assert 1 < told["train/codes/code_perplexity raw [codes]"] <= 8
    assert 1 <= told["train/codes/codes_used raw [codes]"] <= 8


def test_in_the_second_stage_nothing_moves_but_the_prior(tmp_path: Path) -> None:
    whole = ff.fit(ff.recipes.vq_vae(**TINY, prior_share=0.5), ff.data.digits(), epochs=4, out=tmp_path / "a", **HOW)
    alone = ff.fit(ff.recipes.vq_vae(**TINY, prior="uniform"), ff.data.digits(), epochs=2, out=tmp_path / "b", **HOW)
    assert whole.stages[0][1] == alone.outcome.step
    one, other = dict(whole.model.state_dict()), dict(alone.model.state_dict())
    assert {name.split(".")[0] for name in one.keys() - other.keys()} == {"prior"}
    assert all(one[name].equal(other[name]) for name in other if not name.startswith("prior."))


def start(folder: Path, options: dict[str, object], die_at: int = 0) -> int:
    program = Path(__file__).parent.parent / "training" / "runner.py"
    command = [sys.executable, str(program), str(folder), str(die_at), json.dumps({"codes": True, **options})]
    return subprocess.run(command, capture_output=True, timeout=300).returncode


def numbers(folder: Path) -> tuple[dict[str, torch.Tensor], list[dict[str, float]]]:
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    tensors = load_tensors(folder / "checkpoints" / "last.safetensors")[0]
    return tensors, [{k: v for k, v in row.items() if k != "seconds"} for row in rows]


@pytest.mark.slow
@pytest.mark.parametrize("die_at", [12, 40], ids=["before the prior", "within it"])
def test_a_killed_run_goes_on_to_the_same_bits(die_at: int, tmp_path: Path) -> None:
    options = {"epochs": 3, "batch_size": 100, "log_steps": 5, "checkpoint_seconds": 0.0}
    assert start(tmp_path / "whole", options) == 0
    assert start(tmp_path / "killed", options, die_at) != 0
    assert start(tmp_path / "killed", options) == 0
    (tensors, rows), (again, more) = numbers(tmp_path / "whole"), numbers(tmp_path / "killed")
    assert tensors.keys() == again.keys() and rows == more
    assert all(tensors[name].equal(again[name]) for name in tensors)


@pytest.mark.slow
def test_two_processes_end_with_the_codebook_of_one(tmp_path: Path) -> None:
    """k-means, running means and revival: of the batch of both."""
    options = {"epochs": 2, "batch_size": 90, "log_steps": 5, "precision": "64"}
    assert start(tmp_path / "one", options) == 0
    assert start(tmp_path / "two", {**options, "devices": 2, "accelerator": "cpu"}) == 0
    (tensors, rows), (again, more) = numbers(tmp_path / "one"), numbers(tmp_path / "two")
    for name in tensors:
        torch.testing.assert_close(tensors[name], again[name], rtol=1e-6, atol=1e-8, msg=lambda m, n=name: f"{n}: {m}")
    trained = [key for key in rows[-1] if key.startswith("train/")]
    assert trained and rows[-1]["train/rate [nats]"] == pytest.approx(more[-1]["train/rate [nats]"], rel=1e-6)


def test_a_batch_in_pieces_is_refused_since_the_codebook_wants_it_whole(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"accumulate: VectorQuantiser picks vectors from the whole batch"):
        ff.fit(ff.recipes.vq_vae(**TINY), ff.data.digits(), epochs=1, out=tmp_path, accumulate=2, **HOW)


@pytest.mark.parametrize(
    "more",
    [
        {"quantiser": "fsq", "levels": (4, 3)},
        {"codebook": "loss"},
        {"network": "dense", "hidden": (16,), "places": (1, 5)},
        {"prior": "uniform", "likelihood": "discretised_logistic_mixture"},
    ],
    ids=lambda more: "-".join(map(str, more)),
)
def test_every_kind_is_trained(more: dict[str, object], tmp_path: Path) -> None:
    made = ff.fit(ff.recipes.vq_vae(**{**TINY, **more}), ff.data.digits(), epochs=2, out=tmp_path, **HOW)
    assert isinstance(made.model, VQVAE)
    found = made.evaluate().per_datum
    first = next(
        row for row in made.metrics if "validation/objective [nats]" in row or "validation/codes/elbo [nats]" in row
    )
    value = first.get("validation/elbo [nats]", first.get("validation/codes/elbo [nats]"))
    assert value is not None and found["elbo"].mean() > value
    assert made.model.encode(torch.zeros(3, 1, 8, 8))[0].shape == (3, 1, *(more.get("places") or (4, 4)))  # type: ignore[misc]
    assert isinstance(made.model.quantiser, FiniteScalar) == ("quantiser" in more)


def test_codes_come_out_as_whole_numbers_and_lead_back(run: ff.Run) -> None:
    (codes,) = run.encode(run.split("test"))
    assert codes.dtype == np.int64 and codes.shape[1:] == (1, 4, 4) and 0 <= codes.min() <= codes.max() < 8
    batch = next(run.batches(run.split("test"))())
    back = run.model.decode(torch.from_numpy(codes[: len(batch.x)]))
    torch.testing.assert_close(back, run.model.reconstruct(batch.x))


def test_what_does_not_fit_is_refused(unchecked: None) -> None:
    for more, said in (
        ({"quantiser": "lfq"}, "quantiser"),
        ({"prior": "normal"}, "prior"),
        ({"network": "residual"}, "network"),
        ({"places": (3, 3)}, "places: wanted .* image of 8 × 8: 8,8, 4,4, 2,2, 1,1; got 3,3"),
        ({"places": (4,)}, "wanted height,width"),
        ({"prior_share": 1.0}, "prior_share"),
        ({"prior_share": 0.0}, "prior_share"),
        ({"hidden": (8, 8)}, "layers of one width"),
    ):
        with pytest.raises(ValueError, match=said):
            ff.recipes.vq_vae(**{**TINY, **more}).build(SPEC)
    with pytest.raises(ValueError, match="needs images"):
        ff.recipes.vq_vae(**TINY).build(DataSpec((7,), None, None))


# What is made of a run.


def test_a_measured_run_tells_its_codes_and_what_the_prior_was_worth(run: ff.Run) -> None:
    found = run.evaluate(importance_samples=7, prior_samples=20, importance_data=50)
    rows = {row.metric: row for row in found.rows}
    uniform = 16 * log(8)
    assert rows["elbo_uniform"].value == pytest.approx(-rows["distortion"].value - uniform, rel=1e-6)
    assert rows["elbo"].value == pytest.approx(-rows["distortion"].value - rows["rate"].value, rel=1e-6)
    assert rows["elbo"].value > rows["elbo_uniform"].value and "log K a code" in rows["elbo_uniform"].estimator
    assert rows["rate"].estimator == "1 draw, analytic KL"
    np.testing.assert_allclose(found.per_datum["nll_is"], -found.per_datum["elbo"][:50], rtol=1e-6)
    assert "the one z of a one-hot q(z|x)" in rows["nll_is"].estimator
    assert rows["nll_mc"].value > 0 and not found.active and "active_units" not in rows
    (codes,) = run.encode(run.split("test"))
    share = np.bincount(codes.ravel(), minlength=8) / codes.size
    assert rows["code_perplexity"].value == pytest.approx(np.exp(-(share[share > 0] * np.log(share[share > 0])).sum()))
    assert rows["codes_used"].value == (share > 0).sum() and rows["code_perplexity"].unit == "codes"
    assert rows["code_perplexity"].estimator == "of K = 8, over 16 places a datum"


def test_a_collapsed_codebook_is_remarked_on() -> None:
    assert "2.0 of 8" in str(CodeUse(np.array([2, 2, 0, 0, 0, 0, 0, 0]), 2, 2).remark)
    assert CodeUse(np.array([1, 1, 1, 1, 0, 0, 0, 0]), 4, 1).remark is None


def test_codes_are_counted_over_batches_and_places(run: ff.Run) -> None:
    rows = run.split("test")
    batches = list(run.batches(rows, size=50)())
    codes = np.concatenate([run.model.encode(batch.x)[0].numpy() for batch in batches])
    (use,) = CodeUse.of(run.model, batches)
    np.testing.assert_array_equal(use.counts, np.bincount(codes.ravel(), minlength=8))
    assert (use.places, use.n, use.size) == (16, len(rows.x), 8)
    plain = ff.recipes.vae(latent=2, hidden=(4,)).build(run.dataset().spec).model.eval()
    assert CodeUse.of(plain, run.batches(rows)()) == ()


def test_pictures_and_the_page_show_the_codebook(run: ff.Run) -> None:
    page = Path(run.report()).read_text()
    assert "Codebook" in page and (run.folder.pictures() / "codes.png").exists() and "Traversals" not in page
    images, title = samples(run, 4)
    assert images.shape == (4, 1, 8, 8) and title == "Samples: means of p(x|z), z from the prior"
    with pytest.raises(ValueError, match="traverse: the latents of this model are codes"):
        draw_traversal(run)


def test_no_command_walks_between_codes(run: ff.Run, capsys: pytest.CaptureFixture) -> None:
    for words in (["traverse"], ["traverse", "--level", "1", "--channels"], ["interpolate"]):
        assert main([words[0], str(run.path), *words[1:]]) == 2
        assert f"{words[0]}: the latents of this model are codes" in capsys.readouterr().err


def test_what_needs_latents_that_move_is_refused_with_the_reason(run: ff.Run, unchecked: None) -> None:
    batches = list(run.batches(run.split("test"), size=8)())[:1]
    for start in ("prior", "encoder"):
        with pytest.raises(ValueError, match="a latent of this model is discrete"):
            ais(run.model, batches[0], Noise(0), Annealing(temperatures=5, chains=2, start=start))
    with pytest.raises(ValueError, match="the latents of this model are codes"):
        inference_gaps(run.model, batches, Noise(0))
    found = evidence(run.model, lambda: iter(batches), Noise(0))
    assert "latents are codes" in found.notes[0] and {row.metric for row in found.rows} == {"elbo", "nll_is"}
    assert len({round(abs(row.value), 4) for row in found.rows}) == 1
    diagnostics = Diagnostics(run)
    for told in (diagnostics.aggregate(), diagnostics.information()):
        assert told.notes and not told.rows
    rates, point = diagnostics.rates()
    assert point is not None and "the latents are codes" in rates.notes[0]
    with pytest.raises(ValueError, match="no gradient flows into a code"):
        ELBO(estimator="stl").surrogate(run.model, run.model(batches[0].x), ELBO()(run.model(batches[0].x)))
