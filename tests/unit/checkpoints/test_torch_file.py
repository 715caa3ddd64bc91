"""Files of torch.save: tensors come out as they are, also of pickled classes, and nothing of a stranger's ever runs."""

from __future__ import annotations

import io
import pickle
import sys
import time
import tracemalloc
import types
import zipfile
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from esm_viz.checkpoints import torch_file
from esm_viz.checkpoints.checkpoint import Checkpoint
from esm_viz.checkpoints.restricted_unpickler import StandIn, harmful, load_inert
from esm_viz.checkpoints.tensor_storage import StoredTensor
from esm_viz.checkpoints.weight_files import Source
from esm_viz.core.errors import CheckpointError, NotFinite
from tests.hostile.pickles import in_old_format, in_zip, number, proto, word
from tests.support.errors import says
from tests.support.tiny import CONFIG, base_weights, normal, open_clip_tower

WEIGHTS = base_weights()
SHAPES = {name: tuple(tensor.shape) for name, tensor in WEIGHTS.items()}
UNSAFE = "not a file of tensors that can be read safely, a.pt, load it where it was made and save model.state_dict()"


def saved(folder: Path, value: object, **how: object) -> Path:
    torch.save(value, folder / "a.pt", **how)
    return folder / "a.pt"


def read(path: Path) -> dict[str, Tensor]:
    source = Source("ants", path)
    return dict(source.read(source.tensors))


@pytest.mark.parametrize("ending", ["pt", "pth", "bin", "ckpt"])
@pytest.mark.parametrize("zipped", [True, False])
def test_what_torch_saved_is_read_as_it_was(tmp_path: Path, ending: str, zipped: bool) -> None:
    path = saved(tmp_path, WEIGHTS, _use_new_zipfile_serialization=zipped).rename(tmp_path / f"a.{ending}")
    checkpoint = Checkpoint("ants", path)
    checkpoint.judge(SHAPES)
    found = checkpoint.tensors(SHAPES)
    assert all(torch.equal(found[name], tensor) for name, tensor in WEIGHTS.items())


@pytest.mark.parametrize("zipped", [True, False])
def test_a_pickle_is_not_read_under_the_name_of_a_kind_that_has_none(tmp_path: Path, zipped: bool) -> None:
    path = saved(tmp_path, WEIGHTS, _use_new_zipfile_serialization=zipped).rename(tmp_path / "a.safetensors")
    with says(CheckpointError, "ants: a file of torch.save, not of safetensors, a.safetensors, rename it to .pt"):
        Checkpoint("ants", path)


@pytest.mark.parametrize("ending", ["pt", "pth", "bin", "ckpt", "SAFETENSORS"])
def test_safetensors_are_read_whatever_their_name(tmp_path: Path, ending: str) -> None:
    save_file(WEIGHTS, tmp_path / f"a.{ending}")
    found = read(tmp_path / f"a.{ending}")
    assert all(torch.equal(found[name], tensor) for name, tensor in WEIGHTS.items())


@pytest.mark.parametrize("ending", ["PT", "Pth", "BIN", "Ckpt"])
def test_capital_suffixes_are_known(tmp_path: Path, ending: str) -> None:
    assert read(saved(tmp_path, WEIGHTS).rename(tmp_path / f"a.{ending}")).keys() == WEIGHTS.keys()


INSTEAD = {
    "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 4930000\n": (
        "a Git LFS pointer instead of the file it stands for"
    ),
    "\n<!DOCTYPE html><html><head>": "a web page",
    "\ufeff<HTML>": "a web page",
    '<?xml version="1.0"?><Error>': "an XML page",
}


@pytest.mark.parametrize("ending", ["pt", "bin", "safetensors"])
@pytest.mark.parametrize("text", INSTEAD)
def test_a_file_saved_in_place_of_a_download_is_told(tmp_path: Path, text: str, ending: str) -> None:
    path = tmp_path / f"a.{ending}"
    path.write_text(text, encoding="utf-8")
    with says(CheckpointError, f"ants: {INSTEAD[text]}, no weights, {path.name}, download the file itself"):
        Checkpoint("ants", path)


# Tensors that lie in other ways than side by side.

