"""Toposweep: sweeps of language models under scarce compute, every checkpoint measured, also by its topology."""

from __future__ import annotations

import argparse
import atexit
import dataclasses
import json
import os
import shlex
import shutil
import signal
import sys
import typing
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

from rich.console import Console
from rich.markup import escape
from rich.table import Table

import search_spaces
from cluster import jobs
from orchestrator.overrides import override
from orchestrator.spec import Sweep
from orchestrator.words import SpecError, type_name
from trainables import hub
from trainables.redaction import Parser, redact
from trainables.storage import CorruptFileError

if TYPE_CHECKING:
    from orchestrator.comparison import Beside
    from orchestrator.plan import PlannedTrial
    from orchestrator.store import Store

DONE, FAILED, USAGE, INTERRUPTED = 0, 1, 2, 130
EXIT_CODES = """exit codes:
  0    all trials trained and all checkpoints measured
  1    some trials or measurements failed; each is named with its log
  2    bad usage, bad spec or unreadable input
  130  interrupted; everything is kept, the same command goes on"""


def main(arguments: list[str] | None = None) -> int:
    arguments = sys.argv[1:] if arguments is None else arguments
    hub.settle()
    options = _parse(arguments or ["run", "quickstart"])
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        code: int = options.command(options)
        return code
    except (SpecError, CorruptFileError) as error:
        _say(str(error))
        return USAGE
    except OSError as error:  # a full disk, a store that went away, a cluster that does not answer
        _say(f"{error}; what was written is kept, run again once this is mended")
        return FAILED
    except KeyboardInterrupt:
        again = redact(shlex.join(["python", "sweep.py", *arguments]))
        print(f"\nsweep.py: interrupted; everything so far is kept. Go on with: {again}", file=sys.stderr)
        return INTERRUPTED


def _say(text: str) -> None:
    print(f"sweep.py: {redact(text)}", file=sys.stderr)


def _parse(arguments: list[str]) -> argparse.Namespace:
    """argparse takes a list of positionals only in one piece; settings may stand on both sides of an option."""
    parser = _parser()
    options, rest = parser.parse_known_args(arguments)
    if rest and (not hasattr(options, "overrides") or any(word.startswith("-") for word in rest)):
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    if rest:
        options.overrides = [*options.overrides, *rest]
    return options


