"""The command line: what it prints, what it leaves on disk, and the status it returns."""

from __future__ import annotations

import dataclasses
import json
import re
import shutil
from html import unescape
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors import safe_open
from safetensors.torch import load_file, save_file

import esm_viz
from esm_viz.checkpoints.atomic_write import sha256_tensors
from esm_viz.cli import commands
from esm_viz.cli.argument_parser import argument_parser
from esm_viz.cli.command_line import main
from esm_viz.evaluation import accuracy_measurement
from esm_viz.search import knob_sweep
from tests.support import tiny


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("project")
    tiny.write_project(folder)
    (folder / "recipe.yaml").write_text(yaml.safe_dump(tiny.mapping(alpha=0.5)), encoding="utf-8")
    return folder


def run(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, str, str]:
    """Return status, standard output and standard error of one command."""
    status = main([str(word) for word in words])
    printed = capsys.readouterr()
    return status, printed.out, printed.err


def refused(capsys: pytest.CaptureFixture[str], *words: object) -> str:
    """Return the one line of a command that is refused with status 2."""
    status, out, err = run(capsys, *words)
    lines = [line for line in err.splitlines() if not re.match(r"\s*\d+ %", line)]
    assert (status, out, len(lines)) == (2, "", 1)
    return lines[0]


def test_check_reads_headers_and_says_what_it_found(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, out, _ = run(capsys, "check", project / "recipe.yaml", "--json")
    found = json.loads(out)
    assert status == 0
    assert [file["name"] for file in found["files"]] == ["base", *tiny.TASKS]
    assert (found["activation"], len(found["layers"])) == ("QuickGELU", 8)


def test_check_tells_every_verdict_and_the_first_wrong_model_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tiny.write_project(tmp_path)
    for task in ("ants", "cats"):
        (tmp_path / f"{task}.safetensors").write_bytes(b"not a checkpoint")
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(tiny.mapping()), encoding="utf-8")
    status, out, err = run(capsys, "check", tmp_path / "recipe.yaml", "--json")
    found = {file["name"]: file for file in json.loads(out)["files"]}
    assert status == 2
    assert {name: file["verdict"] for name, file in found.items()} == {
        "base": "ready",
        "ants": "refused",
        "bees": "ready",
        "cats": "refused",
    }
    assert (found["bees"]["classes"], found["bees"]["proxies"], found["bees"]["used"]) == (4, 6, 6)
    assert err == f"error: {found['ants']['sentence']}\n"
    status, out, err = run(capsys, "check", tmp_path / "recipe.yaml")
    assert (status, out.count("Refused: not a file of weights")) == (2, 2)
    assert "✓ bees" in out


def test_a_folder_to_offer_has_to_be_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    line = refused(capsys, "app", "--allow-folder", tmp_path / "none")
    assert line == "error: --allow-folder none is no folder, command line, give one that is there"


def test_check_reads_no_weight(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tiny.write_project(tmp_path)
    tensors = load_file(tmp_path / "ants.safetensors")
    save_file(tensors | {tiny.IN_PROJ: tensors[tiny.IN_PROJ] * torch.nan}, tmp_path / "ants.safetensors")
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(tiny.mapping()), encoding="utf-8")
    assert run(capsys, "check", tmp_path / "recipe.yaml")[0] == 0
    line = refused(capsys, "evaluate", tmp_path / "recipe.yaml")
    assert line == f"error: ants: {tiny.IN_PROJ} holds NaN, ants.safetensors, save it again"


