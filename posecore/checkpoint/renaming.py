"""Renames the tensors of official checkpoints: :func:`rename_tensors`."""

from collections.abc import Callable, Iterable

from torch import Tensor


def rename_tensors(
    state: dict[str, Tensor], rename: Callable[[str], str | None], begins: Iterable[str], method: str
) -> dict[str, Tensor]:
    """Gives the tensors of an official checkpoint the names that they have here.

    Args:
        state: official name -> tensor.
        rename: official name -> name here; None where no official checkpoint has such a name.
        begins: the name of a tensor begins with each of these in every official checkpoint.
        method: name of the method, for messages.

    Returns:
        Name here -> the same tensor.

    Raises:
        ValueError: a part of the model is missing, or a tensor has a name that no official checkpoint has;
            the message shows which.
    """
    if missing := [begin for begin in begins if not any(name.startswith(begin) for name in state)]:
        raise ValueError(f"no official {method} checkpoint: no tensor's name begins with {missing[0]!r}")
    names = {theirs: rename(theirs) for theirs in state}
    if unknown := [theirs for theirs, ours in names.items() if ours is None]:
        raise ValueError(f"{len(unknown)} tensors have names that no {method} checkpoint has: {unknown[:5]}")
    return {ours: state[theirs] for theirs, ours in names.items() if ours is not None}
