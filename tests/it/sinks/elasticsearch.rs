//! The `elasticsearch` sink against a double of the bulk interface, written from its documents ("Bulk API", "Data streams", and
//! "Removal of mapping types" of Elasticsearch's reference), and against the door of another agent.

use super::*;

pub(super) const KIND: Kind = Kind {
    name: "elasticsearch",
    settings: "endpoints: \"URL\"\n    index: \"logs-%Y.%m.%d\"",
    auth: ("auth: {basic: {user: elastic, password: s3cret}}", "Basic ZWxhc3RpYzpzM2NyZXQ="),
    compresses: "gzip",
    system,
};

/// Takes a bulk request: poisoned documents do not fit the mapping, busy ones find a full queue the first time.
fn system(asked: &Asked, store: &mut Store) -> Reply {
    let path = asked.path.split('?').next().unwrap();
    let bulk = path.ends_with("/_bulk") && asked.method == "POST";
    let text = asked.text();
    if !bulk || !text.ends_with('\n') {
        return reply(
            400,
            "{\"error\":{\"type\":\"illegal_argument_exception\",\"reason\":\"no such request\"},\"status\":400}",
        );
    }
    let rows: Vec<&str> = text.lines().collect();
    let (mut items, mut errors) = (Vec::new(), false);
    for pair in rows.chunks(2) {
        let action: Json = serde_json::from_str(pair[0]).unwrap();
        let (op, meta) = action.as_object().unwrap().iter().next().unwrap();
        let document: Json = serde_json::from_str(pair[1]).unwrap();
        assert!(document["@timestamp"].is_string(), "{document}");
        let n = number(&document);
        let item = if !store.mended && !document["poison"].is_null() {
            json!({"status": 400, "error": {"type": "document_parsing_exception", "reason": "failed to parse field [poison]", "caused_by": {"reason": "poison"}}})
        } else if !document["busy"].is_null() && !store.busy.contains(&n) {
            store.busy.push(n);
            json!({"status": 429, "error": {"type": "es_rejected_execution_exception", "reason": "rejected execution of coordinating operation"}})
        } else {
            // A document with the `_id` of one that is there takes its place, or is a conflict.
            let id = meta["_id"].as_str();
            match id.map(|id| store.bodies.iter().any(|d| d["_test_id"] == id)) {
                Some(true) if op == "create" => {
                    json!({"status": 409, "error": {"type": "version_conflict_engine_exception", "reason": "document already exists"}})
                }
                Some(true) => json!({"status": 200}),
                _ => {
                    let mut document = document;
                    document["_test_id"] = json!(id);
                    store.add(document);
                    json!({"status": 201})
                }
            }
        };
        errors |= item["status"].as_u64().unwrap() >= 300;
        items.push(json!({op.as_str(): item}));
    }
    reply(200, json!({"errors": errors, "items": items}).to_string())
}

#[test]
fn of_one_answer_each_item_is_taken_refused_or_sent_again_alone() {
    let server = KIND.server();
    let mut events = numbered(1000);
    for n in [0, 5, 6, 500, 999] {
        events[n]["busy"] = json!(true);
    }
    for n in [1, 7, 998] {
        events[n]["poison"] = json!(true);
    }
    let run = KIND.run(&server, "", &events);
    assert_once(&server, (0..1000).filter(|n| ![1, 7, 998].contains(n)), "all but the poisoned");
    let letters = run.letters();
    assert_eq!(letters.len(), 3);
    for (reason, detail, _) in &letters {
        assert_eq!(reason, "refused");
        assert_eq!(detail, "document_parsing_exception: failed to parse field [poison] (poison)");
    }
    let documents: Vec<usize> = server.wire.asked().iter().map(|a| a.text().lines().count() / 2).collect();
    assert_eq!(documents, [1000, 5], "busy ones alone");
}

#[test]
fn an_event_that_is_sent_again_is_no_second_document() {
    for (op, id) in [("index", "auto"), ("create", "auto"), ("create", "\"doc-{{ n }}\"")] {
        // The first answer is lost, after the documents were taken.
        let system = KIND.system;
        let store: Arc<Mutex<Store>> = Arc::default();
        let (shared, mut first) = (store.clone(), true);
        let wire = Wire::start(move |asked| {
            let answer = system(asked, &mut shared.lock().unwrap());
            if std::mem::take(&mut first) { reply(503, "lost") } else { answer }
        });
        let server = Server { wire, store };
        let run = KIND.run(&server, &format!("op: {op}\n    id: {id}"), &numbered(20));
        assert_once(&server, 0..20, op);
        assert_eq!((run.sink(), run.letters().len()), ([20, 0, 20, 0, 0, 0], 0), "{op}: {}", run.said);
    }
}

#[test]
fn an_events_own_id_is_the_documents_and_no_field_of_it() {
    let server = KIND.server();
    let events = [
        json!({"n": 0, "_id": "a \"1\"", "x": {"_id": 1}}),
        json!({"_id": "b", "n": 1, "poison": true}),
        json!({"n": 2}),
    ];
    let run = KIND.run(&server, "concurrency: 1", &events);
    let stored = server.store.lock().unwrap().bodies.clone();
    assert_eq!((&stored[0]["_test_id"], &stored[0]["x"]), (&json!("a \"1\""), &json!({"_id": 1})));
    assert!(stored.iter().all(|document| document["_id"].is_null()));
    assert_eq!(stored[1]["_test_id"].as_str().unwrap().len(), 32, "made of origin and place");
    assert_eq!(run.letters()[0].2, events[1], "the letter has the event as it was");
}

