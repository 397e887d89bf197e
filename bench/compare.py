"""The same lines, the same sink, other shippers: lines per CPU second of each.

    python bench/compare.py [--lines 300000] [--emails 0.25] [--rounds 1] [--fluent-bit PATH] [--promtail PATH] [--vector PATH]
        [--stub]

Each is found on PATH or given by its path; what is not found is said to be. Each runs on one core, reads the file from its
start, decodes JSON, takes its time from the line, labels it and pushes to the sink, where the lines are counted. CPU seconds
are user and system of the process from the moment the file is there to the last line's arrival. The start is left out: that of
the others is what they take in two seconds without a file. `redaction` says what each did for secrets: ours has all its rules on, the
others the replacements they are given here (one for passwords, one for e-mail addresses). --rounds: all of them in turn, so
many times, each time another of them first; printed are the medians, and the median of how many times theirs ours was in the
same round, least and most behind it. --stub runs a small Python script in a shipper's place, to try the benchmark itself.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import corpus
import rig
import throughput

_PASSWORD = r"credentials: \S+"
_EMAIL = r"[A-Za-z0-9._-]+@[a-z0-9.-]+"
_START_S = 2.0


@dataclass(frozen=True)
class Shipper:
    """configure: writes the files and gives the command, with the program, a directory, the log and the sink's port."""

    name: str
    redaction: str
    configure: Callable[[str, Path, Path, int], list[str]]


def fluent_bit(program: str, directory: Path, log: Path, port: int, compress: str = "    compress gzip\n") -> list[str]:
    (directory / "parsers.conf").write_text(
        "[PARSER]\n    Name greenstack\n    Format json\n    Time_Key timestamp\n    Time_Format %s.%L\n    Time_Keep On\n"
    )
    path = directory / "fluent-bit.conf"
    path.write_text(
        f"[SERVICE]\n    Flush 1\n    Log_Level error\n    Parsers_File {directory}/parsers.conf\n"
        f"[INPUT]\n    Name tail\n    Path {log}\n    Read_from_Head On\n    Parser greenstack\n    DB {directory}/tail.db\n"
        "    Buffer_Chunk_Size 256k\n    Buffer_Max_Size 1M\n    Mem_Buf_Limit 64M\n"
        f"[OUTPUT]\n    Name loki\n    Match *\n    Host 127.0.0.1\n    Port {port}\n    labels job=bench\n"
        f"{compress}    line_format json\n"
    )
    return [program, "-c", str(path)]


def fluent_bit_plain(program: str, directory: Path, log: Path, port: int) -> list[str]:
    return fluent_bit(program, directory, log, port, compress="")


def fluent_bit_redacting(program: str, directory: Path, log: Path, port: int) -> list[str]:
    command = fluent_bit(program, directory, log, port)
    (directory / "redact.lua").write_text(
        "function redact(tag, ts, record)\n  for k, v in pairs(record) do\n    if type(v) == 'string' then\n"
        "      v = v:gsub('credentials: %S+', 'credentials: [REDACTED]')\n"
        "      record[k] = v:gsub('[%w._-]+@[%w.-]+', '[EMAIL]')\n    end\n  end\n  return 2, ts, record\nend\n"
    )
    path = directory / "fluent-bit.conf"
    path.write_text(
        path.read_text().replace(
            "[OUTPUT]",
            f"[FILTER]\n    Name lua\n    Match *\n    script {directory}/redact.lua\n    call redact\n[OUTPUT]",
        )
    )
    return command


def promtail(program: str, directory: Path, log: Path, port: int, stages: str = "") -> list[str]:
    path = directory / "promtail.yaml"
    path.write_text(
        f"server: {{disable: true}}\npositions: {{filename: {directory}/positions.yaml}}\n"
        f"clients: [{{url: 'http://127.0.0.1:{port}/loki/api/v1/push', batchsize: 1048576}}]\n"
        "scrape_configs:\n- job_name: bench\n  pipeline_stages:\n"
        "  - json: {expressions: {timestamp: timestamp, request_id: request_id}}\n"
        "  - timestamp: {source: timestamp, format: Unix}\n"
        f"{stages}  static_configs:\n  - labels: {{job: bench, __path__: {log}}}\n"
    )
    return [program, f"-config.file={path}"]


