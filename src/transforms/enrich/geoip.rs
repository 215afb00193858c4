//! Addresses to places, or to networks, from a database in MaxMind's format.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::Path;

use maxminddb::Reader;
use serde::Deserialize;

use super::watched::FileError;
use crate::event::json;

/// A database and what it knows.
pub(super) struct Database {
    reader: Reader<Vec<u8>>,
    kind: Kind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// City, country and their like.
    Place,
    /// Autonomous systems.
    Network,
}

#[derive(Deserialize)]
struct Names<'a> {
    #[serde(borrow)]
    en: Option<&'a str>,
}

#[derive(Deserialize)]
struct Coded<'a> {
    #[serde(borrow)]
    iso_code: Option<&'a str>,
    #[serde(borrow)]
    names: Option<Names<'a>>,
}

#[derive(Deserialize)]
struct Continent<'a> {
    #[serde(borrow)]
    code: Option<&'a str>,
}

#[derive(Deserialize)]
struct City<'a> {
    #[serde(borrow)]
    names: Option<Names<'a>>,
}

#[derive(Deserialize)]
struct Postal<'a> {
    #[serde(borrow)]
    code: Option<&'a str>,
}

#[derive(Deserialize)]
struct Location<'a> {
    latitude: Option<f64>,
    longitude: Option<f64>,
    #[serde(borrow)]
    time_zone: Option<&'a str>,
    metro_code: Option<Number>,
}

/// A whole number, however wide a database stores it.
#[derive(Clone, Copy)]
struct Number(u64);

impl<'de> Deserialize<'de> for Number {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Any;
        impl serde::de::Visitor<'_> for Any {
            type Value = Number;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a whole number")
            }

            fn visit_u64<E>(self, n: u64) -> Result<Number, E> {
                Ok(Number(n))
            }

            fn visit_i32<E: serde::de::Error>(self, n: i32) -> Result<Number, E> {
                u64::try_from(n).map(Number).map_err(E::custom)
            }
        }
        deserializer.deserialize_any(Any)
    }
}

/// What is wanted of a place; everything else is skipped unread.
#[derive(Deserialize)]
struct Place<'a> {
    #[serde(borrow)]
    continent: Option<Continent<'a>>,
    #[serde(borrow)]
    country: Option<Coded<'a>>,
    #[serde(borrow)]
    subdivisions: Option<Vec<Coded<'a>>>,
    #[serde(borrow)]
    city: Option<City<'a>>,
    #[serde(borrow)]
    postal: Option<Postal<'a>>,
    #[serde(borrow)]
    location: Option<Location<'a>>,
    #[serde(borrow)]
    registered_country: Option<Coded<'a>>,
}

#[derive(Deserialize)]
struct Network<'a> {
    autonomous_system_number: Option<Number>,
    #[serde(borrow)]
    autonomous_system_organization: Option<&'a str>,
}

/// What looking an address up came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// Something was written.
    Found,
    /// The database has nothing of the address: private ones, for example.
    Unlisted,
    /// The text is not an address.
    NoAddress,
    /// The database is damaged there.
    Damaged,
}

/// Addresses that are looked up in a database before it replaces another.
const PROBES: u32 = 4096;

impl Database {
    /// Reads a database, to be used instead of `old`.
    ///
    /// Errors: why the file cannot be used: it is no database, holds nothing, is of another kind than `old`, or is damaged
    /// where it was looked at.
    pub(super) fn open(path: &Path, old: Option<&Database>) -> Result<Database, FileError> {
        let reader = Reader::open_readfile(path).map_err(|error| error.to_string())?;
        let name = reader.metadata().database_type.to_ascii_lowercase();
        let network = name.contains("asn") || name.contains("isp");
        if reader.metadata().node_count == 0 {
            return Err("it has no networks".into());
        }
        let new = Database { reader, kind: if network { Kind::Network } else { Kind::Place } };
        if let Some(old) = old {
            new.replaces(old)?;
        }
        Ok(new)
    }

