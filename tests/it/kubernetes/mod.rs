//! `kubernetes_logs` from outside: real trees of log files, a double of the API server, and what comes out.

mod api;
mod deploy;
mod tree;

use self::api::{Api, Fault, Of};
use self::tree::Pod;
use crate::agent::{Agent, config, eventually, gives_reason, lines, nobody};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::net::TcpListener;
use std::path::PathBuf;
use std::time::Duration;

/// A node: its logs, and an agent that reads them.
struct Node {
    dir: tempfile::TempDir,
}

impl Node {
    fn new() -> Node {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("pods")).unwrap();
        Node { dir }
    }

    fn logs(&self) -> PathBuf {
        self.dir.path().join("pods")
    }

    fn pod(&self, namespace: &str, name: &str, uid: &str) -> Pod {
        Pod::new(&self.logs(), namespace, name, uid)
    }

    /// Starts the agent with what is known from `metadata`, and further settings of the source.
    fn run(&self, metadata: &str, more: &str) -> Agent {
        let logs = self.logs();
        config(
            self.dir.path(),
            &format!(
                "data_dir: ./data
sources:
  pods:
    type: kubernetes_logs
    paths: ['{}/*/*/*.log']
    metadata: {{node: node-1, spread: 0s, {metadata}}}
{more}
sinks:
  out: {{type: file, inputs: [pods], path: out.ndjson}}
",
                logs.display()
            ),
        );
        Agent::run(self.dir.path(), &[])
    }

    fn events(&self) -> Vec<Value> {
        lines(&self.dir.path().join("out.ndjson")).iter().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }

    fn messages(&self) -> Vec<String> {
        self.events().iter().map(|event| event["message"].as_str().unwrap_or_default().to_owned()).collect()
    }

    /// Waits for so many events.
    #[track_caller]
    fn wait(&self, events: usize) -> Vec<Value> {
        eventually(&format!("{events} events"), || self.events().len() >= events);
        self.events()
    }
}

fn of(api: &Api) -> String {
    format!("url: '{}'", api.url())
}

/// The event with a message.
#[track_caller]
fn with<'e>(events: &'e [Value], message: &str) -> &'e Value {
    events.iter().find(|event| event["message"] == message).unwrap_or_else(|| panic!("{message} in {events:?}"))
}