BASE = normal(6, 8, seed=1, dtype=torch.float32)
LYING: dict[str, Callable[[], Tensor]] = {
    "transposed": lambda: BASE.mT,
    "every second": lambda: BASE[::2, 1::3],
    "the end of another": lambda: BASE[4:],
    "permuted": lambda: BASE.view(2, 3, 8).permute(2, 0, 1),
    "empty": lambda: BASE[:0],
    "one number": lambda: torch.tensor(2.5),
    "a parameter": lambda: nn.Parameter(BASE),
    "half": BASE.half,
    "bfloat16": lambda: BASE.bfloat16().mT,
    "whole numbers": lambda: torch.arange(5),
    "truths": lambda: BASE > 0,
}


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("case", LYING)
def test_a_tensor_comes_out_equal_and_side_by_side(tmp_path: Path, case: str, zipped: bool) -> None:
    tensor = LYING[case]()
    found = read(saved(tmp_path, {"a": tensor}, _use_new_zipfile_serialization=zipped))["a"]
    assert (found.dtype, found.shape) == (tensor.dtype, tensor.shape)
    assert found.is_contiguous()
    assert torch.equal(found, tensor)


def test_tensors_that_share_their_numbers_are_read_each_for_itself(tmp_path: Path) -> None:
    found = read(saved(tmp_path, {"a": BASE, "b": BASE[2:4], "c": BASE.mT, "d": BASE}))
    assert [torch.equal(found[n], t) for n, t in (("a", BASE), ("b", BASE[2:4]), ("c", BASE.mT), ("d", BASE))] == 4 * [
        True
    ]
    found["a"].zero_()
    assert torch.equal(found["d"], BASE)


ODD: dict[str, tuple[Callable[[], Tensor], str]] = {
    "sparse": (BASE.to_sparse, "sparse"),
    "quantised": (lambda: torch.quantize_per_tensor(BASE, 0.1, 0, torch.qint8), "quantised"),
    "expanded": (lambda: BASE[:1].expand(10**6, 8), "one number repeated"),
    "imaginary": (lambda: torch.complex(BASE, BASE).conj(), "a lazy view"),
}


@pytest.mark.filterwarnings("ignore:.*quantize_per_tensor:DeprecationWarning")
@pytest.mark.filterwarnings("ignore:.*quantiz:UserWarning")
@pytest.mark.parametrize("case", ODD)
def test_what_is_not_numbers_side_by_side_is_named_where_it_is_needed(tmp_path: Path, case: str) -> None:
    made, word_ = ODD[case]
    state = {**WEIGHTS, "proj": made()}
    checkpoint = Checkpoint("ants", saved(tmp_path, state))
    with says(CheckpointError, f"ants: proj is {word_}, a.pt, save it as float16, 32 or 64"):
        checkpoint.judge({**SHAPES, "proj": tuple(state["proj"].shape)})
    beside = Checkpoint("ants", saved(tmp_path, {**{f"visual.{n}": t for n, t in WEIGHTS.items()}, "x": made()}))
    beside.judge(SHAPES)  # outside the tower it is nobody's business
    assert torch.equal(beside.tensors(["proj"])["proj"], WEIGHTS["proj"])
    with says(CheckpointError, f"ants: x is {word_}, a.pt, leave it out of the file"):
        next(beside.everything())


# Pickled classes that only their repository has.

SOURCE = """
import torch
from torch import nn

class ImageEncoder(nn.Module):
    def __init__(self, visual, preprocess):
        super().__init__()
        self.model = nn.Module()
        self.model.visual = visual
        self.model.register_parameter("logit_scale", nn.Parameter(torch.ones(())))
        self.train_preprocess, self.val_preprocess = preprocess, preprocess
        self.cache_dir = "/somewhere"

class ClassificationHead(nn.Linear):
    def __init__(self, normalize, weights):
        super().__init__(weights.shape[1], weights.shape[0])
        self.normalize = normalize
        self.weight = nn.Parameter(weights.clone())
        self.bias = nn.Parameter(torch.zeros(len(weights)))
"""


def to_rgb(image: object) -> object:
    """Stand among the transforms as a function of a module that nobody has."""
    return image


