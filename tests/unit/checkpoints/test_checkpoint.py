"""Checkpoints: what is refused from the header alone, what from the numbers, and what every refusal says."""

from __future__ import annotations

import hashlib
import json
import struct
from pathlib import Path

import pytest
import torch
from open_clip.model import CLIP
from safetensors.torch import save, save_file
from torch import Tensor

from esm_viz.checkpoints.checkpoint import Checkpoint, sha256_path
from esm_viz.checkpoints.tensor_storage import StoredTensor, sha256_file
from esm_viz.core.errors import CheckpointError, DigestMismatch, LayoutError, NotFinite, ShapeMismatch
from tests.support.errors import says
from tests.support.tiny import FULL_CONFIG, base_weights, full_clip, normal

WEIGHTS = base_weights()
SHAPES = {name: tuple(tensor.shape) for name, tensor in WEIGHTS.items()}
REMEDY = "a.safetensors, give an open_clip vision tower or full CLIP of this arch"


def write(folder: Path, tensors: dict[str, Tensor]) -> Checkpoint:
    save_file(tensors, folder / "a.safetensors")
    return Checkpoint("ants", folder / "a.safetensors")


def changed(**changes: Tensor | None) -> dict[str, Tensor]:
    """Return the weights with some replaced, added, or (None) left out."""
    return {name: tensor for name, tensor in {**WEIGHTS, **changes}.items() if tensor is not None}


def test_a_tower_that_fits_is_described_by_its_header(tmp_path: Path) -> None:
    facts = write(tmp_path, WEIGHTS).judge(SHAPES)
    assert (facts.name, facts.file, facts.layout) == ("ants", "a.safetensors", "open_clip vision tower")
    assert (facts.dtype, facts.matched, facts.missing, facts.extra) == ("float32", len(WEIGHTS), (), ())
    assert facts.parameters == sum(tensor.numel() for tensor in WEIGHTS.values())
    assert facts.bytes == (tmp_path / "a.safetensors").stat().st_size


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_float_types_are_read_and_named(tmp_path: Path, dtype: torch.dtype) -> None:
    stored = {name: tensor.to(dtype) for name, tensor in WEIGHTS.items()}
    checkpoint = write(tmp_path, stored)
    assert checkpoint.judge(SHAPES).dtype == str(dtype).removeprefix("torch.")
    read = checkpoint.tensors(["proj"], torch.float64)["proj"]
    assert torch.equal(read, stored["proj"].double())


def test_mixed_types_are_all_named(tmp_path: Path) -> None:
    assert write(tmp_path, changed(proj=WEIGHTS["proj"].half())).judge(SHAPES).dtype == "float16, float32"


def test_a_full_clip_is_read_by_its_vision_part(tmp_path: Path) -> None:
    state = full_clip(WEIGHTS)
    checkpoint = write(tmp_path, state)
    facts = checkpoint.judge(SHAPES)
    assert (facts.layout, facts.matched) == ("open_clip CLIP, visual. names", len(SHAPES))
    assert set(facts.extra) == {name for name in state if not name.startswith("visual.")}
    assert torch.equal(checkpoint.tensors(["proj"], torch.float32)["proj"], WEIGHTS["proj"])


def test_the_full_clip_of_these_tests_is_open_clips() -> None:
    CLIP(**FULL_CONFIG).load_state_dict(full_clip(WEIGHTS), strict=True)


def test_all_missing_and_unknown_tensors_are_told_at_once(tmp_path: Path) -> None:
    tensors = changed(proj=None, class_embedding=None, extra=normal(1, seed=1), more=normal(1, seed=2))
    text = f"ants: 2 tensors missing (class_embedding, proj); 2 tensors unknown (extra, more), {REMEDY}"
    with says(LayoutError, text):
        write(tmp_path, tensors).judge(SHAPES)


def test_of_many_missing_tensors_the_first_three_and_their_number_are_told(tmp_path: Path) -> None:
    text = f"ants: {len(SHAPES) - 1} tensors missing (class_embedding, conv1.weight, ln_post.bias …), {REMEDY}"
    with says(LayoutError, text):
        write(tmp_path, {"proj": WEIGHTS["proj"]}).judge(SHAPES)


def test_an_unknown_tensor_beside_the_text_tower_is_no_reason_to_refuse(tmp_path: Path) -> None:
    checkpoint = write(tmp_path, {**full_clip(WEIGHTS), "optimizer.step": normal(1, seed=1)})
    assert "optimizer.step" in checkpoint.judge(SHAPES).extra


