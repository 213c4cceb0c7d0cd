"""Readers of published formats, and what damaged files get."""

import gzip
import io

import numpy as np
import pytest
from scipy.io import savemat

from fourfold.data.locate import File, content
from fourfold.data.readers import read_amat, read_idx, read_mat, read_npz


def idx(array: np.ndarray, kind: int = 8) -> bytes:
    head = bytes([0, 0, kind, array.ndim]) + np.array(array.shape, ">u4").tobytes()
    return head + array.astype(np.uint8).tobytes()


IMAGES = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)


def test_idx_holds_what_was_written():
    assert np.array_equal(read_idx(idx(IMAGES), "images", ndim=3), IMAGES)
    assert np.array_equal(read_idx(idx(IMAGES[0, 0]), "labels", ndim=1), IMAGES[0, 0])


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "not an IDX file"),
        (b"\x89PNG....", "not an IDX file"),
        (idx(IMAGES, kind=13), "type 13"),
        (idx(IMAGES[0]), "in 3 dimensions"),
        (idx(IMAGES)[:-1], "23 bytes"),
        (idx(IMAGES) + b"x", "25 bytes"),
        (idx(IMAGES)[:10], "damaged"),
    ],
)
def test_damaged_idx_is_refused(data, words):
    with pytest.raises(ValueError, match=f"my.file.*{words}"):
        read_idx(data, "my.file", ndim=3)


def test_gzip_is_opened_and_checked(tmp_path):
    path = tmp_path / "a.gz"
    path.write_bytes(gzip.compress(b"hello"))
    data, md5 = content(path)
    assert (data, md5) == (b"hello", "5d41402abc4b2a76b9719d911017c592")
    assert content(path, File("a.gz", md5=md5, of_content=True)) == (data, md5)
    with pytest.raises(ValueError, match=r"a\.gz has MD5 5d41.*wanted 1234"):
        content(path, File("a.gz", md5="1234", of_content=True))
    with pytest.raises(ValueError, match=f"wanted {md5}"):
        content(path, File("a.gz", md5=md5))  # the checksum of the packed file is another
    for damaged in (path.read_bytes()[:-6], path.read_bytes()[:12] + b"\0" * 20):
        path.write_bytes(damaged)
        with pytest.raises(ValueError, match=r"a\.gz is a damaged gzip file"):
            content(path)


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("last", [True, False])
def test_amat_holds_what_was_written(end, last):
    x = np.random.RandomState(0).randint(0, 2, (7, 12))
    text = end.join(" ".join(map(str, row)) for row in x) + (end if last else "")
    assert np.array_equal(read_amat(text.encode(), "tiny", columns=12), x)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "damaged"),
        ("0 1\n", "lines of 3"),
        ("0 1 1\n1 0\n", "lines of 3"),
        ("0 1 1 0 1 1\n", "lines of 3"),
        ("0 1\n1 0 1 1\n", "lines of 3"),
        ("0 1 2\n", "wanted 0 and 1"),
        ("0 1 11\n", "wanted 0 and 1"),
        ("0 1 1.0\n", "wanted 0 and 1"),
    ],
)
def test_damaged_amat_is_refused(text, words):
    with pytest.raises(ValueError, match=f"tiny.*{words}"):
        read_amat(text.encode(), "tiny", columns=3)


def test_mat_holds_what_was_written():
    file = io.BytesIO()
    savemat(file, {"data": np.arange(6.0).reshape(2, 3), "other": np.ones(1)})
    (x,) = read_mat(file.getvalue(), "my.mat", ("data",))
    assert np.array_equal(x, np.arange(6.0).reshape(2, 3))
    with pytest.raises(ValueError, match=r"my\.mat.*missing: testdata"):
        read_mat(file.getvalue(), "my.mat", ("data", "testdata"))
    for damaged in (file.getvalue()[:150], b"", b"MATLAB" + b"\0" * 300):
        with pytest.raises(ValueError, match=r"my\.mat cannot be read"):
            read_mat(damaged, "my.mat", ("data",))


def test_npz_never_unpickles():
    file = io.BytesIO()
    np.savez(file, x=np.array([{"a": 1}], object))
    with pytest.raises(ValueError, match=r"my\.npz cannot be read"):
        read_npz(file.getvalue(), "my.npz")


@pytest.mark.parametrize("damage", [lambda b: b[:100], lambda b: b"", lambda b: b[:60] + b"\xff" * 9 + b[69:]])
def test_damaged_npz_is_refused(damage):
    file = io.BytesIO()
    np.savez_compressed(file, x=np.arange(1000))
    assert np.array_equal(read_npz(file.getvalue(), "my.npz")["x"], np.arange(1000))
    with pytest.raises(ValueError, match=r"my\.npz cannot be read"):
        read_npz(damage(file.getvalue()), "my.npz")
