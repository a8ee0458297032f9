"""`read_file`: models in files, read without running code that a file contains."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from convexrelu.errors import InvalidInputError
from convexrelu.interop.imported import Imported

PICKLES = (".pkl", ".pickle", ".joblib")
STATES = (".pt", ".pth")
TRUSTED = "where you trust it, load it in Python and write Network.{}(model).save('net.npz')."
DESCRIPTION = "--layers hidden=0,output=2 --activation relu"


def read_file(path: str, layers: Mapping[str, str] | None = None, activation: str | None = None) -> Imported:
    """Read an .onnx or .keras file, or a .pt file that holds a PyTorch state dict.

    Parameters
    ----------
    path : str
    layers, activation : see `Network.from_torch`
        Of a state dict, and of nothing else.

    Raises
    ------
    InvalidInputError
        For pickles, which run code when they are read, and for other kinds of files.
    UnsupportedError
        If it is not a two-layer ReLU network.
    """
    suffix = Path(path).suffix.lower()
    if suffix in STATES:
        return _read_state(path, layers, activation)
    if layers is not None or activation is not None:
        raise InvalidInputError(
            f"`--layers` and `--activation` describe a state dict; {path} says by itself what it is."
        )
    if suffix == ".onnx":
        from convexrelu.interop.onnx import read_graph

        return read_graph(path)
    if suffix == ".keras":
        from convexrelu.interop.keras import read_keras

        return read_keras(path)
    if suffix in PICKLES:
        told = TRUSTED.format("from_sklearn")
        raise InvalidInputError(f"{path} is a pickle, and reading a pickle runs the code in it; {told}")
    raise InvalidInputError(
        f"{path} is none of .npz (of this package), .onnx, .keras, .pt or .pth (a PyTorch state dict)."
    )


def _read_state(path: str, layers: Mapping[str, str] | None, activation: str | None) -> Imported:
    from convexrelu.interop.torch import read_state_dict

    state = _state_dict(path)
    if layers is None or activation is None:
        raise InvalidInputError(
            f"a state dict does not say what lies between its layers; write `{DESCRIPTION}`, perhaps with skip=NAME. "
            f"Its tensors are: {', '.join(state)}."
        )
    return read_state_dict(state, layers, activation)


def _state_dict(path: str) -> dict[str, Any]:
    """A dict of tensors; anything else in a file of torch.save would be a pickle, which is not run."""
    from convexrelu.interop.torch import require_torch

    torch = require_torch()
    if not Path(path).is_file():
        raise FileNotFoundError(2, "No such file or directory", path)
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception:
        state = None
    if not isinstance(state, dict) or not all(isinstance(tensor, torch.Tensor) for tensor in state.values()):
        raise InvalidInputError(
            f"{path} is not a state dict, as torch.save(module.state_dict(), path) writes it. A whole "
            f"module is a pickle, and reading a pickle runs the code in it; {TRUSTED.format('from_torch')}"
        )
    return state