@pytest.fixture
def modeling() -> Iterator[types.ModuleType]:
    module = types.ModuleType("their_modeling")
    exec(SOURCE, module.__dict__)
    module.to_rgb = types.FunctionType(to_rgb.__code__, module.__dict__, "to_rgb")
    module.to_rgb.__module__ = "their_modeling"
    sys.modules["their_modeling"] = module
    yield module
    sys.modules.pop("their_modeling", None)


def encoder(modeling: types.ModuleType) -> nn.Module:
    from torchvision import transforms
    from torchvision.transforms import InterpolationMode

    tower = open_clip_tower(CONFIG)
    tower.load_state_dict(WEIGHTS)
    preprocess = transforms.Compose(
        [
            transforms.Resize(16, interpolation=InterpolationMode.BICUBIC),
            transforms.CenterCrop(16),
            modeling.to_rgb,
            transforms.ToTensor(),
            transforms.Normalize((0.5, 0.5, 0.5), (0.3, 0.3, 0.3)),
        ]
    )
    return modeling.ImageEncoder(tower, preprocess)


def test_a_pickled_image_encoder_is_read_without_its_classes(tmp_path: Path, modeling: types.ModuleType) -> None:
    path = saved(tmp_path, encoder(modeling))
    del sys.modules["their_modeling"]
    before = set(sys.modules)
    checkpoint = Checkpoint("ants", path)
    assert (checkpoint.layout.name, checkpoint.layout.prefix) == ("image_encoder", "model.visual.")
    checkpoint.judge(SHAPES)
    checkpoint.verify(SHAPES)
    found = checkpoint.tensors(SHAPES)
    assert all(torch.equal(found[name], tensor) for name, tensor in WEIGHTS.items())
    assert "model.logit_scale" in checkpoint.names
    assert checkpoint.metadata["cache_dir"] == '"/somewhere"'
    assert "their_modeling" not in sys.modules
    assert set(sys.modules) == before


def test_a_module_that_could_be_imported_is_not(tmp_path: Path, modeling: types.ModuleType) -> None:
    path = saved(tmp_path, encoder(modeling))
    canary = tmp_path / "canary"
    (tmp_path / "their_modeling.py").write_text(f"open({str(canary)!r}, 'w')", encoding="utf-8")
    del sys.modules["their_modeling"]
    sys.path.insert(0, str(tmp_path))
    try:
        Checkpoint("ants", path).tensors(SHAPES)
    finally:
        sys.path.remove(str(tmp_path))
    assert not canary.exists()


def test_a_module_in_a_dict_is_found(tmp_path: Path, modeling: types.ModuleType) -> None:
    path = saved(tmp_path, {"model": encoder(modeling), "epoch": 3})
    del sys.modules["their_modeling"]
    assert torch.equal(Checkpoint("ants", path).tensors(["proj"])["proj"], WEIGHTS["proj"])


@pytest.mark.filterwarnings("ignore::UserWarning")  # torch's, of a source that it cannot find
def test_a_pickled_class_of_before_2020_is_refused(tmp_path: Path, modeling: types.ModuleType) -> None:
    path = saved(tmp_path, encoder(modeling), _use_new_zipfile_serialization=False)
    with says(CheckpointError, f"ants: {UNSAFE}"):
        Checkpoint("ants", path)


# Pickles that want to do something.

CALLS = ("os.system", "posix.system", "subprocess.Popen", "builtins.eval", "builtins.exec")
CALLS += ("__builtin__.eval", "importlib.import_module", "shutil.rmtree", "runpy.run_path", "pickle.loads")


def asking(name: str, how: str, canary: Path) -> bytes:
    """Return a pickle that would touch the canary by one of pickle's ways to call."""
    module, _, function = name.rpartition(".")
    of = f"c{module}\n{function}\n".encode()
    said = word(f"touch {canary}")
    return {
        "REDUCE": proto(2) + of + said + b"\x85R.",
        "REDUCE in a dict": proto(2) + b"}" + word("a") + of + said + b"\x85Rs.",
        "NEWOBJ": proto(2) + of + said + b"\x85\x81.",
        "NEWOBJ_EX": proto(4) + of + said + b"\x85}\x92.",
        "BUILD": proto(2) + of + b"}" + word("__setstate__") + said + b"sb.",
        "OBJ": proto(2) + b"(" + of + said + b"o.",
        "INST": b"(" + b"S'touch " + str(canary).encode() + b"'\n" + f"i{module}\n{function}\n".encode() + b".",
        "STACK_GLOBAL": proto(4) + word(module) + word(function) + b"\x93" + said + b"\x85R.",
        "nothing": proto(2) + of + b".",
    }[how]


