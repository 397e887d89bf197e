"""The manifests: what Kubernetes is asked for is what the agent needs and no more."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from agent import config, settings
from agent.globs import path_pattern
from agent.tail.kubernetes import own_logs
from agent.tail.multiline import check_starts

yaml = pytest.importorskip("yaml", reason="PyYAML is not installed")

K8S = Path(__file__).parents[2] / "k8s"
PORT = 9480
PROBE_PATHS = {"startupProbe": "/health/ready", "readinessProbe": "/health/ready", "livenessProbe": "/health/live"}


def manifest(name: str) -> Any:
    return yaml.safe_load((K8S / f"{name}.yaml").read_text())


POD = manifest("daemonset")["spec"]["template"]["spec"]
(AGENT,) = POD["containers"]
VOLUMES = {volume["name"]: volume for volume in POD["volumes"]}
MOUNTS = {mount["name"]: mount for mount in AGENT["volumeMounts"]}
TOML = manifest("configmap")["data"]["config.toml"]


def as_a_pod_sees_it(tmp_path: Path, text: str = TOML) -> config.Config:
    (tmp_path / "config.toml").write_text(text)
    environ = {variable["name"]: "node-1" for variable in AGENT["env"] if variable["name"].startswith("GREENSTACK")}
    return settings.load(tmp_path / "config.toml", environ)


def test_the_configuration_has_no_problem_and_takes_the_nodes_name(tmp_path: Path) -> None:
    loaded = as_a_pod_sees_it(tmp_path)
    assert loaded.labels.host == "node-1"
    assert AGENT["env"][0]["valueFrom"]["fieldRef"]["fieldPath"] == "spec.nodeName"


def test_the_own_pod_is_told_to_the_agent_by_the_downward_api(tmp_path: Path) -> None:
    told = {variable["name"]: variable["valueFrom"]["fieldRef"]["fieldPath"] for variable in AGENT["env"][1:]}
    assert told == {"POD_NAME": "metadata.name", "POD_NAMESPACE": "metadata.namespace", "POD_UID": "metadata.uid"}
    own = own_logs({"POD_NAME": "greenstack-agent-x1", "POD_NAMESPACE": "greenstack-agent", "POD_UID": "0a1b"})
    (source,) = as_a_pod_sees_it(tmp_path).source
    assert not any(matches(glob, "/var/log/pods/prod_greenstack-api_0a1b/app/0.log") for glob in own)
    assert path_pattern(own[0]).fullmatch("/var/log/pods/greenstack-agent_greenstack-agent-x1_0a1b/agent/0.log")
    assert source.multiline is None
    used = re.sub(r"^#(?=multiline)", "", TOML, flags=re.MULTILINE)
    (source,) = as_a_pod_sees_it(tmp_path, used).source
    assert source.multiline is not None
    check_starts([source], "hyperscan")


def test_every_kind_of_manifest_is_in_the_kustomization() -> None:
    resources = manifest("kustomization")["resources"]
    assert sorted(resources) == sorted(path.name for path in K8S.glob("*.yaml") if path.stem != "kustomization")
    assert resources[0] == "namespace.yaml"


def test_everything_is_in_one_namespace_that_allows_host_paths() -> None:
    namespace = manifest("namespace")["metadata"]
    assert namespace["labels"]["pod-security.kubernetes.io/enforce"] == "privileged"
    for name in ("serviceaccount", "configmap", "daemonset"):
        assert manifest(name)["metadata"]["namespace"] == namespace["name"]


def test_every_volume_is_mounted_and_every_mount_has_its_volume() -> None:
    assert VOLUMES.keys() == MOUNTS.keys()


def test_only_the_state_on_the_host_can_be_written(tmp_path: Path) -> None:
    on_host = {name: MOUNTS[name] for name, volume in VOLUMES.items() if "hostPath" in volume}
    assert {name for name, mount in on_host.items() if mount.get("readOnly") is not True} == {"state"}
    assert on_host["state"]["mountPath"] == as_a_pod_sees_it(tmp_path).agent.state_dir
    assert all("subPath" not in mount for mount in MOUNTS.values()), "a subPath is never updated"


def test_the_logs_that_are_read_are_mounted_at_their_own_path(tmp_path: Path) -> None:
    assert MOUNTS["pod-logs"]["mountPath"] == VOLUMES["pod-logs"]["hostPath"]["path"] == "/var/log/pods"
    (source,) = as_a_pod_sees_it(tmp_path).source
    assert source.format == "cri"
    assert all(glob.startswith("/var/log/pods/") for glob in (*source.include, *source.exclude))


def matches(glob: str, path: str) -> bool:
    return re.fullmatch(re.escape(glob).replace(r"\*", "[^/]*"), path) is not None


@pytest.mark.parametrize(
    ("path", "is_read"),
    [
        ("/var/log/pods/prod_greenstack-api-7d9f-x2x_0a1b/app/0.log", True),
        ("/var/log/pods/prod_greenstack-api-7d9f-x2x_0a1b/app/0.log.20260101-000000.gz", False),
        ("/var/log/pods/kube-system_coredns-1_0a1b/coredns/0.log", False),
        ("/var/log/pods/greenstack-agent_greenstack-agent-abcde_0a1b/agent/3.log", False),
    ],
)
def test_greenstacks_pods_are_read_and_our_own_are_not(tmp_path: Path, path: str, is_read: bool) -> None:
    (source,) = as_a_pod_sees_it(tmp_path).source
    included = any(matches(glob, path) for glob in source.include)
    excluded = any(matches(glob, path) for glob in source.exclude)
    assert (included and not excluded) is is_read


def test_the_agent_is_started_with_the_mounted_configuration() -> None:
    assert AGENT["args"] == ["run", "-c", f"{MOUNTS['config']['mountPath']}/config.toml"]
    assert VOLUMES["config"]["configMap"]["name"] == manifest("configmap")["metadata"]["name"]


def test_the_token_of_the_comment_is_where_the_secret_is_mounted(tmp_path: Path) -> None:
    assert VOLUMES["secrets"]["secret"] == {"secretName": "greenstack-agent", "optional": True, "defaultMode": 0o400}
    used = re.sub(r"^#(?=[a-z])", "", TOML, flags=re.MULTILINE)
    with pytest.raises(settings.ConfigInvalid) as invalid:
        as_a_pod_sees_it(tmp_path, used)
    (problem,) = invalid.value.problems
    assert problem.key == "loki.bearer_token"
    assert f"{MOUNTS['secrets']['mountPath']}/loki-token" in problem.message


@pytest.mark.parametrize(("probe", "path"), PROBE_PATHS.items())
def test_the_probes_ask_what_the_agent_answers(tmp_path: Path, probe: str, path: str) -> None:
    assert AGENT[probe]["httpGet"] == {"path": path, "port": "http"}
    assert AGENT["ports"] == [{"name": "http", "containerPort": PORT}]
    assert as_a_pod_sees_it(tmp_path).server.listen == f"0.0.0.0:{PORT}"
    annotations = manifest("daemonset")["spec"]["template"]["metadata"]["annotations"]
    assert annotations["prometheus.io/port"] == str(PORT)


def test_liveness_is_patient() -> None:
    probe = AGENT["livenessProbe"]
    assert probe["periodSeconds"] * probe["failureThreshold"] >= 120


def test_root_may_read_any_log_and_nothing_else() -> None:
    context = AGENT["securityContext"]
    assert context["capabilities"] == {"drop": ["ALL"], "add": ["DAC_READ_SEARCH"]}
    assert (context["runAsUser"], context["allowPrivilegeEscalation"], context["readOnlyRootFilesystem"]) == (
        0,
        False,
        True,
    )
    assert "privileged" not in context
    assert POD["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert not {"hostNetwork", "hostPID", "hostIPC"} & POD.keys()


def test_the_agent_has_no_access_to_the_api() -> None:
    assert POD["automountServiceAccountToken"] is False
    assert manifest("serviceaccount")["automountServiceAccountToken"] is False
    assert POD["serviceAccountName"] == manifest("serviceaccount")["metadata"]["name"]
    assert POD["enableServiceLinks"] is False


def test_memory_has_a_limit_and_cpu_has_none() -> None:
    assert AGENT["resources"] == {"requests": {"cpu": "50m", "memory": "128Mi"}, "limits": {"memory": "384Mi"}}


def test_never_two_agents_on_one_node() -> None:
    strategy = manifest("daemonset")["spec"]["updateStrategy"]["rollingUpdate"]
    assert strategy == {"maxSurge": 0, "maxUnavailable": "10%"}


def test_a_stop_may_take_longer_than_the_agent_wants(tmp_path: Path) -> None:
    assert POD["terminationGracePeriodSeconds"] >= as_a_pod_sees_it(tmp_path).agent.shutdown_grace + 15


def test_every_node_gets_an_agent() -> None:
    assert POD["tolerations"] == [{"operator": "Exists"}]
    assert POD["priorityClassName"] == "system-node-critical"


def test_the_pods_are_those_the_daemonset_selects() -> None:
    spec = manifest("daemonset")["spec"]
    assert spec["selector"]["matchLabels"].items() <= spec["template"]["metadata"]["labels"].items()
