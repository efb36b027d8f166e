"""Structures that do not depend on a method: skeletons, boxes, heatmaps, object keypoint similarity."""
