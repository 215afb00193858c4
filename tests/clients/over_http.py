"""Real clients against the http source, told apart by their records.

    python3 over_http.py URL up|down [COUNT]

Prints one JSON line a client: {"client", "sent", "ok", "said"}; `ok` is what the client itself believes. A client whose
package is not installed says {"client", "skipped"}. Each record has `client` and `n` from 0, and text with what is hard
to carry. With `down`, the sink behind the source takes nothing, and every client must notice.
"""

import asyncio
import base64
import json
import logging
import sys
import time

URL, MODE = sys.argv[1], sys.argv[2]
COUNT = int(sys.argv[3]) if len(sys.argv) > 3 else 500
TEXT = 'quote " backslash \\ line\nbreak tab\t NUL \u0000 snow \u2603 clef \U0001d11e'
USER, PASSWORD = "app", "s3cret"


def records(client):
    return [{"client": client, "n": n, "text": TEXT, "pi": 3.10, "nested": {"a": [1, None, {"b": True}]}} for n in range(COUNT)]


def elasticsearch_helpers():
    import elasticsearch
    from elasticsearch import helpers

    es = elasticsearch.Elasticsearch(URL, basic_auth=(USER, PASSWORD), max_retries=0, request_timeout=20)
    assert es.info()["tagline"] == "You Know, for Search"
    actions = [{"_op_type": "create", "_index": "shop", "_source": r} for r in records("elasticsearch_helpers")]
    done, errors = helpers.bulk(es, actions, chunk_size=97, raise_on_error=False)
    return done == COUNT and not errors, f"{done} done, {len(errors)} errors"


def elasticsearch_gzip():
    import elasticsearch

    es = elasticsearch.Elasticsearch(
        URL, basic_auth=(USER, PASSWORD), http_compress=True, max_retries=0, request_timeout=20
    )
    operations = []
    for record in records("elasticsearch_gzip"):
        operations += [{"index": {}}, record]
    answer = es.bulk(operations=operations, index="shop")
    statuses = {item["index"]["status"] for item in answer["items"]}
    fine = not answer["errors"] and len(answer["items"]) == COUNT and statuses == {201}
    return fine, f"{len(answer['items'])} items, statuses {statuses}"


def openobserve_handler():
    from openobserve.sender import OpenObserveSender

    class Log(logging.Handler):
        lines = []

        def emit(self, record):
            Log.lines.append(record.getMessage())

    sender = OpenObserveSender(
        USER, PASSWORD, URL, "default", "shop", backup_logs=False, network_timeout=20, number_of_retries=1,
        retry_timeout=0, logs_drain_timeout=600, debug=True,
    )
    logger = logging.getLogger("sender")
    logger.setLevel(logging.DEBUG)
    logger.addHandler(Log())
    sender.stdout_logger = logger
    for record in records("openobserve_handler"):
        sender.append(record)
    time.sleep(0.5)
    sender.flush()
    good = [line for line in Log.lines if line.startswith("Successfully sent bulk of")]
    return sum(int(line.split()[4]) for line in good) == COUNT, "; ".join(Log.lines[-3:])[:300]


def logoo():
    import logoo.primary_logger as primary
    from logoo.data import data_queue

    said = []
    primary.log.setLevel(logging.DEBUG)
    primary.log.addHandler(type("H", (logging.Handler,), {"emit": lambda self, r: said.append(r.getMessage())})())

    async def run():
        logger = primary.PrimaryLogger(
            "shop", base_url=URL, org="default", stream="shop", username=USER, password=PASSWORD, poll_time=0.05
        )
        for record in records("logoo"):
            data_queue.put_nowait(record)
        await logger.start_consumer()
        wanted = "Sent" if MODE == "up" else "Failed to send"
        for _ in range(400):
            await asyncio.sleep(0.05)
            if sum(int(s.split()[1]) for s in said if s.startswith("Sent")) >= COUNT or (
                MODE == "down" and any(s.startswith(wanted) for s in said)
            ):
                break

    asyncio.run(run())
    good = [s for s in said if s.startswith("Sent") and ", 0 failed" in s.replace(". 0 failed", ", 0 failed")]
    return sum(int(s.split()[1]) for s in good) == COUNT, "; ".join(said[-2:])[:300]


