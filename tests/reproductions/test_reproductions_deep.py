"""The table of deep models: data pooled, CPU seconds counted, levels told from the top, expectations judged."""

import json
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import fourfold as ff
from fourfold.data.arrays import checksum
from fourfold.evaluation import Row

ROOT = Path(__file__).parents[2]
if not (ROOT / "reproductions").is_dir():
    pytest.skip("reproductions/ is not part of this copy", allow_module_level=True)
sys.path.insert(0, str(ROOT))
from reproductions import deep_compare, deep_curves, deep_lines, deep_page, deep_pictures, deep_table  # noqa: E402
from reproductions.clock import Clock  # noqa: E402
from reproductions.compare import compared  # noqa: E402
from reproductions.pooled import mnist_14, pooled  # noqa: E402
from reproductions.store import keep, kept  # noqa: E402

EVERY = {**deep_lines.SHORT, **deep_curves.POINTS}
FLAGS = ["--trial", "--runs"]


def test_pooled_images_are_means_of_two_by_two() -> None:
    x = np.random.default_rng(0).integers(0, 256, (5, 2, 6, 8), dtype=np.uint8)
    wanted = np.floor(np.stack([x[..., i::2, j::2] for i in (0, 1) for j in (0, 1)]).astype(float).mean(0) + 0.5)
    assert pooled(x).dtype == np.uint8
    assert np.array_equal(pooled(x), wanted)
    assert pooled(np.full((1, 1, 2, 2), 255, np.uint8)).item() == 255


def test_pooled_data_say_what_they_are() -> None:
    digits = ff.data.digits()
    data = mnist_14(digits)
    assert (data.name, data.shape, data.levels, data.origin) == ("digits_4", (1, 4, 4), 256, None)
    assert data.protocol["dataset"] == "digits_4" and "2 x 2" in data.protocol["pooled"]
    assert data.protocol["split"] == digits.protocol["split"]
    assert data.protocol["checksum"] == checksum(data.parts) != checksum(digits.parts)
    assert data.test is not None and digits.test is not None
    assert np.array_equal(data.test.labels, digits.test.labels)
    assert np.array_equal(data.test.x, pooled(digits.test.x))


