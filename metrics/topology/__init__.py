"""The shape of what a checkpoint has learned: each module is pure functions of arrays and one METRIC."""
