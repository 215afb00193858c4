//! What the agent knows of the machine it runs on.

use serde_json::{Map, Value, json};

/// `name, os, arch, kernel, cpus, memory` (bytes) as a JSON object; what the system does not say is absent.
pub(super) fn describe(name: &str) -> Vec<u8> {
    let mut host = Map::new();
    let uname = rustix::system::uname();
    let name = if name.is_empty() { uname.nodename().to_string_lossy().into_owned() } else { name.to_owned() };
    host.insert("name".into(), name.into());
    host.insert("os".into(), std::env::consts::OS.into());
    host.insert("arch".into(), std::env::consts::ARCH.into());
    host.insert("kernel".into(), uname.release().to_string_lossy().into_owned().into());
    if let Ok(cpus) = std::thread::available_parallelism() {
        host.insert("cpus".into(), json!(cpus.get()));
    }
    if let Some(memory) = memory_bytes() {
        host.insert("memory".into(), json!(memory));
    }
    Value::Object(host).to_string().into_bytes()
}

#[cfg(any(target_os = "linux", target_os = "android"))]
fn memory_bytes() -> Option<u64> {
    let info = rustix::system::sysinfo();
    #[allow(clippy::useless_conversion, reason = "the kernel's type differs between platforms")]
    let (total, unit) = (u64::try_from(info.totalram).ok()?, u64::from(info.mem_unit));
    total.checked_mul(unit.max(1))
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn memory_bytes() -> Option<u64> {
    None
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_machine_is_described() {
        let host: Value = serde_json::from_slice(&describe("web1")).unwrap();
        assert_eq!(host["name"], "web1");
        assert!(host["kernel"].as_str().unwrap().contains('.'));
        assert!(host["cpus"].as_u64().unwrap() >= 1);
        assert!(host["memory"].as_u64().unwrap() > 16 << 20);
        let unnamed: Value = serde_json::from_slice(&describe("")).unwrap();
        assert!(!unnamed["name"].as_str().unwrap().is_empty());
    }
}
