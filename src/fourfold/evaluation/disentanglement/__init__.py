"""Metrics of disentanglement: functions of codes and factors, each beside the same of codes whose quality is known."""

__all__ = [
    "BETA_DLIB",
    "BETA_HIGGINS",
    "CONTROLS",
    "DCI",
    "DEFAULT",
    "FACTOR_DLIB",
    "METRICS",
    "UDR",
    "BetaProtocol",
    "Characteristic",
    "FactorProtocol",
    "Measured",
    "Measurement",
    "Measuring",
    "Metric",
    "NotApplicable",
    "Posteriors",
    "Reading",
    "Sample",
    "Sampled",
    "Score",
    "Source",
    "Tabled",
    "beta_vae",
    "characteristic_approx",
    "characteristic_e",
    "controls",
    "dci_boosted",
    "dci_forest",
    "dci_lasso",
    "explicitness",
    "factor_vae",
    "gaussian_tc",
    "gaussian_wasserstein",
    "information",
    "irs",
    "mean_information",
    "measure",
    "mic_scores",
    "mig_chen",
    "mig_dlib",
    "mig_sup",
    "mig_sup_chen",
    "modularity",
    "perfect",
    "r2",
    "random_codes",
    "read_codes",
    "read_factors",
    "read_sample",
    "rotated",
    "sap",
    "udr_lasso",
    "udr_spearman",
]

from .catalogue import DEFAULT, METRICS, Metric
from .characteristic import Characteristic, characteristic_approx, characteristic_e, mic_scores
from .chen import Posteriors, mig_chen, mig_sup_chen
from .controls import CONTROLS, controls, perfect, random_codes, rotated
from .dci import DCI, dci_boosted, dci_forest, dci_lasso
from .fixed import BETA_DLIB, BETA_HIGGINS, FACTOR_DLIB, BetaProtocol, FactorProtocol, beta_vae, factor_vae
from .information import information, r2
from .irs import irs
from .measure import Measured, Measurement, Measuring, measure
from .mig import mig_dlib, mig_sup, modularity
from .predictive import explicitness, sap
from .read import Reading, read_codes, read_factors, read_sample
from .sample import Sample
from .score import NotApplicable, Score
from .source import Sampled, Source, Tabled
from .udr import UDR, udr_lasso, udr_spearman
from .unsupervised import gaussian_tc, gaussian_wasserstein, mean_information