HOW = ("REDUCE", "REDUCE in a dict", "NEWOBJ", "NEWOBJ_EX", "BUILD", "OBJ", "INST", "STACK_GLOBAL", "nothing")
WRAP = {"zip": in_zip, "old": in_old_format, "bare": bytes}


@pytest.mark.parametrize("wrap", WRAP)
@pytest.mark.parametrize("how", HOW)
def test_a_pickle_that_calls_is_refused_in_one_sentence_and_nothing_is_called(
    tmp_path: Path, how: str, wrap: str
) -> None:
    for name in CALLS:
        (tmp_path / "a.pt").write_bytes(WRAP[wrap](asking(name, how, tmp_path / "canary")))
        with pytest.raises(CheckpointError) as refused:
            Checkpoint("ants", tmp_path / "a.pt")
        harm = f"refused, it asks to run {name.replace('__builtin__', 'builtins')}, a.pt, get the weights from "
        harm += "somebody you trust"
        assert str(refused.value) in (f"ants: {harm}", f"ants: {UNSAFE}"), name
        if wrap == "zip" and how in ("REDUCE", "REDUCE in a dict", "NEWOBJ", "BUILD", "nothing"):
            assert str(refused.value) == f"ants: {harm}"
    assert not (tmp_path / "canary").exists()


@pytest.mark.parametrize("version", range(6))
@pytest.mark.parametrize("wrap", WRAP)
def test_what_pickle_itself_writes_of_a_payload_is_refused(tmp_path: Path, version: int, wrap: str) -> None:
    canary = tmp_path / "canary"

    class Payload:
        def __reduce__(self) -> tuple[object, ...]:
            return exec, (f"open({str(canary)!r}, 'w')",)

    (tmp_path / "a.pt").write_bytes(WRAP[wrap](pickle.dumps({"a": Payload()}, version)))
    with pytest.raises(CheckpointError, match=r"refused, it asks to run builtins\.exec|can be read safely"):
        Checkpoint("ants", tmp_path / "a.pt")
    assert not canary.exists()


def test_words_that_look_harmless_are_and_others_are_not() -> None:
    assert harmful("os.path.join")
    assert harmful("builtins.compile")
    assert not harmful("builtins.set")
    assert not harmful("open_clip.transformer.LayerNorm")
    assert not harmful("osprey.models.Bird")  # begins like os, is not


# Containers beside the weights.


class Settings(dict):  # as of many libraries of settings
    """A dict with attributes."""


class Steps(list):
    """A list of a class of its own."""


def test_containers_of_other_classes_beside_the_weights_are_read(tmp_path: Path) -> None:
    settings = Settings(rate=0.1, inner=Settings(steps=Steps([1, 2])))
    settings.frozen = True
    held = {
        "state_dict": Settings(WEIGHTS),
        "settings": settings,
        "losses": defaultdict(list, {"train": [0.5], "test": deque([0.25], maxlen=3)}),
        "counts": Counter("abca"),
        "empty": [defaultdict(dict), deque(), Settings(), Steps()],
    }
    found = read(saved(tmp_path, held))
    assert found.keys() == WEIGHTS.keys()
    assert all(torch.equal(found[name], tensor) for name, tensor in WEIGHTS.items())


def test_a_dict_whose_methods_a_pickle_replaces_is_read_by_the_real_ones(tmp_path: Path) -> None:
    made = b"ccollections\nOrderedDict\n)R}" + word("items") + THING + b"s" + word("get") + b"Nsb"
    (tmp_path / "a.pt").write_bytes(in_zip(proto(2) + made + b"."))
    assert Source("ants", tmp_path / "a.pt").tensors == {}


# What a hostile pickle may do with a stand-in: nothing.

