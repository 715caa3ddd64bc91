"""The words beside a method's knobs: its name spelled out, and what the symbols in its formulas stand for."""

from __future__ import annotations

NAMES = {
    "regmean": "Regression Mean",
    "ties": "Trim, Elect Sign and Merge",
    "consensus_ta": "Consensus Task Arithmetic",
    "tsv_m": "Task Singular Vectors Merging",
    "iso_c": "Isotropic merging in a common subspace",
    "iso_cts": "Isotropic merging in common and task-specific subspaces",
    "esm": "Essential Subspace Merging",
    "esmpp": "Essential Subspace Merging with adapters",
}
SYMBOLS = {
    "regmean": "X<sub>t</sub>: a layer’s inputs, n<sub>t</sub>: their number",
    "tsv_m": "U, Σ, V: singular vectors and values (triplets)",
    "iso_c": "U, S, V: singular vectors and values",
    "iso_cts": "U, S, V: singular vectors and values (triplets)",
    "esm": "λ: a direction’s energy, C: the changes’ coordinates",
    "esmpp": "λ: a direction’s energy, C: coordinates",
}


def words_of(method: str) -> str:
    """Return a method's name spelled out and the meanings of its symbols, as trusted HTML; empty if it needs neither.

    Args:
        method: name in a recipe; a method that is not listed has none.
    """
    return " ".join(f"{words}." for words in (NAMES.get(method, ""), SYMBOLS.get(method, "")) if words)
