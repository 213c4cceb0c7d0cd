"""Runs and data that are not their own: classes by name, values a likelihood cannot score, grey data, other rows."""

import json
import warnings
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

import fourfold as ff
from fourfold.data import Split, from_arrays
from fourfold.distributions import GreyBernoulliWarning
from fourfold.runs import Run, RunError, RunFolder, VariationalAutoencoder, resume
from fourfold.runs.folder import next_folder
from fourfold.runs.gallery import samples

TINY = {"epochs": 1, "quiet": True, "batch_size": 10}
pytestmark = pytest.mark.usefixtures("unchecked")


def rows(n: int = 40, seed: int = 0) -> np.ndarray:
    """Grey 4 x 4 images."""
    return np.random.default_rng(seed).integers(0, 256, (n, 4, 4), dtype=np.uint8)


def trained(data: ff.DataSet, out: Path, recipe: str = "vae", **options) -> Run:
    plan = getattr(ff.recipes, recipe)(
        latent=2, hidden=(4,), **{k: options.pop(k) for k in ("likelihood",) if k in options}
    )
    return ff.fit(plan, data, out=out, **TINY, **options)


def test_classes_are_matched_by_name(tmp_path):
    run = trained(from_arrays(rows(), np.array(["cat", "dog", "owl", "yak"] * 10)), tmp_path / "run", "cvae")
    assert run.folder.record()["spec"]["class_names"] == ["cat", "dog", "owl", "yak"]
    other = from_arrays(rows(12), np.array(["yak", "dog", "dog"] * 4), split="all")
    assert other.train.labels.tolist()[:3] == [1, 0, 0]
    mapped = Run.open(tmp_path / "run").rows_of(other)
    assert mapped.labels.tolist()[:3] == [3, 1, 1]
    opened = Run.open(tmp_path / "run", data=other)
    assert opened.dataset().train.labels.tolist() == mapped.labels.tolist()
    with pytest.raises(ValueError, match="without the class 'emu'; it knows cat, dog, owl, yak"):
        run.rows_of(from_arrays(rows(3), np.array(["cat", "dog", "emu"]), split="all"))


def test_whole_numbers_are_taken_as_they_are_and_checked(tmp_path):
    run = trained(from_arrays(rows(), np.arange(40) % 4), tmp_path / "run", "cvae")
    assert run.rows_of(from_arrays(rows(3), np.array([0, 3, 1]), split="all")).labels.tolist() == [0, 3, 1]
    # Folders called 3 and 1 are the classes 3 and 1, not 1 and 0.
    assert run.rows_of(from_arrays(rows(3), np.array(["3", "3", "1"]), split="all")).labels.tolist() == [3, 3, 1]
    with pytest.raises(ValueError, match="labels from 0 to 3"):
        run.rows_of(from_arrays(rows(3), np.array([0, 4, 1]), split="all"))
    with pytest.raises(ValueError, match="labels from 0 to 3, got 9"):
        run.evaluate(Split(rows(2)[:, None], np.array([0, 9])), save=False)


def test_names_go_with_classes():
    data = from_arrays(rows(6), np.array(["a", "b", "c"] * 2), split="all")
    with pytest.raises(ValueError, match="class_names"):
        replace(data, class_names=("a", "b"))


@pytest.mark.parametrize("part", ["train", "validation", "test"])
def test_every_row_of_every_part_is_looked_at_before_training(tmp_path, part):
    x = np.zeros((9000, 4), np.float32)
    data = ff.DataSet("d", Split(x), Split(x[:5000].copy()), Split(x[:5000].copy()), levels=None, classes=None)
    data.parts[part].x[4999, 2] = 7
    with pytest.raises(ValueError, match=f"{part}.*from 0 to 1, got 0 to 7"):
        trained(data, tmp_path / "run", likelihood="continuous_bernoulli")
    assert not (tmp_path / "run").exists()


def test_values_a_likelihood_cannot_score_are_refused_whenever_they_come(tmp_path):
    x = np.random.default_rng(0).random((40, 6), dtype=np.float32)
    run = trained(from_arrays(x), tmp_path / "run", likelihood="continuous_bernoulli")
    wrong = from_arrays(x * 255, split="all")
    calls = (
        lambda: run.rows_of(wrong),
        lambda: run.evaluate(wrong.train, save=False),
        lambda: run.score(wrong.train),
        lambda: run.encode(wrong.train),
    )
    for call in calls:
        with pytest.raises(ValueError, match="from 0 to 1"):
            call()


def test_floats_that_are_to_be_binarised_are_grey_values(tmp_path):
    x = rows()[:, None] / np.float32(255)
    run = trained(from_arrays(x), tmp_path / "run")
    assert run.view.binarize == "dynamic"
    with pytest.raises(ValueError, match=r"\[0, 1\]"):
        run.evaluate(Split(x * 255), save=False)


@pytest.mark.parametrize("likelihood", ["bernoulli", "continuous_bernoulli", "discretised_logistic"])
def test_the_estimator_looks_at_what_it_scores(likelihood):
    bits = np.random.default_rng(0).integers(0, 2, (50, 3)).astype(float)
    model = VariationalAutoencoder(likelihood=likelihood, hidden=(4,), epochs=1, random_state=0).fit(bits)
    for call in (model.score_samples, model.transform, model.score):
        with pytest.raises(ValueError, match="X: wanted values from 0 to 1, got"):
            call(bits * 3)
    if likelihood == "bernoulli":
        with pytest.warns(GreyBernoulliWarning):
            model.score_samples(bits / 2)