THING = b"cthing\nThing\n"
TOYS = {
    "called with anything": THING + b"(" + number(1) + word("x") + b"}tR",
    "made twice": THING + b")R" + THING + b")\x81" + b"\x86",
    "built with a list": THING + b")\x81]b",
    "built with a number": THING + b")\x81" + number(7) + b"b",
    "built with an empty tuple": THING + b")\x81)b",
    "built of attributes": THING + b")\x81}" + word("__class__") + THING + b"s" + word("state") + b"Nsb",
    "slots": THING + b")\x81N}" + word("__dict__") + b"}s\x86b",
    "holding itself": THING + b")\x81q\x01}" + word("a") + b"h\x01sb",
    "the class in its own place": THING,
    "as a key": b"}" + THING + b")\x81Ns",
    "an item set on it": THING + b")\x81" + word("a") + b"Ns",
    "an item added to it": THING + b")\x81Na",
    "items set on what a call made": THING + b")R(" + word("a") + b"N" + word("b") + b"Nu",
    "items added to what a call made": THING + b")R(NNe",
    "modules that are none": THING + b")\x81}" + word("_modules") + b"]sb",
}
REFUSED_TOYS = {
    "items of both kinds": THING + b")\x81" + word("a") + b"NsNa",
    "an item set on its class": THING + word("a") + b"Ns",
    "its class built": THING + b"}" + word("harm") + b"Nsb",
    "an instance called": THING + b")\x81)R",
    "its new called": THING + b")\x81)\x81",
}


# Members of an enumeration, as Python up to 3.11.3 pickles them, whatever Python reads them.

GETATTR = b"c__builtin__\ngetattr\n"
MEMBER = GETATTR + b"ctorchvision.transforms.functional\nInterpolationMode\n" + word("BICUBIC") + b"\x86R"


class PickledAsBefore:
    """What pickles itself as an enumeration's member was pickled: getattr(Class, name)."""

    def __reduce__(self) -> tuple[object, ...]:
        from torchvision.transforms import InterpolationMode

        return getattr, (InterpolationMode, "BICUBIC")


def test_a_member_is_pickled_here_as_python_3_11_2_does_it() -> None:
    """The bytes that `pickle.dumps(InterpolationMode.BICUBIC, 2)` gave with that Python."""
    truth = (
        b"\x80\x02c__builtin__\ngetattr\nq\x00ctorchvision.transforms.functional\nInterpolationMode\nq\x01"
        b"X\x07\x00\x00\x00BICUBICq\x02\x86q\x03Rq\x04."
    )
    assert pickle.dumps(PickledAsBefore(), 2) == truth


