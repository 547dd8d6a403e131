"""Puts the figures of ``bench_evaluator.py`` into docs/{evaluator,benchmarks}.md, between their benchmark comments.

cp benchmarks/out/evaluator.json docs/ && python -m benchmarks.tables.evaluator
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
SOURCE = ROOT / "docs" / "evaluator.json"
BEGIN, END = "<!-- benchmark: begin -->\n", "<!-- benchmark: end -->\n"


def _least(row: dict[str, Any]) -> str:
    return f"{row['least']:g}×" if row["least"] else "–"


def _command(score: dict[str, Any]) -> str:
    start, two = score["cold_start"], score["two_processes"]
    return (
        f"Cold start of `score`, second call: {start['wall_s']:.2f} s. Two processes against one on {two['images']:,} "
        f"maps: {two['wall_ratio']:.2f}× by wall time, {two['cpu_ratio']:.2f}× by processor time."
    )


def full(result: dict[str, Any]) -> str:
    """Markdown: every row, and the ``score`` command on ever more maps."""
    score = result["score"]
    compared = [
        f"| {row['name']} | {row['plain_ms']:.2f} | {row['fast_ms']:.3f} | {row['ratio']:.1f}× | {_least(row)} | "
        f"{row['repetitions']} |"
        for row in result["rows"]
    ]
    grown = [
        f"| {run['images']:,} | {run['wall_s']:.1f} | {run['cpu_ms_per_image']:.2f} | {run['peak_mib']:.0f} |"
        for run in score["growth"]
    ]
    lines = [
        f"{result['machine']}; one process, 224×224, milliseconds per image, medians.",
        "",
        "| what | plain | here | ratio | at least | repetitions |",
        "|---|---:|---:|---:|---:|---:|",
        *compared,
        "",
        "| maps, 28×28 in shards | seconds | processor ms per map | peak memory, MiB |",
        "|---:|---:|---:|---:|",
        *grown,
        "",
        f"{_command(score)} The machine has {score['processors']} processors; its load average over the last 15 "
        f"minutes was {score['load']:.1f}.",
        "",
    ]
    return "\n".join(lines)


def brief(result: dict[str, Any]) -> str:
    """Markdown: the rows at 1000 thresholds, and the ``score`` command on the most maps."""
    rows = [row for row in result["rows"] if row["name"].endswith(", 1000 thresholds")]
    most = result["score"]["growth"][-1]
    lines = [
        "| 1000 thresholds, ms per image, one process | plain OpenCV | here | ratio |",
        "|---|---:|---:|---:|",
        *(
            f"| {row['name'].removesuffix(', 1000 thresholds')} | {row['plain_ms']:.2f} | {row['fast_ms']:.2f} | "
            f"{row['ratio']:.0f}× |"
            for row in rows
        ),
        "",
        f"{most['images']:,} maps of 28×28 in one process: {most['wall_s']:.0f} s and {most['peak_mib']:.0f} MiB. "
        f"{_command(result['score'])}",
        "",
    ]
    return "\n".join(lines)


#: What stands between the comments of each document.
DOCUMENTS: dict[Path, Callable[[dict[str, Any]], str]] = {
    ROOT / "docs" / "evaluator.md": full,
    ROOT / "docs/benchmarks.md": brief,
}


def filled(document: str, text: str) -> str:
    """A document with ``text`` between its two comments."""
    head, rest = document.split(BEGIN)
    return head + BEGIN + text + END + rest.split(END)[1]


def main() -> None:
    """Replace what stands between the comments of both documents."""
    result = json.loads(SOURCE.read_text())
    for path, table in DOCUMENTS.items():
        path.write_text(filled(path.read_text(), table(result)))


if __name__ == "__main__":
    main()
