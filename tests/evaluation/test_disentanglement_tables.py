"""Tables of a user: what is read, what is guessed, what is refused and how; and the table of measurements."""

import json
from pathlib import Path

import numpy as np
import pytest
from known_codes import factors_of, source_of

from fourfold.data import Factor
from fourfold.evaluation import Row, table
from fourfold.evaluation.disentanglement import (
    CONTROLS,
    DEFAULT,
    METRICS,
    Measuring,
    Posteriors,
    Reading,
    Sample,
    Sampled,
    Tabled,
    beta_vae,
    controls,
    irs,
    measure,
    mig_dlib,
    modularity,
    perfect,
    read_codes,
    read_factors,
    read_sample,
    rotated,
)

pytestmark = pytest.mark.usefixtures("unchecked")

CODES = "z1,z2\n0.1,2\n0.4,2\n-3,2\n"
FACTORS = "shape,size\nheart,3\ndisc,1\nheart,1\n"


def written(folder: Path, codes: str = CODES, factors: str = FACTORS) -> tuple[Path, Path]:
    paths = folder / "a.csv", folder / "b.csv"
    for path, text in zip(paths, (codes, factors), strict=True):
        path.write_text(text, encoding="utf-8")
    return paths


def test_words_and_numbers(tmp_path: Path):
    sample = read_sample(*written(tmp_path))
    assert sample.codes.tolist() == [[0.1, 2], [0.4, 2], [-3, 2]]
    assert sample.factors.tolist() == [[1, 1], [0, 0], [1, 0]]
    shape, size = sample.about
    assert shape == Factor("shape", "categorical", values=("disc", "heart"))
    assert size == Factor("size", "ordinal", values=(1, 3))


@pytest.mark.parametrize("mark", [",", ";", "\t"])
def test_other_marks_and_byte_order_marks(tmp_path: Path, mark: str):
    path = tmp_path / "a.csv"
    path.write_text("\ufeff" + f"a{mark}b\n1{mark} 2\n\n3{mark}4\r\n", encoding="utf-8")
    codes, names = read_codes(path)
    assert codes.tolist() == [[1, 2], [3, 4]] and names == ["a", "b"]


def test_tables_without_a_header(tmp_path: Path):
    codes, names = read_codes(written(tmp_path, "1,2\n3,4\n")[0])
    assert (len(codes), names) == (2, ["z1", "z2"])
    v, about = read_factors(written(tmp_path, factors="red\nblue\nred\n")[1])
    assert (v[:, 0].tolist(), about[0].name) == ([1, 0, 1], "v1")
    v, about = read_factors(written(tmp_path, factors="colour\nred\nblue\n")[1])
    assert (len(v), about[0].name) == (2, "colour")
    v, about = read_factors(written(tmp_path, factors="colour\nred\nblue\n")[1], Reading(header=False))
    assert (len(v), about[0].name) == (3, "v1")


def test_kinds_are_guessed_and_can_be_told(tmp_path: Path):
    rng = np.random.default_rng(0)
    lines = ["free,grid,angle,uneven,code"]
    lines += [f"{rng.random():.6f},{i % 7 / 2},{i % 8 * 45},{(i % 5) ** 2},{i % 3}" for i in range(200)]
    path = written(tmp_path, factors="\n".join(lines))[1]
    _, guessed = read_factors(path)
    assert [f.kind for f in guessed] == ["continuous", "ordinal", "ordinal", "ordinal", "ordinal"]
    assert guessed[1].values == (0.0, 0.5, 1.0, 1.5, 2.0, 2.5, 3.0)
    told = Reading(categorical=("code",), continuous=("grid",), periodic={"angle": 360, "uneven": 25, "free": 1})
    v, about = read_factors(path, told)
    assert [f.kind for f in about] == ["continuous", "continuous", "ordinal", "continuous", "categorical"]
    assert [f.period for f in about] == [1, None, 8.0, 25, None]  # of a grid in steps of 45: eight of them
    assert v[:9, 2].tolist() == [0, 1, 2, 3, 4, 5, 6, 7, 0]
    assert v[:6, 3].tolist() == [0, 1, 4, 9, 16, 0]


