"""What a start does not do before the first line is on its way. Each of these took a measurable part of it."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from agent import config
from agent.transform.redact import Redactor
from agent.transform.redaction import catalogue
from agent.transform.redaction.rule import Rule
from agent.transform.redaction.verify import Verifier

CONFIG = '[agent]\nstate_dir = "{0}/state"\n[[source]]\ninclude = ["{0}/*.log"]\n'


def in_a_fresh_process(code: str, directory: Path, *more: str) -> str:
    (directory / "config.toml").write_text(CONFIG.format(directory))
    command = [sys.executable, "-c", code, str(directory / "config.toml"), *more]
    done = subprocess.run(command, capture_output=True, check=True, text=True, env={"PATH": ""}, timeout=60)
    return done.stdout.strip()


def test_a_start_loads_nothing_that_only_other_starts_need(tmp_path: Path) -> None:
    code = """
import sys
from pathlib import Path
import agent.running
from agent.settings import load
load(Path(sys.argv[1]), {})
print(*sys.modules)
"""
    loaded = set(in_a_fresh_process(code, tmp_path).split())
    assert "aiohttp" in loaded
    assert not loaded & {"pydantic_settings", "tree_sitter", "rich", "difflib", "agent.demo", "agent.environment"}


def test_importing_aiohttp_loads_no_authorities_and_leaves_the_environment_as_it_was(tmp_path: Path) -> None:
    code = """
import os, ssl
made = []
create = ssl.create_default_context
def noted(*args, **options):
    made.append(create(*args, **options))
    return made[-1]
ssl.create_default_context = noted
os.environ["SSL_CERT_FILE"] = "/somewhere"
import agent.http
print(len(made), sum(context.cert_store_stats()["x509"] for context in made), os.environ.pop("SSL_CERT_FILE"))
"""
    assert in_a_fresh_process(code, tmp_path) == "1 0 /somewhere"


def test_the_pattern_of_a_rule_is_compiled_when_a_line_is_suspected_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    parts = Redactor.build(config.Redact(), pseudonym_key=bytes(32), engine="re")._parts
    assert parts is not None
    compiled = []

    class Noting:
        @staticmethod
        def compile(pattern: str) -> re.Pattern[str]:
            compiled.append(pattern)
            return re.compile(pattern)

    monkeypatch.setattr(catalogue, "re", Noting)
    scan = catalogue.pattern_scan(Rule("a-rule", "a-group", "", pattern="k=(?P<secret>[a-z]+)"))
    assert not compiled
    for _ in range(2):
        text = "k=secret"
        assert [(hit.start, hit.end) for hit in scan(text, Verifier(parts.tools, len(text)))] == [(2, 8)]
    assert len(compiled) == 1


LATE = {f"agent.transform.redaction.{name}" for name in catalogue._LATE}


def test_procedures_for_rare_lines_are_loaded_when_a_line_asks_for_them(tmp_path: Path) -> None:
    code = """
import sys
from agent import config
import agent.running
from agent.transform.redact import Redactor
redactor = Redactor.build(config.Redact(), pseudonym_key=bytes(32), engine="re")
print(*sys.modules)
assert b"hunter2x" not in redactor.line(b"mysql -u root -phunter2x")[0]
print(*sys.modules)
"""
    before, after = (set(names.split()) for names in in_a_fresh_process(code, tmp_path).splitlines())
    assert not before & LATE
    assert "agent.transform.redaction.command" in after


def test_each_procedure_for_rare_lines_can_be_loaded() -> None:
    catalogue.load_late()
    assert set(sys.modules) >= LATE
    parts = Redactor.build(config.Redact(), pseudonym_key=bytes(32), engine="re")._parts
    assert parts is not None
    for scan in catalogue.SHARED.values():
        if scan is not None:
            list(scan("nothing of the kind", Verifier(parts.tools, 100)))


UNTIL_SETTLED = """
import os, signal, sys, threading
from pathlib import Path
from agent import app, cli
from agent.transform.redaction import catalogue
settled = threading.Event()
app.settle = settled.set
def end() -> None:
    settled.wait()
    print(*sys.modules)
    os.kill(os.getpid(), signal.SIGTERM)
threading.Thread(target=end, daemon=True).start()
settings = Path(sys.argv[1])
settings.write_text(settings.read_text() + '[server]\\nlisten = "127.0.0.1:0"\\n')
def fail(name: str) -> None:
    raise eval(sys.argv[2])
if len(sys.argv) > 2:
    catalogue._load = fail
raise SystemExit(cli.main(["run", "-c", sys.argv[1]]))
"""


def test_an_agent_at_rest_has_loaded_them_all(tmp_path: Path) -> None:
    assert set(in_a_fresh_process(UNTIL_SETTLED, tmp_path).split()) >= LATE


def test_a_filter_has_loaded_them_before_it_reads(tmp_path: Path) -> None:
    code = """
import io, os, sys
from agent import filtering
read, write = os.pipe()
os.write(write, b"mysql -u root -phunter2x\\n")
os.close(write)
late = set(sys.argv[2].split())
def blocks(lines_in):
    assert late <= set(sys.modules)
    yield os.read(read, 100)
filtering._blocks = blocks
out = io.BytesIO()
filtering.redact_stream(None, os.fdopen(read, "rb"), out, None)
print(b"hunter2x" in out.getvalue(), len(out.getvalue()) > 20)
"""
    assert in_a_fresh_process(code, tmp_path, " ".join(LATE)) == "False True"


@pytest.mark.parametrize("error", ['OSError(24, "no descriptor")', 'ModuleNotFoundError("it is gone")'])
def test_an_agent_that_cannot_load_them_goes_on(tmp_path: Path, error: str) -> None:
    assert not set(in_a_fresh_process(UNTIL_SETTLED, tmp_path, error).split()) & LATE
