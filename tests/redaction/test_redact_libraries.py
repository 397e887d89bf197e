"""The leaky shapes as the real libraries write them: pydantic, FastAPI, uvicorn, SQLAlchemy, httpx, logging."""

from __future__ import annotations

import io
import json
import logging
import threading
import traceback
from collections.abc import Iterator
from typing import Annotated

import httpx
import pytest
import sqlalchemy
import uvicorn
from fastapi import Body, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, Field, SecretStr, ValidationError
from pythonjsonlogger.json import JsonFormatter
from sqlalchemy import exc, text

from agent.transform.redact import Redactor

SECRET = "Tr0ub4dor-and-3"
KEY = "q7Zk29LmPw4XcVb8TnRs"


def shipped(redactor: Redactor, message: str, **more: object) -> str:
    """What leaves of a log record with this message, as JSON and as text; both must hold the same promise."""
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(JsonFormatter("%(message)s %(levelname)s %(name)s"))
    logger = logging.getLogger("src.api")
    logger.handlers, logger.propagate = [handler], False
    logger.error(message, extra=more)
    line = stream.getvalue().rstrip("\n")
    out = redactor.line(line.encode())[0].decode()
    json.loads(out)
    return out + "\n" + redactor.line(message.replace("\n", " ").encode())[0].decode()


class Login(BaseModel):
    username: str
    password: str = Field(min_length=64)
    api_key: SecretStr = SecretStr("")
    token: str = ""


def test_pydantic_errors(redactor):
    with pytest.raises(ValidationError) as caught:
        Login(username="bob", password=SECRET, token=5)
    for message in (str(caught.value), repr(caught.value.errors()), caught.value.json()):
        assert SECRET in message
        assert SECRET not in shipped(redactor, f"validation failed: {message}")
    with pytest.raises(ValidationError) as missing:
        Login.model_validate({"password": SECRET, "token": KEY})
    for message in (str(missing.value), repr(missing.value.errors()), missing.value.json()):
        assert SECRET in message
        assert SECRET not in shipped(redactor, message)


def test_models_as_python_shows_them(redactor):
    login = Login.model_construct(username="bob", password=SECRET, token=KEY)
    for message in (repr(login), str(login), repr(login.model_dump()), login.model_dump_json(), f"{login.__dict__}"):
        assert SECRET in message
        out = shipped(redactor, f"got {message}")
        assert SECRET not in out
        assert KEY not in out


application = FastAPI()


@application.post("/login")
def login(body: Annotated[Login, Body()]) -> None: ...


@application.exception_handler(RequestValidationError)
async def refused(request: Request, error: RequestValidationError) -> None:
    logging.getLogger("seen").error("%s body=%s headers=%s", error.errors(), error.body, dict(request.headers))
    raise error


