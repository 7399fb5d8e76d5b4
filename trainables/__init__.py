"""What a trial does: corpus, token store, models and the training loop. Nothing here imports ``orchestrator``."""
