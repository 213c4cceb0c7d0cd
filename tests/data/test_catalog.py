"""Known data sets: real ones where they are, small files of the same format where they are not."""

import gzip
import io
import json
import zipfile

import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat

from fourfold import data as ff
from fourfold.data import CATALOG, DataNotFound, available, known, load, locate


@pytest.fixture(autouse=True)
def offline(monkeypatch, tmp_path):
    """No network, and a cache of the test's own."""

    def refuse(url: str):
        raise AssertionError(f"a test asked for {url}")

    monkeypatch.setattr(locate, "_open_url", refuse)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def test_digits_are_always_there(monkeypatch, tmp_path):
    monkeypatch.setenv("FOURFOLD_DATA", str(tmp_path))
    data = ff.digits()
    assert (data.shape, data.levels, data.classes) == ((1, 8, 8), 256, 10)
    assert [len(part) for part in data.parts.values()] == [1439, 179, 179]
    x = np.asarray(data.train.x)
    assert x.max() == 255 and set(np.unique(x)) <= {round(v * 255 / 16) for v in range(17)}
    assert data.protocol["seed"] == 0
    assert not np.array_equal(np.asarray(ff.digits(seed=1).test.x), np.asarray(data.test.x))


@pytest.mark.parametrize(("split", "sizes"), [("burda", (59_600, 400)), ("larochelle", (50_000, 10_000))])
def test_real_mnist(shared_data, split, sizes):
    data = ff.mnist(split, data_dir=shared_data)
    assert (data.shape, data.levels, data.classes) == ((1, 28, 28), 256, 10)
    assert data.validation is not None and data.test is not None and data.train.labels is not None
    assert (len(data.train), len(data.validation), len(data.test)) == (*sizes, 10_000)
    assert data.train.labels[:8].tolist() == [5, 0, 4, 1, 9, 2, 1, 3]
    assert data.protocol["checksum"]["train-images-idx3-ubyte.gz"] == "6bbc9ace898e44ae57da46a324031adb"
    assert data.protocol["split"] == split and "seed" not in data.protocol
    # The first digit is a five: its top bar reaches further to the right than its left end.
    five = np.asarray(data.train.x)[0, 0]
    assert five[5].argmax() < 27 and five[:5].max() == 0 and five[5, 12:24].max() == 255 > five[5, :12].max()


def test_real_mnist_as_vamp_binarised_it(shared_data):
    data = ff.mnist("vamp", data_dir=shared_data)
    grey = ff.mnist("larochelle", data_dir=shared_data)
    assert data.validation is not None and data.test is not None and grey.test is not None
    assert (len(data.train), len(data.validation), len(data.test)) == (50_000, 10_000, 10_000)
    assert np.array_equal(np.unique(np.asarray(data.test.x)), [0, 255])
    assert len(np.unique(np.asarray(data.train.x))) == 256
    drawn, p = np.asarray(data.test.x) == 255, np.asarray(grey.test.x) / 255
    assert abs(drawn.mean() - p.mean()) < 1e-3
    assert not drawn[p == 0].any() and drawn[p == 1].all()


def test_real_frey_faces(shared_data):
    data = ff.freyfaces(data_dir=shared_data)
    assert (data.shape, data.levels, data.classes) == ((1, 28, 20), 256, None)
    assert sum(len(part) for part in data.parts.values()) == 1965


def test_real_small_omniglot(shared_data):
    data = ff.omniglot_small(data_dir=shared_data)
    assert (data.shape, data.levels, data.classes) == ((1, 28, 28), 256, 242)
    assert sum(len(part) for part in data.parts.values()) == 4840  # 242 characters, 20 drawings each
    x = np.asarray(data.train.x) / 255
    assert 0.02 < x.mean() < 0.2  # ink is bright, and there is little of it
    assert len(np.unique(np.asarray(data.train.x))) > 10


def idx(array: np.ndarray) -> bytes:
    return bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">u4").tobytes() + array.astype(np.uint8).tobytes()


def test_a_damaged_mnist_is_named(tmp_path):
    for file in CATALOG["mnist"].splits["burda"].files:
        (tmp_path / file[0].name).write_bytes(gzip.compress(idx(np.zeros((3, 28, 28)))))
    with pytest.raises(ValueError, match=r"train-images-idx3-ubyte\.gz has MD5 .* wanted 6bbc9ace"):
        load("mnist", data_dir=tmp_path)
    (tmp_path / "train-images-idx3-ubyte.gz").write_bytes(b"\x1f\x8b\x08damaged")
    with pytest.raises(ValueError, match=r"train-images-idx3-ubyte\.gz is a damaged gzip"):
        load("mnist", data_dir=tmp_path)


