"""Recurrent networks of tokens: the encoder reads a sentence to its end and no further."""

import pytest
import torch
from torch.testing import assert_close

from fourfold.networks import Recurrent, RecurrentSizes, RecurrentTokens


@pytest.mark.parametrize("cell", ["lstm", "gru"])
@pytest.mark.parametrize("layers", [1, 2])
def test_the_encoder_reads_each_sentence_to_its_end(cell: str, layers: int, double: None) -> None:
    """Against the cell run on each sentence alone, cut at its own length."""
    net = Recurrent((6,), (3,), sizes=RecurrentSizes(9, 4, 5, layers, cell))
    x = torch.tensor([[3.0, 4, 5, 1, 0, 0], [6, 1, 0, 0, 0, 0], [1, 0, 0, 0, 0, 0], [3, 4, 5, 6, 7, 1]])
    alone = []
    for row, n in zip(x.long(), (4, 2, 1, 6), strict=True):
        states, _ = net.cell(net.embedding(row[None, :n]))
        alone.append(net.last(states[:, -1]))
    assert_close(net(x), torch.cat(alone), rtol=0, atol=1e-12)
    longer = torch.cat([x, torch.zeros(4, 3)], 1)
    assert_close(net(longer), net(x), rtol=0, atol=1e-12)


def test_a_condition_joins_the_state(double: None) -> None:
    net = Recurrent((6,), (2, 2), (3,), sizes=RecurrentSizes(9, 4, 5))
    x, c = torch.tensor([[3.0, 1, 0, 0, 0, 0]]).expand(2, -1), torch.eye(3)[:2].double()
    made = net(x, c)
    assert made.shape == (2, 2, 2) and not torch.allclose(made[0], made[1])


def test_functional_calls_see_other_weights(double: None) -> None:
    """torch keeps a second list of a cell's weights: estimators call models under other ones."""
    net = RecurrentTokens(RecurrentSizes(9, 4, 5), 2)
    tokens, z = torch.tensor([[3, 4, 1]]), torch.ones(1, 2)
    others = {name: value.detach() * 1.5 for name, value in net.named_parameters()}

    class Whole(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = net

        def forward(self, tokens: torch.Tensor, z: torch.Tensor) -> torch.Tensor:
            return self.net.logits(self.net.hidden(tokens, z))

    whole = Whole()
    found = torch.func.functional_call(whole, {f"net.{k}": v for k, v in others.items()}, (tokens, z))
    before = whole(tokens, z)
    net.load_state_dict(others)
    assert_close(found, whole(tokens, z), rtol=0, atol=1e-12)
    assert not torch.allclose(found, before)


def test_sizes_that_are_none(unchecked: None) -> None:
    with pytest.raises(ValueError, match=r"cell: unknown cell 'rnn'\. Known: gru, lstm"):
        RecurrentSizes(9, cell="rnn")
    with pytest.raises(ValueError, match="words: wanted 3 at least, got 2"):
        RecurrentSizes(2)
    with pytest.raises(ValueError, match="hidden must be an integer of at least 1"):
        RecurrentSizes(9, hidden=0)
    with pytest.raises(ValueError, match=r"wanted a sequence \(T,\), got \(1, 6, 5\)"):
        Recurrent((1, 6, 5), (2,), sizes=RecurrentSizes(9))
