#!/usr/bin/env python3
"""OpenTelemetry's own SDK, sending one of everything over OTLP/HTTP.

usage: otel_shapes.py URL

Prints what it sent as JSON, so that a test can compare: ids as hexadecimal digits, times in nanoseconds. Needs
opentelemetry-sdk and opentelemetry-exporter-otlp-proto-http; without them it prints {"skipped": why}.
"""
import json
import logging
import sys

URL = sys.argv[1]
said = {}

try:
    from opentelemetry.exporter.otlp.proto.http import Compression
    from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter
    from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk._logs import LoggerProvider, LoggingHandler
    from opentelemetry.sdk._logs.export import SimpleLogRecordProcessor
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.metrics.export import InMemoryMetricReader
    from opentelemetry.sdk.metrics.view import ExponentialBucketHistogramAggregation, View
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor
    from opentelemetry.trace import Link, SpanKind, Status, StatusCode
except ImportError as why:
    print(json.dumps({"skipped": str(why)}))
    sys.exit()

logging.getLogger("opentelemetry").setLevel(logging.CRITICAL)
resource = Resource({"service.name": "shop", "host.cpus": 4, "zones": ["a", "b"]})

# Spans: a parent, a child with events, a link and an error.
tracer_provider = TracerProvider(resource=resource)
tracer_provider.add_span_processor(SimpleSpanProcessor(OTLPSpanExporter(f"{URL}/v1/traces", compression=Compression.Gzip)))
tracer = tracer_provider.get_tracer("shop.web", "1.2")
with tracer.start_as_current_span("parent", kind=SpanKind.SERVER, attributes={"http.method": "GET", "n": 7, "ok": True}) as parent:
    with tracer.start_as_current_span("child", links=[Link(parent.get_span_context(), {"why": "test"})]) as child:
        child.add_event("retry", {"attempt": 2})
        child.set_status(Status(StatusCode.ERROR, "no stock \u2603"))
for name, span in (("parent", parent), ("child", child)):
    context = span.get_span_context()
    said[name] = {
        "traceId": f"{context.trace_id:032x}", "spanId": f"{context.span_id:016x}",
        "start": span.start_time, "end": span.end_time,
    }

# A log within a span, with an exception.
logger_provider = LoggerProvider(resource=resource)
logger_provider.add_log_record_processor(SimpleLogRecordProcessor(OTLPLogExporter(f"{URL}/v1/logs")))
logger = logging.getLogger("shop.log")
logger.propagate = False
logger.addHandler(LoggingHandler(level=logging.DEBUG, logger_provider=logger_provider))
with tracer.start_as_current_span("logging") as span:
    said["logging"] = {"traceId": f"{span.get_span_context().trace_id:032x}"}
    try:
        1 / 0
    except ZeroDivisionError:
        logger.error("it %s", "failed", exc_info=True, extra={"order": 17, "tags": ("x", "y")})

# Every instrument.
reader = InMemoryMetricReader()
meter_provider = MeterProvider(metric_readers=[reader], resource=resource, views=[
    View(instrument_name="sizes", aggregation=ExponentialBucketHistogramAggregation(max_size=20)),
])
meter = meter_provider.get_meter("shop.metrics")
meter.create_counter("orders", unit="1", description="Orders").add(5, {"kind": "new"})
meter.create_up_down_counter("open").add(-2)
meter.create_observable_gauge("heat", callbacks=[lambda _: [__import__("opentelemetry").metrics.Observation(21.5, {"room": 1})]])
latency = meter.create_histogram("latency", unit="ms", explicit_bucket_boundaries_advisory=[10, 100])
for value in (5, 50, 60, 500):
    latency.record(value, {"path": "/"})
sizes = meter.create_histogram("sizes")
for value in (0, 1, 2, 4, 1000):
    sizes.record(value)
result = OTLPMetricExporter(f"{URL}/v1/metrics").export(reader.get_metrics_data())
said["metrics"] = str(result)

tracer_provider.shutdown()
logger_provider.shutdown()
print(json.dumps(said))