#[test]
fn events_have_what_is_known_of_their_pods() {
    let (node, api) = (Node::new(), Api::start());
    let web = node.pod("shop", "web-5f6-x1", "11111111-0000-4000-8000-000000000001");
    let mut object = web.object(&["app"]);
    object["metadata"]["labels"] = json!({"app": "web", "pod-template-hash": "5f6"});
    object["metadata"]["annotations"] = json!({"team": "a"});
    object["metadata"]["ownerReferences"] = json!([{"kind": "ReplicaSet", "name": "web-5f6", "controller": true}]);
    object["spec"]["initContainers"] = json!([{"name": "init", "image": "busybox:1"}]);
    object["spec"]["ephemeralContainers"] = json!([{"name": "debug", "image": "busybox:2"}]);
    object["status"]["initContainerStatuses"] = json!([{"name": "init", "containerID": "containerd://init-id"}]);
    object["status"]["containerStatuses"][0]["restartCount"] = 1.into();
    object["status"]["containerStatuses"][0]["lastState"] =
        json!({"terminated": {"containerID": "containerd://before"}});
    api.put(object);
    // The same name of pod and container, in another namespace.
    let other = node.pod("lab", "web-5f6-x1", "11111111-0000-4000-8000-000000000002");
    api.put(other.object(&["app"]));
    // The folder of a static pod has a hash in the uid's place.
    let etcd = node.pod("kube-system", "etcd-node-1", "0123456789abcdef0123456789abcdef");
    let mut object = etcd.object(&["etcd"]);
    object["metadata"]["uid"] = "22222222-0000-4000-8000-000000000000".into();
    object["metadata"]["annotations"] =
        json!({"kubernetes.io/config.hash": etcd.uid, "kubernetes.io/config.mirror": etcd.uid});
    api.put(object);
    // On another node: it is not asked for.
    let mut far = node.pod("shop", "far", "33333333-0000-4000-8000-000000000000").object(&["app"]);
    far["spec"]["nodeName"] = "node-2".into();
    api.put(far);
    api.namespace("shop", json!({"env": "prod"}));

    web.write("app", 0, "before");
    web.write("app", 1, "after");
    web.write("init", 0, "init");
    web.write("debug", 0, "debug");
    other.write("app", 0, "other");
    etcd.write("etcd", 0, "etcd");
    let agent = node.run(&of(&api), "");
    let events = node.wait(6);
    let after = with(&events, "after");
    assert_eq!(after["timestamp"], "2026-01-01T00:00:00.123456789Z");
    assert_eq!(after["stream"], "stdout");
    assert_eq!(
        after["kubernetes"],
        json!({"namespace": "shop", "pod": "web-5f6-x1", "pod_uid": web.uid, "container": "app",
            "container_id": format!("app-of-{}", web.uid), "image": "shop/app:1", "image_id": "shop/app@sha256:1",
            "restart_count": 1, "node": "node-1", "labels": {"app": "web", "pod-template-hash": "5f6"},
            "annotations": {"team": "a"}, "owner": {"kind": "Deployment", "name": "web"},
            "namespace_labels": {"env": "prod"}, "pod_ip": "10.0.0.7", "host_ip": "192.0.2.1"})
    );
    assert_eq!(with(&events, "before")["kubernetes"]["container_id"], "before");
    assert_eq!(with(&events, "init")["kubernetes"]["container_id"], "init-id");
    assert_eq!(with(&events, "debug")["kubernetes"]["image"], "busybox:2");
    assert_eq!(with(&events, "other")["kubernetes"]["namespace"], "lab");
    assert_eq!(with(&events, "other")["kubernetes"]["pod_uid"], other.uid.as_str());
    assert_eq!(with(&events, "other")["kubernetes"].get("namespace_labels"), None);
    let etcd = &with(&events, "etcd")["kubernetes"];
    assert_eq!(
        (&etcd["pod_uid"], &etcd["labels"]["app"]),
        (&json!("22222222-0000-4000-8000-000000000000"), &json!("etcd-node-1"))
    );
    let asked = api.asked();
    let list = asked.iter().find(|asked| asked.path == "/api/v1/pods").unwrap();
    assert_eq!(list.query["resourceVersion"], "0");
    assert_eq!(list.query["fieldSelector"], "spec.nodeName=node-1");
    assert!(events.iter().all(|event| event["kubernetes"].get("metadata").is_none()), "{events:?}");
    agent.stop();
}

#[test]
fn one_list_a_start_whatever_happens_but_for_an_expired_version() {
    let (node, api) = (Node::new(), Api::start());
    let first = node.pod("shop", "first", "a-1");
    api.put(first.object(&["app"]));
    api.fault(Of::List, Fault::Status(429, Some(1)));
    api.fault(Of::List, Fault::Status(503, None));
    first.write("app", 0, "first");
    let agent = node.run(&format!("{}, wait: 60s", of(&api)), "");
    eventually("the list is answered, and a watch goes on from it", || api.watching() == 1);
    let lists = api.lists();
    assert_eq!(lists, 3, "two that were refused, and one");

    // Pods come and go, watches end and break, are refused and tell of versions: no list.
    for n in 0..30 {
        let pod = node.pod("shop", &format!("churn-{n}"), &format!("c-{n}"));
        api.put(pod.object(&["app"]));
        pod.write("app", 0, &format!("churn {n}"));
        if n % 3 == 0 {
            api.bookmark();
        }
        if n == 10 || n == 20 {
            api.end_watches(n == 20);
            api.fault(Of::Watch, if n == 10 { Fault::Status(429, None) } else { Fault::Close });
        }
        if n > 5 {
            api.remove(&format!("c-{}", n - 5));
        }
    }
    let events = node.wait(31);
    for event in &events {
        let message = event["message"].as_str().unwrap();
        assert_eq!(event["kubernetes"]["labels"]["app"], message.replace(' ', "-"), "{event}");
    }
    assert_eq!(api.lists(), lists, "{:?}", api.asked());

    // What happened while nobody watched is not known any more.
    eventually("it watches", || api.watching() == 1);
    api.fault(Of::Watch, Fault::Status(410, None));
    api.end_watches(true);
    let late = node.pod("shop", "late", "l-1");
    api.put(late.object(&["app"]));
    late.write("app", 0, "late");
    let events = node.wait(32);
    assert_eq!(with(&events, "late")["kubernetes"]["labels"]["app"], "late");
    eventually("it watches again", || api.watching() == 1);
    assert_eq!(api.lists(), lists + 1, "{:?}", api.asked());
    agent.stop();
}

