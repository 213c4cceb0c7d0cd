"""Feeds: resident and streaming give the same rows; shards make up the whole; workers end."""

import multiprocessing
import os
import pickle
import signal
import subprocess
import sys
import time
from contextlib import closing

import numpy as np
import pytest
import torch

from fourfold.data import Order, Resident, Rows, Split, Streaming, feed
from fourfold.data import feeds as module


def split_of(n: int = 23, labelled: bool = True) -> Split:
    x = np.random.RandomState(0).randint(0, 256, (n, 1, 3, 2)).astype(np.uint8)
    return Split(x, np.arange(n) if labelled else None)


def on_disk(split: Split, folder) -> Split:
    np.save(folder / "x.npy", split.x)
    return Split(Rows(folder / "x.npy"), split.labels)


def same(one, other) -> bool:
    return (one is None and other is None) or (one.dtype == other.dtype and one.equal(other))


@pytest.mark.parametrize("workers", [0, 1, 2])
@pytest.mark.parametrize(("labelled", "together"), [(True, 1), (False, 70), (True, 1 << 20)])
def test_streaming_equals_resident(tmp_path, monkeypatch, workers, labelled, together):
    monkeypatch.setattr(module, "_HANDOVER", together)
    split = split_of(labelled=labelled)
    one, other = Resident(split), Streaming(on_disk(split, tmp_path), workers=workers)
    order = Order(23, 5, seed=1)
    resident, streamed = list(one.batches(order, 2, 9)), list(other.batches(order, 2, 9))
    assert len(resident) == len(streamed) == 7
    for (x, y), (u, v) in zip(resident, streamed, strict=True):
        assert x.shape == (5, 1, 3, 2) and same(x, u) and same(y, v)
    chunks = zip(one.chunks(10), other.chunks(10), strict=True)
    assert [a == b and same(x, u) and same(y, v) for (a, x, y), (b, u, v) in chunks] == [True] * 3


@pytest.mark.parametrize("together", [0, 60, 1 << 16])  # bytes: one batch at a time, three, all
def test_batches_are_the_rows_of_the_order(monkeypatch, together):
    monkeypatch.setattr(module, "_AHEAD", together)
    split, order = split_of(), Order(23, 4, seed=0)
    assert isinstance(split.x, np.ndarray) and split.labels is not None
    batches = list(Resident(split).batches(order, 0, 12))
    assert len(batches) == 12
    for step, (raw, labels) in enumerate(batches):
        rows = order.indices(step).numpy()
        assert raw.dtype == torch.uint8
        assert np.array_equal(raw.numpy(), split.x[rows])
        assert labels is not None and np.array_equal(labels.numpy(), split.labels[rows])


@pytest.mark.parametrize("kind", [Resident, Streaming])
def test_shards_make_up_the_batch(kind, tmp_path):
    split = on_disk(split_of(), tmp_path)
    order, rows = Order(23, 6, seed=2), kind(split)
    whole = list(rows.batches(order, 3, 7))
    parts = [list(rows.batches(order, 3, 7, shard=(rank, 3))) for rank in range(3)]
    for step, (raw, _) in enumerate(whole):
        assert torch.cat([part[step][0] for part in parts]).equal(raw)


def test_chunks_of_all_ranks_are_every_row_once():
    rows = Resident(split_of())
    starts = [[start for start, _, _ in rows.chunks(4, shard=(rank, 2))] for rank in range(2)]
    assert starts == [[0, 8, 16], [4, 12, 20]]
    chunks = sorted((chunk for rank in range(2) for chunk in rows.chunks(4, shard=(rank, 2))), key=lambda c: c[0])
    assert torch.cat([raw for _, raw, _ in chunks]).equal(rows.x)
    assert [len(raw) for _, raw, _ in chunks] == [4, 4, 4, 4, 4, 3]
    assert list(rows.chunks(30, shard=(1, 2))) == []


