"""reproductions/collapse.py: every line of it, short, on digits; lines made once; the cures are what they say."""

import json
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
if not (ROOT / "reproductions").is_dir():
    pytest.skip("reproductions/ is not part of this copy", allow_module_level=True)
sys.path.insert(0, str(ROOT))
from fourfold.data import digits  # noqa: E402
from fourfold.objectives import FreeBits, Linear  # noqa: E402
from fourfold.priors import AR1  # noqa: E402
from fourfold.priors.ar1 import committed_rate  # noqa: E402
from reproductions import collapse  # noqa: E402


@pytest.mark.slow
def test_all_lines_are_made_once_with_a_page(tmp_path: Path) -> None:
    words = ["--trial", "--runs", str(tmp_path)]
    assert collapse.main(words) == 0
    rows = json.loads((tmp_path / "collapse.json").read_text())
    assert {row["protocol"]["entry"] for row in rows} == set(collapse.LINES)
    metrics = {row["metric"] for row in rows if row["protocol"]["entry"] == "delta"}
    assert {"elbo", "rate", "nll_is", "mi", "swap_drop", "active_units"} <= metrics
    assert {row["protocol"]["doctor"] for row in rows} == {"not_converged"}
    text = (tmp_path / "collapse.md").read_text()
    assert all(f"\n| {name} |" in text for name in collapse.LINES)
    stamp = (tmp_path / "collapse.json").stat().st_mtime_ns
    assert collapse.main(words) == 0
    assert (tmp_path / "collapse.json").stat().st_mtime_ns == stamp


def test_each_line_has_its_cure_and_no_other() -> None:
    made = {name: collapse.line_of(name, trial=True).plan.build(digits().spec) for name in collapse.LINES}
    assert made["no_latents"].model.latent_shapes == ()
    assert all(made[name].model.latent_shapes == ((16,),) for name in made if name != "no_latents")
    assert [name for name, one in made.items() if isinstance(one.objective, FreeBits)] == ["free_bits"]
    assert made["free_bits"].objective.values == {"nats": 4.0}
    assert [name for name, one in made.items() if isinstance(getattr(one.model, "prior", None), AR1)] == ["delta"]
    alpha = float(made["delta"].model.prior.alpha.flatten()[0])
    assert committed_rate(alpha, 4, 4) == pytest.approx(4.0, abs=1e-4)
    full = collapse.line_of("annealing").plan.build(digits().spec).objective
    assert full.schedules == {"beta": Linear(0, 1, 1192)} and made["annealing"].objective.schedules
    assert made["none"].objective.schedules == {} and made["none"].objective.values == {"beta": 1.0}
    stacks = {name: collapse.line_of(name).plan.arguments.get("window", ()) for name in collapse.LINES}
    assert {name: window for name, window in stacks.items() if window} == {"window": (3, 2), "window_maps": (3, 2)}
    maps = [name for name in collapse.LINES if collapse.line_of(name).plan.arguments.get("maps")]
    assert maps == ["maps", "window_maps"]


def test_all_lines_but_the_first_have_decoders_of_one_size() -> None:
    plans = {name: collapse.line_of(name).plan.arguments for name in collapse.LINES}
    sizes = {(one["layers"], one["filters"], one["kernel"]) for one in plans.values()}
    assert sizes == {(4, 16, 3)}
