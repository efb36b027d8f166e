"""FCOS in parts: the one-stage detector that methods hold and add a keypoint branch to.

detector   the detector as a typed part, with its settings
head       towers and predictions over every level
locations  the centers of cells in the image, and selections of them
targets    assignment of persons to locations, ground truth at these
losses     the loss terms
decode     candidates, boxes, suppression
"""
