"""COCO's average precision and recall of poses, computed in plain Python from their definition."""

import numpy as np

THRESHOLDS = np.arange(10) * 0.05 + 0.5


def similarity(pose, person, sigmas):
    """OKS of a pose and a person.

    For a person without labeled keypoints, distances are to the box, enlarged to three times its width and
    height.
    """
    pose, own = (np.reshape(item["keypoints"], (-1, 3)) for item in (pose, person))
    x, y, width, height = person["bbox"]
    labeled = own[:, 2] > 0
    if labeled.any():
        offsets = (pose - own)[labeled, :2]
    else:
        low, high = np.array([x - width, y - height]), np.array([x + 2 * width, y + 2 * height])
        offsets = np.maximum(low - pose[:, :2], 0) + np.maximum(pose[:, :2] - high, 0)
        labeled[:] = True
    spread = 2 * (person["area"] + np.spacing(1)) * (2 * np.array(sigmas)[labeled]) ** 2
    return np.exp(-(offsets**2).sum(1) / spread).mean()


def wanted(person):
    """Whether a person counts for the recall."""
    return person["num_keypoints"] > 0 and not person["iscrowd"]


def match_poses(people, poses, sigmas, threshold):
    """Yields for each of the 20 best poses of an image its score, and "hit", "wrong" or "ignored"."""
    free = [True] * len(people)
    for pose in sorted(poses, key=lambda pose: -pose["score"])[:20]:
        chosen = None
        for counts in (True, False):
            best = min(threshold, 1 - 1e-10)
            for index, person in enumerate(people):
                if wanted(person) == counts and (free[index] or person["iscrowd"]):
                    value = similarity(pose, person, sigmas)
                    if value >= best:
                        best, chosen = value, index
            if chosen is not None:
                break
        if chosen is None:
            yield pose["score"], "wrong"
        else:
            free[chosen] = False
            yield pose["score"], "hit" if wanted(people[chosen]) else "ignored"


def precision_and_recall(ground_truth, results, sigmas, threshold):
    """Average precision over COCO's 101 recalls, and recall, in percent, at one threshold of the OKS."""
    people, poses, matches = {}, {}, []
    for group, items in ((people, ground_truth["annotations"]), (poses, results)):
        for item in items:
            group.setdefault(item["image_id"], []).append(item)
    for image in ground_truth["images"]:
        matches += match_poses(people.get(image["id"], []), poses.get(image["id"], []), sigmas, threshold)
    counted = sorted((item for item in matches if item[1] != "ignored"), key=lambda item: -item[0])
    hits = np.cumsum([match == "hit" for _, match in counted])
    recall = hits / sum(map(wanted, ground_truth["annotations"]))
    precision = hits / np.arange(1, len(hits) + 1)
    heights = [precision[recall >= level - 1e-12].max(initial=0) for level in np.linspace(0, 1, 101)]
    return 100 * np.mean(heights), 100 * recall[-1]


def coco_metrics(ground_truth, results, sigmas):
    """AP, AP50, AP75, AR, AR50 and AR75; NaN if no person counts."""
    names = ("AP", "AR")
    if not any(map(wanted, ground_truth["annotations"])):
        return {name + at: np.nan for name in names for at in ("", "50", "75")}
    values = [precision_and_recall(ground_truth, results, sigmas, threshold) for threshold in THRESHOLDS]
    metrics = dict(zip(names, np.mean(values, axis=0), strict=True))
    for at, index in (("50", 0), ("75", 5)):
        metrics |= {name + at: value for name, value in zip(names, values[index], strict=True)}
    return metrics