    /// Looks at addresses all over the range: a file that is written in its place has its end, by which it is known as a
    /// database, before its middle.
    ///
    /// Errors: why it must not take the place of `old`.
    fn replaces(&self, old: &Database) -> Result<(), FileError> {
        if self.kind != old.kind {
            let word = |kind| if kind == Kind::Place { "places" } else { "networks" };
            return Err(FileError::Worse(format!(
                "it is a database of {}, the one in use is of {}",
                word(self.kind),
                word(old.kind)
            )));
        }
        let (mut found, mut before, mut out) = (0, 0, Vec::new());
        for n in 0..PROBES {
            let address = Ipv4Addr::from(n * (u32::MAX / PROBES) + n % 251);
            let text = address.to_string();
            let mut knows = |database: &Database| {
                out.clear();
                database.describe(text.as_bytes(), &mut out)
            };
            match knows(self) {
                _ if self.reader.lookup(IpAddr::V4(address)).is_err() => {
                    return Err(FileError::Worse(format!("{address} cannot be looked up")));
                }
                Answer::Damaged => return Err(FileError::Worse(format!("what it has of {address} cannot be read"))),
                answer => found += u32::from(answer == Answer::Found),
            }
            before += u32::from(knows(old) == Answer::Found);
        }
        if found == 0 && before >= PROBES / 64 {
            let why = format!("of {PROBES} addresses, it knows none; the one in use knows {before}");
            return Err(FileError::Worse(why));
        }
        Ok(())
    }

    /// Appends what is known of the address in `text` as a JSON object.
    pub(super) fn describe(&self, text: &[u8], out: &mut Vec<u8>) -> Answer {
        let Some(address) = address(text) else { return Answer::NoAddress };
        let Ok(found) = self.reader.lookup(address) else { return Answer::Unlisted };
        let mut object = Object { out, any: false };
        match self.kind {
            Kind::Place => match found.decode::<Place<'_>>() {
                Ok(Some(place)) => place.write(&mut object),
                Ok(None) => return Answer::Unlisted,
                Err(_) => return Answer::Damaged,
            },
            Kind::Network => match found.decode::<Network<'_>>() {
                Ok(Some(network)) => {
                    object.number("asn", network.autonomous_system_number);
                    object.text("as_org", network.autonomous_system_organization);
                }
                Ok(None) => return Answer::Unlisted,
                Err(_) => return Answer::Damaged,
            },
        }
        if !object.any {
            return Answer::Unlisted;
        }
        out.push(b'}');
        Answer::Found
    }
}

impl Place<'_> {
    fn write(&self, object: &mut Object<'_>) {
        fn name<'a>(names: Option<&Names<'a>>) -> Option<&'a str> {
            names.and_then(|names| names.en)
        }
        let region = self.subdivisions.as_ref().and_then(|list| list.first());
        let location = self.location.as_ref();
        object.text("continent_code", self.continent.as_ref().and_then(|c| c.code));
        object.text("country_code", self.country.as_ref().and_then(|c| c.iso_code));
        object.text("country_name", self.country.as_ref().and_then(|c| name(c.names.as_ref())));
        object.text("region_code", region.and_then(|r| r.iso_code));
        object.text("region_name", region.and_then(|r| name(r.names.as_ref())));
        object.text("city_name", self.city.as_ref().and_then(|c| name(c.names.as_ref())));
        object.text("postal_code", self.postal.as_ref().and_then(|p| p.code));
        object.float("latitude", location.and_then(|l| l.latitude));
        object.float("longitude", location.and_then(|l| l.longitude));
        object.text("timezone", location.and_then(|l| l.time_zone));
        object.number("metro_code", location.and_then(|l| l.metro_code));
        object.text("registered_country_code", self.registered_country.as_ref().and_then(|c| c.iso_code));
    }
}

/// A JSON object that is being written; its closing brace is the caller's.
struct Object<'a> {
    out: &'a mut Vec<u8>,
    any: bool,
}

