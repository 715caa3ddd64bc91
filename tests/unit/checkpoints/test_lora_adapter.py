"""Adapters as models: what they change, computed by the definition in float64, and what is refused."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from esm_viz.checkpoints import lora_config
from esm_viz.checkpoints.checkpoint import Checkpoint
from esm_viz.checkpoints.lora_adapter import LoraAdapter, is_adapter, opened
from esm_viz.core.errors import LORA, CheckpointError, NotFinite
from esm_viz.families.architecture import Architecture
from esm_viz.families.model_families import architecture_of
from tests.support import adapters, families, tiny

ARCH = architecture_of("", tiny.CONFIG)
IN_PROJ, OUT_PROJ, C_FC, C_PROJ = tiny.IN_PROJ, tiny.OUT_PROJ, tiny.C_FC, tiny.C_PROJ
MODULES = {"transformer.resblocks.1.mlp.c_fc": (64, 16), "transformer.resblocks.1.mlp.c_proj": (16, 64)}
Change = Callable[[dict[str, Tensor], dict[str, Any]], object]


@pytest.fixture
def base(tiny_folder: Path) -> Checkpoint:
    found = Checkpoint("base", tiny_folder / "base.safetensors", layouts=ARCH.layout_of)
    found.judge(ARCH.shapes)
    return found


def adapter(base: Checkpoint, folder: Path, tensors: dict[str, Tensor] | None = None, **config: Any) -> Checkpoint:
    path = adapters.write(folder / "ants", tensors if tensors is not None else adapters.thin(MODULES), **config)
    return opened("ants", path, base, ARCH.layout_of)


def difference(found: Checkpoint, name: str) -> Tensor:
    assert found.start is not None
    return found.tensors([name], torch.float64)[name] - found.start.tensors([name], torch.float64)[name]


def test_the_change_is_scale_times_b_times_a_in_float64(base: Checkpoint, tmp_path: Path) -> None:
    tensors = adapters.thin(MODULES)
    found = adapter(base, tmp_path, tensors)
    truth = adapters.product(tensors, "transformer.resblocks.1.mlp.c_fc", 8 / 2)
    assert found.change_rank(C_FC) == 2
    assert tiny.relative(found.factors(C_FC).dense(), truth) < 1e-15
    weights = base.tensors([C_FC], torch.float64)[C_FC]
    assert torch.equal(found.tensors([C_FC], torch.float64)[C_FC], weights + found.factors(C_FC).dense())
    assert found.tensors([C_FC])[C_FC].dtype == base.tensors([C_FC])[C_FC].dtype


def test_what_it_does_not_name_is_the_base_s_bit_for_bit_and_has_no_change(base: Checkpoint, tmp_path: Path) -> None:
    found = adapter(base, tmp_path)
    names = [name for name in ARCH.shapes if name not in (C_FC, C_PROJ)]
    own, theirs = found.tensors(names), base.tensors(names)
    assert all(torch.equal(own[name], theirs[name]) for name in names)
    for name in names:
        assert found.change_rank(name) == 0
        assert torch.equal(found.factors(name).dense(), torch.zeros(ARCH.shapes[name], dtype=torch.float64))


@pytest.mark.parametrize(
    ("config", "scale"),
    [
        ({}, 4.0),
        ({"lora_alpha": 3}, 1.5),
        ({"use_rslora": True}, 8 / math.sqrt(2)),
        ({"alpha_pattern": {"c_fc": 6}}, 3.0),
        ({"alpha_pattern": {"c_proj": 6}}, 4.0),
        ({"alpha_pattern": {r"transformer\.resblocks\.\d\.mlp\.(c_fc|c_proj)": 6}}, 3.0),
        ({"alpha_pattern": {"^transformer.resblocks.1.mlp.c_fc": 6, "c_fc": 7}}, 3.0),
        ({"alpha_pattern": {"fc": 6, "^c_fc": 7, "mlp.c_f": 9}}, 4.0),
        ({"alpha_pattern": {"c_fc": 6}, "use_rslora": True}, 6 / math.sqrt(2)),
    ],
)
def test_scales_follow_the_config(base: Checkpoint, tmp_path: Path, config: dict[str, Any], scale: float) -> None:
    tensors = adapters.thin(MODULES)
    found = adapter(base, tmp_path, tensors, **config)
    truth = adapters.product(tensors, "transformer.resblocks.1.mlp.c_fc", scale)
    assert tiny.relative(found.factors(C_FC).dense(), truth) < 1e-14


def test_ranks_follow_the_pattern_and_must_be_the_matrices_own(base: Checkpoint, tmp_path: Path) -> None:
    (fc, fc_shape), (proj, proj_shape) = MODULES.items()
    tensors = {**adapters.thin({fc: fc_shape}, 3), **adapters.thin({proj: proj_shape}, 2)}
    found = adapter(base, tmp_path, tensors, rank_pattern={r".*\.c_fc": 3})
    assert (found.change_rank(C_FC), found.change_rank(C_PROJ)) == (3, 2)
    assert tiny.relative(found.factors(C_FC).dense(), adapters.product(tensors, fc, 8 / 3)) < 1e-14
    assert "rank 2 to 3 on 2 of 8 matrices" in found.judge(ARCH.shapes).layout
    with pytest.raises(CheckpointError, match=r"3 x 16 and 64 x 3, .*give matrices of rank 2"):
        adapter(base, tmp_path, tensors)


def test_names_with_an_adapter_s_name_and_from_a_wrapper_are_read(base: Checkpoint, tmp_path: Path) -> None:
    tensors = adapters.thin(MODULES)
    plain = adapter(base, tmp_path / "plain", tensors)
    named = {name.replace("lora_A.", "lora_A.default.").replace("lora_B.", "lora_B.default."): tensor
             for name, tensor in tensors.items()}  # fmt: skip
    wrapped = {name.replace(adapters.OUTER, adapters.OUTER + "visual."): tensor for name, tensor in tensors.items()}
    for at, state in enumerate((named, wrapped)):
        found = adapter(base, tmp_path / str(at), state)
        assert torch.equal(found.factors(C_PROJ).dense(), plain.factors(C_PROJ).dense())


def test_torch_s_attention_is_adapted_as_one_packed_matrix_and_its_output(base: Checkpoint, tmp_path: Path) -> None:
    module = "transformer.resblocks.0.attn"
    shapes = {module: (48, 16), f"{module}.base_layer.out_proj": (16, 16)}
    tensors = adapters.thin(shapes)
    found = adapter(base, tmp_path, tensors, alpha_pattern={"attn": 10})
    assert tiny.relative(found.factors(IN_PROJ).dense(), adapters.product(tensors, module, 5)) < 1e-14
    truth = adapters.product(tensors, f"{module}.base_layer.out_proj", 5)  # peft gives it the scale of the attention
    assert tiny.relative(found.factors(OUT_PROJ).dense(), truth) < 1e-14


def test_separate_q_and_v_change_their_rows_of_the_packed_matrix(base: Checkpoint, tmp_path: Path) -> None:
    start = "vision_model.encoder.layers.0.self_attn"  # trained on Hugging Face's copy of this open_clip tower
    tensors = adapters.thin({f"{start}.q_proj": (16, 16), f"{start}.v_proj": (16, 16)})
    found = adapter(base, tmp_path, tensors)
    parts = [adapters.product(tensors, f"{start}.{each}_proj", 4) for each in "qv"]
    truth = torch.cat([parts[0], torch.zeros(16, 16, dtype=torch.float64), parts[1]])
    assert (found.change_rank(IN_PROJ), found.change_rank(OUT_PROJ)) == (4, 0)
    assert tiny.relative(found.factors(IN_PROJ).dense(), truth) < 1e-15
    assert tiny.relative(difference(found, IN_PROJ), truth) < 1e-14
    assert "on 2 of 12 matrices" in found.judge(ARCH.shapes).layout


def test_dora_scales_each_row_to_its_trained_length(base: Checkpoint, tmp_path: Path) -> None:
    tensors = adapters.thin(MODULES)
    for at, (module, shape) in enumerate(MODULES.items()):
        lengths = tiny.normal(shape[0], seed=50 + at, dtype=torch.float32).abs() + 1
        tensors[f"{adapters.OUTER}{module}.lora_magnitude_vector"] = lengths
    found = adapter(base, tmp_path, tensors, use_dora=True)
    module = "transformer.resblocks.1.mlp.c_fc"
    sums = base.tensors([C_FC], torch.float64)[C_FC] + adapters.product(tensors, module, 4)
    lengths = tensors[f"{adapters.OUTER}{module}.lora_magnitude_vector"].double()
    truth = lengths[:, None] * sums / sums.square().sum(1, keepdim=True).sqrt()
    assert found.change_rank(C_FC) is None
    assert tiny.relative(found.tensors([C_FC], torch.float64)[C_FC], truth) < 1e-14
    with pytest.raises(CheckpointError, match="use_dora is not set"):
        adapter(base, tmp_path, tensors)
    with pytest.raises(CheckpointError, match="lacks lora_magnitude_vector"):
        adapter(base, tmp_path, adapters.thin(MODULES), use_dora=True)


def test_biases_and_saved_modules_of_the_tower_are_taken_whole(base: Checkpoint, tmp_path: Path) -> None:
    bias, norm = "transformer.resblocks.1.mlp.c_fc.bias", "ln_post.weight"
    whole = {
        f"{adapters.OUTER}transformer.resblocks.1.mlp.c_fc.base_layer.bias": torch.full((64,), 0.5),
        f"{adapters.OUTER}{norm}": torch.full((16,), 2.0),
        f"{adapters.OUTER}classifier.weight": torch.ones(5, 8),
    }
    found = adapter(base, tmp_path, {**adapters.thin(MODULES), **whole}, bias="lora_only")
    read = found.tensors([bias, norm])
    assert torch.equal(read[bias], torch.full((64,), 0.5))
    assert torch.equal(read[norm], torch.full((16,), 2.0))
    assert found.change_rank(bias) is None
    assert found.judge(ARCH.shapes).extra == (f"{adapters.OUTER}classifier.weight",)


@pytest.mark.parametrize("whole_name", ["conv1", "patch_embed.proj"])
def test_a_convolution_s_adapter_is_the_product_of_its_convolutions(
    base: Checkpoint, tmp_path: Path, whole_name: str
) -> None:
    tensors = adapters.thin({whole_name: (16, 3, 8, 8)})
    found = adapter(base, tmp_path, tensors)
    down, up = (tensors[f"{adapters.OUTER}{whole_name}.lora_{part}.weight"].double() for part in "AB")
    images = tiny.normal(2, 3, 16, 16, seed=5)
    inner = torch.nn.functional.conv2d(images, down, stride=8)  # peft's forward pass: one convolution after the other
    truth = 4 * torch.nn.functional.conv2d(inner, up)
    said = torch.nn.functional.conv2d(images, found.factors("conv1.weight").dense(), stride=8)
    assert tiny.relative(said, truth) < 1e-13
    assert tiny.relative(difference(found, "conv1.weight"), found.factors("conv1.weight").dense()) < 1e-14


def test_config_and_weights_are_in_the_digest(base: Checkpoint, tmp_path: Path) -> None:
    tensors = adapters.thin(MODULES)
    first = adapter(base, tmp_path / "first", tensors).verify(ARCH.shapes)
    assert adapter(base, tmp_path / "again", tensors).verify(ARCH.shapes) == first
    assert adapter(base, tmp_path / "alpha", tensors, lora_alpha=9).verify(ARCH.shapes) != first
    assert adapter(base, tmp_path / "other", adapters.thin(MODULES, seed=9)).verify(ARCH.shapes) != first
    with pytest.raises(CheckpointError, match="the recipe names"):
        adapter(base, tmp_path / "first", tensors).verify(ARCH.shapes, "0" * 64)


def test_a_config_that_changes_after_opening_is_told(base: Checkpoint, tmp_path: Path) -> None:
    found = adapter(base, tmp_path)
    config = tmp_path / "ants" / "adapter_config.json"
    config.write_text(config.read_text().replace('"lora_alpha": 8', '"lora_alpha": 16'), encoding="utf-8")
    with pytest.raises(CheckpointError, match="the file changed while it was read"):
        found.tensors([C_FC])


def test_pickled_adapters_are_read_without_running_them(base: Checkpoint, tmp_path: Path) -> None:
    tensors = adapters.thin(MODULES)
    plain = adapter(base, tmp_path, tensors).factors(C_FC).dense()
    folder = tmp_path / "ants"
    (folder / "adapter_model.safetensors").unlink()
    torch.save(tensors, folder / "adapter_model.bin")
    for path in (folder, folder / "adapter_model.bin"):
        assert torch.equal(opened("ants", path, base, ARCH.layout_of).factors(C_FC).dense(), plain)


def test_a_folder_with_a_whole_model_is_that_model(base: Checkpoint, tmp_path: Path) -> None:
    folder = adapters.write(tmp_path / "ants", adapters.thin(MODULES))
    assert is_adapter(folder)
    assert is_adapter(folder / "adapter_model.safetensors")
    save_file({name: tensor.contiguous() for name, tensor in base.tensors(ARCH.shapes).items()},
              folder / "model.safetensors")  # fmt: skip
    assert not is_adapter(folder)
    assert opened("ants", folder, base, ARCH.layout_of).judge(ARCH.shapes).matched == len(ARCH.shapes)


def test_an_adapter_alone_is_no_base(tmp_path: Path) -> None:
    folder = adapters.write(tmp_path / "base", adapters.thin(MODULES))
    with pytest.raises(CheckpointError, match="a LoRA adapter, not a whole model"):
        opened("base", folder, None, ARCH.layout_of).judge(ARCH.shapes)


# What is refused.


def _drop_b(tensors: dict[str, Tensor], _: dict[str, Any]) -> None:
    del tensors[next(name for name in tensors if "lora_B" in name)]


def _second(tensors: dict[str, Tensor], _: dict[str, Any]) -> None:
    for name, one in list(tensors.items()):
        tensors[name.replace("lora_A", "lora_A.two").replace("lora_B", "lora_B.two")] = one.clone()


def _adds(**tensors: Tensor) -> Change:
    return lambda state, _: state.update({name.replace("__", "."): one for name, one in tensors.items()})


def _sets(**config: Any) -> Change:
    return lambda _, settings: settings.update(config)


_FC = "base_model__model__transformer__resblocks__1__mlp__c_fc__"
REFUSED: dict[str, tuple[Change, str]] = {
    "alpha as text": (_sets(lora_alpha="8"), "lora_alpha is '8'"),
    "alpha infinite": (_sets(lora_alpha=math.inf), "lora_alpha is inf"),
    "alpha huge": (_sets(lora_alpha=10**400), "lora_alpha is 1000"),
    "alpha not a number": (_sets(alpha_pattern={"c_fc": math.nan}), "alpha_pattern of c_fc is nan"),
    "rank 0": (_sets(r=0), "r is 0"),
    "rank huge": (_sets(r=10**9), "r is 1000000000, .*, give a number from 1 to 65536"),
    "rank of other matrices": (_sets(r=64), "give matrices of rank 64"),
    "rank true": (_sets(r=True), "r is True"),
    "rank by a pattern": (_sets(rank_pattern={"c_fc": -1}), "rank_pattern of c_fc is -1"),
    "patterns in a list": (_sets(rank_pattern=["c_fc"]), "rank_pattern is "),
    "a pattern of repeated groups": (_sets(rank_pattern={"(a+)+$": 2}), "may take very long"),
    "a pattern of many choices": (_sets(rank_pattern={"(a|a)" * 30: 2}), "may take very long"),
    "a pattern of many stars": (_sets(rank_pattern={".*" * 9 + "x": 2}), "may take very long"),
    "a pattern that looks back": (_sets(rank_pattern={r"(.*)\1": 2}), "may take very long"),
    "a pattern that is none": (_sets(rank_pattern={"(c_fc": 2}), "is no regular expression"),
    "a flag as text": (_sets(use_rslora="no"), "use_rslora is 'no'"),
    "LoHa": (_sets(peft_type="LOHA"), "an adapter of type LOHA, only LoRA can be read"),
    "IA3": (_sets(peft_type="IA3"), "an adapter of type IA3"),
    "prompts": (_sets(peft_type="PROMPT_TUNING"), "an adapter of type PROMPT_TUNING"),
    "no type": (_sets(peft_type={"a": 1}), "an adapter of unknown type"),
    "PiSSA": (_sets(init_lora_weights="pissa_niter_4"), "changes the base"),
    "repeated blocks": (_sets(layer_replication=[[0, 1], [0, 1]]), "repeats blocks"),
    "half a module": (_drop_b, "lacks lora_B"),
    "two adapters": (_second, "2 adapters are in it"),
    "another library's names": (_adds(x__lora_down__weight=torch.ones(2, 2)), "is no matrix of peft's LoRA"),
    "a bias of its own": (_adds(**{f"{_FC}lora_B__bias": torch.ones(64)}), "is no matrix of peft's LoRA"),
    "an embedding": (_adds(x__lora_embedding_A=torch.ones(2, 2)), "is no matrix of peft's LoRA"),
    "integers": (_adds(classifier__weight=torch.ones(2, 2, dtype=torch.int8)), "classifier.weight is I8"),
    "a saved norm of another size": (_adds(base_model__model__ln_post__weight=torch.ones(9)), "ln_post.weight is 9"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_it_is_refused_in_a_sentence(base: Checkpoint, tmp_path: Path, case: str) -> None:
    change, words = REFUSED[case]
    tensors, config = adapters.thin(MODULES), {}
    change(tensors, config)
    with pytest.raises(CheckpointError, match=words) as caught:
        adapter(base, tmp_path, tensors, **config)
    assert caught.value.kind == LORA or case == "integers"
    assert str(caught.value).startswith("ants: ")


def test_a_module_that_the_base_has_not_or_in_another_shape_is_named(base: Checkpoint, tmp_path: Path) -> None:
    more = {**MODULES, "transformer.resblocks.7.mlp.c_fc": (64, 16)}
    with pytest.raises(CheckpointError, match=re.escape("the base has no transformer.resblocks.7.mlp.c_fc")):
        adapter(base, tmp_path, adapters.thin(more))
    with pytest.raises(CheckpointError, match="c_fc is 32 x 16, in the base it is 64 x 16"):
        adapter(base, tmp_path, adapters.thin({**MODULES, "transformer.resblocks.0.mlp.c_fc": (32, 16)}))
    with pytest.raises(CheckpointError, match="changes no matrix of this tower"):
        adapter(base, tmp_path, adapters.thin({"text_model.encoder.layers.0.mlp.fc1": (64, 16)}))


def test_a_text_tower_s_adapter_does_not_land_in_the_vision_tower(base: Checkpoint, tmp_path: Path) -> None:
    start = "model.encoder.layers.0.self_attn.q_proj"
    text = {f"text_{start}": (16, 16), f"vision_{start}": (16, 16)}
    tensors = adapters.thin(text)
    found = adapter(base, tmp_path, tensors)
    truth = adapters.product(tensors, f"vision_{start}", 4)
    assert found.change_rank(IN_PROJ) == 2
    assert tiny.relative(found.factors(IN_PROJ).dense()[:16], truth) < 1e-15


def test_nan_in_a_matrix_is_refused_whether_verified_or_not(base: Checkpoint, tmp_path: Path) -> None:
    tensors = adapters.thin(MODULES)
    name = next(name for name in tensors if "c_fc.lora_B" in name)
    tensors[name][0, 0] = math.nan
    for ask in (lambda one: one.verify(ARCH.shapes), lambda one: one.factors(C_FC), lambda one: one.tensors([C_FC])):
        with pytest.raises(NotFinite, match=f"{re.escape(name)} holds NaN"):
            ask(adapter(base, tmp_path, tensors))


def test_patterns_that_take_too_long_are_given_up(
    base: Checkpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert adapter(base, tmp_path, alpha_pattern={".*x": 2}).change_rank(C_FC) == 2
    monkeypatch.setattr(lora_config, "_MOST_SECONDS", -1.0)
    with pytest.raises(CheckpointError, match="its patterns take too long to match"):
        adapter(base, tmp_path, alpha_pattern={".*x": 2})


# Models of other libraries.


def _written(kind: families.Kind, folder: Path) -> tuple[Architecture, Checkpoint]:
    families.write(kind, folder)
    config = json.loads((folder / "base" / "config.json").read_text()) if kind.arch is None else dict(kind.arch)
    first = Checkpoint("base", folder / "base")
    arch = architecture_of("", first.config() or config)
    found = Checkpoint("base", folder / "base", layouts=arch.layout_of)
    found.judge(arch.shapes)
    return arch, found


@pytest.mark.parametrize("name", ["vit", "convnext", "vit_base_patch16_224", "SigLIP tower", "swin"])
def test_every_matrix_of_a_library_s_model_can_be_adapted(tmp_path: Path, name: str) -> None:
    kind = next(kind for kind in families.KINDS if kind.name == name)
    arch, base = _written(kind, tmp_path)
    state = load_file(tmp_path / "base" / "model.safetensors")
    shapes = {
        one.removesuffix(".weight"): tuple(state[one].shape)
        for layer in arch.layers
        for one in base.layout.piece(layer.name).names  # type: ignore[union-attr]
    }
    tensors = adapters.thin(shapes)
    found = opened("x", adapters.write(tmp_path / "x", tensors), base, arch.layout_of)
    assert found.judge(arch.shapes).matched == len(arch.layers)
    for layer in arch.layers:
        truth = []
        for one in base.layout.piece(layer.name).names:  # type: ignore[union-attr]
            module = one.removesuffix(".weight")
            down, up = (tensors[f"{adapters.OUTER}{module}.lora_{part}.weight"].double() for part in "AB")
            truth.append(4 * up.flatten(1) @ down.flatten(1))
        factors = found.factors(layer.name)
        assert tiny.relative(factors.dense(), torch.cat(truth)) < 1e-14
        assert tiny.relative(difference(found, layer.name), torch.cat(truth)) < 1e-13


def test_an_adapter_may_have_the_names_of_the_library_s_own_module(tmp_path: Path) -> None:
    kind = next(kind for kind in families.KINDS if kind.name == "vit")
    arch, base = _written(kind, tmp_path)
    model = kind.reopen(tmp_path / "base")
    linear = {name: tuple(part.weight.shape) for name, part in model.named_modules()
              if isinstance(part, torch.nn.Linear) and name != kind.head}  # fmt: skip
    tensors = adapters.thin(linear)
    tensors[f"{adapters.OUTER}classifier.weight"] = torch.ones(3, 32)
    found = opened("x", adapters.write(tmp_path / "x", tensors, modules_to_save=["classifier"]), base, arch.layout_of)
    assert isinstance(found, LoraAdapter)
    images = families.images(2, 3)
    for module in linear:
        with torch.no_grad():
            model.get_submodule(module).weight += adapters.product(tensors, module, 4).float()
    with torch.inference_mode():
        tower = arch.tower(found.tensors(arch.shapes, torch.float32))
        truth = kind.answer(model, images)
        head = model.get_submodule(kind.head)
        assert tiny.relative(head(tower(images)), truth) < 1e-5
