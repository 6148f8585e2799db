"""The competition's published rows and the scores we compute for them.

python benchmarks/leaderboard.py ../shared/facts/leaderboard.csv
"""

from __future__ import annotations

import csv
import sys
from pathlib import Path

from compress.measure.score import F1Macs, F1Time


def main(path: Path) -> None:
    """Print every row of a CSV (metric, f1, time_s, macs, score, source) beside our score."""
    metrics = {"f1_time": F1Time(f1_base=0.70, time_base=43.16), "f1_macs": F1Macs()}
    worst = dict.fromkeys(metrics, 0.0)
    for row in csv.DictReader(path.read_text().splitlines()):
        measured = {name: float(row[key]) for name, key in (("time", "time_s"), ("macs", "macs")) if row[key]}
        ours = metrics[row["metric"]].points(f1=float(row["f1"]), **measured)
        worst[row["metric"]] = max(worst[row["metric"]], abs(ours - float(row["score"])))
        print(f"{row['metric']}  published {float(row['score']):.4f}  ours {ours:.4f}  {row['source']}")
    for kind, difference in worst.items():
        print(f"{kind}: largest difference {difference:.1e}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