#[test]
fn while_nobody_answers_nothing_waits_and_what_is_missing_is_marked() {
    let node = Node::new();
    let address = nobody();
    let pod = node.pod("shop", "web", "w-1");
    pod.write("app", 0, "one");
    pod.write("app", 0, "two");
    // Nobody waits for an hour.
    let agent = node.run(&format!("url: 'http://{address}', wait: 1h"), "");
    let events = node.wait(2);
    assert_eq!(
        events[0]["kubernetes"],
        json!({"namespace": "shop", "pod": "web", "pod_uid": "w-1", "container": "app", "restart_count": 0, "node": "node-1",
            "metadata": "missing"})
    );
    let Ok(listener) = TcpListener::bind(address) else { return drop(agent.stop()) };
    let api = Api::start_on(listener, false);
    api.put(pod.object(&["app"]));
    eventually("somebody is asked", || api.watching() == 1);
    pod.write("app", 0, "three");
    let events = node.wait(3);
    assert_eq!(events[2]["kubernetes"]["labels"]["app"], "web");
    let said = agent.stop();
    assert!(said.contains("metadata_missing"), "{said}");
}

#[test]
fn a_slow_server_is_waited_for_and_a_pod_that_it_does_not_know_for_so_long_only() {
    let (node, api) = (Node::new(), Api::start());
    api.fault(Of::List, Fault::Slow(Duration::from_millis(700)));
    let pod = node.pod("shop", "web", "w-1");
    api.put(pod.object(&["app"]));
    pod.write("app", 0, "one");
    let agent = node.run(&format!("{}, wait: 30s", of(&api)), "");
    let events = node.wait(1);
    assert_eq!(events[0]["kubernetes"]["labels"]["app"], "web");
    agent.stop();

    let unknown = node.pod("shop", "unknown", "u-1");
    unknown.write("app", 0, "two");
    let agent = node.run(&format!("{}, wait: 1s", of(&api)), "");
    let events = node.wait(2);
    assert_eq!(events[1]["kubernetes"]["metadata"], "missing");
    // What was deleted while it waited is there.
    let gone = node.pod("shop", "gone", "g-1");
    gone.write("app", 0, "three");
    eventually("it is opened", || is_open(&agent, "shop_gone"));
    gone.delete();
    assert_eq!(node.wait(3)[2]["message"], "three");
    agent.stop();
}

/// Whether the agent has a file open in whose path this stands.
fn is_open(agent: &Agent, part: &str) -> bool {
    agent.open_files().iter().any(|path| path.to_string_lossy().contains(part))
}

#[test]
fn the_token_is_read_again_and_the_server_known_by_its_authority() {
    let (node, dir) = (Node::new(), tempfile::tempdir().unwrap());
    let api = Api::start_on(TcpListener::bind("127.0.0.1:0").unwrap(), true);
    let token = dir.path().join("token");
    std::fs::write(&token, "tok-one\n").unwrap();
    api.token("tok-one");
    let pod = node.pod("shop", "web", "w-1");
    api.put(pod.object(&["app"]));
    pod.write("app", 0, "one");
    let ca = crate::wire::fixture("cert");
    let metadata = format!("{}, token_file: '{}', ca_file: '{}', wait: 60s", of(&api), token.display(), ca.display());
    let agent = node.run(&metadata, "");
    assert_eq!(node.wait(1)[0]["kubernetes"]["labels"]["app"], "web");
    // The kubelet writes another, and the server ends what the old one began.
    std::fs::write(&token, "tok-two\n").unwrap();
    api.token("tok-two");
    eventually("it watches", || api.watching() == 1);
    api.end_watches(true);
    let next = node.pod("shop", "next", "n-1");
    api.put(next.object(&["app"]));
    next.write("app", 0, "two");
    assert_eq!(node.wait(2)[1]["kubernetes"]["labels"]["app"], "next");
    let said = agent.stop();
    assert!(!said.contains("tok-"), "a token is told: {said}");
}

