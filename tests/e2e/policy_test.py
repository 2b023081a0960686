#!/usr/bin/env -S python3 -B
# SPDX-License-Identifier: GPL-2.0-only
"""What a DestinationRule and a VirtualService say is what the kernel's rows hold, and changes
with them; a bad value changes nothing."""

import contextlib
import os
import sys
import types

sys.path.insert(0, f"{os.path.dirname(os.path.abspath(__file__))}/../lib")

from case import case, check, check_equal, eventually, main  # noqa: E402
from lab import Lab  # noqa: E402
from manifest import App  # noqa: E402


@contextlib.contextmanager
def setup():
    with Lab(nodes=1) as lab:
        shared = types.SimpleNamespace(lab=lab, app=App(lab, "llm", 10))
        shared.app.add(lab.add_pod(lab.node1, "llm0"))
        shared.app.write()
        lab.node1.start_sluiced()
        eventually(lambda: shared.app.applied(lab.node1), "llm applied")
        yield shared


def virtual(retries, **more):
    return {"apiVersion": "networking.istio.io/v1beta1", "kind": "VirtualService",
            "metadata": {"name": "llm", "namespace": "default"},
            "spec": {"hosts": ["llm"],
                     "http": [{"route": [{"destination": {"host": "llm"}}],
                               "retries": retries, **more}]}}


def policy(shared, *keys):
    """Of the Service's row: its families are one."""
    row, = shared.lab.node1.sluice("service", "show", "default/llm")
    return tuple(row[key] for key in keys)


def comes(shared, keys, values):
    eventually(lambda: policy(shared, *keys) == values,
               f"{keys} become {values}, not {policy(shared, *keys)}")


THRESHOLDS = ("consecutive_5xx_errors", "consecutive_gateway_errors",
              "consecutive_local_origin_failures", "base_ejection_s", "max_ejection_percent")
RETRIES = ("retry_attempts", "syn_deadline_ms")


@case
def without_rules_nothing_is_ejected_and_connects_are_retried(shared):
    comes(shared, THRESHOLDS, (0, 0, 0, 0, 0))
    comes(shared, RETRIES, (3, None))


@case
def rules_come_and_go(shared):
    shared.app.traffic_policy = {
        "outlierDetection": {"consecutive5xxErrors": 7, "splitExternalLocalOriginErrors": True,
                             "consecutiveLocalOriginFailures": 2, "baseEjectionTime": "10s",
                             "maxEjectionPercent": 50},
        "connectionPool": {"tcp": {"maxConnections": 8}}}
    shared.app.write()
    comes(shared, THRESHOLDS, (7, 0, 2, 10, 50))
    check_equal({row["max_connections"] for row in shared.lab.node1.replicas()}, {8}, "cap")
    shared.lab.manifests.put("virtual", [virtual({"attempts": 2, "perTryTimeout": "20ms"})])
    comes(shared, RETRIES, (2, 20))
    shared.lab.manifests.put("virtual", [virtual({"attempts": 2, "retryOn": "retriable-4xx"})])
    comes(shared, RETRIES, (0, None))
    shared.lab.manifests.put("virtual", [virtual({"attempts": 9}, match=[{"port": 80}])])
    comes(shared, RETRIES, (3, None))  # left out whole
    shared.lab.manifests.remove("virtual.yaml")
    shared.app.traffic_policy = None
    shared.app.write()
    comes(shared, THRESHOLDS, (0, 0, 0, 0, 0))
    eventually(lambda: {row["max_connections"] for row in shared.lab.node1.replicas()} == {None},
               "no cap")


@case
def a_bad_value_changes_nothing(shared):
    shared.app.traffic_policy = {"outlierDetection": {"consecutive5xxErrors": 3}}
    shared.app.write()
    comes(shared, THRESHOLDS[:1], (3,))
    shared.app.traffic_policy = {"outlierDetection": {"consecutive5xxErrors": 4,
                                                      "maxEjectionPercent": 101}}
    shared.app.write()
    said = eventually(lambda: [event["text"] for event in shared.lab.node1.sluice("event", "show")
                               if event["event"] == "config_refused"], "refused")
    check("outlierDetection.maxEjectionPercent: must be 0" in said[-1], f"events: {said}")
    comes(shared, THRESHOLDS[:1], (3,))


if __name__ == "__main__":
    main(setup)
