//! Which way a sink takes to its server: over a proxy, by its own setting or the environment's, or directly.

use crate::agent::{Agent, config, eventually, tidegate};
use std::io::Read;
use std::net::TcpListener;
use std::time::Duration;

/// The first line of the first request, and whether the proxy got it. `more`: settings of the sink, `{proxy}` for the proxy's
/// address; so in the values of the environment, with `{server}` for the server's port.
fn first_request(more: &str, environment: &[(&str, &str)]) -> (bool, String) {
    let listen = || {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        (listener, address)
    };
    let ((proxy, proxy_at), (server, server_at)) = (listen(), listen());
    let filled =
        |text: &str| text.replace("{proxy}", &proxy_at.to_string()).replace("{server}", &server_at.port().to_string());
    let dir = tempfile::tempdir().unwrap();
    config(
        dir.path(),
        &format!(
            "data_dir: ./data\nshutdown_timeout: 1s\nsources: {{in: {{type: demo, count: 1, rate: 1}}}}\n\
             sinks: {{out: {{type: openobserve, inputs: [in], url: \"http://{server_at}\", organization: o, stream: s{}}}}}\n",
            filled(more)
        ),
    );
    let mut command = tidegate(dir.path(), &["run", "--config", "tidegate.yaml"]);
    for name in ["http_proxy", "HTTP_PROXY", "no_proxy", "NO_PROXY", "all_proxy", "ALL_PROXY", "REQUEST_METHOD"] {
        command.env_remove(name);
    }
    command.envs(environment.iter().map(|(name, value)| (*name, filled(value))));
    let _agent = Agent::start(command);
    let mut came = None;
    eventually("a request comes", || {
        came = [(true, &proxy), (false, &server)]
            .into_iter()
            .find_map(|(is_proxy, l)| Some((is_proxy, l.accept().ok()?.0)));
        came.is_some()
    });
    let (is_proxy, mut stream) = came.unwrap();
    stream.set_nonblocking(false).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    let mut head = Vec::new();
    while !head.contains(&b'\n') {
        let mut bytes = [0; 256];
        let n = stream.read(&mut bytes).unwrap();
        assert!(n > 0, "it was closed");
        head.extend_from_slice(&bytes[..n]);
    }
    let line = String::from_utf8_lossy(&head).lines().next().unwrap().replace(&server_at.to_string(), "SERVER");
    (is_proxy, line)
}

#[test]
fn the_setting_goes_before_the_environment_and_that_names_servers_that_are_reached_directly() {
    const SET: &str = ", proxy: \"http://{proxy}\"";
    const HTTP: (&str, &str) = ("HTTP_PROXY", "http://{proxy}");
    for (more, environment, over_proxy) in [
        (SET, &[("NO_PROXY", "*")][..], true),
        (SET, &[("NO_PROXY", "127.0.0.1")], true),
        ("", &[HTTP], true),
        ("", &[HTTP, ("NO_PROXY", "*")], false),
        ("", &[HTTP, ("NO_PROXY", "example.com,127.0.0.1:{server}")], false),
        ("", &[HTTP, ("NO_PROXY", "127.0.0.1:1")], true),
        ("", &[HTTP, ("no_proxy", "127.0.0.0/8")], false),
        (", proxy: none", &[HTTP], false),
    ] {
        let (came_to_proxy, line) = first_request(more, environment);
        assert_eq!(came_to_proxy, over_proxy, "{more} {environment:?}: {line}");
        // A proxy is asked for the whole URL.
        assert_eq!(line.contains("http://SERVER/"), over_proxy, "{more} {environment:?}: {line}");
    }
}