def promtail_redacting(program: str, directory: Path, log: Path, port: int) -> list[str]:
    stages = "".join(
        f"  - replace: {{expression: '({pattern})', replace: '[REDACTED]'}}\n" for pattern in (_PASSWORD, _EMAIL)
    )
    return promtail(program, directory, log, port, stages)


def vector(program: str, directory: Path, log: Path, port: int, redact: str = "") -> list[str]:
    path = directory / "vector.toml"
    (directory / "vector-data").mkdir(exist_ok=True)
    path.write_text(
        f'data_dir = "{directory}/vector-data"\n'
        f'[sources.log]\ntype = "file"\ninclude = ["{log}"]\nread_from = "beginning"\n'
        '[transforms.parsed]\ntype = "remap"\ninputs = ["log"]\nsource = \'\'\'\n'
        f"{redact}record = object!(parse_json!(string!(.message)))\n"
        ".timestamp = from_unix_timestamp!(to_int(to_float!(record.timestamp) * 1000000000.0), unit: \"nanoseconds\")\n'''\n"
        f'[sinks.loki]\ntype = "loki"\ninputs = ["parsed"]\nendpoint = "http://127.0.0.1:{port}"\n'
        'encoding.codec = "text"\ncompression = "snappy"\nlabels.job = "bench"\nbatch.max_bytes = 1048576\n'
        "[sinks.loki.healthcheck]\nenabled = false\n"
    )
    return [program, "--quiet", "--config", str(path)]


def vector_redacting(program: str, directory: Path, log: Path, port: int) -> list[str]:
    redact = "".join(
        f".message = replace(string!(.message), r'{pattern}', \"[REDACTED]\")\n" for pattern in (_PASSWORD, _EMAIL)
    )
    return vector(program, directory, log, port, redact)


_STUB = """
import json, sys, urllib.request
log, port = sys.argv[1:]
def push(values):
    body = json.dumps({"streams": [{"stream": {"job": "stub"}, "values": values}]}).encode()
    headers = {"Content-Type": "application/json"}
    urllib.request.urlopen(urllib.request.Request(f"http://127.0.0.1:{port}/loki/api/v1/push", body, headers)).read()
values = []
for line in open(log):
    values.append([str(int(json.loads(line)["timestamp"] * 1e6) * 1000), line.rstrip("\\n")])
    if len(values) == 2000:
        push(values)
        values = []
push(values)
import time
time.sleep(3600)  # a shipper goes on
"""


def stub(_: str, __: Path, log: Path, port: int) -> list[str]:
    return [sys.executable, "-c", _STUB, str(log), str(port)]


SHIPPERS = (
    ("fluent-bit", Shipper("Fluent Bit, uncompressed", "none", fluent_bit_plain)),
    ("fluent-bit", Shipper("Fluent Bit, gzip", "none", fluent_bit)),
    ("fluent-bit", Shipper("Fluent Bit, gzip", "2 in Lua", fluent_bit_redacting)),
    ("promtail", Shipper("Promtail", "none", promtail)),
    ("promtail", Shipper("Promtail", "2 replace stages", promtail_redacting)),
    ("vector", Shipper("Vector", "none", vector)),
    ("vector", Shipper("Vector", "2 in VRL", vector_redacting)),
)