def _interrupt(signum: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog="sweep.py",
        description=f"{__doc__} Without arguments: run quickstart.",
        epilog=EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for name, function, text in (
        ("run", _run, "train and measure what the store lacks; run again, it goes on where it was"),
        ("plan", _plan, "print each trial, what would run and why; runs nothing"),
        ("prepare", _prepare, "only download, tokenise and pack what run needs, for machines without a network"),
    ):
        command = _command(commands, name, function, text, epilog=_settings_manual())
        command.add_argument("space", metavar="SPACE", help="a search space: " + ", ".join(search_spaces.names()))
        command.add_argument(
            "overrides", metavar="key=value", nargs="*", default=[], help="settings of the sweep, listed below"
        )
        command.add_argument(
            "--store", metavar="URI", help="results folder or URI (default: results/SPACE, or $TOPOSWEEP_RESULTS/SPACE)"
        )
    for name in ("run", "prepare"):
        commands.choices[name].add_argument(
            "--address",
            metavar="ADDR",
            help="a running Ray cluster: auto or host:port from one of its machines; or from elsewhere job, "
            "http://HOST:8265 or ray://HOST:10001, to run it there (default: a Ray of its own)",
        )
    commands.choices["plan"].add_argument(
        "--address", metavar="ADDR", help="taken as by run; planning needs no cluster"
    )
    commands.choices["plan"].add_argument("--json", action="store_true", help="a JSON list of trials")
    for name, function, text in (
        ("status", _status, "print how far each trial of a store is"),
        (
            "report",
            _report,
            "write a store's results, report, tables, figures and lost TensorBoard runs anew; print the table",
        ),
    ):
        command = _command(commands, name, function, text)
        command.add_argument("store", metavar="STORE", help="results folder or URI")
    report = commands.choices["report"]
    report.add_argument("--beside", metavar="STORE", help="another store to compare with, such as public checkpoints")
    report.add_argument("--by", choices=("tokens", "flops"), default="tokens", help="compare at equal ... [tokens]")
    report.add_argument("--live", action="store_true", help="serve it on this machine, anew whenever the store changes")
    report.add_argument("--port", type=int, default=0, metavar="N", help="of --live [any that is free]")
    command = _command(
        commands, "verify", _verify, "read every file of a store against its hash, and set aside what is damaged"
    )
    command.add_argument("store", metavar="STORE", help="results folder or URI")
    _command(commands, "spaces", _spaces, "list the search spaces")
    command = _command(
        commands, "cluster", _cluster, "check a file that describes a cluster, before machines cost money"
    )
    command.add_argument("what", choices=("check",), help="name what is not set yet, or is unsafe, with its line")
    command.add_argument(
        "file", metavar="FILE", type=Path, help="for ray up, KubeRay or Slurm, made of one in cluster/"
    )
    return parser


def _command(
    commands: argparse._SubParsersAction[Parser],
    name: str,
    function: typing.Callable[[argparse.Namespace], int],
    text: str,
    epilog: str = "",
) -> argparse.ArgumentParser:
    formatter = argparse.RawDescriptionHelpFormatter
    epilog = f"{epilog}\n\n{EXIT_CODES}" if epilog else EXIT_CODES
    command = commands.add_parser(name, help=text, description=text[0].upper() + text[1:] + ".", epilog=epilog)
    command.formatter_class = formatter
    command.set_defaults(command=function)
    return command


def _settings_manual() -> str:
    """Every setting with type, default and meaning, from the dataclass itself."""
    hints = typing.get_type_hints(Sweep)
    headings = {
        "axis": "axes (a finished sweep can be extended along these)",
        "fixed": "fixed (one value in a store)",
        "free": "free (change no number)",
    }
    lines = ["settings, key=value:"]
    for role, heading in headings.items():
        lines.append(f" {heading}:")
        for item in dataclasses.fields(Sweep):
            if item.metadata["role"] == role:
                default = ",".join(map(str, item.default)) if isinstance(item.default, tuple) else item.default
                shown = f" [{default}]" if default not in ("", None) and role != "axis" else ""
                lines.append(f"  {item.name + '=' + type_name(hints[item.name]):28} {item.metadata['help']}{shown}")
    return "\n".join(lines)


def _console() -> Console:
    """The terminal as it is; wide where the output goes to a file or a pipe, so that lines stay whole."""
    return Console() if sys.stdout.isatty() else Console(width=160)


def _sweep_and_store(options: argparse.Namespace) -> tuple[Sweep, Store]:
    from orchestrator.store import RESULTS_HOME, Store

    sweep = override(search_spaces.find(options.space)(), options.overrides)
    home = os.environ.get(RESULTS_HOME, "results")
    return sweep, Store.open(f"{home}/{options.space}" if options.store is None else options.store)


def _run(options: argparse.Namespace) -> int:
    if jobs.is_elsewhere(options.address):
        return _run_elsewhere("run", options)
    from orchestrator import driver

    sweep, store = _sweep_and_store(options)
    store.require_writable()
    console = _console()
    failures = driver.run(sweep, options.space, store, address=options.address, console=console)
    _summarize(store, console)
    for line in failures:
        _say(line)
    return FAILED if failures else DONE


def _run_elsewhere(command: str, options: argparse.Namespace) -> int:
    override(search_spaces.find(options.space)(), options.overrides).bounds()  # what is wrong is said here and now
    return jobs.run(command, options.space, options.overrides, options.store, options.address)


def _prepare(options: argparse.Namespace) -> int:
    if jobs.is_elsewhere(options.address):
        return _run_elsewhere("prepare", options)
    from orchestrator import driver

    sweep, store = _sweep_and_store(options)
    store.require_writable()
    store.refuse_mixing(sweep)
    driver.prepare(sweep, store, address=options.address, console=_console())
    for tokens in dict.fromkeys(config.tokens for config in sweep.bounds()):
        print(f"prepared {store.tokens(tokens)}")
    return DONE


def _summarize(store: Store, console: Console, beside: Beside | None = None) -> None:
    """Results, report, tables, and where everything is."""
    from orchestrator import comparison, report, results
    from orchestrator.analysis import analyse
    from orchestrator.store import REPORT, RESULTS
    from orchestrator.tensorboard import log_directory, restore

    frame = results.collect(store)
    results.write(store, frame)
    report.write(store, frame, analyse(frame, results.ends(store)), beside)
    restore(store)
    final = results.at_budget(store, frame)
    _name_damage(store)
    if not final.empty:
        console.print(results.rich_table(results.by_budget(final)))
    if beside and not final.empty:
        console.print(comparison.rich_table(comparison.compare(final, beside), beside))
        console.print(beside.caution, style="yellow", highlight=False, markup=False)
    remarks = [f"stopped  {line}" for line in results.stopped_lines(store)]
    for line in remarks + [f"fault    {line}" for line in results.fault_lines(store)]:
        console.print(line, style="yellow", highlight=False, markup=False, soft_wrap=True)
    for label, text in (
        ("results", f"{store.root}/{RESULTS}"),
        ("report", f"{store.root}/{REPORT}"),
        ("watch", shlex.join([_tensorboard(), "--logdir", str(log_directory(store))])),
    ):
        console.print(f"{label:8} {text}", highlight=False, markup=False, soft_wrap=True)


def _name_damage(store: Store) -> None:
    """What could not be read and was passed over: the tables lack it."""
    for line in store.damage.values():
        print(f"sweep.py: {line}", file=sys.stderr)


def _tensorboard() -> str:
    """The command as it can be pasted: by its path where this Python's environment is not activated."""
    beside = Path(sys.executable).with_name("tensorboard")
    return str(beside) if beside.exists() and shutil.which("tensorboard") != str(beside) else "tensorboard"


def _plan(options: argparse.Namespace) -> int:
    from orchestrator import disk
    from orchestrator import plan as planning
    from orchestrator.search import Search

    sweep, store = _sweep_and_store(options)
    store.refuse_mixing(sweep)
    planned = planning.plan(sweep, store)
    estimate = disk.estimate(planned, sweep, store)
    _name_damage(store)
    if estimate.warning:
        print(f"sweep.py: {estimate.warning}", file=sys.stderr)
    if options.json:
        sizes = ({"disk_bytes": held.at_end, "disk_bytes_at_most": held.at_most} for held in estimate.trials)
        trials = [trial.to_json() | size for trial, size in zip(planned, sizes, strict=True)]
        print(json.dumps(trials, indent=1))
        return DONE
    if sweep.search != "grid":
        print(Search(sweep, store).forecast())
    _console().print(_plan_table(planned, [disk.human(held.at_end) for held in estimate.trials], store))
    for action in ("fetch" if sweep.checkpoints else "train", "measure", "done"):
        print(f"{action}: {sum(trial.action == action for trial in planned)}", end="  ")
    print(f"FLOPs to spend: {sum(trial.flops for trial in planned):.3g}")
    print(estimate.line)
    return DONE


def _plan_table(planned: list[PlannedTrial], sizes: list[str], store: Store) -> Table:
    table = Table(title=escape(f"plan for {store.uri}"), box=None)
    numeric = ("steps", "tokens", "FLOPs", "disk")
    for heading in ("trial", "action", *numeric, "why"):
        table.add_column(heading, justify="right" if heading in numeric else "left", overflow="fold")
    for trial, size in zip(planned, sizes, strict=True):
        config = trial.config
        steps = (
            f"{trial.from_step}..{config.steps}" if trial.from_step and trial.action == "train" else f"{config.steps}"
        )
        tokens, flops = config.tokens_at(config.steps), config.flops(config.steps)
        known = ("-" if tokens is None else f"{tokens:,}", "-" if flops is None else f"{flops:.3g}")
        numbers = (steps, *known, size)
        table.add_row(trial.trial_id, trial.action, *numbers, escape(trial.reason))
    return table


def _status(options: argparse.Namespace) -> int:
    from orchestrator import lease
    from orchestrator import plan as planning
    from orchestrator.store import Store

    store = Store.existing(options.store)
    planned = planning.standing(store)
    holder = lease.read(store.root)
    driven = holder is not None and not holder.is_dead
    table = Table(box=None)
    for heading in ("trial", "state", "step", "measured", "why"):
        table.add_column(heading, overflow="fold")
    for trial in planned:
        status = store.read_status(trial.trial_id)
        state = status.state if status else "waiting"
        if state == "running" and not driven:
            state = "interrupted"  # with its driver, before it could say so
        measured = len(store.measured_steps(trial.trial_id))
        table.add_row(
            trial.trial_id, state, f"{trial.from_step}/{trial.config.steps}", f"{measured}", escape(trial.reason)
        )
    _console().print(table)
    _name_damage(store)
    if unknown := planning.unknown_metrics(store):
        print(f"not looked for, since no module of metrics/ has them: {', '.join(unknown)}")
    failed = sum("failed" in trial.reason for trial in planned)
    left = sum(trial.action != "done" for trial in planned)
    print(f"{len(planned)} trials: {len(planned) - left} done, {left} left, of which {failed} failed")
    if driven:
        print(f"{holder} is working on it")
    return FAILED if failed else DONE


def _verify(options: argparse.Namespace) -> int:
    from orchestrator import lease
    from orchestrator.alarm import Alarm
    from orchestrator.store import Store
    from orchestrator.verify import verify

    store, alarm = Store.existing(options.store), Alarm()
    console, found = _console(), 0
    with alarm.heard(), lease.hold(store.root, alarm), console.status("reading") as status:
        for damage in verify(store, lambda name: status.update(f"reading {name}")):
            found += 1
            print(f"sweep.py: {damage.problem}: {damage.mend}", file=sys.stderr)
    print(f"{found} damaged files are set aside; run the sweep again" if found else f"{store.uri}: every file is whole")
    return FAILED if found else DONE


def _report(options: argparse.Namespace) -> int:
    from orchestrator.comparison import Beside
    from orchestrator.store import Store

    store = Store.existing(options.store)
    beside = Beside.of(store, Store.existing(options.beside), options.by) if options.beside else None
    if options.live:
        return _serve(store, options.port, beside)
    _summarize(store, _console(), beside)
    return DONE


def _serve(store: Store, port: int, beside: Beside | None) -> int:
    """Until an interrupt, which is how it ends well."""
    from orchestrator.report import live

    live.serve(store, port, beside, say=lambda address: print(f"report   {address}  (Ctrl-C ends it)", flush=True))
    return DONE


def _spaces(options: argparse.Namespace) -> int:
    broken = False
    for name in search_spaces.names():
        try:
            print(f"{name:20} {search_spaces.describe(name)}")
        except SpecError as error:
            broken = True
            _say(str(error))
    return USAGE if broken else DONE


def _cluster(options: argparse.Namespace) -> int:
    from cluster import check

    found = check.check(options.file)
    for one in found:
        print(f"{options.file}:{one}")
    if token := check.token_problem(options.file):
        print(token)
    if found or token:
        return USAGE
    print(f"{options.file}: nothing is wrong with it")
    return DONE


if __name__ == "__main__":
    code = main()
    if code == INTERRUPTED:  # Ray's threads, stopped half way, can crash the interpreter's own end (1 in 18 tries)
        atexit._run_exitfuncs()
        sys.stdout.flush()
        os._exit(code)
    sys.exit(code)
