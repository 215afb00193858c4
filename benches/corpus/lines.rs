//! Lines of other formats than JSON.

const TEXTS: [&str; 3] = [
    "HTTP GET /api/v1/products/17 completed with 200 in 182ms",
    "upstream call failed: token: eyJx17 rejected after 1311ms, will retry",
    "cache miss for key product:17:stock, loading from database took 42ms",
];

fn lines(count: usize, mut line: impl FnMut(usize, &mut String)) -> Vec<u8> {
    let mut out = String::new();
    for n in 0..count {
        line(n, &mut out);
        out.push('\n');
    }
    out.into_bytes()
}

/// Messages of RFC 5424 with an element of structured data, about 190 bytes each.
pub(crate) fn syslog_5424(count: usize) -> Vec<u8> {
    lines(count, |n, out| {
        let (second, ms, host) = (n % 60, n * 3 % 1000, n % 7);
        out.push_str(&format!(
            "<134>1 2026-11-21T02:17:{second:02}.{ms:03}Z host-{host}.example.com checkout {} ID{} [meta@32473 \
             seq=\"{n}\" region=\"eu-west-1\"] upstream call failed: rejected after {}ms, will retry seq={n}",
            1000 + n % 50,
            n % 90,
            n * 7 % 2000
        ));
    })
}

/// Messages of RFC 3164, about 110 bytes each.
pub(crate) fn syslog_3164(count: usize) -> Vec<u8> {
    lines(count, |n, out| {
        let (second, host, text) = (n % 60, n % 7, TEXTS[n % 3]);
        out.push_str(&format!("<38>Nov 21 02:17:{second:02} host-{host} sshd[{}]: {text} seq={n}", 1000 + n % 50));
    })
}

/// The same messages, each with its length in front.
pub(crate) fn counted(messages: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    for message in messages.split(|c| *c == b'\n').filter(|m| !m.is_empty()) {
        out.extend_from_slice(format!("{} ", message.len()).as_bytes());
        out.extend_from_slice(message);
    }
    out
}

/// Lines of a web server, combined format, about 210 bytes each.
pub(crate) fn access(count: usize) -> Vec<u8> {
    lines(count, |n, out| {
        out.push_str(&format!(
            "10.{}.{}.{} - - [15/Jun/2025:10:20:{:02} +0000] \"GET /products/{n}?page={} HTTP/1.1\" 200 {} \
             \"https://shop.example.com/\" \"Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 Chrome/126.0 Safari/537.36\"",
            n % 256,
            n % 199,
            n % 97,
            n % 60,
            n % 7,
            1000 + n
        ));
    })
}

/// `key=value` pairs, about 150 bytes a line.
pub(crate) fn logfmt(count: usize) -> Vec<u8> {
    lines(count, |n, out| {
        out.push_str(&format!(
            "ts=2025-06-15T15:06:40.{:03}Z level=info service=checkout msg=\"{} n={n}\" duration={}ms user=u-{n} ok=true",
            n % 1000,
            TEXTS[n % 3],
            n % 2000
        ));
    })
}

/// Lines of containerd, about 110 bytes each, none of them split.
pub(crate) fn cri(count: usize) -> Vec<u8> {
    lines(count, |n, out| {
        out.push_str(&format!("2025-06-15T15:06:40.{:09}Z stdout F {} n={n}", n * 1017 % 1_000_000_000, TEXTS[n % 3]));
    })
}

/// Lines of Docker's json-file driver, about 150 bytes each, none of them split.
pub(crate) fn docker(count: usize) -> Vec<u8> {
    lines(count, |n, out| {
        out.push_str(&format!(
            r#"{{"log":"{} n={n}\n","stream":"stdout","time":"2025-06-15T15:06:40.{:09}Z"}}"#,
            TEXTS[n % 3],
            n * 1017 % 1_000_000_000
        ));
    })
}

/// Lines of a Java server; each tenth event has a stack trace of eight lines.
pub(crate) fn java(events: usize) -> Vec<u8> {
    lines(events, |n, out| {
        out.push_str(&format!(
            "2025-06-15 15:06:40,{:03} INFO [worker-{}] shop.Orders - {} n={n}",
            n % 1000,
            n % 8,
            TEXTS[n % 3]
        ));
        if n % 10 == 0 {
            out.push_str("\njava.lang.IllegalStateException: no stock");
            (0..6).for_each(|k| out.push_str(&format!("\n\tat shop.Orders.place(Orders.java:{})", 17 + k)));
            out.push_str("\n\t... 12 more");
        }
    })
}