def test_a_member_of_an_enumeration_pickled_by_an_older_python_is_read(
    tmp_path: Path, modeling: types.ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = encoder(modeling)
    whole.train_preprocess.transforms[0].interpolation = PickledAsBefore()
    path = saved(tmp_path, whole)
    assert b"getattr" in path.read_bytes()
    del sys.modules["their_modeling"]
    checkpoint = Checkpoint("ants", path)
    checkpoint.judge(SHAPES)
    assert torch.equal(checkpoint.tensors(["proj"])["proj"], WEIGHTS["proj"])


ANSWERED = {
    "a member": MEMBER,
    "a class inside a class, its object made": GETATTR + THING + word("Inner") + b"\x86R)\x81",
    "a member of a class inside a class": GETATTR + GETATTR + THING + word("Inner") + b"\x86R" + word("ONE") + b"\x86R",
    "a method of an object": GETATTR + THING + b")\x81" + word("run") + b"\x86R",
    "a class of items": THING + b"q\x05)\x81Na" + GETATTR + b"h\x05" + word("x") + b"\x86R\x86",
    "the function alone": GETATTR,
}
NOT_ANSWERED = {
    "of torch": GETATTR + b"ctorch\nFloatStorage\n" + word("__init__") + b"\x86R",
    "of a text": GETATTR + word("{0.__class__}") + word("format") + b"\x86R",
    "of itself": GETATTR + GETATTR + word("__globals__") + b"\x86R",
    "of a dict": GETATTR + b"}" + word("update") + b"\x86R",
    "of a dict's stand-in's dict": GETATTR + THING + b")\x81" + word("a") + b"Ns" + word("update") + b"\x86R",
    "of a tensor's maker": GETATTR + b"ctorch._utils\n_rebuild_tensor_v2\n" + word("__globals__") + b"\x86R",
    "by a number": GETATTR + THING + number(1) + b"\x86R",
    "with a default": GETATTR + THING + word("a") + b"N\x87R",
    "with nothing": GETATTR + b")R",
    "made, not called": GETATTR + THING + word("a") + b"\x86\x81",
    "built": GETATTR + b"}b",
}


@pytest.mark.parametrize("case", ANSWERED)
def test_getattr_answers_a_stand_in_with_a_stand_in(tmp_path: Path, case: str) -> None:
    before = dict(vars(StandIn))
    (tmp_path / "a.pt").write_bytes(in_zip(proto(2) + ANSWERED[case] + b"."))
    assert Source("ants", tmp_path / "a.pt").tensors == {}
    assert dict(vars(StandIn)) == before


@pytest.mark.parametrize("case", NOT_ANSWERED)
def test_getattr_answers_nothing_else(tmp_path: Path, case: str) -> None:
    (tmp_path / "a.pt").write_bytes(in_zip(proto(2) + NOT_ANSWERED[case] + b"."))
    with says(CheckpointError, f"ants: {UNSAFE}"):
        Source("ants", tmp_path / "a.pt")


@pytest.mark.parametrize("case", TOYS)
def test_a_stand_in_keeps_what_it_is_given_and_does_nothing(tmp_path: Path, case: str) -> None:
    before = dict(vars(StandIn))
    (tmp_path / "a.pt").write_bytes(in_zip(proto(2) + TOYS[case] + b"."))
    source = Source("ants", tmp_path / "a.pt")
    assert source.tensors == {}
    assert dict(vars(StandIn)) == before
    with pytest.raises(CheckpointError, match=r"no vision tower of CLIP or timm is in it|tensors missing"):
        Checkpoint("ants", tmp_path / "a.pt").judge(SHAPES)


@pytest.mark.parametrize("case", REFUSED_TOYS)
def test_more_than_that_is_refused(tmp_path: Path, case: str) -> None:
    before = dict(vars(StandIn))
    (tmp_path / "a.pt").write_bytes(in_zip(proto(2) + REFUSED_TOYS[case] + b"."))
    with says(CheckpointError, f"ants: {UNSAFE}"):
        Checkpoint("ants", tmp_path / "a.pt")
    assert dict(vars(StandIn)) == before


def test_torch_knows_no_stand_in_afterwards(tmp_path: Path) -> None:
    (tmp_path / "a.pt").write_bytes(in_zip(proto(2) + THING + b")\x81."))
    Source("ants", tmp_path / "a.pt")
    with pytest.raises(pickle.UnpicklingError):
        torch.load(tmp_path / "a.pt", weights_only=True)
    assert isinstance(load_inert(tmp_path / "a.pt", {"thing.Thing": object}, "cpu", mmap=False), StandIn)


# Files that are no files of weights.


def test_a_torchscript_archive_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.pt", "w") as archive:
        for name in ("data.pkl", "constants.pkl", "code/__torch__.py"):
            archive.writestr(f"a/{name}", b"N.")
    text = "ants: this is a TorchScript archive, which is a program, a.pt, load it and save model.state_dict()"
    with says(CheckpointError, text):
        Checkpoint("ants", tmp_path / "a.pt")


def test_a_zip_with_two_lists_of_names_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.pt", "w") as archive:
        for name in ("a/data.pkl", "a/DATA.PKL"):
            archive.writestr(name, b"N.")
    with says(CheckpointError, "ants: a zip that torch.save did not write, a.pt, give a file of weights"):
        Checkpoint("ants", tmp_path / "a.pt")


def test_a_compressed_zip_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.pt").write_bytes(in_zip(proto(2) + b"}.", compression=zipfile.ZIP_DEFLATED))
    with says(CheckpointError, "ants: its tensors are compressed, a.pt, save it again by torch.save"):
        Checkpoint("ants", tmp_path / "a.pt")


