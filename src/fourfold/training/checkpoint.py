"""Checkpoints: one safetensors file, written atomically, with its state and a checksum as JSON in its header."""

__all__ = ["CheckpointError", "load_state", "load_tensors", "module_tensors", "restore_module", "save_tensors"]

import hashlib
import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from .._files import whole

_FORMAT = 2  # 2: several players, each with its optimiser, meter and names


class CheckpointError(ValueError):
    """A checkpoint that cannot be used: missing, torn, altered, of a newer version, or of another model."""


def module_tensors(module: nn.Module) -> dict[str, Tensor]:
    """Parameters and persistent buffers by name; tensors that several modules share appear once."""
    state = module.state_dict(keep_vars=True)
    seen: dict[int, str] = {}
    return {k: v.detach() for k, v in state.items() if seen.setdefault(id(v), k) == k}


def restore_module(module: nn.Module, tensors: dict[str, Tensor], source: str) -> None:
    """Copies tensors into the module's own; every name and shape must agree."""
    own = module_tensors(module)
    missing, extra = sorted(own.keys() - tensors.keys()), sorted(tensors.keys() - own.keys())
    if missing or extra:
        raise CheckpointError(
            f"{source}: its weights are not of this model (missing {missing[:3]}, unknown {extra[:3]}). "
            "Build the model with the recipe and arguments it was trained with."
        )
    for name, tensor in own.items():
        if tensor.shape != tensors[name].shape:
            raise CheckpointError(
                f"{source}: {name} has shape {tuple(tensors[name].shape)}, this model wants {tuple(tensor.shape)}. "
                "Build the model with the recipe and arguments it was trained with."
            )
        with torch.no_grad():
            tensor.copy_(tensors[name])


def save_tensors(path: Path, tensors: dict[str, Tensor], state: dict[str, Any]) -> None:
    """Writes beside the path and renames, so that the path holds the old file or the new one, never a part."""
    from safetensors.torch import save

    plain = {name: t.detach().to("cpu").contiguous().clone() for name, t in tensors.items()}
    header = {"fourfold": json.dumps({"format": _FORMAT, "digest": _digest(plain, state), "state": state})}
    with whole(path) as file:
        file.write(save(plain, metadata=header))


def load_tensors(path: Path, *, to_train: bool = True) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The tensors and the state of a checkpoint, checked against its digest. Nothing in it is executed.

    Args:
        path: the file.
        to_train: training is to go on from it; without that, the weights of every older format are as good.

    Raises:
        CheckpointError: if the file is missing, torn, altered, of a newer version, or of one too old to go on from.
    """
    from safetensors import SafetensorError, safe_open

    if not path.is_file():
        raise CheckpointError(f"{path}: no such checkpoint. The run may have been stopped before its first one.")
    try:
        with safe_open(path, "pt") as file:  # type: ignore[no-untyped-call]
            header = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        record = json.loads(header["fourfold"])
        wanted, state, version = record["digest"], record["state"], int(record["format"])
    except (SafetensorError, KeyError, TypeError, ValueError, OSError) as error:
        raise CheckpointError(f"{path}: not a whole checkpoint of fourfold ({error}). Use another one.") from None
    if version > _FORMAT:
        raise CheckpointError(f"{path}: written by a newer fourfold (format {version}). Upgrade fourfold.")
    if version < _FORMAT and to_train:
        raise CheckpointError(
            f"{path}: written by an older fourfold (format {version}), from which training cannot go on. The model is "
            "whole: load, evaluate and --init-from take it."
        )
    if _digest(tensors, state) != wanted:
        raise CheckpointError(f"{path}: altered since it was written (digest differs). Use another checkpoint.")
    return tensors, state


def load_state(path: Path) -> dict[str, Any]:
    """Where a run stands, by its checkpoint; the tensors are neither read nor checked.

    Raises:
        CheckpointError: if the file is missing or torn.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "pt") as file:  # type: ignore[no-untyped-call]
            return dict(json.loads((file.metadata() or {})["fourfold"])["state"])
    except (SafetensorError, KeyError, TypeError, ValueError, OSError) as error:
        raise CheckpointError(f"{path}: not a whole checkpoint of fourfold ({error}). Use another one.") from None


def _digest(tensors: dict[str, Tensor], state: dict[str, Any]) -> str:
    hasher = hashlib.blake2b(json.dumps(state, sort_keys=True).encode(), digest_size=16)
    for name in sorted(tensors):
        tensor = tensors[name].contiguous()
        hasher.update(f"{name}|{tensor.dtype}|{tuple(tensor.shape)}|".encode())
        hasher.update(tensor.reshape(-1).view(torch.uint8).numpy().data if tensor.numel() else b"")
    return hasher.hexdigest()
