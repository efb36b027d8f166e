"""The page about a results file, alone or beside another: :func:`write_results_report`.

The page (tools/analyze.py report) shows the figures of :mod:`posecore.reports.results_figures`, and a gallery
of persons with the ground truth beside the found pose, which its script filters, sorts and enlarges.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from detectron2.data.catalog import Metadata
from markupsafe import Markup

from posecore.config.merge import UsageError
from posecore.data.datasets import dataset_metadata, read_annotated, resolve_dataset
from posecore.data.formats.coco import image_path
from posecore.evaluation.breakdown import SIZES
from posecore.evaluation.errors import KINDS, MatchedPose, read_results_on
from posecore.evaluation.matches import difference
from posecore.reports.charts import Column, Line, column_chart, line_chart
from posecore.reports.page import json_beside, write_json, write_page
from posecore.reports.results_figures import (
    DISTANCES,
    PCK_DISTANCE,
    FoundPerson,
    ImageDifference,
    RunFigures,
    as_json,
    image_differences,
    run_figures,
    spread_choice,
)
from posecore.reports.thumbnails import Thumbnails
from posecore.structures.skeleton import Skeleton

# The file that an evaluation writes into its folder.
RESULTS = "coco_instances_results.json"

# Above so many keypoints, their curves are drawn fainter.
_MANY = 30

# What the kinds of errors mean.
ERROR_MEANINGS = {
    "jitter": "near its place, similarity 0.5 to 0.85",
    "inversion": "left and right of the person exchanged",
    "swap": "at another person's keypoint",
    "miss": "at no keypoint",
    "score": "better poses have lower scores",
    "background": "poses without a person",
    "missed": "persons without a pose",
}
GROUPS = {
    "size": ("AP by size", "area of the person"),
    "crowding": ("AP by crowding", "persons in the image"),
    "overlap": ("AP by overlap", "IoU with the nearest neighbor's box"),
    "labeled": ("AP by labels", "labeled keypoints of the person"),
    "direction": ("AP by direction", "torso up to 30°, 60° and 120° from upright, and more"),
}


def write_results_report(
    results_file: Path,
    dataset: str,
    output: Path,
    *,
    against: Path | None = None,
    gallery: int = 120,
    draws: int = 500,
    seed: int = 0,
) -> RunFigures:
    """Writes the page, and the same figures as JSON beside it.

    Args:
        results_file: poses in COCO's format, or the folder of an evaluation.
        dataset: the path of a definition (.yaml), or the name of a built-in dataset.
        output: the HTML file; the JSON file has the same name with the ending .json.
        against: poses of another run on the same dataset.
        gallery: the greatest number of persons in the gallery; as many poses without a person, and images
            that differ, are a quarter of it.
        draws: resamples of the bootstrap intervals, 0 for no intervals.
        seed: of the resamples.

    Returns:
        The figures of the run.

    Raises:
        UsageError: an entry of the results is wrong.
        FileNotFoundError, ValueError, OSError: the dataset has no annotations, or a file is missing, or
            cannot be read or written.
    """
    name = resolve_dataset(dataset)
    metadata = dataset_metadata(name)
    skeleton: Skeleton = metadata.skeleton
    ground_truth = read_annotated(name)
    files = [_results_file(results_file), *([_results_file(against)] if against is not None else [])]
    figures_file = json_beside(output, [*files, metadata.json_file])
    names = _run_names(files)
    runs = [
        run_figures(
            ground_truth,
            read_results_on(ground_truth, file, skeleton),
            skeleton,
            name=run_name,
            draws=draws,
            seed=seed,
        )
        for file, run_name in zip(files, names, strict=True)
    ]
    run, other = runs[0], runs[1] if len(runs) > 1 else None
    differences = (
        difference(run.headline, other.headline, run.drawn, other.drawn) if other is not None else None
    )
    thumbnails = Thumbnails()
    items = _Gallery(ground_truth, metadata, skeleton, thumbnails)
    data = {
        "skeleton": {
            "keypoints": skeleton.keypoints,
            "sides": skeleton.sides,
            "limbs": skeleton.limb_indices,
        },
        "runs": names,
        "items": items.persons(run, other, gallery),
        "unmatched": items.unmatched(run.unmatched[: max(gallery // 4, 1)], skeleton),
        "images": items.images(run, other, max(gallery // 4, 1)) if other is not None else [],
    }
    figures = {
        "dataset": name,
        "annotations": str(metadata.json_file),
        "files": [str(file) for file in files],
        "bootstrap": {"draws": draws, "seed": seed, "confidence": 0.95},
    } | as_json(run, skeleton, other, differences)
    write_page(
        output,
        "results.html",
        data,
        {
            "title": f"Results on {name}",
            "dataset": name,
            "num_images": len(ground_truth["images"]),
            "run": run,
            "other": other,
            "differences": differences,
            "draws": draws,
            "skeleton": skeleton,
            "keypoints": _keypoint_rows(run, other, skeleton),
            "kinds": KINDS,
            "error_meanings": ERROR_MEANINGS,
            "groups": {by: GROUPS[by] for by in run.groups},
            "pck_distance": PCK_DISTANCE,
            "charts": _charts(run, other, skeleton),
            "sizes": list(SIZES),
            "problems": list(thumbnails.problems.values()),
            "json_name": figures_file.name,
        },
    )
    write_json(figures_file, figures)
    return run


def _results_file(path: Path) -> Path:
    if path.is_dir():
        path = path / RESULTS
        if not path.is_file():
            raise UsageError(
                f"{path.parent} holds no {RESULTS}: give the folder of an evaluation, or its file"
            )
    return path


def _run_names(files: Sequence[Path]) -> list[str]:
    """The last parts of the paths in which the files differ."""
    parts = [[*file.absolute().with_suffix("").parts] for file in files]
    if len(parts) == 1:
        own = [part for part in parts[0] if part != Path(RESULTS).stem]
        return ["/".join(own[-2:])]
    while parts[0] and parts[1] and parts[0][-1] == parts[1][-1]:
        parts = [part[:-1] for part in parts]
    names = ["/".join(part[-1:]) for part in parts]
    return names if names[0] != names[1] else ["this run", "the other run"]


class _Gallery:
    """Makes the items of the page's galleries, which its script reads."""

    def __init__(
        self, ground_truth: dict[str, Any], metadata: Metadata, skeleton: Skeleton, thumbnails: Thumbnails
    ) -> None:
        self._images = {image["id"]: image for image in ground_truth["images"]}
        self._root = metadata.image_root
        self._skeleton = skeleton
        self._thumbnails = thumbnails
        self._people: dict[Any, list[dict[str, Any]]] = {}
        for person in ground_truth["annotations"]:
            if person["num_keypoints"] and not person["iscrowd"]:
                self._people.setdefault(person["image_id"], []).append(person)

    def persons(self, run: RunFigures, other: RunFigures | None, count: int) -> list[dict[str, Any]]:
        """At most ``count`` persons, half of them the worst, or those in which two runs differ most."""
        similarity = [person.similarity for person in run.persons]
        if other is None:
            chosen = spread_choice(similarity, count)
        else:
            gaps = [
                -abs(own - person.similarity) for own, person in zip(similarity, other.persons, strict=True)
            ]
            differing = np.argsort(gaps, kind="stable")[: count // 2].tolist()
            chosen = list(dict.fromkeys(differing + spread_choice(similarity, count)))[:count]
        items = [
            self._person(run.persons[index], other.persons[index] if other is not None else None)
            for index in sorted(chosen, key=lambda index: str(run.persons[index].annotation["image_id"]))
        ]
        return sorted(items, key=lambda item: item["oks"])

    def unmatched(self, poses: Sequence[MatchedPose], skeleton: Skeleton) -> list[dict[str, Any]]:
        """Poses without a person, with the persons of their image beside them."""
        items = []
        for pose in poses:
            points = np.reshape(pose.result["keypoints"], (-1, 3))
            low, high = points[:, :2].min(axis=0), points[:, :2].max(axis=0)
            image_id = pose.result["image_id"]
            people = [person["keypoints"] for person in self._people.get(image_id, [])]
            items.append(
                self._view(image_id, [*low, *(high - low)])
                | {
                    "kind": "unmatched",
                    "oks": pose.best,
                    "score": pose.result["score"],
                    "gt": [self._points(person) for person in people],
                    "pose": self._points(pose.result["keypoints"]),
                    "other": None,
                    "kinds": None,
                    "size": _size(float(np.prod(high - low))),
                    "labeled": 0,
                }
            )
        return items

    def images(self, run: RunFigures, other: RunFigures, count: int) -> list[dict[str, Any]]:
        """The images in which the two runs differ most."""
        differing = [image for image in image_differences(run, other) if image.difference][:count]
        found: dict[Any, tuple[list[FoundPerson], list[FoundPerson]]] = {}
        for own, their in zip(run.persons, other.persons, strict=True):
            pair = found.setdefault(own.annotation["image_id"], ([], []))
            pair[0].append(own)
            pair[1].append(their)
        return [self._image(image, *found[image.image_id]) for image in differing]

    def _image(
        self, image: ImageDifference, ours: Sequence[FoundPerson], theirs: Sequence[FoundPerson]
    ) -> dict[str, Any]:
        return self._view(image.image_id, None) | {
            "oks": image.ours,
            "oks_other": image.theirs,
            "difference": image.difference,
            "gt": [self._points(person.annotation["keypoints"]) for person in ours],
            "poses": [self._points(person.pose.result["keypoints"]) for person in ours if person.pose],
            "others": [self._points(person.pose.result["keypoints"]) for person in theirs if person.pose],
        }

    def _person(self, person: FoundPerson, other: FoundPerson | None) -> dict[str, Any]:
        annotation, pose = person.annotation, person.pose
        item = self._view(annotation["image_id"], annotation["bbox"]) | {
            "kind": "matched" if pose is not None else "missed",
            "annotation": annotation["id"],
            "oks": person.similarity,
            "score": pose.result["score"] if pose is not None else None,
            "gt": [self._points(annotation["keypoints"])],
            "pose": self._points(pose.result["keypoints"]) if pose is not None else None,
            "kinds": pose.kinds.tolist() if pose is not None else None,
            "size": _size(annotation["area"]),
            "labeled": annotation["num_keypoints"],
            "persons": person.num_in_image,
            "other": None,
        }
        if other is not None:
            item |= {
                "oks_other": other.similarity,
                "difference": person.similarity - other.similarity,
                "other": self._points(other.pose.result["keypoints"]) if other.pose is not None else None,
            }
        return item

    def _view(self, image_id: Any, box: Sequence[float] | None) -> dict[str, Any]:
        """The name of an image and its cut-out; without a source where the image cannot be read."""
        image = self._images[image_id]
        try:
            cut = self._thumbnails.cut(image_path(self._root, image), box)
        except FileNotFoundError as error:
            self._thumbnails.problems[image["file_name"]] = str(error)
            cut = None
        view: dict[str, Any] = {"image": image["file_name"], "source": None, "frame": None}
        if cut is not None:
            view |= {"source": cut.source, "frame": [cut.x, cut.y, cut.width, cut.height]}
        elif box is not None:
            side = max(box[2], box[3], 1)
            view["frame"] = [box[0] - side / 4, box[1] - side / 4, box[2] + side / 2, box[3] + side / 2]
        else:
            view["frame"] = [0, 0, image["width"], image["height"]]
        return view

    def _points(self, keypoints: Sequence[float]) -> list[list[float]]:
        """(K, 3) of x, y and v or confidence; in continuous pixels, as the drawing has them."""
        points = np.reshape(np.asarray(keypoints, dtype=float), (-1, 3))
        points = points + np.array([0.5, 0.5, 0])
        return np.round(points, 2).tolist()


def _size(area: float) -> str:
    return next((name for name, (low, high) in SIZES.items() if low <= area < high), list(SIZES)[-1])


def _keypoint_rows(run: RunFigures, other: RunFigures | None, skeleton: Skeleton) -> list[dict[str, Any]]:
    """A row for each keypoint of the page's table."""
    place = int(np.argmin(np.abs(DISTANCES - PCK_DISTANCE)))
    rows = []
    for k, name in enumerate(skeleton.keypoints):
        counts = {kind: int(run.errors.keypoints[kind][k]) for kind in KINDS}
        total = sum(counts.values())
        rows.append(
            {
                "name": name,
                "side": skeleton.sides[k],
                "found": total,
                "precision": run.keypoint_precision[k],
                "other": other.keypoint_precision[k] if other is not None else None,
                "pck": float(run.curves.keypoints[place, k]),
                "shares": {kind: 100 * count / total if total else 0.0 for kind, count in counts.items()},
            }
        )
    return rows


def _charts(run: RunFigures, other: RunFigures | None, skeleton: Skeleton) -> dict[str, Markup]:
    style = "one faint" if skeleton.num_keypoints > _MANY else "one"
    lines = [
        Line(name, run.curves.keypoints[:, k], style, index=k) for k, name in enumerate(skeleton.keypoints)
    ]
    if other is not None:
        lines.append(Line(f"mean of {other.name}", other.curves.mean, "other"))
    lines.append(Line(f"mean of {run.name}", run.curves.mean, "mean"))
    charts = {
        "pck": line_chart(
            DISTANCES,
            lines,
            title="PCK of each keypoint by distance",
            x_label=f"distance in lengths of the {run.curves.normalizer.split(',')[0]}",
            y_label="correct keypoints, %",
        ),
        "oks": column_chart(
            _oks_columns(run), title="Persons by OKS", x_label="OKS of the person", y_label="persons"
        ),
    }
    if run.calibration is not None:
        calibration = run.calibration
        columns = [
            Column(
                f"{low:.1f}",
                100 * float(accuracy),
                f"scores from {low:.1f} to {high:.1f}: {count} poses, mean score {mean:.2f}, "
                f"{100 * accuracy:.0f} % correct",
            )
            for low, high, count, mean, accuracy in zip(
                calibration.edges[:-1],
                calibration.edges[1:],
                calibration.counts,
                calibration.confidence,
                calibration.accuracy,
                strict=True,
            )
        ]
        charts["scores"] = column_chart(
            [
                Column(column.name, float(count), column.title)
                for column, count in zip(columns, calibration.counts, strict=True)
            ],
            title="Poses by score",
            x_label="score",
            y_label="poses",
        )
        second = other.calibration if other is not None else None
        points = (
            [
                (float(mean), 100 * float(accuracy))
                for mean, accuracy, count in zip(
                    second.confidence, second.accuracy, second.counts, strict=True
                )
                if count
            ]
            if second is not None
            else []
        )
        charts["calibration"] = column_chart(
            columns,
            title="Share of correct poses by score",
            x_label="score",
            y_label="correct poses, %",
            y_max=100,
            diagonal=True,
            points=points,
        )
    return charts


def _oks_columns(run: RunFigures) -> list[Column]:
    """Columns of persons by OKS, from missed to 1."""
    values = np.array([person.similarity for person in run.persons if person.pose is not None])
    missed = sum(person.pose is None for person in run.persons)
    edges = np.linspace(0, 1, 11)
    counts = np.histogram(values, edges)[0]
    columns = [Column("missed", float(missed), f"{missed} persons are missed", 0.0, 0.0)]
    for low, high, count in zip(edges[:-1], edges[1:], counts, strict=True):
        title = f"{count} persons with an OKS from {low:.1f} to {high:.1f}"
        columns.append(Column(f"{low:.1f}", float(count), title, round(low, 1), round(high, 1)))
    return columns
