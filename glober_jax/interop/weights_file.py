"""The tensors of a file of weights, whatever its kind; what it holds decides, not its name."""

from collections.abc import Mapping
from pathlib import Path

from glober_jax.errors import UserError
from glober_jax.interop import safetensors_file, torch_file
from glober_jax.interop.stored_tensor import StoredTensor

_ZIP = b"PK\x03\x04"
_PICKLE = b"\x80"
_TAR = slice(257, 262), b"ustar"


def open_tensors(file: Path) -> dict[str, StoredTensor]:
    """The tensors of a safetensors file or of a torch file (.ckpt, .bin, .pt, .pth), unread.

    Raises:
      UserError: no such file, of another kind, damaged, or with code in it.
    """
    try:
        with file.open("rb") as opened:
            start = opened.read(512)
    except OSError as error:
        reason = "no such file" if isinstance(error, FileNotFoundError) else "cannot be read"
        raise UserError(f"{file}: {reason}; give the path of a file of weights") from error
    # After the length of its header, eight bytes of any value.
    if start[8:9] == b"{":
        return safetensors_file.open_tensors(file)
    if start.startswith(_ZIP):
        return torch_file.open_tensors(file)
    where, tar = _TAR
    if start.startswith(_PICKLE) or start[where] == tar:
        raise UserError(
            f"{file} is a torch file in the format before torch 1.6; where you trust it, load it "
            "with a recent torch and save it again: torch.save(torch.load(FILE, "
            "weights_only=True), NEW_FILE)"
        )
    raise UserError(
        f"{file} is neither a safetensors file nor a torch file of weights; give the path of one"
    )


def inside(tensors: Mapping[str, StoredTensor], prefix: str) -> dict[str, StoredTensor]:
    """The tensors whose names begin with `prefix`, without it; all where no name does.

    Files of whole models keep each network under a prefix, files of one network have none.
    """
    found = {n.removeprefix(prefix): t for n, t in tensors.items() if n.startswith(prefix)}
    return found or dict(tensors)
