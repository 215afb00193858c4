#![allow(clippy::unwrap_used)]
use super::super::testing::decode_line;
use super::*;
use crate::time::Zone;
use proptest::prelude::*;

fn decoder(server: Server) -> ServerDecoder {
    ServerDecoder::new(server, TimestampReader::new(Zone::parse("Europe/Berlin").unwrap(), Vec::new()))
}

fn decoded(server: Server, line: &str) -> Result<String, String> {
    let mut decoder = decoder(server);
    let first = decode_line(&mut decoder, line.as_bytes());
    // What one line left behind is not in the next.
    assert_eq!(decode_line(&mut decoder, line.as_bytes()), first);
    assert_eq!(decode_line(&mut *decoder.fork(), line.as_bytes()), first);
    first
}

fn table(server: Server, rows: &[(&str, &str)]) {
    for (line, want) in rows {
        assert_eq!(decoded(server, line).as_deref(), Ok(*want), "{line}");
    }
}

fn refused(server: Server, lines: &[&str]) {
    for line in lines {
        assert!(decoded(server, line).is_err(), "{line}");
    }
}

#[test]
fn nginx_error_logs_are_read() {
    table(
        Server::Nginx,
        &[
            (
                r#"2024/05/01 10:00:00 [error] 31#32: *7 open() "/srv/x, client: y" failed (2: No such file or directory), client: 192.0.2.1, server: a.example, request: "GET /x?q="1" HTTP/1.1", host: "a.example:8081", referrer: "http://r/""#,
                r#"{"timestamp":"2024-05-01T08:00:00.000Z","level":"error","pid":31,"tid":32,"connection":7,"message":"open() \"/srv/x, client: y\" failed (2: No such file or directory)","client_ip":"192.0.2.1","server":"a.example","method":"GET","path":"/x?q=\"1\"","http_version":"1.1","host":"a.example:8081","referer":"http://r/"}"#,
            ),
            (
                r#"2024/05/01 10:00:00 [warn] 1#1: *2 limiting requests, excess: 10.470 by zone "one", client: 2001:db8::1, server: , request: "POST / HTTP/2.0", upstream: "http://10.0.0.1:80/", host: "a""#,
                r#"{"timestamp":"2024-05-01T08:00:00.000Z","level":"warn","pid":1,"tid":1,"connection":2,"message":"limiting requests, excess: 10.470 by zone \"one\"","excess":10.470,"zone":"one","client_ip":"2001:db8::1","method":"POST","path":"/","http_version":"2.0","upstream":"http://10.0.0.1:80/","host":"a"}"#,
            ),
            (
                "2024/05/01 10:00:00 [notice] 1#1: signal 15 (SIGTERM) received from 8, exiting",
                r#"{"timestamp":"2024-05-01T08:00:00.000Z","level":"notice","pid":1,"tid":1,"message":"signal 15 (SIGTERM) received from 8, exiting"}"#,
            ),
            (
                r#"2024/05/01 10:00:00 [info] 9#9: *5 client disconnected, client: 10.0.0.2, server: 0.0.0.0:443, upstream: "10.0.0.1:80", bytes from/to client:0/0, bytes from/to upstream:0/0"#,
                r#"{"timestamp":"2024-05-01T08:00:00.000Z","level":"info","pid":9,"tid":9,"connection":5,"message":"client disconnected","client_ip":"10.0.0.2","server":"0.0.0.0:443","upstream":"10.0.0.1:80"}"#,
            ),
            // What a client asks for forges nothing.
            (
                r#"2024/05/01 10:00:00 [error] 9#9: *5 no, client: 10.0.0.2, server: , request: "GET /?a, client: 1.2.3.4 HTTP/1.1", host: "y""#,
                r#"{"timestamp":"2024-05-01T08:00:00.000Z","level":"error","pid":9,"tid":9,"connection":5,"message":"no","client_ip":"10.0.0.2","method":"GET","path":"/?a, client: 1.2.3.4","http_version":"1.1","host":"y"}"#,
            ),
            (
                r#"2024/05/01 10:00:00 [error] 9#9: *5 no, client: 10.0.0.2, request: "GET /", client: 1.2.3.4, host: "y", host: "z""#,
                r#"{"timestamp":"2024-05-01T08:00:00.000Z","level":"error","pid":9,"tid":9,"connection":5,"message":"no, client: 10.0.0.2, request: \"GET /\", client: 1.2.3.4, host: \"y\", host: \"z\""}"#,
            ),
            // Something unknown among them.
            (
                "2024/05/01 10:00:00 [error] 9#9: *5 no, client: 10.0.0.2, moon: full",
                r#"{"timestamp":"2024-05-01T08:00:00.000Z","level":"error","pid":9,"tid":9,"connection":5,"message":"no, client: 10.0.0.2, moon: full"}"#,
            ),
        ],
    );
    refused(
        Server::Nginx,
        &[
            "",
            "x",
            "2024/05/01 10:00:00 no",
            "2024/13/41 10:00:00 [error] 1#1: x",
            r#"1.2.3.4 - - [10/Oct/2000:13:55:36 -0700] "GET / HTTP/1.1" 200 5"#,
        ],
    );
}

