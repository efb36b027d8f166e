"""Writes drawn figures with labels as labelme's users have them: :func:`write_labelme_folder`."""

import json
import shutil
from pathlib import Path

import yaml

from posecore.data.synthetic import make_dataset

DOG = {
    "name": "dog",
    "keypoints": ["nose", "left_ear", "right_ear", "withers", "tail"],
    "flip_pairs": [["left_ear", "right_ear"]],
    "limbs": [["nose", "withers"], ["withers", "tail"]],
    "sigmas": [0.05] * 5,
}


def write_labelme_folder(folder: Path, num_images: int, size: tuple[int, int] = (64, 64)) -> None:
    """Writes images of drawn animals, a JSON file for each, and keypoints.txt."""
    folder.mkdir()
    drawn = folder.parent / "drawn"
    drawn.mkdir()
    (drawn / "dog.yaml").write_text(yaml.safe_dump(DOG))
    make_dataset(drawn, num_images=num_images, size=size, skeleton=drawn / "dog.yaml", people=(1, 2))
    content = json.loads((drawn / "annotations" / "train.json").read_text())
    for image in content["images"]:
        shutil.copy(drawn / "train" / image["file_name"], folder)
        shapes = []
        people = [person for person in content["annotations"] if person["image_id"] == image["id"]]
        for group, person in enumerate(people, start=1):
            x, y, width, height = person["bbox"]
            shapes.append(_shape("dog", [[x, y], [x + width, y + height]], group, "rectangle"))
            values = person["keypoints"]
            for name, *point, visible in zip(
                DOG["keypoints"], values[::3], values[1::3], values[2::3], strict=True
            ):
                if visible:
                    shapes.append(_shape(name, [point], group, "point", occluded=visible == 1))
        document = {
            "version": "5.7.0",
            "flags": {},
            "shapes": shapes,
            "imagePath": image["file_name"],
            "imageData": None,
            "imageHeight": image["height"],
            "imageWidth": image["width"],
        }
        (folder / image["file_name"]).with_suffix(".json").write_text(json.dumps(document))
    (folder / "keypoints.txt").write_text("\n".join(DOG["keypoints"]))


def _shape(label: str, points: list[list[float]], group: int, kind: str, **flags: bool) -> dict:
    return {"label": label, "points": points, "group_id": group, "shape_type": kind, "flags": flags}