#[test]
fn short_pods_lose_nothing_and_are_known() {
    let (node, api) = (Node::new(), Api::start());
    let agent = node.run(&of(&api), "");
    eventually("it watches", || api.watching() == 1);
    let mut expected = Vec::new();
    for n in 0..40 {
        let pod = node.pod("jobs", &format!("job-{n}"), &format!("j-{n}"));
        api.put(pod.object(&["main"]));
        for line in 0..20 {
            pod.write("main", 0, &format!("{n} {line}"));
            expected.push(format!("{n} {line}"));
            // It does not live long enough for its rotated file to be compressed.
            if line == 10 {
                pod.rotate("main", 0, "20260101-000000");
            }
        }
        // Its file can be opened for as long as it is there.
        eventually("it is opened", || is_open(&agent, &format!("job-{n}_")) || node.events().len() >= expected.len());
        let read = || node.messages().iter().filter(|m| m.starts_with(&format!("{n} "))).count() >= 17;
        eventually("rotated files were found", read);
        api.remove(&pod.uid);
        pod.delete();
    }
    let events = node.wait(expected.len());
    agent.stop();
    let mut seen: BTreeMap<String, usize> = BTreeMap::new();
    for event in node.events() {
        assert_eq!(event["kubernetes"]["owner"], Value::Null);
        let message = event["message"].as_str().unwrap();
        let number = message.split(' ').next().unwrap();
        assert_eq!(event["kubernetes"]["labels"]["app"], format!("job-{number}"), "{event}");
        *seen.entry(message.to_owned()).or_default() += 1;
    }
    assert_eq!(events.len(), expected.len());
    assert!(expected.iter().all(|line| seen.get(line) == Some(&1)), "each line once: {seen:?}");
}

#[test]
fn rotated_files_are_read_where_they_were_not_before() {
    let node = Node::new();
    let pod = node.pod("shop", "web", "w-1");
    for part in 0..3 {
        for line in 0..50 {
            pod.write("app", 0, &format!("{part} {line}"));
        }
        if part < 2 {
            pod.rotate("app", 0, &format!("20260101-00000{part}"));
        }
    }
    let folder = pod.file("app", 0);
    assert!(folder.with_file_name("0.log.20260101-000000.gz").exists());
    let agent = node.run("from: none", "");
    let events = node.wait(150);
    assert_eq!(events[0]["kubernetes"].get("metadata"), None);
    agent.stop();
    let mut messages = node.messages();
    messages.sort();
    messages.dedup();
    assert_eq!((messages.len(), node.events().len()), (150, 150));
}