@pytest.mark.parametrize("zipped", [True, False])
def test_a_file_that_is_cut_anywhere_is_refused(tmp_path: Path, zipped: bool) -> None:
    whole = saved(tmp_path, WEIGHTS, _use_new_zipfile_serialization=zipped).read_bytes()
    for part in (0.001, 0.1, 0.5, 0.9, 0.999):
        (tmp_path / "a.pt").write_bytes(whole[: int(part * len(whole))])
        with pytest.raises(CheckpointError) as refused:
            Checkpoint("ants", tmp_path / "a.pt").verify(SHAPES)
        text = "ants: not a whole file of torch.save, a.pt, download or save it again"
        assert str(refused.value) in (text, f"ants: {UNSAFE}")


def test_a_large_file_takes_the_memory_of_what_is_asked_for(tmp_path: Path) -> None:
    """One gigabyte that lies on no disk, of which one small tensor is read."""
    rows = 1 << 28
    buffer = io.BytesIO()
    torch.save({"small": BASE}, buffer)
    path = tmp_path / "a.pt"
    with zipfile.ZipFile(path, "w") as archive:
        storage = b"ctorch\nFloatStorage\n"

        def tensor(key: str, count: int) -> bytes:
            persistent = b"(" + word("storage") + storage + word(key) + word("cpu") + number(count) + b"tQ"
            shape = number(count) + b"\x85" + number(1) + b"\x85\x89"
            hooks = b"ccollections\nOrderedDict\n)R"
            return b"ctorch._utils\n_rebuild_tensor_v2\n(" + persistent + number(0) + shape + hooks + b"tR"

        both = word("small") + tensor("0", 16) + b"s" + word("large") + tensor("1", rows) + b"s"
        archive.writestr("a/data.pkl", proto(2) + b"}" + both + b".")
        archive.writestr("a/byteorder", "little")
        archive.writestr("a/version", "3\n")
        archive.writestr("a/data/0", bytes(64))
        hole = zipfile.ZipInfo("a/data/1")
        hole.file_size = hole.compress_size = 4 * rows
        hole.CRC = 0
        hole.header_offset = archive.fp.tell()
        archive.fp.write(hole.FileHeader(zip64=False))
        archive.fp.seek(4 * rows, 1)
        archive.start_dir = archive.fp.tell()
        archive.filelist.append(hole)
        archive.NameToInfo[hole.filename] = hole
        archive._didModify = True
    assert path.stat().st_size > 1 << 30
    tracemalloc.start()
    source = Source("ants", path)
    held = dict(source.read(["small"]))
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert torch.equal(held["small"], torch.zeros(16))
    assert source.tensors["large"].shape == (rows,)
    assert most < 4 << 20


BOMBS = {
    "a memory of zeros": b"cbuiltins\nbytearray\n" + number(1 << 30) + b"\x85R",
    "a list of a list of a list": b"]" + b"".join(b"q\x01](" + 20 * b"h\x01" + b"e" for _ in range(200)),
    "more classes than any model has": b"".join(b"ca\nb" + str(at).encode() + b"\n0" for at in range(1000)) + b"N",
    "more calls than any model needs": THING + b"q\x01" + 150_000 * b")\x810h\x01" + b"N",
    "an encoding in quadratic time": b"c_codecs\nencode\n" + word(100_000 * "ä") + word("PunyCode") + b"\x86R",
    "names without end": b"}" + b"".join(b"(cm" + str(at).encode() + b"\nN\n1" for at in range(5000)),
}


@pytest.mark.parametrize("case", BOMBS)
def test_a_small_file_takes_little_time_and_memory(tmp_path: Path, case: str) -> None:
    (tmp_path / "a.pt").write_bytes(in_zip(proto(2) + BOMBS[case] + b"."))
    tracemalloc.start()
    started = time.process_time()
    if "list" in case:
        assert Source("ants", tmp_path / "a.pt").tensors == {}
    else:
        with says(CheckpointError, f"ants: {UNSAFE}"):
            Source("ants", tmp_path / "a.pt")
    taken, most = time.process_time() - started, tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert taken < 5
    assert most < 64 << 20


def test_dicts_that_name_each_other_without_end_are_walked_in_bounded_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch_file, "_MOST_VISITS", 1000)
    nest: dict[str, object] = {"x": 1}
    for _ in range(30):
        nest = {str(at): nest for at in range(10)}
    assert list(torch_file._tensors(nest)) == []


# Every byte is read once.


class Counted(io.FileIO):
    read_bytes = 0

    def readinto(self, buffer: object) -> int:
        count = super().readinto(buffer)
        Counted.read_bytes += count
        return count


