"""The command `reactive-demo`."""

import argparse
import json
import os
import shutil
import signal
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import TypeAlias

import psycopg
import redis

from reactive_demo import servers as embedded
from reactive_demo.capture.install import captured_tables, install, uninstall
from reactive_demo.errors import ConfigurationError, ReactiveDemoError, RefusedError, in_a_sentence
from reactive_demo.extras import MissingExtraError, naming_the_extra
from reactive_demo.settings import CHECKOUT, Settings
from reactive_demo.tutorial.working_copy import FIRST, FOLDER, Refreshed, WorkingCopy

__all__ = ["build_parser", "main"]

FEEDS = ("change-table", "log")

QUIET_LAB = Path(__file__).parent / "tutorial" / "jupyter"
"""A Jupyter configuration without the news pop-up."""


Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"  # noqa: SLF001


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status; report in one sentence what a user can mend."""
    parser = build_parser()
    options, extra = parser.parse_known_args(arguments)
    if extra and options.run is not _lab:
        parser.error(f"unrecognized arguments: {' '.join(extra)}")
    options.extra = extra
    try:
        with naming_the_extra(f"`reactive-demo {options.command}` needs"):
            return int(options.run(options) or 0)
    except (ReactiveDemoError, psycopg.Error, redis.RedisError, OSError) as error:
        print(f"reactive-demo: {in_a_sentence(error)}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of all commands."""
    parser = argparse.ArgumentParser(
        prog="reactive-demo",
        description="Reactive caching with PostgreSQL and Redis: a tutorial and its library.",
        epilog="DATABASE_URL and REDIS_URL each replace one of the embedded servers, and so do "
        "RABBITMQ_URL and KAFKA_BOOTSTRAP_SERVERS in chapter 09; "
        "REACTIVE_DEMO_HOME is the folder of their data.",
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND", dest="command")

    _add_course(commands)
    _add_pipeline(commands)
    _add_tools(commands)
    return parser


def _add_course(commands: Commands) -> None:
    """Add what runs the course and its servers."""
    lab = commands.add_parser(
        "lab",
        help="start or join the servers and open the course in JupyterLab",
        description="Open the course in a copy, the folder `my-course` of the clone. What you "
        "change there is kept; chapters that you have not changed are updated with the originals.",
        epilog="All other arguments are passed on to `jupyter lab`.",
    )
    lab.set_defaults(run=_lab)

    renew = commands.add_parser("renew", help="replace chapters of your copy by the originals")
    renew.add_argument(
        "chapters",
        nargs="*",
        metavar="CHAPTER",
        help="a number, such as 02; default: all. What you have changed is kept beside it.",
    )
    renew.set_defaults(run=_renew)

    run = commands.add_parser(
        "run", help="run a program with DATABASE_URL and REDIS_URL set, while the servers run"
    )
    run.add_argument("program", nargs=argparse.REMAINDER, metavar="-- CMD ...")
    run.set_defaults(run=_run)

    reset = commands.add_parser("reset", help="delete the embedded servers' data")
    reset.set_defaults(run=_reset)

    cluster = commands.add_parser(
        "cluster",
        help="run a PostgreSQL pair and a Redis Cluster until SIGTERM or Ctrl-C, to break them",
        epilog="They are empty, and leave nothing when they stop. Use the URLs that are printed in "
        "another terminal; `kill`, `promote`, `start` (the killed one, as it was) and `follow` "
        "(as a fresh standby), entered in this one, are for PostgreSQL, `kill redis` and "
        "`start redis` for the cluster.",
    )
    cluster.add_argument(
        "--synchronous", action="store_true", help="let each commit wait for the standby"
    )
    cluster.set_defaults(run=_cluster)


def _add_pipeline(commands: Commands) -> None:
    """Add what puts a pipeline on a table, and runs it."""
    install_ = commands.add_parser("install", help="start capturing the changes of a table")
    install_.add_argument("--table", default="profile", help="default: profile, created if absent")
    install_.add_argument(
        "--feed",
        choices=FEEDS,
        help="how listeners will learn of changes: from a change table that a trigger writes, or "
        "from PostgreSQL's log; default: as before, else change-table",
    )
    install_.add_argument(
        "--exclude",
        action="append",
        metavar="COLUMN",
        help="keep this column out of the cache; default: the same columns as before",
    )
    install_.set_defaults(run=_install)

    uninstall_ = commands.add_parser("uninstall", help="stop capturing, and leave no trace")
    uninstall_.add_argument("--table", help="default: all tables, and the schema `reactive` too")
    uninstall_.add_argument("--yes", action="store_true", help="do not ask, if it is all tables")
    uninstall_.add_argument("--cache", action="store_true", help="remove the cached rows as well")
    uninstall_.set_defaults(run=_uninstall)

    listen = commands.add_parser("listen", help="run a listener until SIGTERM or Ctrl-C")
    listen.add_argument("--table", default="profile")
    _add_feed(listen)
    listen.set_defaults(run=_listen)

    serve = commands.add_parser("serve", help="run the profile app until SIGTERM or Ctrl-C")
    _add_feed(serve)
    serve.add_argument("--port", type=int, default=8000, help="default: 8000; 0 is any free one")
    serve.add_argument("--address", default="127.0.0.1", help="default: 127.0.0.1")
    serve.add_argument(
        "--allow-host",
        action="append",
        default=[],
        metavar="NAME",
        help="accept requests for this host name too, for use behind a proxy",
    )
    serve.add_argument(
        "--no-listener", action="store_true", help="start no listener, because one runs elsewhere"
    )
    serve.set_defaults(run=_serve)

    resync = commands.add_parser("resync", help="fill the cache again from its table")
    resync.add_argument("--table", default="profile")
    _add_feed(resync)
    resync.set_defaults(run=_resync)


def _add_tools(commands: Commands) -> None:
    """Add what examines a pipeline."""
    audit = commands.add_parser(
        "audit",
        help="compare every cached row with its row in the table",
        epilog="Exit status: 0 if all rows agree, 1 if some are wrong, 2 if the comparison failed. "
        "Rows that differ are compared again after 1 s and 5 s, because a late row is not wrong. "
        "Of a table with more than 100,000 rows, a random sample of that size is compared.",
    )
    audit.add_argument("--table", default="profile")
    _add_feed(audit)
    audit.add_argument("--repair", action="store_true", help="repair the wrong rows, then exit")
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
        "doctor",
        help="check what is installed and which servers answer, and say how to mend the rest",
    )
    examine.add_argument("--table", help="say instead what would hinder following this table")
    examine.set_defaults(run=_doctor)

    bench = commands.add_parser("bench", help="measure this pipeline beside the article's")
    bench.add_argument("--quick", action="store_true", help="take a minute, and be less exact")
    bench.add_argument("--json", type=Path, metavar="FILE", help="write the figures to FILE")
    bench.add_argument("--only", default="", metavar="WORD", help="what has WORD in its name")
    bench.set_defaults(run=_bench)

    faults = commands.add_parser(
        "faults", help="break both pipelines in every way, and report what each one loses"
    )
    faults.add_argument(
        "--feed",
        choices=FEEDS,
        default=FEEDS[0],
        help="what the durable pipeline reads; default: change-table",
    )
    faults.set_defaults(run=_faults)


