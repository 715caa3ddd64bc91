"""The matrices of a repeated block: linear layers, convolutions as linear maps on patches, and fused q, k and v.

The same model is merged alike whether a library keeps q, k and v in one matrix or in three: separate ones are stacked,
as in CLIP's `in_proj`. What the matrices are called in the libraries is data: the tables below.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from torch import nn

from esm_viz.core.records import LayerRole

STACKS: Mapping[tuple[str, ...], str] = {
    ("query", "key", "value"): "qkv",
    ("q_proj", "k_proj", "v_proj"): "qkv",
    ("q", "k", "v"): "qkv",
    ("fc1_g", "fc1_x"): "fc1",
}
"""Names of neighbours that read the same input and that another layout of the same model keeps in one matrix."""
_ATTENTION_OUTPUTS = ("attn.proj", "out_proj", "o_proj", "attention.output.dense", "attention.projection")
_ATTENTION_INPUTS = ("qkv", "in_proj", "query", "key", "value", "kv", "q_proj", "k_proj", "v_proj")
_LAST_OF_MLP = ("fc2", "c_proj", "w3", "down_proj", "weights_out", "output.dense", "mlp.2", "pwconv2", "conv3")


@dataclass(frozen=True, slots=True)
class Matrix:
    """One matrix of a block.

    Attributes:
        name: name of the merged tensor within the block; the library's own where it is one tensor.
        parts: names of the library's tensors within the block, stacked in this order.
        modules: names of the modules that multiply by them.
        role: what the matrix does in a block, in CLIP's words.
        shape: (d_out, d_in); a k x k convolution reads patches of d_in = channels k².
    """

    name: str
    parts: tuple[str, ...]
    modules: tuple[str, ...]
    role: LayerRole
    shape: tuple[int, int]

    @property
    def path(self) -> str:
        """Return the place of the matrix in its block, without `weight`."""
        return self.name.removesuffix("weight").rstrip("._")


def block_matrices(block: nn.Module) -> tuple[Matrix, ...]:
    """Return the matrices of a block in the order in which it defines them."""
    found = list(_single(block))
    by_module = {one.modules[0]: one for one in found}
    stacked: dict[str, Matrix] = {}
    for one in found:
        parent, _, last = one.modules[0].rpartition(".")
        for neighbours, name in STACKS.items():
            places = [f"{parent}.{each}".lstrip(".") for each in neighbours]
            if last not in neighbours or not all(place in by_module for place in places):
                continue
            members = [by_module[place] for place in places]
            if len({member.shape for member in members}) > 1:
                continue
            rows, columns = members[0].shape
            whole = Matrix(
                f"{parent}.{name}.weight".lstrip("."),
                tuple(part for member in members for part in member.parts),
                tuple(places),
                "in_proj" if name == "qkv" else "c_fc",
                (len(members) * rows, columns),
            )
            stacked |= dict.fromkeys(places, whole)
    return tuple(dict.fromkeys(stacked.get(one.modules[0], one) for one in found))


def short_names(paths: Iterable[str]) -> dict[str, str]:
    """Return, for each place in a block, its shortest end that no other place has: `mlp.fc1` is fc1."""
    places = tuple(dict.fromkeys(paths))
    named = {}
    for place in places:
        parts = place.split(".")
        ends = [".".join(parts[-count:]) for count in range(1, len(parts) + 1) if not parts[-count].isdecimal()]
        named[place] = next(
            (end for end in ends if sum(f".{other}".endswith(f".{end}") for other in places) == 1), place
        )
    return named


def is_matrix_of_patches(module: nn.Module) -> bool:
    """Say whether a module is a convolution that is one linear map of patches: no groups, and torch's own forward."""
    return any(
        isinstance(module, kind) and module.groups == 1 and type(module).forward is kind.forward
        for kind in (nn.Conv1d, nn.Conv2d)
    )


def _single(block: nn.Module) -> Iterator[Matrix]:
    """Yield every matrix as the library stores it."""
    for name, module in block.named_modules():
        weight = getattr(module, "weight", None)
        if isinstance(module, nn.Linear) or is_matrix_of_patches(module):
            shape = (weight.shape[0], weight[0].numel())  # type: ignore[union-attr,index]
            yield Matrix(f"{name}.weight", (f"{name}.weight",), (name,), _role(name), shape)
        packed = getattr(module, "in_proj_weight", None)
        if isinstance(packed, nn.Parameter) and packed.ndim == 2:
            full = f"{name}.in_proj_weight"
            place = f"{name}.in_proj" if hasattr(module, "in_proj") else name
            yield Matrix(full, (full,), (place,), "in_proj", (packed.shape[0], packed.shape[1]))


def _role(path: str) -> LayerRole:
    def ends(names: Iterable[str]) -> bool:
        return any(f".{path}".endswith(f".{name}") for name in names)

    if ends(_ATTENTION_OUTPUTS):
        return "out_proj"
    if ends(_ATTENTION_INPUTS):
        return "in_proj"
    return "c_proj" if ends(_LAST_OF_MLP) else "c_fc"
