"""What a gradient estimator of the importance-weighted bound is worth: nats for each second of processor time.

Run with `python -m benchmarks.estimators`. The model of the IWAE paper (784-200-200-50-200-200-784, tanh, Bernoulli),
K = 50, batch 100, Adam with learning rate 1e-3, dynamically binarised MNIST (`FOURFOLD_DATA`; else scikit-learn's
digits). All estimators start from the same weights and see the same batches; whoever has used the least processor time
trains next, so that all get the same seconds of the same machine. Evaluation is outside the clock: the bound with 100
draws on the first 1,000 test images, the same draws for all.

Then, at the weights where the first one ended and for one batch: how far the mean of a gradient stands out of its noise
(the squared norm of its mean over the trace of its covariance), for encoder and decoder, and the same for each second.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks.harness import HERE, machine, positive

__all__ = ["main"]

ESTIMATORS = ("autograd", "dreg", "one-backward")
BATCH, SLICE, EVALUATED = 100, 10, 1_000


class Learner:
    """One estimator in training, with the processor time it has used."""

    def __init__(self, estimator: str, draws: int, data: Any, seed: int) -> None:
        import fourfold as ff
        from fourfold.runs.prepare import prepare
        from fourfold.training import Training

        plan = ff.recipes.iwae(draws=draws, estimator=estimator, latent=50, hidden=(200, 200), activation="tanh")
        self.step = prepare(plan, data, Training(seed=seed, quiet=True)).step.train()
        self.adam = torch.optim.Adam(self.step.parameters(), lr=1e-3, fused=True)
        self.order = ff.data.Order(len(data.train), BATCH, seed)
        self.rows = torch.tensor(data.train.x)
        self.noise, self.name = ff.Noise(seed, stream="train"), estimator
        self.steps, self.seconds = 0, 0.0

    def gradient(self, t: int, of: int | None = None) -> None:
        """Leaves the gradient of step t, or of the batch of another step with the noise of t."""
        self.step.zero_grad()
        raw = self.rows[self.order.indices(t if of is None else of)]
        self.step(raw, None, self.noise.at(t))[0].backward()

    def train(self) -> None:
        """A few steps, on the clock."""
        start = time.process_time()
        for _ in range(SLICE):
            self.gradient(self.steps)
            self.adam.step()
            self.steps += 1
        self.seconds += time.process_time() - start

    @torch.no_grad()
    def bound(self, test: Tensor) -> float:
        """The importance-weighted bound with 100 draws, in nats an image."""
        import fourfold as ff

        self.step.eval()
        values = []
        for i, raw in enumerate(test.split(BATCH)):
            noise = ff.Noise(0, stream="test", step=i)
            trace = self.step.model(self.step.view(raw, None, noise).x, draws=100, noise=noise)
            values.append(trace.log_weight.logsumexp(0) - torch.tensor(100.0).log())
        self.step.train()
        return torch.cat(values).mean().item()


def trained(learners: Sequence[Learner], seconds: float, test: Tensor) -> list[dict[str, float]]:
    """All of them for as many seconds of processor time; rows at an eighth, a quarter, half and the end."""
    rows = []
    print(f"{'CPU s each':>10}" + "".join(f"  {one.name + ': steps':>20}  {'nats':>8}" for one in learners))
    for mark in (seconds / 8, seconds / 4, seconds / 2, seconds):
        while (least := min(learners, key=lambda one: one.seconds)).seconds < mark:
            least.train()
        row = {"cpu_seconds": mark}
        for one in learners:
            row |= {f"{one.name} steps": one.steps, f"{one.name} nats": one.bound(test)}
        rows.append(row)
        told = "".join(f"  {row[f'{one.name} steps']:20.0f}  {row[f'{one.name} nats']:8.2f}" for one in learners)
        print(f"{mark:10.1f}" + told, flush=True)
    return rows


def clarity(learners: Sequence[Learner], repeats: int) -> list[dict[str, float | str]]:
    """Signal over noise of each estimator's gradient at the first one's weights."""
    rows: list[dict[str, float | str]] = []
    print(f"\n{'':12}  {'ms/gradient':>11}  {'encoder':>9}  {'per s':>9}  {'decoder':>9}  {'per s':>9}")
    for one in learners:
        one.step.load_state_dict(learners[0].step.state_dict())
        found: dict[str, list[Tensor]] = {"posterior": [], "likelihood": []}
        start = time.process_time()
        for t in range(repeats):
            one.gradient(10**6 + t, of=0)
            for part, kept in found.items():
                grads = [p.grad.flatten() for p in getattr(one.step.model, part).parameters()]
                kept.append(torch.cat(grads))
        each = (time.process_time() - start) / repeats
        row: dict[str, float | str] = {"estimator": one.name, "cpu_seconds_a_gradient": each}
        for part, kept in found.items():
            stacked = torch.stack(kept)
            spread = stacked.var(0).sum().item()
            # The mean's own noise counts into its norm, and is taken off again.
            row[part] = (stacked.mean(0).square().sum().item() - spread / repeats) / spread
        rows.append(row)
        told = "".join(f"  {row[p]:9.3f}  {row[p] / each:9.1f}" for p in found)  # type: ignore[operator]
        print(f"{one.name:12}  {each * 1e3:11.1f}{told}", flush=True)
    return rows


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse the arguments, train, compare, print, write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60.0, help="processor time of each estimator")
    parser.add_argument("--draws", type=positive, default=50)
    parser.add_argument("--repeats", type=positive, default=100, help="gradients for signal over noise")
    parser.add_argument("--threads", type=positive, default=1)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, help="folder of the JSON (default: benchmarks/results)")
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)

    import fourfold as ff
    from fourfold._process import settle

    settle()
    before = machine(options.threads)
    try:
        data = ff.data.mnist(download=False)
    except ff.data.DataNotFound:
        data = ff.data.digits()
    learners = [Learner(name, options.draws, data, options.seed) for name in ESTIMATORS]
    print(f"{data.name}, K = {options.draws}, {options.threads} thread(s): bound with 100 draws on test data\n")
    rows = trained(learners, options.seconds, torch.tensor(data.test.x[:EVALUATED]))  # type: ignore[union-attr]
    noise = clarity(learners, options.repeats)
    now = datetime.now().astimezone()
    target = options.out or HERE / "results"
    target.mkdir(parents=True, exist_ok=True)
    about = {"draws": options.draws, "seconds": options.seconds, "seed": options.seed, "data": data.name}
    document = {"benchmark": "estimators", "date": now.isoformat(timespec="seconds"), **about, "machine": before}
    path = target / f"{now:%Y-%m-%d-%H%M%S}-estimators.json"
    path.write_text(json.dumps({**document, "training": rows, "clarity": noise}, indent=1) + "\n")
    print(f"\nwritten: {path.name}")


if __name__ == "__main__":
    main()
