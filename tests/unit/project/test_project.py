"""A project as a whole: which stages a knob wakes, progress and cancelling, what is never stale, the same bits."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from esm_viz.checkpoints.atomic_write import sha256_tensors
from esm_viz.core.errors import (
    Cancelled,
    CheckpointError,
    HeadError,
    ImagesError,
    LayoutError,
    NotFinite,
    NumericsError,
    OutOfMemory,
    RecipeError,
)
from esm_viz.core.progress import Progress
from esm_viz.core.recipe import parse_mapping
from esm_viz.core.records import Layer
from esm_viz.data.images.image_source import to_pixels
from esm_viz.families import vision_tower
from esm_viz.merge import METHODS, settle, with_method, with_parameters
from esm_viz.project.project import Project, inspect
from esm_viz.runtime.stage_cache import StageCache
from esm_viz.stages import merge_stages
from tests.support.errors import says
from tests.support.tiny import (
    C_FC,
    FULL_CONFIG,
    IN_PROJ,
    SIDE,
    TASKS,
    base_weights,
    full_clip,
    images,
    mapping,
    recipe,
    relative,
    write_project,
)
from tests.support.watched import Watched
from tests.support.watching import watch_inputs

ROOT = Path(__file__).parents[3]
LAYERS = 8  # 2 blocks of 4 matrices


@pytest.fixture(scope="module")
def project(tiny_folder: Path) -> Project:
    """Return an opened project that tests may ask anything."""
    return Project.open(recipe(tiny_folder), device="cpu")


@pytest.fixture
def own(tmp_path: Path, tiny_folder: Path) -> Path:
    """Return a copy of the project's files that a test may change."""
    return Path(shutil.copytree(tiny_folder, tmp_path / "own"))


def opened(folder: Path, raw: dict[str, Any] | None = None, cache: StageCache | None = None) -> Project:
    return Project.open(settle(parse_mapping(raw or mapping(), folder)), device="cpu", cache=cache)


# What a knob wakes.

CHEAP = {"weights"}  # base + scale · ΔW
MERGED = CHEAP | {"merged", "pulls", "norm", "effects"}  # a few numbers beside each merged layer
WAKES: dict[str, set[str]] = {
    "alpha": CHEAP,
    "layer_exponent": CHEAP,
    "alpha_scope": CHEAP,
    "gain": MERGED,
    "task_exponent": MERGED | {"coordinates"},
    "dimension_exponent": MERGED | {"coordinates"},
    "rank_ratio": MERGED | {"coordinates", "basis"},
    "spectrum_exponent": MERGED | {"coordinates", "basis"},
}
MOVED = {"alpha_scope": "essential", "rank_ratio": 0.6, "spectrum_exponent": 0.4, "mask_scale": 0.5}


def test_every_knob_of_esm_is_in_the_table() -> None:
    assert set(WAKES) == set(METHODS["esm"].knobs)


OTHER_METHODS = [
    ("ties", "keep", MERGED | {"product", "cutoff"}),
    ("consensus_ta", "mask_scale", MERGED | {"product"}),
    ("iso_cts", "common_share", MERGED | {"product"}),
    ("regmean", "off_diagonal", MERGED | {"product"}),  # not "basis", which forms the products
]


@pytest.mark.parametrize(
    ("method", "knob", "wakes"), [*(("esm", knob, wakes) for knob, wakes in WAKES.items()), *OTHER_METHODS]
)
def test_a_knob_wakes_its_own_stages_only(tiny_folder: Path, method: str, knob: str, wakes: set[str]) -> None:
    cache = Watched()
    watched = opened(tiny_folder, mapping(method), cache)
    watched.merge(watched.recipe)
    watched.materialize(watched.recipe)
    cache.woken()
    moved = with_parameters(watched.recipe, **{knob: MOVED.get(knob, 0.7)})
    watched.merge(moved)
    watched.materialize(moved)
    assert cache.woken() == wakes


