#!/usr/bin/env python3
"""Reads requests of OTLP with OpenTelemetry's own definitions.

usage: otlp_request.py SIGNAL FORMAT FILE     SIGNAL logs, metrics or traces; FORMAT protobuf or json

Prints the request as one line of JSON, the same for both formats; what the definitions do not know is an error. Needs
opentelemetry-proto; without it it prints {"skipped": why}.
"""
import base64
import json
import sys

try:
    from google.protobuf import json_format
    from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
    from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
except ImportError as why:
    print(json.dumps({"skipped": str(why)}))
    sys.exit()

signal, form, path = sys.argv[1:]
request = {
    "logs": ExportLogsServiceRequest,
    "metrics": ExportMetricsServiceRequest,
    "traces": ExportTraceServiceRequest,
}[signal]()
data = open(path, "rb").read()


def ids_as_base64(value):
    """OTLP writes ids in hexadecimal digits, which protocol buffers' own JSON has as base64."""
    if isinstance(value, list):
        return [ids_as_base64(item) for item in value]
    if not isinstance(value, dict):
        return value
    ids = ("traceId", "spanId", "parentSpanId")
    return {
        key: base64.b64encode(bytes.fromhex(inner)).decode() if key in ids else ids_as_base64(inner)
        for key, inner in value.items()
    }


if form == "protobuf":
    request.ParseFromString(data)
else:
    json_format.ParseDict(ids_as_base64(json.loads(data)), request)
print(json.dumps(json_format.MessageToDict(request), sort_keys=True))
