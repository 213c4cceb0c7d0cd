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
from fourfold.data import DataSpec
from fourfold.models import VQVAE
from fourfold.networks import FiniteScalar
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
        ({"places": (3, 3)}, "that halving leads to"),
        ({"places": (4,)}, "wanted height,width"),
        ({"prior_share": 1.0}, "prior_share"),
        ({"prior_share": 0.0}, "prior_share"),
        ({"hidden": (8, 8)}, "layers of one width"),
    ):
        with pytest.raises(ValueError, match=said):
            ff.recipes.vq_vae(**{**TINY, **more}).build(SPEC)
    with pytest.raises(ValueError, match="needs images"):
        ff.recipes.vq_vae(**TINY).build(DataSpec((7,), None, None))
