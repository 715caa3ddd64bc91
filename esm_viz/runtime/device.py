"""The device of tensors: CPU or CUDA."""

from __future__ import annotations

import platform

import numpy as np
import torch

from esm_viz.core.errors import DeviceError


def resolve_device(name: str) -> str:
    """Return "cpu" or "cuda" for auto, cpu, cuda.

    Raises:
        DeviceError: the device is unknown or not available.
    """
    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if name not in ("cpu", "cuda"):
        raise DeviceError(f"device is {name!r}", "use auto, cpu or cuda")
    if name == "cuda" and not torch.cuda.is_available():
        raise DeviceError("this machine has no CUDA device that torch can use", "use --device cpu")
    return name


def device_title(device: str) -> str:
    """Return a device's name to show: the GPU's name, or "CPU" with the number of cores that torch uses."""
    if device == "cuda":
        return torch.cuda.get_device_name()
    cores = torch.get_num_threads()
    return f"CPU, {cores} core{'' if cores == 1 else 's'}"


def conditions(device: str) -> str:
    """Return what the bits of a result depend on besides its inputs: device, library versions and number of threads."""
    place = torch.cuda.get_device_name() if device == "cuda" else f"CPU ({platform.machine()})"
    threads = torch.get_num_threads()
    libraries = f"torch {torch.__version__}, numpy {np.__version__}, Python {platform.python_version()}"
    return f"{place}, {libraries}, {threads} thread{'' if threads == 1 else 's'}"