def _add_feed(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--feed", choices=FEEDS, help="needed only if the table is installed for both"
    )


def _feed(options: argparse.Namespace) -> str | None:
    """Return the kind of feed, as the library calls it."""
    return options.feed and str(options.feed).replace("-", " ")


def _lab(options: argparse.Namespace) -> int:
    course = WorkingCopy(CHECKOUT)
    refreshed = course.refresh()
    if find_spec("jupyterlab") is None:
        raise MissingExtraError("`reactive-demo lab` needs", "all")
    _tell(refreshed)
    servers = _connect()
    command = [
        *(sys.executable, "-m", "jupyterlab"),
        f"--ServerApp.root_dir={course.folder}",
        f"--LabApp.default_url=/lab/tree/{FIRST}",
        "--LabApp.expose_app_in_browser=True",  # for the button of KeepInView
        *(["--allow-root"] if hasattr(os, "geteuid") and os.geteuid() == 0 else []),
        *options.extra,
    ]
    known = os.environ.get("JUPYTER_CONFIG_PATH")
    os.environ["JUPYTER_CONFIG_PATH"] = os.pathsep.join(filter(None, [str(QUIET_LAB), known]))
    return _become(servers, command)


def _tell(refreshed: Refreshed) -> None:
    """Print to the error stream what has become of the reader's chapters."""
    for done, chapters in (("added", refreshed.added), ("updated", refreshed.updated)):
        if chapters:
            names = ", ".join(Path(chapter).stem for chapter in chapters)
            print(f"reactive-demo: {done} to {FOLDER}/: {names}", file=sys.stderr)
    for chapter in refreshed.kept:
        print(
            f"reactive-demo: there is a newer version of {chapter}, and you have changed yours: "
            f"take the newer one with `reactive-demo renew {Path(chapter).name[:2]}`, which keeps "
            "yours beside it.",
            file=sys.stderr,
        )


