//! The `http` sink, and what signs requests.

use super::*;

pub(super) const KIND: Kind = Kind {
    name: "http",
    settings: "url: \"URL/in\"",
    auth: ("auth: {bearer: s3cret-token}", "Bearer s3cret-token"),
    compresses: "",
    system,
};

/// Takes an array, or lines, or one; refuses all of it where one is poisoned.
fn system(asked: &Asked, store: &mut Store) -> Reply {
    let text = asked.text();
    let events: Vec<Json> = match serde_json::from_str(&text) {
        Ok(Json::Array(events)) => events,
        Ok(event) => vec![event],
        Err(_) => text.lines().map(|line| serde_json::from_str(line).unwrap()).collect(),
    };
    if !store.mended && events.iter().any(|e| !e["poison"].is_null()) {
        return reply(400, "{\"error\":\"poison\"}");
    }
    events.into_iter().for_each(|event| store.add(event));
    reply(200, "{}")
}

#[test]
fn address_and_headers_come_from_events_and_cannot_be_broken() {
    let server = KIND.server();
    let yaml = KIND.yaml(&server, "headers: {X-Tenant: \"{{ tenant }}\", X-Fixed: a}").replace("URL/in", "").replace(
        &format!("url: \"{}/in\"", server.wire.url()),
        &format!("url: \"{}/in/{{{{ service }}}}?q={{{{ q | default('none') }}}}\"", server.wire.url()),
    );
    let events = [
        json!({"n": 0, "service": "a", "tenant": "t1"}),
        json!({"n": 1, "service": "a", "tenant": "t1"}),
        json!({"n": 2, "service": "../x/é?y#z", "tenant": "t1\r\nX-Evil: 1", "q": "1&b=2"}),
        json!({"n": 3, "service": "..", "tenant": ""}),
        json!({"n": 4, "tenant": "t"}),
    ];
    let run = run_in(tempfile::tempdir().unwrap(), &yaml, &events);
    assert_once(&server, 0..4, "all but the one without a service");
    let letters = run.letters();
    assert_eq!((letters.len(), letters[0].0.as_str(), &letters[0].2), (1, "template", &events[4]));
    let mut asked: Vec<(String, String, usize)> = server
        .wire
        .asked()
        .iter()
        .map(|a| {
            assert_eq!((a.header("x-fixed"), a.header("x-evil")), ("a", ""));
            let events: Vec<Json> = serde_json::from_slice(&a.body).unwrap();
            (a.path.clone(), a.header("x-tenant").to_owned(), events.len())
        })
        .collect();
    asked.sort();
    let want = [
        ("/in/..%2Fx%2F%C3%A9%3Fy%23z?q=1%26b%3D2", "t1  X-Evil: 1", 1),
        ("/in/__?q=none", "", 1),
        ("/in/a?q=none", "t1", 2),
    ];
    assert_eq!(asked, want.map(|(path, tenant, n)| (path.to_owned(), tenant.to_owned(), n)));
}

#[test]
fn bodies_are_framed_and_encoded_as_configured() {
    for (settings, content_type, bodies) in [
        ("", "application/json", vec!["[{\"n\":0,\"message\":\"a b\"},{\"n\":1,\"message\":\"c\"}]"]),
        (
            "framing: newline",
            "application/x-ndjson",
            vec!["{\"n\":0,\"message\":\"a b\"}\n{\"n\":1,\"message\":\"c\"}\n"],
        ),
        (
            "framing: none, concurrency: 1",
            "application/json",
            vec!["{\"n\":0,\"message\":\"a b\"}", "{\"n\":1,\"message\":\"c\"}"],
        ),
        ("encoding: text, method: PUT", "text/plain; charset=utf-8", vec!["a b\nc\n"]),
        ("encoding: logfmt", "text/plain; charset=utf-8", vec!["n=0 message=\"a b\"\nn=1 message=c\n"]),
        ("encoding: {csv: {fields: [message, n]}}, method: PATCH", "text/csv; charset=utf-8", vec!["a b,0\nc,1\n"]),
    ] {
        let server = KIND.server_with(|_, _| Some(reply(204, "")));
        let more = settings.replace(", ", "\n    ").replace("[message\n    n]", "[message, n]");
        KIND.run(&server, &more, &[json!({"n": 0, "message": "a b"}), json!({"n": 1, "message": "c"})]);
        let asked = server.wire.asked();
        assert_eq!(asked.iter().map(Asked::text).collect::<Vec<_>>(), bodies, "{settings}");
        let method = ["PUT", "PATCH"].into_iter().find(|m| settings.contains(m)).unwrap_or("POST");
        assert_eq!((asked[0].header("content-type"), asked[0].method.as_str()), (content_type, method), "{settings}");
    }
}

