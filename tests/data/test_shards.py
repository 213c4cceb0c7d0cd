"""Shards: several files that are one array, written whole or not at all, and visited a window at a time."""

import pickle
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
import torch

import fourfold as ff
from fourfold.data import Order, Rows, Split, Streaming, order_of, shards, write_shards
from fourfold.data import rows as module

N = 203


def values(dtype: str = "uint8", n: int = N) -> np.ndarray:
    return np.random.RandomState(0).randint(0, 256, (n, 5, 4)).astype(dtype)


def written(home: Path, x: np.ndarray, labels: np.ndarray | None = None, rows: int = 32, chunk: int = 7) -> Path:
    cuts = range(0, len(x), chunk)
    pieces = (x[a : a + chunk] if labels is None else (x[a : a + chunk], labels[a : a + chunk]) for a in cuts)
    return write_shards(home / "shards", pieces, rows)


@pytest.mark.parametrize("chunk", [1, 7, 32, 100, 1000])
def test_what_is_written_is_dealt_out_evenly_and_read_back(tmp_path: Path, chunk: int) -> None:
    x, labels = values(), np.arange(N) % 3
    folder = written(tmp_path, x, labels, chunk=chunk)
    names = [f"{kind}-0000{i}.npy" for kind in ("labels", "x") for i in range(7)]
    assert sorted(path.name for path in folder.iterdir()) == names
    parts = [np.load(folder / f"x-0000{i}.npy") for i in range(7)]
    assert [len(part) for part in parts] == [32] * 6 + [11]
    assert np.array_equal(np.concatenate(parts), x)
    data = shards(folder, split="all")
    assert np.array_equal(data.train.x[:], x[:, None]) and np.array_equal(data.train.labels, labels)
    assert list(tmp_path.iterdir()) == [folder]


@pytest.mark.parametrize("dtype", ["uint8", "float64"])
def test_shards_are_the_array_of_them_all(tmp_path: Path, dtype: str) -> None:
    """Splits, levels, checksum, every kind of index, also after a trip to another process."""
    x = values(dtype)
    data, one = shards(written(tmp_path, x)), ff.data.from_arrays(x)
    assert isinstance(data.train.x, Rows) and len(data.train.x.paths) == 7
    assert data.levels == one.levels and data.spec.mean is not None and np.array_equal(data.spec.mean, one.spec.mean)
    assert data.protocol["checksum"] == one.protocol["checksum"]
    for part, split in data.parts.items():
        wanted = one.parts[part].x
        assert split.x.dtype == wanted.dtype and np.array_equal(split.x[:], wanted)
    sent = pickle.loads(pickle.dumps(data.train.x))
    wanted = one.train.x
    for which in (slice(3, 90), slice(None, None, -2), np.array([150, 2, 2, 40]), np.array([-1, 0]), np.arange(0)):
        assert np.array_equal(sent[which], wanted[which])
    with pytest.raises(IndexError):
        sent[np.array([len(wanted)])]
    whole = shards(tmp_path / "shards", split="all").train.x
    for which in (slice(-5, None), np.array([202, -1, 0]), np.arange(N) % 2 == 0):
        assert np.array_equal(whole[which], ff.data.from_arrays(x, split="all").train.x[which])
    with pytest.raises(IndexError):
        whole[np.array([N])]


def test_few_files_are_open_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_MOST_OPEN", 3)
    x = shards(written(tmp_path, values(), rows=10), split="all").train.x
    assert isinstance(x, Rows)
    order = np.random.RandomState(1).permutation(N)
    assert np.array_equal(x[order], values()[order][:, None])
    assert len(x._maps) == 3


