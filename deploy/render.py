#!/usr/bin/env python3
"""Renders the chart for its value sets, checks every manifest against the schema of the API, and the agent's configuration in each by the
agent itself. The plain manifests of the daemonset and the aggregator are rendered by it too.

  pip install helm-python-sdk kubernetes-validate pyyaml
  deploy/render.py --tidegate target/debug/tidegate      checks; exit code 1 where something is wrong
  deploy/render.py --write                               writes deploy/kubernetes/daemonset.yaml and aggregator.yaml anew

Exit code 77: one of the packages is not installed.
"""
import argparse
import os
import pathlib
import re
import subprocess
import sys
import tempfile

try:
    import helm_python
    import helm_python.chart
    import kubernetes_validate
    import yaml
except ImportError as missing:
    print(f"skipped: {missing} (pip install helm-python-sdk kubernetes-validate pyyaml)")
    sys.exit(77)

HERE = pathlib.Path(__file__).resolve().parent
CHART = HERE / "helm" / "tidegate"
SETS = {"default": {}, "kubelet": "kubelet.yaml", "aggregator": "aggregator.yaml"}
PLAIN = {
    "daemonset.yaml": ("default", "An agent on each node, with the least rights that it needs: docs/kubernetes.md."),
    "aggregator.yaml": ("aggregator", "An aggregator behind a Service, scaled by load; agents send to http://tidegate.tidegate:8098/."),
}
# What is no part of Kubernetes itself: the Prometheus operator's.
FOREIGN = {"ServiceMonitor", "PrometheusRule"}
VERSIONS = ["1.29", "1.37"]


def values_of(name):
    return yaml.safe_load((HERE / "helm" / "values" / name).read_text()) if name else {}


def render(values):
    chart = helm_python.chart.Chart.load(str(CHART))
    rendered = chart.render(values, name="tidegate", namespace="tidegate")
    texts = [text.strip() for _, text in sorted(rendered.items()) if text.strip() and "NOTES" not in _]
    return "\n---\n".join(texts) + "\n"


def plain(set_name, about):
    values = dict(values_of(SETS[set_name]), serviceMonitor={"enabled": False}, prometheusRule={"enabled": False})
    text = render(values)
    text = re.sub(r"(?m)^\s*(helm\.sh/chart|app\.kubernetes\.io/managed-by):.*\n", "", text)
    namespace = "apiVersion: v1\nkind: Namespace\nmetadata:\n  name: tidegate\n"
    return f"# {about}\n# Rendered from deploy/helm/tidegate by deploy/render.py --write.\n{namespace}---\n{text}"


class Checks:
    def __init__(self, tidegate):
        self.tidegate, self.faults, self.count = tidegate, [], 0

    def fault(self, where, what):
        self.faults.append(f"{where}: {what}")

    def manifests(self, where, text):
        documents = [document for document in yaml.safe_load_all(text) if document]
        for document in documents:
            kind = document["kind"]
            name = f"{where}: {kind}/{document['metadata']['name']}"
            self.count += 1
            if kind not in FOREIGN:
                for version in VERSIONS:
                    try:
                        kubernetes_validate.validate(document, version, strict=True)
                    except Exception as error:  # noqa: BLE001, each kind of error is a fault
                        self.fault(name, f"{version}: {str(error).splitlines()[0]}")
            if kind == "ConfigMap":
                self.configuration(name, document["data"]["tidegate.yaml"])
        self.together(where, documents)

    def configuration(self, where, text):
        if not self.tidegate:
            return
        with tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder) / "tidegate.yaml"
            path.write_text(text)
            environment = dict(os.environ, O2_USER="u@example.com", O2_PASSWORD="p", AGENT_KEY="k", POD_NAME="p", POD_NAMESPACE="n", NODE_NAME="n")
            said = subprocess.run([self.tidegate, "validate", "--config", str(path)], env=environment, capture_output=True, text=True)
            if said.returncode:
                self.fault(where, said.stderr)

    def together(self, where, documents):
        """What holds between the agent's configuration and the pod that it runs in."""
        config = next(yaml.safe_load(d["data"]["tidegate.yaml"]) for d in documents if d["kind"] == "ConfigMap")
        shutdown = int(re.fullmatch(r"(\d+)s", config["shutdown_timeout"])[1])
        for document in documents:
            if document["kind"] not in ("DaemonSet", "Deployment"):
                continue
            pod = document["spec"]["template"]["spec"]
            if pod["terminationGracePeriodSeconds"] <= shutdown:
                self.fault(where, f"the pod is killed after {pod['terminationGracePeriodSeconds']} s, within shutdown_timeout of {shutdown} s")
            for container in pod.get("initContainers", []) + pod["containers"]:
                context = {**pod.get("securityContext", {}), **container["securityContext"]}
                if context["capabilities"] != {"drop": ["ALL"]} or context["allowPrivilegeEscalation"]:
                    self.fault(where, f"{container['name']} has more rights than it needs")
                if document["kind"] == "DaemonSet" and not all(m.get("readOnly") for m in container["volumeMounts"] if m["mountPath"] != "/var/lib/tidegate"):
                    self.fault(where, "the node's files can be written")
                if document["kind"] == "Deployment" and not context.get("runAsNonRoot"):
                    self.fault(where, f"{container['name']} may run as root")
        roles = [rule for d in documents if d["kind"] == "ClusterRole" for rule in d["rules"]]
        allowed = {("pods", "list"), ("pods", "watch"), ("namespaces", "get"), ("nodes/pods", "get")}
        for rule in roles:
            more = {(what, verb) for what in rule["resources"] for verb in rule["verbs"]} - allowed
            if more:
                self.fault(where, f"rights that nothing needs: {more}")


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--tidegate", help="the program, to check configurations with")
    arguments.add_argument("--write", action="store_true", help="writes the plain manifests anew")
    arguments = arguments.parse_args()
    checks = Checks(arguments.tidegate)
    for name, file in SETS.items():
        values = values_of(file)
        report = helm_python.chart.lint(str(CHART), values, strict=True)
        for message in report["messages"]:
            if message["severity"] >= 2:
                checks.fault(f"helm lint, {name}", message["error"])
        checks.manifests(f"chart, {name}", render(values))
    for file, (name, about) in PLAIN.items():
        path, text = HERE / "kubernetes" / file, plain(name, about)
        if arguments.write:
            path.write_text(text)
        elif not path.exists() or path.read_text() != text:
            checks.fault(str(path.name), "is not what the chart renders: deploy/render.py --write")
    for path in sorted((HERE / "kubernetes").glob("*.yaml")):
        checks.manifests(path.name, path.read_text())
    print("\n".join(checks.faults) if checks.faults else f"{checks.count} manifests are as they should be")
    return 1 if checks.faults else 0


sys.exit(main())
