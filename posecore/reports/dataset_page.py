"""The page about a dataset, the doctor's findings with images: :func:`write_dataset_page`.

The page (tools/check_dataset.py --html) shows what
:func:`posecore.evaluation.dataset_check.check_dataset` found, each finding with its rule and its images, and
the dataset in charts: labels, positions and sizes.
"""

from pathlib import Path
from typing import Any

import cv2
import numpy as np
from markupsafe import Markup

from posecore.data.datasets import dataset_metadata, read_annotated
from posecore.evaluation.dataset_persons import Persons, gather_persons
from posecore.evaluation.findings import Example, Report
from posecore.reports.charts import Column, column_chart, histogram, pose_chart
from posecore.reports.page import json_beside, write_json, write_page
from posecore.reports.thumbnails import Thumbnails, encode
from posecore.structures.skeleton import Skeleton

# The side of the grid that positions of a keypoint in the box are counted in, and that of its image, pixels.
_CELLS, _HEAT_SIDE = 24, 72
# Sizes of persons, the square root of their areas, pixels.
_SIZES = np.array([0, 8, 16, 32, 48, 64, 96, 128, 192, 256, 384, 512, 1e6])


def write_dataset_page(name: str, report: Report, output: Path) -> None:
    """Writes the page, and the same figures as JSON beside it.

    Args:
        name: the registered dataset.
        report: of :func:`posecore.evaluation.dataset_check.check_dataset`.
        output: the HTML file; the JSON file has the same name with the ending .json.

    Raises:
        FileNotFoundError, ValueError, OSError: the dataset cannot be read, or a file cannot be written.
    """
    metadata = dataset_metadata(name)
    skeleton: Skeleton = metadata.skeleton
    figures_file = json_beside(output, [metadata.json_file])
    content = read_annotated(name)
    persons = gather_persons(content, skeleton, metadata.image_root)
    thumbnails = Thumbnails(side=360)
    items = _Items(persons, metadata.image_root, thumbnails)
    galleries = {
        f"finding-{index}": [items.item(example) for example in finding.examples]
        for index, finding in enumerate(report.findings)
    }
    labels = label_counts(persons, skeleton)
    write_page(
        output,
        "dataset.html",
        {
            "skeleton": {
                "keypoints": skeleton.keypoints,
                "sides": skeleton.sides,
                "limbs": skeleton.limb_indices,
            },
            **galleries,
        },
        {
            "title": f"Dataset {name}",
            "dataset": name,
            "annotations": str(metadata.json_file),
            "skeleton": skeleton,
            "report": report,
            "num_images": len(content["images"]),
            "num_persons": len(persons.ids),
            "num_crowds": len(content["annotations"]) - len(persons.ids),
            "num_labeled": int(persons.labeled.sum()),
            "labels": labels,
            "heats": _heats(persons, skeleton),
            "charts": _charts(persons, content, skeleton),
            "problems": list(thumbnails.problems.values()),
            "json_name": figures_file.name,
        },
    )
    write_json(
        figures_file,
        {
            "dataset": name,
            "annotations": str(metadata.json_file),
            "images": len(content["images"]),
            "persons": len(persons.ids),
            "facts": report.facts,
            "labels": labels,
            "findings": [
                {
                    "severity": finding.severity,
                    "message": finding.message,
                    "rule": finding.rule,
                    "examples": [
                        {
                            "file": example.file,
                            "annotation": example.annotation,
                            "keypoints": [skeleton.keypoints[k] for k in example.keypoints],
                            "beside": example.beside,
                            "text": example.text,
                        }
                        for example in finding.examples
                    ],
                }
                for finding in report.findings
            ],
        },
    )


def label_counts(persons: Persons, skeleton: Skeleton) -> list[dict[str, Any]]:
    """The numbers of visible, hidden and missing labels of each keypoint."""
    flags = persons.keypoints[..., 2]
    return [
        {
            "name": name,
            "side": skeleton.sides[k],
            "visible": int((flags[:, k] == 2).sum()),
            "hidden": int((flags[:, k] == 1).sum()),
            "unlabeled": int((flags[:, k] == 0).sum()),
        }
        for k, name in enumerate(skeleton.keypoints)
    ]


def positions_in_boxes(persons: Persons) -> np.ndarray:
    """(n, K, 2): the keypoints in their box, from 0 to 1; NaN where there is no label or no box."""
    corner, extent = persons.boxes[:, None, :2], persons.boxes[:, None, 2:]
    usable = persons.labeled & (extent > 0).all(axis=-1)
    relative = (persons.keypoints[..., :2] - corner) / np.where(extent > 0, extent, 1)
    return np.where(usable[..., None], relative, np.nan)


