"""The table of exported models beside PyTorch."""

import importlib.util
import re

import pytest

pytestmark = pytest.mark.long


def test_the_table_has_every_runtime(capsys):
    pytest.importorskip("onnxscript", reason="exports need requirements/export.txt")
    pytest.importorskip("onnxruntime", reason="exports need requirements/export.txt")
    from helpers.configs import override_list
    from helpers.exported_models import POSEUR, TINY_POSEUR

    from posecore.benchmarks.export import time_exports

    overrides = [str(part) for part in override_list(TINY_POSEUR)]
    time_exports([POSEUR], overrides=overrides, compiled=False, size=(96, 128), threads=1, rounds=1)
    printed = capsys.readouterr().out
    rows = re.findall(r"^(\S.*?) +(\d+\.\d) +(\d+\.\d\d) +(\d+)$", printed, re.MULTILINE)
    names = [name for name, *_ in rows]
    assert names[:3] == ["PyTorch eager", "ONNX Runtime float32", "ONNX Runtime int8"]
    if importlib.util.find_spec("openvino") is not None:
        assert {"OpenVINO float32", "OpenVINO int8"} <= set(names)
    eager = float(rows[0][1])
    for _, milliseconds, ratio, memory in rows:
        assert float(ratio) == pytest.approx(eager / float(milliseconds), abs=0.05 * float(ratio) + 0.02)
        assert float(memory) > 10
    # A process without PyTorch takes less memory.
    assert float(rows[1][3]) < float(rows[0][3])
