"""``sample``, ``reconstruct``, ``traverse``, ``interpolate`` and ``report`` of models with several levels."""

import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

import fourfold as ff
from fourfold import pictures
from fourfold.cli import main
from fourfold.data import Split
from fourfold.runs import Run, levels
from fourfold.runs.levels import (
    Moving,
    Resampling,
    Way,
    draw_interpolation,
    draw_kept,
    draw_level_traversal,
    draw_resampled,
)

SMALL = ["--hidden", "16", "--epochs", "1", "--quiet", "--no-report"]
SHAPES = {
    "hvae": ["--latents", "3,2", "--hidden", "8,8", *SMALL[2:]],
    "variational_ladder": ["--latents", "3,2", *SMALL],
}


@pytest.fixture(scope="session")
def hierarchies(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A chain inferred from the bottom, a flat-prior ladder, and a flat model; not to be changed."""
    home = tmp_path_factory.mktemp("levels")
    for name, words in SHAPES.items():
        assert main(["train", name, "--out", str(home / name), *words]) == 0
    return {name: home / name for name in SHAPES}


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """What the pictures were given, by their names."""
    seen = SimpleNamespace()
    for name in ("resampled", "moves", "interpolations"):
        plain = getattr(pictures, name)

        def kept(*given: Any, name: str = name, plain: Any = plain) -> Any:
            setattr(seen, name, given)
            return plain(*given)

        monkeypatch.setattr(pictures, name, kept)
    return seen


@pytest.mark.parametrize("name", SHAPES)
def test_every_command_draws(name: str, hierarchies: dict[str, Path], tmp_path: Path) -> None:
    run = str(hierarchies[name])
    for i, words in enumerate(
        (
            ["sample", run, "-n", "4", "--temperature", "0.8"],
            ["sample", run, "-n", "4", "--temperature", "1,0.5"],
            ["reconstruct", run, "-n", "2", "--keep-top", "1", "--draws", "2", "--temperature", "1,0.7"],
            ["traverse", run, "--level", "2", "--index", "3"],
            ["traverse", run],
            ["interpolate", run, "--from", "1", "--to", "4", "--steps", "3"],
            ["interpolate", run, "--level", "1"],
        )
    ):
        out = tmp_path / f"{i}.png"
        assert main([*words, "--out", str(out)]) == 0
        assert out.read_bytes()[:4] == b"\x89PNG"


def test_temperature_is_of_the_prior(hierarchies: dict[str, Path], tmp_path: Path) -> None:
    found = {}
    for heat in ("1", "0", "1,1"):
        out = tmp_path / "x.npz"
        words = ["sample", str(hierarchies["hvae"]), "-n", "3", "--temperature", heat, "--out", str(out)]
        assert main(words) == 0
        with np.load(out) as arrays:
            found[heat] = arrays["x"]
    assert np.array_equal(found["1"], found["1,1"]) and not np.array_equal(found["1"], found["0"])
    assert np.array_equal(found["0"][0], found["0"][1])  # without deviation all are the mean's


def test_what_is_kept_stays_and_the_rest_is_drawn(hierarchies: dict[str, Path], tmp_path: Path, drawn: Any) -> None:
    run, out = Run.open(hierarchies["variational_ladder"]), tmp_path / "x.png"
    draw_resampled(run, Resampling(bottom=1, draws=3), 4, out=out)
    x, made, columns, title = drawn.resampled[:4]
    assert columns == ["x̂", "1", "2", "3"] and made.shape == (4, 4, 1, 8, 8) and "lower 1 of 2" in title
    np.testing.assert_allclose(made[:, 0], run.model.reconstruct(torch.from_numpy(x)).numpy(), rtol=1e-5, atol=1e-6)
    assert not np.array_equal(made[:, 1], made[:, 2])
    draw_resampled(run, Resampling(top=1, draws=2, temperature=0.0), 4, out=out)
    z = run.model.encode(torch.from_numpy(x))
    flat = run.model.decode((z[0], torch.zeros_like(z[1]))).numpy()  # the prior's mean below
    for i in (1, 2):
        np.testing.assert_allclose(drawn.resampled[1][:, i], flat, rtol=1e-5, atol=1e-6)


def test_a_traversal_moves_one_latent_of_one_level(hierarchies: dict[str, Path], tmp_path: Path, drawn: Any) -> None:
    run = Run.open(hierarchies["hvae"])
    draw_level_traversal(run, Moving(level=1, index=2), out=tmp_path / "x.png")
    images, names, values, _, notes = drawn.moves
    assert images.shape == (2, 9, 1, 8, 8) and values[0] == "−3" and values[4] == "0" and "below keep" in notes[0]
    rows = run.split("test")
    x = next(run.batches(Split(rows.x[:3]), size=3)()).x[2:3]
    z = run.model.encode(x)
    p: Any = run.model.at(x, tuple(part[None] for part in z), q=False).levels[1].p
    unit = (z[1] - p.mean[0]) / p.scale[0]
    at = z[0].clone()
    at[0, int(names[0][1])] = -3.0
    follow: Any = run.model.at(x, (at[None], z[1][None]), q=False).levels[1].p
    wanted = run.model.decode((at, follow.mean[0] + unit * follow.scale[0])).detach().numpy()[0]
    np.testing.assert_allclose(images[0, 0], wanted, rtol=1e-4, atol=1e-5)


def test_a_way_begins_and_ends_at_the_reconstructions(hierarchies: dict[str, Path], tmp_path: Path, drawn: Any) -> None:
    for name in SHAPES:
        run = Run.open(hierarchies[name])
        draw_interpolation(run, Way(1, 4, 5), out=tmp_path / "x.png")
        ends, made, names = drawn.interpolations[:3]
        back = run.model.reconstruct(torch.from_numpy(ends)).numpy()
        assert names == ["line", "arc"] and made.shape == (2, 5, 1, 8, 8)
        for way in made:
            np.testing.assert_allclose(way[[0, -1]], back, rtol=1e-4, atol=1e-5)


def test_flat_models_have_a_way_too(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    assert main(["interpolate", str(run), "--from", "2", "--to", "3"]) == 0
    assert capsys.readouterr().out == f"{run / 'pictures/interpolation_2_3.png'}\n"
    assert main(["traverse", str(run), "--level", "1"]) == 0
    assert main(["sample", str(run), "-n", "2", "--temperature", "0.5"]) == 0


def test_pictures_of_other_levels_do_not_replace_each_other(
    hierarchies: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    run = Path(shutil.copytree(hierarchies["variational_ladder"], tmp_path / "run"))
    for words, name in (
        (["interpolate"], "interpolation.png"),
        (["interpolate", "--from", "3", "--to", "1"], "interpolation_3_1.png"),
        (["interpolate", "--level", "2"], "interpolation2.png"),
        (["reconstruct", "--keep-top", "1", "--draws", "1"], "resampled_top1.png"),
        (["reconstruct", "--keep-bottom", "1", "--draws", "1"], "resampled_bottom1.png"),
        (["traverse", "--level", "2"], "traversal2.png"),
    ):
        assert main([words[0], str(run), *words[1:]]) == 0
        assert capsys.readouterr().out == f"{run / 'pictures' / name}\n" and (run / "pictures" / name).is_file()


def test_what_was_observed_is_shown_as_it_was(tmp_path: Path, drawn: Any) -> None:
    recipe = ff.recipes.structured_cvae(observed=2, latent=2, hidden=(8,))
    run = ff.fit(recipe, ff.data.digits(), epochs=1, out=tmp_path / "r", quiet=True)
    row = levels._row(run, "test", 3, 0)
    assert row.mask is not None
    seen = (row.mask == 0).expand_as(row.x[0]).numpy()
    draw_level_traversal(run, Moving(index=3))
    assert (drawn.moves[0][..., seen] == row.x[0].numpy()[seen]).all()
    draw_interpolation(run, Way(1, 4, 3))
    assert (drawn.interpolations[1][..., seen] == drawn.interpolations[0][0][seen]).all()
    assert drawn.interpolations[4] == ["The condition c is that of row 1 all the way; row 4 has another."]
    draw_interpolation(run, Way(1, 1, 3))
    assert drawn.interpolations[4] == []


def test_what_was_observed_is_kept_when_levels_are_drawn_anew(
    hierarchies: dict[str, Path], tmp_path: Path, drawn: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, plain = Run.open(hierarchies["hvae"]), levels._rows
    mask = torch.ones(1, 8, 8)
    mask[:, 4:] = 0
    monkeypatch.setattr(levels, "_rows", lambda *given: replace(plain(*given), mask=mask))
    for draw in (
        lambda: draw_resampled(run, Resampling(top=1, draws=2), 3, out=tmp_path / "x.png"),
        lambda: draw_kept(run, 3, out=tmp_path / "x.png"),
    ):
        draw()
        x, made = drawn.resampled[:2]
        assert (made[..., 4:, :] == x[:, None, :, 4:]).all() and (made[..., :4, :] != x[:, None, :, :4]).any()


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["reconstruct", "--keep-top", "2"], "keep_top: wanted from 1 to 1 of the model's 2 levels, got 2"),
        (["reconstruct", "--keep-top", "1", "--keep-bottom", "1"], "give one of keep_top and keep_bottom"),
        (["reconstruct", "--keep-bottom", "1"], "x sees the lowest level alone"),
        (["reconstruct", "--keep-top", "1", "--draws", "0"], "draws"),
        (["reconstruct", "--draws", "2"], "--draws: without --keep-top or --keep-bottom nothing is drawn anew"),
        (["reconstruct", "--temperature", "0.5"], "--temperature: without --keep-top or --keep-bottom"),
        (["traverse", "--channels"], "channels: level 1 is a vector, and no maps"),
        (["traverse", "--level", "3"], "level: wanted from 1 (the top) to 2, got 3"),
        (["traverse", "--level", "1", "--index", "-1"], "index must be from 0"),
        (["interpolate", "--to", "100000"], "index must be from 0"),
        (["interpolate", "--steps", "1"], "steps must be at least 2"),
        (["interpolate", "--out", "x.txt"], "this run is of no sentences"),
        (["sample", "--temperature", "1,1,1"], "one for each of the 2 levels from the top, got 3"),
        (["sample", "--temperature", "warm"], "--temperature: wanted a number"),
        (["sample", "--temperature", "-1"], "temperature must be"),
    ],
)
def test_what_makes_no_sense_is_refused(
    words: list[str], told: str, hierarchies: dict[str, Path], capsys: pytest.CaptureFixture
) -> None:
    assert main([words[0], str(hierarchies["hvae"]), *words[1:]]) == 2
    assert told in capsys.readouterr().err


def test_a_flat_model_has_no_levels_to_keep(run: Path, capsys: pytest.CaptureFixture) -> None:
    assert main(["reconstruct", str(run), "--keep-top", "1"]) == 2
    assert "is for models with several levels" in capsys.readouterr().err


def test_the_report_of_a_hierarchy_shows_its_levels(hierarchies: dict[str, Path]) -> None:
    for name in SHAPES:
        page = Run.open(hierarchies[name]).report().read_text()
        for title in ("Rate of each level", "What each level tells", "Traversals, level 1", "Traversals, level 2"):
            assert title in page
        assert (hierarchies[name] / "pictures/levels.png").is_file()