def _renew(options: argparse.Namespace) -> None:
    for name, aside in WorkingCopy(CHECKOUT).renew(options.chapters):
        if name.endswith(".ipynb") or aside:
            print(f"{FOLDER}/{name} is new" + (f"; yours is now {aside}" if aside else "") + ".")


def _run(options: argparse.Namespace) -> int:
    command: list[str] = options.program[1:] if options.program[:1] == ["--"] else options.program
    if not command:
        raise ConfigurationError(
            "There is no program to run: name one, `reactive-demo run -- CMD ...`."
        )
    if shutil.which(command[0]) is None:
        print(f"reactive-demo: there is no program {command[0]!r}", file=sys.stderr)
        return 127
    servers = _connect()
    os.environ["DATABASE_URL"] = servers.database_url
    os.environ["REDIS_URL"] = servers.redis_url
    return _become(servers, command)


def _install(options: argparse.Namespace) -> None:
    from reactive_demo.tools.rights import lacking_to_install  # noqa: PLC0415
    from reactive_demo.tools.services import kind_installed  # noqa: PLC0415

    with _connect() as servers:
        feed = _feed(options) or kind_installed(servers.database_url, options.table)
        try:
            install(servers.database_url, options.table, feed=feed, exclude=options.exclude)
        except RefusedError as error:
            rights = lacking_to_install(servers.database_url, options.table)
            needs = f" This account needs GRANT {'; GRANT '.join(rights)}." if rights else ""
            raise RefusedError(f"{error}{needs}") from None
    where = "published in PostgreSQL's log" if feed == "log" else "captured"
    print(f"The changes of the table {options.table} are now {where}.")


def _uninstall(options: argparse.Namespace) -> None:
    from reactive_demo.tools.services import cache_keys, remove_cache  # noqa: PLC0415

    with _connect() as servers:
        tables = [options.table] if options.table else captured_tables(servers.database_url)
        if not options.table and not options.yes:
            _confirm_uninstall(tables)
        uninstall(servers.database_url, options.table)
        what = f"the rows of {options.table}" if options.table else "all rows"
        print(f"Capture was taken off; {what} stayed as they were.")
        for table in tables:
            if options.cache:
                removed = remove_cache(servers.redis_url, table)
                print(f"{removed:,} keys of the cache of {table} were removed from Redis.")
            elif count := len(cache_keys(servers.redis_url, table)):
                print(
                    f"{count:,} keys of the cache of {table} stay in Redis: remove them with "
                    f"`reactive-demo uninstall --table {table} --cache`."
                )


def _confirm_uninstall(tables: list[str]) -> None:
    """Ask on the terminal. Raises ConfigurationError unless the answer is yes."""
    listed = f"the capture of {', '.join(tables)} and " if tables else ""
    what = f"{listed}the schema `reactive` with everything in it"
    if sys.stdin is not None and sys.stdin.isatty():
        with suppress(EOFError):
            if input(f"This removes {what}. Go on? [y/N] ").strip().lower() in {"y", "yes"}:
                return
    raise ConfigurationError(
        f"This would remove {what}, and was not done: confirm it with --yes, or name one table "
        "with --table."
    )


