"""Sentences of a run: its words kept in the folder, other text told in them, training resumed and shared."""

import json
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch.testing import assert_close

import fourfold as ff
from fourfold.data import from_lines
from fourfold.runs import RunError, resume
from fourfold.runs.sentences import interpolated, reconstructed, sampled
from fourfold.training import load_tensors

LINES = [f"{who} {did} the {what} ." for who in ("a", "b", "c c") for did in ("saw", "ate") for what in ("dog", "tree")]
SMALL = {"latent": 3, "embedding": 4, "hidden": 6, "word_dropout": 0.4, "beta_schedule": "linear:0:1:10"}


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A text of a user's own."""
    path = tmp_path_factory.mktemp("text") / "mine.txt"
    path.write_text("\n".join(LINES * 4))
    return path


@pytest.fixture(scope="module")
def trained(text: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny run on it; not to be changed."""
    run = ff.fit(
        ff.recipes.sentence_vae(**SMALL),
        ff.data.load(text),
        epochs=2,
        batch_size=8,
        out=tmp_path_factory.mktemp("run") / "r",
        quiet=True,
    )
    assert run.path is not None
    return run.path


def test_a_run_keeps_its_words(trained: Path, tmp_path: Path) -> None:
    """The folder alone gives words: the text may be gone."""
    folder = Path(shutil.copytree(trained, tmp_path / "run"))
    record = json.loads((folder / "run.json").read_text())
    record["data"]["origin"]["name"] = str(tmp_path / "gone.txt")
    (folder / "run.json").write_text(json.dumps(record))
    run, other = ff.Run.open(folder), ff.Run.open(trained)
    drawn = sampled(run, 5)
    assert drawn == sampled(other, 5) and run.vocabulary is not None
    assert {word for line in drawn for word in line.split()} <= set(run.vocabulary.words)
    assert ff.load(folder).sample(2).shape == (2, *record["spec"]["shape"])


def test_other_text_is_told_in_the_words_of_the_run(trained: Path) -> None:
    """Its own words have other numbers; scored, it is what the same sentences of the run's data are."""
    run = ff.Run.open(trained)
    mine = run.split("test")
    words = run.dataset().vocabulary
    assert words is not None
    lines = words.decode(mine.x[:])
    other = from_lines({"train": ["zz dog zz", *reversed(lines)]}, min_count=1)
    assert other.vocabulary is not None and other.vocabulary.words != words.words
    adapted = run.adapted(other)
    assert adapted.shape == mine.shape and adapted.vocabulary == run.vocabulary
    assert run.vocabulary is not None and run.vocabulary.decode(adapted.train.x[:1]) == ["<unk> dog <unk>"]
    found, wanted = run.score(adapted.train), run.score(mine)
    # The rate is exact; the draws of z differ with the place in the batch.
    assert_close(found["rate"][1:][::-1].copy(), wanted["rate"], rtol=1e-5, atol=1e-6)
    with pytest.raises(
        ValueError, match="has 9 words; the longest sentence of the data set that this model was trained on has 6"
    ):
        run.adapted(from_lines(["a a a a a a a a a"], split="all"))
    with pytest.raises(ValueError, match="this model takes sentences, and digits holds none"):
        run.adapted(ff.data.digits())


def test_reconstructions_and_paths(trained: Path, unchecked: None) -> None:
    run = ff.Run.open(trained)
    pairs = reconstructed(run, 3)
    assert [pair[0] for pair in pairs] == run.dataset().vocabulary.decode(run.split("test").x[:3])  # type: ignore[union-attr]
    path = interpolated(run, 0, 2, 4)
    assert len(path) == 4 and (path[0], path[-1]) == (pairs[0][1], pairs[2][1])
    with pytest.raises(ValueError, match="index must be from 0 to 3, got 9"):
        interpolated(run, 0, 9)
    with pytest.raises(ValueError, match="steps must be at least 2"):
        interpolated(run, 0, 1, 1)


def test_the_report_has_sentences_to_read(trained: Path, tmp_path: Path) -> None:
    run = ff.Run.open(Path(shutil.copytree(trained, tmp_path / "run")))
    run.evaluate()
    page = run.report().read_text()
    for title in ("Samples", "Reconstructions", "From one sentence to another", "perplexity"):
        assert title in page
    assert sampled(run, 10)[0].replace("<unk>", "&lt;unk&gt;") in page and "<unk>" not in page
    assert "traverse" not in page


def test_other_data_cannot_resume(trained: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(trained, tmp_path / "run"))
    other = tmp_path / "other.txt"
    other.write_text("\n".join([*LINES[1:], "b b b"] * 4))
    with pytest.raises(RunError, match="was trained on data with"):
        resume(folder, ff.data.load(other), epochs=3)


RUNNER = """
import os, signal, sys, torch
from pathlib import Path
import fourfold as ff
from fourfold.runs import resume
from fourfold.training import Step
torch.set_num_threads(1)
folder, text, die_at, devices = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
seen, forward = 0, Step.forward
def counted(self, *args):
    global seen
    seen += self.training
    if self.training and seen == die_at:
        os.kill(os.getpid(), signal.SIGKILL)
    return forward(self, *args)
Step.forward = counted
if (Path(folder) / "run.json").exists():
    resume(folder, quiet=True)
else:
    recipe = ff.recipes.sentence_vae(**{small!r})
    ff.fit(recipe, ff.data.load(text), out=folder, quiet=True, epochs=4, batch_size=8, log_steps=3, devices=devices,
           accelerator="cpu", checkpoint_seconds=0, precision="64")
"""


def start(folder: Path, text: Path, die_at: int = 0, devices: int = 1) -> int:
    program = folder.parent / "program.py"
    program.write_text(RUNNER.replace("{small!r}", repr(SMALL)))
    command = [sys.executable, str(program), str(folder), str(text), str(die_at), str(devices)]
    return subprocess.run(command, capture_output=True, timeout=300).returncode


def tensors(folder: Path) -> dict[str, torch.Tensor]:
    return load_tensors(folder / "checkpoints" / "last.safetensors")[0]


@pytest.mark.slow
def test_resumed_bit_for_bit_and_shared_among_processes(text: Path, tmp_path: Path) -> None:
    whole, torn, two = (tmp_path / name for name in ("whole", "torn", "two"))
    assert start(whole, text) == 0
    assert start(torn, text, die_at=11) == -signal.SIGKILL and start(torn, text) == 0
    assert start(two, text, devices=2) == 0
    wanted, again, shared = tensors(whole), tensors(torn), tensors(two)
    assert [name for name in wanted if not wanted[name].equal(again[name])] == []
    for name in wanted:
        assert_close(shared[name], wanted[name], rtol=1e-7, atol=1e-8)