def test_idx_files_of_another_size_are_refused():
    names = [file[0].name for file in CATALOG["fashion_mnist"].splits["burda"].files]
    sizes = [(5, 28, 28), (5,), (2, 28, 28), (2,)]
    content = {name: (idx(np.zeros(size)), "") for name, size in zip(names, sizes, strict=True)}
    with pytest.raises(ValueError, match="wanted 60,000 and 10,000 images, got 5 and 2"):
        known.idx_parts("burda")(content, 0)


def write_amat(folder, part: str, x: np.ndarray) -> None:
    text = "".join(" ".join(map(str, row)) + "\n" for row in x)
    (folder / f"binarized_mnist_{part}.amat").write_text(text)


def test_static_mnist_is_binary_and_split_already(tmp_path):
    state = np.random.RandomState(0)
    bits = {part: state.randint(0, 2, (n, 784)) for part, n in (("train", 5), ("valid", 2), ("test", 3))}
    for part, x in bits.items():
        write_amat(tmp_path, part, x)
    data = ff.binarized_mnist(data_dir=tmp_path)
    assert (data.shape, data.levels, data.classes) == ((1, 28, 28), 2, None)
    assert data.protocol["split"] == "larochelle"
    assert len(data.protocol["checksum"]) == 3
    for part, x in zip(data.parts.values(), bits.values(), strict=True):
        assert np.array_equal(np.asarray(part.x).reshape(len(x), 784), x)
    write_amat(tmp_path, "valid", bits["valid"][:, :-1])
    with pytest.raises(ValueError, match=r"binarized_mnist_valid\.amat is damaged: wanted lines of 784"):
        ff.binarized_mnist(data_dir=tmp_path)


def glyph(number: int) -> np.ndarray:
    """An image that is not its own transpose: a bar along the top, the number in the bottom left corner."""
    image = np.zeros((28, 28))
    image[0, :] = 1
    image[27, 0] = number / 2000
    return image


def test_chardata_is_upright_and_shuffled_as_published(tmp_path):
    n = 1400
    columns = np.stack([glyph(i).ravel(order="F") for i in range(n)], axis=1)  # MATLAB stores images by column
    savemat(tmp_path / "chardata.mat", {"data": columns, "testdata": columns[:, :7], "target": np.zeros((50, n))})
    data = ff.omniglot(data_dir=tmp_path)
    assert (data.shape, data.levels, data.classes) == ((1, 28, 28), None, None)
    assert data.grey and data.spec.grey  # so a recipe takes a Bernoulli and binarises dynamically
    assert data.validation is not None and data.test is not None
    assert (len(data.train), len(data.validation), len(data.test)) == (n - 1345, 1345, 7)
    for i in range(7):
        assert np.allclose(np.asarray(data.test.x)[i, 0], glyph(i))
    order = np.random.RandomState(seed=123).permutation(n)
    assert np.allclose(np.asarray(data.train.x)[:, 0, 27, 0] * 2000, order[:-1345])
    assert np.allclose(np.asarray(data.validation.x)[:, 0, 27, 0] * 2000, order[-1345:], atol=1e-3)
    # What the published code feeds its network, flattened, is the image transposed and flattened.
    published = columns.T.astype("float32").reshape((-1, 28, 28)).reshape((-1, 784), order="F")
    assert np.allclose(published[3].reshape(28, 28), glyph(3))


def test_a_short_or_odd_chardata_is_refused(tmp_path):
    for x, words in ((np.zeros((784, 20)), "more than the 1345"), (np.zeros((700, 20)), "784 rows")):
        savemat(tmp_path / "chardata.mat", {"data": x, "testdata": x})
        with pytest.raises(ValueError, match=words):
            ff.omniglot(data_dir=tmp_path)


def drawings(folder, name: str, alphabet: str, characters: int) -> None:
    with zipfile.ZipFile(folder / f"{name}.zip", "w") as archive:
        archive.writestr(f"{name}/", "")
        for character in range(characters):
            for take in range(20):
                image = np.full((105, 105), 255, np.uint8)
                image[: 15 * (character + 1), :30] = 0  # ink in the top left
                picture = io.BytesIO()
                Image.fromarray(image).convert("1").save(picture, "png")
                member = f"{name}/{alphabet}/character{character + 1:02d}/{character:04d}_{take + 1:02d}.png"
                archive.writestr(member, picture.getvalue())


def test_drawings_are_bright_on_dark_upright_and_labelled(tmp_path):
    drawings(tmp_path, "images_background_small1", "Greek", 2)
    drawings(tmp_path, "images_background_small2", "Greek", 3)
    data = ff.omniglot_small(data_dir=tmp_path)
    assert sum(len(part) for part in data.parts.values()) == 60  # drawings in both archives are there once
    assert data.classes == 3 and data.train.labels is not None
    for x, label in zip(np.asarray(data.train.x)[:, 0], data.train.labels, strict=True):
        assert x[: 4 * (label + 1), :8].min() == 255 and x[4 * (label + 1) :].max() == 0 and x[:, 8:].max() == 0


