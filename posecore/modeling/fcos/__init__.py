"""FCOS (arXiv 2006.09214), the one-stage detector that DirectPose, FCPose and InsPose are built on.

detector   FCOSDetector: the detector that a model holds, and its settings
head       FCOSHead: towers and predictions on every level
locations  the centers of cells in the image, and selections of them
targets    the assignment of locations to persons, and the ground truth at positive locations
losses     the loss terms
decode     candidates, boxes and non-maximum suppression
"""