def test_cpu_seconds_are_added_over_slices(tmp_path: Path) -> None:
    def work(seconds: float) -> None:
        start = time.process_time()
        while time.process_time() - start < seconds:
            pass

    file = tmp_path / "line.cpu.json"
    with Clock(file).running("training"):
        work(0.3)
        time.sleep(0.2)  # no work
    with pytest.raises(KeyboardInterrupt), Clock(file, every=0.01).running("training"):
        work(0.2)
        # What a process that is killed now has written already.
        assert json.loads(file.read_text())["training"] == pytest.approx(0.5, abs=0.15)
        raise KeyboardInterrupt
    with Clock(file).running("measuring"):
        work(0.1)
    said = Clock(file).said()
    assert said["training_cpu_seconds"] == pytest.approx(0.5, abs=0.15)
    assert said["measuring_cpu_seconds"] == pytest.approx(0.1, abs=0.1)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A chain of levels and a model without latents."""
    runs = tmp_path_factory.mktemp("deep")
    assert deep_table.main(["--only", "hvae_plain", "pixel_cnn", *FLAGS, str(runs)]) == 0
    return runs


def test_a_line_has_levels_budgets_and_a_page(made: Path) -> None:
    rows = {row["metric"]: row for row in kept("deep_table", made) if row["protocol"]["entry"] == "hvae_plain"}
    assert rows.keys() >= {"elbo", "nll_is", *(f"{of}_{i}" for of in ("rate", "active_units") for i in range(1, 6))}
    assert sum(rows[f"rate_{i}"]["value"] for i in range(1, 6)) == pytest.approx(rows["rate"]["value"])
    assert [row["n"] for row in (rows["elbo"], rows["nll_is"])] == [179, 50]
    protocol = rows["nll_is"]["protocol"]
    assert protocol["budget_cpu_minutes"] == deep_lines.SHORT["hvae_plain"].minutes
    assert protocol["training_cpu_seconds"] > 0 and protocol["measuring_cpu_seconds"] > 0
    assert protocol["training_seconds"] > 0
    page = (made / "deep_table.md").read_text()
    cells = next(line for line in page.splitlines() if line.startswith("| hvae_plain")).split(" | ")
    assert cells[4].split(", ") == [f"{rows[f'rate_{i}']['value']:.1f}" for i in range(1, 6)]
    assert cells[5] == "4, 8, 16, 32, 64" or len(cells[5].split(", ")) == 5
    assert "- hvae_plain: `hvae(latents=(64, 32, 16, 8, 4)" in page


def test_a_model_without_latents_is_measured_exactly(made: Path) -> None:
    rows = {row["metric"]: row for row in kept("deep_table", made) if row["protocol"]["entry"] == "pixel_cnn"}
    assert rows["nll_is"]["estimator"] == rows["elbo"]["estimator"] == "exact, no latents"
    with np.load(made / "deep" / "pixel_cnn.npz") as few, np.load(made / "pixel_cnn" / "per_datum.npz") as every:
        np.testing.assert_allclose(few["nll_is"], -every["elbo"][:50], rtol=1e-5)
    line = next(line for line in (made / "deep_table.md").read_text().splitlines() if line.startswith("| pixel_cnn"))
    assert line.split(" | ")[4:6] == ["–", "–"]


def test_what_is_there_is_not_done_again(made: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = (made / "deep_table.json").read_bytes()
    assert deep_table.main(["--only", "hvae_plain", "pixel_cnn", *FLAGS, str(made)]) == 0
    assert capsys.readouterr().out == ""
    assert (made / "deep_table.json").read_bytes() == before


def test_a_missing_recipe_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(deep_lines.SHORT, "vae", deep_lines.Entry("no_such", {}, 1, 1))
    assert deep_table.main(["--only", "vae", *FLAGS, str(tmp_path)]) == 0
    assert "vae: there is no recipe no_such" in capsys.readouterr().out


@pytest.mark.parametrize("name", EVERY)
def test_every_line_is_a_plan_within_its_limits(name: str) -> None:
    entry = EVERY[name]
    assert deep_table.plan_of(entry) is not None
    assert entry.data in deep_lines.DATA
    if "layers" in entry.arguments and entry.data == "mnist_14":
        assert entry.arguments["layers"] <= 4 and entry.arguments["filters"] <= 16 and entry.minutes <= 10
    if name in deep_curves.POINTS:
        assert entry.data == "mnist_14" and entry.minutes <= 4


@pytest.mark.parametrize("name", deep_lines.FULL)
def test_every_line_in_full_is_a_plan_for_images_as_they_are(name: str) -> None:
    entry = deep_lines.FULL[name]
    plan = deep_table.plan_of(entry)
    assert plan is not None and entry.data == "mnist" and entry.images is None
    ff.Training().but(epochs=entry.epochs, **entry.training)


@pytest.mark.slow
def test_lines_in_full_are_kept_apart(tmp_path: Path) -> None:
    assert deep_table.main(["--full", "--only", "vdvae", *FLAGS, str(tmp_path)]) == 0
    assert not (tmp_path / "deep_table.json").exists()
    assert "budget_cpu_minutes" not in kept("deep_full", tmp_path / "full")[0]["protocol"]
    assert "deep_table --full" in (tmp_path / "full" / "deep_full.md").read_text()
    with pytest.raises(SystemExit):
        deep_table.main(["--full", "--only", "rnn_lm", *FLAGS, str(tmp_path)])


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*the schedule of beta:UserWarning")
def test_sentences_have_the_perplexity_of_both_estimates(tmp_path: Path) -> None:
    assert deep_table.main(["--only", "sentence_vae", *FLAGS, str(tmp_path)]) == 0
    rows = {row["metric"]: row for row in kept("deep_table", tmp_path)}
    assert rows["perplexity_is"]["n"] == rows["nll_is"]["n"] == rows["elbo"]["n"]  # fewer than a trial asks for
    logs = {metric: np.log(rows[metric]["value"]) for metric in ("perplexity", "perplexity_is")}
    tokens = -rows["elbo"]["value"] / logs["perplexity"]  # nats a sentence over nats a token
    assert rows["nll_is"]["value"] / logs["perplexity_is"] == pytest.approx(tokens, rel=1e-4)
    assert rows["perplexity_is"]["standard_error"] == pytest.approx(rows["perplexity"]["standard_error"], rel=0.3)
    assert "| perplexity |" in (tmp_path / "deep_table.md").read_text()


def test_all_of_it_takes_four_hours_at_most() -> None:
    assert sum(entry.minutes for entry in EVERY.values()) <= 240


def line(home: Path, name: str, table: str = "deep_table", **metrics: float | tuple[float, ...]) -> None:
    """A made-up line: several values are those of levels, from the top."""
    protocol = {"entry": name, "images": "same", "dataset": "mnist", "chosen": {}, "epochs": 1, "recipe": "vae"}
    rows = []
    for metric, value in metrics.items():
        values = value if isinstance(value, tuple) else (value,)
        names = [f"{metric}_{i}" for i in range(1, len(values) + 1)] if len(values) > 1 else [metric]
        rows += [
            Row(key, one, "nats", 0.1, "K", 400, {**protocol, "parameters": 1})
            for key, one in zip(names, values, strict=True)
        ]
    keep(table, rows, home)


def arrays(home: Path, name: str, nll: np.ndarray) -> None:
    (home / "deep").mkdir(exist_ok=True)
    np.savez(home / "deep" / f"{name}.npz", nll_is=nll.astype(np.float32))


def test_levels_come_from_the_top_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    line(tmp_path, "nvae", rate=tuple(float(i) for i in range(1, 13)))
    found = deep_page.by_entry(kept("deep_table", tmp_path))["nvae"]
    assert deep_page.levels_of(found, "rate") == [float(i) for i in range(1, 13)]
    assert deep_page.levels_of(found, "active_units") == []


def test_what_is_exact_may_be_compared_with_an_estimate(tmp_path: Path) -> None:
    base = np.random.default_rng(0).normal(40, 9, 400)
    line(tmp_path, "pixel_vae", nll_is=40.0)
    protocol = {"entry": "pixel_cnn", "images": "same"}
    keep("deep_table", [Row("nll_is", 42.0, "nats", 0.1, "exact, no latents", 400, protocol)], tmp_path)
    arrays(tmp_path, "pixel_vae", base - 2)
    arrays(tmp_path, "pixel_cnn", base + np.random.default_rng(1).normal(0, 1, 400))
    found = compared("pixel_vae", "pixel_cnn", tmp_path, "deep_table")
    assert found["verdict"] == "as expected" and found["difference"] == pytest.approx(-2, abs=0.2)


def test_levels_alive_are_counted_and_judged(tmp_path: Path) -> None:
    assert deep_compare.alive("lvae", tmp_path)["verdict"] == "not there yet: lvae"
    line(tmp_path, "lvae", rate=(0.5, 2.0, 9.0), active_units=(2.0, 4.0, 8.0))
    line(tmp_path, "hvae", rate=(0.01, 0.3, 20.0), active_units=(1.0, 0.0, 8.0))
    ladder, chain = (deep_compare.alive(name, tmp_path) for name in ("lvae", "hvae"))
    assert (ladder["alive"], chain["alive"], chain["levels"]) == (3, 1, 3)
    assert deep_compare.kept_alive(ladder, chain) == "as expected"
    assert deep_compare.kept_alive(ladder, {**ladder, "line": "hvae"}) == "those of hvae are all alive too"
    assert deep_compare.kept_alive(chain, ladder).startswith("not as expected: 1 of 3 levels of hvae")


def test_trends_are_judged_step_by_step(tmp_path: Path) -> None:
    points = ("a", "b", "c")
    expected = deep_compare.Trend(points, "falls")
    for name, rate in zip(points, (9.0, 5.0, 1.0), strict=True):
        assert "not there yet" in deep_compare.trend(expected, tmp_path)["verdict"]
        line(tmp_path, name, "deep_curves", rate=rate)
    assert deep_compare.trend(expected, tmp_path)["verdict"] == "as expected"
    line(tmp_path, "b", "deep_curves", rate=1.1)  # within two errors of c
    assert deep_compare.trend(expected, tmp_path)["verdict"] == "falls at 1 of 2 steps"


def test_expectations_are_of_lines_and_points_that_exist(tmp_path: Path) -> None:
    names = {name for claim in deep_compare.CLAIMS for name in claim[:2]} | set(deep_pictures.LADDERS)
    assert names <= set(deep_lines.SHORT)
    assert {name for trend in deep_compare.TRENDS for name in trend.points} <= set(deep_curves.POINTS)
    deep_compare.main(["--home", str(tmp_path)])
    assert "not there yet" in (tmp_path / "deep_compare.md").read_text()


def test_likeness_tells_shape_from_texture() -> None:
    rng = np.random.default_rng(0)
    shape = np.kron(rng.random((300, 1, 4, 4)) < 0.5, np.ones((1, 1, 2, 2)))

    def textured() -> np.ndarray:
        texture = np.tile(np.array([[1.0, 0], [0, 1]]), (4, 4)) * rng.choice([-1, 1], (300, 1, 1, 1))
        return shape + 0.5 * (texture - texture.mean((2, 3), keepdims=True))

    x, y = textured(), textured()
    assert deep_pictures.likeness(x, x) == {"coarse": 1.0, "fine": 1.0}
    found = deep_pictures.likeness(x, y)
    assert found["coarse"] > 0.99 and abs(found["fine"]) < 0.2
    other = deep_pictures.likeness(x, rng.permutation(y))
    assert abs(other["coarse"]) < 0.1


@pytest.mark.slow
def test_curves_of_a_trial_are_drawn_and_kept(tmp_path: Path, made: Path) -> None:
    arguments = ["--only", "vlae_2x1", "vlae_10x5", "--table", str(made), *FLAGS, str(tmp_path)]
    for _ in range(2):
        assert deep_curves.main(arguments) == 0
    levels = json.loads((tmp_path / "deep_levels.json").read_text())
    assert len(levels["hvae_plain"]["rates"]) == 5 and len(levels["hvae_plain"]["epochs"]) >= 1
    lossy = json.loads((tmp_path / "deep_lossy.json").read_text())
    assert lossy.keys() == {"2x1", "10x5"} and lossy["2x1"]["images"] == 179
    assert {path.name for path in tmp_path.glob("*.png")} == {"deep_levels.png", "deep_lossy.png"}
    assert deep_pictures.levels(tmp_path / "no runs", tmp_path) == levels  # runs may go, numbers stay