def test_a_run_on_shards_is_the_run_on_the_array_bit_for_bit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    x = values(n=400)
    folder = write_shards(tmp_path / "shards", [x], rows_per_shard=90)
    recipe, options = ff.recipes.vae(latent=2, hidden=(8,)), {"epochs": 2, "batch_size": 50, "quiet": True}
    found = []
    for i, limit in enumerate((module.RESIDENT_BYTES, 100)):  # in memory, then read by workers
        monkeypatch.setattr(ff.data.feeds, "RESIDENT_BYTES", limit)
        run = ff.fit(recipe, shards(folder), out=tmp_path / f"run{i}", workers=1, **options)  # type: ignore[arg-type]
        found.append(run.model.state_dict())
        assert run.evaluate().rows
    one = ff.fit(recipe, ff.data.from_arrays(x), out=tmp_path / "one", **options)  # type: ignore[arg-type]
    for other in found:
        assert all(torch.equal(value, other[name]) for name, value in one.model.state_dict().items())


@pytest.mark.parametrize("window", [1, 2, 5, 50])
def test_windows_show_every_row_once_a_pass_a_few_shards_at_a_time(window: int) -> None:
    sizes = (4, 7, 1, 6, 5, 7)
    n, batch, home = sum(sizes), 4, np.repeat(np.arange(6), sizes)
    order = Order(n, batch, 3, (sizes, window))
    stream = torch.cat([order.indices(t) for t in range(3 * n // batch + 1)])
    assert all(len(order.indices(t)) == batch for t in range(20))
    passes = [stream[i * n : (i + 1) * n] for i in range(3)]
    for one in passes:
        assert sorted(one.tolist()) == list(range(n))
        visited = list(dict.fromkeys(home[one].tolist()))
        for start in range(0, 6, window):  # shards of one window come before those of the next
            shards_here = visited[start : start + window]
            at = np.flatnonzero(np.isin(home[one], shards_here))
            assert at.tolist() == list(range(at[0], at[0] + len(at)))
    assert not passes[0].equal(passes[1])
    again = Order(n, batch, 3, (sizes, window))  # a resumed run: from the middle, and backwards
    assert all(again.indices(t).equal(order.indices(t)) for t in (13, 2, 9, 0))
    assert not Order(n, batch, 4, (sizes, window)).indices(0).equal(order.indices(0))
    if window >= 2:  # rows of a window are mixed
        assert len(set(home[passes[0][: 2 * batch]].tolist())) > 1


def test_windows_of_a_split_are_of_its_rows(tmp_path: Path) -> None:
    data = shards(written(tmp_path, values()))
    x = data.train.x
    assert (
        isinstance(x, Rows)
        and len(x) == 163
        and x.shards == tuple(int(((i * 32 <= x.index) & (x.index < (i + 1) * 32)).sum()) for i in range(7))
    )
    order = order_of(x, 20, 0, "window:2")
    seen = torch.cat([order.indices(t) for t in range(9)])[: len(x)]
    assert sorted(seen.tolist()) == list(range(len(x)))
    with closing(Streaming(data.train, workers=0).batches(order, 0, 9)) as batches:
        for t, (raw, _) in enumerate(batches):
            assert np.array_equal(raw.numpy(), x[order.indices(t).numpy()])
    assert len(order_of(x, 20, 0).indices(0)) == 20 and order_of(x, 20, 0).windows is None


def test_a_resumed_run_goes_on_in_its_windows(tmp_path: Path) -> None:
    folder = write_shards(tmp_path / "shards", [values(n=400)], rows_per_shard=50)
    recipe, options = ff.recipes.vae(latent=2, hidden=(8,)), {"batch_size": 50, "quiet": True, "shuffle": "window:2"}
    long = ff.fit(recipe, shards(folder), epochs=2, out=tmp_path / "long", **options)  # type: ignore[arg-type]
    short = ff.fit(recipe, shards(folder), epochs=0.8, out=tmp_path / "short", **options)  # type: ignore[arg-type]
    assert short.path is not None
    with pytest.raises(ff.runs.folder.RunError, match="shuffle cannot change"):
        ff.runs.resume(short.path, epochs=2, shuffle="global")
    resumed = ff.runs.resume(short.path, epochs=2).model.state_dict()
    assert all(torch.equal(value, resumed[name]) for name, value in long.model.state_dict().items())
    plain = ff.fit(recipe, shards(folder), epochs=2, out=tmp_path / "p", **{**options, "shuffle": "global"})  # type: ignore[arg-type]
    assert not all(torch.equal(value, resumed[name]) for name, value in plain.model.state_dict().items())


def test_parts_in_folders_are_given(tmp_path: Path) -> None:
    for part, rows in (("train", 60), ("valid", 20), ("test", 10)):
        write_shards(tmp_path / "d" / part, [values(n=rows)], rows_per_shard=16)
    data = ff.data.load(tmp_path / "d")
    assert {name: len(split) for name, split in data.parts.items()} == {"train": 60, "validation": 20, "test": 10}
    assert data.protocol["split"] == "given" and np.array_equal(data.test.x[:], values(n=10)[:, None])  # type: ignore[union-attr]


def test_pictures_beside_an_array_are_still_pictures(tmp_path: Path) -> None:
    from PIL import Image

    (tmp_path / "photos" / "cat").mkdir(parents=True)
    for i in range(4):
        Image.fromarray(values()[i]).save(tmp_path / "photos" / "cat" / f"{i}.png")
    np.save(tmp_path / "photos" / "features.npy", values())
    assert ff.data.load(tmp_path / "photos").shape == (1, 5, 4)


def broken(home: Path, what: str) -> Path:
    folder = written(home, values(), np.arange(N) % 3)
    path = folder / "x-00002.npy"
    if what == "torn":
        path.write_bytes(path.read_bytes()[:-9])
    elif what == "shape":
        np.save(path, values()[:32, :4])
    elif what == "type":
        np.save(path, values("float32")[:32])
    elif what == "empty":
        np.save(path, values()[:0])
    elif what == "labels":
        np.save(folder / "labels-00002.npy", np.zeros(31, int))
    elif what == "fewer labels":
        (folder / "labels-00002.npy").unlink()
    elif what == "pickle":
        np.save(path, np.array([{}] * 32), allow_pickle=True)
    return folder


@pytest.mark.parametrize(
    ("what", "message"),
    [
        ("torn", r"x-00002\.npy cannot be read as \.npy"),
        ("shape", r"x-00002\.npy: wanted rows of shape \(5, 4\) and type uint8, as in .*x-00000\.npy, got \(4, 4\)"),
        ("type", r"x-00002\.npy: wanted rows of .* uint8, .*float32"),
        ("empty", r"x-00002\.npy: wanted at least one row, got an array of shape \(0, 5, 4\)"),
        ("labels", r"labels-00002\.npy: wanted a label for each of the 32 rows of x-00002\.npy, got 31"),
        ("fewer labels", r"wanted as many labels\*\.npy as other shards, 7, found 6"),
        ("pickle", r"x-00002\.npy cannot be read as \.npy"),
    ],
)
def test_a_folder_that_is_damaged_says_where(tmp_path: Path, what: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ff.data.load(broken(tmp_path, what))


def test_folders_that_are_none_say_so(tmp_path: Path, unchecked: None) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match=r"wanted a folder of \.npy files"):
        shards(tmp_path / "empty")
    with pytest.raises(ValueError, match=r"no images .*nor \.npy shards"):
        ff.data.load(tmp_path / "empty")
    with pytest.raises(ff.data.DataNotFound, match="there is no folder"):
        shards(tmp_path / "none")
    write_shards(tmp_path / "d" / "test", [values()])
    with pytest.raises(ValueError, match="wanted a folder train beside test"):
        shards(tmp_path / "d")
    with pytest.raises(ValueError, match=r"size is of images"):
        ff.data.load(tmp_path / "d" / "test", size=4)


def test_nothing_is_left_of_what_could_not_be_written(tmp_path: Path, unchecked: None) -> None:
    def failing() -> Iterator[np.ndarray]:
        yield values()
        raise OSError("the source is gone")

    with pytest.raises(OSError, match="the source is gone"):
        write_shards(tmp_path / "a", failing(), 10)
    with pytest.raises(ValueError, match=r"array 1: wanted .*\(5, 4\).* as before, got \(\(4, 4\)"):
        write_shards(tmp_path / "a", [values(), values()[:, 1:]], 10)
    with pytest.raises(ValueError, match=r"array 0: wanted labels of shape \(203,\), got \(3,\)"):
        write_shards(tmp_path / "a", [(values(), np.arange(3))], 10)
    with pytest.raises(ValueError, match="no labels"):
        write_shards(tmp_path / "a", [values(), (values(), np.arange(N))], 10)
    with pytest.raises(ValueError, match="wanted at least one row, got none"):
        write_shards(tmp_path / "a", [], 10)
    assert list(tmp_path.iterdir()) == []
    write_shards(tmp_path / "a", [values()], 10)
    with pytest.raises(FileExistsError, match="is there already"):
        write_shards(tmp_path / "a", [values()], 10)


def test_windows_where_there_are_no_shards_are_refused(tmp_path: Path, unchecked: None) -> None:
    with pytest.raises(ValueError, match=r"shuffle must be global, or window:W.*got 'window:0'"):
        ff.Training(shuffle="window:0")
    with pytest.raises(ValueError, match="shuffle: window:2 is for data in shards"):
        ff.fit(ff.recipes.vae(), ff.data.digits(), shuffle="window:2", out=tmp_path / "r")
    assert not (tmp_path / "r").exists()
    backwards = Rows([path for path in sorted(written(tmp_path, values()).iterdir())], np.arange(N)[::-1])
    with pytest.raises(ValueError, match="in another order than that of their files"):
        order_of(backwards, 5, 0, "window:2")
    assert len(Split(backwards)) == N


def test_two_processes_share_the_batches_of_windows(tmp_path: Path) -> None:
    data = shards(written(tmp_path, values(n=200), np.arange(200)))
    rows, order = Streaming(data.train, workers=0), order_of(data.train.x, 10, 0, "window:2")
    whole = list(rows.batches(order, 0, 20))
    halves = [list(rows.batches(order_of(data.train.x, 10, 0, "window:2"), 0, 20, (rank, 2))) for rank in range(2)]
    for (raw, labels), (first, a), (second, b) in zip(whole, *halves, strict=True):
        assert torch.cat((first, second)).equal(raw) and torch.cat((a, b)).equal(labels)  # type: ignore[arg-type]


def test_the_command_trains_on_a_folder_and_goes_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from fourfold.cli import main

    folder = write_shards(tmp_path / "shards", [values(n=400)], rows_per_shard=50)
    words = ["--data", str(folder), "--shuffle", "window:2", "--epochs", "1", "--hidden", "8", "-q", "--no-report"]
    assert main(["train", "vae", *words, "--out", str(tmp_path / "r")]) == 0
    assert main(["train", "--resume", str(tmp_path / "r"), "--epochs", "2", "-q", "--no-report"]) == 0
    record = ff.Run.open(tmp_path / "r").folder.record()
    assert record["training"]["shuffle"] == "window:2" and record["data"]["protocol"]["shards"] == 8
    assert main(["train", "vae", "--shuffle", "window:2", "--out", str(tmp_path / "s")]) == 2
    assert "window:2 is for data in shards" in capsys.readouterr().err


def test_the_giver_may_fill_the_same_memory_again(tmp_path: Path) -> None:
    def given() -> Iterator[tuple[np.ndarray, np.ndarray]]:
        x, labels = np.zeros((4, 2), np.uint8), np.zeros(4, np.int64)
        for i in range(5):
            x[:], labels[:] = i, i
            yield x, labels

    folder = write_shards(tmp_path / "s", given(), rows_per_shard=10)
    for name in ("x", "labels"):
        read = [np.load(file) for file in sorted(folder.glob(f"{name}-*"))]
        assert (
            np.concatenate([one.reshape(len(one), -1)[:, 0] for one in read]).tolist()
            == np.repeat(np.arange(5), 4).tolist()
        )