@pytest.mark.parametrize("ending", ["safetensors", "pt"])
def test_hashing_and_judging_numbers_read_every_byte_once(
    tmp_path: Path, ending: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / f"a.{ending}"
    save_file(WEIGHTS, path) if ending == "safetensors" else torch.save(WEIGHTS, path)
    checkpoint = Checkpoint("ants", path)
    checkpoint.judge(SHAPES)
    monkeypatch.setattr(Path, "open", lambda self, *_a, **_k: Counted(self))
    monkeypatch.setattr(StoredTensor, "read", lambda *_: pytest.fail("a tensor was read a second time"))
    Counted.read_bytes = 0
    checkpoint.verify(SHAPES)
    assert Counted.read_bytes == path.stat().st_size


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
@pytest.mark.parametrize("how", ["zip", "old", "shared", "transposed"])
def test_numbers_that_are_not_finite_are_found_however_they_lie(tmp_path: Path, how: str, value: float) -> None:
    bad = WEIGHTS["proj"].clone()
    bad[-1, -1] = value
    state = {**WEIGHTS, "proj": bad.mT.contiguous().mT if how == "transposed" else bad}
    if how == "shared":
        state |= {"x": bad[:2]}
    path = saved(tmp_path, {f"visual.{n}": t for n, t in state.items()}, _use_new_zipfile_serialization=how != "old")
    with says(NotFinite, f"ants: proj holds {'NaN' if value != value else 'Inf'}, a.pt, save it again"):
        Checkpoint("ants", path).verify(SHAPES)


def sharded(folder: Path, names: tuple[str, str] = ("a", "b")) -> Path:
    import json

    half = len(WEIGHTS) // 2
    parts = {f"model-{names[0]}.safetensors": list(WEIGHTS)[:half], f"model-{names[1]}.safetensors": [*WEIGHTS][half:]}
    for file, inside in parts.items():
        save_file({name: WEIGHTS[name] for name in inside}, folder / file)
    index = {"weight_map": {name: file for file, inside in parts.items() for name in inside}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index), encoding="utf-8")
    return folder / "model.safetensors.index.json"


def test_the_digest_of_shards_is_of_all_their_bytes(tmp_path: Path) -> None:
    path = sharded(tmp_path)
    checkpoint = Checkpoint("ants", path)
    digest = checkpoint.verify(SHAPES)
    assert Checkpoint("ants", tmp_path).verify(SHAPES, digest) == digest
    assert all(torch.equal(t, WEIGHTS[n]) for n, t in checkpoint.tensors(SHAPES).items())
    shard = tmp_path / "model-b.safetensors"
    changed = bytearray(shard.read_bytes())
    changed[-2] ^= 1
    shard.write_bytes(changed)
    assert Checkpoint("ants", path).verify(SHAPES) != digest
    with says(CheckpointError, "ants: the file changed while it was read, model.safetensors.index.json, start again"):
        checkpoint.tensors(SHAPES)


SHARDS = {
    "a missing one": (
        lambda folder: (folder / "model-b.safetensors").unlink(),
        "the shard model-b.safetensors is missing",
        "put all shards beside the index",
    ),
    "a foreign one": (
        lambda folder: save_file({"x": BASE}, folder / "model-b.safetensors"),
        f"{list(WEIGHTS)[len(WEIGHTS) // 2]} is not in model-b.safetensors",
        "download all shards again",
    ),
    "a path": (
        lambda folder: (folder / "model.safetensors.index.json").write_text('{"weight_map": {"a": "../a.pt"}}'),
        "its weight_map does not name files beside it",
        "download it again",
    ),
    "no map": (
        lambda folder: (folder / "model.safetensors.index.json").write_text("{}"),
        "its weight_map does not name files beside it",
        "download it again",
    ),
}


@pytest.mark.parametrize("case", SHARDS)
def test_shards_are_refused_with(tmp_path: Path, case: str) -> None:
    spoil, what, remedy = SHARDS[case]
    path = sharded(tmp_path)
    spoil(tmp_path)
    with says(CheckpointError, f"ants: {what}, {path.name}, {remedy}"):
        Checkpoint("ants", path)
