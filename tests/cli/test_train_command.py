"""``fourfold train``: flags, files, own recipes, resuming, interrupting."""

import json
import signal
import time
from pathlib import Path

import pytest

from fourfold.cli import main
from fourfold.recipes import TABLE
from fourfold.training import Training, load_tensors
from fourfold.training.options import fields

SMALL = ["--hidden", "8", "--latent", "2", "--epochs", "1", "--quiet", "--no-report"]
OWN_RECIPE = '''
from fourfold import Recipe, recipes
from fourfold.plan import recipe

@recipe(objective="ELBO")
def tiny(data, *, units: int = 4, wide: bool = True, rates: tuple[float, ...] = (0.5,)) -> Recipe:
    """A tiny VAE.

    Args:
        units: in the hidden layer.
        wide: twice as many.
        rates: not used.
    """
    return recipes.vae.function(data, latent=2, hidden=(units * (2 if wide else 1),))

def plain(data, latent=3):
    return recipes.vae.function(data, latent=latent, hidden=(4,))

def greedy(data, epochs: int = 3):
    return recipes.vae.function(data)
'''


def record(folder: Path) -> dict:
    return json.loads((folder / "run.json").read_text())


def test_a_run_says_where_everything_is_and_what_comes_next(trained: Path, here: Path, capsys: pytest.CaptureFixture):
    assert main(["train", "vae", *[word for word in SMALL if word != "--quiet"]]) == 0
    said = capsys.readouterr().out
    folder = Path("runs/vae-digits-1")
    assert f"run folder       {folder}" in said and f"fourfold evaluate {folder}" in said
    row = json.loads((folder / "metrics.jsonl").read_text().splitlines()[-1])
    assert f"validation ELBO  {row['validation/elbo [nats]']:.2f} nats" in said
    assert main(["train", "vae", *SMALL]) == 0
    assert capsys.readouterr().out == "runs/vae-digits-2\n"
    # The same seed and flags give the same weights, wherever they are written.
    there = load_tensors(Path("runs/vae-digits-2/checkpoints/last.safetensors"))[0]
    for name, tensor in load_tensors(trained / "checkpoints/last.safetensors")[0].items():
        assert tensor.equal(there[name])


def test_every_argument_of_every_recipe_and_of_training_is_a_flag(capsys: pytest.CaptureFixture):
    for name, recipe in TABLE.items():
        assert main(["train", name, "--help"]) == 0
        said = capsys.readouterr().out
        flags = {*recipe.signature, *(f.name for f in fields(Training))} - {"encoder", "decoder"}
        missing = [flag for flag in flags if "--" + flag.replace("_", "-") not in said]
        assert not missing and "--encoder" not in said
        if name == "beta_vae":
            assert "(type: float, default: 4.0)" in said


def test_help_without_a_recipe_names_the_recipes(capsys: pytest.CaptureFixture):
    assert main(["train", "--help"]) == 0
    said = capsys.readouterr().out
    assert all(name in said for name in TABLE) and "--batch-size" in said


@pytest.mark.parametrize(
    "words",
    [
        ["--hidden", "20,10", "--batch-size", "50"],
        ["--hidden", "20", "10", "--batch_size", "50"],
        ["--hidden=[20,10]", "--batch-size=50"],
        ["--hidden=20,10", "--batch_size=50"],
    ],
)
def test_lists_and_flags_can_be_written_in_several_ways(words: list[str], capsys: pytest.CaptureFixture):
    assert main(["train", "vae", *words, "--print_config"]) == 0
    said = capsys.readouterr().out
    assert "hidden:\n- 20\n- 10\n" in said and "batch_size: 50\n" in said


def test_what_print_config_writes_config_reads(here: Path, capsys: pytest.CaptureFixture):
    words = ["--hidden", "8,4", "--beta-schedule", "linear:0:1:5", "--dequantize", "--likelihood", "gaussian"]
    words += ["--lr", "1e-2", "--epochs", "0.5", "--precision", "64", "--seed", "3", "-q", "--no-report"]
    assert main(["train", "vae", *words, "--print-config"]) == 0
    (here / "flags.yaml").write_text(capsys.readouterr().out)
    assert not Path("runs").exists()
    assert main(["train", "vae", *words, "--out", "from_words"]) == 0
    assert main(["train", "--config", "flags.yaml", "--out", "from_file"]) == 0
    ours, theirs = record(here / "from_words"), record(here / "from_file")
    for key in ("recipe", "training", "data", "view", "parameters"):
        assert ours[key] == theirs[key]
    assert ours["recipe"]["arguments"]["hidden"] == [8, 4] and ours["training"]["precision"] == "64"
    assert main(["train", "vae", "--config", "flags.yaml", "--seed", "4", "--out", "changed"]) == 0
    assert record(here / "changed")["training"] == {**ours["training"], "seed": 4}


