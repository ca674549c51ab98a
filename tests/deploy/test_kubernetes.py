from __future__ import annotations

import copy
import ipaddress
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from pages import ROOT
from pod_security import violations

from dativo_ingest.run import exit_codes

FOLDER = ROOT / "deploy" / "kubernetes"


def documents(name: str) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all((FOLDER / name).read_text(encoding="utf-8")))


WITH_PLUGINS = "job-with-plugins.yaml"
OBJECTS = [each for path in sorted(FOLDER.glob("*.yaml")) if path.name != WITH_PLUGINS for each in documents(path.name)]
# The oldest release that has all that the manifests use, and the newest one whose schemas there are.
RELEASES = ("1.31", kubernetes_validate.latest_version())


def named(each: dict[str, Any]) -> str:
    return f"{each['kind']} {each['metadata'].get('name') or each['metadata']['generateName']}"


def of_kind(kind: str) -> list[dict[str, Any]]:
    return [each for each in OBJECTS if each["kind"] == kind]


def job_specs() -> list[dict[str, Any]]:
    return [
        *(job["spec"] for job in of_kind("Job")),
        *(cron["spec"]["jobTemplate"]["spec"] for cron in of_kind("CronJob")),
    ]


def pod() -> dict[str, Any]:
    return copy.deepcopy(job_specs()[0]["template"]["spec"])


@pytest.mark.parametrize("release", RELEASES)
@pytest.mark.parametrize("each", [pytest.param(each, id=named(each)) for each in [*OBJECTS, *documents(WITH_PLUGINS)]])
def test_every_manifest_is_what_the_api_takes(each: dict[str, Any], release: str) -> None:
    kubernetes_validate.validate(each, release, strict=True)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        pytest.param(("spec", "podFailurePolicy", "rules", 1, "action"), 5, id="a number where a word belongs"),
        pytest.param(("spec", "template", "spec", "restartPolice"), "Never", id="a misspelt key"),
        pytest.param(("spec", "template", "spec", "containers", 0, "securityContext", "drop"), ["ALL"], id="elsewhere"),
    ],
)
def test_the_validator_refuses_what_the_api_refuses(path: tuple[str | int, ...], value: object) -> None:
    job = copy.deepcopy(of_kind("Job")[0])
    place: Any = job
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value

    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(job, RELEASES[-1], strict=True)


def test_there_is_each_kind_that_a_deployment_takes() -> None:
    kinds = {each["kind"] for each in OBJECTS}

    assert kinds >= {
        *("Namespace", "ServiceAccount", "NetworkPolicy", "RuntimeClass", "Job", "CronJob", "ConfigMap"),
        *("PersistentVolumeClaim", "ResourceQuota"),
    }


def test_the_scheduled_run_is_the_one_started_by_hand() -> None:
    first, *others = job_specs()

    assert others
    assert all(other == first for other in others)


def test_the_namespace_admits_restricted_pods_alone() -> None:
    (namespace,) = of_kind("Namespace")

    levels = {
        name: namespace["metadata"]["labels"][f"pod-security.kubernetes.io/{name}"] for name in ("enforce", "warn")
    }

    assert levels == {"enforce": "restricted", "warn": "restricted"}
    assert {each["metadata"]["namespace"] for each in OBJECTS if "namespace" in each["metadata"]} == {
        namespace["metadata"]["name"]
    }


def test_the_pods_are_admitted_where_restricted_is_enforced() -> None:
    found = [violations(spec["template"]["spec"]) for spec in job_specs()]

    assert found == [[], []]


def _of_pod(key: str, value: object) -> Callable[[dict[str, Any]], None]:
    return lambda spec: spec.update({key: value})


def _of_context(key: str, value: object) -> Callable[[dict[str, Any]], None]:
    return lambda spec: spec["securityContext"].update({key: value})


def _of_container(key: str, value: object) -> Callable[[dict[str, Any]], None]:
    return lambda spec: spec["containers"][0]["securityContext"].update({key: value})


def _without(*keys: str) -> Callable[[dict[str, Any]], None]:
    def change(spec: dict[str, Any]) -> None:
        for key in keys:
            spec["securityContext"].pop(key, None)
            spec["containers"][0]["securityContext"].pop(key, None)

    return change


