"""Made-up annotations and results in COCO's format, for the tests of evaluators."""

import numpy as np
import torch
from detectron2.structures import Boxes, Instances

CATEGORY = 7
HALF = np.array([0.5, 0.5, 0])  # from COCO's coordinates to continuous pixels


def random_ground_truth(rng, skeleton, num_images=12):
    """Annotations of persons of all sizes, crowds, persons without keypoints, and images without persons."""
    people = []
    for image_id in range(1, num_images):  # image 0 has no persons
        for _ in range(rng.integers(0, 7)):
            width, height = rng.uniform(8, 200, 2)
            x, y = rng.uniform(0, 400, 2)
            points = rng.uniform(0, 1, (skeleton.num_keypoints, 3)) * (width, height, 1) + (x, y, 0)
            kind = rng.choice(["person", "crowd", "unlabeled"], p=[0.7, 0.15, 0.15])
            seen = rng.integers(0, 3, skeleton.num_keypoints) * (kind == "person")
            points = np.where(seen[:, None] > 0, np.round(points), 0)
            points[:, 2] = seen
            people.append(
                {
                    "id": len(people),  # 0 is one of the ids
                    "image_id": image_id,
                    "category_id": CATEGORY,
                    "bbox": [x, y, width, height],
                    "area": width * height * rng.uniform(0.4, 0.8),
                    "iscrowd": int(kind == "crowd"),
                    "keypoints": points.ravel().tolist(),
                    "num_keypoints": int((seen > 0).sum()),
                }
            )
    images = [{"id": i, "file_name": f"{i}.jpg", "height": 600, "width": 640} for i in range(num_images)]
    categories = [{"id": CATEGORY, "name": skeleton.name, "keypoints": list(skeleton.keypoints)}]
    return {"images": images, "categories": categories, "annotations": people}


def random_results(rng, ground_truth, skeleton):
    """Results with none to three poses per person, of different accuracy, and a random pose per image."""
    results = []
    for person in ground_truth["annotations"]:
        for _ in range(rng.integers(0, 4)):
            blur = rng.choice([0.5, 3, 20])
            corner, size = np.array(person["bbox"]).reshape(2, 2)
            points = np.array(person["keypoints"], float).reshape(-1, 3)
            anywhere = np.array(corner) + rng.uniform(size=(len(points), 2)) * size
            points[:, :2] = np.where(points[:, 2:] > 0, points[:, :2], anywhere)
            points += rng.normal(0, blur, points.shape)
            box = [*(corner + rng.normal(0, blur, 2)), *size]
            results.append(
                {"image_id": person["image_id"], "keypoints": points.ravel().tolist(), "bbox": box}
            )
    for image in ground_truth["images"]:
        points = rng.uniform(0, 600, (skeleton.num_keypoints, 3)).ravel().tolist()
        results.append({"image_id": image["id"], "keypoints": points, "bbox": [0.0, 0.0, 600.0, 600.0]})
    # The scores are rounded, so that some are equal.
    return [{**result, "category_id": CATEGORY, "score": round(rng.uniform(), 2)} for result in results]


def instances(keypoints, scores=None, boxes=None):
    """Detections (M, K, 3) of one image, as a model returns them; scores are 1 and boxes 0 if not given."""
    keypoints = torch.as_tensor(keypoints, dtype=torch.float32)
    found = Instances((100, 100))
    found.pred_keypoints = keypoints
    found.scores = torch.ones(len(keypoints)) if scores is None else torch.tensor(scores)
    found.pred_boxes = Boxes(torch.zeros(len(keypoints), 4) if boxes is None else torch.tensor(boxes))
    found.pred_classes = torch.zeros(len(keypoints), dtype=torch.int64)
    return found


def images(ground_truth):
    """The images of annotations, as inputs of an evaluator."""
    return [{"image_id": image["id"], "file_name": image["file_name"]} for image in ground_truth["images"]]


def perfect(ground_truth):
    """The outputs of a perfect model for each image: the ground truth in continuous pixels.

    Unlabeled keypoints are at the center of the box.
    """
    num_keypoints = len(ground_truth["categories"][0]["keypoints"])
    outputs = []
    for image in ground_truth["images"]:
        people = [
            person
            for person in ground_truth["annotations"]
            if person["image_id"] == image["id"] and person["num_keypoints"]
        ]
        keypoints = [np.array(person["keypoints"], float).reshape(-1, 3) + HALF for person in people]
        for points, (x, y, width, height) in zip(keypoints, (item["bbox"] for item in people), strict=True):
            points[points[:, 2] == 0, :2] = x + width / 2, y + height / 2
        boxes = [[x, y, x + width, y + height] for x, y, width, height in (item["bbox"] for item in people)]
        found = instances(
            np.array(keypoints).reshape(-1, num_keypoints, 3), boxes=np.array(boxes).reshape(-1, 4)
        )
        outputs.append({"instances": found})
    return outputs
