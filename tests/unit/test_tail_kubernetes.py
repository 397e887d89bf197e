"""What paths on a node say."""

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.config import Source
from agent.globs import path_pattern
from agent.tail.discovery import list_files
from agent.tail.kubernetes import Place, labels_of, own_logs, place_of, written_ns

UID = "0a1b2c3d-1111-2222-3333-444455556666"
LINE = "2026-01-02T03:04:05.000000001Z stdout F x\n"


@pytest.mark.parametrize(
    ("path", "place"),
    [
        (f"/var/log/pods/prod_api-7d9f-x2x_{UID}/app/0.log", Place("prod", "api-7d9f-x2x", UID, "app", 0)),
        (f"/var/log/pods/prod_api_{UID}/side-car/12.log", Place("prod", "api", UID, "side-car", 12)),
        (f"/var/log/pods/prod_api.v1.2_{UID}/app/0.log.20260102-030405", Place("prod", "api.v1.2", UID, "app", 0)),
        (f"/var/log/pods/prod_api_{UID}/app/0.log.20260102-030405.gz", Place("prod", "api", UID, "app", 0)),
        (f"/host/var/log/pods/a-b_c-d_{UID}/e-f/3.log", Place("a-b", "c-d", UID, "e-f", 3)),
    ],
)
def test_t106_a_log_names_namespace_pod_uid_container_and_restarts(path: str, place: Place) -> None:
    assert place_of(path) == place


@pytest.mark.parametrize(
    "path",
    [
        "/var/log/pods/kube-system_kube-apiserver-node1_5f1d9e1b8e7d4b0a9c3f2e1d0c9b8a7f/kube-apiserver/4.log",
        "/var/log/pods/kube-system_etcd-node.example.com_5f1d9e1b8e7d4b0a9c3f2e1d0c9b8a7f/etcd/0.log",
        "/var/log/pods/odd_pod_with_underscores_5f1d9e1b/c/0.log",
    ],
)
def test_t113_static_pods_and_odd_names_are_told_from_the_path(path: str) -> None:
    place = place_of(path)
    assert place is not None
    assert path.split("/")[4] == f"{place.namespace}_{place.pod}_{place.uid}"
    assert labels_of(path) == {"namespace": place.namespace, "pod": place.pod, "container": place.container}
    assert "_" not in place.namespace + place.uid


@pytest.mark.parametrize(
    "path",
    [
        "/var/log/greenstack/app.log",
        f"/var/log/pods/prod_api_{UID}/0.log",
        f"/var/log/pods/prod_api_{UID}/app/0.log.tmp",
        f"/var/log/pods/prod_api_{UID}/app/sub/0.log",
        f"/var/log/pods/prod-api-{UID}/app/0.log",
        f"/var/log/pods/prod_api_{UID}/app/current.log",
        f"/var/log/podsx/prod_api_{UID}/app/0.log",
    ],
)
def test_other_paths_say_nothing(path: str) -> None:
    assert place_of(path) is None
    assert labels_of(path) == {}


NAMES = st.from_regex(r"[a-z0-9]([a-z0-9.-]{0,20}[a-z0-9])?", fullmatch=True)


@given(NAMES.filter(lambda name: "." not in name), NAMES, NAMES, st.uuids(), st.integers(0, 10**6))
def test_every_name_that_kubernetes_allows_is_read_back(
    namespace: str, pod: str, container: str, uid: object, restarts: int
) -> None:
    path = f"/var/log/pods/{namespace}_{pod}_{uid}/{container}/{restarts}.log"
    assert place_of(path) == Place(namespace, pod, str(uid), container, restarts)


