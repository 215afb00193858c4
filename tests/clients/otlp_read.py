#!/usr/bin/env python3
"""Reads a request of OTLP metrics with OpenTelemetry's own library.

usage: otlp_read.py FILE

Prints its metrics as JSON, one a line: name, description, unit, kind of data, and for each data point its attributes and
what it holds. Needs opentelemetry-proto; without it it prints {"skipped": why}.
"""
import json
import sys

try:
    from google.protobuf.json_format import MessageToDict
    from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
except ImportError as why:
    print(json.dumps({"skipped": str(why)}))
    sys.exit()

request = ExportMetricsServiceRequest()
request.ParseFromString(open(sys.argv[1], "rb").read())
for resource in request.resource_metrics:
    for scope in resource.scope_metrics:
        for metric in scope.metrics:
            kind = metric.WhichOneof("data")
            data = MessageToDict(getattr(metric, kind))
            for point in data["dataPoints"]:
                attributes = point.pop("attributes", [])
                point["attributes"] = {a["key"]: next(iter(a["value"].values())) for a in attributes}
            print(json.dumps({"name": metric.name, "description": metric.description, "unit": metric.unit, "kind": kind, **data}))
