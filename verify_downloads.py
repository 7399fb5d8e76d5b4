"""Looks, before a sweep runs, whether this machine and the Hub have what it needs; each failure with its mend."""

from __future__ import annotations

import argparse
import atexit
import functools
import io
import json
import os
import sys
import textwrap
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

from rich.console import Console
from rich.text import Text

import search_spaces
from metrics.evaluation import harness
from orchestrator.overrides import override
from orchestrator.spec import Sweep
from orchestrator.store import Store
from preflight import connection, data, machine, published
from preflight.check import Check, Checklist
from preflight.data import Source
from preflight.published import Target
from trainables import hub, models
from trainables.budget import Budget
from trainables.published import MAIN
from trainables.redaction import Parser, redact
from trainables.shards import Columns
from trainables.tokenizers import AUTO

PASSED, FAILED, USAGE, INTERRUPTED = 0, 1, 2, 130
MODEL, DATASET = "pythia-14m", "pile"
STEPS = 1000  # of the trial that disk and memory are checked for, without a search space
SEQUENCE = 2048  # Pythia's
MANUAL = """depths:
  --quick    packages, connection, cache, disk and memory; what the Hub says of the models, and the structure of the
             data sets. Downloads neither weights, tokenizers nor text
  (default)  also downloads tokenizers and configurations, reads the first validation documents, and streams text
  --full     also downloads weights, loads them as a trial does, and makes a forward pass

examples:
  python verify_downloads.py --quick
  python verify_downloads.py --full --model pythia-70m@step1000 --dataset wikitext-2
  python verify_downloads.py pythia_budgets model=pythia-160m seeds=0,1 --store /scratch/results
  HF_HUB_OFFLINE=1 python verify_downloads.py --full --model ./my-model --dataset /data/pile --json

environment: HF_HOME and HF_HUB_CACHE (where downloads go), SCRATCH (they go to $SCRATCH/huggingface where neither is
set), HF_TOKEN, HF_ENDPOINT (a mirror), HF_HUB_OFFLINE=1 (only the cache), HTTPS_PROXY, HTTP_PROXY, NO_PROXY

exit codes:
  0    all checks passed
  1    some failed; each with its cause and mend
  2    bad usage
  130  interrupted"""


@dataclass(frozen=True)
class Plan:
    """What is looked at. sweep: of a search space, None without one; tokenizer: the user's word for it."""

    depth: str
    targets: tuple[Target, ...]
    sources: tuple[Source, ...]
    tokenizer: str
    sweep: Sweep | None
    store: Store
    evaluations: bool

    def sweeps(self) -> list[Sweep]:
        """Whose disk and memory are checked: without a search space, one trial of each model."""
        if self.sweep:
            return [self.sweep]
        return [self._single(target) for target in self.targets]

    def _single(self, target: Target) -> Sweep:
        context = models.find(target.word).context
        budget = Budget(STEPS, "steps")
        corpus = self.sources[0].word
        return Sweep(model=(target.word,), seeds=(0,), budgets=(budget,), corpus=corpus, seq_len=min(SEQUENCE, context))

    @property
    def said(self) -> str:
        named = ", ".join(target.label for target in self.targets)
        what = f"model {named}; data {', '.join(source.word for source in self.sources)}"
        return f"{what}; {'the whole sweep' if self.sweep else f'one trial of {STEPS:,} steps'} ({self.depth})"


def main(arguments: list[str] | None = None) -> int:
    hub.settle()
    parser = _parser()
    options = parser.parse_intermixed_args(arguments)
    try:
        plan = _plan(options)
    except ValueError as error:
        print(f"verify_downloads.py: {redact(str(error))}", file=sys.stderr)
        return USAGE
    began = time.perf_counter()
    console = Console()
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # a terminal that has no check mark
    checklist = Checklist() if options.json else Checklist(functools.partial(_show, console))
    try:
        if not options.json:
            console.print(f"checking {plan.said}", highlight=False, markup=False, soft_wrap=True)
        look(plan, checklist)
    except KeyboardInterrupt:
        print("\nverify_downloads.py: interrupted; what was downloaded stays in the cache", file=sys.stderr)
        return INTERRUPTED
    seconds = time.perf_counter() - began
    if options.json:
        print(json.dumps(_as_json(plan, checklist.checks, seconds), indent=1))
    else:
        console.print(f"{checklist.passed}/{len(checklist.checks)} checks passed in {seconds:.1f} s", highlight=False)
    return PASSED if checklist.passed == len(checklist.checks) else FAILED


