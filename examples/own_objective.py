"""An objective of your own: the rate of each datum is kept near C nats.

Like ``capacity_vae``, but for each datum and not for their mean. In this folder, from the command line:
fourfold train own_objective:portion_vae --nats 6
"""

import fourfold as ff
from fourfold.trace import Term, Terms, Trace


class Portion(ff.objectives.Objective):
    """log p(x | z) − 10 |rate − C| of every datum, in nats: no bound on log p(x)."""

    def __init__(self, nats: float) -> None:
        super().__init__()
        self.hyper("nats", nats)

    def forward(self, trace: Trace, noise: object = None) -> Terms:
        fit, rate = trace.log_likelihood.mean(0), ff.objectives.rate(trace.levels[0])
        parts = {"log_likelihood": Term(fit, 1.0), "rate": Term(rate, 0.0)}
        return Terms({**parts, "off": Term((rate - self.nats).abs(), -10.0)})


@ff.recipe
def portion_vae(data: ff.data.DataSpec, *, nats: float = 5.0) -> ff.Recipe:
    return ff.Recipe(ff.recipes.vae.function(data).model, Portion(nats))


if __name__ == "__main__":
    print(ff.fit(portion_vae(), ff.data.digits()).metrics[-1]["validation/rate [nats]"])
