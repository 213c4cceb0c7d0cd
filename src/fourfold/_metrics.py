"""What metrics are called and how they are shown, which way is better, and in what two rows' protocols differ."""

__all__ = ["METRICS", "Differing", "Metric", "described", "differences", "metric_of", "rounded", "shared"]

import re
from collections.abc import Mapping
from dataclasses import dataclass
from math import floor, isfinite, log10
from typing import Any, NamedTuple


@dataclass(frozen=True, slots=True)
class Metric:
    """How a metric is told.

    Args:
        label: its name in tables.
        sign: what its value is multiplied by in tables.
        better: ``"lower"`` or ``"higher"``, of the value itself; ``None`` where neither is better by itself.
    """

    label: str
    sign: int = 1
    better: str | None = None


METRICS = {
    "active_units": Metric("active units"),
    "amortisation_gap": Metric("amortisation gap", better="lower"),
    "approximation_gap": Metric("approximation gap", better="lower"),
    "bdmc_elbo": Metric("−ELBO, simulated data", -1),
    "bdmc_gap": Metric("sandwich, simulated data"),
    "bdmc_lower": Metric("log p(x) from below, simulated data"),
    "bdmc_upper": Metric("log p(x) from above, simulated data"),
    "bits_per_dim": Metric("bits/dim (−ELBO)", better="lower"),
    "bits_per_dim_is": Metric("bits/dim (IS)", better="lower"),
    "bound_gap": Metric("log p(x) − ELBO"),
    "code_perplexity": Metric("codebook perplexity", better="higher"),
    "codes_used": Metric("codes used", better="higher"),
    "cross_entropy": Metric("cross-entropy, grey (no −log p)"),
    "cross_entropy_objective": Metric("its sum with the rate (no bound)", better="lower"),
    "dwkl": Metric("dimension-wise KL"),
    "elbo": Metric("−ELBO", -1, "higher"),
    "elbo_best": Metric("−ELBO, best q of each datum", -1, "higher"),
    "elbo_encoder": Metric("−ELBO, encoder's q", -1, "higher"),
    "elbo_uniform": Metric("−ELBO, codes of a uniform prior", -1, "higher"),
    "elbo_flow": Metric("−ELBO, best flow of each datum", -1, "higher"),
    "flow_gain": Metric("won by a flow"),
    "flow_gap": Metric("left by the flow", better="lower"),
    "is_gap": Metric("log p(x) − IS"),
    "log_p": Metric("−log p(x)", -1, "higher"),
    "mi": Metric("mutual information"),
    "nats_per_token": Metric("nats/token (−ELBO)", better="lower"),
    "nats_per_token_is": Metric("nats/token (IS)", better="lower"),
    "nll_ais": Metric("NLL (AIS)", better="lower"),
    "nll_is": Metric("NLL (IS)", better="lower"),
    "nll_mc": Metric("NLL (MC)", better="lower"),
    "perplexity": Metric("perplexity (−ELBO)", better="lower"),
    "perplexity_is": Metric("perplexity (IS)", better="lower"),
    "reconstruction_mse": Metric("reconstruction error", better="lower"),
    "tc": Metric("total correlation"),
    "two_sample_mmd2": Metric("MMD², generated and real"),
    "two_sample_p": Metric("two-sample p-value"),
    "aggregate_ksd2": Metric("KSD², q(z) from the score of p(z)"),
    "aggregate_ksd_p": Metric("p-value, KSD of q(z)"),
    "aggregate_mmd2": Metric("MMD², q(z) and p(z)"),
    "aggregate_mmd_p": Metric("p-value, MMD of q(z) and p(z)"),
    "auc_complexity": Metric("area, PNG bits", better="higher"),
    "auc_elbo": Metric("area, −ELBO", better="higher"),
    "auc_excess": Metric("area, −log₂ p(x) − PNG bits", better="higher"),
    "auc_nll": Metric("area, −log p(x)", better="higher"),
    "auc_regret": Metric("area, likelihood regret", better="higher"),
    "auc_waic": Metric("area, −WAIC", better="higher"),
    "calibration_error": Metric("calibration error (ECE)", better="lower"),
    "distortion_excess": Metric("distortion above the curve", better="lower"),
    "frechet_like": Metric("FID-like distance", better="lower"),
    "frechet_like_floor": Metric("FID-like, real from real"),
    "frechet_like_limit": Metric("FID-like distance, n → ∞", better="lower"),
    "kid_like": Metric("KID-like distance", better="lower"),
    "kid_like_floor": Metric("KID-like, real from real"),
    "marginal_kl": Metric("KL(q(z) ‖ p(z))"),
    "pit_distance": Metric("PIT distance (KS)", better="lower"),
    "beta_vae_dlib": Metric("β-VAE metric (L = 64)", better="higher"),
    "beta_vae_higgins": Metric("β-VAE metric (L = 200)", better="higher"),
    "dci_boosted_completeness": Metric("DCI completeness (boosted trees)", better="higher"),
    "dci_boosted_disentanglement": Metric("DCI disentanglement (boosted trees)", better="higher"),
    "dci_boosted_informativeness": Metric("DCI informativeness (boosted trees)", better="higher"),
    "dci_forest_completeness": Metric("DCI completeness (random trees)", better="higher"),
    "dci_forest_disentanglement": Metric("DCI disentanglement (random trees)", better="higher"),
    "dci_forest_informativeness": Metric("DCI informativeness (random trees)", better="higher"),
    "dci_lasso_completeness": Metric("DCI completeness (lasso)", better="higher"),
    "dci_lasso_disentanglement": Metric("DCI disentanglement (lasso)", better="higher"),
    "dci_lasso_informativeness": Metric("DCI informativeness (lasso)", better="higher"),
    "explicitness": Metric("explicitness", better="higher"),
    "factor_vae": Metric("FactorVAE metric", better="higher"),
    "gaussian_tc": Metric("total correlation (Gaussian)", better="lower"),
    "gaussian_wasserstein": Metric("Wasserstein from uncorrelated (Gaussian)", better="lower"),
    "irs": Metric("IRS", better="higher"),
    "mean_information": Metric("information between latents (20 bins)", better="lower"),
    "mic_approx": Metric("MIC (APPROX)", better="higher"),
    "mic_e": Metric("MIC_e", better="higher"),
    "mig_chen": Metric("MIG (densities)", better="higher"),
    "mig_dlib": Metric("MIG (20 bins)", better="higher"),
    "mig_sup": Metric("MIG-sup (20 bins)", better="higher"),
    "mig_sup_chen": Metric("MIG-sup (densities)", better="higher"),
    "modularity": Metric("modularity", better="higher"),
    "sap": Metric("SAP", better="higher"),
    "tic_approx": Metric("TIC (APPROX)", better="higher"),
    "tic_e": Metric("TIC_e", better="higher"),
}

