"""Are the latents in use, by encoder and decoder both, and at the right price?"""

__all__ = ["aggregate_fits", "amortised", "codes_alive", "in_use", "levels_alive", "listened_to", "priced", "width"]

from ..codes import FEW
from ..information import Information
from .checkup import Answer, Diagnosis, Measured, Sound, Unchecked
from .exam import MORE_DATA, NO_RATE, Exam, standard_error
from .facts import Facts
from .remedies import against_collapse, against_dead_codes, against_dead_levels, for_more_rate

#: A drop below this share of the rate, in a swap of latents, is none.
_UNHEARD = 0.1
#: Nats of distortion that the last nat of rate may buy, at least and at most.
_CHEAP, _DEAR = 0.5, 2.0
#: MMD² of q(z) and p(z) from which on draws of the prior are not what the decoder knows.
_FAR = 0.02
#: Of σ_q / σ_p.
_NARROW, _WIDE = 0.02, 1.5
_SURE = 2.0


def in_use(exam: Exam, facts: Facts) -> Answer:
    """Whether there is a rate at all; if not, whether the objective forbids it or the decoder does without."""
    name, rate = "rate", exam.rate
    if rate is None:
        return _no_rate(exam, name)
    known = [level.active for level in exam.levels if level.active is not None]
    active, size = sum(one.count for one in known), sum(one.active.size for one in known)
    measured = [Measured("rate", rate, "nats", exam.rate_error, NO_RATE, "below")]
    if not isinstance(exam.information, str):
        measured.append(_known(exam.information))
    if rate >= NO_RATE and known and not active:
        return Unchecked(name, f"{rate:.3g} nats are paid, yet 0 of {size} latents are active: see the swap of latents")
    if rate >= NO_RATE:
        words = f"{active} of {size} latents are active" if known else "a rate is paid"
        return Sound(name, words, tuple(measured))
    if known:
        measured.append(Measured(f"active units, of {size}", active))
    held = facts.beta is not None and facts.beta > 1
    held = held or facts.weights.get("capacity", NO_RATE) < NO_RATE
    why = " The decoder sees the pixels (or words) before, and does without z." if exam.autoregressive else ""
    words = f"The posterior has collapsed: q(z|x) is the prior whatever x is, and z tells nothing of it.{why}"
    if not held:
        tried = tuple(against_collapse(facts, exam.autoregressive, bool(exam.codes)))
        return Diagnosis("collapsed", "serious", words, tuple(measured), tried)
    weight = "β" if facts.beta is not None else "the capacity"
    value = facts.beta if facts.beta is not None else facts.weights["capacity"]
    measured.append(Measured(f"{weight} at the end of training", value, limit=1, ill="above"))
    words = f"The model is over-regularised: {weight} is so dear that no rate is paid. {words}"
    tried = for_more_rate(facts) + against_collapse(facts, exam.autoregressive, bool(exam.codes))[:2]
    return Diagnosis("over_regularised", "serious", words, tuple(measured), tuple(tried))


def _no_rate(exam: Exam, name: str) -> Answer:
    if not exam.levels:
        return Unchecked(name, "the model has no latents")
    words = (
        "The posterior is a point: an autoencoder, with no rate and no bound. Its codes are to reconstruct from; "
        "nothing holds them to the prior, so draws from it are no samples, and no number compares with a VAE's."
    )
    reason = exam.test.reason if exam.test is not None else None
    if reason is None:
        return Unchecked(name, "there is no rate")
    tried = ("for samples or likelihoods a VAE: recipe vae; for samples alone mmd_vae",)
    return Diagnosis("no_rate", "note", words, (), tried)


