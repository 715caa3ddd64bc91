"""Formulas of knobs become MathML that says the same."""

from __future__ import annotations

import re
from xml.etree import ElementTree

import pytest

from esm_viz.figures.formula_typesetting import typeset, typeset_parts
from esm_viz.merge import METHODS

FORMULAS = sorted({knob.formula for method in METHODS.values() for knob in method.knobs.values() if knob.formula})


def test_scripts_numbers_words_and_the_live_number_are_told_apart() -> None:
    made = ElementTree.fromstring(typeset("(‖ΔW<sub>t</sub>‖ / mean)<sup>p</sup>: <strong>0.65 to 1.35</strong>"))
    assert [child.tag for child in made[0]].count("msub") == 1
    sub = made.find(".//msub")
    assert sub is not None
    assert [part.text for part in sub.iter() if part.text] == ["ΔW", "t"]
    assert "mean" in [word.text for word in made.iter("mtext")]
    assert [live.text for live in made.iter("strong")] == ["0.65 to 1.35"]


@pytest.mark.parametrize("formula", FORMULAS)
def test_every_formula_is_well_formed_and_loses_no_sign(formula: str) -> None:
    made = ElementTree.fromstring(typeset(formula.replace("{live}", "<strong>1</strong>")))
    said = "".join(made.itertext())
    plain = re.sub(r"<[^>]*>|\s", "", formula.replace("{live}", "1"))
    assert re.sub(r"\s", "", said) == plain


SUMMARIES = [method.name for method in METHODS.values() if " = " in method.summary]


@pytest.mark.parametrize("name", SUMMARIES)
def test_a_methods_formula_is_typeset_and_says_what_its_summary_says(name: str) -> None:
    method = METHODS[name]
    made = typeset_parts(method.formula)
    parts = ElementTree.fromstring(f"<p>{made}</p>")
    assert len(parts.findall("math")) == method.formula.count("{") > 0
    assert not parts.findall("sub")  # every script stands inside a formula
    signs = str.maketrans({"ᵀ": "⊤", "⁺": "+"})
    summary = (
        method.summary.translate(signs).replace("_", "").replace("floor(min(dout, din) / T)", "⌊min(dout, din) / T⌋")
    )
    assert re.sub(r"\s", "", "".join(parts.itertext())) == re.sub(r"\s", "", summary)


def test_only_what_stands_in_braces_is_a_formula() -> None:
    made = ElementTree.fromstring(f"<p>{typeset_parts('the first {k} of {d<sub>out</sub>} rows')}</p>")
    assert (made.text, [each.tail for each in made]) == ("the first ", [" of ", " rows"])
    assert ["".join(each.itertext()) for each in made] == ["k", "dout"]
