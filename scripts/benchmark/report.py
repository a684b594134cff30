"""The table, and the same figures as JSON."""

import statistics
from collections.abc import Callable
from dataclasses import asdict, dataclass, field


@dataclass
class Run:
    """One run of one workload by one tool."""

    status: str  # ok, fail, timeout, n/a
    seconds: float = 0.0
    cpu_seconds: float = 0.0
    peak_bytes: int = 0
    server_cpu_seconds: float = 0.0
    requests: dict[str, int] = field(default_factory=dict)
    up_bytes: int = 0
    down_bytes: int = 0
    detail: str = ""


@dataclass
class Row:
    """The runs of one workload by one tool in one mode, and what the table says of them."""

    mode: str
    workload: str
    title: str
    tool: str
    runs: list[Run]
    note: Callable[[Run], str] | None = None  # what else is worth saying of the median run

    @property
    def status(self) -> str:
        """One run that failed makes the row a failure."""
        statuses = [run.status for run in self.runs]
        return next((status for status in ("fail", "timeout", "n/a") if status in statuses), "ok")

    @property
    def median(self) -> Run:
        good = sorted((run for run in self.runs if run.status == "ok"), key=lambda run: run.seconds)
        return good[(len(good) - 1) // 2]

    @property
    def seconds(self) -> float:
        return statistics.median(run.seconds for run in self.runs)

    @property
    def detail(self) -> str:
        return next((run.detail for run in self.runs if run.detail), "")

    def as_json(self) -> dict:
        ok = self.status == "ok"
        return {
            "mode": self.mode,
            "workload": self.workload,
            "title": self.title,
            "tool": self.tool,
            "status": self.status,
            "detail": self.detail,
            "seconds": self.seconds if ok else None,
            "runs": [asdict(run) for run in self.runs],
        }


COLUMNS = f"{'tool':8}{'seconds':>10}{'CPU s':>9}{'RSS MB':>8}{'S3 req':>8}{'MB up':>8}{'MB down':>9}{'/peer':>8}{'/limit':>8}  requests"


def ratio(seconds: float, other: float | None) -> str:
    return f"{seconds / other:.2f}" if other else "-"


def format_rows(rows: list[Row], own: str = "pail") -> str:
    """The rows of one workload: the tools, then the limit. `/peer` of a peer compares it with the best peer too."""
    good = {row.tool: row for row in rows if row.status == "ok"}
    limit = good["limit"].seconds if "limit" in good else None
    peers = [row.seconds for row in good.values() if row.tool not in (own, "limit")]
    best_peer = min(peers, default=None)
    lines = []
    for row in rows:
        if row.status == "ok":
            run = row.median
            requests = ", ".join(f"{verb} {count}" for verb, count in run.requests.items() if count and verb != "total")
            line = f"{row.tool:8}{row.seconds:10.3f}"
            if row.tool == "limit":
                line += f"{'':9}{'':8}"
            else:
                line += f"{run.cpu_seconds:9.2f}{run.peak_bytes / 1e6:8.0f}"
            line += f"{run.requests.get('total', 0):8}{run.up_bytes / 1e6:8.1f}{run.down_bytes / 1e6:9.1f}"
            line += f"{ratio(row.seconds, best_peer):>8}{ratio(row.seconds, limit):>8}  {requests}"
            if row.note and (note := row.note(run)):
                line += f"; {note}"
        else:
            shown = {"fail": "FAIL", "timeout": f"> {max(run.seconds for run in row.runs):.0f}", "n/a": "n/a"}[row.status]
            line = f"{row.tool:8}{shown:>10}  {row.detail}"
        lines.append(line)
    return "\n".join(lines)