#[test]
fn documents_go_to_indexes_and_data_streams_with_their_time() {
    let events = [
        json!({"n": 0, "timestamp": "2026-01-02T23:59:59.5Z", "service": "Shop A"}),
        json!({"n": 1, "timestamp": "2026-01-03T00:00:00Z", "service": "shop a", "@timestamp": "2020-01-01T00:00:00Z"}),
    ];
    let paths = |server: &Server| {
        let mut paths: Vec<String> = server.wire.asked().iter().map(|a| a.path.clone()).collect();
        paths.sort();
        paths
    };
    let query = "?filter_path=errors%2Citems.*.status%2Citems.*.error";
    let server = KIND.server();
    let yaml = KIND.yaml(&server, "pipeline: clean up").replace("logs-%Y", "{{ service }}-%Y");
    run_in(tempfile::tempdir().unwrap(), &yaml, &events);
    let want = ["shop_a-2026.01.02", "shop_a-2026.01.03"].map(|name| format!("/{name}/_bulk{query}&pipeline=clean+up"));
    assert_eq!(paths(&server), want);
    let mut stored = server.store.lock().unwrap().bodies.clone();
    stored.sort_by_key(number);
    assert_eq!(stored[0]["@timestamp"], "2026-01-02T23:59:59.500Z");
    assert_eq!(stored[1]["@timestamp"], "2020-01-01T00:00:00Z", "its own stays");
    let server = KIND.server();
    let yaml = KIND
        .yaml(&server, "mode: data_stream\n    data_stream: {dataset: \"{{ service }}\", namespace: my-team}")
        .replace("index: \"logs-%Y.%m.%d\"", "");
    run_in(tempfile::tempdir().unwrap(), &yaml, &events);
    assert_eq!(paths(&server), [format!("/logs-shop_a-my_team/_bulk{query}")]);
    assert!(server.wire.asked()[0].text().starts_with("{\"create\":{\"_id\":\""), "{}", server.wire.asked()[0].text());
}

#[test]
fn version_6_is_learnt_and_others_are_asked_for() {
    // What 6 answers to documents without a type.
    let server = KIND.server_with(|_, asked| {
        let typed = asked.path.contains("/_doc/_bulk");
        (!typed).then(|| reply(400, "{\"error\":{\"type\":\"action_request_validation_exception\",\"reason\":\"Validation Failed: 1: type is missing;\"},\"status\":400}"))
    });
    let run = KIND.run(&server, "batch: {max_events: 10}\n    concurrency: 1", &numbered(100));
    assert_once(&server, 0..100, "6");
    assert_eq!((run.sink(), server.wire.asked().len()), ([100, 0, 100, 0, 0, 0], 11), "learnt once");
    for (version, content_type, typed) in [
        ("6", "application/x-ndjson", true),
        ("7", "application/x-ndjson", false),
        ("8", "application/vnd.elasticsearch+x-ndjson; compatible-with=8", false),
        ("9", "application/vnd.elasticsearch+x-ndjson; compatible-with=9", false),
    ] {
        let server = KIND.server();
        KIND.run(&server, &format!("api_version: \"{version}\""), &numbered(1));
        let asked = &server.wire.asked()[0];
        assert_eq!((asked.header("content-type"), asked.path.contains("_doc")), (content_type, typed), "{version}");
    }
}

#[test]
fn answers_that_are_none_or_miss_items_are_not_taken_for_success() {
    let server =
        KIND.server_with(|_, _| Some(reply(200, "{\"errors\":false,\"items\":[{\"index\":{\"status\":201}}]}")));
    let run = KIND.run(&server, "", &numbered(3));
    let letters = run.letters();
    assert_eq!(letters.len(), 3);
    assert_eq!((letters[0].0.as_str(), letters[0].1.as_str()), ("uncertain", "sent 3, and the answer has 1 items"));
    let server = KIND.server_with(|n, _| (n < 3).then(|| reply(200, "<html>welcome</html>")));
    let run = KIND.run(&server, "", &numbered(3));
    assert!(run.said.contains("what answers is not Elasticsearch's bulk interface"), "{}", run.said);
    assert_once(&server, 0..3, "kept until it is");
}

#[test]
fn several_servers_take_turns_and_one_that_is_not_there_is_passed_by() {
    let (first, second) = (KIND.server(), KIND.server());
    let dead = crate::agent::nobody();
    let yaml = KIND.yaml(&first, "batch: {max_events: 10}\n    concurrency: 1").replace(
        &format!("endpoints: \"{}\"", first.wire.url()),
        &format!("endpoints: [\"http://{dead}\", \"{}\", \"{}/es\"]", first.wire.url(), second.wire.url()),
    );
    let run = run_in(tempfile::tempdir().unwrap(), &yaml, &numbered(200));
    assert_eq!(run.sink(), [200, 0, 200, 0, 0, 0], "{}", run.said);
    let (a, b) = (first.store.lock().unwrap().events.len(), second.store.lock().unwrap().events.len());
    assert_eq!(a + b, 200);
    assert!(a >= 50 && b >= 50, "{a} {b}");
    assert!(second.wire.asked()[0].path.starts_with("/es/logs-"), "{}", second.wire.asked()[0].path);
}

#[test]
fn keys_are_shown_as_the_server_reads_them() {
    for (auth, header) in [
        ("api_key: \"id:s3cret\"", "ApiKey aWQ6czNjcmV0"),
        ("api_key: aWQ6czNjcmV0", "ApiKey aWQ6czNjcmV0"),
        ("bearer: t0ken", "Bearer t0ken"),
    ] {
        let server = KIND.server();
        KIND.run(&server, &format!("auth: {{{auth}}}"), &numbered(1));
        assert_eq!(server.wire.asked()[0].header("authorization"), header);
    }
}