def _parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog="verify_downloads.py",
        description=__doc__,
        epilog=MANUAL,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("space", metavar="SPACE", nargs="?", help="a search space, for what its sweep needs")
    add("overrides", metavar="key=value", nargs="*", help="settings of the sweep, as for sweep.py run")
    depth = parser.add_mutually_exclusive_group()
    for name, text in (("quick", "only look"), ("full", "weights and a forward pass, too")):
        depth.add_argument(f"--{name}", dest="depth", action="store_const", const=name, default="default", help=text)
    named: dict[str, Any] = {"nargs": "+", "action": "extend", "metavar": "NAME"}
    add("--model", **named, help=f"name, Hub id or folder, perhaps @REVISION (default: those of SPACE, or {MODEL})")
    add("--dataset", **named, help=f"name, Hub id[:config], folder or file (default: that of SPACE, or {DATASET})")
    add("--evaluations", action="store_true", help=f"also the data of {', '.join(data.EVALUATIONS)}")
    add("--store", metavar="URI", help="results folder whose disk is checked (default: results/SPACE)")
    add("--json", action="store_true", help="one JSON object: passed, checks, versions, cache ...")
    return parser


def _plan(options: argparse.Namespace) -> Plan:
    """Raises SpecError and other ValueErrors for a name that is nothing, before anything is asked of the network."""
    sweep = override(search_spaces.find(options.space)(), options.overrides) if options.space else None
    if sweep and not options.model:
        revisions = (MAIN,) if sweep.checkpoints else sweep.revision
        targets = tuple(Target(word, revision) for word in sweep.model for revision in revisions)
    else:
        targets = tuple(map(Target.of, options.model or [MODEL]))
    columns = Columns(sweep.text_columns, sweep.domain_column) if sweep else Columns()
    words = options.dataset or [sweep.corpus if sweep else DATASET]
    sources = tuple(Source.of(word, columns if sweep and word == sweep.corpus else Columns()) for word in words)
    default = f"results/{options.space}" if options.space else "results"
    return Plan(
        depth=options.depth,
        targets=targets,
        sources=sources,
        tokenizer=sweep.tokenizer if sweep else AUTO,
        sweep=sweep,
        store=Store.open(default if options.store is None else options.store),
        evaluations=options.evaluations,
    )


def look(plan: Plan, checklist: Checklist) -> None:
    """Every check of the plan; one that fails stops only those that need it."""
    checklist.run("packages", machine.packages)
    cached = "HF_HUB_OFFLINE=1 to use only what is in the cache"
    online = checklist.run("connection", connection.connection, otherwise=cached, seconds=connection.AT_MOST_S)
    checklist.run("cache", connection.cache)
    seen = [_look_at_model(plan, target, online, checklist) for target in plan.targets]
    for source in plan.sources:
        _look_at_data(plan, source, online, checklist, seen[0].tokenizer_json)
    _look_at_evaluations(plan, online, checklist)
    unknown = [one.shape for target, one in zip(plan.targets, seen, strict=True) if not models.known(target.word)]
    checklist.run("disk", lambda: machine.disk_room(plan.sweeps(), plan.store), needs=unknown)
    checklist.run("memory", lambda: machine.memory(plan.sweeps()), needs=unknown)


class Seen(NamedTuple):
    """Of a model: the check that its shape is there to be known, and the path of its tokenizer, where it is there."""

    shape: Check
    tokenizer_json: str | None


