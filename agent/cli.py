"""The command: verbs and exit codes.

    0 ok · 1 found problems · 2 usage · 69 Loki unreachable · 73 cannot create state · 75 another instance holds the state ·
    77 permission · 78 configuration

Each verb imports what it needs, so that `--help` and `check` are quick.
"""

from __future__ import annotations

import argparse
import gc
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from agent import __version__
from agent.failures import OK, USAGE, explain

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from agent.config import Config

DEFAULT_CONFIG = Path("/etc/greenstack-agent/config.toml")


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the verb of the command line; gives the exit code."""
    arguments = parser().parse_args(argv)
    run: Callable[[argparse.Namespace], int] = arguments.run
    try:
        return run(arguments)
    except BrokenPipeError:
        # The reader of our output left. Python would complain again when it flushes stdout at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return OK
    except KeyboardInterrupt:
        return 130


def parser() -> argparse.ArgumentParser:
    top = argparse.ArgumentParser(
        prog="greenstack-agent",
        description="Ships GreenStack's JSON logs to Grafana Loki: redacted, once, through any crash.",
    )
    top.add_argument("--version", action="version", version=f"greenstack-agent {__version__}")
    verbs = top.add_subparsers(metavar="VERB", required=True)

    run = verbs.add_parser("run", help="the daemon: ship until stopped")
    _config_option(run)
    run.set_defaults(run=_run)

    check = verbs.add_parser("check", help="every mistake of a configuration at once; needs no network")
    _config_option(check)
    check.set_defaults(run=_check)

    ship = verbs.add_parser("ship", help="deliver given files (also .gz) from start to end, then exit")
    _config_option(ship)
    ship.add_argument("paths", nargs="+", type=Path, metavar="PATH")
    ship.add_argument(
        "--patience", type=float, default=60.0, metavar="SECONDS", help="give up after so long without any success (60)"
    )
    ship.set_defaults(run=_ship)

    redact = verbs.add_parser("redact", help="stdin to stdout without secrets: one line in, one line out")
    redact.add_argument("-c", "--config", type=Path, metavar="FILE")
    redact.add_argument("what", nargs="?", choices=("rules",), help="`rules` lists the rules and reads nothing")
    redact.add_argument("--report", action="store_true", help="print counts for each rule to stderr at the end")
    redact.add_argument("--json", action="store_true", help="list the rules as JSON")
    redact.set_defaults(run=_redact)

    why = verbs.add_parser(
        "explain", help="for each line on stdin: stream, time, metadata, and which rules fired or not"
    )
    why.add_argument("-c", "--config", type=Path, metavar="FILE")
    why.add_argument("--path", default="/dev/stdin", help="the file the lines are said to come from (/dev/stdin)")
    why.add_argument("--json", action="store_true", help="one JSON object a line")
    why.set_defaults(run=_explain)

    demo = verbs.add_parser(
        "demo", help="a GreenStack-like application, this agent and a Loki stand-in, in one terminal"
    )
    demo.add_argument("--seconds", type=float, default=None, help="end after so long instead of at Ctrl-C")
    demo.add_argument("--rate", type=float, default=20.0, help="lines per second (20)")
    demo.set_defaults(run=_demo)

    letters = verbs.add_parser("dead-letters", help="entries that Loki refused for good")
    letters.add_argument("what", choices=("list", "show", "replay"))
    _config_option(letters)
    letters.add_argument("-n", type=int, default=20, metavar="COUNT", help="how many to show, the newest (20)")
    letters.add_argument(
        "--patience", type=float, default=60.0, metavar="SECONDS", help="of a replay without an answer (60)"
    )
    letters.set_defaults(run=_dead_letters)

    schema = verbs.add_parser("schema", help="JSON Schema of the configuration")
    schema.set_defaults(run=_schema)
    return top


def _config_option(verb: argparse.ArgumentParser) -> None:
    verb.add_argument(
        "-c", "--config", type=Path, default=DEFAULT_CONFIG, metavar="FILE", help=f"configuration ({DEFAULT_CONFIG})"
    )


def _reporting(verb: Callable[[argparse.Namespace], int]) -> Callable[[argparse.Namespace], int]:
    """The verb, with the failures an operator can mend as messages and exit codes; a bug keeps its traceback."""

    def run(arguments: argparse.Namespace) -> int:
        try:
            return verb(arguments)
        except Exception as error:
            known = explain(error)
            if known is None:
                raise
        code, messages = known
        for message in messages:
            print(message, file=sys.stderr)
        return code

    return run


def _load(path: Path) -> Config:
    from agent.settings import load

    return load(path, os.environ)


@_reporting
def _check(arguments: argparse.Namespace) -> int:
    from agent.tail.multiline import check_starts
    from agent.transform.redact import Redactor
    from agent.transform.redaction.engine import installed_engine

    settings = _load(arguments.config)
    Redactor.build(settings.redact, pseudonym_key=bytes(32))
    check_starts(settings.source, installed_engine())
    print(f"{arguments.config}: ok")
    return OK


@_reporting
def _run(arguments: argparse.Namespace) -> int:
    # What a start makes is there to stay, and looking for garbage in it takes a tenth of the start. The app looks once, when the
    # first lines are delivered; and here, for what the libraries leave is half a megabyte, and our modules fit into it.
    gc.disable()
    from agent import config, http  # noqa: F401 - these two load most libraries

    gc.collect()
    gc.freeze()
    from agent.running import run_daemon

    return run_daemon(_load(arguments.config))


@_reporting
def _ship(arguments: argparse.Namespace) -> int:
    from agent.running import ship

    missing = [path for path in arguments.paths if not path.is_file()]
    for path in missing:
        print(f"{path}: {'not a regular file' if path.exists() else 'no such file'}", file=sys.stderr)
    if missing:
        return USAGE
    return ship(_load(arguments.config), arguments.paths, patience_s=arguments.patience)


@_reporting
def _redact(arguments: argparse.Namespace) -> int:
    from agent.filtering import redact_stream

    settings = _load(arguments.config) if arguments.config else None
    if arguments.what == "rules":
        from agent.explaining import list_rules

        return list_rules(settings, sys.stdout, as_json=arguments.json)
    return redact_stream(settings, sys.stdin.buffer, sys.stdout.buffer, sys.stderr if arguments.report else None)


@_reporting
def _explain(arguments: argparse.Namespace) -> int:
    import socket

    from agent.explaining import explain_stream

    settings = _load(arguments.config) if arguments.config else None
    return explain_stream(
        settings,
        sys.stdin.buffer,
        sys.stdout,
        path=arguments.path,
        host=(settings.labels.host if settings else "") or socket.gethostname(),
        as_json=arguments.json,
    )


@_reporting
def _demo(arguments: argparse.Namespace) -> int:
    from agent.demo.show import demo

    return demo(seconds=arguments.seconds, rate=arguments.rate)


@_reporting
def _dead_letters(arguments: argparse.Namespace) -> int:
    from agent.letters import dead_letters

    return dead_letters(_load(arguments.config), arguments.what, count=arguments.n, patience_s=arguments.patience)


@_reporting
def _schema(_: argparse.Namespace) -> int:
    import json

    from agent.settings import schema

    print(json.dumps(schema(), indent=2))
    return OK
