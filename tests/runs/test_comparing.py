"""Runs set against one another: from what they have kept, or measured alike; and refused where that cannot be."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fourfold as ff
from fourfold.evaluation import holm, paired, unpaired
from fourfold.runs import Run
from fourfold.runs.support import digest

pytestmark = pytest.mark.usefixtures("unchecked")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Finished runs on the digits; not to be changed."""
    home, digits = tmp_path_factory.mktemp("made"), ff.data.digits()

    def train(name: str, latent: int = 2, **options: Any) -> None:
        recipe = ff.recipes.vae(latent=latent, hidden=(8,))
        ff.fit(recipe, digits, epochs=1, out=home / name, quiet=True, **options)

    for seed in range(3):
        train(f"small-{seed}", seed=seed)
        train(f"large-{seed}", latent=4, seed=seed)
    train("sharp", binarize="threshold")
    train("double", precision="64")
    return home


@pytest.fixture
def runs(made: Path, tmp_path: Path) -> Callable[[str], Run]:
    """Opens a run by name, in a copy of the folder that this test may change."""

    def opened(name: str) -> Run:
        path = tmp_path / name
        return Run.open(path if path.exists() else shutil.copytree(made / name, path))

    return opened


@pytest.fixture
def nothing_measured(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """From its call on, whoever evaluates a run fails."""

    def fail(*given: Any, **more: Any) -> None:
        raise AssertionError("a run was measured again")

    return lambda: monkeypatch.setattr(Run, "evaluate", fail)


def edited(run: Run, change: Callable[[dict[str, Any]], None]) -> None:
    """Changes every row of the results, by hand."""
    file = run.folder.path / "results.json"
    rows = json.loads(file.read_text())
    for row in rows:
        change(row)
    file.write_text(json.dumps(rows))


def test_the_difference_is_that_of_the_numbers_of_each_datum(runs: Callable[[str], Run]):
    a, b = runs("small-0"), runs("large-0")
    found = ff.compare(a, b)
    elbos = [run.score(run.split("test"))["elbo"] for run in (a, b)]
    assert found.pairs[0, 1] == paired(*elbos, better="higher")
    assert [side.name for side in found.sides] == ["small-0", "large-0"]
    assert found.row["n"] == 179 and found.title.startswith("−ELBO of 179 test data of digits")
    assert "one seed of training each" in found.remarks[-1]
    assert found.verdict() in str(found)
    told = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert told["pairs"][0]["a"] == "small-0" and told["sides"][1]["rows"][0]["metric"] == "elbo"


def test_what_was_measured_is_not_measured_again(runs: Callable[[str], Run], nothing_measured: Callable[[], None]):
    first = ff.compare(runs("small-0"), runs("large-0"), metric="nll_is", importance_samples=3, importance_data=50)
    nothing_measured()
    again = ff.compare(runs("small-0").folder.path, str(runs("large-0").folder.path), metric="nll_is")
    assert again.pairs == first.pairs and again.row["n"] == 50
    assert ff.compare(runs("small-0"), runs("large-0"), metric="rate").pairs[0, 1].better is None


def test_a_run_that_lacks_the_number_is_measured_as_the_other_was(runs: Callable[[str], Run]):
    a, b = runs("small-0"), runs("large-0")
    a.evaluate(importance_samples=3, importance_data=50)
    found = ff.compare(b, a, metric="nll_is")
    assert (found.row["n"], found.row["estimator"]) == (50, "importance sampling, K = 3, z ~ q(z|x)")
    b.evaluate(importance_samples=9)  # newer, but not what both have
    assert ff.compare(a, b, metric="nll_is").row["estimator"] == "importance sampling, K = 3, z ~ q(z|x)"


def test_the_budget_that_is_asked_for_is_measured(runs: Callable[[str], Run]):
    a, b = runs("small-0"), runs("large-0")
    ff.compare(a, b)
    asked = ff.compare(a, b, draws=4)
    assert asked.row["estimator"].startswith("4 draws")
    assert ff.compare(a, b, draws=1).row["estimator"].startswith("1 draw,")


def test_what_was_measured_of_other_data_or_another_model_does_not_count(runs: Callable[[str], Run]):
    a, b = runs("small-0"), runs("large-0")
    wanted = ff.compare(a, b).pairs
    for key, value in {"seed": 1, "split": "x", "data_part": "train", "steps": 1, "checkpoint": "best"}.items():
        known = a.folder.results()[0]
        row = {**known, "protocol": {**known["protocol"], key: value}}
        a.folder.keep([row], [(row, np.zeros(179))])  # all there is, and not of this comparison
        assert a.folder.per_datum(row) is not None
        assert ff.compare(a, b).pairs == wanted, key


def test_numbers_are_never_paired_with_another_row(runs: Callable[[str], Run]):
    a, b = runs("small-0"), runs("large-0")
    wanted = ff.compare(a, b).pairs
    row = next(row for row in a.folder.results() if row["metric"] == "elbo")
    numbers = a.folder.per_datum(row)
    assert numbers is not None and numbers.mean() == pytest.approx(row["value"], rel=1e-12)
    assert a.folder.per_datum({**row, "value": row["value"] + 1e-9}) is None
    assert a.folder.per_datum({**row, "protocol": {**row["protocol"], "seed": 1}}) is None
    edited(a, lambda row: row.update(value=-1.0))
    found = ff.compare(a, b)  # measured anew: the rows are others now
    assert found.pairs == wanted and found.row["value"] != -1.0


def test_numbers_go_with_their_rows(runs: Callable[[str], Run]):
    a = runs("small-0")
    folder = a.folder.path / "per_datum"
    a.evaluate(importance_samples=3)
    before = {file.name for file in folder.iterdir()}
    a.evaluate()
    after = {file.name for file in folder.iterdir()}
    rows = a.folder.results()
    assert len(before) == len(after) == 4 and len(before & after) == 1  # elbo, rate, distortion made anew; nll_is kept
    assert sum(a.folder.per_datum(row) is not None for row in rows) == 4
    assert not list(a.folder.path.rglob("*.part"))


@pytest.mark.parametrize("damage", [b"", b"PK\x03\x04 torn", None])
def test_damaged_numbers_are_measured_again(runs: Callable[[str], Run], damage: bytes | None):
    a, b = runs("small-0"), runs("large-0")
    wanted = ff.compare(a, b).pairs
    for file in (a.folder.path / "per_datum").iterdir():
        file.write_bytes(file.read_bytes()[:-40] if damage is None else damage)
    assert ff.compare(a, b).pairs == wanted


def test_results_without_numbers_are_those_of_an_older_version(runs: Callable[[str], Run]):
    a, b = runs("small-0"), runs("large-0")
    wanted = ff.compare(a, b).pairs
    shutil.rmtree(a.folder.path / "per_datum")
    edited(a, lambda row: [row["protocol"].pop(key) for key in ("options", "data_digest")] and None)
    assert ff.compare(a, b).pairs == wanted


def test_runs_that_were_not_measured_alike_are_refused(runs: Callable[[str], Run]):
    a, b = runs("small-0"), runs("large-0")
    a.evaluate(importance_samples=3, importance_data=50)
    b.evaluate(importance_samples=4, importance_data=60)
    with pytest.raises(
        ValueError, match=r"must not be compared. They differ in n: 50 and 60; estimator: .*K = 3.*K = 4"
    ):
        ff.compare(a, b, metric="nll_is")
    with pytest.raises(ValueError, match="They differ in binarisation: dynamic and threshold"):
        ff.compare(a, runs("sharp"))


def test_other_data_under_one_name_are_refused(runs: Callable[[str], Run]):
    digits = ff.data.digits()
    opened = []
    for name, order in (("small-0", 1), ("large-0", -1)):
        mine = ff.data.from_arrays(digits.test.x[::order].copy(), name="mine", split="all")
        run = runs(name)
        run.data = run.adapted(mine)
        opened.append(run)
    with pytest.raises(ValueError, match="They differ in the data themselves"):
        ff.compare(*opened, split="train")


def test_versions_are_remarked_on(runs: Callable[[str], Run], nothing_measured: Callable[[], None]):
    a, b = runs("small-0"), runs("large-0")
    ff.compare(a, b)
    kept = {row["metric"]: a.folder.per_datum(row) for row in a.folder.results()}
    edited(a, lambda row: row["protocol"].update(fourfold="0.0.9"))
    rows = a.folder.results()
    a.folder.keep(rows, [(row, kept[row["metric"]]) for row in rows if kept[row["metric"]] is not None])
    nothing_measured()
    assert "versions of fourfold: 0.0.9" in ff.compare(a, b).remarks[0]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"metric": "nll_is"}, r"no run has kept the NLL \(IS\) of each datum. .*--importance-samples 5000"),
        ({"metric": "nll_is", "importance_data": 5}, "no run has kept"),
        ({"importance_samples": 5}, "importance_samples is no budget of elbo, which takes draws"),
        ({"metric": "nll_is", "draws": 5}, "draws is no budget of nll_is, which takes importance_samples and"),
        ({"metric": "active_units"}, "has no active_units of each datum. It has elbo, rate, distortion"),
        ({"split": "tests"}, "'tests'"),
    ],
)
def test_what_cannot_be_compared_is_refused(runs: Callable[[str], Run], options: dict[str, Any], message: str):
    with pytest.raises(ValueError, match=message):
        ff.compare(runs("small-0"), runs("large-0"), **options)


