"""A run knows the stages of its training: its curves show them all, and its results say if it stopped in one."""

import json
import shutil
from pathlib import Path

import pytest

import fourfold as ff
from fourfold.cli import main
from fourfold.runs import Run
from fourfold.training import load_tensors
from fourfold.training.checkpoint import save_tensors

pytestmark = pytest.mark.usefixtures("unchecked")

SMALL = ["--hidden", "6,4", "--latent", "2", "--epochs", "2", "--quiet", "--no-report"]
STAGES = (("layer1", 5), ("layer2", 10), ("layer3", 14), ("main", 29))


@pytest.fixture(scope="module")
def stacked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of a small stacked autoencoder."""
    folder = tmp_path_factory.mktemp("stacked") / "run"
    assert main(["train", "stacked_ae", "--out", str(folder), *SMALL]) == 0
    return folder


def stopped_at(folder: Path, step: int) -> Path:
    """The same run, as a kill after so many steps would leave its checkpoint."""
    path = folder / "checkpoints/last.safetensors"
    tensors, state = load_tensors(path)
    save_tensors(path, tensors, {**state, "step": step, "finished": False})
    return folder


def test_stages_have_their_names_and_ends(stacked: Path, tmp_path: Path) -> None:
    assert Run.open(stacked).stages == STAGES
    run = ff.fit(ff.recipes.vae(latent=2, hidden=(4,)), ff.data.digits(), epochs=1, out=tmp_path / "r", quiet=True)
    assert run.stages == (("main", 14),)
    assert Run.open(tmp_path / "r", model=run.model).stages == ()


def test_the_curves_of_a_run_show_every_stage(stacked: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = []
    drawn = ff.pictures.curves
    monkeypatch.setattr(ff.pictures, "curves", lambda *given: found.append(drawn(*given)) or found[-1])
    Run.open(stacked).report()
    (axes,) = found[0].axes
    assert [text.get_text() for text in axes.texts] == [name for name, _ in STAGES]


@pytest.mark.parametrize(
    ("step", "where"),
    [
        (7, "step 7 of 29, in stage 'layer2', 2 of 4: the whole has not been trained yet"),
        (20, "step 20 of 29"),
        (None, None),
    ],
)
def test_an_unfinished_run_is_told_where_it_stands(
    step: int | None, where: str | None, stacked: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    folder = Path(shutil.copytree(stacked, tmp_path / "run"))
    if step is not None:
        stopped_at(folder, step)
    assert main(["evaluate", str(folder), "--no-report", "--json"]) == 0
    remarks = [one for one in json.loads(capsys.readouterr().out)["remarks"] if "training stands" in one]
    wanted = f"training stands at {where}. It goes on with: fourfold train --resume {folder}"
    assert remarks == ([] if where is None else [wanted])
