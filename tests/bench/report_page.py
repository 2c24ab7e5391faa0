"""The report's page (src/bench/report.html) with reports of every shape: full, empty, half filled, hostile, long.

Each is drawn in a headless Chromium at the width of a desk and of a phone: no error, no sideways scrolling of the page, no
`undefined` that a reader would see, and what the report says is there. Where no Chromium is here (CHROMIUM names one) the template
is only looked at: one placeholder, well-formed, nothing fetched. Run by scripts/test."""
import html
import html.parser
import json
import math
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

TEMPLATE = pathlib.Path(__file__).parents[2] / "src/bench/report.html"
PLACE = "/*RINGMAIN-REPORT*/null"
WIDTHS = (1280, 390)
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome", "headless_shell")
VOID = {"meta", "link", "br", "hr", "img", "input"}


def latency(p50, count=100_000):
    at = lambda quantile: p50 * (1 - math.log10(1 - quantile)) ** 2
    quantiles = [0.0, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99, 0.995, 0.999, 0.9999]
    return {"count": count, "mean": p50, "p50": at(0.5), "p90": at(0.9), "p99": at(0.99), "p999": at(0.999), "p9999": at(0.9999),
            "max": at(0.99999), "curve": [[quantile, at(quantile)] for quantile in quantiles] + [[1.0, at(0.99999)]], "histogram": ""}


def row(name, workload="produce", broker=0, mb=800.0, seconds=5, mode="saturate", **more):
    requests, reads = mb * 1e6 / 65536, workload != "produce"
    return {
        "name": name, "question": "How much is it?", "workload": workload, "broker": broker,
        "parameters": {"mode": mode, "rate_per_second": requests if mode == "rate" else None, "record_bytes": 1024, "records_per_batch": 63,
                       "batch_bytes": 65536, "partitions": 10, "partitions_per_request": 1, "connections": 8, "in_flight": 2,
                       "consumers": int(reads), "fetch_bytes": 1 << 20, "acks": "all", "codec": "none", "keyed": False},
        "warm_up_seconds": 1, "seconds": seconds, "offered_per_second": requests if mode == "rate" else None,
        "requests": round(requests * seconds), "records": 1, "bytes": round(mb * 1e6 * seconds), "requests_per_second": requests,
        "records_per_second": requests * 63, "mb_per_second": mb, "fetched_bytes": 1e9 if reads else None,
        "fetched_mb_per_second": mb if reads else None,
        "latency": {"acknowledgement": None if workload == "catch-up" else latency(0.6), "end_to_end": latency(0.9) if reads else None,
                    "fetch": latency(1.1) if workload == "catch-up" else None},
        "errors": {}, "server": {"cpu_seconds": 4.5, "cpu_seconds_per_gb": 1.1, "cpu_us_per_request": 72.0, "cpu_share": 0.9,
                                 "resident_bytes": 310e6, "written_bytes": 4e9},
        "generator": {"cpu_share": 0.6, "lag": latency(0.01), "bottleneck": False, "note": None},
        "stages": [{"stage": stage, "count": 10, "p50_us": 9.0, "p99_us": 30.0, "p999_us": 90.0, "max_us": 700.0} for stage in ("read", "flush")],
        "series": [{"second": second, "mb_per_second": mb, "requests_per_second": requests, "p50_ms": 0.6, "p99_ms": 2.0, "max_ms": 9.0}
                   for second in range(seconds)],
        "floor_share": {"stage": "flush", "share": 0.72}, "steal_share": 0.001, **more,
    }


def comparison(name, **more):
    return {"row": name, "metric": "throughput", "unit": "MB/s", "better": "higher", "base": "Apache Kafka", "head": "Ringmain",
            "base_median": 377.5, "head_median": 800.0, "ratio": 2.119, "interval": [1.9, 2.3], "pairs": 10, "control": [0.97, 1.02],
            "bound": 0.05, "verdict": "better", **more}


def report(**more):
    floor = [{"stage": stage, "batch_bytes": size, "seconds": 3, "requests_per_second": 17e3, "mb_per_second": mb, "cpu_seconds_per_gb": 0.5,
              "cpu_us_per_request": 30.0, "latency": latency(0.3), "note": None}
             for size in (100, 65536) for stage, mb in (("echo", 4200.0), ("flush", 1111.0))]
    return {"schema": "ringmain-bench/1", "title": "What this host does", "tool_version": "0.1.0", "command": ["ringmain", "bench", "a b"],
            "started": "2026-01-02T03:04:05Z", "seconds": 97.4,
            "host": {"hostname": "bench-7", "kernel": "6.18", "cpu": "A CPU", "cpus": 2, "memory_bytes": 24e9, "notes": ["a note of the host"]},
            "brokers": [{"name": "Ringmain", "version": "0.1.0", "address": "127.0.0.1:9092", "pid": 7, "cores": "0",
                         "settings": ["durability: flushed before it is acknowledged"]},
                        {"name": "Apache Kafka", "version": "4.3.1", "address": "127.0.0.1:9093", "pid": 8, "cores": "0", "settings": []}],
            "load": {"cores": "1", "threads": 1}, "rows": [row("produce 64 KiB")], "floor": floor, "comparisons": [], "notes": [], **more}


