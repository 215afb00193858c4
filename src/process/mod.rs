//! What the kernel knows of this process, under the names that Prometheus clients give it.

pub(crate) mod handles;

use std::fmt::Write as _;

/// CPU, memory, descriptors and start of this process in Prometheus' text format; what cannot be told is left out, all of it
/// elsewhere than on Linux.
pub(crate) fn page() -> String {
    let mut page = String::new();
    let mut put = |name: &str, kind: &str, help: &str, value: Option<f64>| {
        if let Some(value) = value {
            _ = write!(page, "# HELP {name} {help}\n# TYPE {name} {kind}\n{name} {value}\n");
        }
    };
    let stat = std::fs::read_to_string("/proc/self/stat").ok().and_then(|text| Stat::read(&text)).unwrap_or_default();
    let ticks = rustix::param::clock_ticks_per_second() as f64;
    let boot = std::fs::read_to_string("/proc/stat").ok().and_then(|text| boot_time(&text));
    let limits = std::fs::read_to_string("/proc/self/limits").unwrap_or_default();
    // One of those that are counted is that of the folder.
    let open = std::fs::read_dir("/proc/self/fd").ok().map(|folder| folder.count().saturating_sub(1) as f64);
    put("process_cpu_seconds_total", "counter", "CPU time of the agent", stat.cpu.map(|n| n as f64 / ticks));
    let resident = stat.resident.map(|pages| pages as f64 * rustix::param::page_size() as f64);
    put("process_resident_memory_bytes", "gauge", "Memory of the agent in RAM", resident);
    put("process_virtual_memory_bytes", "gauge", "Address space of the agent", stat.virtual_bytes.map(|n| n as f64));
    put("process_open_fds", "gauge", "Open file descriptors", open);
    put("process_max_fds", "gauge", "File descriptors that may be open", max_open(&limits));
    let start = boot.zip(stat.start).map(|(boot, start)| boot + start as f64 / ticks);
    put("process_start_time_seconds", "gauge", "When the agent started, in seconds since 1970", start);
    page
}

/// Figures of `/proc/<pid>/stat`, where they are there.
#[derive(Debug, Default, PartialEq, Eq)]
struct Stat {
    /// User and system time, in ticks.
    cpu: Option<u64>,
    /// Ticks from boot to start.
    start: Option<u64>,
    /// In bytes.
    virtual_bytes: Option<u64>,
    /// In pages.
    resident: Option<u64>,
}

impl Stat {
    /// The name of the program, in brackets, may hold anything.
    fn read(text: &str) -> Option<Stat> {
        let fields: Vec<&str> = text[text.rfind(')')? + 1..].split_whitespace().collect();
        let number = |n: usize| fields.get(n)?.parse::<u64>().ok();
        let cpu = number(11).zip(number(12)).map(|(user, system)| user + system);
        Some(Stat { cpu, start: number(19), virtual_bytes: number(20), resident: number(21) })
    }
}

/// `btime` of `/proc/stat`: seconds since 1970.
fn boot_time(text: &str) -> Option<f64> {
    text.lines().find_map(|line| line.strip_prefix("btime "))?.trim().parse().ok()
}

/// The soft limit of `/proc/<pid>/limits`.
fn max_open(text: &str) -> Option<f64> {
    let line = text.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    match line.split_whitespace().next()? {
        "unlimited" => Some(f64::INFINITY),
        number => number.parse().ok(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn figures_are_read_whatever_the_program_is_called() {
        let text = "7 (a) b (c)) S 1 7 7 0 -1 4194560 100 0 0 0 31 11 0 0 20 0 3 0 9000 12345678 222 184";
        let right = Stat { cpu: Some(42), start: Some(9000), virtual_bytes: Some(12_345_678), resident: Some(222) };
        assert_eq!(Stat::read(text), Some(right));
        assert_eq!(Stat::read("7 (a) S 1"), Some(Stat::default()));
        assert_eq!(Stat::read(""), None);
        assert_eq!(boot_time("cpu 1\nbtime 1700000000\nx"), Some(1_700_000_000.0));
        let limits = "Limit  Soft  Hard\nMax open files            1024                 4096                 files\n";
        assert_eq!((max_open(limits), max_open("")), (Some(1024.0), None));
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn the_page_tells_of_this_process() {
        let page = page();
        let value = |name: &str| -> f64 {
            let line = page.lines().find_map(|line| line.strip_prefix(&format!("{name} "))).unwrap();
            line.parse().unwrap()
        };
        let now = crate::time::clock::now_ns() as f64 / 1e9;
        let age = now - value("process_start_time_seconds");
        assert!((-2.0..86_400.0).contains(&age), "{page}");
        assert!(value("process_resident_memory_bytes") > 1e6 && value("process_open_fds") >= 3.0, "{page}");
        assert!(value("process_open_fds") <= value("process_max_fds"), "{page}");
    }
}
