"""What a run's record says of its networks and recipe is enough to build them again, and only them."""

import json
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

import fourfold as ff
from fourfold.cli import main
from fourfold.networks import NETWORKS, Dense, Residual
from fourfold.noise import Noise
from fourfold.runs import Run, RunError, RunFolder, resume

pytestmark = pytest.mark.usefixtures("unchecked")

SCRIPT = """
import sys
from torch import nn
import fourfold as ff

class Outer:
    class Encoder(nn.Sequential):
        def __init__(self, latent: int) -> None:
            super().__init__(nn.Flatten(), nn.Linear(64, 2 * latent))

@ff.recipe
def mine(data, *, latent: int = 2) -> ff.Recipe:
    return ff.recipes.vae.function(data, latent=latent, hidden=(4,))

if __name__ == "__main__":
    data, plan = ff.data.digits(), ff.recipes.vae(encoder=ff.own(Outer.Encoder, 3), latent=3, hidden=(4,))
    ff.fit(plan, data, epochs=0.1, out="network", quiet=True)
    ff.fit(mine(), data, epochs=0.1, out="recipe", quiet=True)
"""


def fit(out: Path, plan: Any, **options: Any) -> Run:
    return ff.fit(plan, ff.data.digits(), out=out, **{"epochs": 0.1, "quiet": True, **options})


def recorded(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "run.json").read_text())["recipe"]


def test_factories_of_ours_are_recorded_by_name_and_made_again(tmp_path: Path) -> None:
    plan = ff.recipes.vae(encoder=Residual, decoder=partial(Dense, hidden=(8, 4), activation="tanh"), latent=2)
    run = fit(tmp_path / "r", plan)
    arguments = recorded(tmp_path / "r")["arguments"]
    assert arguments["encoder"] == {"network": "residual", "kwargs": {}}
    assert arguments["decoder"] == {"network": "dense", "kwargs": {"hidden": [8, 4], "activation": "tanh"}}
    again = ff.load(tmp_path / "r")
    assert torch.equal(again.sample(3, noise=Noise(0)), run.model.sample(3, noise=Noise(0)))
    assert resume(tmp_path / "r", epochs=0.2, quiet=True).outcome.step > run.outcome.step
    assert resume(tmp_path / "r", epochs=0.3, quiet=True, recipe=plan).outcome.step > run.outcome.step


def test_a_layer_of_torch_needs_no_trust(tmp_path: Path) -> None:
    flat = ff.data.from_arrays(torch.rand(50, 6).numpy())
    plan = ff.recipes.vae(encoder=ff.own(torch.nn.Linear, 6, 4, bias=False), latent=2, hidden=(4,))
    ff.fit(plan, flat, epochs=1, out=tmp_path / "r", quiet=True)
    layer = ff.load(tmp_path / "r").get_submodule("posterior").network
    assert isinstance(layer, torch.nn.Linear) and layer.bias is None


@pytest.mark.parametrize("name", ["autoencoder", "vae", "conv_vae", "cvae", "beta_vae"])
def test_every_recipe_with_one_code_takes_networks_of_ones_own(name: str) -> None:
    made = ff.recipes.TABLE[name](encoder=partial(Residual, hidden=7), decoder=partial(Dense, hidden=(5,)), latent=2)
    model = made.build(ff.data.digits().spec).model
    kinds = [type(part.network) for part in (model.posterior, model.likelihood)]
    assert kinds == [Residual, Dense]


@pytest.mark.parametrize("recipe", ["autoencoder", "vae", "cvae", "beta_vae", "structured_cvae"])
@pytest.mark.parametrize("network", NETWORKS)
def test_a_network_by_name(recipe: str, network: str) -> None:
    made = ff.recipes.TABLE[recipe](network=network, latent=2)  # with the default widths
    kinds = {type(module) for module in made.build(ff.data.digits().spec).model.modules()}
    assert kinds & set(NETWORKS.values()) == {NETWORKS[network]}


def test_hidden_is_one_block_for_each_width_of_a_residual_network() -> None:
    sizes = []
    for hidden in ((8,), (8, 8)):
        model = (
            ff.recipes.vae(network="residual", hidden=hidden, latent=2).build(ff.data.DataSpec((6,), None, None)).model
        )
        sizes.append(sum(p.numel() for p in model.posterior.parameters()))
    assert sizes[1] - sizes[0] == 2 * (8 * 8 + 8)


def test_the_command_line_takes_the_name_of_a_network(tmp_path: Path) -> None:
    words = ["--network", "residual", "--hidden", "8", "--epochs", "0.1", "-q", "--no-report"]
    assert main(["train", "vae", *words, "--out", str(tmp_path / "r")]) == 0
    assert recorded(tmp_path / "r")["arguments"]["network"] == "residual"
    assert isinstance(ff.load(tmp_path / "r").get_submodule("posterior.network"), Residual)


def test_what_a_script_defines_is_found_under_the_name_of_the_script(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "capable.py").write_text(SCRIPT)
    subprocess.run([sys.executable, "capable.py"], cwd=tmp_path, check=True, timeout=120)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    assert recorded(tmp_path / "network")["arguments"]["encoder"]["own"] == "capable:Outer.Encoder"
    assert recorded(tmp_path / "recipe")["recipe"] == "capable:mine"
    for run in ("network", "recipe"):
        assert main(["evaluate", run, "--no-report"]) == 2
        assert "--trust capable" in capsys.readouterr().err
        assert main(["evaluate", run, "--no-report", "--trust", "capable"]) == 0


def test_what_a_session_defines_is_loaded_with_its_model(tmp_path: Path, fresh_python: Callable[[str], str]) -> None:
    program = SCRIPT.replace('out="', f'out="{tmp_path}/')
    fresh_python(program)  # python -c has no file, as a notebook has none
    for run, path in (("network", "__main__:Outer.Encoder"), ("recipe", "__main__:mine")):
        with pytest.raises(RunError, match=rf"{path}, .*notebook.* Pass model="):
            ff.load(tmp_path / run)
    model = ff.recipes.vae(latent=2, hidden=(4,)).build(ff.data.digits().spec).model
    assert ff.load(tmp_path / "recipe", model=model) is model


def test_a_record_that_cannot_be_written_leaves_no_folder(tmp_path: Path) -> None:
    for value, error in ((float("nan"), ValueError), (object(), TypeError)):
        with pytest.raises(error):
            RunFolder.create(tmp_path / "r", "r", {"recipe": value})
        assert not (tmp_path / "r").exists()
