"""What `pgnet-trio load` shows: progress while it runs, and a table at the end."""

from __future__ import annotations

import contextlib
import sys
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TextIO

import attrs

from pgnet_trio.foreign_text import printable

if TYPE_CHECKING:
    from rich.live import Live

    from pgnet_trio.cli.measuring import Latencies, Tally

__all__ = ["Progress", "Report", "Threshold", "make_report", "show_report"]

PERCENTILES = (50, 90, 99)

PLAIN_INTERVAL = 5
"""Where nobody watches a terminal, only one in this many lines of progress is printed."""

BUSY = 0.8
"""The share of a core above which this process may limit the numbers."""


class Progress:
    """Shows the progress of a load test on standard error: in one line that changes, or in a few.

    Args:
        clients: How many clients there will be.
    """

    def __init__(self, clients: int) -> None:
        self._clients = clients
        self._live: Live | None = None
        self._shown = 0
        self._answers = 0
        self._then = 0.0
        self._is_terminal = sys.stderr is not None and sys.stderr.isatty()

    def __enter__(self) -> Self:
        if self._is_terminal:
            with contextlib.suppress(ModuleNotFoundError):
                from rich.console import Console
                from rich.live import Live

                console = Console(file=sys.stderr, highlight=False)
                # No refresh by a thread of rich's: it would disturb the measurement.
                self._live = Live(console=console, auto_refresh=False, transient=True)
                self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Leave the terminal as it was; idempotent."""
        if self._live is not None:
            self._live.stop()

    def show(self, tally: Tally, elapsed: float) -> None:
        """Show the progress.

        Args:
            tally: What was counted.
            elapsed: Seconds since the test began.
        """
        answers = tally.count
        rate = (answers - self._answers) / max(elapsed - self._then, 1e-9)
        self._answers, self._then = answers, elapsed
        self._shown += 1
        text = "   ".join(
            [
                f"{elapsed:.0f} s",
                f"connected {tally.now:,} of {self._clients:,}",
                f"requests a second {rate:,.0f}",
                *(f"p{percent} {describe_seconds(tally.slowest(percent))}" for percent in (50, 99)),
                f"errors {tally.error_count:,}",
            ]
        )
        if self._live is not None:
            from rich.text import Text

            self._live.update(Text(text), refresh=True)
        elif self._is_terminal or self._shown % PLAIN_INTERVAL == 0:
            print(text, file=sys.stderr, flush=True)


@attrs.frozen
class Threshold:
    """A number that must not be over a limit.

    Attributes:
        name: p99 or state age (both in seconds), or errors.
        limit: The limit.
        measured: The number; None where there was nothing to measure.
    """

    name: str
    limit: float
    measured: float | None

    @property
    def met(self) -> bool:
        """Whether the number is within the limit."""
        return self.measured is not None and self.measured <= self.limit

    def __str__(self) -> str:
        describe = _describe_count if self.name == "errors" else describe_seconds
        met = "met" if self.met else "missed"
        return f"at most {describe(self.limit)}: {met}, {describe(self.measured)}"


@attrs.frozen(kw_only=True)
class Report:
    """The result of a load test."""

    address: str
    protocol: int
    clients: int
    connected: int
    not_connected: int
    most_at_once: int
    ended: int
    broken: int
    seconds: float
    requests: int
    answers: int
    sends: int
    requests_per_second: float
    busiest_second: int
    latencies: dict[str, float | None]
    send_latencies: dict[str, float | None]
    states: int
    states_per_second: float
    state_ages: dict[str, float | None]
    not_ok: dict[str, int]
    drops: int
    errors: dict[str, int]
    cpu: float
    thresholds: list[Threshold]

    @property
    def passed(self) -> bool:
        """Whether all thresholds were met, and some bot ran without an error."""
        return self.connected > self.broken and all(each.met for each in self.thresholds)

    def as_json(self) -> dict[str, Any]:
        """Return the report as plain data; all times are in seconds."""
        data = attrs.asdict(self, recurse=False)
        data["thresholds"] = [attrs.asdict(each) | {"met": each.met} for each in self.thresholds]
        return data | {"passed": self.passed}


def make_report(
    tally: Tally,
    *,
    address: str,
    clients: int,
    seconds: float,
    cpu: float,
    protocol: int,
    thresholds: list[Threshold],
) -> Report:
    """Return the report of a load test.

    Args:
        tally: What was counted.
        address: The server.
        clients: How many clients were to play.
        seconds: How long the test took.
        cpu: The share of a core that this process used.
        protocol: The version of the protocol.
        thresholds: The limits, with the numbers.
    """
    return Report(
        address=address,
        protocol=protocol,
        clients=clients,
        connected=tally.connected,
        not_connected=tally.not_in,
        most_at_once=tally.most,
        ended=tally.ended,
        broken=tally.broken,
        seconds=seconds,
        requests=tally.count,
        answers=tally.answers,
        sends=tally.sends,
        requests_per_second=tally.count / max(seconds, 1e-9),
        busiest_second=tally.busiest,
        latencies=_percentiles(tally.latencies),
        send_latencies=_percentiles(tally.taken),
        states=tally.states,
        states_per_second=tally.states / max(seconds, 1e-9),
        state_ages=_percentiles(tally.ages),
        not_ok=dict(tally.not_ok.most_common()),
        drops=tally.drops,
        errors=dict(tally.errors.most_common()),
        cpu=cpu,
        thresholds=thresholds,
    )


def _percentiles(times: Latencies) -> dict[str, float | None]:
    return {
        **{f"p{percent}": times.percentile(percent) for percent in PERCENTILES},
        "longest": times.longest if times.count else None,
    }


def show_report(report: Report, file: TextIO) -> None:
    """Print the table; with rich, where that is installed and *file* is a terminal."""
    rows = _rows(report)
    notes = _notes(report)
    if file.isatty():
        try:
            _show_richly(rows, notes, file)
        except ModuleNotFoundError:
            # The extra is not installed.
            pass
        else:
            return
    width = max(len(label) for label, _, _ in rows)
    for label, text, _ in rows:
        print(f"{label:{width}}  {text}".rstrip(), file=file)
    for note in notes:
        print(f"\n{note}", file=file)


def _show_richly(rows: list[tuple[str, str, str]], notes: list[str], file: TextIO) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console(file=file, highlight=False)
    table = Table(show_header=False, box=None)
    for label, text, style in rows:
        table.add_row(Text(label, "cyan"), Text(text, style))
    console.print(table)
    for note in notes:
        console.print(Text(f"\n{note}", "yellow"))


def _rows(report: Report) -> list[tuple[str, str, str]]:
    """Return the rows of the table: label, text and style."""
    playing = report.connected - report.ended - report.broken
    rows = [
        (
            "connected",
            f"{report.connected:,} of {report.clients:,} clients, at most {report.most_at_once:,} "
            f"at once, protocol {report.protocol}",
            "" if report.connected == report.clients else "bold red",
        ),
        (
            "bots",
            f"{report.ended:,} came to their end, {playing:,} still played, {report.broken:,} "
            "broke off with an error",
            "bold red" if report.broken else "",
        ),
        ("time", describe_seconds(report.seconds), ""),
        (
            "requests",
            f"{report.requests:,}, {report.requests_per_second:,.1f} a second; "
            f"{report.busiest_second:,} in the busiest",
            "",
        ),
    ]
    if report.answers or report.sends:
        rows.append(
            (
                "",
                f"{report.answers:,} of them answers to questions, {report.sends:,} sent without "
                "an answer",
                "",
            )
        )
    rows += [(name, describe_seconds(value), "") for name, value in report.latencies.items()]
    if report.send_latencies["longest"] is not None:
        rows.append(("sends", f"taken after {_on_one_line(report.send_latencies)}", ""))
    if report.states:
        rows += [
            ("states", f"{report.states:,}, {report.states_per_second:,.1f} a second", ""),
            ("their age", f"when the next one came: {_on_one_line(report.state_ages)}", ""),
        ]
    if report.not_ok:
        counts = (f"{count:,} {status}" for status, count in report.not_ok.items())
        rows.append(("not OK", ", ".join(counts), ""))
    rows.append(("drops", f"{report.drops:,}", "bold red" if report.drops else ""))
    total = sum(report.errors.values())
    rows.append(("errors", f"{total:,}", "bold red" if total else ""))
    rows += [
        ("", f"{count:,} times {printable(kind)}", "") for kind, count in report.errors.items()
    ]
    for each in report.thresholds:
        rows.append((f"{each.name} threshold", str(each), "green" if each.met else "bold red"))
    return rows


def _on_one_line(times: dict[str, float | None]) -> str:
    return ", ".join(f"{name} {describe_seconds(value)}" for name, value in times.items())


def _notes(report: Report) -> list[str]:
    # Apart from what a server refuses, this needs nothing of one.
    from pgnet_trio.server.limits import Limits

    limits = Limits()
    notes = []
    if report.not_connected:
        notes.append(
            f"Some clients did not get in. Of one address a server of default settings takes "
            f"{limits.max_connections_per_address} connections, and "
            f"{limits.max_logins_per_address} that are logging in; it closes the others without a "
            f"word. It takes {limits.registrations_per_address} new users an hour. Start it with "
            "--max-connections-per-address none --max-logins-per-address none "
            "--registrations-per-address none; or, where it is busy with log-ins, let fewer log in "
            "with --logins-at-once."
        )
    rate = report.requests_per_second / max(report.most_at_once, 1)
    if limits.requests_per_second is not None and rate > 0.75 * limits.requests_per_second:
        notes.append(
            f"A server of default settings lets the requests of one user wait beyond "
            f"{limits.requests_per_second:g} a second, which these clients come near. Start it "
            "with --requests-per-second none to see what it can do."
        )
    if report.cpu > BUSY:
        notes.append(
            f"This process was busy for {min(report.cpu, 1):.0%} of the time, so the numbers may "
            "be its own limits and not the server's. Start several of these for more load."
        )
    return notes


def _describe_count(number: float | None) -> str:
    return "none" if number is None else f"{number:,.0f}"


def describe_seconds(seconds: float | None) -> str:
    """Return a time as people read it."""
    if seconds is None:
        return "none"
    if seconds < 0.9995:
        return f"{seconds * 1000:.3g} ms"
    return f"{seconds:.1f} s"
