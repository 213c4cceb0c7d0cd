"""What to try, for the model at hand: flags where its recipe has them, else another recipe."""

__all__ = ["against_collapse", "against_dead_codes", "against_dead_levels", "calmer", "for_more_rate"]

from .facts import Facts

_LONGER = ("longer training, or a higher learning rate: a decoder that is no use yet leaves z idle at first",)


def for_more_rate(facts: Facts) -> list[str]:
    """Where the objective holds the rate back."""
    flags, beta = facts.flags, facts.beta
    if "capacity" in facts.weights:
        return ["a larger capacity: --capacity, or a ramp that goes further"]
    if beta is not None and beta > 1:
        how = "--beta 1" if "beta" in flags and not flags.get("beta_schedule") else "a beta_schedule that ends at 1"
        return [f"a smaller β: {how}; or annealing up to β, so that the latents are in use before they cost so much"]
    return ["smaller weights on the penalties of the objective"]


def against_collapse(facts: Facts, autoregressive: bool, codes: bool = False) -> list[str]:
    """Where the latents are given up, in the order of promise."""
    flags, tried = facts.flags, []
    if "beta_schedule" in flags:
        steps = max(facts.steps // 3, 100)
        longer = " (longer than now)" if flags["beta_schedule"] else ""
        tried.append(
            f"annealing{longer}: --beta-schedule linear:0:1:{steps}, so that z is in use before it is paid for"
        )
    if "word_dropout" in flags:
        tried.append("word dropout: --word-dropout 0.3, so that the decoder cannot lean on the words before alone")
    if autoregressive and "window" in flags:
        tried.append("a smaller window: --window 4,2 lets each pixel see less, and leaves the rest for z to tell")
    elif autoregressive and "word_dropout" not in flags:
        tried.append("a decoder that sees less of its own output: fewer layers, a smaller window")
    if codes:  # their rate is −log p(z), without a width to commit: the codebook and the training are left
        return [*tried, *_LONGER, *against_dead_codes(facts)]
    strong = " (with this decoder: fourfold.Recipe with objective FreeBits(nats) in Python)" if autoregressive else ""
    tried.append(f"free bits: recipe free_bits_vae{strong}: a rate that costs nothing is not given up")
    prior = " (with this decoder: prior AR1(…) in Python)" if autoregressive else ""
    tried.append(f"a committed rate: recipe delta_vae{prior}")
    if not autoregressive:
        tried += _LONGER
    return tried


def against_dead_levels(facts: Facts, upward: bool) -> list[str]:
    """Where levels of a hierarchy are given up."""
    tried = []
    if "beta_schedule" in facts.flags:
        steps = max(facts.steps // 3, 100)
        tried.append(f"warm-up: --beta-schedule linear:0:1:{steps}, so that upper levels are in use before they cost")
    if upward:
        tried.append("a ladder instead of the way from the bottom up: recipe lvae; its upper levels see x themselves")
    tried.append("batch normalisation in the networks between levels (recipe lvae has it)")
    tried.append("fewer levels: those that are silent cost time and tell nothing")
    return tried


def against_dead_codes(facts: Facts) -> list[str]:
    """Where most of a codebook is never taken."""
    if facts.flags.get("quantiser") == "fsq":
        return ["a smaller grid: --levels"]
    tried = []
    if facts.flags.get("codebook") == "loss":
        tried.append("--codebook ema: running means, which start by k-means and set dead codes anew from data")
    elif "codebook" not in facts.flags:
        tried.append("a start by k-means, and dead codes set anew from data")
    tried.append(
        "finite scalar quantisation, which has no codebook to die" + ": --quantiser fsq" * ("quantiser" in facts.flags)
    )
    tried.append("fewer codes, or codes of fewer numbers" + ": --codes, --dim" * ("codes" in facts.flags))
    return tried


def calmer() -> tuple[str, ...]:
    """Where training diverged."""
    return (
        "a learning rate ten times smaller, or --clip 10",
        "data brought to a scale near 1, and a scale of the likelihood that has a floor",
    )