HOSTILE = "</script><script>window.hostile = 1</script><img src=x onerror='window.hostile = 1'> \u2028 & \"quoted\""
LONG = "a row whose name says everything that there is to say of it " + "unbreakable" * 12

# name: (report, what a reader must find)
SAMPLES = {
    "one broker": (report(), ["What this host does", "bench-7", "800", "1,111", "72 %", "flushed before it is acknowledged",
                              "ringmain bench 'a b'", "2026\u201101\u201102 03:04 UTC", "coordinated omission"]),
    "compared": (report(rows=[row(name, workload, broker, 800.0 + turn, mode="rate" if workload == "end-to-end" else "saturate")
                              for name, workload in (("produce", "produce"), ("tail", "tail"), ("late", "end-to-end"), ("catch-up", "catch-up"))
                              for turn in range(3) for broker in (0, 1)],
                        comparisons=[comparison("produce"), comparison("late", metric="p99", unit="ms", better="lower", verdict=None, ratio=0.4,
                                                                       interval=[0.2, 0.7], control=None, bound=None)]),
                 ["Ringmain against Apache Kafka", "2.12 ×", "1.90 to 2.30 ×", "better", "All 6 runs", "fetched"]),
    "troubled": (report(rows=[row("slow", errors={"NOT_LEADER_OR_FOLLOWER": 3}, steal_share=0.2,
                                  generator={"cpu_share": 1.0, "lag": None, "bottleneck": True, "note": "its core was full"})]),
                 ["generator-bound", "its core was full", "NOT_LEADER_OR_FOLLOWER: 3", "hypervisor"]),
    "nothing measured": (report(rows=[], floor=[], brokers=[]), ["Nothing was measured", "How to read this"]),
    "floor alone": (report(rows=[]), ["The floor of this machine", "4,200"]),
    "forty rows": (report(rows=[row(f"{LONG} {index}") for index in range(40)], title=LONG), [LONG + " 39"]),
    "a long run": (report(rows=[row("soak", seconds=7200) for _ in range(3)]), ["soak"]),
    "hostile": (report(title=HOSTILE, notes=[HOSTILE], rows=[row(HOSTILE)], comparisons=[comparison(HOSTILE)]), [" & \"quoted\""]),
    "bare": ({}, ["Nothing was measured"]),
    "half filled": ({"title": None, "command": None, "host": None, "load": None, "started": "?", "brokers": [None, {}],
                     "rows": [{}, {"name": "half", "broker": 9, "latency": {"acknowledgement": {"p50": 1.5}}, "series": [None, {}, {"second": 1}],
                                   "stages": [{}, {"stage": "read", "p50_us": 0}], "parameters": {}, "server": {}, "generator": {}},
                              {"name": "half", "broker": 0, "latency": None, "series": None, "stages": None, "errors": None}],
                     "floor": [{}, {"stage": "flush", "mb_per_second": 3.0}, {"stage": "flush", "batch_bytes": 65536}],
                     "comparisons": [{}, {"row": "half", "ratio": 0, "interval": [0, 0]}, {"row": "half", "ratio": 2.0, "interval": [None, 3]}]},
                    ["half", "Nothing was recorded", "1.50"]),
    "no report": (None, ["This page holds no report"]),
}

LISTEN = """<script>window.problems = []; console.error = (...what) => problems.push(what.map(String).join(" "));
window.addEventListener("error", (event) => problems.push(event.message));</script>"""