def test_asking_twice_computes_nothing(tiny_folder: Path) -> None:
    cache = Watched()
    watched = opened(tiny_folder, cache=cache)
    for _ in range(2):
        cache.woken()
        watched.merge(watched.recipe)
        watched.materialize(watched.recipe)
        watched.evaluate(watched.recipe)
        watched.layer_map("overlap", watched.recipe)
        watched.spectrum("ants", C_FC, watched.recipe)
        watched.angles(C_FC, "ants", "bees", watched.recipe)
        watched.subspace_map(watched.recipe)
        watched.stability("ants", C_FC, watched.recipe)
        watched.patches("ants", C_FC, 1, watched.recipe)
        watched.scaling_profile(watched.recipe)
    assert cache.woken() == set()


def test_going_back_with_a_knob_computes_nothing(tiny_folder: Path) -> None:
    cache = Watched()
    watched = opened(tiny_folder, cache=cache)
    watched.merge(watched.recipe)
    watched.merge(with_parameters(watched.recipe, task_exponent=1.0))
    cache.woken()
    watched.merge(watched.recipe)
    assert cache.woken() == set()


@pytest.mark.parametrize("method", ["averaging", "task_arithmetic", "tsv_m", "consensus_ta"])
def test_a_merged_layer_and_its_methods_product_count_once(tiny_folder: Path, method: str) -> None:
    cache = StageCache()
    own = opened(tiny_folder, mapping(method), cache)
    layer = own.layer(IN_PROJ)
    size = own.stages.merged(own.recipe, IN_PROJ, layer).delta.nbytes
    changes = len(TASKS) * size
    assert changes + size <= cache.bytes < changes + 2 * size


def test_another_method_keeps_moments_and_changes(tiny_folder: Path) -> None:
    cache = Watched()
    watched = opened(tiny_folder, cache=cache)
    watched.merge(watched.recipe)
    cache.woken()
    watched.merge(with_method(watched.recipe, "tsv_m"))
    assert not cache.woken() & {"moments", "esd", "delta", "basis", "shift"}


def test_a_fresh_project_with_the_same_files_and_cache_computes_nothing(own: Path, tiny_folder: Path) -> None:
    # keys name contents, not paths: another folder with the same bytes is the same
    cache = Watched()
    opened(tiny_folder, cache=cache).materialize(recipe(tiny_folder))
    cache.woken()
    opened(own, cache=cache).materialize(recipe(own))
    assert cache.woken() == set()


# What is never stale.


def flip_weight(folder: Path, name: str) -> None:
    weights = load_file(folder / name)
    weights[C_FC].view(torch.int32)[0, 0] ^= 1 << 20
    save_file(weights, folder / name)


def flip_proxy(folder: Path) -> None:
    proxies = load_file(folder / "bees_proxies.safetensors")
    proxies["images"][0, 0, 0, 0] += 1
    save_file(proxies, folder / "bees_proxies.safetensors")


FILES: dict[str, Callable[[Path], None]] = {
    "the base": lambda folder: flip_weight(folder, "base.safetensors"),
    "a model": lambda folder: flip_weight(folder, "cats.safetensors"),
    "a proxy": flip_proxy,
}


def looks(project: Project) -> list[object]:
    """Return what Explore shows; NaN would differ from itself, so as text."""
    own = project.recipe
    some = (
        project.subspace_map(own),
        project.scaling_profile(own),
        *(project.stability(task, C_FC, own) for task in TASKS),
        *(project.patches(task, C_FC, 1, own) for task in TASKS),
        project.angles(C_FC, "bees", "cats", own),
    )
    return [repr(record) for record in some]


