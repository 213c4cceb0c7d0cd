"""MMD-VAE, InfoVAE, free bits and aggressive training, as recipes."""

import json
import signal
from pathlib import Path

import pytest
import torch

import fourfold as ff
from fourfold.data import DataSpec
from fourfold.objectives import ELBO, FreeBits, InfoVAE, SoftFreeBits
from fourfold.runs import resume
from fourfold.statistics import IMQ, RBF, Sum
from fourfold.training import Step, load_tensors

DIGITS = ff.data.digits()
SMALL = {"latent": 3, "hidden": (16,)}


def test_arguments_reach_the_objective() -> None:
    mmd = ff.recipes.mmd_vae(lam=5.0, latent=4).build(DIGITS.spec).objective
    assert isinstance(mmd, InfoVAE) and mmd.kernel == IMQ(8.0)
    assert (float(mmd.rate_weight), float(mmd.mmd_weight)) == (0, 5)
    info = ff.recipes.info_vae(alpha=-1.0, lam=7.0, kernel="rbf", latent=4).build(DIGITS.spec).objective
    assert isinstance(info, InfoVAE) and info.kernel == RBF(4 / 2**0.5)
    assert (float(info.rate_weight), float(info.mmd_weight)) == (2, 5)
    scales = ff.recipes.info_vae(kernel="imq_scales", latent=4).build(DIGITS.spec).objective
    assert isinstance(scales, InfoVAE) and isinstance(scales.kernel, Sum)
    assert [kernel.scale for kernel in scales.kernel.kernels] == pytest.approx([0.8, 1.6, 4, 8, 16, 40, 80])
    small = DataSpec((2, 3, 4), 256, None)
    for plan in (ff.recipes.mmd_vae(), ff.recipes.info_vae(alpha=1.0)):
        by_default = plan.build(small).objective
        assert isinstance(by_default, InfoVAE) and float(by_default.mmd_weight) == 24  # as many as x has elements
    bits = ff.recipes.free_bits_vae(nats=0.7, kind="per_sample", draws=2).build(DIGITS.spec).objective
    assert isinstance(bits, FreeBits) and (bits.kind, bits.draws) == ("per_sample", 2)
    assert bits.values["nats"] == 0.7
    soft = ff.recipes.free_bits_vae(nats=9.0, kind="soft").build(DIGITS.spec).objective
    assert isinstance(soft, SoftFreeBits) and soft.values["nats"] == 9