def listened_to(exam: Exam, facts: Facts) -> Answer:
    """Whether the decoder explains x better by its own latents than by those of another datum."""
    name = "swap of latents"
    if isinstance(exam.swap, str):
        few = exam.test is not None and len(exam.test.distortion) < 2
        reason = f"there are fewer than two data to swap between; {MORE_DATA}" if few else exam.swap
        return Unchecked(name, reason if exam.levels else "the model has no latents")
    found, rate = exam.swap, exam.rate
    least = max(_UNHEARD * (rate or 0.0), NO_RATE)
    drop = Measured("log p(x|z) lost with the z of another datum", found.mean, "nats", found.error, least, "below")
    if rate is not None and rate < NO_RATE:
        return Unchecked(name, "there is no rate: nothing is in z that the decoder could hear")
    if found.mean >= least and found.mean > _SURE * found.error:
        return Sound(name, "the decoder listens to z: with that of another datum, x is explained worse", (drop,))
    if found.mean + _SURE * found.error >= least:
        return Unchecked(name, f"too uncertain to say ({drop}); {MORE_DATA}")
    words = "The decoder ignores z: x is explained as well by the latents of another datum as by its own."
    measured = [drop]
    if rate is not None:
        measured.append(Measured("rate that is paid all the same", rate, "nats", exam.rate_error))
        words += f" The rate of {rate:.3g} nats is paid for nothing."
    tried = against_collapse(facts, exam.autoregressive, bool(exam.codes))
    if not isinstance(exam.information, str):
        measured.append(known := _known(exam.information))
        # With several levels the rate is that of all, and what the top one knows says nothing of it.
        single = exam.information.levels == 1
        if single and rate and known.value < _UNHEARD * rate:
            words += " Nor does z know x: the rate is what the families cost, or what was free; it carries nothing."
            tried = [one for one in tried if "committed" not in one and "free bits" not in one]
        elif single:
            words += " z knows x, and the decoder does not ask it."
    return Diagnosis("decoder_ignores_z", "serious", words, tuple(measured), tuple(tried))


def _known(found: Information) -> Measured:
    """What z tells of x; of several levels, what the top one does."""
    what = "mutual information I(x; z)" + " (top level)" * (found.levels > 1)
    return Measured(what, float(found.joint.mean()), "nats", standard_error(found.joint))


def levels_alive(exam: Exam, facts: Facts) -> list[Answer]:
    """Which levels of a hierarchy are silent, and how many latents of those that are not."""
    rates = None if exam.test is None else exam.test.rates
    if exam.rate is None or rates is None or exam.rate < NO_RATE:
        return [Unchecked("levels", "there is no rate to share among them")] if len(exam.levels) > 1 else []
    answers: list[Answer] = []
    idle = [
        f"{one.count} of {one.active.size}" + (f" in level {i}" if len(rates) > 1 else "")
        for i, one in enumerate((level.active for level in exam.levels), 1)
        if one is not None and 0 < one.count < 0.5 * one.active.size
    ]
    if idle:
        words = (
            f"Many latents are not in use ({', '.join(idle)} are). That is no illness by itself: the model takes as "
            "many as are worth their rate, and the others cost nothing. Fewer latents would do as well."
        )
        answers.append(Diagnosis("inactive_latents", "note", words))
    if len(rates) < 2:
        return answers
    means = [float(rate.mean()) for rate in rates]
    told = [
        Measured(f"rate of level {i}{' (top)' if i == 1 else ''}", mean, "nats", standard_error(rate), NO_RATE, "below")
        for i, (mean, rate) in enumerate(zip(means, rates, strict=True), 1)
    ]
    dead = [
        i
        for i, (mean, level) in enumerate(zip(means, exam.levels, strict=True), 1)
        if abs(mean) < NO_RATE and (level.foreseen or level.silent)
    ]
    if not dead:
        return [*answers, Sound("levels", "every level is in use", tuple(told))]
    which = ("levels " if len(dead) > 1 else "level ") + ", ".join(map(str, dead))
    words = (
        f"Of {len(means)} levels of latents (1 is the top) {which} {'are' if len(dead) > 1 else 'is'} silent: q is p "
        "there, nothing is told. The model is one of fewer levels."
    )
    serious = dead[0] == 1 or 2 * len(dead) >= len(means)
    tried = tuple(against_dead_levels(facts, exam.upward))
    answers.append(Diagnosis("collapsed_levels", "serious" if serious else "warning", words, tuple(told), tried))
    return answers