@pytest.mark.parametrize("what", FILES)
def test_one_changed_number_in_a_file_gives_what_a_fresh_cache_gives(own: Path, what: str) -> None:
    cache = StageCache()
    before = opened(own, cache=cache)
    old, old_hash = before.materialize(before.recipe), before.sha256(before.recipe)
    before.merge(before.recipe)
    looks(before)
    FILES[what](own)
    shared, fresh = opened(own, cache=cache), opened(own)
    assert looks(shared) == looks(fresh)
    assert sha256_tensors(shared.materialize(shared.recipe)) == sha256_tensors(fresh.materialize(fresh.recipe))
    assert shared.merge(shared.recipe).interference == fresh.merge(fresh.recipe).interference
    assert sha256_tensors(shared.materialize(shared.recipe)) != sha256_tensors(old)
    assert shared.sha256(shared.recipe) != old_hash


@pytest.mark.parametrize("method", METHODS)
def test_a_knob_that_moved_gives_what_a_fresh_cache_gives(tiny_folder: Path, method: str) -> None:
    shared = opened(tiny_folder, mapping(method))
    for knob, spec in METHODS[method].knobs.items():
        value = spec.choices[-1] if spec.range is None else spec.range[0] + 0.6 * (spec.range[1] - spec.range[0])
        value = round(value) if spec.whole else value
        moved = with_parameters(shared.recipe, **{knob: value})
        shared.merge(moved)
        fresh = opened(tiny_folder, mapping(method))
        assert sha256_tensors(shared.materialize(moved)) == sha256_tensors(fresh.materialize(moved)), knob
        assert shared.merge(moved).interference == fresh.merge(moved).interference, knob


def test_weights_of_models_are_part_of_every_key(tiny_folder: Path) -> None:
    raw = mapping()
    raw["models"][1]["weight"] = 0.4
    shared, weighted = opened(tiny_folder), settle(parse_mapping(raw, tiny_folder))
    plain = shared.materialize(shared.recipe)
    found = shared.materialize(weighted)
    assert sha256_tensors(found) == sha256_tensors(opened(tiny_folder).materialize(weighted)) != sha256_tensors(plain)


def test_the_activation_is_part_of_every_key(tiny_folder: Path) -> None:
    raw, cache = mapping(), StageCache()
    raw["arch"]["quick_gelu"] = False
    opened(tiny_folder, cache=cache).materialize(recipe(tiny_folder))
    shared, fresh = opened(tiny_folder, raw, cache), opened(tiny_folder, raw)
    assert sha256_tensors(shared.materialize(shared.recipe)) == sha256_tensors(fresh.materialize(fresh.recipe))


def test_the_seed_decides_only_where_there_are_more_proxies_than_are_used(own: Path) -> None:
    seeds = [recipe(own).replace(seed=seed) for seed in (0, 1)]
    few = opened(own)
    assert sha256_tensors(few.materialize(seeds[0])) == sha256_tensors(few.materialize(seeds[1]))
    for at, task in enumerate(TASKS):
        save_file({"images": images(40, 900 + at)}, own / f"{task}_proxies.safetensors")
    many = opened(own)
    first, other = (many.materialize(seed) for seed in seeds)
    assert sha256_tensors(first) != sha256_tensors(other)
    assert sha256_tensors(opened(own).materialize(seeds[1])) == sha256_tensors(other)


def test_labels_by_class_names_are_not_mixed_up_in_a_shared_cache(own: Path) -> None:
    for at, name in enumerate("aaaaaabbbcdd"):
        (own / "labelled" / name).mkdir(parents=True, exist_ok=True)
        Image.fromarray(to_pixels(images(1, at))[0].permute(1, 2, 0).numpy()).save(
            own / "labelled" / name / f"{at}.png"
        )
    raw = mapping()
    for model in raw["models"]:
        model["test"] = "labelled"
    head, cache, found = load_file(own / "ants_head.safetensors"), StageCache(), []
    for names in ("abcd", "badc"):
        for task in TASKS:
            save_file(head, own / f"{task}_head.safetensors", {"classes": json.dumps(list(names))})
        shared, fresh = opened(own, raw, cache), opened(own, raw)
        assert shared.evaluate(shared.recipe).tasks == fresh.evaluate(fresh.recipe).tasks
        found.append(fresh.evaluate(fresh.recipe).tasks)
    assert found[0] != found[1]