def test_wrong_shapes_are_told_with_what_is_expected(tmp_path: Path) -> None:
    tensors = changed(proj=torch.zeros(16, 9), class_embedding=torch.zeros(3))
    text = (
        "ants: class_embedding is (3,), in the arch (16,), proj is (16, 9), in the arch (16, 8), a.safetensors, "
        "use checkpoints of this arch"
    )
    with says(ShapeMismatch, text):
        write(tmp_path, tensors).judge(SHAPES)


def test_of_many_wrong_shapes_two_and_the_number_of_others_are_told(tmp_path: Path) -> None:
    tensors = {name: torch.zeros(3, 2) for name in WEIGHTS}
    text = (
        "ants: class_embedding is (3, 2), in the arch (16,), positional_embedding is (3, 2), in the arch (5, 16) "
        f"and {len(WEIGHTS) - 2} more, a.safetensors, use checkpoints of this arch"
    )
    with says(ShapeMismatch, text):
        write(tmp_path, tensors).judge(SHAPES)


def test_integers_are_no_weights(tmp_path: Path) -> None:
    text = "ants: proj is I32, a.safetensors, save it as float16, 32 or 64"
    with says(CheckpointError, text):
        write(tmp_path, changed(proj=WEIGHTS["proj"].int())).judge(SHAPES)


@pytest.mark.parametrize(("value", "word"), [(torch.nan, "NaN"), (torch.inf, "Inf"), (-torch.inf, "Inf")])
def test_numbers_that_are_not_finite_are_refused_with_the_tensor(tmp_path: Path, value: float, word: str) -> None:
    bad = WEIGHTS["proj"].clone()
    bad[3, 2] = value
    checkpoint = write(tmp_path, changed(proj=bad))
    with says(NotFinite, f"ants: proj holds {word}, a.safetensors, save it again"):
        checkpoint.verify(SHAPES)


def test_numbers_outside_the_tower_are_not_judged(tmp_path: Path) -> None:
    state = full_clip(WEIGHTS)
    state["logit_scale"] = torch.tensor(torch.nan)
    write(tmp_path, state).verify(SHAPES)


def test_verifying_returns_the_files_digest(tmp_path: Path) -> None:
    checkpoint = write(tmp_path, WEIGHTS)
    digest = hashlib.sha256((tmp_path / "a.safetensors").read_bytes()).hexdigest()
    assert checkpoint.verify(SHAPES) == checkpoint.verify(SHAPES, digest) == digest


def test_another_digest_than_the_recipes_is_refused(tmp_path: Path) -> None:
    checkpoint = write(tmp_path, WEIGHTS)
    digest = sha256_file(tmp_path / "a.safetensors")
    text = (
        f"ants: SHA-256 is {digest[:12]}…, the recipe names {'0' * 12}…, a.safetensors, "
        "use the file the recipe was made with, or drop sha256"
    )
    with says(DigestMismatch, text):
        checkpoint.verify(SHAPES, "0" * 64)


def test_opening_and_judging_read_no_tensor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: StoredTensor, file: object) -> Tensor:
        pytest.fail("a tensor was read before the header was judged")

    monkeypatch.setattr(StoredTensor, "read", refuse)
    write(tmp_path, WEIGHTS).judge(SHAPES)
    torch.save(WEIGHTS, tmp_path / "a.pt")
    Checkpoint("ants", tmp_path / "a.pt").judge(SHAPES)


# Files that are no checkpoints.


def header(text: bytes) -> bytes:
    return struct.pack("<Q", len(text)) + text


WHOLE = save({"proj": torch.zeros(4, 4)})
OVERLAP = json.dumps({name: {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]} for name in ("a", "b")}).encode()
HOSTILE = {
    "garbage": b"garbage " * 100,
    "a header longer than the file": struct.pack("<Q", 2**62) + b"{}",
    "a header that is no JSON": header(b"{nonsense}"),
    "cut in the data": WHOLE[:-1],
    "cut in the header": WHOLE[:20],
    "bytes behind the end": WHOLE + b"x",
    "tensors that overlap": header(OVERLAP) + bytes(8),
    "a pickle": b"\x80\x04\x95\x00\x00\x00\x00\x00\x00\x00\x00}\x94.",
}


@pytest.mark.parametrize("case", HOSTILE)
def test_a_file_that_is_not_whole_safetensors_is_refused(tmp_path: Path, case: str) -> None:
    path = tmp_path / "a.safetensors"
    path.write_bytes(HOSTILE[case])
    with pytest.raises(CheckpointError) as refused:
        Checkpoint("ants", path)
    assert type(refused.value) is CheckpointError
    # The reason inside the brackets is safetensors' own and differs between its versions.
    before, _, rest = str(refused.value).partition(" (")
    assert before == "ants: not a whole safetensors file"
    assert rest.endswith("), a.safetensors, download or save it again")


