"""How fast redaction is: `python bench/redaction.py [hyperscan|re2|re]` prints a table."""

from __future__ import annotations

import base64
import json
import random
import statistics
import sys
import time

from agent import config
from agent.transform.redact import Redactor
from agent.transform.redaction import samples
from agent.transform.redaction.catalogue import RULES
from agent.transform.redaction.engine import Engine

CHUNK_BYTES = 256 * 1024
ROUND_S = 1.5
ROUNDS = 3
KEY = b"bench" * 8
SECRET = "hunter2hunter"


def greenstack_line(dice: random.Random, user: str | None = None, message: str = "IODD upload started") -> bytes:
    record = {
        "timestamp": 1763461800 + dice.random() * 1e6,
        "level": dice.choice(("INFO", "DEBUG", "WARNING")),
        "message": message,
        "logger": "src.routes.iodd_routes",
        "function": "upload_iodd",
        "line": dice.randrange(900),
        "app": "greenstack",
        "version": "2.0.0",
        "environment": "production",
        "request_id": samples.uuid(dice),
        "event": "upload_start",
        "upload_filename": f"device{dice.randrange(1000)}.xml",
        "content_type": "application/xml",
        "client_ip": f"192.168.1.{dice.randrange(255)}",
        "user": user or "operator",
        "duration_ms": round(dice.random() * 100, 2),
    }
    return json.dumps(record).encode()


def secret_message(dice: random.Random) -> str:
    return samples.expand(
        dice.choice(
            (
                "User credentials: bob:{pw:10}",
                "login with password={pw:12}",
                "GET /x?api_key={b62:32} HTTP/1.1",
                "Authorization: Bearer {=jwt}",
                "using ghp_{b62:36}",
                "connect postgres://app:{b62:12}@db/x",
            )
        ),
        dice,
    )


def chunks(lines: list[bytes]) -> list[list[bytes]]:
    out: list[list[bytes]] = [[]]
    size = 0
    for line in lines:
        if size + len(line) > CHUNK_BYTES:
            out.append([])
            size = 0
        out[-1].append(line)
        size += len(line) + 1
    return out


def measure(redactor: Redactor, lines: list[bytes]) -> tuple[float, float, float]:
    """MB/s, µs a line and flagged lines in percent; the split is part of the time."""
    data = [b"\n".join(chunk) + b"\n" for chunk in chunks(lines)]
    size = count = flagged = 0
    begin = time.process_time()
    while time.process_time() - begin < ROUND_S:
        for chunk in data:
            split = chunk.split(b"\n")
            split.pop()
            flagged += redactor.chunk(chunk, split).flagged
            size += len(chunk)
            count += len(split)
    spent = time.process_time() - begin
    return size / spent / 1e6, spent / count * 1e6, 100 * flagged / count


UNITS: tuple[bytes, ...] = (
    *(
        b"a=",
        b"password=",
        b"password=x1, ",
        b"a@",
        b"john@example.com ",
        b"eyJhbGci.",
        b"://a:b",
        b'{"password":',
        b'{"a":',
        b"[[",
    ),
    *(
        b'\\"',
        b'"',
        b"'",
        b"`",
        b"\\",
        b"4111 ",
        b"4111-1111-1111-1111 ",
        b"%41%70",
        b"%",
        b"%2541",
        b"Basic dXNlcjpw",
        b"credentials: a:",
    ),
    *(
        b"password is ",
        b"password for x ",
        b"password (",
        b"sk-",
        b"x ",
        b"A",
        b"0",
        b"-",
        b"---- ",
        b"_",
        b".",
        b":",
        b"&a=b",
        b"?token=",
    ),
    *(
        b"<password>",
        b"<a>",
        b"\\u0070",
        b"\x1b[0m",
        b"\xe2\x80\x8b",
        b"DE893704 ",
        b"123-45-6789 ",
        b"Bearer abcdefgh1 ",
        b"token ",
        b"token: ",
    ),
    *(
        b'"name": "password", ',
        b"--password x ",
        b"INSERT INTO a (password) VALUES (",
        b"IDENTIFIED BY '",
        b"-----BEGIN PRIVATE KEY-----",
    ),
    *(
        b"-----END PRIVATE KEY-----",
        b"'loc': ('password',), ",
        b"Cookie: a=b; ",
        b"Authorization: ",
        b"mysql -p",
        b"AUTH ",
        b"docker login ",
    ),
    *(
        b"/reset/abcdefghijklmnopqrstuvwxyz1/",
        b"AKIAABCDEFGHIJKLMNOP ",
        b"\xff",
        b"password | ",
        b's:8:"password";',
        b"passwordpassword",
    ),
    b"dXNlcjpwYXNzd29yZD1odW50ZXIy ",
)
SIZE = 1_000_000
LIMIT_MS = 50.0


