"""Published methods around a model: pure functions of candidates, answers and votes, handed what asks a model."""