# Of two rows that may be compared, these say the same; in the words in which they are told.
_SHARED = {
    "dataset": "data set",
    "split": "split",
    "split_seed": "seed of the split",
    "data_part": "part of the data",
    "binarize": "binarisation",
    "dequantize": "dequantisation",
    "condition": "condition",
    "seed": "seed of binarisation and draws",
    "measure": "measure (mass or density)",
}
# How the KL was had does not change what bound it is a part of; how many latents there are belongs to the model; and
# what was found on the way (acceptance, deviation, what chance makes of it) is a result itself.
_FOUND = r"s\.d\. [^\s,;]+|acceptance [^\s,;]+|[^\s,;]+ by chance alone"
_NOT_THE_BUDGET = re.compile(
    rf"[,;] (analytic KL|Monte Carlo KL|KL analytic where closed|of \d+ latents|{_FOUND})(?=[,;]|$)"
)


class Differing(NamedTuple):
    """One thing in which two rows differ."""

    what: str
    first: Any
    second: Any


def metric_of(name: str) -> Metric:
    """How this metric is told, be it in the table or not."""
    return METRICS.get(name) or Metric(name.replace("_", " "))


def rounded(value: float, error: float | None) -> tuple[str, str]:
    """The value to two digits of its standard error, and those; without one four digits, of whole numbers all.

    Example:
        >>> rounded(-98.127, 0.2123), rounded(0.123456, None), rounded(10_000.0, None), rounded(5.18739, 3e-16)
        (('-98.13', '0.21'), ('0.1235', ''), ('10000', ''), ('5.187', ''))
    """
    if not isfinite(value):
        return str(value), ""
    if error and isfinite(error) and error > 1e-9 * abs(value):  # below it is rounding, and no error of anything
        digits = max(0, 1 - floor(log10(error)))
        return f"{value:.{digits}f}", f"{error:.{digits}f}"
    return (f"{value:.0f}" if float(value).is_integer() else f"{value:.4g}"), ""


def described(row: Mapping[str, Any], label: str | None = None) -> str:
    """What a row (or several, with a label for all) is of, and how it was estimated, in one line."""
    said = row["protocol"]
    parts = [f"{row['n']:,} {said.get('data_part')} data of {said.get('dataset')}"]
    parts += [f"split {said['split']}"] if said.get("split") else []
    parts += [f"{said['binarize']} binarisation"] if said.get("binarize") else []
    parts += ["dequantised"] if said.get("dequantize") else []
    known = (said.get("vocabulary") or {}).get("known")
    parts += [f"{known:,} known words"] if known else []
    return f"{label or metric_of(row['metric']).label} of {', '.join(parts)}, seed {said.get('seed')}; {_budget(row)}"


def shared(row: Mapping[str, Any]) -> dict[str, Any]:
    """What rows that may be compared say alike, in the words in which it is told."""
    said = {words: row["protocol"].get(key) for key, words in _SHARED.items()}
    return {"metric": row["metric"], **said, "n": row["n"], "unit": row["unit"], "estimator": _budget(row)}


def differences(first: Mapping[str, Any], second: Mapping[str, Any]) -> list[Differing]:
    """In what the protocols of two rows (as in ``results.json``) differ, so that their values must not be compared.

    What belongs to the model (recipe, steps, parameters …), to the machine or to the version is no part of it. Whether
    the rows were of the same data, drawn alike, is known from a digest where both have one.
    """
    said, also = shared(first), shared(second)
    of_one_set = said["data set"] == also["data set"]
    asked = [key for key in said if of_one_set or "split" not in key]
    found = [Differing(key, said[key], also[key]) for key in asked if said[key] != also[key]]
    one, two = first["protocol"], second["protocol"]
    digests = one.get("data_digest"), two.get("data_digest")
    if not found and None not in digests and digests[0] != digests[1]:
        devices = one.get("device"), two.get("device")
        if devices[0] != devices[1]:
            return [Differing("device, so what was drawn for the data", *devices)]
        return [Differing("the data themselves (digest)", *digests)]
    return found


def _budget(row: Mapping[str, Any]) -> str:
    return _NOT_THE_BUDGET.sub("", row["estimator"])