#[test]
fn names_labels_and_annotations_decide_what_is_read_and_how() {
    let (node, api) = (Node::new(), Api::start());
    let with_meta = |pod: &Pod, containers: &[&str], labels: Value, annotations: Value| {
        let mut object = pod.object(containers);
        object["metadata"]["labels"] = labels;
        object["metadata"]["annotations"] = annotations;
        api.put(object);
    };
    let (web, quiet) = (node.pod("shop", "web", "w-1"), node.pod("shop", "quiet", "q-1"));
    let (hidden, system) = (node.pod("shop", "hidden", "h-1"), node.pod("kube-system", "dns", "d-1"));
    with_meta(
        &web,
        &["app", "proxy"],
        json!({"app.kubernetes.io/name": "web"}),
        json!({"tidegate.dev/exclude-containers": "proxy, other", "tidegate.dev/decode": "json"}),
    );
    let java = node.pod("shop", "java", "j-1");
    with_meta(&java, &["app"], json!({}), json!({"tidegate.dev/multiline": "java"}));
    with_meta(&quiet, &["app"], json!({"tier": "debug"}), json!({}));
    with_meta(&hidden, &["app"], json!({}), json!({"tidegate.dev/exclude": "true"}));
    web.write("app", 0, r#"{"level":"info","message":"hello","n":1.10,"kubernetes":"mine"}"#);
    web.write("app", 0, "no json");
    web.write("proxy", 0, "proxy");
    quiet.write("app", 0, "quiet");
    hidden.write("app", 0, "hidden");
    system.write("app", 0, "system");
    for line in ["java.lang.IllegalStateException: x", "\tat a.B.c(B.java:1)", "done"] {
        java.write("app", 0, line);
    }
    let docker = node.pod("shop", "docker", "o-1");
    with_meta(&docker, &["app"], json!({}), json!({"tidegate.dev/decode": "json"}));
    docker.raw(
        "app",
        0,
        "{\"log\":\"{\\\"k\\\":\\\"a\\\\\\\"b\\\"}\\n\",\"stream\":\"stderr\",\"time\":\"2026-01-01T00:00:01Z\"}\n",
    );
    docker.raw("app", 0, "{\"log\":\"half \",\"stream\":\"stdout\",\"time\":\"2026-01-01T00:00:02Z\"}\n");
    docker.raw("app", 0, "{\"log\":\"whole\\n\",\"stream\":\"stdout\",\"time\":\"2026-01-01T00:00:02Z\"}\n");
    let more = "    dedot: true
    exclude: {namespaces: ['kube-*'], labels: ['tier in (debug, trace)']}";
    let agent = node.run(&of(&api), more);
    let events = node.wait(5);
    let hello = with(&events, "hello");
    assert_eq!(hello["level"], "info");
    assert_eq!(hello["kubernetes"]["labels"], json!({"app_kubernetes_io/name": "web"}));
    assert_eq!((&hello["stream"], hello["timestamp"].is_string()), (&json!("stdout"), true));
    let text = lines(&node.dir.path().join("out.ndjson")).join("\n");
    assert!(text.contains(r#""n":1.10"#), "numbers stay as they are: {text}");
    assert_eq!(with(&events, "no json")["decode_error"], "not valid JSON");
    with(&events, "java.lang.IllegalStateException: x\n\tat a.B.c(B.java:1)");
    assert_eq!(with(&events, "half whole")["kubernetes"]["pod"], "docker");
    let quoted = events.iter().find(|event| event["k"] == "a\"b").unwrap();
    assert_eq!((&quoted["stream"], &quoted["kubernetes"]["pod"]), (&json!("stderr"), &json!("docker")));
    // The last line of Java waits for more.
    let events = node.wait(6);
    with(&events, "done");
    let said = agent.stop();
    assert!(gives_reason(&said, "excluded", 3), "{said}");
    assert_eq!(node.events().len(), 6);
}

#[test]
fn events_have_the_names_of_other_agents_where_that_is_asked_for() {
    let (node, api) = (Node::new(), Api::start());
    let pod = node.pod("shop", "web", "w-1");
    api.put(pod.object(&["app"]));
    pod.write("app", 0, "one");
    let agent = node.run(&of(&api), "    names: vector");
    let event = node.wait(1).remove(0);
    assert_eq!((&event["source_type"], &event["message"]), (&json!("kubernetes_logs"), &json!("one")));
    assert_eq!(event["file"], pod.file("app", 0).to_str().unwrap());
    assert_eq!(event["kubernetes"]["pod_labels"]["app"], "web");
    agent.stop();
    pod.write("app", 0, "two");
    let agent = node.run(&of(&api), "    names: fluent-bit");
    let event = node.wait(2).remove(1);
    assert_eq!((&event["log"], &event["time"]), (&json!("two"), &json!("2026-01-01T00:00:00.123456789Z")));
    assert_eq!(event["kubernetes"]["namespace_name"], "shop");
    agent.stop();
}

#[test]
fn a_kubelet_is_asked_when_a_pod_appears_and_not_more_often_than_it_may_be() {
    let (node, api) = (Node::new(), Api::start());
    let pod = node.pod("shop", "web", "w-1");
    api.put(pod.object(&["app"]));
    pod.write("app", 0, "one");
    let agent = node.run(&format!("{}, from: kubelet, wait: 60s", of(&api)), "");
    assert_eq!(node.wait(1)[0]["kubernetes"]["labels"]["app"], "web");
    let pod = node.pod("shop", "next", "n-1");
    api.put(pod.object(&["app"]));
    pod.write("app", 0, "two");
    assert_eq!(node.wait(2)[1]["kubernetes"]["labels"]["app"], "next");
    agent.stop();
    let asked = api.asked();
    assert!(asked.iter().all(|asked| asked.path == "/pods"), "{asked:?}");
    assert!((2..=3).contains(&asked.len()), "{asked:?}");
}

#[test]
fn a_pod_that_gives_more_than_it_may_is_cut_or_waits() {
    let node = Node::new();
    let pods = [node.pod("shop", "loud", "l-1"), node.pod("shop", "calm", "c-1")];
    let line = "x".repeat(900);
    for n in 0..200 {
        pods[0].write("app", 0, &format!("{n} {line}"));
    }
    pods[1].write("app", 0, "calm");
    let limit = |mode: &str| format!("    rate_limit: {{bytes_per_second: 10KiB, burst: 64KiB, mode: {mode}}}");
    let agent = node.run("from: none", &limit("drop"));
    eventually("the other pod comes through", || node.messages().iter().any(|message| message == "calm"));
    let said = agent.stop();
    assert!(said.contains("rate_limited"), "{said}");
    assert!(node.events().len() < 200);

    let waits = Node::new();
    let pod = waits.pod("shop", "loud", "l-1");
    for n in 0..20 {
        pod.write("app", 0, &format!("{n} {line}"));
    }
    // The first turn is let through, the next waits for the debt.
    let agent = waits.run("from: none", "    rate_limit: {bytes_per_second: 20KiB, burst: 1KiB}");
    waits.wait(20);
    pod.write("app", 0, "last");
    assert_eq!(waits.wait(21)[20]["message"], "last");
    let said = agent.stop();
    assert!(!said.contains("rate_limited"), "{said}");
}

#[test]
fn events_of_others_are_enriched_by_names_and_by_address() {
    let (node, api) = (Node::new(), Api::start());
    api.put(node.pod("shop", "web", "w-1").object(&["app"]));
    let dir = node.dir.path();
    let named = r#"{"n":1,"kubernetes":{"pod":"web","namespace":"shop","container":"app","image":"mine"}}"#;
    let input = [
        named,
        r#"{"n":2,"kubernetes":{"pod":"web","namespace":"shop"}}"#,
        r#"{"n":3,"kubernetes":{"pod":"nobody","namespace":"shop"}}"#,
        r#"{"n":4}"#,
        r#"{"n":5,"addr":"10.0.0.7"}"#,
        r#"{"n":6,"addr":"10.0.0.8"}"#,
    ];
    std::fs::write(dir.join("in.ndjson"), input.join("\n") + "\n").unwrap();
    config(
        dir,
        &format!(
            "data_dir: ./data
sources:
  in: {{type: file, include: [in.ndjson], decode: json}}
transforms:
  named: {{type: enrich, inputs: [in], kubernetes: {{url: '{url}', wait: 60s}}}}
  sent: {{type: enrich, inputs: [named], kubernetes: {{url: '{url}', by: ip, ip: addr, to: pod, fields: [pod, labels], wait: 60s}}}}
sinks:
  out: {{type: file, inputs: [sent], path: out.ndjson}}
",
            url = api.url()
        ),
    );
    let (_, said) = Agent::run(dir, &["--once"]).wait();
    let events = node.events();
    assert_eq!(events.len(), 6, "{said}");
    assert_eq!(events[0]["kubernetes"]["image"], "mine", "what an event has stays: {said}");
    assert_eq!(events[0]["kubernetes"]["labels"], json!({"app": "web"}));
    assert_eq!(events[1]["kubernetes"]["node"], "node-1");
    assert_eq!(events[2]["kubernetes"], json!({"pod": "nobody", "namespace": "shop"}));
    assert_eq!((&events[3], &events[5]), (&json!({"n": 4}), &json!({"n": 6, "addr": "10.0.0.8"})));
    assert_eq!(events[4]["pod"], json!({"pod": "web", "labels": {"app": "web"}}));
    // One question for each name, whatever events there are.
    let names = api.asked().iter().filter(|asked| asked.path.contains("/namespaces/shop/pods/")).count();
    assert_eq!(names, 2, "{:?}", api.asked());
    assert!(said.contains("kubernetes_unknown"), "{said}");
}

#[test]
fn settings_that_cannot_be_are_told_at_their_place() {
    let dir = tempfile::tempdir().unwrap();
    for (settings, words) in [
        ("decode: cri", "`decode` is for the messages"),
        ("paths: []", "`paths` is empty"),
        ("exclude: {labels: ['a=(']}", "no label selector"),
        ("include: {pods: ['a[']}", "cannot be read"),
        ("metadata: {fields: [pod_name]}", "pod_name"),
        ("metadata: {url: x}", "not an address"),
        ("rate_limit: {bytes_per_second: 0}", "at least 1"),
    ] {
        let config = format!(
            "sources: {{pods: {{type: kubernetes_logs, {settings}}}}}\nsinks: {{out: {{type: blackhole, inputs: [pods]}}}}\n"
        );
        let path = self::config(dir.path(), &config);
        let validate = crate::agent::tidegate(dir.path(), &["validate", "--config", path.to_str().unwrap()]);
        let (code, _, said) = crate::agent::output(validate);
        assert_eq!(code, Some(78), "{settings}: {said}");
        assert!(said.contains(words) && said.contains("tidegate.yaml:1:"), "{words} in {said}");
    }
}