def _listen(options: argparse.Namespace) -> None:
    from reactive_demo.tools.services import listen  # noqa: PLC0415

    with _connect(probe=False) as servers:
        listen(servers.database_url, servers.redis_url, options.table, feed=_feed(options))


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
            feed=_feed(options),
        )


def _resync(options: argparse.Namespace) -> None:
    from reactive_demo.tools.services import resync  # noqa: PLC0415

    with _connect() as servers:
        count = resync(
            servers.database_url,
            servers.redis_url,
            options.table,
            feed=_feed(options),
            report=lambda status: print(f"reactive-demo: {status}", file=sys.stderr),
        )
    print(f"The cache holds {count:,} rows of {options.table}.")


def _audit(options: argparse.Namespace) -> int:
    from reactive_demo.tools.audit import command  # noqa: PLC0415

    try:
        with _connect() as servers:
            report = command.run(
                servers,
                options.table,
                feed=_feed(options),
                repairs=options.repair,
                again=options.again,
            )
    except Exception as error:  # noqa: BLE001  (status 1 would mean that rows are wrong)
        print(f"reactive-demo: {command.reason(error)}", file=sys.stderr)
        return 2
    print(json.dumps(report.facts(), indent=2) if options.json else report.text())
    return 0 if report.agrees else 1


def _doctor(options: argparse.Namespace) -> int:
    from reactive_demo.tools import doctor  # noqa: PLC0415

    if options.table:
        with _connect() as servers:
            report = doctor.examine_table(servers.database_url, options.table)
    else:
        report = doctor.examine()
    print(report.text())
    return 0 if report.healthy else 1


def _bench(options: argparse.Namespace) -> None:
    from reactive_demo.tutorial import bench  # noqa: PLC0415

    with _connect() as servers:
        bench.run(
            servers,
            lambda line: print(line, flush=True),
            quick=options.quick,
            file=options.json,
            only=options.only,
        )


def _faults(options: argparse.Namespace) -> int:
    from reactive_demo.tutorial.faults import FaultLab, run_all, table  # noqa: PLC0415

    with FaultLab(feed=str(_feed(options))) as lab:
        outcomes = run_all(lab, progress=lambda outcome: print(outcome.did, flush=True))
    print(f"\n{table(outcomes)}")
    return 1 if any(outcome.durable.lost for outcome in outcomes) else 0


def _cluster(options: argparse.Namespace) -> None:
    from reactive_demo.servers.topology import run  # noqa: PLC0415

    run(synchronous=options.synchronous)


def _reset(_: argparse.Namespace) -> None:
    from reactive_demo.tutorial.faults.servers import reset  # noqa: PLC0415

    removed = [*embedded.reset(), *reset()]
    for folder in removed:
        print(f"removed {folder}")
    if not removed:
        print("There was nothing to delete.")


def _connect(*, probe: bool = True) -> embedded.Stack:
    """Connect, and print to the error stream how long the embedded servers took."""
    settings = Settings.from_environment()
    started = time.monotonic()
    servers = embedded.connect(settings, probe=probe)
    names = {"postgres": "PostgreSQL", "valkey": "Valkey"}
    if started_here := " and ".join(names[name] for name in servers.embedded):
        print(
            f"reactive-demo: {started_here} ready in {time.monotonic() - started:.1f} s",
            file=sys.stderr,
        )
    return servers


def _become(servers: embedded.Stack, command: list[str]) -> int:
    """Replace this process with `command`, which gets its signals and keeps the servers."""
    servers.hand_over()
    sys.stdout.flush()
    sys.stderr.flush()
    if os.name == "posix":
        signal.signal(
            signal.SIGPIPE, signal.SIG_DFL
        )  # Python ignores it, and children inherit that
        try:
            os.execvp(command[0], command)  # noqa: S606  (needs no shell)
        except OSError as error:
            print(f"reactive-demo: {command[0]!r} cannot run: {error.strerror}", file=sys.stderr)
            return 126
    import subprocess  # noqa: PLC0415  (a Windows terminal does not wait for exec)

    return subprocess.call(command)