def requests_json():
    import requests

    answer = requests.post(
        f"{URL}/api/default/shop/_json", json=records("requests_json"), auth=(USER, PASSWORD), timeout=20
    )
    status = answer.json().get("status", [{}])[0] if answer.status_code == 200 else {}
    return status.get("successful") == COUNT and status.get("failed") == 0, f"{answer.status_code} {answer.text[:200]}"


def otel_headers():
    token = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
    return {"authorization": f"Basic {token}"}


def otlp_traces():
    from opentelemetry.exporter.otlp.proto.http import Compression
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SpanExportResult

    finished = []
    provider = TracerProvider(resource=Resource.create({"service.name": "shop"}))
    provider.add_span_processor(type("P", (), {
        "on_start": lambda self, span, parent_context=None: None, "_on_ending": lambda self, span: None,
        "on_end": lambda self, span: finished.append(span), "shutdown": lambda self: None,
        "force_flush": lambda self, timeout_millis=0: True,
    })())
    tracer = provider.get_tracer("clients")
    for n in range(COUNT):
        with tracer.start_as_current_span("otlp_traces", attributes={"n": n, "text": TEXT.replace("\u0000", "")}):
            pass
    exporter = OTLPSpanExporter(
        endpoint=f"{URL}/v1/traces", headers=otel_headers(), compression=Compression.Gzip, timeout=4
    )
    result = exporter.export(finished)
    return result == SpanExportResult.SUCCESS, str(result)


def otlp_logs():
    from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter
    from opentelemetry.sdk._logs import LoggerProvider, LoggingHandler
    from opentelemetry.sdk._logs.export import BatchLogRecordProcessor
    from opentelemetry.sdk.resources import Resource

    results = []

    class Seen(OTLPLogExporter):
        def export(self, batch):
            result = super().export(batch)
            results.append((len(batch), result))
            return result

    exporter = Seen(endpoint=f"{URL}/v1/logs", headers=otel_headers(), timeout=4)
    provider = LoggerProvider(resource=Resource.create({"service.name": "shop"}))
    provider.add_log_record_processor(
        BatchLogRecordProcessor(exporter, max_queue_size=2 * COUNT, max_export_batch_size=COUNT, schedule_delay_millis=10**6)
    )
    logger = logging.getLogger("otel-shop")
    logger.propagate = False
    logger.addHandler(LoggingHandler(level=logging.DEBUG, logger_provider=provider))
    for n in range(COUNT):
        logger.warning("otlp_logs", extra={"n": n})
    provider.force_flush()
    provider.shutdown()
    good = sum(count for count, result in results if result.name == "SUCCESS")
    return good == COUNT, str([(count, result.name) for count, result in results])[:200]


def otlp_metrics():
    from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.metrics.export import InMemoryMetricReader, MetricExportResult

    reader = InMemoryMetricReader()
    provider = MeterProvider(metric_readers=[reader])
    counter = provider.get_meter("clients").create_counter("otlp_metrics", unit="1")
    for n in range(COUNT):
        counter.add(n + 1, {"n": str(n)})
    exporter = OTLPMetricExporter(endpoint=f"{URL}/v1/metrics", headers=otel_headers(), timeout=4)
    result = exporter.export(reader.get_metrics_data())
    return result == MetricExportResult.SUCCESS, str(result)


CLIENTS = [
    requests_json, elasticsearch_helpers, elasticsearch_gzip, openobserve_handler, logoo, otlp_traces, otlp_logs,
    otlp_metrics,
]

for client in CLIENTS:
    line = {"client": client.__name__, "sent": COUNT}
    try:
        line["ok"], line["said"] = client()
    except ImportError as error:
        line = {"client": client.__name__, "skipped": str(error)}
    except Exception as error:  # what a client throws is how it says no
        line["ok"], line["said"] = False, f"{type(error).__name__}: {error}"[:300]
    print(json.dumps(line), flush=True)

sys.stdout.flush()
# Threads of clients that still wait are not waited for.
import os

os._exit(0)
