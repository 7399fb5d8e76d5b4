"""What a sweep will need, looked at before it runs: this machine, the Hub, models and data sets."""
