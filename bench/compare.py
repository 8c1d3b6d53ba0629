"""Orders against another commit: alternating pairs of `trade-engine bench orders`, their medians and ratios.

    make bench-compare BASE=HEAD~1 PAIRS=3 SECONDS=20

The other commit is checked out and installed in a folder of its own (`build/compare/`), with its own dependencies.  CPU
times are read from outside, of every process that the command starts, so that older versions tell them as well; the
start of the server is in them.
"""

import argparse
import json
import statistics
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TICK_S = 0.01
#: Figures of both versions that are compared, where both print them.
FIGURES = (
    "orders_per_s", "requests_per_s", "echo_per_s", "ratio_to_echo", "p50_ms", "p99_ms", "server_cpu_us",
    "postgres_cpu_us", "generator_cpu_us", "echo_cpu_us", "fsyncs_per_s", "batch_mean",
    "server_cpu_s", "postgres_cpu_s",
)  # fmt: skip


def installed(ref: str) -> tuple[Path, str]:
    """The root of a commit that is installed there, and its short hash."""
    sha = subprocess.run(
        ["git", "rev-parse", "--short", f"{ref}^{{commit}}"], cwd=ROOT, check=True, text=True, capture_output=True
    ).stdout.strip()
    folder = ROOT / "build" / "compare" / sha
    if not (folder / ".venv" / ".installed").exists():
        folder.mkdir(parents=True, exist_ok=True)
        archive = subprocess.run(["git", "archive", sha], cwd=ROOT, check=True, stdout=subprocess.PIPE).stdout
        subprocess.run(["tar", "-x", "-C", str(folder)], input=archive, check=True)
        subprocess.run(["make", "install"], cwd=folder, check=True, stdout=sys.stderr)
    return folder, sha


def family(root: int) -> dict[int, str]:
    """The command lines of a process's children, and theirs, by process id."""
    parents, lines = {}, {}
    for each in Path("/proc").iterdir():
        if each.name.isdecimal():
            try:
                stat = (each / "stat").read_text(errors="replace").rpartition(")")[2].split()
                lines[int(each.name)] = (each / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            except OSError:
                continue
            parents[int(each.name)] = int(stat[1])
    found: dict[int, str] = {}
    for pid, line in lines.items():
        ancestor = pid
        while ancestor and ancestor != root:
            ancestor = parents.get(ancestor, 0)
        if ancestor == root and pid != root:
            found[pid] = line
    return found


def cpu_s(pid: int) -> float:
    """Seconds of CPU time that a process has spent."""
    fields = Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) * TICK_S


def run(root: Path, seconds: float) -> dict[str, float]:
    """One run of a version: what it prints, and the CPU time of its server and its database."""
    command = [str(root / ".venv" / "bin" / "trade-engine"), "bench", "orders", "--seconds", str(seconds), "--json"]
    with subprocess.Popen(command, cwd=root, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        spent: dict[int, tuple[str, float]] = {}
        deadline = time.monotonic() + 10 * seconds + 120
        while process.poll() is None:
            if time.monotonic() > deadline:
                process.kill()
                raise TimeoutError(f"{' '.join(command)} does not end")
            for pid, line in family(process.pid).items():
                try:
                    spent[pid] = (line, cpu_s(pid))
                except OSError:
                    continue
            time.sleep(0.2)
        assert process.stdout is not None
        printed = process.stdout.read().strip()
    figures: dict[str, float] = json.loads(printed.splitlines()[-1])
    postgres = [used for line, used in spent.values() if line.lstrip().startswith("postgres") or "/postgres " in line]
    servers = [used for line, used in spent.values() if " serve " in f"{line} " or " start " in f"{line} "]
    return figures | {"server_cpu_s": round(sum(servers), 2), "postgres_cpu_s": round(sum(postgres), 2)}


def main() -> None:
    """Run the pairs and print a JSON object."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--base", required=True, help="the commit to compare with")
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=20.0)
    options = parser.parse_args()
    base, sha = installed(options.base)
    runs: list[tuple[dict[str, float], dict[str, float]]] = []
    for number in range(options.pairs):
        order = [base, ROOT] if number % 2 else [ROOT, base]
        by_root = {root: run(root, options.seconds) for root in order}
        runs.append((by_root[base], by_root[ROOT]))
        print(json.dumps({"pair": number + 1, "base": runs[-1][0], "here": runs[-1][1]}), file=sys.stderr, flush=True)
    result: dict[str, object] = {"base": sha, "pairs": options.pairs, "seconds": options.seconds}
    for name in FIGURES:
        pairs = [(old[name], new[name]) for old, new in runs if old.get(name) and new.get(name)]
        if pairs:
            result[name] = {
                "base": statistics.median(old for old, _ in pairs),
                "here": statistics.median(new for _, new in pairs),
                "ratio": round(statistics.median(new / old for old, new in pairs), 3),
            }
    per_request = [
        (new["server_cpu_s"] / new["requests_per_s"]) / (old["server_cpu_s"] / old["requests_per_s"])
        for old, new in runs
        if old.get("server_cpu_s") and new.get("server_cpu_s")
    ]
    if per_request:
        result["server_cpu_a_request_ratio"] = round(statistics.median(per_request), 3)
    print(json.dumps(result))


if __name__ == "__main__":
    main()