def test_the_data_and_their_split_are_flags(here: Path, shared_data: Path):
    words = ["--data", "mnist", "--data-dir", str(shared_data), "--split", "larochelle", "--epochs", "0.01"]
    assert main(["train", "vae", *SMALL, *words, "--out", "run"]) == 0
    assert record(here / "run")["data"]["protocol"]["split"] == "larochelle"
    assert record(here / "run")["data"]["origin"]["data_dir"] == str(shared_data)


def test_a_recipe_of_ones_own(here: Path, capsys: pytest.CaptureFixture):
    (here / "mine.py").write_text(OWN_RECIPE)
    words = ["--epochs", "0.5", "-q", "--no-report"]
    assert main(["train", "mine:tiny", "--units", "3", "--no-wide", "--out", "a", *words]) == 0
    assert record(here / "a")["recipe"] == {
        "recipe": "mine:tiny",
        "arguments": {"units": 3, "wide": False, "rates": [0.5]},
    }
    assert main(["train", "mine:plain", "--latent", "2", "--out", "b", *words]) == 0
    assert record(here / "b")["recipe"]["arguments"] == {"latent": 2}
    assert main(["train", "mine:greedy", "--out", "c", *words]) == 2
    assert "'epochs'" in capsys.readouterr().err and not Path("c").exists()

    assert main(["evaluate", "a", "--no-report"]) == 2
    assert "--trust mine" in capsys.readouterr().err
    assert main(["evaluate", "a", "--no-report", "--trust", "mine"]) == 0
    assert main(["train", "--resume", "a", "--epochs", "1", "-q", "--no-report"]) == 2
    assert main(["train", "--resume", "a", "--epochs", "1", "-q", "--no-report", "--trust", "other,mine"]) == 0
    assert record(here / "a")["training"]["epochs"] == 1


def test_a_finished_run_says_so(run: Path, capsys: pytest.CaptureFixture):
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    for words in ([], ["--epochs", "1"], ["--devices", "1", "-q"]):
        assert main(["train", "--resume", str(run), *words]) == 0
        assert "finished already" in capsys.readouterr().out
    assert main(["train", "vae", "--resume", str(run), "--latent", "2", "--hidden", "8"]) == 0
    assert before == {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}


def test_a_run_goes_on_for_longer(run: Path, capsys: pytest.CaptureFixture):
    assert main(["train", "--resume", str(run), "--epochs", "2", "--no-report", "--quiet"]) == 0
    assert capsys.readouterr().out == f"{run}\n"
    steps = [json.loads(line)["step"] for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert steps == sorted(set(steps)) and steps[-1] == 29
    assert record(run)["training"]["epochs"] == 2


def test_first_weights_can_be_those_of_a_run(run: Path, here: Path):
    words = [*SMALL, "--init-from", str(run), "--out", "next"]
    words[words.index("--epochs") + 1] = "0"
    assert main(["train", "vae", *words]) == 0
    ours = load_tensors(run / "checkpoints/last.safetensors")[0]
    theirs = load_tensors(here / "next/checkpoints/last.safetensors")[0]
    names = [name for name in ours if name.startswith("weights/model.")]
    assert names and all(ours[name].equal(theirs[name]) for name in names)


def test_tensorboard_goes_into_the_run_folder(here: Path):
    assert main(["train", "vae", *SMALL, "--tensorboard"]) == 0
    assert list(Path("runs/vae-digits-1/tensorboard").glob("events.*"))


def test_an_interrupted_run_is_saved_and_goes_on(here: Path, program, capsys: pytest.CaptureFixture):
    words = ["--hidden", "8", "--latent", "2", "--epochs", "100000", "--no-report", "--out", "run", "-q"]
    started = program("train", "vae", *words)
    deadline = time.monotonic() + 60
    while not (here / "run/metrics.jsonl").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    started.send_signal(signal.SIGINT)
    said = started.communicate(timeout=60)
    assert started.returncode == 130, said
    assert "--resume run" in said[1] and "Traceback" not in said[1]
    state = load_tensors(here / "run/checkpoints/last.safetensors")[1]
    assert state["step"] > 0 and not state["finished"]
    epochs = str(state["step"] // 14 + 2)
    assert main(["train", "--resume", "run", "--epochs", epochs, "--no-report", "-q"]) == 0
    steps = [json.loads(line)["step"] for line in (here / "run/metrics.jsonl").read_text().splitlines()]
    assert steps == sorted(set(steps)) and steps[-1] > state["step"]