def test_one_run_is_no_comparison(runs: Callable[[str], Run]):
    with pytest.raises(ValueError, match="at least two runs, got 1"):
        ff.compare(runs("small-0"))
    with pytest.raises(ValueError, match="small-0 is given twice"):
        ff.compare(runs("small-0"), runs("large-0"), runs("small-0"))


def test_more_than_two_runs_are_compared_pair_by_pair(runs: Callable[[str], Run]):
    found = ff.compare(runs("small-0"), runs("small-1"), runs("large-0"))
    assert list(found.pairs) == [(0, 1), (0, 2), (1, 2)]
    assert any("3 pairs (Holm)" in remark for remark in found.remarks)
    assert [one.adjusted_p for one in found.pairs.values()] == holm([one.p_value for one in found.pairs.values()])


def test_recipes_are_compared_over_seeds_of_training(runs: Callable[[str], Run]):
    groups = [[runs(f"{name}-{seed}") for seed in range(3)] for name in ("small", "large")]
    found = ff.compare(*groups[0], against=groups[1])
    means = [[float(run.score(run.split("test"))["elbo"].mean()) for run in group] for group in groups]
    wanted = unpaired(*means, better="higher")
    assert found.pairs[0, 1].difference == pytest.approx(wanted.difference, rel=1e-9)
    assert found.pairs[0, 1].interval == pytest.approx(wanted.interval, rel=1e-9)
    assert [side.name for side in found.sides] == ["vae (small-0 …)", "vae (large-0 …)"]
    assert len(found.values()) == 6 and "over seeds of training" in found.remarks[-1]
    assert float(found.sides[0].numbers.mean()) == pytest.approx(np.mean(means[0]), rel=1e-9)
    assert found.picture() is not None