def priced(exam: Exam, facts: Facts) -> Answer:
    """Whether another nat of rate would buy more than a nat of distortion, or the last one bought far less."""
    name = "price of a nat"
    if isinstance(exam.price, str):
        return Unchecked(name, exam.price if exam.levels else "the model has no latents")
    if not exam.price.moves:
        return Unchecked(name, "there is no rate that a narrower posterior would raise")
    if facts.importance:
        return Unchecked(name, f"trained by {facts.objective}, whose best posteriors are wider than those of the ELBO")
    value, error = exam.price.value, exam.price.error
    what = "nats of distortion that one more nat of rate buys"
    said = () if facts.beta is None else (Measured("β at the end of training", facts.beta),)
    if error > 0.5 * max(abs(value), 1.0):
        return Unchecked(name, f"too uncertain to say: {Measured(what, value, '', error)}")
    if value - _SURE * error > _DEAR:
        words = (
            f"The model is over-regularised: one more nat of rate would buy {value:.3g} nats of distortion, and is not "
            "paid. The bound would rise with the rate."
        )
        measured = (Measured(what, value, "", error, _DEAR, "above"), *said)
        severity = "serious" if value > 2 * _DEAR else "warning"
        return Diagnosis("over_regularised", severity, words, measured, tuple(for_more_rate(facts)))
    if value + _SURE * error < _CHEAP and _far(exam):
        return _under(exam, facts, (Measured(what, value, "", error, _CHEAP, "below"), *said))
    words = "the last nat of rate buys about one of distortion"
    if value + _SURE * error < _CHEAP:
        words = "the last nat of rate buys less than one of distortion, and q(z) is near p(z) all the same"
    return Sound(name, words, (Measured(what, value, "", error),))


def aggregate_fits(exam: Exam, facts: Facts) -> Answer:
    """Whether draws of the prior are what the decoder was taught."""
    name = "aggregate posterior"
    if isinstance(exam.apart, str):
        return Unchecked(name, exam.apart if exam.levels and exam.rate is not None else "there is no posterior density")
    told = (Measured("MMD² of q(z) and p(z)", exam.apart[0], limit=_FAR, ill="above"),)
    if not _far(exam):
        return Sound(name, "q(z) is near p(z): draws of the prior are what the decoder knows", told)
    if not isinstance(exam.price, str) and exam.price.moves and not facts.importance:
        value = exam.price.value + _SURE * exam.price.error
        if value < _CHEAP:
            return Unchecked(name, "told above: under-regularised")
    return _under(exam, facts, ())


def _far(exam: Exam) -> bool:
    return not isinstance(exam.apart, str) and exam.apart[0] > _FAR and exam.apart[1] <= 0.01


def _under(exam: Exam, facts: Facts, measured: tuple[Measured, ...]) -> Diagnosis:
    """The aggregate posterior is far from the prior; and, where that was seen, rate is paid that buys little."""
    assert not isinstance(exam.apart, str)
    cheap = bool(measured)
    words = (
        "The model is under-regularised: rate is paid that buys next to nothing, and q(z) is far from p(z). Draws of "
        "the prior fall where the decoder has never been: samples are bad, and the bound is loose."
        if cheap
        else "q(z) is far from p(z): draws of the prior fall where the decoder has not been, and samples suffer."
    )
    far = Measured("MMD² of q(z) and p(z)", exam.apart[0], limit=_FAR, ill="above")
    beta = facts.beta
    if facts.underway:
        tried = ["let the schedule of the weights come to its end"]
    elif beta is not None and beta < 1:
        tried = ["β = 1: --beta 1, or a beta_schedule that ends at 1"]
    elif "nats" in facts.weights:
        tried = ["fewer free bits: they are paid whether or not they are worth it"]
    else:
        tried = ["a weight of 1 on the rate (objective ELBO)"]
    tried.append("a prior that goes where q(z) is: recipes vamp_vae, gmm_vae, coupling_prior_vae")
    tried = tried[-1:] if not cheap and beta == 1 else tried
    name, severity = ("under_regularised", "serious") if cheap else ("prior_mismatch", "warning")
    return Diagnosis(name, severity, words, (*measured, far), tuple(tried))


