"""The sentence VAE and the language model: word dropout where it belongs, and numbers that say what they are."""

from math import exp, log
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.testing import assert_close

import fourfold as ff
from fourfold._tokens import UNK
from fourfold.data import DataSpec, Vocabulary, from_lines
from fourfold.models import VAE, Direct, WordDropout
from fourfold.noise import Noise
from fourfold.objectives import IWAE
from fourfold.recipes import rnn_lm, sentence_vae

WORDS = Vocabulary(("<pad>", "<eos>", "<unk>", "a", "b", "c"), 6)
SPEC = DataSpec((6,), None, None, n=20, vocabulary=WORDS)
X = torch.tensor([[3.0, 4, 5, 1, 0, 0], [5, 5, 4, 3, 4, 1], [1, 0, 0, 0, 0, 0]])
MASK = (X != 0).float()
SMALL = {"embedding": 5, "hidden": 6}


def test_word_dropout_hides_words_and_nothing_else() -> None:
    x = torch.tensor([[3.0, 4, 5, 1, 0, 0]]).expand(2000, -1)
    made = WordDropout(0.3)(x, Noise(0))
    hidden = (made != x).float().mean(0)
    assert ((hidden[:3] - 0.3).abs() < 4 * (0.21 / 2000) ** 0.5).all() and (hidden[3:] == 0).all()
    assert (made[made != x] == UNK).all()
    assert WordDropout(0.0)(x, Noise(0)).equal(x)


@pytest.mark.parametrize("recipe", [rnn_lm, sentence_vae])
def test_word_dropout_is_for_training_and_for_inputs_alone(recipe, double: None) -> None:
    model = recipe(word_dropout=0.5, **SMALL).build(SPEC).model.double()
    plain = recipe(word_dropout=0.0, **SMALL).build(SPEC).model.double()
    assert isinstance(model, VAE | Direct) and isinstance(model.decoder_inputs, WordDropout)
    plain.load_state_dict(model.state_dict())
    x, mask = X.double(), MASK.double()
    tested, wanted = (one.eval()(x, noise=Noise(1), mask=mask).log_likelihood for one in (model, plain))
    assert_close(tested, wanted, rtol=0, atol=1e-12)
    trained = model.train()(x, noise=Noise(1), mask=mask)
    # By hand: the inputs that the same noise corrupts, and the posterior of the clean sentence.
    source = Noise(1)
    fed = WordDropout(0.5)(x, source)
    z = (model.posterior(x).sample(source, 1),) if isinstance(model, VAE) else ()
    p_x = model.likelihood(z[0]) if isinstance(model, VAE) else model.density()
    assert not fed.equal(x)
    assert_close(trained.log_likelihood, p_x.log_prob_fed(x, fed, mask).expand(1, 3), rtol=0, atol=1e-12)
    # What is inferred at given latents, and the distribution itself, see the words as they are.
    again = model.at(x, z, mask=mask)
    assert_close(again.log_likelihood, trained.p_x.log_prob(x, mask), rtol=0, atol=1e-12)
    assert not torch.allclose(again.log_likelihood, trained.log_likelihood)


def test_without_any_input_training_and_use_are_alike(double: None) -> None:
    model = sentence_vae(word_dropout=1.0, **SMALL).build(SPEC).model.double()
    assert isinstance(model, VAE) and model.decoder_inputs is None
    trained, tested = (one(X.double(), noise=Noise(1)).log_likelihood for one in (model.train(), model.eval()))
    assert trained.equal(tested)
    z = torch.ones(1, 1, 16)
    tail = torch.tensor([0.0, 0, 1, 1, 1, 1])
    one, other = torch.tensor([[3.0, 4, 5, 1, 0, 0]]), torch.tensor([[5.0, 5, 5, 1, 0, 0]])
    first, second = (model.at(x.double(), (z,), q=False, mask=tail).log_likelihood for x in (one, other))
    assert first.equal(second)  # it cannot know which words came before


def test_estimators_see_the_weights_they_are_given(double: None) -> None:
    """DReG calls the model under frozen weights; in a recurrent cell torch keeps a list of them besides."""
    model = sentence_vae(word_dropout=0.0, **SMALL).build(SPEC).model.double()
    decoder = [p for n, p in model.named_parameters() if n.startswith("likelihood")]
    x, mask = X.double(), MASK.double()

    def gradients(estimator: str) -> list[torch.Tensor]:
        objective = IWAE(4, estimator=estimator)
        trace = model(x, draws=4, noise=Noise(2), mask=mask)
        learnt = objective.surrogate(model, trace, objective(trace))
        return list(torch.autograd.grad(learnt.mean(), decoder))

    assert_close(gradients("dreg"), gradients("autograd"), rtol=1e-9, atol=1e-12)


