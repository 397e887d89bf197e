"""Which file systems globs reach, told from the kernel's table."""

from agent.globs import root_of
from agent.tail.mounts import Area, Mount, areas, parse

TABLE = """\
27 1 254:0 / / rw,relatime - ext4 /dev/vda rw
30 27 0:41 / /mnt/logs rw,relatime shared:1 - nfs4 server:/logs rw
31 27 0:42 / /mnt/with\\040space rw - tmpfs tmpfs rw
32 27 254:0 /var/log /srv/logs rw - ext4 /dev/vda rw
33 30 0:43 / /mnt/logs/deep/er rw - fuse.sshfs somewhere rw
34 27 0:21 / /proc rw - proc proc rw
35 27 0:50 / /mnt/over rw - tmpfs tmpfs rw
36 27 0:51 / /mnt/over rw - ext4 /dev/vdb rw
broken line
"""


def reached(*includes: str) -> dict[str, Area]:
    return areas([(include, root_of(include)) for include in includes], parse(TABLE))


def test_the_table_names_mount_point_device_and_kind() -> None:
    mounts = {mount.path: mount for mount in parse(TABLE)}
    assert mounts["/mnt/logs"] == Mount("/mnt/logs", "0:41", "nfs4")
    assert mounts["/mnt/with space"].kind == "tmpfs"
    assert mounts["/mnt/over"].device == "0:51", "the one on top"
    assert [path for path, mount in mounts.items() if mount.is_remote] == ["/mnt/logs", "/mnt/logs/deep/er"]


def test_an_area_is_a_device_that_a_glob_leads_to() -> None:
    assert reached("/var/log/*.log") == {"254:0": Area("254:0", ("/",))}
    found = reached("/var/log/*.log", "/mnt/logs/*.log")
    assert found["254:0"].foreign == {"/mnt/logs"}
    assert found["0:41"] == Area("0:41", ("/mnt/logs",), frozenset({"/"}), is_remote=True)


def test_a_device_mounted_twice_is_one_area() -> None:
    assert reached("/var/log/*.log", "/srv/logs/*.log")["254:0"].mounts == ("/", "/srv/logs")


def test_wildcards_lead_into_mounts_below_them() -> None:
    assert set(reached("/mnt/*/app.log")) == {"254:0", "0:41", "0:42", "0:51"}
    assert set(reached("/mnt/logs/**/app.log")) == {"0:41", "0:43"}
    assert "0:21" not in reached("/**/app.log"), "no log is in /proc"


def test_an_area_knows_its_paths() -> None:
    area = reached("/**/*.log")["0:41"]
    assert area.holds("/mnt/logs/app.log")
    assert not area.holds("/mnt/logs/deep/er/app.log")
    assert not area.holds("/mnt/logsmore/app.log")
    assert reached("/**/*.log")["254:0"].holds("/mnt/logsmore/app.log")
