"""What the decoder starts from."""

from posecore.modeling.set_prediction.queries import LearnedQueries


def test_queries_start_from_nothing_but_their_positions() -> None:
    queries = LearnedQueries(5, 16)(3)
    assert queries.values.shape == queries.positions.shape == (3, 5, 16)
    assert queries.values.abs().sum() == 0
    assert queries.hidden is None