def _look_at_model(plan: Plan, target: Target, online: Check, checklist: Checklist) -> Seen:
    run, label = checklist.run, target.label
    remote = [online] if target.is_remote else []
    there = run(f"model {label}", lambda: published.described(target), needs=remote, otherwise=published.SMALLER)
    needed = [there]
    if target.starts_from_weights and target.is_remote and not hub.is_offline():
        room = run(f"room for {label}", lambda: published.roomy(target), needs=[there], otherwise=published.SMALLER)
        needed.append(room)
    if plan.depth == "quick":
        return Seen(there, None)
    configured = run(f"configuration of {label}", lambda: published.configured(target), needs=[there])
    corpus, word = plan.sources[0].word, plan.tokenizer
    tokenized = run(f"tokenizer of {label}", lambda: published.tokenized(target, word, corpus), needs=[configured])
    if plan.depth == "full":
        run(
            f"weights of {label}",
            lambda: published.computed(target, word),
            needs=[*needed, tokenized],
            otherwise=published.SMALLER,
            seconds=None,
        )
    return Seen(configured, published.tokenizer_json(target, word) if tokenized.passed else None)


def _look_at_data(plan: Plan, source: Source, online: Check, checklist: Checklist, tokenizer_json: str | None) -> None:
    run, others = checklist.run, data.OTHERS
    remote = [online] if source.is_remote else []
    there = run(f"data set {source.word}", lambda: data.structure(source), needs=remote, otherwise=others)
    if plan.depth == "quick":
        return
    run(f"validation split of {source.word}", lambda: data.held_out(source), needs=[there], otherwise=others)
    run(f"streaming {source.word}", lambda: data.streamed(source, tokenizer_json), needs=[there], otherwise=others)


def _look_at_evaluations(plan: Plan, online: Check, checklist: Checklist) -> None:
    words = plan.sweep.evaluation_settings.data if plan.sweep else ()
    local = harness.sources(words)
    names = [*(data.tasks(plan.sweep) if plan.sweep else ()), *(data.EVALUATIONS if plan.evaluations else ())]
    for name in dict.fromkeys(names):
        see = functools.partial(data.task, name, words, depth=plan.depth)
        checklist.run(f"evaluation {name}", see, needs=[] if name in local else [online])


def _show(console: Console, check: Check) -> None:
    """A line, and one for the mend; in a terminal they are wrapped beside the mark."""
    mark, colour = ("✓", "green") if check.passed else ("✗", "red")
    line = Text(_wrapped(console, mark, f"{check.name}: {check.found}"))
    line.stylize(colour, 0, 1)
    line.stylize("bold", 2, 2 + len(check.name))
    console.print(line, soft_wrap=True)
    if check.mend:
        console.print(Text(_wrapped(console, " ", f"→ {check.mend}"), "yellow"), soft_wrap=True)


def _wrapped(console: Console, mark: str, text: str) -> str:
    if not console.is_terminal:
        return f"{mark} {text}"
    return textwrap.fill(
        text,
        console.width,
        initial_indent=f"{mark} ",
        subsequent_indent="  ",
        break_long_words=False,
        break_on_hyphens=False,
    )


def _as_json(plan: Plan, checks: Sequence[Check], seconds: float) -> dict[str, Any]:
    from huggingface_hub import constants

    return {
        "passed": all(check.passed for check in checks),
        "checks": [asdict(check) for check in checks],
        "seconds": round(seconds, 2),
        "depth": plan.depth,
        "models": [target.label for target in plan.targets],
        "datasets": [source.word for source in plan.sources],
        "versions": machine.versions(),
        "cache": constants.HF_HUB_CACHE,
        "endpoint": redact(constants.ENDPOINT),
        "offline": hub.is_offline(),
    }


if __name__ == "__main__":
    code = main()
    atexit._run_exitfuncs()
    sys.stdout.flush()
    os._exit(code)  # not sys.exit: a check that was given up, and the clients' threads, would be waited for
