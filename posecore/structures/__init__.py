"""Poses and what is computed from them, whatever the method: skeletons, boxes, heatmaps, OKS."""
