"""One GPU: the dense VAE at batch 100 against pythae on the same GPU, the launch floor, bf16 and CUDA graphs.

Run with `make bench-gpu`, or `python -m benchmarks.gpu`: one command, at most eight minutes, one JSON. It has been
tested on a CPU alone (`--device cpu --trial`): **it has not been run on a GPU yet**. Each candidate has a process of
its own; they share the GPU and take turns. A piece is 100 steps and ends when the GPU has done them. What is compiled
is captured as a CUDA graph, as it is in training; `no graph` is the same program launched kernel by kernel.

The launch floor is what the GPU takes for work of no size: as many launches of a kernel that does nothing as one eager
step of Fourfold makes (counted), one after the other; and the same captured in a CUDA graph and replayed; and an empty
graph. `by hand` is the step of `by_hand.py`, in float32 and bf16, with Adam's arithmetic on the same buffer, launched
kernel by kernel or captured as one CUDA graph: what is possible.

`--device cpu --trial` runs every part for a step or two on the CPU, where nothing is captured: it shows that the script
runs, and no number of it means anything.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from benchmarks.by_hand import ByHand
from benchmarks.harness import Candidate, Protocol, compare, machine, positive, save_document, show, timed
from benchmarks.loops import LATENT, LEARNING_RATE, images_of
from benchmarks.ours import options_for, prepared_for
from benchmarks.processes import Spec, race_processes
from benchmarks.training import parser_of

__all__ = ["hand", "launches", "main", "nothing", "per_step", "specs"]

BASES = ("pythae", "example", "by hand, graph")
#: Rows of the table of bf16 and CUDA graphs → precision, mode of training, whether its program is a CUDA graph.
OURS = {
    "fourfold eager": ("32", "eager", False),
    "fourfold compiled, no graph": ("32", "compiled", False),
    "fourfold compiled": ("32", "compiled", True),
    "fourfold bf16 eager": ("bf16", "bf16 eager", False),
    "fourfold bf16, no graph": ("bf16", "bf16", False),
    "fourfold bf16": ("bf16", "bf16", True),
}


class _Launches(TorchDispatchMode):
    """Counts operations that launch something: all but those that only look at a tensor differently."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.count += not (func.is_view or func.namespace == "prim" or "empty" in str(func))
        return func(*args, **(kwargs or {}))


def launches(device: str, batch: int) -> int:
    """Operations of one eager step of Fourfold on this device, its optimiser counted as one."""
    from fourfold.noise import Noise

    images = images_of("dense", batch, batch)
    prepared, data = prepared_for("vae", images, options_for("eager", batch_size=batch, accelerator="cpu"))
    step, raw = prepared.step.to(device), torch.from_numpy(data.train.x).to(device)
    with _Launches() as mode:
        step(raw, None, Noise(0, device=device))[0].backward()
    return mode.count + 1


