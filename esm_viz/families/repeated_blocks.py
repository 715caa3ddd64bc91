"""The repeated blocks of any network: children of one class in a list, which hold most of its matrices.

One rule for all libraries: a `ModuleList` or `Sequential` whose children have one class and hold matrices is a list of
blocks, unless most of it lies in lists of blocks inside, as in the stages of Swin and ConvNeXt. The blocks of the
network are those of the class with the most parameters, and of others that have a tenth of it, as in hybrids.
"""

from __future__ import annotations

from collections.abc import Iterator

from torch import nn

from esm_viz.core.errors import RecipeError

CONVOLUTIONS = (nn.Conv1d, nn.Conv2d)
_LEAST = 0.1  # share of the largest class's parameters
_MOST_OF_A_STAGE = 0.8  # share of a stage's parameters in its inner lists of blocks


def repeated_blocks(network: nn.Module) -> tuple[str, ...]:
    """Return the names of a network's repeated blocks, in the order in which they are defined.

    Raises:
        RecipeError: no class of blocks with matrices occurs twice.
    """
    by_class: dict[type, list[str]] = {}
    sizes: dict[type, int] = {}
    for names, blocks in _lists(network, ""):
        kind = type(blocks[0])
        by_class.setdefault(kind, []).extend(names)
        sizes[kind] = sizes.get(kind, 0) + sum(map(parameter_count, blocks))
    repeated = [kind for kind, names in by_class.items() if len(names) > 1]
    if not repeated:
        raise RecipeError("the model has no repeated blocks with matrices", "use a transformer or a network of blocks")
    least = _LEAST * max(sizes[kind] for kind in repeated)
    return tuple(name for kind, names in by_class.items() if sizes[kind] >= least for name in names)


def parameter_count(module: nn.Module) -> int:
    """Return the number of a module's parameters."""
    return sum(parameter.numel() for parameter in module.parameters())


def _lists(module: nn.Module, prefix: str) -> Iterator[tuple[list[str], list[nn.Module]]]:
    """Yield the lists of blocks in a module: names and modules of each list's blocks."""
    for name, child in module.named_children():
        full = prefix + name
        blocks = list(child.children())
        listed = isinstance(child, nn.ModuleList | nn.Sequential) and len({type(block) for block in blocks}) == 1
        inner = list(_lists(child, f"{full}."))
        covered = sum(parameter_count(block) for _, found in inner for block in found)
        if listed and _has_matrix(child) and covered < _MOST_OF_A_STAGE * parameter_count(child):
            yield [f"{full}.{step}" for step, _ in child.named_children()], blocks
        else:
            yield from inner


def _has_matrix(module: nn.Module) -> bool:
    kinds = (nn.Linear, nn.MultiheadAttention, *CONVOLUTIONS)
    return any(isinstance(part, kinds) for part in module.modules())
