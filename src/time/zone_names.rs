//! Names of zones as clocks write them: `CET`, `PDT`, `JST`.
//!
//! Some mean several things: `CST` is the middle of North America and China, `IST` India, Israel and Ireland. The zone that
//! is configured decides where it uses the name itself; else the meaning that most logs have.
//!
//! Source: the IANA time zone database, with the English names that were in it before numbers took their place.

use jiff::Timestamp;
use jiff::tz::TimeZone;

/// A zone by its name. Made by [`zone_name`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ZoneName(u8);

/// Names and minutes east of UTC.
const NAMES: &[(&str, i16)] = &[
    ("Z", 0),
    ("UTC", 0),
    ("GMT", 0),
    ("UT", 0),
    ("UCT", 0),
    ("ZULU", 0),
    ("EST", -300),
    ("EDT", -240),
    ("CST", -360),
    ("CDT", -300),
    ("MST", -420),
    ("MDT", -360),
    ("PST", -480),
    ("PDT", -420),
    ("AKST", -540),
    ("AKDT", -480),
    ("HST", -600),
    ("HDT", -540),
    ("AST", -240),
    ("ADT", -180),
    ("NST", -210),
    ("NDT", -150),
    ("SST", -660),
    ("CHST", 600),
    ("WET", 0),
    ("WEST", 60),
    ("BST", 60),
    ("CET", 60),
    ("CEST", 120),
    ("MEZ", 60),
    ("MESZ", 120),
    ("MET", 60),
    ("MEST", 120),
    ("EET", 120),
    ("EEST", 180),
    ("FET", 180),
    ("MSK", 180),
    ("MSD", 240),
    ("TRT", 180),
    ("SAMT", 240),
    ("YEKT", 300),
    ("OMST", 360),
    ("NOVT", 420),
    ("KRAT", 420),
    ("IRKT", 480),
    ("YAKT", 540),
    ("VLAT", 600),
    ("MAGT", 660),
    ("PETT", 720),
    ("WAT", 60),
    ("CAT", 120),
    ("SAST", 120),
    ("EAT", 180),
    ("IDT", 180),
    ("IRST", 210),
    ("IRDT", 270),
    ("GST", 240),
    ("AZT", 240),
    ("GET", 240),
    ("PKT", 300),
    ("UZT", 300),
    ("IST", 330),
    ("NPT", 345),
    ("MMT", 390),
    ("ICT", 420),
    ("WIB", 420),
    ("WITA", 480),
    ("WIT", 540),
    ("HKT", 480),
    ("SGT", 480),
    ("PHT", 480),
    ("MYT", 480),
    ("AWST", 480),
    ("KST", 540),
    ("JST", 540),
    ("ACST", 570),
    ("ACDT", 630),
    ("AEST", 600),
    ("AEDT", 660),
    ("NZST", 720),
    ("NZDT", 780),
    ("BRT", -180),
    ("BRST", -120),
    ("ART", -180),
    ("UYT", -180),
    ("CLT", -240),
    ("CLST", -180),
    ("BOT", -240),
    ("VET", -240),
    ("AMT", -240),
    ("COT", -300),
    ("PET", -300),
];

const _: () = assert!(NAMES.len() < 256);
/// No name is longer.
const MAX_NAME: usize = 5;

/// The zone of this name, in any case.
pub(crate) fn zone_name(word: &[u8]) -> Option<ZoneName> {
    if word.len() > MAX_NAME {
        return None;
    }
    let at = NAMES.iter().position(|(name, _)| name.as_bytes().eq_ignore_ascii_case(word))?;
    Some(ZoneName(at as u8))
}

impl ZoneName {
    /// Seconds east of UTC that the name means to most.
    fn usual(self) -> i32 {
        i32::from(NAMES[usize::from(self.0)].1) * 60
    }
}

/// What one zone calls its own times: names that [`zone_name`] knows, and seconds east of UTC.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct OwnNames(Vec<(ZoneName, i32)>);

impl OwnNames {
    /// Those in use in winter and summer since 2020.
    pub(super) fn of(zone: &TimeZone) -> OwnNames {
        let mut own: Vec<(ZoneName, i32)> = Vec::new();
        // The middle of January and of July of 2020, 2023 and 2026.
        for second in [1_579_046_400, 1_594_771_200, 1_673_740_800, 1_689_379_200, 1_768_435_200, 1_784_073_600] {
            let Ok(at) = Timestamp::from_second(second) else { continue };
            let info = zone.to_offset_info(at);
            if let Some(name) = zone_name(info.abbreviation().as_bytes())
                && !own.iter().any(|(known, _)| *known == name)
            {
                own.push((name, info.offset().seconds()));
            }
        }
        OwnNames(own)
    }

    /// Seconds east of UTC that a name means here.
    pub(super) fn seconds(&self, name: ZoneName) -> i32 {
        self.0.iter().find(|(own, _)| *own == name).map_or_else(|| name.usual(), |(_, seconds)| *seconds)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_name_means_what_the_configured_zone_means_by_it_else_the_usual() {
        let hours = |zone: &str, name: &str| {
            let own = OwnNames::of(&TimeZone::get(zone).unwrap());
            f64::from(own.seconds(zone_name(name.as_bytes()).unwrap())) / 3600.0
        };
        for (zone, name, want) in [
            ("UTC", "CST", -6.0),
            ("Asia/Shanghai", "CST", 8.0),
            ("America/Havana", "CDT", -4.0),
            ("UTC", "IST", 5.5),
            ("Asia/Jerusalem", "IST", 2.0),
            ("Europe/Dublin", "IST", 1.0),
            ("Asia/Manila", "PST", 8.0),
            ("Europe/Berlin", "PST", -8.0),
            ("Europe/Berlin", "cest", 2.0),
            ("Australia/Adelaide", "ACDT", 10.5),
        ] {
            assert_eq!(hours(zone, name), want, "{name} in {zone}");
        }
        assert_eq!((zone_name(b"host"), zone_name(b""), zone_name(b"CESTS")), (None, None, None));
    }

    #[test]
    fn no_name_stands_twice() {
        for (n, (name, minutes)) in NAMES.iter().enumerate() {
            assert_eq!(usize::from(zone_name(name.as_bytes()).unwrap().0), n, "{name}");
            assert!((-720..=840).contains(minutes), "{name}");
        }
    }
}