def test_an_empty_file_is_told(tmp_path: Path) -> None:
    (tmp_path / "a.safetensors").touch()
    with says(CheckpointError, "ants: the file is empty, a.safetensors, download or save it again"):
        Checkpoint("ants", tmp_path / "a.safetensors")


def test_a_missing_file_is_told_without_its_folders(tmp_path: Path) -> None:
    with says(CheckpointError, "ants: there is no such file, no.safetensors, check the path in the recipe"):
        Checkpoint("ants", tmp_path / "no.safetensors")


def test_a_folder_without_weights_is_told(tmp_path: Path) -> None:
    with says(CheckpointError, f"ants: the folder holds no weights, {tmp_path.name}, name the file itself"):
        Checkpoint("ants", tmp_path)


def sharded(folder: Path, *shards: str) -> None:
    """Write the weights into files, in turn, and the list of them."""
    where = {name: shards[at % len(shards)] for at, name in enumerate(WEIGHTS)}
    for shard in shards:
        save_file({name: WEIGHTS[name] for name, at in where.items() if at == shard}, folder / shard)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": where}), encoding="utf-8")


def test_a_whole_file_beside_shards_is_refused_since_either_may_be_left_from_before(tmp_path: Path) -> None:
    save_file(changed(proj=WEIGHTS["proj"] + 1), tmp_path / "model.safetensors")
    sharded(tmp_path, "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors")
    text = (
        "ants: the folder holds a model in one file, model.safetensors, and one in shards, "
        f"{tmp_path.name}, remove the older one, or name the file itself"
    )
    with says(CheckpointError, text):
        Checkpoint("ants", tmp_path)
    for name, plus in (("model.safetensors", 1), ("model.safetensors.index.json", 0)):
        assert torch.equal(Checkpoint("ants", tmp_path / name).tensors(["proj"])["proj"], WEIGHTS["proj"] + plus)


def test_a_list_of_shards_may_name_the_whole_file(tmp_path: Path) -> None:
    sharded(tmp_path, "model.safetensors")
    assert Checkpoint("ants", tmp_path).judge(SHAPES).matched == len(WEIGHTS)


def test_other_weights_in_a_models_folder_are_named(tmp_path: Path) -> None:
    save_file(WEIGHTS, tmp_path / "model.safetensors")
    for name in ("optimizer.pt", "training_args.bin", "pytorch_model.bin"):
        torch.save(WEIGHTS, tmp_path / name)
    found = Checkpoint("ants", tmp_path)
    assert (found.read_file, found.not_read) == ("model.safetensors", ("pytorch_model.bin",))
    assert Checkpoint("ants", tmp_path / "model.safetensors").not_read == ()


def test_a_file_of_another_kind_is_not_opened(tmp_path: Path) -> None:
    (tmp_path / "a.npz").write_bytes(b"numbers")
    text = "ants: this is no file of weights, a.npz, give .safetensors, .pt, .pth, .bin, .ckpt or a folder"
    with says(CheckpointError, text):
        Checkpoint("ants", tmp_path / "a.npz")


def test_a_file_that_is_cut_after_it_was_judged_is_told(tmp_path: Path) -> None:
    checkpoint = write(tmp_path, WEIGHTS)
    (tmp_path / "a.safetensors").write_bytes(WHOLE)
    with says(CheckpointError, "ants: the file changed while it was read, a.safetensors, start again"):
        checkpoint.tensors(SHAPES, torch.float32)


def test_a_file_that_is_gone_when_it_is_hashed_is_told(tmp_path: Path) -> None:
    checkpoint = write(tmp_path, WEIGHTS)
    (tmp_path / "a.safetensors").unlink()
    with says(CheckpointError, "ants: the file changed while it was read, a.safetensors, start again"):
        checkpoint.verify(SHAPES)


# Digests of folders.


def test_a_folders_digest_depends_on_names_and_bytes_and_not_on_the_folders_own_name(tmp_path: Path) -> None:
    for folder, name, text in [("a", "x", "1"), ("b", "x", "1"), ("c", "y", "1"), ("d", "x", "2")]:
        (tmp_path / folder / "sub").mkdir(parents=True)
        (tmp_path / folder / "sub" / name).write_text(text, encoding="utf-8")
    a, b, c, d = (sha256_path(tmp_path / folder) for folder in "abcd")
    assert a == b
    assert len({a, c, d}) == 3