def test_what_does_not_fit_is_refused():
    rows = Resident(split_of())
    with pytest.raises(ValueError, match="5 has no 2 equal parts"):
        rows.batches(Order(23, 5, 0), 0, 1, shard=(0, 2))
    with pytest.raises(ValueError, match="24 rows, the data have 23"):
        rows.batches(Order(24, 5, 0), 0, 1)
    with pytest.raises(ValueError, match="rank, world"):
        rows.batches(Order(23, 5, 0), 0, 1, shard=(1, 1))
    with pytest.raises(ValueError, match="size"):
        next(rows.chunks(0))
    with pytest.raises(ValueError, match="workers"):
        Streaming(split_of(), workers=-1)


def test_the_global_generator_is_left_alone(tmp_path):
    before = torch.get_rng_state()
    list(Streaming(on_disk(split_of(), tmp_path), workers=1).batches(Order(23, 5, 0), 0, 4))
    assert torch.get_rng_state().equal(before)


def test_the_feed_that_fits_is_chosen(tmp_path, monkeypatch):
    memory, disk = split_of(), on_disk(split_of(), tmp_path)
    assert isinstance(feed(memory), Resident)
    assert isinstance(feed(disk), Resident)
    assert isinstance(feed(memory, resident=False), Streaming)
    monkeypatch.setattr(module, "RESIDENT_BYTES", 100)
    assert isinstance(feed(memory), Resident)
    assert isinstance(feed(disk), Streaming)
    assert isinstance(feed(Split(np.load(tmp_path / "x.npy", mmap_mode="r"))), Streaming)
    assert isinstance(feed(disk, resident=True), Resident)


def test_a_memory_map_is_copied_to_the_device_without_a_warning(tmp_path):
    disk = on_disk(split_of(), tmp_path)
    assert Resident(disk).x.numpy().base is not disk.x
    Resident(Split(np.load(tmp_path / "x.npy", mmap_mode="r")))


def test_workers_end_when_the_loop_is_left(tmp_path):
    rows = Streaming(on_disk(split_of(), tmp_path), workers=2)
    stream = rows.batches(Order(23, 5, 0), 0, 1000)

    def broken() -> None:
        with closing(stream):
            for _ in stream:
                assert len(multiprocessing.active_children()) == 2
                raise RuntimeError("mine")

    with pytest.raises(RuntimeError, match="mine"):
        broken()
    assert multiprocessing.active_children() == []
    next(chunks := rows.chunks(2))
    chunks.close()
    assert multiprocessing.active_children() == []


INTERRUPTED = """
import sys
import numpy as np
from fourfold.data import Order, Rows, Split, Streaming, feeds

feeds._HANDOVER = 64
if __name__ == "__main__":
    rows = Streaming(Split(Rows(sys.argv[1])), workers=2)
    try:
        for step, _ in enumerate(rows.batches(Order(23, 5, 0), 0, 10**9)):
            if step == 3:
                print("ready", flush=True)
    except KeyboardInterrupt:
        print("interrupted", flush=True)
        sys.exit(130)
"""


def test_ctrl_c_ends_quietly(tmp_path):
    on_disk(split_of(), tmp_path)
    (tmp_path / "script.py").write_text(INTERRUPTED)
    process = subprocess.Popen(
        [sys.executable, str(tmp_path / "script.py"), str(tmp_path / "x.npy")],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    os.killpg(process.pid, signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out, err) == (130, "interrupted\n", "")
    for _ in range(50):
        try:
            os.killpg(process.pid, 0)
        except ProcessLookupError:
            break
        time.sleep(0.1)
    else:
        pytest.fail("workers outlived their parent")


def test_rows_travel_as_a_path(tmp_path):
    rows = on_disk(split_of(), tmp_path).x
    assert isinstance(rows, Rows)
    rows[:2]
    sent = pickle.dumps(rows)  # what a spawned worker process receives
    assert len(sent) < 1000
    assert np.array_equal(pickle.loads(sent)[3:5], rows[3:5])