@pytest.mark.parametrize(
    ("codes", "factors", "said"),
    [
        ("z1,z2\n1,2\nnan,3\n4,5\n", FACTORS, r"a\.csv, line 3, column 'z1' is nan.*finite"),
        ("z1,z2\n1,2\n3,inf\n4,5\n", FACTORS, r"a\.csv, line 3, column 'z2' is inf"),
        ("z1,z2\n1,2\n3,\n4,5\n", FACTORS, r"a\.csv, line 3, column 'z2' is empty"),
        ("z1,z2\n1,2\n3,x\n4,5\n", FACTORS, r"a\.csv, line 3, column 'z2': 'x' is no number"),
        ("z1,z2\n1,2\n3\n4,5\n", FACTORS, r"a\.csv, line 3: 1 columns, but line 1 has 2"),
        ("z1,z2\n1,2\n3,4\n", FACTORS, r"a\.csv has 2 rows and .*b\.csv has 3"),
        ("z1,z2\n1,2\n", FACTORS, r"a\.csv: wanted at least two rows of data, got 1"),
        ("", FACTORS, r"a\.csv is empty"),
        ("z1,z2\n1,2\n1,2\n1,2\n", FACTORS, r"a\.csv: none of the columns \['z1', 'z2'\] varies"),
        (",z2\n1,2\n3,4\n5,6\n", FACTORS, r"a\.csv: column 1 has no name. Is it an index\?"),
        ("z,z\n1,2\n3,4\n5,6\n", FACTORS, r"a\.csv: two columns are called 'z'"),
        (CODES, "shape,size\nheart,3\ndisc,3\nheart,3\n", r"b\.csv, column 'size': all 3 rows are '3'.*constant"),
        (CODES, "shape,size\nheart,3\ndisc,3.0\nheart,3\n", r"b\.csv, column 'size': all rows are 3\."),
        (CODES, "shape,size\nheart,3\n,1\nheart,1\n", r"b\.csv, line 3, column 'shape' is empty"),
        (CODES, "shape,size\nheart,3\ndisc,nan\nheart,1\n", r"b\.csv, line 3, column 'size' is nan"),
    ],
)
def test_bad_tables_are_refused_by_file_column_and_line(tmp_path: Path, codes: str, factors: str, said: str):
    with pytest.raises(ValueError, match=said):
        read_sample(*written(tmp_path, codes, factors))


def test_wrong_words_about_columns_are_refused(tmp_path: Path):
    path = written(tmp_path)[1]
    with pytest.raises(ValueError, match=r"b\.csv: unknown column 'sise'. Did you mean 'size'"):
        read_factors(path, Reading(periodic={"sise": 3}))
    with pytest.raises(ValueError, match=r"line 2, column 'shape': 'heart' is no number"):
        read_factors(path, Reading(continuous=("shape",)))
    with pytest.raises(ValueError, match="categorical and continuous"):
        Reading(categorical=("a",), continuous=("a",))
    with pytest.raises(ValueError, match="period of 'a'"):
        Reading(periodic={"a": 0})


SIZE = Factor("size", "ordinal", values=(1, 2))


@pytest.mark.parametrize(
    ("codes", "factors", "about", "said"),
    [
        ([[1.0]], [[0]], (SIZE,), "at least two rows"),
        ([[1.0], [2.0]], [[0], [1], [1]], (SIZE,), "codes have 2 rows and factors 3"),
        ([[1.0], [np.nan]], [[0], [1]], (SIZE,), "row 1, column 0 is nan"),
        ([[1.0], [2.0]], [[0], [np.inf]], (SIZE,), "factors: row 1, column 0 is inf"),
        ([[1.0], [1.0]], [[0], [1]], (SIZE,), "none of the 1 codes varies"),
        ([[1.0], [2.0]], [[1], [1]], (SIZE,), "factor 'size' is constant"),
        ([[1.0], [2.0]], [[1], [2]], (SIZE,), "row 1, factor 'size': 2 is no number of a value, 0 to 1"),
        ([[1.0], [2.0]], [[0], [0.5]], (SIZE,), "0.5 is no number of a value"),
        ([[1.0], [2.0]], [[0, 1], [1, 0]], (SIZE,), "2 columns, but about tells of 1"),
        ([[1.0], [2.0]], [[0, 1], [1, 0]], (SIZE, SIZE), "a name of its own"),
        ([1.0, 2.0], [[0], [1]], (SIZE,), "two dimensions"),
        ([["a"], ["b"]], [[0], [1]], (SIZE,), "table of numbers"),
    ],
)
def test_bad_samples_are_refused(codes, factors, about, said: str):
    with pytest.raises(ValueError, match=said):
        Sample(codes, factors, about)


