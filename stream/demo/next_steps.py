"""The commands that the demo suggests at its end."""

from __future__ import annotations

import shlex
from pathlib import Path
from shutil import which
from typing import Final

from forebay.stream.demo.run import Deployment

EXAMPLE: Final = (
    "carrier=UA origin=EWR dest=SFO day_of_week=Fri hour=17 minute=30 "
    "season=-1 distance=2565 dep_delay=48 plane_year=1999"
)
"""The features of an event to publish by hand: a flight that leaves three quarters of an hour late."""


def next_steps(deployment: Deployment) -> list[str]:
    """Return the lines to print for a demo that keeps running: Forebay's commands, the same with kcat, and how to stop it."""
    config = shlex.quote(str(deployment.config))
    servers = deployment.settings.kafka.bootstrap_servers
    features, predictions = deployment.topic("features"), deployment.topic("predictions")
    json_event = (
        '{"id":"by-hand","timestamp":"2013-07-05T17:30:00-04:00","features":{"carrier":"UA","origin":"EWR","dest":"SFO",'
        '"day_of_week":"Fri","hour":17,"minute":30,"season":-1,"distance":2565,"dep_delay":48,"plane_year":null}}'
    )
    lines = [
        "The broker, worker, aggregator and evaluator are still running. Try next:",
        *([f"  {deployment.page}  in a browser: the worker's live page"] if deployment.page else []),
        *_commands(config),
        "",
        "With another Kafka client, such as kcat:",
        f"  echo '{json_event}' | kcat -P -b {servers} -t {features} -k UA1545",
        f"  kcat -C -b {servers} -t {predictions} -o -5 -e",
        "",
        "Stop everything and remove the files:",
    ]
    # The worker drains on SIGTERM and needs the broker for that.
    then_broker = "" if deployment.broker_pid is None else f"; sleep 5; kill {deployment.broker_pid}"
    lines.append(
        f"  kill {deployment.worker_pid} {deployment.evaluator_pid}{then_broker}; rm -r {shlex.quote(str(deployment.folder))}"
    )
    if deployment.broker_pid is None:
        lines.append(
            f"  (the topics with the prefix {deployment.settings.topics.prefix} stay on {servers}; delete them there)"
        )
    return lines


def next_steps_after_stop() -> list[str]:
    """Return the lines to print for a demo that has stopped: what can be done with `--keep`."""
    return [
        "Try next: `forebay demo --keep` leaves the broker, worker, aggregator and evaluator running and prints the",
        "name of its configuration FILE. Then run:",
        *_commands("FILE"),
    ]


def path_hint(python: Path, search_path: str) -> list[str]:
    """Return lines on how to put `forebay` on the PATH, if it is installed with this Python and not on the PATH.

    python: path of the running interpreter.
    search_path: value of PATH.
    """
    if which("forebay", path=search_path) is not None or not (python.parent / "forebay").is_file():
        return []
    return [
        "",
        f"`forebay` is {python.parent / 'forebay'}, which is not on your PATH. To run it by name in this terminal:",
        f'  export PATH={shlex.quote(str(python.parent))}:"$PATH"',
    ]


def _commands(config: str) -> list[str]:
    return [
        f"  forebay publish -c {config} --features '{EXAMPLE}'",
        f"  forebay tail predictions -c {config} --from-beginning --limit 5",
        f"  forebay dlq list -c {config} --limit 5",
        f"  forebay errors -c {config}",
        f"  forebay quality -c {config}",
        f"  forebay status -c {config}",
    ]
