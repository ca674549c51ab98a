"""The Pod Security Standard "restricted", field by field, as it is admitted since Kubernetes 1.35."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

# kubernetes.io/docs/concepts/security/pod-security-standards, "Restricted": "every container must drop ALL
# capabilities, and may only add back NET_BIND_SERVICE", and so on; all of "Baseline" holds too.
_VOLUMES = frozenset(
    {
        "configMap",
        "csi",
        "downwardAPI",
        "emptyDir",
        "ephemeral",
        "image",
        "persistentVolumeClaim",
        "projected",
        "secret",
    }
)
_SYSCTLS = frozenset(
    {
        "kernel.shm_rmid_forced",
        "net.ipv4.ip_local_port_range",
        "net.ipv4.ip_unprivileged_port_start",
        "net.ipv4.tcp_syncookies",
        "net.ipv4.ping_group_range",
        "net.ipv4.ip_local_reserved_ports",
        "net.ipv4.tcp_keepalive_time",
        "net.ipv4.tcp_fin_timeout",
        "net.ipv4.tcp_keepalive_intvl",
        "net.ipv4.tcp_keepalive_probes",
        "net.ipv4.tcp_rmem",
        "net.ipv4.tcp_wmem",
    }
)
_SELINUX_TYPES = frozenset({"", "container_t", "container_init_t", "container_kvm_t", "container_engine_t"})


def violations(pod: Mapping[str, Any]) -> list[str]:
    """Name the fields of a pod's spec for which a namespace that enforces "restricted" refuses it."""
    own = pod.get("securityContext", {})
    found = [f"spec.{name}" for name in ("hostNetwork", "hostPID", "hostIPC") if pod.get(name)]
    found += [f"spec.volumes[{volume['name']}]" for volume in pod.get("volumes", []) if not _VOLUMES & volume.keys()]
    found += [
        f"spec.securityContext.sysctls[{each['name']}]"
        for each in own.get("sysctls", [])
        if each["name"] not in _SYSCTLS
    ]
    found += [f"spec.securityContext.{name}" for name in _of_any(own)]
    for kind in ("initContainers", "containers", "ephemeralContainers"):
        for container in pod.get(kind, []):
            found += [f"spec.{kind}[{container['name']}].{name}" for name in _of_container(container, own)]
    return found


def _of_container(container: Mapping[str, Any], pods: Mapping[str, Any]) -> Iterator[str]:
    own = container.get("securityContext", {})
    if any(port.get("hostPort") for port in container.get("ports", [])):
        yield "ports.hostPort"
    for name in _of_any(own):
        yield f"securityContext.{name}"
    if own.get("privileged"):
        yield "securityContext.privileged"
    if own.get("procMount", "Default") != "Default":
        yield "securityContext.procMount"
    if own.get("allowPrivilegeEscalation") is not False:
        yield "securityContext.allowPrivilegeEscalation"
    yield from _of_capabilities(own.get("capabilities", {}))
    if own.get("runAsNonRoot", pods.get("runAsNonRoot")) is not True:
        yield "securityContext.runAsNonRoot"
    if "seccompProfile" not in own and "seccompProfile" not in pods:
        yield "securityContext.seccompProfile"
    yield from _of_probes(container)


def _of_probes(container: Mapping[str, Any]) -> Iterator[str]:
    for probe in ("livenessProbe", "readinessProbe", "startupProbe"):
        if any(handler.get("host") for handler in container.get(probe, {}).values() if isinstance(handler, dict)):
            yield f"{probe}.host"


def _of_capabilities(capabilities: Mapping[str, Sequence[str]]) -> Iterator[str]:
    if "ALL" not in capabilities.get("drop", []):
        yield "securityContext.capabilities.drop"
    if set(capabilities.get("add", [])) - {"NET_BIND_SERVICE"}:
        yield "securityContext.capabilities.add"


def _of_any(context: Mapping[str, Any]) -> Iterator[str]:
    """Check what a pod's and a container's security context have in common."""
    if context.get("runAsUser") == 0:
        yield "runAsUser"
    if context.get("runAsNonRoot") is False:
        yield "runAsNonRoot"
    if context.get("seccompProfile", {}).get("type", "RuntimeDefault") not in {"RuntimeDefault", "Localhost"}:
        yield "seccompProfile"
    if context.get("appArmorProfile", {}).get("type", "RuntimeDefault") not in {"RuntimeDefault", "Localhost"}:
        yield "appArmorProfile"
    labels = context.get("seLinuxOptions", {})
    if labels.get("type", "") not in _SELINUX_TYPES or labels.get("user") or labels.get("role"):
        yield "seLinuxOptions"
    if context.get("windowsOptions", {}).get("hostProcess"):
        yield "windowsOptions.hostProcess"
