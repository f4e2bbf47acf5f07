//! Versions of the CNI specification, as they stand in `cniVersion`.

use std::fmt;
use std::str::FromStr;

/// A version of the CNI specification. What a runtime may ask of a plugin depends on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Version {
    major: u32,
    minor: u32,
    patch: u32,
}

impl Version {
    /// What a configuration without a `cniVersion` speaks: the field came after the first release.
    pub(crate) const OLDEST: Version = Version::new(0, 1, 0);
    /// `CHECK` exists and `DEL` gets a `prevResult` from here on.
    pub(crate) const WITH_CHECK: Version = Version::new(0, 4, 0);
    /// `STATUS` and `GC` exist from here on. Also the newest version this runtime speaks.
    pub(crate) const WITH_STATUS_AND_GC: Version = Version::new(1, 1, 0);
    /// The newest version this runtime speaks.
    pub(crate) const NEWEST: Version = Version::WITH_STATUS_AND_GC;

    const fn new(major: u32, minor: u32, patch: u32) -> Version {
        Version { major, minor, patch }
    }

    /// Whether this runtime can run a configuration of this version.
    pub(crate) fn is_supported(self) -> bool {
        (Version::OLDEST..=Version::NEWEST).contains(&self)
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.patch)
    }
}

impl FromStr for Version {
    type Err = String;

    /// Reads `1`, `1.0` or `1.0.0`; parts left out count as zero.
    fn from_str(text: &str) -> Result<Version, String> {
        let mut parts = [0_u32; 3];
        let mut given = text.split('.');
        for (place, part) in parts.iter_mut().enumerate() {
            match given.next() {
                Some(digits) => {
                    *part = digits.parse().map_err(|_| format!("`{text}` is not a version such as 1.0.0"))?;
                }
                None if place > 0 => break,
                None => {}
            }
        }
        if given.next().is_some() {
            return Err(format!("`{text}` is not a version such as 1.0.0"));
        }
        let [major, minor, patch] = parts;
        Ok(Version::new(major, minor, patch))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_order_by_number_and_not_by_text() {
        let parse = |text: &str| text.parse::<Version>().unwrap();
        assert!(parse("0.10.0") > parse("0.4.0"));
        assert!(parse("1.1.0") > parse("1.0.0"));
        assert_eq!(parse("1.0").to_string(), "1.0.0");
    }

    #[test]
    fn what_is_not_a_version_is_refused() {
        for text in ["", "x", "1.x", "1.0.0.0", "1..0", "-1.0.0"] {
            assert!(text.parse::<Version>().is_err(), "{text}");
        }
    }

    #[test]
    fn supported_versions_end_at_the_newest_this_runtime_speaks() {
        for text in ["0.1.0", "0.2.0", "0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"] {
            assert!(text.parse::<Version>().unwrap().is_supported(), "{text}");
        }
        for text in ["0.0.9", "1.2.0", "2.0.0"] {
            assert!(!text.parse::<Version>().unwrap().is_supported(), "{text}");
        }
    }
}