@pytest.mark.parametrize(
    ("recipe", "arguments", "message"),
    [
        ("mmd_vae", {"kernel": "gauss"}, "mmd_vae: kernel: unknown value 'gauss'.*imq_scales, rbf"),
        ("info_vae", {"kernel": "gauss"}, "info_vae: kernel: unknown value 'gauss'"),
        ("free_bits_vae", {"kind": "hard"}, "free_bits_vae: kind: unknown value 'hard'.*soft"),
        ("aggressive_vae", {"every": 1}, "every must be at least 2, got 1: that is the recipe vae"),
        ("aggressive_vae", {"aggressive_steps": 0}, "aggressive_steps must be an integer of at least 1"),
    ],
)
def test_wrong_arguments_are_named(recipe: str, arguments: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ff.recipes.find(recipe)(**arguments).build(DIGITS.spec)


def test_free_of_charge_the_latents_say_more_and_together_are_like_the_prior(tmp_path: Path) -> None:
    last = {}
    for recipe in ("vae", "mmd_vae", "info_vae"):
        more = {} if recipe == "vae" else {"lam": 20.0}
        plan = ff.recipes.find(recipe)(latent=3, hidden=(64,), **more)
        last[recipe] = ff.fit(plan, DIGITS, epochs=8, lr=1e-2, out=tmp_path / recipe, quiet=True).metrics[-1]
    rate = {name: row["validation/rate raw [nats]"] for name, row in last.items()}
    assert rate["mmd_vae"] > 3 * rate["vae"] > 3 * rate["info_vae"] > 0.1
    assert last["mmd_vae"]["validation/distortion [nats]"] < last["vae"]["validation/distortion [nats]"] - 1
    assert last["mmd_vae"]["validation/elbo [nats]"] < last["vae"]["validation/elbo [nats]"] - 1
    assert last["mmd_vae"]["validation/mmd raw [unitless]"] < 0.02


def test_the_encoder_runs_ahead_and_then_all_go_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    turns: list[str] = []

    def watched(self: Step, *given: object) -> object:
        if self.training:
            assert isinstance(self.objective, ELBO)
            free = [name.split(".")[0] for name, p in self.model.named_parameters() if p.requires_grad]
            turns.append("whole" if "likelihood" in free else "encoder")
        return forward(self, *given)  # type: ignore[arg-type]

    forward = Step.forward
    monkeypatch.setattr(Step, "forward", watched)
    plan = ff.recipes.aggressive_vae(every=4, aggressive_steps=9, **SMALL)
    run = ff.fit(plan, DIGITS, epochs=1, out=tmp_path / "r", quiet=True)
    four = ["encoder"] * 3 + ["whole", "encoder"]
    assert turns == [*four, *four, "encoder", *["whole"] * 5]  # 14 steps: 9 aggressive ones, 5 as ever
    assert {"train/elbo [nats]", "train/encoder/elbo [nats]", "validation/elbo [nats]"} <= run.metrics[-1].keys()


def test_the_decoder_stands_still_while_the_encoder_is_trained(tmp_path: Path) -> None:
    plan = ff.recipes.aggressive_vae(every=100, aggressive_steps=100, **SMALL)
    before = dict(plan.build(DIGITS.spec).model.named_parameters())
    with pytest.warns(UserWarning, match="aggressive_vae-digits: its phase in turns ends at step 100, the run at 14"):
        run = ff.fit(plan, DIGITS, epochs=1, out=tmp_path / "r", quiet=True)
    moved = {name for name, p in run.model.named_parameters() if not torch.equal(p, before[name])}
    assert moved == {name for name in before if name.startswith("posterior.")}


@pytest.mark.filterwarnings("ignore:aggressive_vae-digits. its phase in turns ends at step 40:UserWarning")
@pytest.mark.parametrize("aggressive", [40, 11])
def test_interrupted_after_a_turn_it_goes_on_and_tells_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, aggressive: int
) -> None:
    """Stopped at step 12, in an interval that ends at 14 without another turn of the whole model, or the encoder."""
    plan = ff.recipes.aggressive_vae(every=5, aggressive_steps=aggressive, beta_schedule="linear:0:1:20", **SMALL)
    ff.fit(plan, DIGITS, epochs=2, out=tmp_path / "whole", quiet=True)
    forward, seen = Step.forward, 0

    def stopped(self: Step, *given: object) -> object:
        nonlocal seen
        seen += self.training
        if seen == 14:  # 12 turns of the encoder and 2 of all, or 11 and 3
            signal.raise_signal(signal.SIGINT)
        return forward(self, *given)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(Step, "forward", stopped)
        with pytest.raises(KeyboardInterrupt, match="Stopped at step 12"):
            ff.fit(plan, DIGITS, epochs=2, out=tmp_path / "cut", quiet=True)
    resume(tmp_path / "cut", quiet=True)
    rows = [
        [json.loads(line) | {"seconds": 0} for line in (tmp_path / name / "metrics.jsonl").read_text().splitlines()]
        for name in ("whole", "cut")
    ]
    assert rows[0] == rows[1]
    assert {"train/log_likelihood raw [nats]", "train/encoder/log_likelihood raw [nats]"} <= rows[1][0].keys()
    saved = [load_tensors(tmp_path / name / "checkpoints" / "last.safetensors")[0] for name in ("whole", "cut")]
    assert [name for name in saved[0] if not torch.equal(saved[0][name], saved[1][name])] == []
