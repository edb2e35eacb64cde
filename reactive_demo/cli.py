"""The command `reactive-demo`."""

import argparse
import json
import os
import shutil
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from reactive_demo import servers as embedded
from reactive_demo.capture.install import install, uninstall
from reactive_demo.errors import ReactiveDemoError
from reactive_demo.settings import CHECKOUT, Settings

__all__ = ["main"]

NOTEBOOKS = CHECKOUT / "notebooks"
FIRST_NOTEBOOK = "00_welcome.ipynb"

QUIET_LAB = Path(__file__).parent / "tutorial" / "jupyter"
"""A Jupyter configuration without the news pop-up."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; its exit status. What a user can mend is said in one sentence."""
    parser = _parser()
    options, extra = parser.parse_known_args(arguments)
    if extra and options.run is not _lab:
        parser.error(f"unrecognized arguments: {' '.join(extra)}")
    options.extra = extra
    try:
        return int(options.run(options) or 0)
    except ReactiveDemoError as error:
        print(f"reactive-demo: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="reactive-demo",
        description="Reactive caching with PostgreSQL and Redis, as a tutorial and to take home.",
        epilog="DATABASE_URL and REDIS_URL, each on its own, replace the embedded server; "
        "REACTIVE_DEMO_HOME is the folder of the embedded ones.",
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    lab = commands.add_parser(
        "lab",
        help="start or join the servers and open JupyterLab",
        epilog="What is not an option here is passed on to `jupyter lab`.",
    )
    lab.set_defaults(run=_lab)

    run = commands.add_parser(
        "run", help="run a program with DATABASE_URL and REDIS_URL set, on running servers"
    )
    run.add_argument("command", nargs=argparse.REMAINDER, metavar="-- CMD ...")
    run.set_defaults(run=_run)

    install_ = commands.add_parser("install", help="put capture on a table")
    install_.add_argument("--table", default="profile", help="default: profile, made if absent")
    install_.add_argument(
        "--exclude",
        action="append",
        metavar="COLUMN",
        help="keep it out of the cache; default: what was kept out before",
    )
    install_.set_defaults(run=_install)

    uninstall_ = commands.add_parser("uninstall", help="take capture off without trace")
    uninstall_.add_argument("--table", help="default: all tables, and every function of ours")
    uninstall_.set_defaults(run=_uninstall)

    listen = commands.add_parser("listen", help="run a listener until SIGTERM or Ctrl-C")
    listen.add_argument("--table", default="profile")
    listen.set_defaults(run=_listen)

    serve = commands.add_parser("serve", help="run the profile app until SIGTERM or Ctrl-C")
    serve.add_argument("--port", type=int, default=8000, help="default: 8000; 0 is any free one")
    serve.add_argument("--address", default="127.0.0.1", help="default: 127.0.0.1")
    serve.add_argument(
        "--allow-host",
        action="append",
        default=[],
        metavar="NAME",
        help="answer under this name too, as behind a proxy",
    )
    serve.add_argument("--no-listener", action="store_true", help="another one runs elsewhere")
    serve.set_defaults(run=_serve)

    resync = commands.add_parser("resync", help="fill the cache again from the table")
    resync.add_argument("--table", default="profile")
    resync.set_defaults(run=_resync)

    audit = commands.add_parser(
        "audit",
        help="compare every cached key with its row, content too",
        epilog="Exit status: 0 all agree, 1 some keys are wrong, 2 it could not be found out. "
        "What differs is looked at again: what is late is not wrong. Of a table of more than "
        "100,000 rows, as many are drawn at random.",
    )
    audit.add_argument("--table", default="profile")
    audit.add_argument("--repair", action="store_true", help="put the wrong keys right, then exit")
    audit.add_argument("--json", action="store_true", help="print the report as JSON")
    audit.add_argument(
        "--again",
        nargs="+",
        type=float,
        default=[1.0, 5.0],
        metavar="SECONDS",
        help="how long to wait before each further look; default: 1 5",
    )
    audit.set_defaults(run=_audit)

    examine = commands.add_parser(
        "doctor", help="say what is installed, what answers, and how to mend what does not"
    )
    examine.set_defaults(run=_doctor)

    bench = commands.add_parser("bench", help="measure our pipeline beside the article's")
    bench.add_argument("--quick", action="store_true", help="less exact, in a minute")
    bench.add_argument("--json", type=Path, metavar="FILE", help="keep the figures")
    bench.set_defaults(run=_bench)

    faults = commands.add_parser(
        "faults", help="break both pipelines in every way, and tell which loses what"
    )
    faults.set_defaults(run=_faults)

    reset = commands.add_parser("reset", help="throw the embedded servers' data away")
    reset.set_defaults(run=_reset)
    return parser


def _lab(options: argparse.Namespace) -> int:
    if not NOTEBOOKS.is_dir():
        raise ReactiveDemoError(
            f"There are no notebooks in {CHECKOUT}: they come with a clone of the repository, not "
            "with the installed package."
        )
    servers = _connect()
    command = [
        *(sys.executable, "-m", "jupyterlab"),
        f"--ServerApp.root_dir={NOTEBOOKS}",
        f"--LabApp.default_url=/lab/tree/{FIRST_NOTEBOOK}",
        *(["--allow-root"] if hasattr(os, "geteuid") and os.geteuid() == 0 else []),
        *options.extra,
    ]
    known = os.environ.get("JUPYTER_CONFIG_PATH")
    os.environ["JUPYTER_CONFIG_PATH"] = os.pathsep.join(filter(None, [str(QUIET_LAB), known]))
    return _become(servers, command)


def _run(options: argparse.Namespace) -> int:
    command: list[str] = options.command[1:] if options.command[:1] == ["--"] else options.command
    if not command:
        raise ReactiveDemoError("Say what to run: reactive-demo run -- CMD ...")
    if shutil.which(command[0]) is None:
        print(f"reactive-demo: there is no program {command[0]!r}", file=sys.stderr)
        return 127
    servers = _connect()
    os.environ["DATABASE_URL"] = servers.database_url
    os.environ["REDIS_URL"] = servers.redis_url
    return _become(servers, command)


def _install(options: argparse.Namespace) -> None:
    with _connect() as servers:
        install(servers.database_url, options.table, exclude=options.exclude)
    print(f"The changes of the table {options.table} are captured.")


def _uninstall(options: argparse.Namespace) -> None:
    with _connect() as servers:
        uninstall(servers.database_url, options.table)
    what = f"the rows of {options.table}" if options.table else "all rows"
    print(f"The triggers are gone; {what} stayed as they were.")


def _listen(options: argparse.Namespace) -> None:
    from reactive_demo.tools.services import listen  # noqa: PLC0415

    with _connect() as servers:
        listen(servers.database_url, servers.redis_url, options.table)


def _serve(options: argparse.Namespace) -> None:
    from reactive_demo.tutorial.web.serve import serve  # noqa: PLC0415

    with _connect() as servers:
        serve(
            servers.database_url,
            servers.redis_url,
            port=options.port,
            address=options.address,
            hosts=options.allow_host,
            listening=not options.no_listener,
        )


def _resync(options: argparse.Namespace) -> None:
    from reactive_demo.tools.services import resync  # noqa: PLC0415

    with _connect() as servers:
        count = resync(servers.database_url, servers.redis_url, options.table)
    print(f"The cache holds {count:,} rows of {options.table}.")


def _audit(options: argparse.Namespace) -> int:
    from reactive_demo.tools.audit import command  # noqa: PLC0415

    try:
        with _connect() as servers:
            report = command.run(
                servers, options.table, repairs=options.repair, again=options.again
            )
    except Exception as error:  # noqa: BLE001  (1 would say that keys are wrong)
        print(f"reactive-demo: {command.reason(error)}", file=sys.stderr)
        return 2
    print(json.dumps(report.facts(), indent=2) if options.json else report.text())
    return 0 if report.agrees else 1


def _doctor(_: argparse.Namespace) -> int:
    from reactive_demo.tools import doctor  # noqa: PLC0415

    report = doctor.examine()
    print(report.text())
    return 0 if report.healthy else 1


def _bench(options: argparse.Namespace) -> None:
    from reactive_demo.tutorial import bench  # noqa: PLC0415

    with _connect() as servers:
        bench.run(
            servers, lambda line: print(line, flush=True), quick=options.quick, file=options.json
        )


def _faults(_: argparse.Namespace) -> int:
    from reactive_demo.tutorial.faults import FaultLab, run_all, table  # noqa: PLC0415

    with FaultLab() as lab:
        outcomes = run_all(lab, progress=lambda outcome: print(outcome.did, flush=True))
    print(f"\n{table(outcomes)}")
    return 1 if any(outcome.durable.lost for outcome in outcomes) else 0


def _reset(_: argparse.Namespace) -> None:
    from reactive_demo.tutorial.faults.servers import reset  # noqa: PLC0415

    removed = [*embedded.reset(), *reset()]
    for folder in removed:
        print(f"removed {folder}")
    if not removed:
        print("There was nothing to throw away.")


def _connect() -> embedded.Stack:
    """Connect, and say on the error stream what takes its time."""
    settings = Settings.from_environment()
    started = time.monotonic()
    servers = embedded.connect(settings)
    names = {"postgres": "PostgreSQL", "valkey": "Valkey"}
    if started_here := " and ".join(names[name] for name in servers.embedded):
        print(
            f"reactive-demo: {started_here} ready in {time.monotonic() - started:.1f} s",
            file=sys.stderr,
        )
    return servers


def _become(servers: embedded.Stack, command: list[str]) -> int:
    """Replace this process by `command`, which so gets every signal and keeps the servers."""
    servers.hand_over()
    sys.stdout.flush()
    sys.stderr.flush()
    if os.name == "posix":
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # Python ignores it, which is inherited
        try:
            os.execvp(command[0], command)  # noqa: S606  (no shell is wanted)
        except OSError as error:
            print(f"reactive-demo: {command[0]!r} cannot run: {error.strerror}", file=sys.stderr)
            return 126
    import subprocess  # noqa: PLC0415  (Windows has no exec that a terminal waits for)

    return subprocess.call(command)
