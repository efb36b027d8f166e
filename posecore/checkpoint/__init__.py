"""Reading, converting and writing the weights of models."""
