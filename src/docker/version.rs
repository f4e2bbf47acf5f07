//! The negotiation of Docker's API version.

use std::fmt;

use serde::Deserialize;

/// The newest API version that Dockside is tested with.
const NEWEST: ApiVersion = ApiVersion { major: 1, minor: 56 };
/// Docker 20.10, the oldest engine supported.
const OLDEST: ApiVersion = ApiVersion { major: 1, minor: 41 };

/// A version of Docker's API, such as 1.41.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct ApiVersion {
    /// 1, for every Docker so far.
    pub major: u16,
    /// Counts Docker's feature releases.
    pub minor: u16,
}

impl ApiVersion {
    /// API 1.`minor`.
    pub const fn v1(minor: u16) -> ApiVersion {
        ApiVersion { major: 1, minor }
    }

    fn parse(text: &str) -> Option<ApiVersion> {
        let (major, minor) = text.split_once('.')?;
        Some(ApiVersion { major: major.parse().ok()?, minor: minor.parse().ok()? })
    }
}

impl fmt::Display for ApiVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

/// The parts of `GET /version` that Dockside reads.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Version {
    pub(super) version: String,
    api_version: String,
    #[serde(rename = "MinAPIVersion", default)]
    min_api_version: String,
}

/// The newest API version that Docker and Dockside both support.
pub(super) fn negotiate(server: &Version) -> Result<ApiVersion, String> {
    let newest = ApiVersion::parse(&server.api_version)
        .ok_or_else(|| format!("API version {:?} is not a number like 1.41", server.api_version))?;
    let oldest = ApiVersion::parse(&server.min_api_version).unwrap_or(ApiVersion::v1(12));
    if newest < OLDEST {
        return Err(format!(
            "Docker {} speaks API {newest}; at least {OLDEST} (Docker 20.10) is needed",
            server.version
        ));
    }
    if oldest > NEWEST {
        return Err(format!("Docker {} needs API {oldest} or newer; Dockside speaks up to {NEWEST}", server.version));
    }
    Ok(newest.min(NEWEST))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(newest: &str, oldest: &str) -> Version {
        Version { version: "x".into(), api_version: newest.into(), min_api_version: oldest.into() }
    }

    #[test]
    fn the_newest_common_api_version_is_chosen() {
        assert_eq!(negotiate(&server("1.41", "1.12")), Ok(ApiVersion::v1(41)));
        assert_eq!(negotiate(&server("1.56", "1.44")), Ok(ApiVersion::v1(56)));
        assert_eq!(negotiate(&server("1.99", "1.44")), Ok(NEWEST));
    }

    #[test]
    fn an_engine_that_is_too_old_or_too_new_is_refused_with_both_versions() {
        assert!(negotiate(&server("1.40", "1.12")).unwrap_err().contains("at least 1.41"));
        assert!(negotiate(&server("2.3", "2.0")).unwrap_err().contains("up to 1.56"));
    }
}