@pytest.mark.parametrize(
    ("change", "field"),
    [
        pytest.param(change, field, id=field)
        for change, field in (
            (_of_pod("hostNetwork", value=True), "spec.hostNetwork"),
            (_of_pod("hostPID", value=True), "spec.hostPID"),
            (_of_pod("hostIPC", value=True), "spec.hostIPC"),
            (_of_pod("volumes", [{"name": "host", "hostPath": {"path": "/"}}]), "spec.volumes[host]"),
            (_of_context("sysctls", [{"name": "kernel.msgmax", "value": "1"}]), "sysctls[kernel.msgmax]"),
            (_of_context("runAsUser", 0), "spec.securityContext.runAsUser"),
            (_of_container("runAsUser", 0), "containers[dativo].securityContext.runAsUser"),
            (_of_container("runAsNonRoot", value=False), "securityContext.runAsNonRoot"),
            (_without("runAsNonRoot"), "containers[dativo].securityContext.runAsNonRoot"),
            (_without("seccompProfile"), "containers[dativo].securityContext.seccompProfile"),
            (_of_context("seccompProfile", {"type": "Unconfined"}), "spec.securityContext.seccompProfile"),
            (_of_context("appArmorProfile", {"type": "Unconfined"}), "spec.securityContext.appArmorProfile"),
            (_of_context("seLinuxOptions", {"type": "spc_t"}), "spec.securityContext.seLinuxOptions"),
            (_of_container("privileged", value=True), "securityContext.privileged"),
            (_of_container("procMount", "Unmasked"), "securityContext.procMount"),
            (_without("allowPrivilegeEscalation"), "securityContext.allowPrivilegeEscalation"),
            (_without("capabilities"), "securityContext.capabilities.drop"),
            (_of_container("capabilities", {"drop": ["ALL"], "add": ["SYS_ADMIN"]}), "capabilities.add"),
        )
    ],
)
def test_a_pod_that_is_less_restricted_is_refused(change: Callable[[dict[str, Any]], None], field: str) -> None:
    spec = pod()
    change(spec)

    found = violations(spec)

    assert any(field in each for each in found), found


def test_a_pod_has_a_kernel_of_its_own_and_cannot_write_its_own_image() -> None:
    spec = pod()
    (container,) = spec["containers"]

    assert spec["runtimeClassName"] in {each["metadata"]["name"] for each in of_kind("RuntimeClass")}
    assert container["securityContext"]["readOnlyRootFilesystem"] is True
    assert "@sha256:" in container["image"]


def test_a_pod_that_makes_sandboxes_differs_in_what_that_takes_and_nothing_else() -> None:
    (job,) = documents(WITH_PLUGINS)
    wanted = pod()
    del wanted["runtimeClassName"]
    wanted["hostUsers"] = False
    wanted["securityContext"]["seccompProfile"] = {"type": "Localhost", "localhostProfile": "dativo/engine-v1.json"}
    wanted["containers"][0]["securityContext"]["procMount"] = "Unmasked"

    spec = job["spec"]["template"].pop("spec")

    assert spec == wanted
    assert violations(spec) == ["spec.containers[dativo].securityContext.procMount"]
    assert job["spec"] == {**job_specs()[0], "template": job["spec"]["template"]}


def test_no_token_of_the_cluster_is_in_a_pod() -> None:
    (account,) = of_kind("ServiceAccount")
    spec = pod()

    assert account["automountServiceAccountToken"] is False
    assert spec["automountServiceAccountToken"] is False
    assert spec["serviceAccountName"] == account["metadata"]["name"]
    assert spec["enableServiceLinks"] is False


def test_a_pod_may_not_take_more_than_it_says() -> None:
    (container,) = pod()["containers"]
    sizes = [volume["emptyDir"].get("sizeLimit") for volume in pod()["volumes"] if "emptyDir" in volume]

    assert container["resources"]["limits"].keys() == {"cpu", "memory", "ephemeral-storage"}
    assert container["resources"]["limits"]["memory"] == container["resources"]["requests"]["memory"]
    assert None not in sizes
    assert all(spec["activeDeadlineSeconds"] > 0 for spec in job_specs())


def _action(rules: list[dict[str, Any]], code: int) -> str | None:
    """Say what the Job controller does about a container that ended with ``code``: the first rule that fits counts."""
    for rule in rules:
        codes = rule.get("onExitCodes")
        if codes is not None and (code in codes["values"]) == (codes["operator"] == "In"):
            return rule["action"]
    return None


def test_what_kubernetes_does_about_an_exit_code_is_what_the_code_says() -> None:
    rules = job_specs()[0]["podFailurePolicy"]["rules"]
    failures = exit_codes.MEANINGS.keys() - {exit_codes.OK}

    actions = {code: _action(rules, code) for code in failures}

    assert actions == {code: "Count" if code in exit_codes.RETRYABLE else "FailJob" for code in failures}