def test_the_original_drawings_keep_their_alphabets_apart(tmp_path, monkeypatch):
    drawings(tmp_path, "images_background", "Greek", 3)
    drawings(tmp_path, "images_evaluation", "Atlantean", 2)
    content = {
        name: ((tmp_path / name).read_bytes(), name) for name in ("images_background.zip", "images_evaluation.zip")
    }
    train, validation, test = known.drawings_parts(content, seed=0)
    assert validation is not None and test is not None
    assert (len(train), len(validation), len(test)) == (54, 6, 40)
    labels = [set(np.unique(part.labels)) for part in (train, validation, test)]
    assert labels[0] == {0, 1, 2} and labels[1] <= labels[0] and labels[2] == {3, 4}
    with pytest.raises(ValueError, match=r"images_background\.zip has MD5"):
        load("omniglot", split="lake", data_dir=tmp_path)


def test_drawings_in_an_unsafe_archive_are_refused(tmp_path):
    drawings(tmp_path, "images_background_small1", "../../Greek", 1)
    drawings(tmp_path, "images_background_small2", "Greek", 1)
    with pytest.raises(ValueError, match=r"images_background_small1\.zip holds the unsafe path"):
        ff.omniglot_small(data_dir=tmp_path)


def test_frey_faces_in_both_forms(tmp_path):
    faces = np.random.RandomState(0).randint(0, 256, (40, 28, 20)).astype(np.uint8)
    savemat(tmp_path / "frey_rawface.mat", {"ff": faces.reshape(40, 560).T})
    from_mat = ff.freyfaces(data_dir=tmp_path)
    np.savez(tmp_path / "freyfaces.npz", images=faces)
    from_npz = ff.freyfaces(data_dir=tmp_path)
    assert np.array_equal(np.asarray(from_mat.train.x), np.asarray(from_npz.train.x))
    assert list(from_npz.protocol["checksum"]) == ["freyfaces.npz"]
    rows = {row.tobytes() for row in faces}
    assert all(row.tobytes() in rows for row in np.asarray(from_npz.test.x)[:, 0])
    np.savez(tmp_path / "freyfaces.npz", faces=faces)
    with pytest.raises(ValueError, match="found faces"):
        ff.freyfaces(data_dir=tmp_path)
    np.savez(tmp_path / "freyfaces.npz", images=faces[:, :, :10])
    with pytest.raises(ValueError, match="28 x 20"):
        ff.freyfaces(data_dir=tmp_path)


def test_unknown_names_and_splits_list_the_right_ones(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataNotFound, match=r"'fashion-mist'.*Did you mean 'fashion_mnist'.*Known: binarized_mnist"):
        load("fashion-mist")
    with pytest.raises(ValueError, match=r"'mnist': split.*'burd'.*Did you mean 'burda'.*burda, larochelle, vamp"):
        load("mnist", split="burd")
    with pytest.raises(ValueError, match="Known: random"):
        load("digits", split="burda")


def test_a_missing_file_says_where_it_belongs(tmp_path):
    with pytest.raises(DataNotFound) as error:
        load("fashion-mnist", data_dir=tmp_path, download=False)
    for word in ("train-images-idx3-ubyte.gz", str(tmp_path / "fashion_mnist"), "--data-dir", "FOURFOLD_DATA"):
        assert word in str(error.value)


def test_what_is_available_is_one_json_document(tmp_path):
    (tmp_path / "freyfaces").mkdir()
    (tmp_path / "freyfaces" / "freyfaces.npz").touch()
    rows = json.loads(json.dumps(available(tmp_path)))
    table = {row["name"]: row for row in rows}
    assert list(table) == list(CATALOG)
    assert {name for name, row in table.items() if row["present"]} == {"digits", "freyfaces"}
    assert table["digits"]["folder"] is None
    assert table["mnist"]["splits"] == ["burda", "larochelle", "vamp"]
    assert table["mnist"]["default_split"] == "burda"
    assert table["mnist"]["missing"]["vamp"][0] == "train-images-idx3-ubyte.gz"
    assert table["omniglot"]["missing"]["lake"] == ["images_background.zip", "images_evaluation.zip"]
    for row in rows:
        fetched = "http" in row["how"] or row["name"] == "sentences"  # which nothing downloads
        assert row["present"] or (str(tmp_path / row["name"]) in row["how"] and fetched)


def test_every_address_is_of_the_file_it_is_for():
    for entry in CATALOG.values():
        for variant in entry.splits.values():
            for file in (file for files in variant.files for file in files):
                assert all(url.rpartition("/")[2] == file.name for url in file.urls)
                assert file.md5 is None or len(file.md5) == 32


def test_listing_needs_no_torch(fresh_python):
    assert fresh_python("import sys, fourfold.data as d; d.available(); print('torch' in sys.modules)") == "False\n"