def test_grey_data_in_a_bernoulli_are_called_no_bound(tmp_path):
    with pytest.warns(GreyBernoulliWarning):
        run = trained(from_arrays(rows()), tmp_path / "run", binarize="none")
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # what follows says it in its results
        found = run.evaluate(importance_samples=3, prior_samples=3)
    metrics = [row.metric for row in found.rows]
    assert {"cross_entropy_objective", "cross_entropy", "rate"} <= set(metrics)
    assert not {"elbo", "distortion", "bits_per_dim", "nll_is", "bits_per_dim_is", "nll_mc"} & set(metrics)
    assert all(row.protocol["grey_bernoulli"] and row.protocol["measure"] is None for row in found.rows)
    assert "no bound on log p(x)" in found.notes[0]
    scores = run.score(run.split("test"))
    np.testing.assert_allclose(scores["cross_entropy_objective"], scores["cross_entropy"] + scores["rate"])
    bits = run.evaluate(Split((rows() > 127)[:, None] * np.uint8(255)), save=False)
    assert "elbo" in bits.per_datum and "grey_bernoulli" not in bits.rows[0].protocol
    assert "(no bound)" in run.report().read_text()


def test_grey_images_of_floats_are_binarised_and_vectors_are_real(tmp_path):
    grey = rows() / np.float32(255)
    np.savez(tmp_path / "grey.npz", x=grey)
    data = ff.data.load(tmp_path / "grey.npz")
    assert data.grey and data.spec.grey and data.levels is None
    run = trained(data, tmp_path / "run")
    assert (run.model.support, run.view.binarize) == ("binary", "dynamic")
    assert Run.open(tmp_path / "run").model.support == "binary"
    for other in (grey.reshape(40, -1), grey - 1, grey * 2):
        assert not from_arrays(other).grey
    assert trained(from_arrays(grey.reshape(40, -1)), tmp_path / "real").model.support == "real"
    assert from_arrays(rows()).grey and not from_arrays(rows() > 9).grey


def test_resuming_on_other_rows_of_the_same_shape_is_refused(tmp_path):
    same, labels = rows(), np.arange(40) % 2
    run = trained(from_arrays(same, labels), tmp_path / "run")
    again = resume(run.path, from_arrays(same.copy(), labels), epochs=2)
    assert again.outcome.step == 2 * run.outcome.step
    for other in (from_arrays(rows(seed=1), labels), from_arrays(same, 1 - labels)):
        with pytest.raises(RunError, match="checksum"):
            resume(run.path, other, epochs=3)


def test_a_data_set_made_by_hand_is_known_by_its_rows_too(tmp_path):
    def made(seed: int) -> ff.DataSet:
        return ff.DataSet("d", Split(rows(seed=seed)[:, None]), None, None, levels=256, classes=None)

    run = trained(made(0), tmp_path / "run")
    resume(run.path, made(0), epochs=2)
    with pytest.raises(RunError, match="checksum"):
        resume(run.path, made(1), epochs=3)


def test_a_numbered_folder_is_taken_by_one_only(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with ThreadPoolExecutor(8) as pool:
        paths = list(pool.map(lambda _: next_folder("vae-digits"), range(40)))
    assert sorted(paths) == sorted(Path("runs") / f"vae-digits-{i}" for i in range(1, 41))


def test_one_folder_given_twice_is_taken_by_one_only(tmp_path):
    def create(i: int) -> str:
        try:
            RunFolder.create(tmp_path / "run", "r", {"i": i})
        except RunError as error:
            assert "exists already" in str(error)
            return "refused"
        return "made"

    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(create, range(8)))
    assert sorted(found) == ["made"] + 7 * ["refused"]
    assert "i" in json.loads((tmp_path / "run" / "run.json").read_text())


def test_labels_are_made_where_the_model_is():
    given = []

    def sample(n: int, c: torch.Tensor, noise: object, **told: object) -> torch.Tensor:
        given.append(c)
        return torch.zeros(n, 1, 2, 2)

    made = SimpleNamespace(p_x=SimpleNamespace(has_mean=True))
    model = SimpleNamespace(
        device=torch.device("meta"),
        condition=SimpleNamespace(classes=3),
        sample=sample,
        generate=lambda n, c, pick: made,
        dtype=torch.float32,
        latent_shapes=((1,),),
    )
    for label in (None, 2):
        samples(SimpleNamespace(model=model, recipe=None), 4, label)
    assert [c.device.type for c in given] == ["meta", "meta"]


def test_samples_need_no_data(tmp_path):
    x = torch.randint(0, 2, (40, 1, 4, 4)).to(torch.uint8).numpy() * 255
    run = ff.fit(
        ff.recipes.vae(latent=2, hidden=(8,)), ff.data.from_arrays(x), out=tmp_path / "r", epochs=1, quiet=True
    )
    images, _ = samples(ff.Run.open(run.path), 3)
    assert images.shape == (3, 1, 4, 4)