def test_perplexity_is_the_bound_per_token(tmp_path: Path) -> None:
    lines = [f"{a} {b} {a} ." for a in ("x", "y", "z") for b in ("u", "v w", "w")] * 4
    data = from_lines(lines, min_count=1)
    for recipe in (rnn_lm(**SMALL), sentence_vae(latent=2, **SMALL)):
        run = ff.fit(recipe, data, epochs=2, batch_size=8, out=tmp_path / recipe.recipe.name, quiet=True)
        found = run.evaluate(importance_samples=50)
        rows = {row.metric: row for row in found.rows}
        assert data.test is not None
        tokens = int((data.test.x[:] != 0).sum())
        bound = -found.per_datum["elbo"].sum() / tokens
        assert rows["nats_per_token"].value == pytest.approx(bound, rel=1e-6)
        assert rows["perplexity"].value == pytest.approx(exp(bound), rel=1e-6)
        assert rows["perplexity"].protocol["vocabulary"]["known"] == data.vocabulary.known  # type: ignore[union-attr]
        assert "bits_per_dim" not in rows
        tighter = found.per_datum["nll_is"].sum() / tokens
        assert rows["perplexity_is"].value == pytest.approx(exp(tighter), rel=1e-6)
        if recipe.recipe.name == "rnn_lm":
            assert rows["perplexity"].estimator == "exact, no latents"
            assert rows["perplexity"].value == pytest.approx(rows["perplexity_is"].value, rel=1e-6)
        else:  # a bound, and never the reconstruction alone
            reconstruction = found.per_datum["distortion"].sum() / tokens
            assert log(rows["perplexity"].value) == pytest.approx(
                reconstruction + found.per_datum["rate"].sum() / tokens
            )
            assert tighter < bound


def test_the_language_model_learns_what_there_is_to_learn(tmp_path: Path) -> None:
    """Half of the sentences are one, half the other: one bit for a sentence, however long."""
    data = from_lines(["a b b c a"] * 100 + ["c c a"] * 100, split="all", min_count=1)
    recipe = rnn_lm(embedding=8, hidden=16, cell="gru")
    run = ff.fit(recipe, data, epochs=30, batch_size=20, lr=2e-2, out=tmp_path / "r", quiet=True)
    assert run.evaluate("train").per_datum["elbo"].mean() == pytest.approx(-log(2), abs=0.02)
    from fourfold.runs.sentences import sampled

    drawn = sampled(run, 200)
    assert np.mean([line in ("a b b c a", "c c a") for line in drawn]) > 0.97


@pytest.mark.slow
def test_the_sentence_vae_writes_its_topic_into_z(tmp_path: Path) -> None:
    """The words of a sentence are told by its topic alone; without inputs only z can tell it."""
    generator = np.random.default_rng(0)
    topics = (["red", "blue", "green", "pink"], ["cat", "dog", "cow", "hen"], ["one", "two", "three", "four"])
    lines = [" ".join(generator.choice(topics[i % 3], 5)) for i in range(600)]
    data = from_lines(lines, split="all", min_count=1)
    recipe = sentence_vae(latent=2, embedding=8, hidden=16, word_dropout=1.0, beta_schedule="linear:0:1:200")
    run = ff.fit(recipe, data, epochs=25, batch_size=20, lr=1e-2, out=tmp_path / "r", quiet=True)
    found = run.evaluate("train", importance_samples=50).per_datum
    truth = log(3) + 5 * log(4)
    assert found["rate"].mean() > 0.9 and truth - 0.05 < found["nll_is"].mean() < truth + 0.4
    from fourfold.runs.sentences import interpolated, reconstructed

    pairs = reconstructed(run, 30, split="train")
    right = [set(made.split()) <= set(topic) for i, (_, made) in enumerate(pairs) for topic in [topics[i % 3]]]
    assert np.mean(right) > 0.9 and pairs[0][0] == lines[0]
    path = interpolated(run, 0, 1, 5, split="train")
    assert set(path[0].split()) <= set(topics[0]) and set(path[-1].split()) <= set(topics[1])


def test_what_cannot_be(unchecked: None, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="recipe sentence_vae needs sentences"):
        sentence_vae().build(DataSpec((1, 8, 8), 256, 10))
    with pytest.raises(ValueError, match=r"word_dropout: wanted a share from 0 to 1, got 1\.5"):
        rnn_lm(word_dropout=1.5).build(SPEC)
    with pytest.raises(ValueError, match=r"rnn_lm: cell: unknown value 'rnn'. Known: gru, lstm, transformer"):
        rnn_lm(cell="rnn").build(SPEC)
    data = from_lines(["a b", "b a", "a", "b"], split="all", min_count=1)
    with pytest.raises(ValueError, match="these are sentences, and the model's likelihood is of real values"):
        ff.fit(ff.recipes.vae(latent=2, hidden=(4,)), data, out=tmp_path / "r", quiet=True)
    assert not (tmp_path / "r").exists()
