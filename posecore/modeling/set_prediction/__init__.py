"""Set prediction: every query of a DETR-like model predicts one person of its image, or nobody.

What such methods share: queries that are learned, selected among the cells, or made of ground truth with
noise (``queries``, ``proposals``, ``denoising``); poses, ground-truth persons, what queries predict, and
detections (``poses``, ``persons``, ``predictions``, ``detections``); costs of classes and poses
(``classification``, ``costs``), the Hungarian matching of persons to queries (``matcher``), the losses of
the matched pairs (``criterion``), and configuration keys (``keys``). A method has the network, the code of a
pose in its output, and its choice among the costs and losses.

Letters: L decoder layers, N images, Q queries, C logits of a query, P persons in all images, M matched pairs
of all layers, K keypoints, D width of the network.
"""
