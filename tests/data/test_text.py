"""Text as data: words and their numbers, splits, files, and what a model is shown of them."""

import gzip
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fourfold import data as ff
from fourfold._tokens import EOS, PAD, UNK
from fourfold.data import DataSet, Split, View, Vocabulary, feed, from_lines, load
from fourfold.data.vocabulary import split_words
from fourfold.noise import Noise

LINES = [f"{who} {did} the {what} ." for who in "abc" for did in ("saw", "ate") for what in ("dog", "tree")]


def test_real_sentences(shared_data: Path) -> None:
    data = ff.sentences(data_dir=shared_data)
    assert [len(part) for part in data.parts.values()] == [8544, 1101, 2210] and data.shape == (57,)
    words = data.vocabulary
    assert words is not None and words.rule == "blanks" and words.known == 5563
    assert data.protocol["split"] == "given" and data.protocol["vocabulary"]["known"] == 5563
    lines = gzip.decompress((shared_data / "sentences" / "sst_train.txt.gz").read_bytes()).decode().split("\n")
    assert words.decode(data.train.x[:]) == [" ".join(line.split()) for line in lines if line.strip()]
    # Known are the words that training holds three times or more, and none else.
    counts = np.bincount(data.train.x[:].ravel(), minlength=len(words))
    assert (counts[3 : words.known] >= 3).all() and (counts[words.known :] < 3).all()
    assert (np.diff(counts[3 : words.known]) <= 0).all()


def test_lines_become_rows_and_rows_lines() -> None:
    data = from_lines(LINES, split="all")
    assert data.vocabulary is not None
    assert data.vocabulary.decode(data.train.x[:]) == LINES
    assert data.train.x.dtype == np.int32 and data.shape == (6,)
    assert ((data.train.x == EOS).sum(1) == 1).all()
    assert data.spec.vocabulary == data.vocabulary.shown and data.spec.levels is None and not data.grey


def test_the_vocabulary_is_of_the_training_sentences_alone() -> None:
    data = from_lines({"train": ["a a b", "a c"], "validation": ["d a c"], "test": ["b d"]}, min_count=2)
    words = data.vocabulary
    assert words is not None and words.words == ("<pad>", "<eos>", "<unk>", "a", "b", "c", "d") and words.known == 4
    assert data.validation is not None and words.decode(data.validation.x[:]) == ["d a c"]  # the text is kept
    shown = View(None, words=words.known)(torch.from_numpy(data.validation.x[:]), None, Noise(0))
    assert shown.x.tolist() == [[UNK, 3, UNK, EOS]] and shown.mask is not None and shown.mask.sum() == 4
    assert data.protocol["vocabulary"]["min_count"] == 2
    assert Vocabulary.from_dict(words.to_dict()) == words.shown


def test_a_seed_splits_and_another_splits_otherwise() -> None:
    one, same, other = (from_lines(LINES, seed=seed) for seed in (0, 0, 2))
    assert [len(part) for part in one.parts.values()] == [10, 1, 1]
    told = [d.vocabulary.decode(d.test.x[:]) for d in (one, same, other) if d.vocabulary and d.test]
    assert told[0] == told[1] != told[2] and one.protocol["seed"] == 0
    every = [line for split in one.parts.values() for line in one.vocabulary.decode(split.x[:])]  # type: ignore[union-attr]
    assert sorted(every) == sorted(LINES)


@pytest.mark.parametrize("suffix", [".txt", ".txt.gz"])
def test_a_file_of_ones_own(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"mine{suffix}"
    text = ("\n\n".join([*LINES, "  Don't!  "]) + "\r\n").encode()
    path.write_bytes(gzip.compress(text) if suffix.endswith("gz") else text)
    data = load(path)
    assert data.name == "mine" and sum(len(part) for part in data.parts.values()) == 13
    assert data.origin is not None and load(**data.origin).protocol == data.protocol
    whole = load(path, split="all")
    assert whole.vocabulary is not None and whole.vocabulary.decode(whole.train.x[-1:]) == ["Don't !"]


@given(st.text(alphabet="ab'’-.,!3 é\t", max_size=30))
def test_what_is_cut_is_cut_alike_again(line: str) -> None:
    cut = split_words(line, "words")
    assert split_words(" ".join(cut), "words") == cut
    assert "".join(cut) == "".join(line.split())  # nothing is lost but blanks


def test_words_with_the_names_of_the_special_ones() -> None:
    data = from_lines(["<pad> a <unk> <eos>", "a"], split="all", rule="blanks", min_count=1)
    assert data.train.x.tolist() == [[UNK, 3, UNK, UNK, EOS], [3, EOS, PAD, PAD, PAD]]


def test_masks_end_with_each_sentence() -> None:
    data = from_lines(["a b c", "a", "b c"], split="all", min_count=1)
    batch = View(None, words=6)(torch.from_numpy(data.train.x[:]), None, Noise(0))
    assert batch.mask is not None and batch.mask.sum(1).tolist() == [4, 2, 3] and batch.x.is_floating_point()
    view = View(None, words=6)
    assert View.from_dict(view.to_dict()).words == 6 and "words" not in View(256).to_dict()


def test_feeds_give_the_rows_as_they_are() -> None:
    data = from_lines(LINES, split="all")
    for resident in (True, False):
        rows = [raw for _, raw, _ in feed(data.train, workers=0, resident=resident).chunks(5)]
        assert torch.cat(rows).equal(torch.from_numpy(data.train.x[:])) and rows[0].dtype == torch.int32


def test_what_is_no_text(unchecked: None, tmp_path: Path) -> None:
    words = Vocabulary(("<pad>", "<eos>", "<unk>", "a"), 4)
    for bad in ([3, 3, 3], [3, 0, 1], [1, 1, 0], [1, 3, 0]):
        with pytest.raises(ValueError, match="row 1 is not words, then <eos>"):
            x = Split(np.array([[3, 1, 0], bad], np.int32))
            DataSet("bad", x, None, None, None, None, vocabulary=words)
    with pytest.raises(ValueError, match="numbers from 0 to 3"):
        DataSet("bad", Split(np.array([[4, 1]], np.int32)), None, None, None, None, vocabulary=words)
    with pytest.raises(ValueError, match="at least one line of text"):
        from_lines(["", "  "])
    with pytest.raises(ValueError, match="wants at least 3 lines, got 2"):
        from_lines(["a", "b"])
    with pytest.raises(ValueError, match="a line of 1,001 words"):
        from_lines(["a " * 1001], split="all")
    (tmp_path / "long.txt").write_text("\n".join(["a b", "", "a " * 1001 + ".", "c d"]))
    with pytest.raises(ValueError, match=r"line 3 is a line of 1,002 words. Put each of its sentences on a line"):
        load(tmp_path / "long.txt")
    with pytest.raises(ValueError, match="test line 2 is a line of 1,001 words"):
        from_lines({"train": ["a"], "test": ["a", "a " * 1001]})
    with pytest.raises(ValueError, match=r"size is of images, and this is text. Leave it out"):
        load(tmp_path / "long.txt", size=8)
    (tmp_path / "latin.txt").write_bytes("é".encode("latin-1"))
    with pytest.raises(ValueError, match="wanted UTF-8 text"):
        load(tmp_path / "latin.txt")
    with pytest.raises(ValueError, match="wanted at most 1 words a line, got 2"):
        words.encode(["a a"], 2)
    with pytest.raises(ValueError, match="must begin with <pad> <eos> <unk>"):
        Vocabulary(("a", "b"), 2)
    with pytest.raises(ValueError, match="words have no levels"):
        View(256, words=5)
