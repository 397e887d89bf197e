"""What servers and daemons write all day stays, and most of it is not even suspected: that costs as much as thirty lines."""

from __future__ import annotations

import pytest

from agent.transform.redact import Redactor

PLAIN = (
    "nova-api.log.1.2017-05-16_13:53:08 2017-05-16 00:00:00.008 25746 INFO nova.osapi_compute.wsgi.server",
    "mail-attachment.example.com:443 open through proxy proxy.example.edu:5070 HTTPS",
    "sshd[24200]: pam_unix(sshd:auth): check pass",
)
LEFT = (
    "INFO  [QuorumPeer[myid=1]/0:0:0:0:0:0:0:0:2181:FastLeaderElection@774] - Notification time out: 3200",
    "INFO [main] org.mortbay.log: Started HttpServer2$SelectChannelConnectorWithSafeStartup@0.0.0.0:62267",
    "getTodaySportData manager=com.example.health.g.c@8a2a501",
    "src@eadmin1 crond(pam_unix)[4307]: session closed for user root",
    "WcpInitialize (wcp.dll version 0.0.0.6) called (stack @0x7fed806eb5d @0x7fef9fb9b6d)",
    "PacketResponder 1 for block blk_4568377692254637284 terminating",
    "Verification succeeded for blk_-4980916519894289629",
    "CBS    Session: 30546173_4261722401 initialized by client WindowsUpdateAgent.",
    "Skipping AppWindowToken{df0798e token=Token{78af589 ActivityRecord{3b04890 u0 com.example/.Main t761}}} -- going to hide",
    "pam: gdm-password[1600]: pam_unix(gdm-password:session): session closed for user bob",
    "Container{Env:[]EnvVar{EnvVar{Name:DB_PASSWORD,Value:,ValueFrom:&EnvVarSource{SecretKeyRef:&SecretKeySelector{Key:password,}}}}",
    "EnvVar{Name:GOOGLE_APPLICATION_CREDENTIALS,Value:/var/secrets/google/credentials.json,ValueFrom:nil,},",
    "EnvVar{Name:DSN,Value:$(DB_USER):$(DB_PASSWORD)@tcp($(DB_HOST):$(DB_PORT))/?tls=$(TLS_MODE),ValueFrom:nil,},",
    'ssl_key_password_file="/etc/ssl/private/app.key" credentials=/run/secrets/db/credentials.json',
    '{"cmd": ["mysql", "-u", "root", "-p", null], "ok": true}',
    '["sshpass", "-p", "]x9Y8z7w6", 5]',
    "['docker', 'run', '-u', '1000:1000', '-v', '/srv:/srv', '-p', '8080:80']",
    '["git", "push", "-u", "https://github.com/acme/x.git"]',
    "['rsync', '-a', 'host:/srv/data', '/mnt']",
    "subprocess.run(['sshpass', '-p', password, 'ssh', host])",
    "['curl', '-u', 'http://example.com', '-A', 'agent:1']",
    "sshd[24200]: Failed password for invalid user webmaster from 192.0.2.31 port 38926 ssh2",
)
GOES = (
    ("mailed bob@163.com today", "bob@163.com"),
    ("bob@mail.1and1.com", "bob@mail.1and1.com"),
    ("bob@a-1.x9.example.org", "bob@a-1.x9.example.org"),
    ("bob@example\uff0ecom", "bob@example"),
    ("curl -u bob:hunter2hunter https://example.com", "hunter2hunter"),
    ("['curl', '-u', 'bob:hunter2hunter']", "hunter2hunter"),
    ("run(('mysql', '-u', 'root', '-phunter2hunter'), check=True)", "hunter2hunter"),
    ("Popen(['sshpass', '-phunter2hunter', 'ssh', 'h'])", "hunter2hunter"),
    ("{'password': '/aB3dE5fG/7hJ9kL1mN.key'}", "7hJ9kL1mN"),
    ("password=session", "=session"),
    ("PROXY_AUTH = os.environ.get('AUTH') = 'Hunter2hunter'", "Hunter2hunter"),
    ('config(redis_auth): "HcAyYk9tGRm65HIyEM6o"', "HcAyYk9tGRm65HIyEM6o"),
    ("Password (AUTH):7POmPNlLnTl8", "7POmPNlLnTl8"),
    ("curl%0C-u bob:VZnUT6IMn4", "VZnUT6IMn4"),
    ("dsn=root:hPW61,VnKgx:nMVU0E@tcp(db:3306)/app", "VnKgx"),
    ("funding_pan_4111111111111111", "4111111111111111"),
    ('{"m":"curl\\u0009-u bob:Hunter2x9"}', "Hunter2x9"),
    ("name: DB_PASSWORD, value: ,mcX0yogOMV", "mcX0yogOMV"),
    ("session_id=1203948576123456:9087123456781234567890", "9087123456781234567890"),
    ("private_key=Token{16c96f2},", "16c96f2"),
    ("EnvVar{Name:DB_PASSWORD,Value:hunter2hunter,ValueFrom:nil,},", "hunter2hunter"),
    ("EnvVar{Name:DSN,Value:root:hunter2hunter@tcp(db:3306)/app,ValueFrom:nil,},", "hunter2hunter"),
    ("token=/aB3dE5fG7hJ9/kL1mN2pQ4rS6tU8vW0xY3zAb/Cd5Ef7Gh", "kL1mN2pQ4rS6tU8vW0xY3zAb"),
    ("os.environ['auth'] = 'hunter2hunter'", "hunter2hunter"),
    ("card_number 4111111111111111", "4111111111111111"),
    ("card_4111111111111111 was charged", "4111111111111111"),
    ("session_id=30546173426172240112", "30546173426172240112"),
)


@pytest.mark.parametrize("line", PLAIN)
def test_it_is_not_suspected(redactor: Redactor, line: str) -> None:
    assert redactor.split(line.encode() + b"\n") == ([line.encode()], {})


@pytest.mark.parametrize("line", [*PLAIN, *LEFT])
def test_it_stays(redactor: Redactor, line: str) -> None:
    assert redactor.line(line.encode())[0].decode() == line


@pytest.mark.parametrize(("line", "secret"), GOES)
def test_what_looks_alike_goes(redactor: Redactor, line: str, secret: str) -> None:
    assert secret not in redactor.line(line.encode())[0].decode()


# One value has asked for the scan; the other, which by itself would ask for nothing, is scanned with it.
BESIDE = (
    ('{"b":"ssn 123-45-6789","m":"a.123-45-6789"}', "a.123-45-6789"),
    ('{"b":"DE89370400440532013000 ","m":"a.GB82WEST12345698765432"}', "GB82WEST12345698765432"),
    ('{"a":"sid=abcDEF123456ghiJKL78","message":"511sid=hZn18nGAjhcVZJ9Seedx"}', "hZn18nGAjhcVZJ9Seedx"),
)


@pytest.mark.parametrize(("line", "secret"), BESIDE)
def test_what_a_neighbour_has_asked_for_is_looked_for_everywhere(redactor: Redactor, line: str, secret: str) -> None:
    nested = line.replace("{", '{"x":{},', 1)
    for each in (line, nested, line):  # what was seen before does not matter
        assert secret not in redactor.line(each.encode())[0].decode()
