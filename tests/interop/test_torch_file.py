"""Torch's files are read without torch and as data: nothing in them runs.

Most files here are written opcode by opcode, as torch writes them; one test asks torch itself,
where it is installed (launch/test_interop.sh).
"""

import os
import pickle
import zipfile
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest

from glober_jax.errors import UserError
from glober_jax.interop.weights_file import inside, open_tensors

NUMBERS = np.arange(12, dtype=np.float32)
# Opcodes: c global, ( mark, t tuple, ) empty tuple, R call, V text, I number, Q storage,
# } dict, u set items, o and i instances, b state, . end.
ORDERED_DICT = b"ccollections\nOrderedDict\n)R"
CALLBACK = b"cpytorch_lightning.callbacks\nModelCheckpoint\n"


def view(
    shape: tuple[int, ...],
    strides: tuple[int, ...],
    offset: int = 0,
    record: str = "0",
    kind: str = "Float",
) -> bytes:
    """Opcodes that describe a view of a storage."""

    def numbers(values: tuple[int, ...]) -> bytes:
        return b"(" + b"".join(b"I%d\n" % value for value in values) + b"t"

    storage = f"(Vstorage\nctorch\n{kind}Storage\nV{record}\nVcpu\nI12\ntQ".encode()
    rebuild = b"ctorch._utils\n_rebuild_tensor_v2\n("
    place = b"I%d\n" % offset + numbers(shape) + numbers(strides)
    return rebuild + storage + place + b"I00\n" + ORDERED_DICT + b"tR"


def entries(**values: bytes) -> bytes:
    """Opcodes of a dict."""
    return b"}(" + b"".join(f"V{name}\n".encode() + v for name, v in values.items()) + b"u"


def write(file: Path, content: bytes, **records: bytes) -> Path:
    """A torch file that holds `content` and one storage "0" of NUMBERS, besides `records`."""
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("model/data.pkl", content)
        for name, record in ({"0": NUMBERS.tobytes()} | records).items():
            archive.writestr(f"model/data/{name}", record)
    return file


def test_tensors_are_views_of_storages(tmp_path: Path) -> None:
    """Fails when strides, offsets or types are not what the file says.

    What is no tensor is passed over, also the class that old checkpoints have as a key.
    """
    state = entries(
        whole=view((3, 4), (4, 1)),
        turned=view((4, 3), (1, 4)),
        part=view((2,), (4,), offset=5),
        scalar=view((), (), offset=7),
        empty=view((0, 4), (4, 1)),
        half=view((3,), (1,), record="1", kind="BFloat16"),
        steps=b"I3\n",
    )
    whole = b"}(Vstate_dict\n" + state + b"Vcallbacks\n}(" + CALLBACK + b"I1\nuu."
    small = NUMBERS[:3].astype(ml_dtypes.bfloat16)
    tensors = open_tensors(write(tmp_path / "any.name", whole, **{"1": small.tobytes()}))
    expected = {
        "whole": NUMBERS.reshape(3, 4),
        "turned": NUMBERS.reshape(3, 4).T,
        "part": NUMBERS[[5, 9]],
        "scalar": NUMBERS[7],
        "empty": np.zeros((0, 4), np.float32),
        "half": small,
    }
    assert tensors.keys() == expected.keys()
    for name, array in expected.items():
        assert (tensors[name].shape, tensors[name].dtype) == (array.shape, str(array.dtype))
        np.testing.assert_array_equal(np.asarray(tensors[name]), array)