# One page that shows every sample in a frame of either width, one after another, and writes down what it found.
HARNESS = """<!doctype html><meta charset="utf-8"><body><script>
const pages = __PAGES__, widths = __WIDTHS__, results = [];
(async () => {
  for (const [name, page] of Object.entries(pages)) for (const width of widths) {
    const frame = document.createElement("iframe");
    frame.width = width; frame.height = 900;
    const loaded = new Promise((done) => frame.addEventListener("load", done));
    frame.srcdoc = page;
    document.body.append(frame);
    await loaded;
    const inside = frame.contentWindow, top = frame.contentDocument.documentElement;
    inside.dispatchEvent(new Event("beforeprint"));  // opens and draws every part
    const pictures = [...frame.contentDocument.querySelectorAll("svg[role=img]")];
    results.push({ name, width, problems: inside.problems, hostile: Boolean(inside.hostile), text: frame.contentDocument.body.innerText,
      wide: top.scrollWidth - top.clientWidth, nameless: pictures.filter((one) => !one.getAttribute("aria-label")).length, pictures: pictures.length,
      drawn: [...frame.contentDocument.querySelectorAll("svg")].map((one) => one.outerHTML).join().match(/NaN|Infinity|undefined|null/g) || [] });
    frame.remove();
  }
  const out = document.createElement("pre");
  out.id = "results"; out.textContent = "RESULTS" + JSON.stringify(results) + "END";
  document.body.append(out);
})();
</script>"""


def embedded(value):
    """As the Rust side embeds it: JSON that no markup can end."""
    return json.dumps(value, ensure_ascii=False).replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")


def browser():
    named = os.environ.get("CHROMIUM")
    return named or next((path for path in map(shutil.which, BROWSERS) if path), None)


def draw(program, template):
    pages = {name: template.replace("<head>", "<head>" + LISTEN, 1).replace(PLACE, embedded(sample), 1) for name, (sample, _) in SAMPLES.items()}
    with tempfile.TemporaryDirectory() as scratch:
        page = pathlib.Path(scratch, "page.html")
        page.write_text(HARNESS.replace("__WIDTHS__", json.dumps(WIDTHS)).replace("__PAGES__", embedded(pages)))
        flags = ["--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={scratch}/profile", "--virtual-time-budget=120000", "--dump-dom"]
        run = subprocess.run([program, *flags, page.as_uri()], capture_output=True, text=True, timeout=300)
    found = html.unescape(run.stdout).rpartition("RESULTS")[2].partition("END</pre>")[0] if "RESULTS[" in html.unescape(run.stdout) else ""
    if not found:
        raise SystemExit(f"{program} drew nothing (code {run.returncode}):\n{run.stderr[-2000:]}")
    return json.loads(found)


def faults_of(result):
    wanted = SAMPLES[result["name"]][1]
    faults = [f"error: {problem}" for problem in result["problems"]]
    faults += [f"does not say {words!r}" for words in wanted if words not in result["text"]]
    faults += [f"says {word!r}" for word in ("undefined", "NaN", "[object", "Infinity", "could not be drawn") if word in result["text"]]
    faults += [f"a picture holds {sorted(set(result['drawn']))}"] if result["drawn"] else []
    faults += [f"scrolls sideways by {result['wide']} px"] if result["wide"] > 0 else []
    faults += [f"{result['nameless']} pictures without a name"] if result["nameless"] else []
    faults += ["ran what the report says"] if result["hostile"] else []
    return faults


class Shape(html.parser.HTMLParser):
    """Open elements, and what would be fetched."""

    def __init__(self):
        super().__init__()
        self.open, self.faults = [], []

    def handle_starttag(self, tag, attributes):
        if tag not in VOID:
            self.open.append(tag)
        self.faults += [f"<{tag} {name}={value}>" for name, value in attributes if name in ("src", "href", "srcset")]

    def handle_endtag(self, tag):
        # The end of a <dd> or <li> may be left out, not in our page.
        if not self.open or self.open.pop() != tag:
            self.faults.append(f"</{tag}> closes nothing")


def template_faults(template):
    shape = Shape()
    shape.feed(template)
    places = template.count(PLACE)
    return (shape.faults + [f"<{tag}> is left open" for tag in shape.open] + ([f"{places} placeholders"] if places != 1 else [])
            + [f"names {word}" for word in ("http://", "https://", "@import", "url(") if word in template.replace("http://www.w3.org/2000/svg", "")])


def main():
    template, passed, failed, skipped = TEMPLATE.read_text(), 0, 0, 0

    def say(name, faults):
        nonlocal passed, failed
        passed, failed = passed + (not faults), failed + bool(faults)
        print(f"{'FAILED' if faults else 'ok'}  {name}", *faults, sep="\n    " if faults else "")

    say("the template", template_faults(template))
    program = browser()
    if program is None:
        skipped = 1
        print(f"no Chromium is here (looked for {', '.join(BROWSERS)}; CHROMIUM names one): nothing was drawn")
    else:
        for result in draw(program, template):
            say(f"{result['name']}, {result['width']} px, {result['pictures']} pictures", faults_of(result))
    print(f"report page: {passed} passed, {failed} failed, {skipped} skipped")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