def test_explore_writes_every_promised_number_and_a_page_that_needs_no_network(
    project: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status, _, _ = run(capsys, "explore", project / "recipe.yaml", "--out", tmp_path / "out")
    assert status == 0
    found = json.loads((tmp_path / "out" / "explore.json").read_text(encoding="utf-8"))
    opened = esm_viz.Project.open(esm_viz.load_recipe(project / "recipe.yaml"), device="cpu")
    layer = opened.layer(tiny.C_FC)
    assert found["tasks"] == list(tiny.TASKS)
    assert found["layers"] == [each.name for each in opened.layers]
    spectrum = opened.spectrum("bees", tiny.C_FC, opened.recipe)
    assert found["eigenvalues"]["bees"][tiny.C_FC] == list(spectrum.eigenvalues)
    assert len(found["energy_svd"]["bees"][tiny.C_FC]) == layer.d_out
    kept = found["rank_for_energy"]["0.9"]["bees"][tiny.C_FC]
    assert spectrum.energy[kept - 1] >= 0.9 > (0.0, *spectrum.energy)[kept - 1]
    overlap = opened.overlap(tiny.C_FC, opened.recipe)
    assert found["overlap"][tiny.C_FC] == [list(row) for row in overlap.values]
    assert found["overlap_random"][tiny.C_FC] == overlap.random_level
    assert set(found["principal_angles"][tiny.C_FC]) == {"ants|bees", "ants|cats", "bees|cats"}
    angles = found["principal_angles"][tiny.C_FC]["ants|bees"]
    assert angles == sorted(angles)
    delta = load_file(project / "bees.safetensors")[tiny.C_FC] - load_file(project / "base.safetensors")[tiny.C_FC]
    assert found["norms"]["bees"][tiny.C_FC] == pytest.approx(float(delta.double().norm()), rel=1e-6)
    drawn = opened.subspace_map(opened.recipe)
    assert found["subspace_map"]["stress"] == drawn.stress
    assert found["subspace_map"]["points"]["cats"][tiny.C_FC] == list(drawn.points[2][drawn.layers.index(layer)])
    busiest = opened.layer_map("overlap", opened.recipe).strongest
    assert found["stability"]["layer"] == found["patches"]["layer"] == busiest.name
    stable = opened.stability("ants", busiest.name, opened.recipe)
    shown = found["stability"]["tasks"]["ants"]
    assert [size["images"] for size in shown["sizes"]] == [1, 4, 8, tiny.PROXIES["ants"]]
    assert shown["sizes"][0]["between"] == dataclasses.asdict(stable.sizes[0].between)
    assert shown["sizes"][-1]["between"] == {"mean": None, "low": None, "high": None}
    seen = opened.patches("bees", busiest.name, 1, opened.recipe)
    assert found["patches"]["tasks"]["bees"]["top"] == [dataclasses.asdict(patch) for patch in seen.top]
    scaled = opened.scaling_profile(opened.recipe)
    assert found["scaling_profile"]["levels"] == list(scaled.levels)
    assert list(found["scaling_profile"]["norms"]["layer"].values()) == list(scaled.norms[-1])
    assert found["scaling_profile"]["task_shares_after"]["bees"][tiny.OUT_PROJ] == pytest.approx(
        found["scaling_profile"]["task_shares_before"]["bees"][tiny.OUT_PROJ]
    )
    page = (tmp_path / "out" / "explore.html").read_text(encoding="utf-8")
    assert page.count('"sizing":"stretch"') == 2 * min(6, len(seen.images))
    assert not re.findall(r'<(?:script|link|img)[^>]+(?:src|href)="https?:', page)
    assert page.count(" data-picture>") == 8 + 2 * len(tiny.TASKS)  # 4 maps, 4 of all tasks, 2 a task


def test_explore_of_a_fine_tune_that_equals_its_base_has_null_where_nothing_is(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tiny.write_project(tmp_path)
    raw = tiny.mapping()
    raw["models"][1]["path"] = "base.safetensors"
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(raw), encoding="utf-8")
    assert run(capsys, "explore", tmp_path / "recipe.yaml", "--out", tmp_path / "out")[0] == 0
    found = json.loads((tmp_path / "out" / "explore.json").read_text(encoding="utf-8"))
    assert found["patches"]["tasks"]["bees"] is None
    assert found["stability"]["tasks"]["bees"]["svd_overlap"] is None
    assert found["subspace_map"]["points"]["bees"][tiny.C_FC] == [None, None]


def test_merge_writes_a_model_that_its_own_recipe_makes_again_bit_for_bit(
    project: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(capsys, "merge", project / "recipe.yaml", "--out", tmp_path / "one")[0] == 0
    assert sorted(path.name for path in (tmp_path / "one").iterdir()) == [
        "README.md",
        "model.safetensors",
        "recipe.yaml",
    ]
    assert run(capsys, "merge", tmp_path / "one" / "recipe.yaml", "--out", tmp_path / "deep" / "two")[0] == 0
    first, second = (load_file(tmp_path / name / "model.safetensors") for name in ("one", "deep/two"))
    assert sha256_tensors(first) == sha256_tensors(second)
    with safe_open(tmp_path / "one" / "model.safetensors", "pt") as file:
        metadata = file.metadata()
    assert metadata["esm_viz.tensors_sha256"] == sha256_tensors(first)
    assert json.loads(metadata["esm_viz.recipe"])["parameters"]["alpha"] == 0.5


def test_merge_with_searched_alpha_writes_the_number_it_found(
    project: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(capsys, "merge", project / "recipe.yaml", "--set", "alpha=search", "--out", tmp_path / "out")
    written = yaml.safe_load((tmp_path / "out" / "recipe.yaml").read_text(encoding="utf-8"))
    opened = esm_viz.Project.open(esm_viz.load_recipe(project / "recipe.yaml"), device="cpu")
    assert written["parameters"]["alpha"] == opened.search_alpha(opened.recipe).alpha


def test_evaluate_writes_the_promised_keys_and_what_the_project_measures(
    project: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status, out, _ = run(capsys, "evaluate", project / "recipe.yaml", "--out", tmp_path / "e.json", "--json")
    found = json.loads((tmp_path / "e.json").read_text(encoding="utf-8"))
    assert (status, json.loads(out)["tasks"]) == (0, found["tasks"])
    assert {"method", "alpha", "parameters", "split", "recipe_sha256", "seconds", "mean", "tasks"} <= set(found)
    opened = esm_viz.Project.open(esm_viz.load_recipe(project / "recipe.yaml"), device="cpu")
    truth = opened.evaluate(opened.recipe, "test")
    for row in truth.tasks:
        shown = found["tasks"][row.task]
        low, high = row.merged.interval
        assert shown["merged"] == {"accuracy": row.merged.accuracy, "low": low, "high": high, "n": tiny.LABELLED}
        assert shown["normalised"] == row.normalised
    assert found["mean"]["merged"]["accuracy"] == truth.mean("merged")
    assert (found["split"], found["alpha"], found["recipe_sha256"]) == ("test", 0.5, truth.recipe_sha256)


def test_evaluate_tells_an_expert_that_does_no_better_than_guessing(
    project: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    own = Path(shutil.copytree(project, tmp_path / "own"))
    tiny.mislabel(own, "bees")
    words = ("evaluate", own / "recipe.yaml", "--split", "validation")
    told = (
        "bees is right on 0 of 24 of its own validation images, "
        "always answering the commonest of 4 classes would be on 24, check that head and images belong to it"
    )
    assert f"note: {told}" in run(capsys, *words)[1].splitlines()
    found = json.loads(run(capsys, *words, "--json")[1])
    assert told in found["near_chance"]
    near = [task for task, row in found["tasks"].items() if row["finetuned"]["low"] <= {"bees": 1.0}.get(task, 18 / 24)]
    assert [sentence.split()[0] for sentence in found["near_chance"]] == near


def test_set_changes_the_method_before_its_parameters(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ("--set", "alpha=0.25", "--set", "merge_method=tsv_m", "--json")
    _, out, _ = run(capsys, "evaluate", project / "recipe.yaml", *words)
    assert (json.loads(out)["method"], json.loads(out)["parameters"]) == ("tsv_m", {"alpha": 0.25})


GRID = ("--grid", "rank_ratio=1,0.5", "--grid", "task_exponent=0,2")


def test_sweep_writes_a_cell_for_each_point_of_the_grid_and_what_evaluate_gives_there(
    project: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("sweep", project / "recipe.yaml", *GRID, "--out", tmp_path / "s.json", "--json")
    status, out, _ = run(capsys, *words)
    found = json.loads((tmp_path / "s.json").read_text(encoding="utf-8"))
    assert (status, json.loads(out)) == (0, found)
    asked = [(1.0, 0.0), (1.0, 2.0), (0.5, 0.0), (0.5, 2.0)]
    assert [tuple(cell["values"].values()) for cell in found["cells"]] == asked
    assert found["grid"] == {"rank_ratio": [1.0, 0.5], "task_exponent": [0.0, 2.0]}
    assert (found["split"], found["n"], found["baseline"]) == ("validation", 3 * tiny.LABELLED, 1)
    assert found["measured"] == "share of the experts' accuracy on 72 validation images"
    for (rank, power), cell in zip(asked, found["cells"], strict=True):
        setting = ("--set", f"rank_ratio={rank}", "--set", f"task_exponent={power}", "--split", "validation")
        _, out, _ = run(capsys, "evaluate", project / "recipe.yaml", *setting, "--json")
        truth = json.loads(out)
        assert cell["parameters"] == truth["parameters"]
        assert cell["recipe_sha256"] == truth["recipe_sha256"]
        assert cell["mean"]["interference"] > 0
        del truth["mean"]["agreement"], cell["mean"]["interference"]
        assert cell["mean"] == truth["mean"]
        for task in tiny.TASKS:
            assert cell["tasks"][task]["merged"] == truth["tasks"][task]["merged"]
            assert cell["tasks"][task]["interference"] > 0


def test_sweep_prints_a_list_over_one_knob_and_a_matrix_over_two(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _, out, _ = run(capsys, "sweep", project / "recipe.yaml", "--grid", "alpha=search,0.5")
    lines = out.splitlines()
    assert lines[0].split() == ["alpha", "merged", "95", "%", "of", "expert", "interference"]
    assert [line.split()[0] for line in lines[1:3]] == ["search", "0.5"]
    assert ["*" in line for line in lines[1:3]] == [False, True]
    _, out, _ = run(capsys, "sweep", project / "recipe.yaml", *GRID, "--split", "test")
    lines = out.splitlines()
    assert (lines[0].split(), lines[1].split()) == (["task_exponent"], ["rank_ratio", "0", "2"])
    assert lines[2].endswith("*")  # rank 1 and power 2 are the recipe's
    assert "best" not in lines[-1]  # nothing is chosen on test images


def test_sweep_without_labels_says_that_its_cells_hold_agreement_on_proxies(
    project: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    raw = tiny.mapping()
    for model in raw["models"]:
        del model["validation"], model["test"]
    (project / "bare.yaml").write_text(yaml.safe_dump(raw), encoding="utf-8")
    words = ("sweep", project / "bare.yaml", "--grid", "alpha=0.2,0.4")
    status, out, _ = run(capsys, *words, "--json")
    found = json.loads(out)
    measured = f"agreement with the experts on {found['n']} unlabelled proxies, for want of labelled images"
    assert (status, found["split"], found["measured"]) == (0, None, measured)
    assert found["search_on"] == "agreement"
    assert [list(cell["mean"]) for cell in found["cells"]] == [["interference", "agreement"]] * 2
    assert [list(cell["tasks"]["ants"]) for cell in found["cells"]] == [["interference", "agreement"]] * 2
    assert {cell["mean"]["agreement"]["n"] for cell in found["cells"]} == {found["n"]}
    _, out, _ = run(capsys, *words)
    assert measured in out


def test_evaluate_shows_agreement_beside_accuracy_and_what_alpha_was_chosen_by(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    opened = esm_viz.Project.open(esm_viz.load_recipe(project / "recipe.yaml"), device="cpu")
    truth = opened.agreement(opened.recipe)
    found = json.loads(run(capsys, "evaluate", project / "recipe.yaml", "--json")[1])
    for row in truth.tasks:
        shown = found["tasks"][row.task]["agreement"]
        assert (shown["value"], shown["kl"], shown["n"]) == (row.same.accuracy, row.divergence.value, row.n)
    assert found["mean"]["agreement"]["value"] == truth.same.accuracy
    assert "search_on" not in found
    assert truth.sentence in run(capsys, "evaluate", project / "recipe.yaml")[1].splitlines()
    searched = ("evaluate", project / "recipe.yaml", "--set", "alpha=search")
    assert json.loads(run(capsys, *searched, "--json")[1])["search_on"] == "labels"
    assert "was chosen by accuracy on labelled validation images" in run(capsys, *searched)[1]


def test_sweep_reads_only_some_images_where_it_is_told_so(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _, out, _ = run(capsys, "sweep", project / "recipe.yaml", "--grid", "alpha=0.2", "--limit", "5", "--json")
    found = json.loads(out)
    assert (found["n"], found["cells"][0]["tasks"]["ants"]["merged"]["n"]) == (15, 5)


TUNE = ("--knobs", "alpha,gain", "--trials", "4")


def test_tune_writes_a_recipe_that_is_as_good_as_it_says_and_its_trace(
    project: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "deep" / "found.yaml"
    status, printed, _ = run(capsys, "tune", project / "recipe.yaml", *TUNE, "--out", out, "--json")
    trace = json.loads((tmp_path / "deep" / "found.json").read_text(encoding="utf-8"))
    assert (status, json.loads(printed)) == (0, trace)
    assert sorted(path.name for path in out.parent.iterdir()) == ["found.json", "found.yaml"]
    assert trace["objective"] == "mean normalised validation accuracy"
    assert (trace["knobs"], trace["images"], trace["seed"]) == (["alpha", "gain"], 3 * tiny.LABELLED, 0)
    best = trace["trials"][trace["best"]]
    assert best["value"] == max(trial["value"] for trial in trace["trials"]) == trace["best_so_far"][-1]
    assert trace["trials"][0]["parameters"]["alpha"] == 0.5
    _, printed, _ = run(capsys, "evaluate", out, "--split", "validation", "--json")
    truth = json.loads(printed)
    assert truth["parameters"] == best["parameters"]
    assert truth["mean"]["normalised"] == best["value"]


def test_tune_goes_on_from_its_storage(project: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ("tune", project / "recipe.yaml", "--knobs", "alpha,gain", "--out", tmp_path / "f.yaml", "--json")
    stored = ("--storage", tmp_path / "s.json")
    traces = [
        json.loads(run(capsys, *words, "--trials", trials, *more)[1])
        for trials, more in (("2", stored), ("4", stored), ("4", ()))
    ]
    assert traces[0]["trials"] == traces[1]["trials"][:2]
    assert traces[1] == traces[2]


def test_tune_tells_people_what_moved(project: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _, out, _ = run(capsys, "tune", project / "recipe.yaml", *TUNE, "--seed", "3", "--out", tmp_path / "f.yaml")
    lines = out.splitlines()
    assert [line.split()[0] for line in lines[:4]] == ["start", "alpha", "gain", "%"]
    assert lines[1].split()[1] == "0.5"
    assert "on 72 images; best of 4 trials" in lines[4]
    assert lines[4].endswith("seed 3")
    assert lines[5] == f"wrote f.yaml and f.json to {tmp_path}"


def test_encode_writes_the_merged_models_features(
    project: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    images = project / "ants_test.safetensors"
    out = tmp_path / "f.safetensors"
    assert run(capsys, "encode", project / "recipe.yaml", "--images", images, "--out", out)[0] == 0
    opened = esm_viz.Project.open(esm_viz.load_recipe(project / "recipe.yaml"), device="cpu")
    truth = opened.encode(opened.recipe, load_file(images)["images"])
    found = load_file(out)["features"]
    assert found.dtype == torch.float32
    assert torch.equal(found, truth)
    assert set(load_file(out)) == {"features"}


ROUTED = ("--set", "merge_method=esmpp", "--set", "expert_rank=4", "--set", "routed=in_proj+c_fc+c_proj")


def test_encode_writes_routes_beside_a_routed_models_features(
    project: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    images, out = project / "ants_test.safetensors", tmp_path / "f.safetensors"
    status, said, _ = run(capsys, "encode", project / "recipe.yaml", "--images", images, "--out", out, *ROUTED)
    assert (status, said) == (0, f"wrote features (24, 8), routes (6, 24) to {out}\n")
    opened = esm_viz.Project.open(esm_viz.load_recipe(project / "recipe.yaml"), device="cpu")
    own = esm_viz.with_method(opened.recipe, "esmpp")
    own = esm_viz.with_parameters(own, expert_rank=4, routed="in_proj+c_fc+c_proj")
    features, routes = opened.encode_routed(own, load_file(images)["images"])
    found = load_file(out)
    assert found["routes"].dtype == torch.int64
    assert torch.equal(found["features"], features)
    assert torch.equal(found["routes"], routes)


def test_evaluate_tells_the_routing_of_a_routed_model(
    project: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "e.json"
    status, said, _ = run(capsys, "evaluate", project / "recipe.yaml", "--out", out, *ROUTED)
    found = json.loads(out.read_text(encoding="utf-8"))
    opened = esm_viz.Project.open(esm_viz.load_recipe(project / "recipe.yaml"), device="cpu")
    own = esm_viz.with_method(opened.recipe, "esmpp")
    truth = opened.evaluate(esm_viz.with_parameters(own, expert_rank=4, routed="in_proj+c_fc+c_proj"))
    routing = truth.routing
    assert routing is not None
    assert status == 0
    assert list(found["routing"]) == list(tiny.TASKS)
    for task, row, told in zip(routing.tasks, routing.shares, routing.oracle, strict=True):
        assert list(found["routing"][task]) == [layer.name for layer in routing.layers]
        assert tuple(found["routing"][task].values()) == row
        assert found["tasks"][task]["oracle"]["accuracy"] == told.accuracy
    assert found["mean"]["oracle"]["accuracy"] == truth.mean("oracle")
    assert found["overhead"]["parameters"] == routing.parameters
    assert (found["overhead"]["of_base"], found["overhead"]["of_separate_models"]) == (
        routing.overhead,
        routing.of_separate,
    )
    assert f"routed to the own low-rank adapter, mean of 6 layers: {100 * routing.mean:.1f} (ants " in said
    assert f"with oracle routing {100 * truth.mean('oracle'):.1f}\n" in said
    assert f"% to the parameters; all are {100 * routing.of_separate:.1f} % of 3 separate models\n" in said


def test_merge_writes_the_adapters_of_a_routed_model(
    project: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(capsys, "merge", project / "recipe.yaml", "--out", tmp_path / "out", *ROUTED)[0] == 0
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        *("README.md", "experts.safetensors", "model.safetensors", "recipe.yaml")
    ]


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (("check", "none.yaml"), "error: the recipe cannot be opened, none.yaml, check its path"),
        (
            ("evaluate", "RECIPE", "--set", "alpha"),
            "error: --set alpha is not NAME=VALUE, command line, write --set alpha=0.5, say",
        ),
        (
            ("evaluate", "RECIPE", "--set", "alpha=nan"),
            "error: alpha is 'nan', give a number from 0 to 3 or the word search",
        ),
        (
            ("evaluate", "RECIPE", "--set", "merge_method=esmpp", "--set", "expert_rank=2.5"),
            "error: expert_rank is 2.5, give a whole number from 1 to 128",
        ),
        (
            ("evaluate", "RECIPE", "--set", "merge_method=esmm"),
            f"error: merge_method is 'esmm' (did you mean esm?), use one of {', '.join(esm_viz.METHODS)}",
        ),
        (
            ("evaluate", "RECIPE", "--set", "seed=-1"),
            "error: seed is '-1', command line, give a whole number from 0",
        ),
        (
            ("evaluate", "RECIPE", "--set", "dtype=int8"),
            "error: dtype is 'int8', command line, give one of float32, float16, bfloat16, float64",
        ),
        (("check", "RECIPE", "--device", "tpu"), ""),
        (
            ("evaluate", "RECIPE", "--device", "tpu"),
            "error: device is 'tpu', use auto, cpu or cuda",
        ),
        (
            ("sweep", "RECIPE", "--grid", "alpha"),
            "error: --grid alpha is not NAME=VALUE, command line, write --grid task_exponent=0,1,2, say",
        ),
        (
            ("sweep", "RECIPE", "--grid", "alpha="),
            "error: --grid alpha= is not NAME=VALUE, command line, write --grid task_exponent=0,1,2, say",
        ),
        (
            ("sweep", "RECIPE", "--grid", "alpha=1", "--grid", "alpha=2"),
            "error: --grid gives alpha twice, command line, give all of its values at once",
        ),
        (
            ("sweep", "RECIPE", "--grid", "alpha=1,,2"),
            "error: alpha is '', give a number from 0 to 3 or the word search",
        ),
        (
            ("sweep", "RECIPE", "--grid", "alfa=1"),
            f"error: esm has no parameter 'alfa' (did you mean alpha?), use {', '.join(esm_viz.METHODS['esm'].knobs)}",
        ),
        (
            ("sweep", "RECIPE", "--grid", "recipe=1"),
            f"error: esm has no parameter 'recipe', use {', '.join(esm_viz.METHODS['esm'].knobs)}",
        ),
        (
            ("sweep", "RECIPE", "--grid", "alpha=1", "--limit", "-1"),
            "error: the number of images is -1, give a whole number; 0 is all of them",
        ),
        (
            ("sweep", "RECIPE", "--grid", "alpha=1", "--out", "RECIPE"),
            "error: --out recipe.yaml is what the recipe is made of, command line, choose another name",
        ),
        (
            ("sweep", "RECIPE"),
            "error: the following arguments are required: --grid, command line, see `python -m esm_viz sweep --help`",
        ),
        (
            ("tune", "RECIPE", "--out", "RECIPE"),
            "error: --out recipe.yaml is what the recipe is made of, command line, choose another name",
        ),
        (
            ("tune", "RECIPE", "--out", "found.json"),
            "error: --out found.json is no .yaml, name the recipe to write; its trace is the .json beside it",
        ),
        (
            ("tune", "RECIPE", "--out", "/"),
            "error: --out / is no .yaml, name the recipe to write; its trace is the .json beside it",
        ),
        (
            ("tune", "RECIPE", "--out", "f.yaml", "--storage", "f.json"),
            "error: --storage is what --out writes, f.json, give it a file of its own",
        ),
        (
            ("tune", "RECIPE", "--out", "f.yaml", "--trials", "0"),
            "error: the number of trials is 0, give a whole number from 1 to 1000",
        ),
        (
            ("tune", "RECIPE", "--out", "f.yaml", "--knobs", ""),
            f"error: esm has no parameter '', use {', '.join(esm_viz.METHODS['esm'].knobs)}",
        ),
        (
            ("tune", "RECIPE", "--out", "f.yaml", "--seed", "-1"),
            "error: seed is -1, knob search, give a whole number from 0",
        ),
        (
            ("tune", "RECIPE", "--out", "f.yaml", "--storage", "RECIPE"),
            "error: this is no storage of a knob search, recipe.yaml, give another file",
        ),
        (
            ("merge", "RECIPE"),
            "error: the following arguments are required: --out, command line, see `python -m esm_viz merge --help`",
        ),
    ],
)
def test_wrong_input_is_one_line_and_status_two(
    project: Path, capsys: pytest.CaptureFixture[str], words: tuple[str, ...], line: str
) -> None:
    filled = [project / "recipe.yaml" if word == "RECIPE" else word for word in words]
    if not line:  # check touches no device
        assert run(capsys, *filled)[0] == 0
        return
    assert refused(capsys, *filled) == line


def test_what_is_refused_leaves_no_file_behind(
    project: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wrong = ("--set", "rank_ratio=0.01")
    for words in (
        ("merge", project / "recipe.yaml", "--out", tmp_path / "m"),
        ("explore", project / "recipe.yaml", "--out", tmp_path / "e"),
        ("evaluate", project / "recipe.yaml", "--out", tmp_path / "e.json"),
        ("sweep", project / "recipe.yaml", "--out", tmp_path / "s.json", "--grid", "alpha=1"),
        ("tune", project / "recipe.yaml", "--out", tmp_path / "t.yaml", "--storage", tmp_path / "s.json"),
    ):
        assert "rank_ratio 0.01 leaves r = 0" in refused(capsys, *words, *wrong)
    assert list(tmp_path.iterdir()) == []


def test_stopping_returns_130_and_leaves_nothing(
    project: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("esm_viz.export.verified_export.model_card", stop)
    status, out, err = run(capsys, "merge", project / "recipe.yaml", "--out", tmp_path / "m")
    assert (status, out, err.splitlines()[-1]) == (130, "", "stopped")
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def _interrupted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Interrupt the third evaluation."""
    evaluate, done = accuracy_measurement.evaluate, []

    def stop(*arguments: object, **more: object) -> object:
        if len(done) == 2:
            raise KeyboardInterrupt
        done.append(1)
        return evaluate(*arguments, **more)  # type: ignore[arg-type]

    for room in (accuracy_measurement, knob_sweep):
        monkeypatch.setattr(room, "evaluate", stop)


@pytest.mark.usefixtures("_interrupted")
@pytest.mark.parametrize(
    "words", [("sweep", "--grid", "alpha=0.1,0.2,0.3", "--out", "s.json"), ("tune", "--out", "t.yaml")]
)
def test_stopping_long_work_returns_130_and_leaves_nothing(
    project: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    words: tuple[str, ...],
) -> None:
    monkeypatch.chdir(tmp_path)
    status, out, err = run(capsys, words[0], project / "recipe.yaml", *words[1:])
    assert (status, out, err.splitlines()[-1]) == (130, "", "stopped")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("_interrupted")
def test_a_stopped_tune_keeps_its_trials_in_the_storage(
    project: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("tune", project / "recipe.yaml", *TUNE, "--out", tmp_path / "t.yaml", "--storage", tmp_path / "s.json")
    assert run(capsys, *words)[0] == 130
    assert [path.name for path in tmp_path.iterdir()] == ["s.json"]
    assert len(json.loads((tmp_path / "s.json").read_text(encoding="utf-8"))["trials"]) == 2


def test_results_are_not_written_over_what_the_recipe_is_made_of(
    project: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = (project / "bees.safetensors").read_bytes()
    words = (
        "sweep",
        project / "recipe.yaml",
        "--grid",
        "alpha=1",
        "--out",
        project / "sub" / ".." / "bees.safetensors",
    )
    text = "error: --out bees.safetensors is what the recipe is made of, command line, choose another name"
    assert refused(capsys, *words) == text
    assert (project / "bees.safetensors").read_bytes() == before


def test_a_place_that_cannot_be_written_is_told_before_the_work(
    project: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("sweep", project / "recipe.yaml", "--grid", "alpha=1", "--out")
    assert refused(capsys, *words, tmp_path) == f"error: {tmp_path.name} cannot be written there, choose another place"
    (tmp_path / "file").touch()
    text = "error: s.json cannot be written there, choose another place"
    assert refused(capsys, *words, tmp_path / "file" / "s.json") == text


def test_an_unexpected_failure_is_one_line_without_a_traceback(
    project: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("esm_viz.cli.commands.judge", lambda recipe, **_: 1 / 0)
    status, out, err = run(capsys, "check", project / "recipe.yaml")
    assert (status, out) == (1, "")
    assert err == "error: ZeroDivisionError that should not happen, please report it\n"


@pytest.mark.parametrize("words", [("--help",), ("merge", "--help")])
def test_help_is_printed_and_the_process_lives(capsys: pytest.CaptureFixture[str], words: tuple[str, ...]) -> None:
    status, out, _ = run(capsys, *words)
    assert status == 0
    assert out.startswith("usage: python -m esm_viz")


def test_help_names_the_installed_command_where_that_was_called(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["bin/esm-viz", "merge", "--help"])
    assert run(capsys, "merge", "--help")[1].startswith("usage: esm-viz merge")


def test_without_a_command_the_studio_opens_on_the_demo(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    calls: list[tuple[tuple[Any, ...], dict[str, Any]]] = []
    monkeypatch.setattr("esm_viz.ui.serve", lambda *given, **settings: calls.append((given, settings)))
    assert run(capsys)[0] == 0
    ((given, settings),) = calls
    assert (given, settings["host"], settings["port"]) == ((None,), "127.0.0.1", 7860)


def test_progress_tells_fraction_words_and_the_time_left(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    clock = iter([100.0, 101.0, 105.0, 105.1])
    monkeypatch.setattr(commands.time, "monotonic", lambda: next(clock))
    report = commands.printed_progress()
    report(0.01, "reading")
    report(0.25, "merging")
    report(0.26, "too soon after the last line")
    lines = [line.split("  ") for line in capsys.readouterr().err.splitlines()]
    assert [[part.strip() for part in line if part.strip()] for line in lines] == [
        ["1 %", "reading"],
        ["25 %", "merging", "15 s left"],
    ]


@pytest.mark.parametrize(
    ("flags", "line"),
    [
        (
            ("--workshop", "--allow-folder", "."),
            (
                "--workshop and --allow-folder exclude each other, command line, leave one of them out: a room of "
                "strangers is shown no paths of this server"
            ),
        ),
        (
            ("--workshop", "--allow-hub"),
            (
                "--workshop and --allow-hub exclude each other, command line, leave one of them out: a room of "
                "strangers cannot make this server download"
            ),
        ),
        (("--uploads", "much"), "--uploads is 'much', command line, give a size as 50MB or 2GB, or off"),
        (("--uploads", "0MB"), "--uploads is '0MB', command line, give a size as 50MB or 2GB, or off"),
        (("--port", "70000"), "--port is 70000, command line, give one from 1 to 65535"),
        (("--address", "x"), "--address is 'x', command line, give it as https://studio.example.org"),
        (
            ("--address", "http://a/b"),
            "--address is 'http://a/b', command line, give it as https://studio.example.org",
        ),
        (
            ("--auth", "hall"),
            "--auth has no NAME:PASSWORD, command line, give it as --auth NAME:PASSWORD or in ESM_VIZ_AUTH",
        ),
        (("--auth",), "--auth has no NAME:PASSWORD, command line, give it as --auth NAME:PASSWORD or in ESM_VIZ_AUTH"),
        (
            ("--auth-file", "nothing"),
            "--auth-file cannot be read, nothing, write NAME:PASSWORD to it, or set ESM_VIZ_AUTH",
        ),
    ],
)
def test_a_flag_of_the_app_that_cannot_be_meant_is_refused_before_anything_is_read(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, flags: tuple[str, ...], line: str
) -> None:
    monkeypatch.delenv("ESM_VIZ_AUTH", raising=False)
    assert refused(capsys, "app", "no-such-recipe.yaml", *flags) == f"error: {line}"


def test_a_workshop_listens_on_the_network_and_passwords_come_from_where_nobody_sees_them(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    asked: dict[str, Any] = {}
    monkeypatch.setattr("esm_viz.ui.serve", lambda recipe, **how: asked.update(how))
    monkeypatch.setenv("ESM_VIZ_AUTH", "hall:se:cret")
    (tmp_path / "people").write_text("ada: one\n\nbob:two\n", encoding="utf-8")
    assert main(["app", "--workshop", "--uploads", "1.5 MB", "--auth", "--auth-file", str(tmp_path / "people")]) == 0
    assert (asked["host"], asked["limits"].uploads, asked["folder"]) == ("0.0.0.0", 1_500_000, None)
    assert asked["hub"] is False
    assert asked["auth"] == [("ada", "one"), ("bob", "two"), ("hall", "se:cret")]
    assert main(["app", "--uploads", "off", "--allow-folder", str(tmp_path), "--address", "HTTPS://S.example/"]) == 0
    assert (asked["host"], asked["limits"].uploads, asked["folder"]) == ("127.0.0.1", 0, tmp_path)
    assert (asked["auth"], asked["address"], asked["state"]) == ([], "https://s.example", None)
    assert asked["hub"] is None  # those of this machine alone
    assert main(["app", "--allow-hub", "--state", str(tmp_path / "state")]) == 0
    assert asked["hub"] is True
    assert asked["state"] == tmp_path / "state"


# Finding what a folder holds.


def test_find_writes_a_recipe_that_check_reads_once_the_activation_is_said(
    project: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    own, out = tmp_path / "own", tmp_path / "found.yaml"
    own.mkdir()
    for name in ("base", *tiny.TASKS):
        shutil.copy(project / f"{name}.safetensors", own)
    for task in tiny.TASKS:
        shutil.copy(project / f"{task}_proxies.safetensors", own / f"{task}.proxies.safetensors")
    (own / "notes.txt").write_text("x", encoding="utf-8")
    config = {key: value for key, value in tiny.CONFIG.items() if key != "quick_gelu"}
    (own / "arch.json").write_text(json.dumps(config), encoding="utf-8")
    line = refused(capsys, "find", own, "--out", out)
    what = "error: the weights do not say which activation they were trained with"
    assert line == f"{what}, own, give --activation quickgelu or gelu"
    assert not out.exists()
    status, text, _ = run(capsys, "find", own, "--out", out, "--activation", "quickgelu")
    assert status == 0
    assert "ants            own/ants.safetensors, proxies own/ants.proxies.safetensors" in text
    assert text.rstrip().endswith("Not used: notes.txt.")
    assert run(capsys, "check", out)[0] == 0
    assert refused(capsys, "find", own, "--out", out).startswith("error: --out found.yaml is no new .yaml")
    assert refused(capsys, "find", out, "--out", out).startswith("error: found.yaml is no folder")


def test_find_separates_long_names_from_what_follows(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    long = "a_task_with_quite_a_long_name"
    for name in ("base", long, "bees"):
        save_file(tiny.base_weights(), tmp_path / f"{name}.safetensors")
    (tmp_path / "arch.json").write_text(json.dumps(tiny.CONFIG), encoding="utf-8")
    _, out, _ = run(capsys, "find", tmp_path, "--out", tmp_path / "found.yaml")
    lines = out.splitlines()
    assert lines[1:3] == [f"{long}  {long}.safetensors", f"{'bees':<{len(long)}}  bees.safetensors"]


def test_a_home_folder_after_an_equals_sign_is_found(
    project: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A shell leaves `--out=~/x` as it is."""
    monkeypatch.setenv("HOME", str(tmp_path))
    shutil.copytree(project, tmp_path / "own")
    assert run(capsys, "evaluate", "~/own/recipe.yaml", "--out=~/found.json")[0] == 0
    assert run(capsys, "merge", "~/own/recipe.yaml", "--out=~/merged", "--spill=~/spill")[0] == 0
    assert {"found.json", "merged", "spill"} <= {path.name for path in tmp_path.iterdir()}
    assert not Path("~").exists()


def test_every_path_of_every_command_may_begin_with_the_home_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "there")
    (commands,) = (action for action in argument_parser()._actions if isinstance(action.choices, dict))
    for command in commands.choices.values():
        kinds = [action.type for action in command._actions if action.type not in (None, int, float)]
        assert all(kind("~/x") == Path("there/x") for kind in kinds)


def test_alpha_that_was_searched_on_the_test_images_is_told(
    project: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    own = Path(shutil.copytree(project, tmp_path / "own"))
    shutil.copy(own / "cats_test.safetensors", own / "cats_validation.safetensors")
    said = "cats: validation and test images are the same, so a search for α chooses it on the images that"
    path = own / "recipe.yaml"
    assert said not in run(capsys, "evaluate", path)[1]
    assert f"note: {said}" in run(capsys, "evaluate", path, "--set", "alpha=search")[1]
    found = json.loads(run(capsys, "evaluate", path, "--set", "alpha=search", "--json")[1])
    assert [remark[: len(said)] for remark in found["remarks"]] == [said]
    assert said not in run(capsys, "evaluate", path, "--set", "alpha=search", "--split", "validation")[1]
    run(capsys, "merge", path, "--out", tmp_path / "out", "--report")
    assert said in unescape((tmp_path / "out" / "report.html").read_text("utf-8"))


def test_a_task_named_mean_is_told_from_the_mean(
    project: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    own = Path(shutil.copytree(project, tmp_path / "own"))
    raw = tiny.mapping(alpha=0.5)
    raw["models"][0]["name"] = "mean"
    (own / "recipe.yaml").write_text(yaml.safe_dump(raw), encoding="utf-8")
    lines = run(capsys, "evaluate", own / "recipe.yaml")[1].splitlines()
    assert [line[:16].strip() for line in lines if line.startswith("mean")] == ["mean", "mean of tasks"]
    found = json.loads(run(capsys, "evaluate", own / "recipe.yaml", "--json")[1])
    assert set(found["tasks"]) == {"mean", "bees", "cats"}
    assert found["mean"]["merged"]["n"] == 3 * found["tasks"]["mean"]["merged"]["n"]
