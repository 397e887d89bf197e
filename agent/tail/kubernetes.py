"""What a path on a Kubernetes node says: whose container wrote the file. Pure.

    /var/log/pods/NAMESPACE_POD_UID/CONTAINER/N.log                          N: how often it was restarted
    /var/log/pods/NAMESPACE_POD_UID/CONTAINER/N.log.20260102-030405[.gz]     rotated by the kubelet
    /var/log/containers/POD_NAMESPACE_CONTAINER-ID.log                       a link to the first

A namespace, a pod and a container are named like hosts: letters, digits, `-` and `.`, so `_` parts them. The uid of a
static pod is a hash without dashes.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Mapping
from dataclasses import dataclass
from glob import escape

_PODS = "pods"
_CONTAINERS = "containers"
_LOG = re.compile(
    r".*/pods/(?P<namespace>[^/_]+)_(?P<pod>[^/]+)_(?P<uid>[^/_]+)/(?P<container>[^/]+)/(?P<restarts>\d+)\.log"
    r"(?:\.\d{8}-\d{6}(?:\.gz)?)?"
)
_ROTATED = re.compile(r"/\d+\.log\.\d{8}-\d{6}(?:\.gz)?$")


@dataclass(frozen=True, slots=True)
class Place:
    namespace: str
    pod: str
    uid: str
    container: str
    restarts: int

    @property
    def labels(self) -> dict[str, str]:
        """uid and restarts are no labels of their own: the label `filename` tells them, and parts the streams."""
        return {"namespace": self.namespace, "pod": self.pod, "container": self.container}


def place_of(path: str) -> Place | None:
    match = _LOG.fullmatch(path)
    if match is None:
        return None
    return Place(match["namespace"], match["pod"], match["uid"], match["container"], int(match["restarts"]))


def labels_of(path: str) -> dict[str, str]:
    place = place_of(path)
    return place.labels if place is not None else {}


def is_alias_name(path: str) -> bool:
    """Whether the path may be one of the kubelet's links."""
    return path.endswith(".log") and path.rpartition("/")[0].endswith(f"/{_CONTAINERS}")


def pods_beside(path: str) -> str:
    """The directory of pods beside the directory of links that `path` is in."""
    return posixpath.join(posixpath.dirname(posixpath.dirname(path)), _PODS)


def aliased(path: str, target: str) -> str | None:
    """The log that a link of the kubelet stands for; None when it leads anywhere else."""
    target = posixpath.normpath(posixpath.join(posixpath.dirname(path), target))
    return target if target.startswith(pods_beside(path) + "/") and place_of(target) is not None else None


def alias_of(log: str) -> tuple[str, ...]:
    """What the kubelet's link to a container's log is called, for some id of the container; nothing for any other path."""
    place = place_of(log)
    if place is None:
        return ()
    above = log[: -len(posixpath.join(_PODS, *log.split("/")[-3:]))]
    name = f"{place.pod}_{place.namespace}_{place.container}-{'0' * 64}.log"
    return (posixpath.join(above, _CONTAINERS, name),)


def written_ns(mtimes_ns: Mapping[str, int]) -> dict[str, int]:
    """When files were last written, by path. The kubelet compresses a rotated log when it rotates the next one, and the
    archive then looks younger than that; the times in their names tell the order, in whatever zone the node lives."""
    times = dict(mtimes_ns)
    rotated = sorted((path for path in times if _ROTATED.search(path)), key=lambda path: path.removesuffix(".gz"))
    latest_ns: int | None = None
    for path in reversed(rotated):
        if latest_ns is not None:
            times[path] = min(times[path], latest_ns - 1)
        latest_ns = times[path]
    return times


def own_logs(environ: Mapping[str, str]) -> tuple[str, ...]:
    """Globs of the logs of the pod that this process runs in, as the downward API names it: they must not be read, or
    each message would make another."""
    pod, namespace = escape(environ.get("POD_NAME", "")), escape(environ.get("POD_NAMESPACE", ""))
    if not pod or not namespace:
        return ()
    uid = escape(environ.get("POD_UID", "")) or "*"
    return f"/**/{_PODS}/{namespace}_{pod}_{uid}/*/*", f"/**/{_CONTAINERS}/{pod}_{namespace}_*"