#[test]
fn apache_error_logs_are_read() {
    table(
        Server::Apache,
        &[
            (
                "[Wed Oct 11 14:32:52 2000] [error] [client 192.0.2.1] client denied: /srv/x",
                r#"{"timestamp":"2000-10-11T12:32:52.000Z","level":"error","client_ip":"192.0.2.1","message":"client denied: /srv/x"}"#,
            ),
            (
                "[Fri Sep 09 10:42:29.902022 2011] [core:error] [pid 35708:tid 4328636416] (13)Permission denied: [client 192.0.2.1:4711] AH00132: file permissions deny server access: /srv/x, referer: http://r/",
                r#"{"timestamp":"2011-09-09T08:42:29.902022Z","module":"core","level":"error","pid":35708,"tid":4328636416,"os_error":"(13)Permission denied","client_ip":"192.0.2.1","client_port":4711,"error_code":"AH00132","message":"file permissions deny server access: /srv/x","referer":"http://r/"}"#,
            ),
            (
                "[Mon Dec 26 16:15:55.103786 2016] [ssl:trace3] [pid 11379] ssl_engine.c(12): [client ::1:54321] AH00094: x [y]",
                r#"{"timestamp":"2016-12-26T15:15:55.103786Z","module":"ssl","level":"trace3","pid":11379,"source":"ssl_engine.c(12)","client_ip":"::1","client_port":54321,"error_code":"AH00094","message":"x [y]"}"#,
            ),
            (
                "[Mon Dec 26 16:15:55.103786 2016] [:error] [pid 7] [client 10.0.0.1:80] [unique_id \"x\"] ModSecurity: no",
                r#"{"timestamp":"2016-12-26T15:15:55.103786Z","level":"error","pid":7,"client_ip":"10.0.0.1","client_port":80,"message":"[unique_id \"x\"] ModSecurity: no"}"#,
            ),
            (
                "[2016-12-26 16:15:55] [mpm_event:notice] [pid 1:tid 2] AH00489: Apache/2.4 configured",
                r#"{"timestamp":"2016-12-26T15:15:55.000Z","module":"mpm_event","level":"notice","pid":1,"tid":2,"error_code":"AH00489","message":"Apache/2.4 configured"}"#,
            ),
            // Behind the client all is the message's own: a script writes it, and a client may have it written.
            (
                "[Mon Nov 30 10:00:00.123456 2026] [:error] [pid 123] [client 192.0.2.4:1234] [client 192.0.2.4] ModSecurity: no",
                r#"{"timestamp":"2026-11-30T09:00:00.123456Z","level":"error","pid":123,"client_ip":"192.0.2.4","client_port":1234,"message":"[client 192.0.2.4] ModSecurity: no"}"#,
            ),
            (
                "[Mon Nov 30 10:00:00.123456 2026] [cgi:error] [pid 1] [client 192.0.2.4:1234] [pid 666] forged",
                r#"{"timestamp":"2026-11-30T09:00:00.123456Z","module":"cgi","level":"error","pid":1,"client_ip":"192.0.2.4","client_port":1234,"message":"[pid 666] forged"}"#,
            ),
            (
                "[Mon Nov 30 10:00:00.123456 2026] [proxy:error] [pid 1:tid 2] [remote 10.0.0.1:80] [client 192.0.2.4:1] AH00898: no",
                r#"{"timestamp":"2026-11-30T09:00:00.123456Z","module":"proxy","level":"error","pid":1,"tid":2,"upstream":"10.0.0.1:80","client_ip":"192.0.2.4","client_port":1,"error_code":"AH00898","message":"no"}"#,
            ),
            (
                "[Mon Nov 30 10:00:00.123456 2026] [proxy:error] [pid 1:tid 2] [remote 10.0.0.1:80] AH00898: no",
                r#"{"timestamp":"2026-11-30T09:00:00.123456Z","module":"proxy","level":"error","pid":1,"tid":2,"client_ip":"10.0.0.1","client_port":80,"error_code":"AH00898","message":"no"}"#,
            ),
        ],
    );
    refused(
        Server::Apache,
        &[
            "",
            "[x] [error] y",
            "[Wed Oct 11 14:32:52 2000] y",
            "[Wed Oct 32 14:32:52 2000] [error] y",
            "PHP Warning: x",
        ],
    );
}