class Touch:
    """Unpickling it makes a file: stands for any code."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self) -> tuple:
        return os.mkdir, (str(self.file),)


CODE = {
    "call": b"cposix\nmkdir\n(V{marker}\ntR",
    "instance": b"(V{marker}\niposix\nmkdir\n",
    "object": b"(cposix\nmkdir\nV{marker}\no",
    "new object": b"\x80\x02cposix\nmkdir\n(V{marker}\nt\x81",
    "attribute": b"\x80\x04\x8c\x05posix\x8c\x0emkdir.__call__\x93(V{marker}\ntR",
    "state": b"cposix\nmkdir\nV{marker}\nb",
    "state of ours": b"ctorch._utils\n_rebuild_tensor_v2\nV{marker}\nb",
    "extension": b"\x82\x01",
}


@pytest.mark.parametrize("kind", [*CODE, "protocol 2", "protocol 4"])
def test_code_is_refused_and_does_not_run(kind: str, tmp_path: Path) -> None:
    """Fails when a file can run anything, by any opcode that could (broken: pickle.loads)."""
    marker = tmp_path / "ran"
    if kind.startswith("protocol"):
        content = pickle.dumps({"a": Touch(marker)}, protocol=int(kind[-1]))
        assert pickle.loads(content) == {"a": None} and marker.exists()
        marker.rmdir()
    else:
        code = CODE[kind].replace(b"{marker}", str(marker).encode())
        content = b"}(Va\n" + view((3,), (1,)) + b"Vb\n" + code + b"u."
    file = write(tmp_path / "weights.ckpt", content)
    says = "damaged" if kind == "extension" else r"contains code \(\w+(\.\w+)*\.\w+\)"
    with pytest.raises(UserError, match=says):
        open_tensors(file)
    assert not marker.exists()


GOOD = entries(a=view((3, 4), (4, 1))) + b"."


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (GOOD[:-40], "cut off, damaged or not a torch file"),
        (entries(epoch=b"I3\n") + b".", 'no tensors by name.*"state_dict"; its entries are epoch'),
        (b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.", r"before torch 1\.6"),
        ("not the weights that you are looking for", "neither a safetensors file nor a torch file"),
        (None, "no such file"),
    ],
    ids=["half a pickle", "no tensors", "old", "text", "absent"],
)
def test_files_that_hold_no_weights(content: bytes | str | None, says: str, tmp_path: Path) -> None:
    """Fails when such a file ends in a stack trace."""
    file = tmp_path / "model.pth"
    if isinstance(content, str):
        file.write_text(content)
    elif content and content.startswith(b"}"):
        write(file, content)
    elif content:
        file.write_bytes(content)
    with pytest.raises(UserError, match=says) as caught:
        open_tensors(file)
    assert str(file) in str(caught.value)


def test_archives_that_hold_no_weights(tmp_path: Path) -> None:
    """Fails when errors of zipfile are passed on."""
    file = write(tmp_path / "model.pth", GOOD)
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(UserError, match="cut off, damaged or not a torch file"):
        open_tensors(file)
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("readme", "")
    with pytest.raises(UserError, match="a zip archive, but not one that torch"):
        open_tensors(file)


@pytest.mark.parametrize("shape", [(4, 4), (3, -4)])
def test_views_beyond_their_storage_are_refused(shape: tuple[int, ...], tmp_path: Path) -> None:
    """Fails when memory is read that is not the file's."""
    tensors = open_tensors(write(tmp_path / "far.pt", entries(a=view(shape, (4, 1))) + b"."))
    with pytest.raises(UserError, match="damaged"):
        np.asarray(tensors["a"])


def test_networks_of_a_whole_model_lie_under_prefixes(tmp_path: Path) -> None:
    """Fails when another network's tensors come along, or a file of one network is empty."""
    content = b"}(Vone.a\n" + view((3,), (1,)) + b"Vtwo.a\n" + view((2,), (1,)) + b"u."
    tensors = open_tensors(write(tmp_path / "model.bin", content))
    assert {name: t.shape for name, t in inside(tensors, "one.").items()} == {"a": (3,)}
    assert inside(tensors, "three.").keys() == {"one.a", "two.a"}


def test_what_torch_saves_is_what_is_read(tmp_path: Path) -> None:
    """Fails when torch writes its files in another way than those above."""
    torch = pytest.importorskip("torch", reason="written by torch: launch/test_interop.sh has it")
    whole = torch.arange(12.0).reshape(3, 4)
    layer = torch.nn.Linear(4, 3)
    tensors = {
        "whole": whole,
        "turned": whole.t(),
        "rows": whole[1:, ::2],
        "half": whole.half(),
        "bfloat16": whole.bfloat16(),
        "double": whole.double(),
        "parameter": torch.nn.Parameter(whole + 1),
    } | {f"layer.{name}": value for name, value in layer.state_dict().items()}
    whole_run = {"state_dict": tensors, "epoch": 3, "sizes": whole.shape, "on": whole.device}
    # An optimizer's state, and NumPy's numbers, as training runs leave them.
    whole_run["numbers"] = [np.float64(0.5), np.dtype("f4"), {1, 2}]
    for content in (tensors, layer.state_dict(prefix="layer."), whole_run):
        torch.save(content, tmp_path / "saved.ckpt")
        read = open_tensors(tmp_path / "saved.ckpt")
        assert read.keys() == content.get("state_dict", content).keys()
        for name, tensor in read.items():
            np.testing.assert_array_equal(
                np.asarray(tensor).astype(np.float64), tensors[name].detach().double().numpy()
            )
    torch.save(layer.state_dict(), tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    with pytest.raises(UserError, match=r"before torch 1\.6"):
        open_tensors(tmp_path / "old.pth")
    torch.save(layer, tmp_path / "module.pt")
    with pytest.raises(UserError, match=r"contains code \(torch\.nn\.modules\.linear\.Linear\)"):
        open_tensors(tmp_path / "module.pt")
