"""Pickles that somebody forged: nothing runs, no memory is written, and the error is always the same."""

import contextlib
import io
import pickle
import struct
from collections import OrderedDict

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from posecore.checkpoint.pickles import load_pickle
from posecore.checkpoint.weights import CheckpointError, read_checkpoint

ADDRESS = struct.pack("<Q", 0x4141414141414141)


class Call:
    """Pickled, it calls a function, and then gives the result a state."""

    def __init__(self, function, *args, state=None):
        self.reduced = (function, args) if state is None else (function, args, state)

    def __reduce__(self):
        return self.reduced


def dtype(name, *state):
    return Call(np.dtype, name, False, True, state=state or (3, "<", None, None, None, -1, -1, 0))


scalar = np._core.multiarray.scalar if hasattr(np, "_core") else np.core.multiarray.scalar
reconstruct = np.zeros(1).__reduce__()[0]
OBJECTS = (3, "|", None, None, None, -1, -1, 63)
STRUCTURED = (3, "|", None, ("a",), {"a": (np.dtype("O"), 0)}, 8, 1, 27)


def array(dtype, shape, data):
    return Call(reconstruct, np.ndarray, (0,), b"b", state=(1, shape, dtype, False, data))


FORGED = {
    "a scalar of an object dtype": Call(scalar, dtype("O", *OBJECTS), ADDRESS),
    "a scalar of the real object dtype": Call(scalar, np.dtype("O"), ADDRESS),
    "a number that becomes an object by its state": Call(scalar, dtype("i8", *OBJECTS), ADDRESS),
    "a structured dtype with an object": Call(scalar, dtype("V8", *STRUCTURED), ADDRESS),
    "a real structured dtype": Call(scalar, np.dtype([("a", "O")]), ADDRESS),
    "a dtype by a comma": Call(scalar, dtype("O,i4"), ADDRESS),
    "a number that gets fields": Call(scalar, dtype("i8", *STRUCTURED), ADDRESS),
    "an array of objects": array(dtype("O", *OBJECTS), (1,), [1]),
    "an array of objects as bytes": array(dtype("O", *OBJECTS), (1,), ADDRESS),
    "a subarray dtype": Call(scalar, dtype("(1000000,)f4"), ADDRESS),
    "a date": Call(scalar, np.dtype("M8[s]"), ADDRESS),
    "void": Call(scalar, np.dtype("V8"), ADDRESS),
    "a dtype of a type": Call(scalar, Call(np.dtype, float), ADDRESS),
    "a scalar with too few bytes": Call(scalar, dtype("f8"), b"1234"),
    "a scalar of no dtype": Call(scalar, 3, ADDRESS),
    "an array larger than its bytes": array(dtype("f4"), (1000,), ADDRESS),
    "an array of a negative size": array(dtype("f4"), (-1, -2), ADDRESS),
    "an array of a huge size": array(dtype("f4"), (2**62, 4), b""),
    "an array of text as shape": array(dtype("f4"), "ab", ADDRESS),
    "an array of no dtype": array("f4", (2,), ADDRESS),
    "an array without data": Call(np.ndarray, (10, 10)),
    "a huge bytearray": Call(bytearray, 2**40),
    "another encoding": Call(__import__("_codecs").encode, b"x" * 100, "zlib"),
    "a state for a function": Call(scalar, dtype("f8", 3, "<", None, None, None, 8, 2**40), ADDRESS * 2),
}


@pytest.mark.parametrize("content", FORGED.values(), ids=FORGED.keys())
@pytest.mark.parametrize("protocol", [0, 2, 4, 5])
def test_forged(tmp_path, content, protocol):
    data = pickle.dumps({"model": {"w": content}}, protocol=protocol)
    with pytest.raises(pickle.UnpicklingError, match="it "):
        load_pickle(data)
    (tmp_path / "forged.pkl").write_bytes(data)
    with pytest.raises(CheckpointError, match=r"MODEL.WEIGHTS .*forged.pkl: not a readable checkpoint: it "):
        read_checkpoint(str(tmp_path / "forged.pkl"))


@pytest.mark.parametrize(
    "data",
    [
        b"\x80\x02]r\xff\xff\xff\x7f.",  # a place in the memo for which all memory would be reserved
        b"\x80\x05\x96\xff\xff\xff\xff\xff\xff\x00\x00.",  # a bytearray of petabytes
        b"\x80\x04\x8e\xff\xff\xff\xff\xff\xff\xff\x7f.",
        b"\x80\x05\x97.",
        b"\x80\x02\x82\x01.",  # an extension of copyreg
        b"cnumpy\ndtype\n}(X\x0c\x00\x00\x00__setstate__cbuiltins\nset\nub.",  # attributes of a class
        b"(" * 100_000 + b".",
        b".",
        b"",
        b"\x80\xff.",
    ],
)
def test_broken(data):
    with pytest.raises(pickle.UnpicklingError):
        load_pickle(data)


def test_a_pickle_changes_nothing_for_the_next_one():
    data = b"cnumpy\ndtype\n(N}(X\x01\x00\x00\x00xK\x01utb."
    with contextlib.suppress(pickle.UnpicklingError):
        load_pickle(data)
    read = load_pickle(pickle.dumps(np.arange(3)))
    assert read.tolist() == [0, 1, 2]


@pytest.mark.parametrize("protocol", range(6))
def test_honest_values(protocol):
    content = {
        "arrays": [
            np.arange(6, dtype=">i4").reshape(2, 3),
            np.asfortranarray(np.arange(6.0).reshape(2, 3)),
            np.zeros((0, 3), np.float16),
            np.array(3.5),
            np.array([True, False]),
            np.array([b"ab", b"c"]),
            np.array(["ab", "ö"]),
            np.array([1j]),
        ],
        "scalars": [np.float64(0.5), np.int32(7), np.bool_(True), np.float32("nan")],
        "plain": OrderedDict(
            a={1, 2}, b=frozenset({3}), c=bytearray(b"x\xff"), d=b"\x00\xff", e=(None, 2**70)
        ),
    }
    read = load_pickle(pickle.dumps(content, protocol=protocol))
    for ours, theirs in zip(read["arrays"], content["arrays"], strict=True):
        assert ours.dtype.newbyteorder("=") == theirs.dtype.newbyteorder("=")
        np.testing.assert_array_equal(ours, theirs)
    np.testing.assert_array_equal(read["scalars"], content["scalars"])
    assert read["plain"] == content["plain"]


@given(st.data())
def test_mutated_files(data):
    file = io.BytesIO()
    pickle.dump(
        {"model": {"w": np.arange(4.0), "s": np.float32(2)}}, file, protocol=data.draw(st.integers(0, 5))
    )
    content = bytearray(file.getvalue())
    for _ in range(data.draw(st.integers(1, 6))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(pickle.UnpicklingError):
        load_pickle(bytes(content))