#[test]
fn klog_is_read_with_its_pairs() {
    table(
        Server::Klog,
        &[
            (
                "I0505 17:59:40.692994   28133 klog.go:70] hello from klog",
                r#"{"timestamp":"2023-05-05T15:59:40.692994Z","level":"info","pid":28133,"file":"klog.go","line":70,"message":"hello from klog"}"#,
            ),
            (
                r#"E1105 17:59:40.692994       1 a/b.go:116] "Pod status updated" pod="kube-system/dns" status="re\"ady" n=7"#,
                r#"{"timestamp":"2023-11-05T16:59:40.692994Z","level":"error","pid":1,"file":"a/b.go","line":116,"message":"Pod status updated","pod":"kube-system/dns","status":"re\"ady","n":"7"}"#,
            ),
            // A name twice.
            (
                r#"E1105 17:59:40.692994       1 a.go:1] "x" pod="a" n=1 pod="b""#,
                r#"{"timestamp":"2023-11-05T16:59:40.692994Z","level":"error","pid":1,"file":"a.go","line":1,"message":"x","pod":"a","n":"1","pod_2":"b"}"#,
            ),
            // A pair of a name that is taken.
            (
                r#"W1105 17:59:40.692994       1 b.go:1] "x" level="9""#,
                r#"{"timestamp":"2023-11-05T16:59:40.692994Z","level":"warning","pid":1,"file":"b.go","line":1,"message":"\"x\" level=\"9\""}"#,
            ),
            (
                "F20210505 17:59:40.692994 7 a.cc:7] glog",
                r#"{"timestamp":"2021-05-05T15:59:40.692994Z","level":"fatal","pid":7,"file":"a.cc","line":7,"message":"glog"}"#,
            ),
        ],
    );
    refused(
        Server::Klog,
        &[
            "",
            "hello",
            "X0505 17:59:40.692994 1 a.go:1] x",
            "I0000 17:59:40.692994 1 a.go:1] x",
            "I0505 x 1 a.go:1] x",
            "INFO 0505 x",
        ],
    );
}