class _Items:
    """Makes the items of the findings' galleries."""

    def __init__(self, persons: Persons, image_root: str, thumbnails: Thumbnails) -> None:
        self._persons = persons
        self._root = Path(image_root)
        self._thumbnails = thumbnails
        self._index = {identity: index for index, identity in enumerate(persons.ids.tolist())}

    def item(self, example: Example) -> dict[str, Any]:
        """What the page's script shows of an example."""
        identity = example.annotation
        index = self._index.get(_plain(identity)) if identity is not None else None
        box = self._persons.boxes[index].tolist() if index is not None else None
        item = self._view(example.file, box) | {"text": example.text, "flagged": list(example.keypoints)}
        item["marks"] = []
        if index is not None:
            points = self._persons.keypoints[index] + np.array([0.5, 0.5, 0])
            item |= {"marks": [np.round(points, 2).tolist()], "annotation": _plain(example.annotation)}
            item["badges"] = [f"annotation {_plain(example.annotation)}"]
        if example.beside is not None:
            item["beside"] = self._view(example.beside, None)
        return item

    def _view(self, file: str, box: list[float] | None) -> dict[str, Any]:
        cut = self._thumbnails.cut(file, box)
        if cut is None and box is not None and file not in self._thumbnails.problems:
            cut = self._thumbnails.cut(file)  # a box outside the image
        path = Path(file)
        name = str(path.relative_to(self._root)) if path.is_relative_to(self._root) else str(path)
        frame: list[float] = [0, 0, 4, 3]
        if cut is not None:
            frame = [cut.x, cut.y, cut.width, cut.height]
        elif box is not None:
            frame = [box[0], box[1], max(box[2], 1), max(box[3], 1)]
        return {"image": name, "source": cut.source if cut is not None else None, "frame": frame}


def _plain(identity: Any) -> int | str:
    return identity.item() if isinstance(identity, np.generic) else identity


def _heats(persons: Persons, skeleton: Skeleton) -> list[dict[str, str]]:
    """An image for each keypoint of where in the box its labels are."""
    relative = positions_in_boxes(persons)
    heats = []
    for k, name in enumerate(skeleton.keypoints):
        points = relative[:, k][np.isfinite(relative[:, k]).all(axis=1)].clip(0, 1)
        counts, _, _ = np.histogram2d(points[:, 1], points[:, 0], bins=_CELLS, range=((0, 1), (0, 1)))
        levels = np.sqrt(counts / max(counts.max(), 1)) * 255
        small = cv2.resize(levels, (_HEAT_SIDE, _HEAT_SIDE), interpolation=cv2.INTER_LINEAR)
        colors = cv2.applyColorMap(small.clip(0, 255).astype(np.uint8), cv2.COLORMAP_INFERNO)
        heats.append({"name": name, "source": encode(colors[:, :, ::-1]), "side": skeleton.sides[k]})
    return heats


def _charts(persons: Persons, content: dict[str, Any], skeleton: Skeleton) -> dict[str, Markup]:
    relative = positions_in_boxes(persons)
    usable = np.isfinite(relative[..., 0])
    counts = np.maximum(usable.sum(axis=0), 1)[:, None]
    filled = np.nan_to_num(relative)
    means = filled.sum(axis=0) / counts
    spreads = np.sqrt((np.square(filled - means) * usable[..., None]).sum(axis=0) / counts)
    means[~usable.any(axis=0)] = np.nan
    sizes = np.sqrt(np.maximum(persons.areas, 0))
    size_names = {index: f"{edge:g}" for index, edge in enumerate(_SIZES[:-1])}
    in_image: dict[Any, int] = {image["id"]: 0 for image in content["images"]}
    for person in content["annotations"]:
        in_image[person["image_id"]] += not person["iscrowd"]
    crowding = np.array(list(in_image.values()), dtype=float)
    shares = np.sqrt(np.maximum(persons.boxes[:, 2:].prod(axis=1), 0) / persons.image_sizes.prod(axis=1))
    numbers = persons.labeled.sum(axis=1)
    return {
        "pose": pose_chart(
            0.08 + 0.84 * means, 0.84 * spreads, skeleton.keypoints, skeleton.sides, skeleton.limb_indices
        ),
        "sizes": column_chart(
            histogram(sizes, _SIZES, size_names, "persons"),
            title="Sizes of persons",
            x_label="root of the area from, pixels",
            y_label="persons",
        ),
        "shares": column_chart(
            histogram(
                shares, np.linspace(0, 1, 11), {i: f"{i / 10:g}" for i in range(10)}, "persons with a share"
            ),
            title="Sizes of persons in their images",
            x_label="side of the box in that of the image, from",
            y_label="persons",
        ),
        "crowding": column_chart(
            _counted(crowding, 12, "images", "persons"),
            title="Persons in an image",
            x_label="persons in an image",
            y_label="images",
        ),
        "labeled": column_chart(
            _counted(numbers, skeleton.num_keypoints, "persons", "labeled keypoints"),
            title="Labeled keypoints of a person",
            x_label="labeled keypoints",
            y_label="persons",
        ),
    }


def _counted(values: np.ndarray, most: int, what: str, of: str) -> list[Column]:
    """Columns of whole numbers from 0 to ``most``, at most 18 of them; more count in the last."""
    width = -(-(most + 1) // 18)
    starts = list(range(0, most + 1, width))
    place = np.clip(values // width, 0, len(starts) - 1).astype(int)
    counts = np.bincount(place, minlength=len(starts))
    columns = []
    for index, (start, count) in enumerate(zip(starts, counts, strict=True)):
        last = index == len(starts) - 1
        name = f"{start}+" if last and values.max(initial=0) >= start + width else f"{start}"
        columns.append(Column(name, float(count), f"{count} {what} with {name} {of}"))
    return columns