impl Object<'_> {
    fn key(&mut self, name: &str) {
        self.out.extend_from_slice(if self.any { b",\"" } else { b"{\"" });
        self.any = true;
        self.out.extend_from_slice(name.as_bytes());
        self.out.extend_from_slice(b"\":");
    }

    fn text(&mut self, name: &str, value: Option<&str>) {
        if let Some(value) = value {
            self.key(name);
            self.out.push(b'"');
            json::escape(value.as_bytes(), self.out);
            self.out.push(b'"');
        }
    }

    fn number(&mut self, name: &str, value: Option<Number>) {
        if let Some(Number(value)) = value {
            self.key(name);
            self.out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
        }
    }

    fn float(&mut self, name: &str, value: Option<f64>) {
        if let Some(value) = value.filter(|value| value.is_finite()) {
            self.key(name);
            json::write_f64(value, self.out);
        }
    }
}

/// The address in a text: the first of a list (`X-Forwarded-For`), without port, brackets and zone.
fn address(text: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(text).ok()?.trim();
    if let Ok(address) = text.parse() {
        return Some(address);
    }
    let first = text.split(',').next()?.trim();
    if let Some(bracketed) = first.strip_prefix('[') {
        return bracketed.split(']').next()?.parse::<Ipv6Addr>().ok().map(IpAddr::V6);
    }
    let bare = match first.split_once('%') {
        Some((bare, _)) => bare,
        None => match first.split_once(':') {
            Some((host, port)) if port.bytes().all(|c| c.is_ascii_digit()) => host,
            _ => first,
        },
    };
    bare.parse().ok()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::print_stderr)]
    use super::*;
    use serde_json::Value as Json;

    #[test]
    fn addresses_of_the_test_databases_are_found_with_their_places() {
        let Some(cases) = crate::test_data::shared("geo/lookups.jsonl") else { return };
        let (mut passed, mut total) = (0, 0);
        for case in cases.lines() {
            let case: Json = serde_json::from_str(case).unwrap();
            let path = crate::test_data::shared_path(&format!("geo/{}", case["db"].as_str().unwrap()));
            let database = Database::open(&path, None).unwrap();
            let mut out = Vec::new();
            let answer = database.describe(case["ip"].as_str().unwrap().as_bytes(), &mut out);
            let ok = if case["found"] == true {
                let got: Json = serde_json::from_slice(&out).unwrap_or_default();
                let want = case["expected"].as_object().unwrap();
                // A record may hold nothing of what is asked for.
                (answer == Answer::Found || want.values().all(Json::is_null))
                    && want.iter().all(|(key, want)| {
                        got[key] == *want || got[key].as_f64().is_some_and(|n| want.as_f64() == Some(n))
                    })
                    && got.as_object().into_iter().flatten().all(|(key, _)| want.contains_key(key))
            } else {
                answer == Answer::Unlisted && out.is_empty()
            };
            total += 1;
            passed += u32::from(ok);
            if !ok {
                eprintln!("{}: {answer:?} {}", case["ip"], String::from_utf8_lossy(&out));
            }
        }
        eprintln!("geoip: {passed} of {total} lookups");
        assert!(passed >= 54, "{passed} of {total}");
    }

    #[test]
    fn addresses_are_found_in_the_forms_that_logs_have() {
        let v4 = Some("192.0.2.1".parse().unwrap());
        for text in ["192.0.2.1", " 192.0.2.1", "192.0.2.1:443", "192.0.2.1, 10.0.0.1"] {
            assert_eq!(address(text.as_bytes()), v4, "{text}");
        }
        let v6 = Some("fe80::1".parse().unwrap());
        for text in ["fe80::1", "[fe80::1]:443", "fe80::1%eth0", "fe80::1, ::2"] {
            assert_eq!(address(text.as_bytes()), v6, "{text}");
        }
        for text in ["", "-", "unknown", "host:80", "1.2.3", "[", "1.2.3.4.5"] {
            assert_eq!(address(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn a_file_that_is_no_database_says_why() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.mmdb");
        assert!(Database::open(&path, None).is_err());
        std::fs::write(&path, b"not a database").unwrap();
        assert!(Database::open(&path, None).err().unwrap().to_string().contains("metadata"));
    }
}