def adversarial() -> dict[str, bytes]:
    """Lines of a megabyte that ask for much work, and large harmless ones beside a secret."""
    dice = random.Random(7)
    lines = {repr(unit)[2:26]: unit * (SIZE // len(unit)) for unit in UNITS}
    beside = {
        "zeros in base64": base64.b64encode(bytes(SIZE * 3 // 4)).decode(),
        "bytes in base64": base64.b64encode(dice.randbytes(SIZE * 3 // 4)).decode(),
        "text in base64": base64.b64encode(b"hello world, " * 57_000).decode(),
        "a run of A": "A" * SIZE,
        "prose": "the quick brown fox jumps over 13 lazy dogs. " * 22_000,
        "digits": ",".join(str(dice.randrange(10**9)) for _ in range(100_000)),
        "a stack": '  File "/app/x.py", line 3, in f\n    x = f(y=1, z=2)\n' * 20_000,
        "a query": "&".join(f"k{i}=v{i}" for i in range(80_000)),
    }
    lines |= {f"{name} + secret": json.dumps({"password": SECRET, "d": text}).encode() for name, text in beside.items()}
    base64_text, in_lines = beside["bytes in base64"], base64.encodebytes(dice.randbytes(SIZE * 3 // 4)).decode()
    lines["secret behind base64"] = f"{base64_text} password={SECRET}".encode()
    lines["secret before base64, in JSON"] = json.dumps({"m": f"password={SECRET} {base64_text}"}).encode()
    lines["the same, nested, a secret"] = json.dumps({"m": f"password={SECRET} {base64_text}", "k": {"a": 1}}).encode()
    lines["lines of base64 + secret"] = json.dumps({"password": SECRET, "d": in_lines}).encode()
    lines["many members"] = json.dumps({f"k{i}": {"password": i} for i in range(38_000)}).encode()
    lines["flat members"] = json.dumps({f"password{i}": f"x{i}" for i in range(30_000)}).encode()
    lines["json in json"] = json.dumps({"a": json.dumps({"b": json.dumps([{"token": "a"}] * 60_000)})}).encode()
    lines["deep"] = b'{"a":' * 100_000 + b"1" + b"}" * 100_000
    return lines | prose_and_rows(dice) | samples_of_rules(dice)


def prose_and_rows(dice: random.Random) -> dict[str, bytes]:
    """Long prose with a harmless phrase each kilobyte, and logs as one line, of which a part is about credentials."""
    lines: dict[str, bytes] = {}
    for phrase in ("password is required", "code is 404123", "token expired for user 7", "user login: admin"):
        text = f"{phrase} {words(dice, 1_000)} " * (SIZE // 1_020)
        lines[f"{phrase!r} + secret"] = json.dumps({"message": f"{text}password={SECRET}"}).encode()
    about = (
        "password reset mail sent to user 7",
        "PIN pad 3 attached",
        "api key from header is unknown",
        "code 4: invalid password",
    )
    for share in (0.02, 0.1, 0.5):
        rows = "\n".join(
            f"2026-11-26 14:05:07 INFO app: {dice.choice(about) if dice.random() < share else 'pump 7 ran at 13 of 40'}"
            for _ in range(SIZE // 60)
        )
        lines[f"{share:.0%} about secrets"] = rows.replace("\n", "\\n").encode()
        lines[f"{share:.0%} about secrets, JSON + secret"] = json.dumps({"out": rows, "password": SECRET}).encode()
    return lines


def samples_of_rules(dice: random.Random) -> dict[str, bytes]:
    """A sample of each rule, and what only looks like one, again and again with prose between."""
    lines: dict[str, bytes] = {}
    for rule in (rule for rule in RULES if not rule.given):
        for kind, templates in (("", rule.must), ("no ", rule.must_not)):
            unit = samples.split_marks(samples.expand(templates[0], dice))[0] + " " + words(dice, 500) + "\n"
            text = unit * (SIZE // len(unit))
            lines[f"{kind}{rule.id} + secret"] = json.dumps({"m": text, "password": SECRET}).encode(
                "utf-8", "surrogatepass"
            )
    return lines


def words(dice: random.Random, size: int) -> str:
    vocabulary = [
        "the",
        "pump",
        "ran",
        "well",
        "and",
        "the",
        "valve",
        "opened",
        "again",
        "while",
        "a",
        "sensor",
        "reported",
        "its",
        "state",
        "to",
        "the",
        "controller",
    ]
    return " ".join(dice.choice(vocabulary) for _ in range(size // 5))[:size]


def least(redactor: Redactor, line: bytes, rounds: int) -> tuple[float, bool, bytes]:
    """Milliseconds that a line takes at least, as others use the machine too; whether it became a stub; what was written."""
    spent = []
    for _ in range(rounds):
        out = [line]
        begin = time.process_time()
        facts = redactor.chunk(line + b"\n", out)
        spent.append((time.process_time() - begin) * 1000)
    return min(spent), bool(facts.failed), out[0]


def pace() -> float:
    """What the standard library takes to parse a line, in microseconds: how fast the machine is this minute."""
    lines = [greenstack_line(random.Random(n)) for n in range(500)]
    spent = []
    for _ in range(20):
        begin = time.process_time()
        for line in lines:
            json.loads(line)
        spent.append((time.process_time() - begin) / len(lines) * 1e6)
    return min(spent)


def main() -> None:
    engine: Engine | None = sys.argv[1] if len(sys.argv) > 1 else None  # type: ignore[assignment]
    begin = time.process_time()
    redactor = Redactor.build(config.Redact(), pseudonym_key=KEY, engine=engine)
    print(f"engine {redactor.engine}, {len(redactor.rules())} rules, built in {time.process_time() - begin:.2f} s\n")
    dice = random.Random(7)
    sets = {
        "benign": [greenstack_line(dice) for _ in range(4000)],
        "a quarter with e-mail": [
            greenstack_line(dice, samples.email(dice) if i % 4 == 0 else None) for i in range(4000)
        ],
        "every line with e-mail": [greenstack_line(dice, samples.email(dice)) for _ in range(4000)],
        "10 % secrets": [
            greenstack_line(dice, message=secret_message(dice) if i % 10 == 0 else "IODD upload done")
            for i in range(4000)
        ],
        "all secrets": [greenstack_line(dice, message=secret_message(dice)) for _ in range(4000)],
    }
    print(f"{'lines':<24}{'MB/s':>8}{'µs/line':>9}{'lines/s':>10}{'flagged':>9}")
    for name, lines in sets.items():
        speed, per_line, flagged = measure(redactor, lines)
        print(f"{name:<24}{speed:>8.0f}{per_line:>9.2f}{1e6 / per_line:>10.0f}{flagged:>8.1f}%")
    print(f"\njson.loads takes {pace():.2f} µs a line")
    print(f"\n1 MB lines made to be slow: those above {LIMIT_MS:.0f} ms, and the slowest ten")
    took: list[tuple[float, str, bool, bool]] = []
    for name, harmful in adversarial().items():
        line = (
            harmful
            if "secret" in name or harmful.startswith((b"{", b"["))
            else harmful + b" password=" + SECRET.encode()
        )
        ms, stubbed, out = least(redactor, line, ROUNDS)
        if ms > LIMIT_MS:
            ms = min(ms, least(redactor, line, 3 * ROUNDS)[0])
        took.append((ms, name, stubbed, SECRET.encode() in out))
    took.sort(reverse=True)
    for place, (ms, name, stubbed, leaked) in enumerate(took):
        if place < 10 or ms > LIMIT_MS or leaked:
            print(f"  {name:<44}{ms:>8.1f}{'  stub' if stubbed else ''}{'  LEAKED' if leaked else ''}")
    stubs = sum(stubbed for _, _, stubbed, _ in took)
    print(
        f"  {sum(ms > LIMIT_MS for ms, *_ in took)} above {LIMIT_MS:.0f} ms, slowest {took[0][0]:.1f} ms, median {statistics.median(ms for ms, *_ in took):.1f}"
    )
    print(f"  json.loads takes {pace():.2f} µs a line")
    print(f"  {len(took)} lines, {stubs} given up as stubs, {sum(leaked for *_, leaked in took)} leaked")


if __name__ == "__main__":
    main()
