"""Exporting trained models to ONNX, checked against PyTorch at once; ``tools/export.py`` runs it.

graph             ExportGraph: what is exported of a model, a function of tensors alone
suppression       the operators of non-maximum suppression with a fixed number of results, and their ONNX form
fcos              candidates and detections of FCOS with fixed sizes
keypoint_network  generated networks of many images at once
onnx_file         writes the ONNX model of a graph
precision         float16 and int8 forms of an ONNX model
comparison        the deviation of an exported model from PyTorch, times, and the AP of both
description       the description beside a model
onnx_export       all of these together
images            the images that exports are checked on
quiet             hides what other libraries print about their own code
"""