def test_a_recipe_of_another_architecture_is_not_answered(project: Project, tiny_folder: Path) -> None:
    raw = mapping()
    raw["arch"]["quick_gelu"] = False
    text = "this recipe names other files than the opened project, open it as a project of its own"
    with says(RecipeError, text):
        project.materialize(settle(parse_mapping(raw, tiny_folder)))


@pytest.mark.parametrize("field", ["path", "proxies", "head", "validation", "test"])
def test_a_recipe_of_other_files_is_not_answered(project: Project, tiny_folder: Path, field: str) -> None:
    raw = mapping()
    raw["models"][0][field] = raw["models"][1][field]
    text = "this recipe names other files than the opened project, open it as a project of its own"
    with says(RecipeError, text):
        project.evaluate(settle(parse_mapping(raw, tiny_folder)))


# Progress and cancelling.


class Steps:
    """Notes every report, and may stop the work at one of them."""

    def __init__(self, stop_at: int = -1) -> None:
        self.fractions: list[float] = []
        self.stop_at = stop_at

    def __call__(self, fraction: float, words: str) -> None:
        self.fractions.append(fraction)
        assert words
        if len(self.fractions) == self.stop_at:
            raise Cancelled


def ask(project: Project, what: str, steps: Steps, folder: Path) -> object:
    progress = Progress(steps)
    own = project.recipe
    return {
        "prepare": lambda: project.prepare(progress),
        "map": lambda: project.layer_map("rank90", own, progress),
        "subspace map": lambda: project.subspace_map(own, progress),
        "stability": lambda: project.stability("bees", C_FC, own, progress),
        "patches": lambda: project.patches("bees", C_FC, 1, own, progress=progress),
        "scaling": lambda: project.scaling_profile(own, progress),
        "merge": lambda: project.merge(own, progress),
        "materialize": lambda: project.materialize(own, progress),
        "adapters": lambda: project.routed_adapters(with_method(own, "esmpp"), progress),
        "encode": lambda: project.encode(own, images(9, 1), progress),
        "encode routed": lambda: project.encode(with_method(own, "esmpp"), images(9, 1), progress),
        "evaluate": lambda: project.evaluate(own, "test", progress=progress),
        "evaluate routed": lambda: project.evaluate(with_method(own, "esmpp"), "test", progress=progress),
        "search": lambda: project.search_alpha(own, progress),
        "export": lambda: project.export(own, folder / "out", progress),
        "export routed": lambda: project.export(with_method(own, "esmpp"), folder / "out", progress),
        "search and export": lambda: project.export(with_parameters(own, alpha="search"), folder / "out", progress),
    }[what]()


QUESTIONS = [
    *("prepare", "map", "subspace map", "stability", "patches", "scaling"),
    *("merge", "materialize", "encode", "evaluate", "search", "export", "search and export"),
    *("adapters", "encode routed", "evaluate routed", "export routed"),
]


@pytest.mark.parametrize("what", QUESTIONS)
def test_progress_only_grows_and_stays_inside(
    tiny_folder: Path, tmp_path: Path, what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vision_tower, "BATCH", 4)
    report = Steps()
    ask(opened(tiny_folder), what, report, tmp_path)
    assert len(report.fractions) >= 3
    assert report.fractions == sorted(report.fractions)
    assert 0.0 <= report.fractions[0] <= report.fractions[-1] <= 1.0


def test_opening_reports_every_file(tiny_folder: Path) -> None:
    report = Steps()
    Project.open(recipe(tiny_folder), device="cpu", progress=Progress(report))
    assert report.fractions == [0.0, 0.25, 0.5, 0.75, 1.0]


@pytest.mark.parametrize("what", QUESTIONS)
@pytest.mark.parametrize("stop_at", [1, 3])
def test_cancelling_leaves_the_cache_whole_and_the_next_run_right(
    tiny_folder: Path, tmp_path: Path, what: str, stop_at: int
) -> None:
    project = opened(tiny_folder)
    with says(Cancelled, "stopped, start it again to go on"):
        ask(project, what, Steps(stop_at), tmp_path)
    assert not list(tmp_path.iterdir())
    found = project.materialize(project.recipe)
    assert sha256_tensors(found) == sha256_tensors(opened(tiny_folder).materialize(recipe(tiny_folder)))
    assert ask(project, what, Steps(), tmp_path) is not None or what == "prepare"


