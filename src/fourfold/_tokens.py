"""The numbers of the tokens that are no words."""

__all__ = ["EOS", "PAD", "SPECIAL", "UNK"]

SPECIAL = ("<pad>", "<eos>", "<unk>")
"""What fills a row up after its end; the end of a sentence; a word that the vocabulary does not have."""

PAD, EOS, UNK = range(3)
