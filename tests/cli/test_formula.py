"""The equation of a recipe in the terminal is text and no TeX."""

import pytest

from fourfold.cli import main
from fourfold.cli.formula import plain
from fourfold.recipes import TABLE

EXACT = [
    (r"\mathbb E \log \frac1K \sum_{k=1}^K \frac{p(x, z_k)}{q(z_k|x)}", "E log 1/K Σ_{k=1}^K p(x, z_k)/q(z_k|x)"),
    (r"\lambda_{od}\sum_{i\ne j}C_{ij}^2 - \lambda_d\sum_i(C_{ii}-1)^2", "λ_od Σ_{i≠j} C_ij² − λ_d Σ_i (C_ii−1)²"),
    (r"\mathbb E_{q(\tilde x|x)} \log p(x \mid z = f(\tilde x))", "E_{q(x̃|x)} log p(x | z = f(x̃))"),
    (r"\lambda \Big\lVert \frac{\partial f(x)}{\partial x} \Big\rVert_F^2", "λ ‖ ∂f(x)/∂x ‖_F²"),
    (r"\log\Big|\det\frac{\partial g}{\partial z}\Big|, \quad\text{or}\quad x", "log |det ∂g/∂z|,   or  x"),
    (r"\sum_j\max\big(\lambda,\, \mathbb E_x\mathrm{KL}(q\,\|\,p)\big)", "Σ_j max(λ, E_x KL(q ‖ p))"),
    (r"\tfrac12\sum_k\big[(n-2)\ln(1+\alpha_k^2)\big]", "½ Σ_k [(n−2) ln(1+α_k²)]"),
    (r"\unknown x", r"\unknown x"),
]


@pytest.mark.parametrize(("tex", "text"), EXACT, ids=[text for _, text in EXACT])
def test_a_formula_in_text(tex: str, text: str) -> None:
    assert plain(tex) == text


def test_no_equation_of_a_recipe_has_tex_in_it() -> None:
    assert {name: plain(one.equation) for name, one in TABLE.items() if "\\" in plain(one.equation)} == {}


def test_the_page_of_a_recipe_shows_the_text(capsys: pytest.CaptureFixture) -> None:
    assert main(["recipes", "vae"]) == 0
    said = capsys.readouterr().out
    assert "\nL = E_{q(z|x)} log p(x|z) − KL(q(z|x) ‖ p(z))\n" in said and "\\" not in said
