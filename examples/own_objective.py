"""An objective of your own: the rate of each datum is kept near C nats.

After Burgess et al. 2018, arXiv:1804.03599. In this folder, from the command line:
fourfold train own_objective:capacity_vae --capacity 6
"""

import fourfold as ff
from fourfold.trace import Term, Terms, Trace


class Capacity(ff.objectives.Objective):
    """log p(x | z) − 10 |rate − C|, in nats per datum: no bound on log p(x)."""

    def __init__(self, capacity: float) -> None:
        super().__init__()
        self.hyper("capacity", capacity)

    def forward(self, trace: Trace) -> Terms:
        fit, nats = trace.log_likelihood.mean(0), ff.objectives.rate(trace.levels[0])
        parts = {"log_likelihood": Term(fit, 1.0), "rate": Term(nats, 0.0)}
        return Terms({**parts, "off": Term((nats - self.capacity).abs(), -10.0)})


@ff.recipe
def capacity_vae(data: ff.data.DataSpec, *, capacity: float = 5.0) -> ff.Recipe:
    return ff.Recipe(ff.recipes.vae.function(data).model, Capacity(capacity))


if __name__ == "__main__":
    print(ff.fit(capacity_vae(), ff.data.digits()).metrics[-1]["validation/rate [nats]"])