def test_merging_is_stopped_at_the_layer_where_the_user_stopped_it(tiny_folder: Path) -> None:
    cache = Watched()
    project = opened(tiny_folder, cache=cache)
    with pytest.raises(Cancelled):
        project.merge(project.recipe, Progress(Steps(3)))
    assert cache.ran.count("esd") == 2  # a first merge decomposes
    project.prepare()
    with pytest.raises(Cancelled):
        project.merge(project.recipe, Progress(Steps(3)))
    assert cache.ran.count("merged") == 2


# The same bits.

SCRIPT = """
import sys
from esm_viz import Project
from esm_viz.checkpoints.atomic_write import sha256_tensors
from tests.support.tiny import recipe
from pathlib import Path
own = recipe(Path(sys.argv[1]))
project = Project.open(own, device="cpu")
print(sha256_tensors(project.materialize(own)), project.sha256(own))
"""


def test_a_recipe_gives_the_same_bits_and_hash_in_another_process(project: Project, tiny_folder: Path) -> None:
    seed = "7" if os.environ.get("PYTHONHASHSEED") != "7" else "8"
    environment = {**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": str(ROOT)}
    run = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(tiny_folder)],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    mine = sha256_tensors(project.materialize(project.recipe)), project.sha256(project.recipe)
    assert tuple(run.stdout.split()) == mine


def test_the_order_of_models_does_not_change_the_merge_beyond_rounding(project: Project, tiny_folder: Path) -> None:
    raw = mapping()
    raw["models"].reverse()
    turned = opened(tiny_folder, raw)
    found = turned.materialize(turned.recipe.replace(dtype="float64"))
    truth = project.materialize(project.recipe.replace(dtype="float64"))
    assert max(relative(found[name], truth[name]) for name in truth) < 1e-9  # rounding times conditions below 1e6


# What a merge is made of.


def inputs_of(filled: nn.Module, layers: tuple[Layer, ...], pictures: Tensor) -> dict[str, Tensor]:
    seen: dict[str, Tensor] = {}
    watch_inputs(filled, layers, pictures, lambda name, rows: seen.update({name: rows.double()}))
    return seen


def test_interference_is_the_error_on_the_tasks_own_tokens(project: Project) -> None:
    own = with_parameters(project.recipe, alpha=0.8)
    report = project.merge(own)
    merged = project.materialize(own.replace(dtype="float64"))
    headers = project.headers
    base = headers.base.tensors(merged, torch.float64)
    for at, task in enumerate(TASKS):
        expert = headers.experts[task]
        filled = headers.arch.tower(expert.tensors(merged, torch.float32))
        seen = inputs_of(filled, project.layers, project.stages.proxies(own, task))
        tuned = expert.tensors(merged, torch.float64)
        for step, layer in enumerate(project.layers):
            x = seen[layer.name].flatten(0, 1)
            own_shift = x @ (tuned[layer.name] - base[layer.name]).mT
            error = x @ (merged[layer.name] - base[layer.name]).mT - own_shift
            truth = float(error.square().sum() / own_shift.square().sum())
            assert report.interference.values[at][step] == pytest.approx(truth, rel=1e-9)  # float64 sums


def test_the_inter_layer_level_is_its_formula_within_each_family(project: Project) -> None:
    report = project.merge(with_parameters(project.recipe, layer_exponent=1.5))
    for start in range(0, LAYERS, 2):
        before = report.norms.before[start : start + 2]
        mean = sum(before) / 2
        truth = [norm * (norm / mean) ** 1.5 for norm in before]
        assert list(report.norms.after[start : start + 2]) == pytest.approx(truth, rel=1e-12)


