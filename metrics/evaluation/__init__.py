"""How well a checkpoint predicts text."""