class Node:
    """The two trees as a kubelet makes them."""

    def __init__(self, root: Path) -> None:
        self.pods, self.containers = root / "pods", root / "containers"
        self.containers.mkdir(parents=True)

    def start(self, namespace: str, pod: str, container: str, restarts: int = 0, uid: str = UID) -> Path:
        log = self.pods / f"{namespace}_{pod}_{uid}" / container / f"{restarts}.log"
        log.parent.mkdir(parents=True, exist_ok=True)
        log.write_text(LINE)
        (self.containers / f"{pod}_{namespace}_{container}-{os.urandom(32).hex()}.log").symlink_to(log)
        return log


def found(*sources: Source) -> list[str]:
    return sorted(each.path for each in list_files(sources).found)


def test_t106_a_link_in_containers_is_the_log_it_stands_for(tmp_path: Path) -> None:
    node = Node(tmp_path)
    log = node.start("prod", "api", "app")
    by_link = Source(include=(f"{node.containers}/*.log",))
    by_pod = Source(include=(f"{node.pods}/*/*/*.log",))
    assert found(by_link) == found(by_pod) == found(by_link, by_pod) == [str(log)]
    listing = list_files([by_link])
    assert not listing.found[0].is_link
    assert str(log.parent) in {path for path, _ in listing.directories.with_keys()}


def test_t106_a_link_whose_log_is_just_being_rotated_is_no_fault(tmp_path: Path) -> None:
    node = Node(tmp_path)
    log = node.start("prod", "api", "app")
    log.rename(f"{log}.20260102-030405")
    listing = list_files([Source(include=(f"{node.containers}/*.log",))])
    assert (listing.found, listing.refused, listing.unseen) == ([], [], [])


def test_a_link_in_containers_that_leads_elsewhere_is_refused(tmp_path: Path) -> None:
    node = Node(tmp_path / "log")
    secret = tmp_path / "pods" / "a_b_c" / "d" / "0.log"
    secret.parent.mkdir(parents=True)
    secret.write_text("secret")
    outside = tmp_path / "shadow"
    outside.write_text("secret")
    (node.containers / "a.log").symlink_to(secret)
    (node.containers / "b.log").symlink_to(outside)
    inside = node.start("prod", "api", "app")
    inside.unlink()
    inside.symlink_to(outside)
    listing = list_files([Source(include=(f"{node.containers}/*.log",))])
    assert listing.found == []
    assert {refused.reason for refused in listing.refused} == {"link leads outside"}
    assert len(listing.refused) == 3


def test_the_logs_of_the_own_pod_are_in_neither_tree(tmp_path: Path) -> None:
    node = Node(tmp_path)
    node.start("agents", "agent-x1", "agent")
    node.start("agents", "agent-x1", "agent", restarts=1)
    other = node.start("agents", "agent-x2", "agent")
    environ = {"POD_NAME": "agent-x1", "POD_NAMESPACE": "agents", "POD_UID": UID}
    for include in (f"{node.containers}/*.log", f"{node.pods}/*/*/*.log"):
        assert found(Source(include=(include,), exclude=own_logs(environ))) == [str(other)]


def test_who_does_not_know_its_pod_excludes_none_and_who_does_not_know_its_uid_excludes_by_name() -> None:

    assert own_logs({}) == own_logs({"POD_NAME": "agent-x1"}) == ()
    pods, _ = own_logs({"POD_NAME": "agent-x1", "POD_NAMESPACE": "agents"})
    assert path_pattern(pods).fullmatch(f"/var/log/pods/agents_agent-x1_{UID}/agent/0.log")
    assert not path_pattern(pods).fullmatch(f"/var/log/pods/agents_agent-x12_{UID}/agent/0.log")


def test_t106_archives_of_the_kubelet_are_as_old_as_their_names_say() -> None:
    log = f"/var/log/pods/prod_api_{UID}/app/0.log"
    made = {
        f"{log}.20260102-000003": 30,
        f"{log}.20260102-000002.gz": 31,  # made when the third was rotated
        f"{log}.20260102-000001.gz": 21,
        "/var/log/app.log.20260102.gz": 99,
    }
    assert written_ns(made) == {**made, f"{log}.20260102-000002.gz": 29}
