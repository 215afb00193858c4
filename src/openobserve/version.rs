//! What a version of the server can do.

use std::fmt;

/// A version of the server. Those that say nothing that can be read count as the newest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version(u32, u32, u32);

impl Version {
    /// The newest whose interface is known here.
    pub const NEWEST: Version = Version(0, 93, 0);

    /// From `v0.92.2`, `0.80.0-rc1` and the like.
    pub fn parse(text: &str) -> Option<Version> {
        let text = text.trim().trim_start_matches('v');
        let mut numbers = text.split(['.', '-', '+']).map(|part| part.parse().ok());
        Some(Version(numbers.next()??, numbers.next()??, numbers.next().flatten().unwrap_or(0)))
    }

    /// Pipelines.
    pub fn has_pipelines(self) -> bool {
        self >= Version(0, 10, 9)
    }

    /// Stream settings are added to and removed from; before, they are replaced as a whole.
    pub fn has_changes_of_settings(self) -> bool {
        self >= Version(0, 11, 0)
    }

    /// Changes of stream settings are sent by PUT; before, from where there are such, by POST.
    pub fn puts_settings(self) -> bool {
        !self.has_changes_of_settings() || self >= Version(0, 15, 0)
    }

    /// A stream can be made without an event.
    pub fn has_new_streams(self) -> bool {
        self >= Version(0, 15, 0)
    }

    /// Dashboards are changed with the hash of what is changed.
    pub fn has_hash(self) -> bool {
        self >= Version(0, 13, 0)
    }

    /// Alerts with ids and folders, and folders of several types.
    pub fn has_alerts_v2(self) -> bool {
        self >= Version(0, 14, 1)
    }

    /// The newest form of dashboards that it knows. Before 0.14 the second is sent, which all of them know.
    pub fn dashboard_form(self) -> u32 {
        match self {
            v if v >= Version(0, 40, 0) => 8,
            v if v >= Version(0, 20, 0) => 7,
            v if v >= Version(0, 16, 0) => 6,
            v if v >= Version(0, 14, 0) => 5,
            _ => 2,
        }
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.0, self.1, self.2)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn versions_are_read_and_have_their_abilities() {
        let v = |text| Version::parse(text).unwrap();
        assert_eq!(v("v0.8.0").to_string(), "0.8.0");
        assert_eq!(v("0.80.0-rc1").to_string(), "0.80.0");
        assert_eq!(Version::parse("main"), None);
        let abilities = |text| {
            let v = v(text);
            [v.has_pipelines(), v.has_changes_of_settings(), v.puts_settings(), v.has_new_streams(), v.has_hash()]
        };
        assert_eq!(abilities("v0.8.0"), [false, false, true, false, false]);
        assert_eq!(abilities("v0.14.5"), [true, true, false, false, true]);
        assert_eq!(abilities("v0.92.2"), [true; 5]);
        let forms = ["0.8.0", "0.14.0", "0.16.1", "0.20.0", "0.92.0"].map(|text| v(text).dashboard_form());
        assert_eq!(forms, [2, 5, 6, 7, 8]);
    }
}
