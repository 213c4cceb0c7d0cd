"""The variational autoencoder as a scikit-learn estimator."""

__all__ = ["VariationalAutoencoder"]

from collections.abc import Callable
from typing import Any, Self

import numpy as np
import torch
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, DensityMixin, TransformerMixin
from sklearn.utils import Tags, TransformerTags, check_array, check_random_state
from sklearn.utils.validation import check_is_fitted, validate_data
from torch import Tensor, nn

from .._checks import non_negative, positive_int
from .._shapes import as_shape
from ..conditional import NetworkConditional
from ..data import DataSet, Split
from ..distributions import GaussianHead, check_support
from ..models import VAE
from ..noise import Noise, Replay
from ..objectives import ELBO
from ..recipes import vae
from ..training import Job, Training, launch, train
from .prepare import prepare

_DTYPES: Any = (np.float64, np.float32)
_CLIP = 100.0  # far above an ordinary gradient on standardised data: only a rare outlier is cut
_NUMBERS = 4_000_000  # in one layer's output at once, roughly: what bounds the memory


class VariationalAutoencoder(ClassNamePrefixFeaturesOutMixin, TransformerMixin, DensityMixin, BaseEstimator):
    r"""The recipe ``vae`` for those who live in scikit-learn: features, a density and samples from one model.

    .. math:: \mathcal L(x) = \mathbb E_{q(z|x)} \log p(x|z) - \beta\,\mathrm{KL}(q(z|x)\,\|\,\mathcal N(0, I))

    The model is of X in the units it comes in: X is not standardised, and a Gaussian likelihood has one σ for all
    features, so put a ``StandardScaler`` in front where features differ in unit. It is the networks that are fitted
    to the unit: fixed layers at their ends hold the mean of every feature and one scale for all, so that training
    neither depends on the unit nor diverges on data far from 0 or from 1; on standardised data they do nothing.
    Training is in float32; everything after it in float64, so that no result depends on the order or the number of
    rows. NumPy's and torch's global random states are left as they were.

    References:
        Kingma and Welling 2013, arXiv:1312.6114.

    Args:
        latent: size of z.
        hidden: widths of the hidden layers of encoder and, reversed, decoder; () for linear ones.
        activation: name of the activation.
        likelihood: name of the likelihood. gaussian: one learned σ, at least 0.01 of the data's scale;
            gaussian_element: a σ for each value; gaussian_fixed: σ = 1; bernoulli for 0 and 1; continuous_bernoulli
            for values in [0, 1].
        beta: β, the weight of the rate in training. ``score_samples`` is the bound, with β = 1, whatever it is.
        epochs: passes over the data.
        batch_size: rows a step; at most all.
        lr: learning rate of Adam.
        random_state: of weights, order and noise: an integer, a ``RandomState``, or None for fresh entropy.
        accelerator: where to train: auto, cpu, cuda or mps. What follows is on the CPU.
        verbose: show a progress bar.

    Attributes:
        model_: the trained model, in float64.
        n_iter_: steps of the optimiser.
        n_features_in_: columns of X.
        feature_names_in_: their names, if X had any.

    Raises:
        TypeError, ValueError: from ``fit``, for wrong arguments or data.
        NonFinite: from ``fit``, for a loss that is not finite.

    Example:
        >>> from sklearn.datasets import load_iris
        >>> X = load_iris().data
        >>> model = VariationalAutoencoder(latent=2, epochs=2, random_state=0).fit(X)
        >>> model.transform(X).shape, model.score_samples(X).shape, model.sample(5).shape
        ((150, 2), (150,), (5, 4))
    """

    model_: VAE
    n_iter_: int
    n_features_in_: int

    def __init__(
        self,
        latent: int = 2,
        hidden: tuple[int, ...] = (300,),
        activation: str = "relu",
        likelihood: str = "gaussian",
        beta: float = 1.0,
        epochs: float = 200,
        batch_size: int = 100,
        lr: float = 1e-3,
        random_state: int | np.random.RandomState | None = None,
        accelerator: str = "auto",
        verbose: bool = False,
    ) -> None:
        self.latent = latent
        self.hidden = hidden
        self.activation = activation
        self.likelihood = likelihood
        self.beta = beta
        self.epochs = epochs
        self.batch_size = batch_size
        self.lr = lr
        self.random_state = random_state
        self.accelerator = accelerator
        self.verbose = verbose

    def fit(self, X: Any, y: Any = None) -> Self:
        """Trains on X of shape ``(N, D)``, N ≥ 2; y is ignored.

        Raises:
            KeyboardInterrupt: after Ctrl-C, at the end of the step at hand.
        """
        X = validate_data(self, X, dtype=_DTYPES, ensure_min_samples=2)
        batch = min(positive_int(self.batch_size, "VariationalAutoencoder: batch_size"), len(X))
        options = Training(
            epochs=self.epochs,
            batch_size=batch,
            lr=self.lr,
            clip=_CLIP,
            seed=_seed(self.random_state),
            accelerator=self.accelerator,
            quiet=not self.verbose,
        )
        data = DataSet("X", Split(_in_float32(X)), None, None, levels=None, classes=None)
        plan = vae(
            latent=positive_int(self.latent, "VariationalAutoencoder: latent"),
            hidden=as_shape(self.hidden, "VariationalAutoencoder: hidden"),
            activation=self.activation,
            likelihood=self.likelihood,
            beta_schedule=f"constant:{non_negative(self.beta, 'VariationalAutoencoder: beta')}",
        )
        made = plan.build(data.spec, options.seed)
        _place(made.model, X)
        prepared = prepare(made, data, options)
        step = prepared.step
        job = Job(step, data.train, None, options, quiet=options.quiet, stages=prepared.stages)
        outcome = train(job, launch(options))
        if outcome.interrupted:
            raise KeyboardInterrupt(f"VariationalAutoencoder.fit: stopped at step {outcome.step}.")
        self.model_ = made.model.cpu().double().eval()
        self.n_iter_ = outcome.step
        return self

    def transform(self, X: Any) -> np.ndarray:
        """The posterior means, ``(N, latent)``."""
        X = self._checked(X)
        support = "unit" if self.model_.support == "binary" else self.model_.support
        self._check_support(X, support)
        return self._over_rows(X, lambda x: self.model_.encode(x)[0]).astype(X.dtype, copy=False)

    def inverse_transform(self, X: Any) -> np.ndarray:
        """The means of p(x | z), ``(N, D)``, for codes z of shape ``(N, latent)``."""
        check_is_fitted(self)
        X = check_array(X, dtype=_DTYPES)
        if X.shape[1] != self._n_features_out:
            raise ValueError(
                f"VariationalAutoencoder.inverse_transform: wanted codes of shape (N, {self._n_features_out}), as "
                f"transform gives them, got shape {X.shape}."
            )
        return self._over_rows(X, self.model_.decode).astype(X.dtype, copy=False)

    def score_samples(self, X: Any) -> np.ndarray:
        r"""The ELBO of every row, in nats, ``(N,)``: a lower bound on log p(x), summed up at fixed points.

        .. math:: \frac1L \sum_{l=1}^L \log p(x \mid \mu(x) + \sigma(x)\,\epsilon_l)
            - \mathrm{KL}(q(z|x) \,\|\, \mathcal N(0, I))

        The same L = 2 max(16, latent) points ε serve for every row, call and model, so that a number depends on
        nothing but the row and the model. They come in pairs ±ε, and their mean and covariance are exactly those of
        N(0, I): with a linear decoder and a Gaussian likelihood the sum is the expectation itself, and the bound holds
        for every row. Elsewhere the sum approximates it (on binary digits to about a tenth of a nat), so that a single
        row can stand above its bound by as much. With a Gaussian likelihood the number is the logarithm of a density,
        which depends on the unit of X and may be above 0. A row so far out that its z overflows scores −inf.
        """
        X = self._checked(X)
        self._check_support(X, self.model_.support)
        points, bound = _points(self._n_features_out), ELBO()

        def elbo(x: Tensor) -> Tensor:
            noise = Replay([points.expand(-1, len(x), -1)])
            total = bound(self.model_(x, draws=len(points), noise=noise)).total
            return torch.where(total.isnan(), -torch.inf, total)  # an infinite rate: inf − inf is no number

        return self._over_rows(X, elbo, len(points))

    def score(self, X: Any, y: Any = None) -> float:  # pyright: ignore[reportIncompatibleMethodOverride]
        """The mean of ``score_samples(X)``, in nats per row; y is ignored."""
        return float(self.score_samples(X).mean())

    def sample(self, n_samples: int = 1, random_state: int | np.random.RandomState | None = None) -> np.ndarray:
        """Draws from the model, ``(n_samples, D)``: z from the prior, then x from p(x | z), its noise included."""
        check_is_fitted(self)
        noise = Noise(_seed(random_state), stream="sample")
        return self.model_.sample(n_samples, noise=noise, mean=False).double().numpy()

    @property
    def _n_features_out(self) -> int:
        return self.model_.latent_shapes[0][0]

    def _checked(self, X: Any) -> np.ndarray:
        check_is_fitted(self)
        checked: Any = validate_data(self, X, dtype=_DTYPES, reset=False)
        return checked

    def _check_support(self, X: np.ndarray, support: str) -> None:
        """Refuses what the likelihood cannot score; for real values that is nothing."""
        if support != "real":
            check_support(torch.tensor(X), support, "VariationalAutoencoder: X")

    @torch.no_grad()
    def _over_rows(self, X: np.ndarray, function: Callable[[Tensor], Tensor], draws: int = 1) -> np.ndarray:
        """The function of X in float64, a part of the rows at a time."""
        size = max(1, _NUMBERS // (draws * max(self.n_features_in_, 1000)))
        parts = (torch.tensor(X[i : i + size], dtype=torch.float64) for i in range(0, len(X), size))
        return torch.cat([function(part) for part in parts]).numpy()

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.transformer_tags = TransformerTags(preserves_dtype=["float64", "float32"])
        return tags


def _seed(random_state: int | np.random.RandomState | None) -> int:
    """A seed; unlike in scikit-learn itself, None does not touch NumPy's global generator."""
    if random_state is None:
        return Noise().seed
    return int(check_random_state(random_state).randint(2**31 - 1))


def _points(latent: int) -> Tensor:
    """Points ε of shape ``(L, 1, latent)`` with the mean and covariance of N(0, I): a random frame and its mirror."""
    half = max(16, latent)
    frame = torch.linalg.qr(Noise(0, stream="points").normal((half, latent), dtype=torch.float64)).Q
    return (half**0.5 * torch.cat((frame, -frame)))[:, None]


def _in_float32(X: np.ndarray) -> np.ndarray:
    """A copy, since X may be memory that must not be written to."""
    with np.errstate(over="ignore"):
        x = np.array(X, dtype=np.float32)
    if not np.isfinite(x).all():
        raise ValueError(
            f"VariationalAutoencoder: X: training is in float32, and {np.abs(X).max():g} does not fit it. "
            "Scale X, for example with StandardScaler."
        )
    return x


def _place(model: nn.Module, X: np.ndarray) -> None:
    """Puts fixed layers at the ends of a fresh model's networks, so that they start where the data are."""
    assert isinstance(model, VAE)
    q, p_x = model.posterior, model.likelihood
    assert isinstance(q, NetworkConditional) and isinstance(p_x, NetworkConditional)
    mean = torch.tensor(X.mean(0, dtype=np.float64))
    spread = X.std(0, dtype=np.float64)
    # What float32 cannot tell apart is no spread, and constant data have no scale.
    found = max(float(np.sqrt(np.square(spread).mean())), 1e-7 * float(mean.abs().max()))
    scale = torch.tensor(found if found > 1e-30 else 1.0, dtype=torch.float64)
    q.network = nn.Sequential(_Affine(-mean, 1 / scale), q.network)
    head = p_x.head
    if not isinstance(head, GaussianHead):
        return
    shift, times = mean / scale, scale.expand_as(mean)
    if head.kind == "element":  # its second half of raw numbers is log σ
        shift, times = torch.cat((shift, scale.log().expand_as(mean))), torch.cat((times, torch.ones_like(mean)))
    p_x.network = nn.Sequential(p_x.network, _Affine(shift, times))
    if head.kind != "fixed":
        head.floor *= float(scale)
    if head.kind == "global":
        nn.init.constant_(head.log_scale, float(scale.log()))


class _Affine(nn.Module):
    """x ↦ (x + shift) · scale, fixed."""

    shift: Tensor
    scale: Tensor

    def __init__(self, shift: Tensor, scale: Tensor) -> None:
        super().__init__()
        self.register_buffer("shift", shift.to(torch.get_default_dtype()))
        self.register_buffer("scale", scale.to(torch.get_default_dtype()))

    def forward(self, x: Tensor) -> Tensor:
        return (x + self.shift) * self.scale
