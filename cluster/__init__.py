"""Where a sweep runs: clusters to start (``ray up``, KubeRay, Slurm), and what a run asks of the one it has joined."""
