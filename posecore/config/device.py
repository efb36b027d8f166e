"""Reads MODEL.DEVICE: :func:`find_device` names the device, :func:`check_device` says if it is missing."""

import torch

# The value of MODEL.DEVICE that stands for a GPU where there is one.
AUTO = "auto"


def find_device(name: str) -> str:
    """The device of a value of MODEL.DEVICE.

    Args:
        name: "auto" for "cuda" where torch finds a GPU and "cpu" elsewhere, or the name of one of torch's
            devices, such as "cpu", "cuda" or "cuda:1".

    Raises:
        ValueError: torch knows no device of this name.
    """
    if name == AUTO:
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.device(name)
    except (RuntimeError, TypeError) as error:
        raise ValueError(f"MODEL.DEVICE must be auto, cpu, cuda or cuda:N, not {name!r}") from error
    return name


def check_device(name: str, option: str = "MODEL.DEVICE") -> None:
    """Checks that this machine has the GPU that MODEL.DEVICE names.

    It is called before a model is built, not where configurations are read: a machine without a GPU may
    print the commands of runs that others start.

    Args:
        name: the result of :func:`find_device`.
        option: where the name comes from, for messages.

    Raises:
        ValueError: there is no such GPU.
    """
    device = torch.device(name)
    if device.type != "cuda":
        return
    if not torch.cuda.is_available():
        raise ValueError(
            f"{option} is {name!r}, but torch finds no GPU: add `{option} cpu`, or `{option} auto` to use a "
            "GPU only where there is one"
        )
    if device.index is not None and device.index >= torch.cuda.device_count():
        raise ValueError(f"{option} is {name!r}, but this machine has {torch.cuda.device_count()} GPUs")
