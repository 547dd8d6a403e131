"""Puts the figures of ``bench_evaluator.py`` into a document, between its two benchmark comments.

python benchmarks/evaluator_table.py docs/evaluator.json docs/evaluator.md
"""

import json
import sys
from pathlib import Path
from typing import Any

BEGIN, END = "<!-- benchmark: begin -->\n", "<!-- benchmark: end -->\n"


def least(row: dict[str, Any]) -> str:
    """The ratio that is asked for, if one is."""
    return f"{row['least']:g}×" if row["least"] else "–"


def sweep_table(rows: list[dict[str, Any]]) -> str:
    """Markdown: the evaluator against the plain way."""
    lines = ["| what | plain, ms | here, ms | ratio | at least |", "|---|---:|---:|---:|---:|"]
    lines += [
        f"| {row['name']} | {row['plain_ms']:.2f} | {row['fast_ms']:.3f} | {row['ratio']:.1f}× | {least(row)} |"
        for row in rows
    ]
    return "\n".join(lines) + "\n"


def command_table(score: dict[str, Any]) -> str:
    """Markdown: the ``score`` command."""
    lines = ["| maps | seconds | processor ms per map | peak memory, MiB |", "|---:|---:|---:|---:|"]
    lines += [
        f"| {run['images']:,} | {run['wall_s']:.1f} | {run['cpu_ms_per_image']:.2f} | {run['peak_mib']:.0f} |"
        for run in score["growth"]
    ]
    start, two = score["cold_start"], score["two_processes"]
    return (
        "\n".join(lines)
        + f"\n\nCold start of `score`, second call: {start['wall_s']:.2f} s, of which {start['cpu_s']:.2f} s processor "
        f"time. Two processes against one on {two['images']:,} maps: {two['wall_ratio']:.2f}× by wall time, "
        f"{two['cpu_ratio']:.2f}× by processor time. The machine has "
        f"{score['processors']} processors; its load average over the last 15 minutes was {score['load']:.1f}.\n"
    )


def main(source: Path, document: Path) -> None:
    """Replace what stands between the comments."""
    result = json.loads(source.read_text())
    head, rest = document.read_text().split(BEGIN)
    tail = rest.split(END)[1]
    title = f"{result['machine']}; medians of {result['repetitions']} repetitions, one process, 224×224.\n\n"
    text = title + sweep_table(result["rows"]) + "\n" + command_table(result["score"])
    document.write_text(head + BEGIN + text + END + tail)


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:3]))