#[test]
fn haproxy_logs_are_read_in_their_formats() {
    table(
        Server::Haproxy,
        &[
            (
                r#"Feb  6 12:14:14 localhost haproxy[14389]: 10.0.1.2:33317 [06/Feb/2009:12:14:14.655] http-in static/srv1 10/0/30/69/109 200 2750 - a=b ---- 1/1/1/1/0 0/0 {1wt.eu|x} {} "GET /index.html HTTP/1.1""#,
                r#"{"timestamp":"2009-02-06T11:14:14.655Z","hostname":"localhost","pid":14389,"client_ip":"10.0.1.2","client_port":33317,"frontend":"http-in","backend":"static","server":"srv1","time_request":10,"time_queue":0,"time_connect":30,"time_response":69,"time_active":109,"status":200,"bytes":2750,"captured_response_cookie":"a=b","termination_state":"----","actconn":1,"feconn":1,"beconn":1,"srvconn":1,"retries":0,"srv_queue":0,"backend_queue":0,"captured_request_headers":"1wt.eu|x","method":"GET","path":"/index.html","http_version":"1.1"}"#,
            ),
            (
                "haproxy[14387]: 10.0.1.2:33313 [06/Feb/2009:12:12:51.443] fnt bck/<NOSRV> -1/-1/5007 +212 SC 0/0/0/0/3 0/0",
                r#"{"timestamp":"2009-02-06T11:12:51.443Z","pid":14387,"client_ip":"10.0.1.2","client_port":33313,"frontend":"fnt","backend":"bck","server":"<NOSRV>","time_queue":-1,"time_connect":-1,"time_active":5007,"bytes":212,"termination_state":"SC","actconn":0,"feconn":0,"beconn":0,"srvconn":0,"retries":3,"srv_queue":0,"backend_queue":0}"#,
            ),
            (
                r#"-:22222 [22/May/2021:02:22:22.222] www~ app/n2 site.example 0/0/0/18/18 400 200 - - PR-- 2/2/2/0/0 0/0 "<BADREQ>""#,
                r#"{"timestamp":"2021-05-22T00:22:22.222Z","client_port":22222,"frontend":"www","ssl":true,"backend":"app","server":"n2","time_request":0,"time_queue":0,"time_connect":0,"time_response":18,"time_active":18,"status":400,"bytes":200,"termination_state":"PR--","actconn":2,"feconn":2,"beconn":2,"srvconn":0,"retries":0,"srv_queue":0,"backend_queue":0,"request":"<BADREQ>","extra":"site.example"}"#,
            ),
            (
                "<134>Feb  6 12:12:51 h haproxy[1]: ::1:33311 [06/Feb/2009:12:12:51.443] fe/2: SSL handshake failure",
                r#"{"timestamp":"2009-02-06T11:12:51.443Z","severity":6,"facility":16,"hostname":"h","pid":1,"client_ip":"::1","client_port":33311,"frontend":"fe","message":"SSL handshake failure"}"#,
            ),
            (
                "haproxy[24551]: Connect from 192.0.2.1:40780 to 192.0.2.2:5000 (main/HTTP)",
                r#"{"pid":24551,"client_ip":"192.0.2.1","client_port":40780,"destination_ip":"192.0.2.2","destination_port":5000,"frontend":"main","mode":"HTTP","message":"Connect from 192.0.2.1:40780 to 192.0.2.2:5000 (main/HTTP)"}"#,
            ),
            (
                "haproxy[18113]: Server static/srv1 is DOWN, reason: Layer4 timeout.",
                r#"{"pid":18113,"level":"alert","message":"Server static/srv1 is DOWN, reason: Layer4 timeout."}"#,
            ),
            // The time of the header, where the line has none.
            (
                "2022-11-29T10:00:00.123456+01:00 lb1 haproxy[1234]: backend be has no server available!",
                r#"{"timestamp":"2022-11-29T09:00:00.123456Z","hostname":"lb1","pid":1234,"level":"alert","message":"backend be has no server available!"}"#,
            ),
            (
                "Nov 29 2022 10:00:00 lb1 haproxy[1234]: Connect from 192.0.2.1:40780 to 192.0.2.2:5000 (main/HTTP)",
                r#"{"timestamp":"2022-11-29T09:00:00.000Z","hostname":"lb1","pid":1234,"client_ip":"192.0.2.1","client_port":40780,"destination_ip":"192.0.2.2","destination_port":5000,"frontend":"main","mode":"HTTP","message":"Connect from 192.0.2.1:40780 to 192.0.2.2:5000 (main/HTTP)"}"#,
            ),
            (
                "<133>1 2022-11-29T10:00:00+01:00 lb1 haproxy 1234 - - Proxy fe started.",
                r#"{"timestamp":"2022-11-29T09:00:00.000Z","severity":5,"facility":16,"hostname":"lb1","pid":1234,"level":"notice","message":"Proxy fe started."}"#,
            ),
            (
                "[WARNING] 037/160519 (20) : parsing [x:1] : y",
                r#"{"level":"WARNING","pid":20,"message":"parsing [x:1] : y"}"#,
            ),
        ],
    );
    refused(
        Server::Haproxy,
        &[
            "",
            "x",
            "10.0.1.2:33313 [06/Feb/2009:12:12:51.443] fnt bck/s x",
            "10.0.1.2 - - [06/Feb/2009:12:12:51] x",
            // `option httplog clf`, with a header of syslog and without.
            r#"192.0.2.4 - - [29/Nov/2026:09:00:00 +0000] "GET / HTTP/1.1" 200 123 "" "" 1234 123 "fe" "be" "s1" 0 0 1 2 3 ---- 1 1 0 0 0 0 0 "" """#,
            r#"Nov 29 10:00:00 lb1 haproxy[1234]: 192.0.2.4 - - [29/Nov/2026:09:00:00 +0000] "GET / HTTP/1.1" 200 123 "" "" 1234 123 "fe" "be""#,
        ],
    );
}