#[test]
fn success_is_what_the_condition_says() {
    // A server that answers 200 to everything, and what it means in the body.
    let server = KIND.server_with(|n, asked| {
        let poisoned = asked.text().contains("poison");
        Some(match (n, poisoned) {
            (0, _) => reply(503, "{\"code\":0}"),
            (_, true) => reply(200, "{\"code\":7,\"why\":\"poison\"}"),
            (_, false) => reply(200, "{\"code\":0}"),
        })
    });
    let mut events = numbered(8);
    events[3]["poison"] = json!(1);
    let run = KIND.run(&server, "success: '@status == 200 && @body.code == 0'", &events);
    let letters = run.letters();
    assert_eq!(letters.len(), 1);
    assert_eq!((letters[0].0.as_str(), &letters[0].2), ("refused", &events[3]));
    assert!(letters[0].1.contains("HTTP 200, but `success` does not hold: {\"code\":7"), "{}", letters[0].1);
    assert_eq!(run.sink(), [8, 0, 7, 0, 1, 0]);
    // A status that is no success elsewhere, and a body that is text.
    let server = KIND.server_with(|_, _| Some(reply(409, "already there")));
    let run = KIND.run(&server, "success: '@status == 409 && @body.contains(\"already\")'", &events);
    assert_eq!(run.sink(), [8, 0, 8, 0, 0, 0]);
}

#[test]
fn the_door_of_another_agent_takes_what_is_signed_and_nothing_else() {
    for (sign, taken) in [("s3cret-key", true), ("another-key", false)] {
        let receiver = crate::http::Receiver::start(", auth: {hmac: {key: s3cret-key}}, paths: {/: [json]}");
        let dir = tempfile::tempdir().unwrap();
        let yaml = format!(
            "data_dir: ./data\nshutdown_timeout: 1s\nsources: {{in: {{type: stdin, decode: json}}}}\nsinks:\n  out: {{type: http, inputs: [in], url: \"http://{}/\", compression: gzip, auth: {{hmac: {{key: {sign}}}}}}}\n",
            receiver.address
        );
        config(dir.path(), &yaml);
        let mut command = tidegate(dir.path(), &["run", "--config", "tidegate.yaml"]);
        command.stdin(input(dir.path(), &numbered(10)));
        let mut agent = Agent::start(command);
        if taken {
            assert!(agent.wait().0.success());
            assert_eq!(lines(&receiver.dir.path().join("out")).len(), 10);
        } else {
            eventually("it is said", || agent.said().contains("check the credentials"));
            assert!(lines(&receiver.dir.path().join("out")).is_empty());
        }
    }
}

#[test]
fn tokens_of_oauth2_are_fetched_once_and_renewed_once_when_they_are_turned_away() {
    let fetched = Arc::new(Mutex::new(0));
    let count = fetched.clone();
    let giver = Wire::start(move |asked| {
        let form = "grant_type=client_credentials&client_id=me&client_secret=s3cret&scope=logs";
        assert_eq!((asked.text().as_str(), asked.header("x-only"), asked.path.as_str()), (form, "", "/token"));
        *count.lock().unwrap() += 1;
        let n = *count.lock().unwrap();
        reply(200, format!("{{\"access_token\":\"t{n}\",\"token_type\":\"bearer\",\"expires_in\":3600}}"))
    });
    // The first token is good for five requests.
    let mut used = 0;
    let server = KIND.server_with(move |_, asked| {
        assert_eq!(asked.header("x-only"), "for the server");
        match asked.header("authorization") {
            "Bearer t1" if used < 5 => {
                used += 1;
                None
            }
            "Bearer t2" => None,
            _ => Some(reply(401, "expired")),
        }
    });
    let more = format!(
        "auth: {{oauth2: {{token_url: \"{}/token\", client_id: me, client_secret: s3cret, scope: logs}}}}\n    headers: {{X-Only: for the server}}\n    batch: {{max_events: 10}}\n    concurrency: 4",
        giver.url()
    );
    let run = KIND.run(&server, &more, &numbered(300));
    assert_eq!(run.sink(), [300, 0, 300, 0, 0, 0], "{}", run.said);
    assert_once(&server, 0..300, "oauth2");
    assert_eq!(*fetched.lock().unwrap(), 2);
    assert!(!run.said.contains("refuses all requests") && !run.said.contains("s3cret"), "{}", run.said);
}

#[test]
fn mistakes_in_the_settings_are_found() {
    for (settings, says) in [
        ("url: 'http://{{ host }}/x'", "the host of `url` in sink `out` may not come from events"),
        ("url: 'http://h{{ host }}'", "the host of `url` in sink `out` may not come from events"),
        ("url: 'ftp://h/x'", "must begin with `http://`"),
        ("url: 'http://u:p@h/x'", "holds credentials"),
        ("url: 'http://h/', headers: {'a b': c}", "the header `a b` in sink `out` is not a header name"),
        ("url: 'http://h/', headers: {a: '{{ x'}", "the header `a` in sink `out` has a bad template"),
        ("url: 'http://h/', encoding: text, framing: array", "is for `encoding: json`"),
        ("url: 'http://h/', success: '@status == 200 && code == 0'", "there are `@status` and `@body` only"),
        ("url: 'http://h/', success: '@status =='", "bad condition"),
        ("url: 'http://h/', auth: {hmac: {key: k, header: 'a b'}}", "is not a header name"),
        ("url: 'http://h/', auth: {oauth2: {token_url: x, client_id: a, client_secret: b}}", "`token_url`"),
    ] {
        let dir = tempfile::tempdir().unwrap();
        config(
            dir.path(),
            &format!("sources: {{in: {{type: stdin}}}}\nsinks: {{out: {{type: http, inputs: [in], {settings}}}}}\n"),
        );
        let (code, _, said) = output(tidegate(dir.path(), &["validate", "--config", "tidegate.yaml"]));
        assert_eq!(code, Some(78), "{settings}: {said}");
        assert!(said.contains(says), "{settings}: {said}");
    }
}
