"""Reads pickles of arrays and plain values without trusting them: :func:`load_pickle`.

numpy's own functions for pickles trust what they are given: a scalar of an object dtype takes its bytes for
an address. Here stand-ins make the arrays, and only of numbers and text.
"""

import functools
import io
import math
import pickle
import pickletools
import reprlib
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import numpy as np

# The kinds of dtypes that are read: booleans, integers, floats, complex numbers, bytes and text.
KINDS = "biufcSU"
_STATE_VERSIONS = (3, 4)
# Of dtypes without objects: none, or NPY_NEEDS_INIT of text.
_FLAGS = (0, 8)


class _DType:
    """A dtype in a pickle: a simple kind, of which only the byte order is taken from the pickled state."""

    def __init__(self, name: Any, *_: Any) -> None:
        dtype = np.dtype(name) if isinstance(name, str) else None
        if dtype is None or dtype.kind not in KINDS or dtype.subdtype is not None or dtype.names is not None:
            raise pickle.UnpicklingError(
                f"it holds an array of dtype {_short(name)}; only numbers and text are read"
            )
        self.dtype = dtype

    def __setstate__(self, state: Any) -> None:
        version, order, subdtype, names, objects, size, _alignment, flags, *_ = state
        if (
            (version not in _STATE_VERSIONS or order not in ("<", ">", "=", "|"))
            or (subdtype, names, objects) != (None, None, None)
            or (size not in (-1, self.dtype.itemsize) or flags not in _FLAGS)
        ):
            raise pickle.UnpicklingError(f"it holds a dtype with the state {_short(state)}")
        if order in ("<", ">"):
            self.dtype = self.dtype.newbyteorder(order)


class _Array(np.ndarray):
    """An array in a pickle, empty until its state is read."""

    def __setstate__(self, state: Any) -> None:  # type: ignore[override]
        _version, shape, dtype, is_fortran, data = state
        data = data.encode("latin1") if isinstance(data, str) else data
        if self.size or not isinstance(dtype, _DType) or not isinstance(data, (bytes, bytearray)):
            raise pickle.UnpicklingError("it holds an array with a state that no array has")
        _check_size(shape, dtype.dtype, data)
        super().__setstate__((1, shape, dtype.dtype, bool(is_fortran), bytes(data)))  # type: ignore[arg-type]


def _check_size(shape: Any, dtype: np.dtype, data: bytes | bytearray) -> None:
    is_shape = isinstance(shape, tuple) and all(type(size) is int and size >= 0 for size in shape)
    if not is_shape or math.prod(shape) * dtype.itemsize != len(data):
        raise pickle.UnpicklingError(f"it holds {len(data)} bytes for an array of shape {_short(shape)}")


def _short(value: Any) -> str:
    return reprlib.repr(value)


# What a pickle names is replaced by these functions: none of them does more than make one value.


def _reconstruct(*_: Any) -> np.ndarray:
    return np.empty(0, np.uint8).view(_Array)


def _scalar(dtype: _DType, data: Any) -> Any:
    data = data.encode("latin1") if isinstance(data, str) else bytes(data)
    _check_size((), dtype.dtype, data)
    return np.frombuffer(data, dtype.dtype)[0]


def _from_buffer(data: Any, dtype: _DType, shape: Any, order: Any, *_: Any) -> np.ndarray:
    data = bytes(data)
    _check_size(shape, dtype.dtype, data)
    return np.frombuffer(data, dtype.dtype).reshape(shape, order="F" if order == "F" else "C").copy()


def _no_bytes() -> bytes:
    """b"", which old protocols write as a call."""
    return b""


def _bytearray(data: Any = b"", encoding: Any = "latin1") -> bytearray:
    return bytearray(data.encode("latin1") if isinstance(data, str) else bytes(memoryview(data)))


def _encode(text: Any, encoding: Any = "latin1", *_: Any) -> bytes:
    if not isinstance(text, str) or encoding not in ("latin1", "latin-1"):
        raise pickle.UnpicklingError(f"it encodes text as {_short(encoding)}")
    return text.encode("latin1")


def _no_array(*_: Any) -> None:
    raise pickle.UnpicklingError("it makes an array that has no data")


_CORES = ("numpy.core", "numpy._core")  # before and since numpy 2
_ADMITTED: dict[tuple[str, str], Callable[..., Any]] = {
    **{(module, "set"): set for module in ("builtins", "__builtin__")},
    **{(module, "frozenset"): frozenset for module in ("builtins", "__builtin__")},
    **{(module, "bytes"): _no_bytes for module in ("builtins", "__builtin__")},
    **{(module, "bytearray"): _bytearray for module in ("builtins", "__builtin__")},
    **{(f"{core}.multiarray", "_reconstruct"): _reconstruct for core in _CORES},
    **{(f"{core}.multiarray", "scalar"): _scalar for core in _CORES},
    **{(f"{core}.numeric", "_frombuffer"): _from_buffer for core in _CORES},
    ("numpy", "ndarray"): _no_array,
    ("numpy", "dtype"): _DType,
    ("collections", "OrderedDict"): OrderedDict,
    ("_codecs", "encode"): _encode,
}


class _ArrayUnpickler(pickle.Unpickler):
    """Reads plain Python values and numpy arrays only; anything else could run code when it is read."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _ADMITTED:
            raise pickle.UnpicklingError(
                f"it asks for {module}.{name}; only arrays and plain values are read"
            )
        # A new partial each time, because a pickle can set attributes of what it names.
        return functools.partial(_ADMITTED[module, name])


def load_pickle(data: bytes) -> Any:
    """The arrays and plain values of a pickle.

    Raises:
        pickle.UnpicklingError: it holds anything else, of which no code has run, or it is broken.
    """
    try:
        _check_memo(data)
        return _ArrayUnpickler(io.BytesIO(data), encoding="latin1").load()
    except pickle.UnpicklingError:
        raise
    # The bytes are anybody's, and reading them can raise whatever the admitted types raise.
    except Exception as error:
        raise pickle.UnpicklingError(f"it is broken ({type(error).__name__}: {error})") from error


def _check_memo(data: bytes) -> None:
    """Refuses places in the memo beyond the file's size, for which Python would reserve all memory."""
    for opcode, argument, _ in pickletools.genops(data):
        if opcode.name in ("PUT", "BINPUT", "LONG_BINPUT") and int(argument or 0) > len(data):
            raise pickle.UnpicklingError("it is broken (a place in its memo beyond its own size)")