#[test]
fn postgresql_logs_are_read_with_the_usual_prefixes() {
    table(
        Server::Postgresql,
        &[
            (
                "2017-07-31 13:36:42.585 CEST [4974] LOG:  ready: yes",
                r#"{"timestamp":"2017-07-31T11:36:42.585Z","pid":4974,"level":"LOG","message":"ready: yes"}"#,
            ),
            (
                "2017-07-31 13:36:43.557 UTC [4983] joe@shop LOG:  duration: 37.118 ms  statement: SELECT 1,\n\t2",
                r#"{"timestamp":"2017-07-31T13:36:43.557Z","pid":4983,"user":"joe","database":"shop","level":"LOG","message":"duration: 37.118 ms  statement: SELECT 1,\n\t2","duration":37.118,"statement":"SELECT 1,\n\t2"}"#,
            ),
            (
                "2019-03-10 03:54:59 UTC:10.0.0.123(52834):joe@shop:[20175]:ERROR:  no such thing",
                r#"{"timestamp":"2019-03-10T03:54:59.000Z","client_ip":"10.0.0.123","client_port":52834,"user":"joe","database":"shop","pid":20175,"level":"ERROR","message":"no such thing"}"#,
            ),
            (
                "2017-07-31 13:46:02 CEST [832-2] HINT:  Consider it.",
                r#"{"timestamp":"2017-07-31T11:46:02.000Z","pid":832,"session_line":2,"part":"HINT","message":"Consider it."}"#,
            ),
            (
                "2024-05-01 10:00:00.1 +03 [7]: [3-1] user=joe,db=shop,app=psql,client=10.0.0.1 FATAL:  28P01: no",
                r#"{"timestamp":"2024-05-01T07:00:00.100Z","pid":7,"session_line":3,"user":"joe","database":"shop","application":"psql","client_ip":"10.0.0.1","level":"FATAL","sqlstate":"28P01","message":"no"}"#,
            ),
            (
                "2024-05-01 10:00:00 UTC [9] [unknown]@[unknown] LOG:  incomplete startup packet",
                r#"{"timestamp":"2024-05-01T10:00:00.000Z","pid":9,"level":"LOG","message":"incomplete startup packet"}"#,
            ),
            (
                "2024-05-01 10:00:00 UTC [9] 5f1.2a x WARNING:  odd",
                r#"{"timestamp":"2024-05-01T10:00:00.000Z","pid":9,"level":"WARNING","message":"odd","prefix":"[9] 5f1.2a x"}"#,
            ),
            // What stands in front of the time.
            (
                "< 2026-11-29 10:00:00.123 CET >LOG:  rhel",
                r#"{"timestamp":"2026-11-29T09:00:00.123Z","level":"LOG","message":"rhel"}"#,
            ),
            (
                "< 2026-11-29 10:00:00.123 CET > ERROR:  rhel",
                r#"{"timestamp":"2026-11-29T09:00:00.123Z","level":"ERROR","message":"rhel"}"#,
            ),
            (
                "<2026-11-29 10:00:00.123 CET>[1234]LOG:  x",
                r#"{"timestamp":"2026-11-29T09:00:00.123Z","pid":1234,"level":"LOG","message":"x"}"#,
            ),
            (
                "[2026-11-29 10:00:00.123 CET] [1234] LOG:  x",
                r#"{"timestamp":"2026-11-29T09:00:00.123Z","pid":1234,"level":"LOG","message":"x"}"#,
            ),
            (
                "ops@shop 2026-11-29 10:00:00.123 CET [1234] LOG:  g",
                r#"{"timestamp":"2026-11-29T09:00:00.123Z","user":"ops","database":"shop","pid":1234,"level":"LOG","message":"g"}"#,
            ),
            (
                "time=2026-11-29 10:00:00.123 CET pid=1234 user=ops db=shop LOG:  k",
                r#"{"timestamp":"2026-11-29T09:00:00.123Z","pid":1234,"user":"ops","database":"shop","level":"LOG","message":"k"}"#,
            ),
            // What an application calls itself.
            (
                "2026-11-29 10:00:00.123 CET [1234]: user=ops,db=shop,app=PostgreSQL JDBC Driver,client=192.0.2.4 LOG:  j",
                r#"{"timestamp":"2026-11-29T09:00:00.123Z","pid":1234,"user":"ops","database":"shop","application":"PostgreSQL JDBC Driver","client_ip":"192.0.2.4","level":"LOG","message":"j"}"#,
            ),
            (
                "2026-11-29 10:00:00.123 CET [1234]: user=ops,db=shop,app=x,client=6.6.6.6,client=192.0.2.4 LOG:  f",
                r#"{"timestamp":"2026-11-29T09:00:00.123Z","pid":1234,"user":"ops","database":"shop","application":"x,client=6.6.6.6","client_ip":"192.0.2.4","level":"LOG","message":"f"}"#,
            ),
            (
                "2026-11-29 10:00:00.123 CET [1234]: user=ops,db=shop,app=x user=root db=admin [99] b,client=192.0.2.4 LOG:  f",
                r#"{"timestamp":"2026-11-29T09:00:00.123Z","pid":1234,"user":"ops","database":"shop","application":"x user=root db=admin [99] b","client_ip":"192.0.2.4","level":"LOG","message":"f"}"#,
            ),
            (
                "2026-11-29 10:00:00.123 CET [1234] ops@shop/PostgreSQL JDBC Driver ERROR:  x",
                r#"{"timestamp":"2026-11-29T09:00:00.123Z","pid":1234,"user":"ops","database":"shop","application":"PostgreSQL JDBC Driver","level":"ERROR","message":"x"}"#,
            ),
            (
                "2026-11-29 10:00:00.123 CET [1234] user=ops,db=shop ops@shop LOG:  a",
                r#"{"timestamp":"2026-11-29T09:00:00.123Z","pid":1234,"user":"ops","database":"shop","level":"LOG","message":"a"}"#,
            ),
            (
                "2026-11-29 10:00:00.123 CET [1234] [user=ops,db=shop,app=psql] LOG:  p",
                r#"{"timestamp":"2026-11-29T09:00:00.123Z","pid":1234,"user":"ops","database":"shop","application":"psql","level":"LOG","message":"p"}"#,
            ),
            // Not every number is a process.
            (
                "2026-11-29 10:00:00.123 CET 2026-11-30 09:00:00 CET [1234] ops@shop LOG:  b",
                r#"{"timestamp":"2026-11-29T09:00:00.123Z","pid":1234,"user":"ops","database":"shop","level":"LOG","message":"b","prefix":"2026-11-30 09:00:00 CET [1234] ops@shop"}"#,
            ),
            (
                "2026-11-29 10:00:00.123 CET 192.0.2.4(5) 6565e1c0.4d2 3/12 0 00000 ops@shop LOG:  x",
                r#"{"timestamp":"2026-11-29T09:00:00.123Z","client_ip":"192.0.2.4","client_port":5,"session":"6565e1c0.4d2","user":"ops","database":"shop","level":"LOG","message":"x","prefix":"192.0.2.4(5) 6565e1c0.4d2 3/12 0 00000 ops@shop"}"#,
            ),
            // Azure Database for PostgreSQL: `%t-%c-`.
            (
                "2026-11-30 09:00:00 UTC-65641234.4d2-LOG:  checkpoint starting: time",
                r#"{"timestamp":"2026-11-30T09:00:00.000Z","session":"65641234.4d2","level":"LOG","message":"checkpoint starting: time"}"#,
            ),
            // Datadog: `%m [%p] %d %a %u %h %c `.
            (
                "2026-11-30 09:00:00.123 UTC [1234] shop PostgreSQL JDBC Driver ops 192.0.2.4 65641234.4d2 ERROR:  no",
                r#"{"timestamp":"2026-11-30T09:00:00.123Z","pid":1234,"database":"shop","application":"PostgreSQL JDBC Driver","user":"ops","client_ip":"192.0.2.4","session":"65641234.4d2","level":"ERROR","message":"no"}"#,
            ),
            (
                "2026-11-30 09:00:00.123 UTC [1234] shop psql ops [local] 65641234.4d2 LOG:  x",
                r#"{"timestamp":"2026-11-30T09:00:00.123Z","pid":1234,"database":"shop","application":"psql","user":"ops","client":"unix","session":"65641234.4d2","level":"LOG","message":"x"}"#,
            ),
            (
                "2026-11-30 09:00:00.123 UTC [99]     65641234.63 LOG:  autovacuum launcher started",
                r#"{"timestamp":"2026-11-30T09:00:00.123Z","pid":99,"session":"65641234.63","level":"LOG","message":"autovacuum launcher started"}"#,
            ),
            // Other marks in front of the level.
            (
                "2026-11-30 09:00:00.123 UTC|1234|ops|LOG:  x",
                r#"{"timestamp":"2026-11-30T09:00:00.123Z","pid":1234,"level":"LOG","message":"x","prefix":"1234|ops|"}"#,
            ),
            (
                "2026-11-30 10:00:00 CET [1234]: user=ops,db=shop,app=psql,client=[local] LOG:  x",
                r#"{"timestamp":"2026-11-30T09:00:00.000Z","pid":1234,"user":"ops","database":"shop","application":"psql","client":"unix","level":"LOG","message":"x"}"#,
            ),
            // PgBouncer.
            (
                "2026-11-30 10:00:00.123 CET [1234] LOG C-0x55d01: shop/ops@192.0.2.4:51234 login attempt: db=shop user=ops tls=no",
                r#"{"timestamp":"2026-11-30T09:00:00.123Z","pid":1234,"level":"LOG","connection":"C-0x55d01","database":"shop","user":"ops","client_ip":"192.0.2.4","client_port":51234,"message":"login attempt: db=shop user=ops tls=no"}"#,
            ),
            (
                "2026-11-30 10:00:00.123 CET [1234] WARNING C-0x55d01: (nodb)/(nouser)@unix(7):6432 pooler error: no such user",
                r#"{"timestamp":"2026-11-30T09:00:00.123Z","pid":1234,"level":"WARNING","connection":"C-0x55d01","client":"unix(7)","client_port":6432,"message":"pooler error: no such user"}"#,
            ),
            (
                "2026-11-30 10:00:00.123 CET [1234] LOG stats: 0 xacts/s, 0 queries/s",
                r#"{"timestamp":"2026-11-30T09:00:00.123Z","pid":1234,"level":"LOG","message":"stats: 0 xacts/s, 0 queries/s"}"#,
            ),
            ("LOG:  no prefix at all", r#"{"level":"LOG","message":"no prefix at all"}"#),
            ("[4-1] ERROR:  of syslog", r#"{"pid":4,"session_line":1,"level":"ERROR","message":"of syslog"}"#),
        ],
    );
    refused(
        Server::Postgresql,
        &[
            "",
            "\tORDER BY 1;",
            "ERROR: one blank",
            "2017-07-31 13:36:42.585 CEST [4974] LOG",
            "2017-07-31 13:36:42.585 CEST [4974] FEHLER:  nein",
            "2017-99-31 13:36:42 UTC [4974] LOG:  x",
        ],
    );
}

#[test]
fn mysql_logs_are_read_of_all_ages() {
    table(
        Server::Mysql,
        &[
            (
                "2024-05-01T10:00:00.123456Z 0 [Warning] [MY-010068] [Server] CA certificate is self signed.",
                r#"{"timestamp":"2024-05-01T10:00:00.123456Z","thread":0,"level":"Warning","error_code":"MY-010068","subsystem":"Server","message":"CA certificate is self signed."}"#,
            ),
            (
                "2024-05-01 10:00:00 12 [ERROR] Event Scheduler: [root@localhost] hi",
                r#"{"timestamp":"2024-05-01T08:00:00.000Z","thread":12,"level":"ERROR","message":"Event Scheduler: [root@localhost] hi"}"#,
            ),
            (
                "160802 20:14:29 [Note] Plugin 'FEDERATED' is disabled.",
                r#"{"timestamp":"2016-08-02T18:14:29.000Z","level":"Note","message":"Plugin 'FEDERATED' is disabled."}"#,
            ),
            (
                "160802  9:14:29  InnoDB: 5.5.53 started",
                r#"{"timestamp":"2016-08-02T07:14:29.000Z","message":"InnoDB: 5.5.53 started"}"#,
            ),
            (
                "191015  9:46:45\t    13 Query\tSHOW STATUS",
                r#"{"timestamp":"2019-10-15T07:46:45.000Z","thread":13,"command":"Query","message":"SHOW STATUS"}"#,
            ),
            // The official image's own.
            (
                "2024-05-01 10:00:00+00:00 [Note] [Entrypoint]: Entrypoint script for MySQL Server started.",
                r#"{"timestamp":"2024-05-01T10:00:00.000Z","level":"Note","subsystem":"Entrypoint","message":"Entrypoint script for MySQL Server started."}"#,
            ),
            // MariaDB's, from the user to the time of the next.
            (
                "# User@Host: app[app] @ web1 [192.0.2.4]\n# Thread_id: 13  Schema: shop  QC_hit: No\n# Query_time: 9.5  Lock_time: 0.0  Rows_sent: 5  Rows_examined: 500\nSET timestamp=1796029200;\nselect sleep(9);\n# Time: 261130 10:00:01",
                r#"{"timestamp":"2026-11-30T09:00:00.000Z","user":"app","host":"web1","client_ip":"192.0.2.4","thread":13,"schema":"shop","query_time":9.5,"lock_time":0.0,"rows_sent":5,"rows_examined":500,"message":"SET timestamp=1796029200;\nselect sleep(9);"}"#,
            ),
            (
                "# Time: 2019-03-24T16:22:43.836524Z\n# User@Host: root[root] @ localhost [127.0.0.1]  Id:   182\n# Query_time: 2.746607  Lock_time: 0.000138  Rows_sent: 10  Rows_examined: 3145718\nSET timestamp=1553444561;\nSELECT 1;",
                r#"{"timestamp":"2019-03-24T16:22:43.836524Z","user":"root","host":"localhost","client_ip":"127.0.0.1","thread":182,"query_time":2.746607,"lock_time":0.000138,"rows_sent":10,"rows_examined":3145718,"message":"SET timestamp=1553444561;\nSELECT 1;"}"#,
            ),
        ],
    );
    refused(
        Server::Mysql,
        &[
            "",
            "Version: '5.7.10'  socket: '/tmp/mysql.sock'",
            "InnoDB: x",
            "# Time: 160802 20:14:29",
            "169902 20:14:29 [Note] x",
            "2024-05-01 hello",
        ],
    );
}

#[test]
fn lines_of_one_second_of_the_general_log_have_the_time_of_the_one_before() {
    let lines = |decoder: &mut ServerDecoder, offset: u64, lines: &[&str]| -> Vec<String> {
        let text = lines.concat();
        let mut batch = Batch::new(
            crate::event::Slab::from_vec(text.into_bytes()),
            Origin::of_source("s"),
            1_700_000_000_000_000_000,
            crate::ack::Ack::none(),
        );
        let mut at = 0;
        for line in lines {
            let end = at + line.trim_end_matches('\n').len();
            decoder.decode(&mut batch, at, end, offset + at as u64).ok();
            at += line.len();
        }
        let json = |event: crate::event::EventRef<'_>| {
            let mut out = Vec::new();
            event.write_json(&mut out);
            String::from_utf8(out).unwrap()
        };
        batch.iter().map(json).collect()
    };
    let mut decoder = decoder(Server::Mysql);
    assert_eq!(
        lines(
            &mut decoder,
            100,
            &[
                "191015  9:46:45\t    13 Query\tSHOW STATUS\n",
                "\t\t    13 Query\tselect 1,\n",
                "  2 from dual\n",
                "\t\t     9 Quit\t\n"
            ]
        ),
        [
            r#"{"timestamp":"2019-10-15T07:46:45.000Z","thread":13,"command":"Query","message":"SHOW STATUS"}"#,
            r#"{"timestamp":"2019-10-15T07:46:45.000Z","thread":13,"command":"Query","message":"select 1,"}"#,
            r#"{"timestamp":"2019-10-15T07:46:45.000Z","thread":9,"command":"Quit"}"#,
        ]
    );
    // Elsewhere, or of another file, there is nothing to take it from.
    let alone = r#"{"thread":9,"command":"Quit"}"#;
    assert_eq!(lines(&mut decoder, 5000, &["\t\t     9 Quit\t\n"]), [alone]);
    assert_eq!(lines(&mut self::decoder(Server::Mysql), 0, &["\t\t     9 Quit\t\n"]), [alone]);
}

#[test]
fn a_client_over_a_unix_socket_has_no_address() {
    let line = "2024/05/01 10:00:00 [error] 9#9: *5 no, client: unix:, server: a";
    assert!(decoded(Server::Nginx, line).unwrap().ends_with(r#""message":"no","client":"unix","server":"a"}"#));
    let line = "haproxy[1]: unix:1 [06/Feb/2009:12:12:51.443] fe/2: SSL handshake failure";
    assert!(decoded(Server::Haproxy, line).unwrap().contains(r#""client":"unix","client_port":1,"#));
}

proptest! {
    #[test]
    fn no_line_panics(
        line in "(2024/05/01 |10:00:00 |\\[error\\] |1#1: |\\*2 |, client: |\"|I0505 |a.go:1\\] |10.0.0.1:80 |\\[06/Feb/2009:12:12:51.443\\] |f |b/s |1/2/3 |1/2/3/4/5 |LOG:  |# Time: |# User@Host: |160802 |\\[pid 1\\] |\\[client |:|\\(1\\)|\\{|\\} |[ -~]|\\PC){0,16}",
    ) {
        for server in [Server::Nginx, Server::Apache, Server::Klog, Server::Haproxy, Server::Postgresql, Server::Mysql] {
            decoded(server, &line).ok();
        }
    }
}