@pytest.mark.parametrize(
    ("one", "other", "message"),
    [
        (["small-0"], ["large-0", "large-1"], "at least two runs on each side, got 1 and 2"),
        (["small-0", "large-1"], ["large-0", "large-2"], "not one recipe with two seeds: latent is 2 and 4"),
        (["small-0", "sharp"], ["large-0", "large-1"], "binarize is dynamic and threshold"),
        (["small-0", "small-1"], ["small-1", "small-2"], "small-1 is given twice"),
    ],
)
def test_groups_that_are_none_are_refused(runs: Callable[[str], Run], one: list[str], other: list[str], message: str):
    with pytest.raises(ValueError, match=message):
        ff.compare(*map(runs, one), against=list(map(runs, other)))


def test_one_seed_twice_is_no_group(runs: Callable[[str], Run], tmp_path: Path):
    twin = shutil.copytree(runs("small-0").folder.path, tmp_path / "twin")
    with pytest.raises(ValueError, match=r"need different seeds of training, got \[0, 0\]"):
        ff.compare(runs("small-0"), twin, against=[runs("large-0"), runs("large-1")])


def test_the_digest_is_of_what_the_model_saw(runs: Callable[[str], Run]):
    run = runs("small-0")
    test = run.split("test")
    seen = digest(run.batches(test)())
    assert digest(run.batches(test)()) == seen
    assert digest(run.batches(test, seed=1)()) != seen  # another binarisation
    assert digest(run.batches(run.split("validation"))()) != seen
    assert digest(runs("double").batches(test)()) == seen  # the same 0 and 1 in another precision
    assert digest(runs("sharp").batches(test)()) != seen


def test_numbers_that_are_not_finite_have_no_picture(runs: Callable[[str], Run], monkeypatch: pytest.MonkeyPatch):
    a, b = runs("small-0"), runs("large-0")
    wanted, broken = a.evaluate(save=False), np.array([np.nan, *[0.0] * 178])
    row = next(row for row in wanted.rows if row.metric == "elbo").to_dict()
    row |= {"value": "nan", "standard_error": None, "non_finite": 1}
    a.folder.keep([row], [(row, broken)])
    found = ff.compare(a, b)
    assert found.verdict() == "nothing can be told: 1 of the numbers are not finite"
    assert ("small-0", "nan nats") in found.values()
    json.dumps(found.to_dict(), allow_nan=False)
    with pytest.raises(ValueError, match="must be"):
        found.picture()


def test_rows_of_other_commands_are_no_budget(runs: Callable[[str], Run]):
    """``fourfold evidence`` keeps an ELBO of a few data: what is asked for is measured all the same."""
    from fourfold.evaluation import EvidenceOptions
    from fourfold.runs.evidence import evidence_of

    a, b = runs("small-0"), runs("large-0")
    evidence_of(a, EvidenceOptions((1, 5), annealing=None), data=20)
    assert ff.compare(a, b, draws=1).row["n"] == 179
    a.folder.keep([*a.folder.results(), {**a.folder.results()[0], "metric": "mi"}], [])
    rows = a.folder.results()
    del rows[-1]["protocol"]["options"]
    a.folder.keep(rows, [(rows[-1], np.zeros(rows[-1]["n"]))])
    with pytest.raises(ValueError, match="no mi of each datum"):
        ff.compare(a, b, metric="mi")
