"""The tiny Poseur that is exported once for all tests here."""

from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def exported_poseur(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The ONNX model of a tiny Poseur; its weights and description lie beside it."""
    pytest.importorskip("onnxscript", reason="exports need requirements/export.txt")
    pytest.importorskip("onnxruntime", reason="exports need requirements/export.txt")
    from helpers.exported_models import export, tiny_poseur

    folder = tmp_path_factory.mktemp("exported")
    export(tiny_poseur(folder), folder / "poseur.onnx")
    return folder / "poseur.onnx"
