"""A sweep in five lines, as in a notebook: what loss does a budget buy, and what shape does it leave in each layer?"""

from orchestrator import load_results, run
from search_spaces.quickstart import search_space

STORE = "results/from_a_notebook"
METRICS = ["held_out", "persistent_homology"]

found = run(search_space(), STORE, seeds=(0, 1), budgets="2e9,4e9", metrics=METRICS)
print(found.by_budget[["budget_flops", "held_out_loss"]])

values = load_results(STORE).values
shape = values[values.metric == "h0_total_persistence_scaled"]
print(shape.pivot_table(index=["budget_flops", "step"], columns="layer", values="value"))