def _settled(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()


def _captured(device: str, step: Callable[[], object]) -> Callable[[], object]:
    """The step as one CUDA graph; on a CPU, the step."""
    if device != "cuda":
        return step
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(3):
            step()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        step()
    return graph.replay


def nothing(device: str, steps: int, count: int, graph: bool) -> Callable[[], float]:
    """So many launches a step of a kernel on one number, one by one or as one graph; seconds a step."""
    one = torch.zeros(1, device=device)

    def step() -> None:
        for _ in range(count):
            one.add_(1.0)

    run = _captured(device, step) if graph else step

    def piece() -> None:
        for _ in range(steps):
            run()
        _settled(device)

    return timed(piece, steps)


def hand(device: str, batch: int, steps: int, precision: str = "32", graph: bool = False) -> Callable[[], float]:
    """The step by hand, its batch and noise drawn on the device; seconds a step."""
    images = images_of("dense", batch).to(device)
    step = ByHand(products=torch.bfloat16 if precision == "bf16" else None, device=device)
    first, second = torch.zeros_like(step.flat), torch.zeros_like(step.flat)
    t = torch.zeros((), device=device)
    total = torch.zeros((), device=device)

    def advance() -> None:
        rows = torch.randint(0, len(images), (batch,), device=device)
        total.add_(step.vae(images.index_select(0, rows).float(), torch.randn(batch, LATENT, device=device)))
        _adam(step, first, second, t)

    run = _captured(device, advance) if graph else advance

    def piece() -> None:
        for _ in range(steps):
            run()
        if not torch.isfinite(total):  # waits for the device
            raise ArithmeticError(f"hand: the loss became {total.item()}")

    return timed(piece, steps)


@torch.no_grad()
def _adam(step: ByHand, first: Tensor, second: Tensor, t: Tensor) -> None:
    """Adam on the flat buffer, with its count on the device so that a graph can hold it."""
    t.add_(1)
    first.lerp_(step.gradient, 0.1)
    second.lerp_(step.gradient.square(), 0.001)
    scale = second.div(1 - 0.999**t).sqrt_().add_(1e-8)
    step.flat.sub_(LEARNING_RATE * first.div(1 - 0.9**t).div_(scale))


def per_step(build: str, batch: int, **arguments: Any) -> Callable[[], float]:
    """A candidate of the other tables (`module:function`), in seconds a step instead of an image."""
    module, name = build.split(":")
    piece = getattr(importlib.import_module(module), name)(batch=batch, **arguments)
    return lambda: piece() * batch


def specs(device: str, batch: int, steps: int, count: int) -> list[Spec]:
    """All candidates, the peer first."""
    here, size = "benchmarks.gpu:", {"batch": batch, "steps": steps}
    ours = {**size, "build": "benchmarks.ours:fourfold", "model": "vae", "accelerator": device}
    peer = {**size, "build": "benchmarks.peers.training:pythae", "kind": "dense", "device": device}
    field = [Spec("pythae", f"{here}per_step", peer, peer=True)]
    plain = {**size, "kind": "dense", "device": device}
    field.append(Spec("example", f"{here}per_step", {**plain, "build": "benchmarks.peers.training:example"}))
    field.append(Spec("resident", f"{here}per_step", {**plain, "build": "benchmarks.loops:resident"}))
    for name, (_, mode, graph) in OURS.items():
        more = {} if graph or mode.endswith("eager") else {"graphs": False}
        field.append(Spec(name, f"{here}per_step", {**ours, "mode": mode, **more}))
    for precision, word in (("32", ""), ("bf16", " bf16")):
        for graph, end in ((False, ""), (True, ", graph")):
            arguments = {**size, "device": device, "precision": precision, "graph": graph}
            field.append(Spec(f"by hand{word}{end}", f"{here}hand", arguments))
    floor = {"device": device, "steps": steps}
    field.append(Spec(f"{count} launches", f"{here}nothing", {**floor, "count": count, "graph": False}))
    field.append(Spec(f"{count} launches, graph", f"{here}nothing", {**floor, "count": count, "graph": True}))
    field.append(Spec("empty graph", f"{here}nothing", {**floor, "count": 1, "graph": True}))
    return field


def sweep(device: str, trial: bool, deadline: float) -> object:
    """64 models of 64-64-10 at batch 64 as one program, plain and compiled, against one after another."""
    if time.monotonic() > deadline:
        return "left out: the time is up"
    if importlib.util.find_spec("benchmarks.sweep") is None:
        return "benchmarks/sweep.py is not there"
    try:
        return _swept(importlib.import_module("benchmarks.sweep"), device, 3 if trial else 64, trial)
    except Exception as error:  # what was measured before is to be written whatever becomes of this
        return f"{type(error).__name__}: {error}"


def _swept(module: Any, device: str, count: int, trial: bool) -> object:
    from fourfold.training import Training, launch

    steps = 2 if trial else 20
    training = Training(epochs=10**6, batch_size=64, quiet=True, compile="off", log_steps=10**6, accelerator=device)
    fabric, data = launch(training), module.digits(64)
    jobs = [module.jobs_of(data, module.SMALL, n, training) for n in (1, count, count)]

    def waited(run: Callable[[], object], share: float) -> Callable[[], float]:
        """The whole of a piece, until the device is done; of all models, a step."""

        def piece() -> float:
            start = time.perf_counter()
            run()
            _settled(device)
            return (time.perf_counter() - start) * share

        return piece

    alone = module.one_after_another(jobs[0][0], count, fabric, steps)
    field = [Candidate("one after another", waited(alone, count / steps))]
    for name, some, compiled in (("together", jobs[1], False), ("together, compiled", jobs[2], True)):
        if not (trial and compiled):
            field.append(Candidate(name, waited(module.as_one(some, fabric, steps, compiled), 1 / steps)))
    protocol = Protocol(1 if trial else 10, 1, f"us/step of {count}", 1e6)
    rows = compare(field, ["one after another"], protocol)
    show(f"{count} models of 64-64-10, batch 64, {device}", rows, ["one after another"], protocol)
    return [asdict(row) for row in rows]


def _switches(medians: dict[str, float]) -> list[dict[str, object]]:
    """Microseconds a step by precision, compiling and CUDA graphs, printed."""
    rows: list[dict[str, object]] = []
    print(f"\n{'precision':10} {'compiled':9} {'CUDA graph':11} {'us/step':>9}")
    for name, (precision, mode, graph) in OURS.items():
        compiled, value = not mode.endswith("eager"), medians.get(name)
        rows.append({"precision": precision, "compiled": compiled, "graph": graph, "us_a_step": value})
        told = "absent" if value is None else f"{value:.1f}"
        print(f"{precision:10} {'on' if compiled else 'off':9} {'on' if graph else 'off':11} {told:>9}")
    return rows


def about_device(device: str) -> dict[str, object]:
    """The GPU by its own words."""
    if device != "cuda":
        return {"gpu": None}
    found = torch.cuda.get_device_properties(0)
    return {"gpu": found.name, "gpu_memory_gib": round(found.total_memory / 2**30, 1), "cuda": torch.version.cuda}


def main(arguments: Sequence[str] | None = None) -> int:
    """Parse the arguments, race, print, write the JSON; 2 where there is no GPU."""
    parser = parser_of(__doc__)
    parser.set_defaults(rounds=30)
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--batch", type=positive, default=100)
    parser.add_argument("--minutes", type=float, default=8.0, help="after this, no further part is begun")
    options = parser.parse_args(arguments)
    if options.device == "cuda" and not torch.cuda.is_available():
        print("bench-gpu: this torch sees no GPU. Try the script without one: --device cpu --trial", file=sys.stderr)
        return 2
    trial, start = options.trial, time.monotonic()
    batch, steps = (4, 2) if trial else (options.batch, 100)
    protocol = Protocol(1 if trial else options.rounds, 1 if trial else options.warmup, "us/step", 1e6)
    before = machine(options.threads) | about_device(options.device)
    count = launches(options.device, batch)
    rows, facts = race_processes(specs(options.device, batch, steps, count), BASES, protocol, options.threads)
    title = f"VAE 784-200-200-50, batch {batch}, {options.device}"
    show(title, rows, BASES, protocol)
    medians = {row.name: row.median for row in rows if row.median is not None}
    floor = medians.get("empty graph"), medians.get(f"{count} launches")
    shares = {
        name: {"of an empty graph": floor[0] / value, f"of {count} launches": floor[1] / value}
        for name, value in medians.items()
        if "launches" not in name and name != "empty graph" and floor[0] and floor[1]
    }
    print("\nlaunch floor as a share of the step")
    for name, share in shares.items():
        print(f"{name:24}" + "".join(f"  {100 * value:6.1f} % {what}" for what, value in share.items()))
    switches = _switches(medians)
    swept = sweep(options.device, trial, start + 60 * options.minutes)
    if isinstance(swept, str):
        print(f"\nsweep of 64 models: {swept}")
    about: dict[str, Any] = {"device": options.device, "trial": trial, "launches": count, "shares": shares}
    about |= {"switches": switches, "sweep": swept}
    about |= {"seconds": round(time.monotonic() - start), "workers": facts, "machine": before}
    about["tables"] = {title: [asdict(row) for row in rows]}
    save_document("gpu", about, options.out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