def test_bad_posteriors_and_sources_are_refused():
    sample = Sample(np.array([[1.0], [2.0]]), np.array([[0], [1]]), (SIZE,))
    for std in (np.zeros((2, 1)), np.ones((2, 2)), np.full((2, 1), np.nan)):
        with pytest.raises(ValueError, match="std must be as large as the means"):
            Posteriors(sample, std)
    with pytest.raises(ValueError, match="leave out"):
        Sampled((SIZE, Factor("colour", "categorical", values=("white",))), lambda v: v)
    with pytest.raises(ValueError, match="unknown factor 'shape'"):
        sample.without(("shape",))
    with pytest.raises(ValueError, match="leaves no factor"):
        sample.without(("size",))


def test_controls_are_what_they_are_called():
    about = (*factors_of("smallnorb"), Factor("t", "continuous", low=-1.0, high=3.0))
    v = np.array([[4, 8, 17, 5, 3.0], [0, 0, 0, 0, -1.0]])
    assert perfect(about, 7)(v).tolist() == [[1, 1, 1, 1, 1, 0, 0], [0] * 7]
    assert perfect(about, 2)(v).shape == (2, 5)  # no code of two could be perfect
    many = np.random.default_rng(0).random((50, 5)) * [4, 8, 17, 5, 4] - [0, 0, 0, 0, 1]
    flat, turned = perfect(about, 7)(many), rotated(about, 7)(many)
    assert np.linalg.norm(turned, axis=1) == pytest.approx(np.linalg.norm(flat, axis=1))
    assert rotated((SIZE,), 3)(np.array([[1.0]])).tolist() == [[1, 0, 0]]
    first, second = (controls(about, 7, seed=3)["random"](many) for _ in range(2))
    assert np.array_equal(first, second) and not np.array_equal(first, controls(about, 7, seed=4)["random"](many))


@pytest.fixture(scope="module")
def found():
    sample = source_of("smallnorb", "rotated").draw(900, np.random.default_rng(0))
    told: list[tuple[str, int, int]] = []
    options = Measuring(train=600, test=300, resamples=30, seed=3)
    names = ("mig_dlib", "sap", "irs", "factor_vae", "dci_lasso", "mig_chen", "gaussian_tc")
    return measure(sample, names, options, lambda *step: told.append(step)), told, sample


def test_each_metric_stands_beside_its_controls(found):
    measurement, told, _ = found
    names = [entry.score.metric for entry in measurement.measured]
    assert names[:4] == ["mig_dlib", "sap", "irs", "factor_vae"] and len(names) == 8
    assert measurement.left_out == {
        "mig_chen": "mig_chen is of posteriors, not of means alone: give their standard deviations."
    }
    for entry in measurement.measured:
        assert tuple(entry.controls) == CONTROLS
        # the codes are the rotated control themselves: same rows, same seeds, same number
        assert entry.score.value == pytest.approx(entry.controls["rotated"], abs=1e-12)
    entry = measurement["mig_dlib"]
    assert entry.controls["perfect"] > 0.9 > entry.score.value + 0.3 > entry.controls["random"] + 0.3
    assert entry.interval[0] <= entry.score.value <= entry.interval[1] and entry.replicates == 30
    assert measurement["dci_lasso_completeness"].interval is None
    assert measurement["gaussian_tc"].better == "lower"
    assert measurement.information.shape == measurement.r2.shape == (10, 4)
    assert told[0] == ("mig_dlib, codes", 0, 35) and told[-1] == ("measured", 35, 35)
    assert [done for _, done, _ in told] == sorted(done for _, done, _ in told)
    with pytest.raises(KeyError, match="Did you mean"):
        measurement["mig_dlip"]
    with pytest.raises(KeyError, match="posteriors"):
        measurement["mig_chen"]


