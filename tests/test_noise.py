"""Noise: keyed, sharded, recorded, and of the right distribution."""

import pytest
import torch

from fourfold.noise import Noise, Recorder, Replay, Request, stacked


def test_levels_are_uniform_on_0_to_254() -> None:
    drawn = Noise(0).levels((2000, 2000))
    counts = torch.bincount(drawn.flatten().long(), minlength=256).double()
    assert counts[255] == 0  # about sixty words of this draw lead there, and are brought back
    expected = counts[:255].mean()
    assert ((counts[:255] - expected) ** 2 / expected).sum() < 254 + 5 * (2 * 254) ** 0.5


@pytest.mark.parametrize("value", [0, 1, 100, 254, 255])
def test_levels_below_a_grey_value_have_its_probability(value: int) -> None:
    share = (Noise(1).levels((1000, 1000)) < value).double().mean().item()
    p = value / 255
    assert abs(share - p) <= 5 * (p * (1 - p) / 1e6) ** 0.5 + 2**-16
    assert value not in (0, 255) or share == p


@pytest.mark.parametrize("kind", ["normal", "uniform", "levels"])
def test_shards_are_the_parts_of_the_whole(kind: str) -> None:
    whole = getattr(Noise(3, stream="a", step=7), kind)((6, 5))
    parts = [getattr(Noise(3, stream="a", step=7, shard=(i, 3)), kind)((2, 5)) for i in range(3)]
    assert torch.equal(torch.cat(parts), whole)


def test_seed_stream_and_step_are_keys() -> None:
    base = Noise(0, stream="a", step=1).normal((50,))
    others = [Noise(1, stream="a", step=1), Noise(0, stream="b", step=1), Noise(0, stream="a", step=2)]
    assert all(not torch.equal(base, other.normal((50,))) for other in others)
    assert torch.equal(base, Noise(0, stream="a").at(1).normal((50,)))
    assert not torch.equal(base, Noise(0, stream="a", step=1).fork("x").normal((50,)))


def test_what_was_recorded_is_replayed_and_nothing_else() -> None:
    recorder = Recorder(Noise(0))
    first, second = recorder.normal((3,)), recorder.uniform((2, 2))
    replay = Replay(recorder.tensors)
    assert torch.equal(replay.normal((3,)), first)
    with pytest.raises(ValueError, match="tensor 1 has shape"):
        replay.uniform((3, 3))
    assert torch.equal(replay.uniform((2, 2)), second)
    with pytest.raises(ValueError, match="one more was asked for"):
        replay.normal((1,))


@pytest.mark.parametrize("shape", [(3,), (4, 4), (17, 5), (2, 33, 31)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_stacked_is_what_each_source_gives(shape: tuple[int, ...], dtype: torch.dtype) -> None:
    kinds = ("normal", "levels", "uniform", "levels", "normal")
    asked = [Request(kind, shape, 0, torch.uint8 if kind == "levels" else dtype) for kind in kinds]
    sources = [Noise(seed, stream="train", step=step) for seed, step in ((0, 0), (0, 9), (7, 9))]
    found = stacked([source.at(source.step) for source in sources], asked)
    for i, source in enumerate(sources):
        assert all(torch.equal(row[i], source.draw(one)) for row, one in zip(found, asked, strict=True))
