"""The benchmarks of speed: that rivals do the same work, that what is computed is right, and that all of it runs."""

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

ROOT = Path(__file__).parents[2]
if not (ROOT / "benchmarks").is_dir():
    pytest.skip("benchmarks/ is not part of this copy", allow_module_level=True)
sys.path.insert(0, str(ROOT))
from benchmarks import (  # noqa: E402
    by_hand,
    evaluation,
    floor,
    gpu,
    loops,
    memory,
    ours,
    profile_step,
    quality,
    scan,
    training,
)
from benchmarks.harness import Absent, Candidate, Protocol, compare, ratio  # noqa: E402
from benchmarks.processes import Spec, race_processes  # noqa: E402

HERE = "tests.benchmarks.test_speed:"


@pytest.fixture(autouse=True)
def _here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small synthetic images, and settings of the process that do not outlive a test."""
    monkeypatch.delenv("FOURFOLD_DATA", raising=False)
    monkeypatch.setattr(ours, "settle", lambda: False)
    for module in (by_hand, evaluation, floor, loops, ours):
        monkeypatch.setattr(module, "keep_pages", lambda: False)


@pytest.mark.parametrize("draws", [0, 5])
def test_the_backward_by_hand_is_that_of_autograd(double: None, draws: int) -> None:
    step = by_hand.ByHand(torch.float64)
    encoder, decoder = loops.networks("dense")
    x = loops.images_of("dense", 7, 7).double()
    noise = torch.randn((draws, 7, loops.LATENT) if draws else (7, loops.LATENT))
    loss = (loops.bound if draws else loops.negative_elbo)(x, noise, encoder(x), decoder)
    loss.backward()
    found = (step.iwae if draws else step.vae)(x, noise)
    torch.testing.assert_close(found, loss.detach())
    slopes = [p.grad.flatten() for p in (*encoder.parameters(), *decoder.parameters()) if p.grad is not None]
    torch.testing.assert_close(step.gradient, torch.cat(slopes))


def test_the_backward_by_hand_in_bf16_is_near(unchecked: None) -> None:
    exact, rough = by_hand.ByHand(), by_hand.ByHand(products=torch.bfloat16)
    x, noise = loops.images_of("dense", 50, 50).float(), torch.randn(50, loops.LATENT)
    assert exact.vae(x, noise).item() == pytest.approx(rough.vae(x, noise).item(), rel=1e-2)
    assert 0 < (exact.gradient - rough.gradient).norm() < 0.05 * exact.gradient.norm()


def test_the_scan_computes_what_torch_computes() -> None:
    pytest.importorskip("jax")
    assert scan.apart(20, 0) < 1e-5 and scan.apart(20, 5) < 1e-3


@pytest.mark.parametrize(("model", "kind", "draws"), [("vae", "dense", 0), ("conv", "conv", 0), ("iwae", "dense", 50)])
def test_rivals_train_the_same_model(model: str, kind: str, draws: int) -> None:
    assert floor.flops(ours.recorded_model(model, 4)) == floor.flops(floor.recorded_step(kind, 4, draws))


@pytest.mark.parametrize("kind", ["dense", "conv"])
def test_the_floor_is_all_products_of_a_step_and_no_others(kind: str) -> None:
    from torch.utils.flop_counter import FlopCounterMode

    encoder, decoder = loops.networks(kind)
    x, noise = loops.images_of(kind, 4, 4).float(), torch.randn(4, loops.latent_of(kind))
    with FlopCounterMode(display=False) as counter:
        loops.negative_elbo(x, noise, encoder(x), decoder).backward()
    calls = floor.recorded_step(kind, 4)
    assert floor.flops(calls) == counter.get_total_flops()
    again = floor.played(calls)
    with FlopCounterMode(display=False) as played:
        again()
    assert played.get_total_flops() == counter.get_total_flops()


@pytest.mark.parametrize("name", ["all draws at once", "fourfold"])
def test_both_estimates_of_the_nll_agree_and_are_timed(name: str) -> None:
    from benchmarks import importance

    x = loops.images_of("dense", 3, 3).float()
    values = importance.ESTIMATES[name]()(x, 2_000)
    # An untrained decoder is near log 2 a pixel, whatever z.
    assert values.shape == (3,) and (values - 784 * 0.693).abs().max() < 40
    assert evaluation.nll(name, 2, 20)() > 0 and evaluation.nll_floor(2, 20)() > 0


def test_both_kinds_of_annealing_go_as_far_and_ours_with_no_more_products() -> None:
    path = {"batch": 2, "temperatures": 2, "chains": 2, "leapfrog": 3}
    calls = [len(floor.recorded(make(**path))) for make in (evaluation.annealed, evaluation.plain_ais)]
    # Three to draw the start; then three forward and three back, at the start and at each step of each trajectory.
    assert calls[0] == 3 + 6 * (1 + 2 * 3) and calls[0] <= calls[1]


def test_a_ratio_is_the_median_over_rounds() -> None:
    found = ratio([1.0, 10.0, 100.0], [1.0, 5.0, 100.0])
    assert found.value == 1.0 and found.low == 1.0 and found.high == 2.0


def test_one_that_fails_in_a_round_leaves_the_race_to_the_others() -> None:
    def fails() -> float:
        raise Absent("no more")

    lost, left = compare([Candidate("a", fails), Candidate("b", lambda: 2.0)], ["b"], Protocol(2, 0, scale=1.0))
    assert lost.absent == "no more" and left.times == (2.0, 2.0) and left.speedup["b"].value == 1.0


def counts(value: float) -> Any:
    """Candidate of a worker: what it is told; for less than 0 it dies in the middle of a piece."""
    if value == 0:
        raise Absent("nothing to count")

    def piece() -> float:
        print("noise on stdout")
        if value < 0:
            import os

            os._exit(3)
        return value

    return piece


def test_workers_race_and_one_that_dies_is_named() -> None:
    values = (("two", 2.0), ("absent", 0.0), ("dies", -1.0))
    specs = [Spec(name, f"{HERE}counts", {"value": value}) for name, value in values]
    specs.append(Spec("left out", "", absent="not asked for"))
    rows, facts = race_processes(specs, ["two"], Protocol(2, 0, scale=1.0), threads=1, quiet=True)
    by_name = {row.name: row for row in rows}
    assert by_name["two"].times == (2.0, 2.0) and facts["two"]["peak_mib"] > 0
    assert by_name["absent"].absent == "nothing to count" and by_name["left out"].absent == "not asked for"
    assert "status 3" in by_name["dies"].absent and not by_name["dies"].times


@pytest.mark.slow
def test_training_runs_ours_beside_the_hand(tmp_path: Path) -> None:
    words = ["--trial", "--threads", "1", "--only", "a100", "--out", str(tmp_path), "--candidates"]
    training.main([*words, "by hand", "fourfold", "fourfold + validation"])
    (rows,) = _kept(tmp_path)["tables"].values()
    assert [row["name"] for row in rows] == ["by hand", "fourfold", "fourfold + validation"]
    assert all(len(row["times"]) == 1 and row["median"] > 0 and "by hand" in row["speedup"] for row in rows)


@pytest.mark.parametrize("name", list(training.ROWS))
def test_every_row_names_candidates_that_can_be_built(name: str) -> None:
    import importlib

    field = training.specs(training.ROWS[name])
    assert len({spec.name for spec in field}) == len(field) and "floor" in training.bases_of(field)
    for spec in field:
        module, function = spec.build.split(":")
        assert callable(getattr(importlib.import_module(module), function))


def test_the_parts_of_a_step_add_up_to_it(monkeypatch: pytest.MonkeyPatch) -> None:
    import functools
    import importlib

    from fourfold.data.feeds import Feed

    for places in profile_step.PARTS.values():  # put back what the clocks are put around
        for place in places:
            module, path = place.split(":")
            *owners, name = path.split(".")
            owner = functools.reduce(getattr, owners, importlib.import_module(module))
            monkeypatch.setattr(owner, name, getattr(owner, name))
    monkeypatch.setattr(Feed, "batches", Feed.batches)
    found = profile_step.profiled("eager", 4, 5, 1)
    parts = found["parts"]
    whole = parts.pop("the whole step")
    assert not found["missing"] and set(parts) == {profile_step.DATA, profile_step.REST, *profile_step.PARTS}
    assert sum(parts.values()) == pytest.approx(whole, rel=0.05)


def test_time_to_quality_judges_all_alike(tmp_path: Path) -> None:
    for make, name in ((quality.ours, "eager"), (quality.peer, "example")):
        point = make(name, 200)()
        assert point["epoch"] == 1 and point["seconds"] > 0 and 0 < point["nats"] < 784


def test_the_judge_is_the_model_s_own_elbo(double: None) -> None:
    """Against `−ELBO` of the library, in the mean over draws."""
    encoder, decoder = loops.networks("dense")
    images = quality.grey("t10k", 400)
    nats = quality.negative_elbo_of(lambda x: encoder(x.double()).chunk(2, 1), decoder, images)
    torch.manual_seed(1)
    x = quality.binarised(images, 0).double()
    own = loops.negative_elbo(x, torch.randn(len(x), loops.LATENT), encoder(x), decoder)
    assert nats == pytest.approx(own.item(), abs=0.5)


@pytest.mark.slow
def test_the_gpu_script_on_a_cpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    every = gpu.specs

    def few(*arguments: Any) -> list[Spec]:
        return [
            s
            for s in every(*arguments)
            if s.name in ("fourfold eager", "by hand, graph", "empty graph") or "la" in s.name
        ]

    monkeypatch.setattr(gpu, "specs", few)
    assert len(every("cpu", 4, 2, 90)) == 16
    assert gpu.main(["--device", "cpu", "--trial", "--threads", "1", "--out", str(tmp_path)]) == 0
    kept = _kept(tmp_path)
    (rows,) = kept["tables"].values()
    assert kept["trial"] and kept["launches"] > 20 and all(row["median"] for row in rows), rows
    assert len(kept["switches"]) == 6 and kept["switches"][0]["us_a_step"] > 0
    assert "of an empty graph" in kept["shares"]["fourfold eager"]


def test_what_is_compiled_can_be_left_uncaptured(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: dict[str, Any] = {}
    monkeypatch.setattr(torch, "compile", lambda *arguments, **named: seen.update(named))
    ours._without_graphs()
    torch.compile(len, fullgraph=True, options={"triton.cudagraphs": True, "fallback_random": True})
    assert seen == {"fullgraph": True, "options": {"fallback_random": True}}


def test_without_a_gpu_it_says_how_to_try_it(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert gpu.main([]) == 2 and "--device cpu --trial" in capsys.readouterr().err


@pytest.mark.skipif(sys.platform != "linux", reason="peaks are read from /proc")
def test_memory_is_a_peak_and_a_command_that_fails_is_named() -> None:
    assert 50 < memory.peak_of("torch") < 2_000
    with pytest.raises(Absent, match="ended with status 2"):
        memory.peak_of("train", "no_such_recipe", "--data", "digits")


def test_make_bench_goes_on_where_one_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from benchmarks import __main__ as suite

    def fails(words: list[str]) -> None:
        raise RuntimeError(f"asked for {words}")

    monkeypatch.setattr(suite, "SUITE", {"memory": ["--epochs", "3"], "no_such": [], "sampling": []})
    monkeypatch.setattr(memory, "main", fails)
    threads = torch.get_num_threads()
    try:
        assert suite.main(["--trial", "--out", str(tmp_path), "--only", "memory", "no_such", "sampling"]) == 1
    finally:
        torch.set_num_threads(threads)
    said = capsys.readouterr()
    assert "asked for ['--epochs', '3', '--out'" in said.err and "failed: memory" in said.out
    assert "benchmarks/no_such.py is not there" in said.out
    assert _kept(tmp_path)["benchmark"] == "sampling" and _kept(tmp_path)["trial"]


def _kept(folder: Path) -> dict[str, Any]:
    (file,) = folder.iterdir()
    return json.loads(file.read_text())


def test_pictures_are_drawn_of_what_there_is(tmp_path: Path) -> None:
    from benchmarks import draw

    made = draw.draw(ROOT / "benchmarks" / "results", tmp_path)
    assert made and all(path.stat().st_size > 5_000 for path in made)
    names: Sequence[str] = [name for name, _ in draw.PICTURES.values()]
    assert {path.name for path in made} <= set(names)
