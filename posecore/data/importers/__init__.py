"""Importers of other tools' labels: the table :data:`IMPORTERS`, and :func:`recognize`.

Each module reads the files of one tool into an :class:`~posecore.data.importers.dataset.ImportedDataset`;
:mod:`posecore.data.importers.convert` makes a dataset of this project of it (tools/import_dataset.py). To add
a format, write a module with a reader and a function that recognizes its files, and join them by one entry of
the table.

What importers share is in modules of its own: ``files``, ``json_shapes``, ``matlab_files`` and ``archives``
read files, ``values`` checks numbers, ``images`` finds images and ``image_sources`` reads them, ``choices``
settles what a source leaves open, by the user's ``options``, and ``notes`` collects what is left out.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from posecore.config.errors import UsageError
from posecore.data.importers.coco import is_coco, read_coco_export
from posecore.data.importers.cvat import is_cvat, read_cvat
from posecore.data.importers.dataset import ImportedDataset
from posecore.data.importers.deeplabcut import is_deeplabcut, read_deeplabcut
from posecore.data.importers.files import check_readable
from posecore.data.importers.label_studio import is_label_studio, read_label_studio
from posecore.data.importers.labelme import is_labelme, read_labelme
from posecore.data.importers.lsp_mat import LSP_FILE, read_lsp_mat
from posecore.data.importers.mpii_mat import MPII_FILE, read_mpii_mat
from posecore.data.importers.options import ImportOptions
from posecore.data.importers.predictions import is_predictions, read_predictions
from posecore.data.importers.sleap import is_sleap, read_sleap
from posecore.data.importers.ultralytics import is_ultralytics, read_ultralytics
from posecore.data.importers.ultralytics_ndjson import is_ultralytics_ndjson, read_ultralytics_ndjson
from posecore.data.importers.via import is_via, read_via


@dataclass(frozen=True)
class Importer:
    """The reader of a tool's files.

    Attributes:
        title: the tool and its formats, for messages.
        recognizes: whether a path, a file or a folder, is of this format.
        read: the path and what the user says about it -> the content.
    """

    title: str
    recognizes: Callable[[Path], bool]
    read: Callable[[Path, ImportOptions], ImportedDataset]


# By the name that --format gives.
IMPORTERS: dict[str, Importer] = {
    "ultralytics": Importer("Ultralytics YOLO-pose, also of CVAT", is_ultralytics, read_ultralytics),
    "ultralytics-ndjson": Importer(
        "NDJSON of Ultralytics' platform", is_ultralytics_ndjson, read_ultralytics_ndjson
    ),
    "cvat": Importer("CVAT XML 1.1, for images and for video", is_cvat, read_cvat),
    "coco": Importer("COCO keypoints, also of Roboflow, CVAT and Label Studio", is_coco, read_coco_export),
    "label-studio": Importer("Label Studio JSON and JSON-MIN", is_label_studio, read_label_studio),
    "labelme": Importer("labelme", is_labelme, read_labelme),
    "deeplabcut": Importer("DeepLabCut, one animal and several", is_deeplabcut, read_deeplabcut),
    "sleap": Importer("SLEAP .slp, .pkg.slp and .json", is_sleap, read_sleap),
    "via": Importer("VGG Image Annotator, JSON and CSV", is_via, read_via),
    "mpii-mat": Importer("MPII's .mat", MPII_FILE.recognizes, read_mpii_mat),
    "lsp-mat": Importer(
        "joints.mat of Leeds Sports Pose and its extension", LSP_FILE.recognizes, read_lsp_mat
    ),
    # Only on demand: what a model has found is no label before somebody has looked at it.
    "predictions": Importer("poses.json of tools/predict.py, on demand", is_predictions, read_predictions),
}


def recognize(source: Path) -> str:
    """The format of a file or a folder, a key of :data:`IMPORTERS`.

    Raises:
        UsageError: it is of none of them, or of several.
        FileNotFoundError: there is no such path.
    """
    if not source.exists():
        raise FileNotFoundError(f"SOURCE {source} does not exist")
    found = [name for name, importer in IMPORTERS.items() if name != "coco" and importer.recognizes(source)]
    # Many tools' folders also have a file in COCO's format, which then says less.
    if not found and IMPORTERS["coco"].recognizes(source):
        return "coco"
    if len(found) == 1:
        return found[0]
    if found:
        raise UsageError(
            f"SOURCE {source} has files of several formats: name one with --format {' | '.join(found)}"
        )
    if source.is_dir() and not any(source.iterdir()):
        raise UsageError(
            f"SOURCE {source} is an empty folder: give the one with the files of the labeling tool"
        )
    check_readable(source)
    titles = "; ".join(f"{name} ({importer.title})" for name, importer in IMPORTERS.items())
    raise UsageError(
        f"SOURCE {source} is of no format that is known, which are: {titles}. "
        "Predictions of models are no labels; poses.json of this project is read with --format predictions"
    )