@pytest.fixture(scope="module")
def server() -> Iterator[tuple[str, list[str]]]:
    """A real uvicorn with its own access lines, and what it logged."""
    lines: list[str] = []

    class Keep(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            lines.append(self.format(record))

    access, seen = logging.getLogger("uvicorn.access"), logging.getLogger("seen")
    instance = uvicorn.Server(uvicorn.Config(application, port=0, log_config=None, lifespan="off"))
    keep = Keep()
    keep.setFormatter(uvicorn.logging.AccessFormatter('%(client_addr)s - "%(request_line)s" %(status_code)s'))
    access.handlers, access.propagate = [keep], False
    access.setLevel(logging.INFO)
    seen.handlers, seen.propagate = [Keep()], False
    started = threading.Event()
    startup = instance.startup

    async def announced(sockets: object = None) -> None:
        await startup(sockets)
        started.set()

    instance.startup = announced
    thread = threading.Thread(target=instance.run)
    thread.start()
    assert started.wait(30)
    port = instance.servers[0].sockets[0].getsockname()[1]
    yield f"http://127.0.0.1:{port}", lines
    instance.should_exit = True
    thread.join(30)


@pytest.fixture
def client() -> Iterator[httpx.Client]:
    with httpx.Client(trust_env=False) as made:
        yield made


def test_uvicorn_and_fastapi(redactor, server, client):
    url, lines = server
    client.get(f"{url}/cb?code={KEY}&state=x&api_key={KEY}")
    client.cookies.set("session", KEY)
    client.post(f"{url}/login?token={KEY}", json={"password": SECRET}, auth=("bob", SECRET))
    assert len([line for line in lines if KEY in line]) >= 3
    for line in lines:
        out = shipped(redactor, line)
        assert KEY not in out
        assert SECRET not in out
        assert "YnhiOl" not in out


def test_the_body_of_a_422(redactor, server, client):
    url, _ = server
    reply = client.post(f"{url}/login", json={"username": "bob", "password": SECRET})
    assert SECRET in reply.text or reply.status_code == 500
    assert SECRET not in shipped(redactor, f"upstream said {reply.status_code}: {reply.text}", body=reply.text)


def test_httpx(redactor, server, client, caplog):
    url, _ = server
    with caplog.at_level(logging.INFO, logger="httpx"):
        request = client.build_request(
            "GET", f"{url}/x?access_token={KEY}", headers={"X-Api-Key": KEY, "Authorization": f"Bearer {KEY}"}
        )
        client.send(request)
    messages = [record.getMessage() for record in caplog.records if record.name == "httpx"]
    messages += [
        repr(request.headers.raw),
        repr(dict(request.headers)),
        repr(list(request.headers.items())),
        str(request.url),
    ]
    assert messages[0].startswith("HTTP Request: GET")
    for message in messages:
        assert KEY in message
        assert KEY not in shipped(redactor, message)


@pytest.fixture
def engine() -> Iterator[sqlalchemy.Engine]:
    made = sqlalchemy.create_engine("sqlite://")
    with made.begin() as connection:
        connection.execute(text("CREATE TABLE users (name TEXT PRIMARY KEY, password_hash TEXT, api_token TEXT)"))
    yield made
    made.dispose()


@pytest.mark.parametrize("style", ["named", "positional", "table", "update"])
def test_sqlalchemy_errors(redactor, engine, style):
    table = sqlalchemy.Table("users", sqlalchemy.MetaData(), autoload_with=engine)
    row = {"name": "bob", "password_hash": SECRET, "api_token": KEY}

    def twice(connection: sqlalchemy.Connection) -> None:
        for _ in range(2):
            insert(connection)

    def insert(connection: sqlalchemy.Connection) -> None:
        if style == "named":
            connection.execute(
                text("INSERT INTO users (name, password_hash, api_token) VALUES (:name, :password_hash, :api_token)"),
                row,
            )
        elif style == "positional":
            connection.exec_driver_sql(
                "INSERT INTO users (name, password_hash, api_token) VALUES (?, ?, ?)", tuple(row.values())
            )
        elif style == "table":
            connection.execute(table.insert(), [row, row])
        else:
            connection.exec_driver_sql("UPDATE users SET password_hash=?, api_token=? WHERE missing=1", (SECRET, KEY))

    with pytest.raises(exc.DBAPIError) as caught, engine.begin() as connection:
        twice(connection)
    for message in (str(caught.value), "".join(traceback.format_exception(caught.value))):
        assert SECRET in message
        out = shipped(redactor, message)
        assert SECRET not in out
        assert KEY not in out


def test_urls_of_engines(redactor):
    url = sqlalchemy.URL.create("postgresql+asyncpg", "app", SECRET, "db", 5432, "x")
    assert SECRET not in shipped(redactor, f"connecting to {url.render_as_string(hide_password=False)}")
    assert redactor.line(repr(url).encode())[0] == repr(url).encode()


def test_extras_and_exceptions_of_python_logging(redactor):
    try:
        raise ValueError(f"cannot log in with password={SECRET}")  # noqa: TRY301
    except ValueError:
        out = shipped(redactor, "failed", exc=traceback.format_exc(), password=SECRET, headers={"Cookie": f"sid={KEY}"})
    assert SECRET not in out
    assert KEY not in out
