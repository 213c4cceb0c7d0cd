"""``fourfold compare-samples``, and the two-sample test of ``fourfold evaluate``."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

import fourfold as ff
from fourfold.cli import main
from fourfold.evaluation import two_sample
from fourfold.runs import Run

DRAW = np.random.default_rng(0)


@pytest.fixture
def files(here: Path) -> Path:
    """a and b differ by a shift of .4, a and c by chance only."""
    a, b, c = DRAW.normal(size=(120, 4)), DRAW.normal(size=(120, 4)) + 0.4, DRAW.normal(size=(90, 4))
    np.savez("a.npz", x=a, labels=np.arange(120))
    np.savez("b.npz", z=b.astype(np.float32))
    np.save("c.npy", c.reshape(90, 2, 2))
    return here


def said(words: list[str], capsys: pytest.CaptureFixture) -> str:
    capsys.readouterr()
    assert main(["compare-samples", *words]) == 0
    return capsys.readouterr().out


def test_it_prints_statistic_p_verdict_and_protocol(files: Path, capsys: pytest.CaptureFixture) -> None:
    told = said(["a.npz", "b.npz", "--permutations", "200"], capsys)
    for words in ("a.npz: 120 rows of 4 numbers", "MMD² (unbiased) = ", "p = 0.004975", "different distributions"):
        assert words in told
    assert "RBF(" in told and "200 permutations of the pooled sample; seed 0" in told
    assert "no evidence against: both samples come from one distribution" in said(["a.npz", "c.npy"], capsys)


@pytest.mark.parametrize(
    "flags",
    [
        ["--test", "mmdagg", "--permutations", "200"],
        ["--test", "linear", "--rows", "90"],
        ["--kernel", "laplace"],
        ["--kernel", "imq", "--bandwidth", "2sigma^2=median^2"],
        ["--kernel", "rbf", "--bandwidth", "1.5", "--rows", "100"],
        ["--kernel", "polynomial"],
    ],
)
def test_json_has_all_of_it_and_nothing_else(files: Path, flags: list[str], capsys: pytest.CaptureFixture) -> None:
    found = json.loads(said(["a.npz", "b.npz", "--json", "--seed", "3", *flags], capsys))
    size = int(flags[-1]) if "--rows" in flags else 120
    assert (found["n"], found["m"], found["seed"], found["first"]) == (size, size, 3, "a.npz")
    assert 0 < found["p_value"] < 0.2 and found["verdict"] and found["fourfold"] == ff.__version__
    assert found == json.loads(said(["a.npz", "b.npz", "--json", "--seed", "3", *flags], capsys))


def test_an_imq_has_the_squared_median_for_its_scale(files: Path, capsys: pytest.CaptureFixture) -> None:
    pooled = np.concatenate([np.load("a.npz")["x"], np.load("b.npz")["z"]])
    median = float(torch.pdist(torch.from_numpy(pooled)).quantile(0.5))
    found = json.loads(said(["a.npz", "b.npz", "--json", "--kernel", "imq"], capsys))
    assert float(found["kernel"][4:-1]) == pytest.approx(median**2, rel=1e-3)


def test_an_array_can_be_named_and_a_lone_one_needs_no_name(files: Path, capsys: pytest.CaptureFixture) -> None:
    np.savez("many.npz", first=DRAW.normal(size=(50, 4)), second=DRAW.normal(size=(50, 4)))
    np.savez("lone.npz", codes=DRAW.normal(size=(50, 4)))
    np.savez("two.npz", first=DRAW.normal(size=(50, 4)))
    assert "50 rows" in said(["many.npz", "two.npz", "--array", "first"], capsys)
    assert "50 rows" in said(["lone.npz", "a.npz"], capsys)


def test_bytes_and_bytes_compare(here: Path, capsys: pytest.CaptureFixture) -> None:
    for i in range(2):
        np.save(f"{i}.npy", DRAW.integers(0, 256, (60, 8, 8), dtype=np.uint8))
    assert "60 rows of 64" in said(["0.npy", "1.npy"], capsys)


def write(name: str, **arrays: np.ndarray) -> Callable[[], None]:
    return lambda: np.savez(name, **arrays)  # pyright: ignore


BAD = [
    (["a.npz", "nope.npz"], ("nope.npz",), None),
    (["a.npz", "d.npz"], ("shape (4,)", "(5,)"), write("d.npz", x=np.zeros((20, 5)))),
    (["a.npz", "d.npz"], ("row 3", "not finite", "1 rows"), write("d.npz", x=np.diag([0, 0, 0, np.nan] + [0] * 9))),
    (["a.npz", "d.npz"], ("at least 10 rows", "got 9"), write("d.npz", x=np.zeros((9, 4)))),
    (["a.npz", "d.npz"], ("several arrays", "p, q", "--array"), write("d.npz", p=np.zeros(9), q=np.zeros(9))),
    (["a.npz", "b.npz", "--array", "y"], ("no array 'y'", "x, labels"), None),
    (["a.npz", "d.npz"], ("real numbers", "<U1"), write("d.npz", x=np.array(["a"] * 20))),
    (["a.npz", "d.npz"], ("one scale", "uint8"), write("d.npz", x=np.full((20, 4), 200, np.uint8))),
    (["a.npz", "d.npz"], ("cannot be read as .npz",), lambda: Path("d.npz").write_bytes(b"PK\3\4nothing")),
    (["a.npz", "d.npy"], ("cannot be read as .npy",), lambda: Path("d.npy").write_bytes(b"nothing")),
    (["a.npz", "d.npz"], ("cannot be read", "allow_pickle"), write("d.npz", x=np.array([{}] * 20, dtype=object))),
    (["a.npz", "d.csv"], ("d.csv", ".npy or .npz"), lambda: Path("d.csv").write_text("1,2")),
    (["a.npz", "d.npz"], ("coincide", "bandwidth"), lambda: [np.savez(f"{n}.npz", x=np.zeros((20, 4))) for n in "ad"]),
    (["a.npz", "c.npy", "--test", "linear"], ("120 and 90", "--rows 90"), None),
    (["a.npz", "b.npz", "--rows", "500"], ("--rows 500", "120"), None),
    (["a.npz", "b.npz", "--permutations", "0"], ("--permutations", "at least 1"), None),
    (["a.npz", "b.npz", "--permutations", "18"], ("--permutations 18", "no p below 0.053", "at least 19"), None),
    (["a.npz", "b.npz", "--test", "mmdagg", "--permutations", "5"], ("no p below 0.17", "at least 19"), None),
    (["a.npz", "b.npz", "--bandwidth", "median"], ("--bandwidth", "sigma=median", "'median'"), None),
    (["a.npz", "b.npz", "--bandwidth", "-1"], ("--bandwidth", "above 0", "'-1'"), None),
    (["a.npz", "b.npz", "--test", "mmdagg", "--kernel", "rbf"], ("--test mmdagg takes no --kernel",), None),
    (["a.npz", "b.npz", "--kernel", "polynomial", "--bandwidth", "1"], ("polynomial takes no --bandwidth",), None),
    (["a.npz", "b.npz", "--kernel", "gauss"], ("--kernel", "rbf"), None),
    (["a.npz"], ("B",), None),
]  # fmt: skip


@pytest.mark.parametrize(("words", "wanted", "arrange"), BAD)
def test_a_bad_input_is_one_line(
    words: list[str],
    wanted: tuple[str, ...],
    arrange: Callable[[], object] | None,
    files: Path,
    capsys: pytest.CaptureFixture,
) -> None:
    if arrange:
        arrange()
    assert main(["compare-samples", *words]) == 2
    printed = capsys.readouterr()
    assert printed.err.startswith("fourfold: error: ") and len(printed.err.splitlines()) == 1 and not printed.out
    missing = [word for word in wanted if word not in printed.err]
    assert not missing, printed.err


# Of a run ------------------------------------------------------------------------------------------------------------


def test_evaluate_says_whether_generated_and_real_differ(run: Path, capsys: pytest.CaptureFixture) -> None:
    assert main(["evaluate", str(run), "--two-sample", "150"]) == 0
    told = capsys.readouterr().out
    assert "do generated and real differ? " in told and "two-sample p-value" in told
    rows = {row["metric"]: row for row in json.loads((run / "results.json").read_text())}
    p, value = rows["two_sample_p"], rows["two_sample_mmd2"]
    assert p["n"] == value["n"] == 150 and "500 permutations" in p["estimator"] and "RBF" in value["estimator"]
    assert "two-sample p-value" in (run / "report.html").read_text()
    opened = Run.open(run)
    noise = ff.Noise(0, stream="evaluate").fork("two_sample")
    found = two_sample(opened.model, opened.batches(opened.split("test"))(), noise, 150)
    assert (found.p_value, found.statistic) == (p["value"], pytest.approx(value["value"]))


def test_an_untrained_model_differs_and_the_data_themselves_do_not(run: Path) -> None:
    opened = Run.open(run)

    class Echo:
        """Generates rows of the data, drawn from all that it was trained on: the digits are in the order of writers."""

        training = False
        known = torch.cat([batch.x for batch in opened.batches(opened.split("train"))()])

        def sample(self, n: int, c: object, noise: ff.Noise, *, mean: bool) -> torch.Tensor:
            assert not mean
            return self.known[noise.uniform((len(self.known),)).argsort()[:n]]

    def rows():
        return opened.batches(opened.split("test"))()

    found = [two_sample(Echo(), rows(), ff.Noise(i), 179).p_value for i in range(8)]  # pyright: ignore
    assert sum(p <= 0.05 for p in found) <= 1 and max(found) > 0.3
    with torch.no_grad():
        for p in opened.model.likelihood.parameters():  # pyright: ignore
            p.zero_()
    assert two_sample(opened.model, rows(), ff.Noise(0), 150).p_value < 0.01


def test_what_has_nothing_to_compare_is_a_note(here: Path, capsys: pytest.CaptureFixture) -> None:
    small = ["--hidden", "8", "--latent", "2", "--epochs", "1", "--quiet", "--no-report"]
    assert main(["train", "structured_cvae", "--out", "part", *small]) == 0
    capsys.readouterr()
    assert main(["evaluate", "part", "--two-sample", "50", "--no-report"]) == 0
    assert "not computed: two_sample_p: two_sample: the data are modelled in part only" in capsys.readouterr().out
    assert main(["evaluate", "part", "--two-sample", "-1", "--no-report"]) == 2
    assert "two_sample" in capsys.readouterr().err