def test_norms_after_are_those_of_the_tensors(project: Project) -> None:
    report = project.merge(project.recipe)
    weights = project.materialize(project.recipe.replace(dtype="float64"))
    base = project.headers.base.tensors(weights, torch.float64)
    found = [float((weights[layer.name] - base[layer.name]).norm()) for layer in project.layers]
    assert list(report.norms.after) == pytest.approx(found, rel=1e-9)


def test_alpha_reaches_all_tensors_or_the_essential_layers_only(project: Project) -> None:
    def changes(**parameters: Any) -> dict[str, Tensor]:
        weights = project.materialize(with_parameters(project.recipe, **parameters).replace(dtype="float64"))
        base = project.headers.base.tensors(weights, torch.float64)
        return {name: weights[name] - base[name] for name in weights}

    full, everything, some = changes(), changes(alpha=0.5), changes(alpha=0.5, alpha_scope="essential")
    essential = {layer.name for layer in project.layers if layer.family != "out_proj"}
    assert len(essential) == 6
    for name in full:
        assert relative(everything[name], 0.5 * full[name]) < 1e-12
        assert relative(some[name], (0.5 if name in essential else 1.0) * full[name]) < 1e-12


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_weights_are_rounded_once_at_the_end(project: Project, dtype: str) -> None:
    exact = project.materialize(project.recipe.replace(dtype="float64"))
    found = project.materialize(project.recipe.replace(dtype=dtype))
    assert all(torch.equal(found[name], exact[name].to(getattr(torch, dtype))) for name in exact)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_checkpoints_are_subtracted_in_float64(tmp_path: Path, dtype: torch.dtype) -> None:
    write_project(tmp_path, dtype)
    project = opened(tmp_path)
    base, tuned = (load_file(tmp_path / f"{name}.safetensors")[C_FC].double() for name in ("base", "ants"))
    assert torch.equal(project.stages.delta(project.recipe, "ants", C_FC), tuned - base)
    assert any("sums run in float64" in note for note in project.inspection.notes)
    assert all(torch.isfinite(tensor).all() for tensor in project.materialize(project.recipe).values())


def test_one_image_as_proxy_is_enough(own: Path) -> None:
    for at, task in enumerate(TASKS):
        save_file({"images": images(1, 900 + at)}, own / f"{task}_proxies.safetensors")
    project = opened(own)
    assert all(torch.isfinite(tensor).all() for tensor in project.materialize(project.recipe).values())
    assert project.merge(project.recipe).interference.mean >= 0


def test_a_fine_tune_that_equals_its_base_merges_with_the_others(own: Path) -> None:
    shutil.copy(own / "base.safetensors", own / "bees.safetensors")
    project = opened(own)
    report = project.merge(project.recipe)
    assert all(torch.isfinite(tensor).all() for tensor in project.materialize(project.recipe).values())
    assert report.interference.means[1] != report.interference.means[1]  # NaN: nothing of its own to disturb
    assert report.interference.mean == pytest.approx((report.interference.means[0] + report.interference.means[2]) / 2)


def test_only_fine_tunes_that_equal_the_base_give_the_base(own: Path) -> None:
    for task in TASKS:
        shutil.copy(own / "base.safetensors", own / f"{task}.safetensors")
    project = opened(own)
    base = load_file(own / "base.safetensors")
    found = project.materialize(project.recipe)
    assert all(torch.equal(found[name], base[name]) for name in base)
    assert project.layer_map("norm", project.recipe).shares == ((0.0,) * LAYERS,) * 3


def test_features_are_those_of_open_clips_tower_with_the_merged_weights(project: Project) -> None:
    from tests.support.tiny import filled

    pictures = images(5, 77)
    with torch.inference_mode():
        truth = filled(project.materialize(project.recipe))(pictures)
    assert relative(project.encode(project.recipe, pictures), truth) < 1e-6  # float32