def width(exam: Exam, facts: Facts) -> list[Answer]:
    """Whether posteriors are about points, or wider than the prior; and whether few data pay most of the rate."""
    answers: list[Answer] = []
    widths = [level.width for level in exam.levels if level.width is not None]
    if exam.rate is None or not widths:
        return [Unchecked("width of posteriors", "there is no active latent with a Gaussian posterior")]
    least, most = min(widths), max(widths)
    what = "median of σ of q(z|x) over that of p(z)"
    if least < _NARROW:
        words = "Posteriors are nearly points: the model is about an autoencoder, and its rate is dear and erratic."
        tried = ("β = 1 and the ELBO; a likelihood whose scale is not so small; more noise in the data (dequantise)",)
        measured = (Measured(what, least, "", None, _NARROW, "below"),)
        answers.append(Diagnosis("narrow_posterior", "warning", words, measured, tried))
    elif most > _WIDE:
        words = "Posteriors are wider than the prior: they promise less than nothing, and the rate pays for it."
        measured = (Measured(what, most, "", None, _WIDE, "above"),)
        tried = ("longer training; one draw in training, if there are several",)
        answers.append(Diagnosis("wide_posterior", "warning", words, measured, tried))
    else:
        answers.append(
            Sound("width of posteriors", "neither points nor wider than the prior", (Measured(what, least),))
        )
    rate = exam.test.rate if exam.test is not None else None
    if rate is not None and exam.rate >= NO_RATE and rate.max() > 20 * exam.rate:
        words = "A few data pay many times the rate of the others: outliers, or an encoder that blows up on them."
        measured = (Measured("largest rate of a datum", float(rate.max()), "nats", None, 20 * exam.rate, "above"),)
        tried = ("look at them (fourfold score tells the rate of every datum); --clip 10 against spikes in training",)
        answers.append(Diagnosis("few_data_pay", "warning", words, measured, tried))
    return answers


def codes_alive(exam: Exam, facts: Facts) -> Answer:
    """Whether the codebook is in use."""
    name = "codebook"
    if not exam.codes:
        return Unchecked(name, "the model has no codebook")
    if any(one.counts.sum() < 2 * one.size for one in exam.codes):
        return Unchecked(name, "so few codes were drawn that many would be unused by chance: " + MORE_DATA)
    told = []
    for i, one in enumerate(exam.codes, 1):
        of = f" of level {i}" if len(exam.codes) > 1 else ""
        share = one.perplexity / one.size
        told.append(Measured(f"perplexity of the codes{of} as a share of {one.size}", share, "", None, FEW, "below"))
        told.append(Measured(f"codes in use{of}, of {one.size}", one.used))
    if not any(one.few for one in exam.codes):
        return Sound(name, "most codes are in use", tuple(told))
    dead = any(one.few and one.dead for one in exam.codes)
    words = (
        "Codes are dead: little of the codebook is in use."
        if dead
        else (
            "A few codes have most of the places. The codebook has collapsed, unless most places look alike, as the "
            "margins of digits do."
        )
    )
    words += (
        " A uniform prior charges log K for every code all the same, and the decoder gets no more than the few that "
        "live can say."
    )
    severity = "serious" if dead else "warning"
    return Diagnosis("dead_codes", severity, words, tuple(told), tuple(against_dead_codes(facts)))


def amortised(exam: Exam, facts: Facts) -> Answer:
    """Whether the encoder finds the posteriors that its family has."""
    name = "amortisation"
    if isinstance(exam.gaps, str):
        return Unchecked(name, exam.gaps if exam.levels else "the model has no latents")
    gap = exam.gaps.parts["amortisation_gap"]
    size = max(0.05 * abs(float(exam.gaps.elbo.mean())), 1.0)
    told = (
        Measured(
            "won by the best posterior of each datum", float(gap.mean()), "nats", standard_error(gap), size, "above"
        ),
    )
    if gap.mean() - _SURE * (standard_error(gap) or 0.0) <= size:
        return Sound(name, "the encoder finds about the best posteriors of its family", told)
    words = "The encoder is behind: a search of its own finds much better posteriors for the same decoder."
    tried = ("a wider or deeper encoder", "more turns of the encoder: recipe aggressive_vae", "longer training")
    return Diagnosis("amortisation_gap", "warning", words, told, tried)