def test_the_failure_policy_is_one_that_the_controller_takes() -> None:
    spec = job_specs()[0]
    rules = spec["podFailurePolicy"]["rules"]
    names = {container["name"] for container in spec["template"]["spec"]["containers"]}

    assert spec["template"]["spec"]["restartPolicy"] == "Never"
    assert rules[0] == {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]}
    assert {rule["onExitCodes"]["containerName"] for rule in rules[1:]} <= names
    assert all(rule["onExitCodes"]["values"] == sorted(set(rule["onExitCodes"]["values"])) for rule in rules[1:])
    assert spec["podReplacementPolicy"] == "Failed"


def test_the_page_about_exit_codes_shows_the_same_rule() -> None:
    page = (ROOT / "docs" / "exit-codes.md").read_text(encoding="utf-8")
    (rule,) = [each for each in job_specs()[0]["podFailurePolicy"]["rules"] if each["action"] == "FailJob"]

    assert f"values: {rule['onExitCodes']['values']}" in page


def test_a_pod_reaches_nothing_that_no_policy_names() -> None:
    denying = [each for each in of_kind("NetworkPolicy") if each["spec"]["podSelector"] == {}]

    assert [each["spec"] for each in denying] == [{"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}]
    assert not any("ingress" in each["spec"] for each in of_kind("NetworkPolicy"))


def test_each_policy_is_about_pods_that_there_are() -> None:
    labels = job_specs()[0]["template"]["metadata"]["labels"]
    allowing = [each["spec"] for each in of_kind("NetworkPolicy") if each["spec"]["podSelector"]]

    assert len(allowing) == 2
    assert all(spec["podSelector"]["matchLabels"].items() <= labels.items() for spec in allowing)
    assert all(rule.get("to") and rule.get("ports") for spec in allowing for rule in spec["egress"])


@pytest.mark.parametrize(
    "address",
    [
        *("169.254.169.254", "10.96.0.1", "172.17.0.1", "192.168.1.1", "127.0.0.1", "100.100.100.200"),
        *("fd00:ec2::254", "fe80::1", "::1", "::ffff:169.254.169.254", "64:ff9b::a9fe:a9fe", "2002:a9fe:a9fe::1"),
    ],
)
def test_no_policy_lets_a_pod_reach_the_metadata_service_or_the_cluster(address: str) -> None:
    wanted = ipaddress.ip_address(address)
    blocks = [
        peer["ipBlock"]
        for policy in of_kind("NetworkPolicy")
        for rule in policy["spec"].get("egress", [])
        for peer in rule["to"]
        if "ipBlock" in peer
    ]

    through = [
        block["cidr"]
        for block in blocks
        if wanted in ipaddress.ip_network(block["cidr"])
        and not any(wanted in ipaddress.ip_network(but) for but in block["except"])
    ]

    assert blocks
    assert through == []


def test_what_is_mounted_is_there_and_only_state_and_scratch_can_be_written() -> None:
    spec = pod()
    volumes = {volume["name"] for volume in spec["volumes"]}
    mounts = spec["containers"][0]["volumeMounts"]
    (config,) = of_kind("ConfigMap")

    assert {mount["name"] for mount in mounts} == volumes
    assert {mount["name"] for mount in mounts if not mount.get("readOnly")} == {"state", "tmp"}
    assert {mount["subPath"] for mount in mounts if mount["name"] == "config"} == config["data"].keys()


def test_the_job_and_the_policy_in_the_config_map_are_valid(tmp_path: Path) -> None:
    (config,) = of_kind("ConfigMap")
    (tmp_path / "secrets").mkdir()
    (tmp_path / "secrets" / "shop-password").write_text("x", encoding="utf-8")
    for name, text in config["data"].items():
        (tmp_path / name).write_text(text.replace("/var/lib/dativo", str(tmp_path)), encoding="utf-8")
    command = ["check", "--config", tmp_path / "orders.yaml", "--policy", tmp_path / "policy.yaml", "--only", "target"]

    done = subprocess.run(
        [sys.executable, "-m", "dativo_ingest", *command],
        env={"DATIVO_SECRETS_DIR": str(tmp_path / "secrets"), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == exit_codes.OK, done.stdout + done.stderr


def test_the_arguments_are_ones_that_the_command_takes() -> None:
    (container,) = pod()["containers"]
    mounted = {mount["mountPath"] for mount in container["volumeMounts"]}
    paths = {argument.partition("=")[2] for argument in container["args"] if "=/" in argument}

    done = subprocess.run(
        [sys.executable, "-m", "dativo_ingest", "run", "--help"], capture_output=True, text=True, check=True
    )

    assert container["args"][0] == "run"
    assert all(argument.partition("=")[0] in done.stdout for argument in container["args"][1:])
    assert paths <= mounted