@pytest.mark.parametrize("shape", [(3, SIDE, SIDE), (0, 3, SIDE, SIDE), (2, 3, SIDE, 8), (2, 1, SIDE, SIDE)])
def test_images_of_a_wrong_shape_are_refused(project: Project, shape: tuple[int, ...]) -> None:
    with says(ImagesError, f"images are {shape}, give (n, 3, 16, 16), preprocessed"):
        project.encode(project.recipe, torch.zeros(shape))


# What is refused, and when.


def test_inspecting_reads_no_weight_and_no_head(tiny_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from esm_viz.checkpoints.checkpoint import Checkpoint

    def never(*arguments: object) -> None:
        raise AssertionError("weights were read")

    monkeypatch.setattr(Checkpoint, "_stream", never)
    monkeypatch.setattr(Checkpoint, "everything", never)
    assert len(inspect(recipe(tiny_folder)).files) == 4


def test_every_header_is_judged_before_a_weight_is_read(own: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from esm_viz.checkpoints.checkpoint import Checkpoint

    save_file(full_clip(base_weights()), own / "base.safetensors")
    save_file({"proj": torch.zeros(3, 3)}, own / "cats.safetensors")
    raw = mapping()
    raw["arch"] = FULL_CONFIG
    raw["models"][0]["head"] = {"classes": ["a", "b", "c", "d"], "templates": ["{}"]}

    def never(*arguments: object) -> None:
        raise AssertionError("the base was read although a later header is wrong")

    monkeypatch.setattr(Checkpoint, "everything", never)
    with pytest.raises(LayoutError, match=r"^cats: "):
        opened(own, raw)


def test_a_wrong_file_is_told_with_its_model(own: Path) -> None:
    (own / "bees.safetensors").unlink()
    with says(CheckpointError, "bees: there is no such file, bees.safetensors, check the path in the recipe"):
        opened(own)


def test_numbers_that_are_not_finite_stop_the_opening(own: Path) -> None:
    weights = load_file(own / "bees.safetensors")
    weights["proj"][0, 0] = torch.nan
    save_file(weights, own / "bees.safetensors")
    with says(NotFinite, "bees: proj holds NaN, bees.safetensors, save it again"):
        opened(own)


def test_without_a_head_labelled_images_are_left_out_and_the_model_is_merged(tiny_folder: Path) -> None:
    raw = mapping()
    del raw["models"][1]["head"]
    project = opened(tiny_folder, raw)
    assert not project.has_labels("validation")
    assert project.merge(project.recipe).norms.after
    assert "bees" not in project.headers.labelled["validation"]


def test_labels_beyond_the_head_are_refused(own: Path) -> None:
    save_file({"images": images(2, 1), "labels": torch.tensor([0, 4])}, own / "bees_test.safetensors")
    with says(HeadError, "test labels go up to 4, the head has 4 classes, model bees, fix either"):
        opened(own)


def test_a_head_that_is_not_there_is_told(own: Path) -> None:
    (own / "bees_head.safetensors").unlink()
    with says(HeadError, "there is no such head, bees_head.safetensors, check its path in the recipe"):
        opened(own)


def test_words_need_a_base_with_a_text_tower(tiny_folder: Path) -> None:
    raw = mapping()
    raw["models"][0]["head"] = {"classes": ["a"], "templates": ["{}"]}
    text = "a head from words needs a base with a text tower, model ants, give a full CLIP, or the head's weights"
    with says(HeadError, text):
        opened(tiny_folder, raw)


def test_a_method_that_needs_proxies_says_which_task_has_none(tiny_folder: Path) -> None:
    raw = mapping()
    del raw["models"][2]["proxies"]
    with says(RecipeError, "cats has no proxies, which esm reads, give up to 32 unlabelled images of it"):
        opened(tiny_folder, raw)


def test_a_method_without_proxies_merges_without_them(tiny_folder: Path) -> None:
    raw = mapping("tsv_m")
    for model in raw["models"]:
        del model["proxies"]
    project = opened(tiny_folder, raw)
    with_proxies = opened(tiny_folder, mapping("tsv_m"))
    assert sha256_tensors(project.materialize(project.recipe)) == sha256_tensors(
        with_proxies.materialize(with_proxies.recipe)
    )


def test_a_rank_that_leaves_nothing_is_told_with_the_layer(project: Project) -> None:
    small = with_parameters(project.recipe, rank_ratio=0.05)
    name = "transformer.resblocks.0.mlp.c_proj.weight"  # of the layers with a rank the one with the fewest outputs
    text = f"rank_ratio 0.05 leaves r = 0 of 16 directions for 3 tasks, at {name}, use at least 0.1875"
    with says(NumericsError, text):
        project.merge(small)


def test_the_rank_that_a_refusal_names_fits_every_layer(project: Project) -> None:
    """One number for the whole tower, whichever layer is asked: not another one at each attempt."""
    small = with_parameters(project.recipe, rank_ratio=0.05)
    questions = [
        project.merge,
        *(lambda own, name=layer.name: project.spectrum("ants", name, own) for layer in project.layers),
        *(lambda own, name=layer.name: project.overlap(name, own) for layer in project.layers),
    ]
    for question in questions:
        with pytest.raises(NumericsError) as refused:
            question(small)
        named = float(refused.value.remedy.rpartition(" ")[2])
        question(with_parameters(small, rank_ratio=named))
    assert project.least_rank_ratio(0.01) == 0.19


@pytest.mark.parametrize("question", ["merge", "materialize", "evaluate"])
def test_an_alpha_still_to_be_searched_is_not_merged_with(project: Project, question: str) -> None:
    own = with_parameters(project.recipe, alpha="search")
    with says(RecipeError, "alpha is still to be searched, search it on validation images, or give a number"):
        getattr(project, question)(own)


def test_questions_about_what_is_not_there_are_refused(project: Project) -> None:
    with says(RecipeError, "there is no task 'dogs', use ants, bees, cats"):
        project.spectrum("dogs", C_FC, project.recipe)
    with says(RecipeError, "there is no layer 'x', use a name of this tower"):
        project.overlap("x", project.recipe)
    with says(RecipeError, "there is no map 'x', use rank90, energy, norm, overlap"):
        project.layer_map("x", project.recipe)


def test_thumbnails_are_pngs_of_the_proxies(project: Project) -> None:
    found = project.thumbnails("ants", 4)
    assert len(found) == 4
    assert all(raw.startswith(b"\x89PNG") for raw in found)


def digest_of(folder: Path) -> str:
    return hashlib.sha256(b"".join(path.read_bytes() for path in sorted(folder.iterdir()))).hexdigest()


def test_asking_changes_no_file_of_the_recipe(own: Path) -> None:
    before = digest_of(own)
    project = opened(own)
    project.merge(project.recipe)
    project.evaluate(project.recipe)
    assert digest_of(own) == before


@pytest.mark.parametrize(
    "failure",
    [
        MemoryError(),
        RuntimeError("[enforce fail at alloc_cpu.cpp:118] DefaultCPUAllocator: can't allocate memory: 9 bytes."),
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
    ],
)
def test_memory_that_runs_out_is_told_with_what_would_fit(
    tiny_folder: Path, monkeypatch: pytest.MonkeyPatch, failure: Exception
) -> None:
    project = Project.open(recipe(tiny_folder), device="cpu")

    def fail(*_: object) -> None:
        raise failure

    monkeypatch.setattr(merge_stages, "esd_of_all", fail)
    with pytest.raises(OutOfMemory) as error:
        project.merge(project.recipe)
    assert str(error.value).startswith("memory ran out in esd: these ")
    assert str(error.value).endswith("or start with a smaller --cache and a --spill folder")


def test_another_error_of_torch_stays_what_it_is(tiny_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    project = Project.open(recipe(tiny_folder), device="cpu")

    def fail(*_: object) -> None:
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    monkeypatch.setattr(merge_stages, "esd_of_all", fail)
    with pytest.raises(RuntimeError, match="cannot be multiplied"):
        project.merge(project.recipe)