def run(shipper: Shipper, program: str, lines: int, emails: float) -> float:
    """CPU seconds until the sink has all lines, without those of the start."""
    with tempfile.TemporaryDirectory(prefix="greenstack-compare-") as name, rig.sink() as url:
        directory = Path(name)
        log = directory / "app.log"
        command = shipper.configure(program, directory, log, int(url.rpartition(":")[2]))
        with subprocess.Popen(rig.pinned(0, command)) as process:
            time.sleep(_START_S)
            start_s = 0.0 if process.poll() is not None else rig.Usage(process.pid).precise_cpu_s()
            process.kill()
        corpus.write(log, lines, secrets=0.01, emails=emails, begin=corpus.recent(lines))
        with subprocess.Popen(rig.pinned(0, command)) as process:
            try:
                spent_s = _until_all_is_there(process, url, lines)
            finally:
                process.kill()
    return spent_s - start_s


def _until_all_is_there(process: subprocess.Popen[bytes], url: str, lines: int) -> float:
    usage, last_request, quiet_since, spent_s = rig.Usage(process.pid), -1, time.monotonic(), 0.0
    while True:
        if process.poll() is not None:
            raise SystemExit(f"{process.args} has ended with {process.returncode}")
        requests = rig.get(f"{url}/done")["requests"]
        now = time.monotonic()
        if requests != last_request:  # the last line came with the last request
            last_request, quiet_since, spent_s = requests, now, usage.precise_cpu_s()
        elif now - quiet_since > 5.0 and requests:
            arrived = rig.get(f"{url}/count")["entries"]
            if arrived < lines:
                raise SystemExit(f"{arrived} of {lines} lines arrived")
            return spent_s
        time.sleep(0.05)


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--lines", type=int, default=300_000)
    arguments.add_argument("--emails", type=float, default=0.25)
    arguments.add_argument("--rounds", type=int, default=1)
    for program in dict.fromkeys(program for program, _ in SHIPPERS):
        arguments.add_argument(f"--{program}", metavar="PATH")
    arguments.add_argument("--stub", action="store_true")
    given = arguments.parse_args()
    print(f"{given.lines} lines, 1% secrets, {given.emails:.0%} e-mails, rounds: {given.rounds} ({rig.machine()})")
    others, missing = [], []
    for program, shipper in SHIPPERS:
        found = getattr(given, program.replace("-", "_")) or shutil.which(program)
        if found is None:
            missing.append(program)
        else:
            others.append((shipper, found))
    if given.stub:
        others.append((Shipper("a Python script", "none", stub), ""))
    rates: list[list[float]] = []
    starts_s: list[float] = []
    for turn in range(given.rounds):
        its = [0.0] * (1 + len(others))
        for index in sorted(range(len(its)), key=lambda index: (index - turn) % len(its)):
            if index:
                shipper, program = others[index - 1]
                its[index] = given.lines / run(shipper, program, given.lines, given.emails)
            else:
                measured = throughput.measure(given.lines, 0.01, given.emails)
                starts_s.append(measured.start_cpu_s)
                its[index] = measured.steady
        rates.append(its)
    names = [("greenstack-agent", "all rules"), *((shipper.name, shipper.redaction) for shipper, _ in others)]
    print(f"  {'shipper':<26}{'redaction':<18}{'lines per CPU second':>22}   ours is so many times that")
    medians = [statistics.median(each) for each in zip(*rates, strict=True)]
    for index, ((name, how), rate) in enumerate(zip(names, medians, strict=True)):
        times = sorted(one[0] / one[index] for one in rates)
        multiple = f"   {statistics.median(times):.2f} ({times[0]:.2f} to {times[-1]:.2f})" if index else ""
        print(f"  {name:<26}{how:<18}{rate:>22,.0f}{multiple}")
    print(f"  a start, which is in none of these, takes {statistics.median(starts_s):.2f} CPU s (greenstack-agent)")
    for program in dict.fromkeys(missing):
        print(f"  {program} is not on PATH; give --{program}")
    told = [
        {"shipper": name, "redaction": how, "lines_per_cpu_s": [round(one[index]) for one in rates]}
        for index, (name, how) in enumerate(names)
    ]
    print(json.dumps(told))


if __name__ == "__main__":
    main()