def test_rows_are_those_of_other_results(found):
    measurement, _, _ = found
    rows = measurement.rows()
    kept = json.loads(json.dumps([row.to_dict() for row in rows], allow_nan=False))
    assert [Row.from_dict(entry) for entry in kept] == list(rows)
    assert rows[0].protocol["seed"] == 3 and set(rows[0].protocol["controls"]) == set(CONTROLS)
    assert rows[0].protocol["interval"] == list(measurement["mig_dlib"].interval)
    assert "MIG (20 bins)" in table(rows) and "20 equal-width bins" in table(rows)
    text = measurement.text().splitlines()
    assert text[0].split() == ["value", "95%", "interval", "perfect", "rotated", "random"]
    assert text[-1].startswith("mig_chen is left out") and "-0.000" not in measurement.text()


def test_a_seed_gives_the_same_numbers_whatever_else_is_measured(found):
    measurement, _, sample = found
    alone = measure(sample, ["factor_vae"], Measuring(train=600, test=300, resamples=30, seed=3))
    assert alone["factor_vae"].score.value == measurement["factor_vae"].score.value
    assert alone["factor_vae"].interval == measurement["factor_vae"].interval
    assert alone["factor_vae"].controls == measurement["factor_vae"].controls


def test_so_do_random_codes_of_a_simulator():
    source = source_of("smallnorb", "rotated")
    options = Measuring(train=500, test=250, resamples=5)
    names = ["mig_dlib", "beta_vae_dlib", "factor_vae"]
    together, alone = measure(source, names, options), measure(source, names[-1:], options)
    assert together["factor_vae"].controls == alone["factor_vae"].controls
    assert together["mig_dlib"].controls["random"] < 0.05


def test_codes_that_repeat_each_other_have_no_finite_correlation_and_a_row():
    sample = source_of("smallnorb", "perfect").draw(300, np.random.default_rng(0))
    twice = Sample(sample.codes[:, [0, 0]], sample.factors, sample.about)
    row = measure(twice, ["gaussian_tc"]).rows()[0]
    assert json.loads(json.dumps(row.to_dict(), allow_nan=False))["value"] == "inf"


def test_what_cannot_be_measured_is_refused():
    sample = source_of("smallnorb", "perfect").draw(300, np.random.default_rng(0))
    with pytest.raises(ValueError, match="Did you mean 'mig_dlib'"):
        measure(sample, ["mig_dlb"])
    with pytest.raises(ValueError, match=r"cannot be parted .* constant .* Give more rows"):
        measure(Sample(np.arange(4.0)[:, None], np.array([[0], [0], [0], [1]]), (SIZE,)), ["sap"])
    with pytest.raises(ValueError, match="Measuring: resamples"):
        Measuring(resamples=0)


def test_the_default_is_what_takes_seconds():
    assert set(METRICS) - set(DEFAULT) == {"mig_chen", "mig_sup_chen", "dci_boosted", "beta_vae_higgins", "mic_approx"}


def test_a_model_and_a_simulator_are_measured_like_a_table():
    source = source_of("smallnorb", "noisy")
    found = measure(source, ["mig_dlib", "factor_vae"], Measuring(train=2000, test=1000, resamples=10))
    assert found["mig_dlib"].score.value > 0.95 and found["factor_vae"].score.value == 1
    rows = measure(source.draw(3000, np.random.default_rng(1)), ["mig_dlib", "factor_vae"], Measuring(resamples=10))
    assert rows["factor_vae"].score.value == 1


def test_a_transposed_table_of_codes_is_refused():
    sample = source_of("smallnorb", "perfect").draw(50, np.random.default_rng(0))
    with pytest.raises(ValueError, match=r"codes are \(N, D\).*transposed"):
        Sample(sample.codes.T, sample.factors, sample.about)


def test_beta_vae_says_what_it_was_found_with():
    source = Tabled(source_of("smallnorb", "perfect").draw(500, np.random.default_rng(0)))
    found = beta_vae(source, np.random.default_rng(0))
    assert found.protocol.startswith("L = 64, 10000 points to fit, 5000 to judge") and found.value == 1
    for score in (mig_dlib(source.sample), modularity(source.sample), irs(source.sample)):
        assert score.n == 500 and score.resampled == "the rows of the table"
