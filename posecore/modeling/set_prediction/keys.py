"""The configuration keys that the set-prediction methods share: :func:`add_shared_keys`."""

from detectron2.config import CfgNode


def add_shared_keys(node: CfgNode, *, dropout: float, num_queries: int) -> None:
    """Adds the keys of the transformer, of the queries, of the costs of matches and of the poses' shift.

    Args:
        node: the method's, such as MODEL.POET.
        dropout, num_queries: the defaults of DROPOUT and NUM_QUERIES.
    """
    # Encoder and decoder: their width, the heads of their attentions, their layers, the width of their
    # feed-forward layers, and the probability of dropout.
    node.WIDTH = 256
    node.HEADS = 8
    node.ENCODER_LAYERS = 6
    node.DECODER_LAYERS = 6
    node.FEED_FORWARD = 2048
    node.DROPOUT = dropout
    # The number of queries, in GroupPose of groups of queries: at most so many persons of an image are found.
    node.NUM_QUERIES = num_queries
    # (cost, weight) pairs whose sum is the cost of a match, as LOSSES has them; empty: those of LOSSES.
    node.COSTS = []
    # Pixels of the original image that poses are moved right and down by: 0.5 for weights that were trained
    # with the first pixel's center at 0, as the official ones were; 0 for those trained here.
    node.SHIFT = 0.0
