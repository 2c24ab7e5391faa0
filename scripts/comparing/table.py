"""The report of a comparison: `ringmain bench report` makes the statistics and the page, here they are put into one table."""
import json
import subprocess

import machine
from machine import WORK, Wanting, say


def report(options, files, floors, notes, title, head="Ringmain", name="compare"):
    """Merges runs into NAME.json and NAME.html under target/compare; answers the merged report."""
    opening, merged, page = (WORK / f"{name}{ending}" for ending in (".head.json", ".json", ".html"))
    runs = [json.loads(file.read_text()) for file in files]
    # The first file gives the report its host, its command and its notes; it has no row of its own.
    opening.write_text(json.dumps({
        **runs[0], "title": title, "command": ["scripts/compare", *options.command], "started": min(run["started"] for run in runs),
        "seconds": 0.0, "rows": [], "brokers": [], "floor": [], "comparisons": [], "notes": notes}))
    command = [options.ringmain, "bench", "report", "--head", head, "--title", title, "--json", merged, "--html", page, opening, *floors, *files]
    made = subprocess.run([str(word) for word in command], capture_output=True, text=True, check=False)
    if made.returncode != 0:
        raise Wanting(f"`ringmain bench report` ended with {made.returncode}: {made.stderr.strip()[-2000:]}")
    return json.loads(merged.read_text()), page


def show(found, rows, head="Ringmain"):
    """One line for each row, broker and figure: both medians, the ratio with its interval, CPU, share of the floor."""
    names = [broker["name"] for broker in found["brokers"]]
    pairs = {(one["row"], one["base"], one["metric"]): one for one in found["comparisons"] if one["head"] == head}
    share = {row["name"]: row["floor_share"]["share"] for row in found["rows"] if row["floor_share"] and names[row["broker"]] == head}
    lines = [("row", "against", "figure", "theirs", "ours", "ratio", "95 % interval", "pairs", "CPU s/GB theirs", "ours", "of the floor")]
    for row in rows:
        first = True
        for base in names:
            for metric, unit in row.figures:
                one, cpu = pairs.get((row.title, base, metric)), pairs.get((row.title, base, "CPU"))
                if one is None:
                    continue
                lines.append((
                    row.key if first else "", base if metric == row.figures[0][0] else "", unit, short(one["base_median"]), short(one["head_median"]),
                    f"{one['ratio']:.2f}", "{:.2f} to {:.2f}".format(*one["interval"]), str(one["pairs"]),
                    short(cpu["base_median"]) if cpu else "-", short(cpu["head_median"]) if cpu else "-",
                    f"{share[row.title]:.0%}" if row.title in share else "-"))
                first = False
    print_table(lines)


def print_table(lines):
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    for line in lines:
        words = [word.ljust(width) if column < 3 else word.rjust(width) for column, (word, width) in enumerate(zip(line, widths, strict=True))]
        say("  ".join(words).rstrip())


def short(value):
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}" if value < 10 else f"{value:.1f}"


def floor(options):
    """The floor of this machine, once for each program: a file for `report`, or none and why."""
    made = WORK / "runs" / options.store.identity / f"floor-{options.seconds:g}.json"
    if made.exists():
        return [made], []
    say("measuring the floor: the same bytes with no broker")
    made.parent.mkdir(parents=True, exist_ok=True)
    part, log = made.with_suffix(".part"), WORK / "logs/floor.log"
    command = [options.ringmain, "bench", "floor", "--json", part, "--data", options.data, "--server-cores", options.server_core,
               "--load-cores", options.load_core, "--seconds", f"{min(options.seconds, 3):g}"]
    code = machine.run(command, log, timeout=1800)
    if code != 0 or not part.exists():
        say(f"the floor was not measured: `ringmain bench floor` ended with {code}; it said\n{machine.tail(log, 4)}")
        return [], ["The floor was not measured."]
    part.rename(made)
    return [made], []
