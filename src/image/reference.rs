//! Image references by Docker's short name rules.

/// The default registry, which Docker leaves out of the names it lists.
const DEFAULT_REGISTRY: &str = "docker.io";
const DEFAULT_TAG: &str = "latest";

/// A parsed reference: `nginx` is repository `nginx` with tag `latest`.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Reference {
    /// As Docker lists it: without `docker.io/` and `library/`.
    pub repository: String,
    pub target: Target,
}

/// The part of a reference after the repository.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Target {
    Tag(String),
    /// With its algorithm, `sha256:...`. A tag beside a digest is ignored.
    Digest(String),
}

impl Reference {
    pub(super) fn parse(text: &str) -> Reference {
        let (name, digest) = match text.split_once('@') {
            Some((name, digest)) => (name, Some(digest)),
            None => (text, None),
        };
        // A colon before the last slash belongs to the registry's port.
        let start_of_last = name.rfind('/').map_or(0, |slash| slash + 1);
        let (repository, tag) = match name[start_of_last..].find(':') {
            Some(colon) => (&name[..start_of_last + colon], Some(&name[start_of_last + colon + 1..])),
            None => (name, None),
        };
        let target = match digest {
            Some(digest) => Target::Digest(digest.to_owned()),
            None => Target::Tag(tag.unwrap_or(DEFAULT_TAG).to_owned()),
        };
        Reference { repository: familiar(repository), target }
    }

    /// The reference as Docker lists it.
    pub(super) fn familiar(&self) -> String {
        match &self.target {
            Target::Tag(tag) => format!("{}:{tag}", self.repository),
            Target::Digest(digest) => format!("{}@{digest}", self.repository),
        }
    }

    /// The tag or the digest.
    pub(super) fn target(&self) -> &str {
        match &self.target {
            Target::Tag(text) | Target::Digest(text) => text,
        }
    }
}

fn familiar(repository: &str) -> String {
    let rest = match repository.split_once('/') {
        Some((DEFAULT_REGISTRY | "index.docker.io", rest)) => rest,
        Some((first, _)) if first.contains(['.', ':']) || first == "localhost" => return repository.to_owned(),
        _ => repository,
    };
    match rest.strip_prefix("library/") {
        Some(official) if !official.contains('/') => official.to_owned(),
        _ => rest.to_owned(),
    }
}

/// The full id of a reference that is one: `sha256:` and 64 hexadecimal digits, or the digits alone.
pub(super) fn full_id(text: &str) -> Option<String> {
    let digits = text.strip_prefix("sha256:").unwrap_or(text);
    (digits.len() == 64 && is_hex(digits)).then(|| format!("sha256:{digits}"))
}

/// The digits of a shortened id.
pub(super) fn short_id(text: &str) -> Option<&str> {
    let digits = text.strip_prefix("sha256:").unwrap_or(text);
    (!digits.is_empty() && is_hex(digits)).then_some(digits)
}

fn is_hex(text: &str) -> bool {
    text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_shortened_as_docker_lists_them() {
        for (text, familiar) in [
            ("nginx", "nginx:latest"),
            ("nginx:1.14", "nginx:1.14"),
            ("docker.io/library/nginx:1.14", "nginx:1.14"),
            ("docker.io/me/app", "me/app:latest"),
            ("library/nginx", "nginx:latest"),
            ("registry.k8s.io/pause:3.9", "registry.k8s.io/pause:3.9"),
            ("localhost/wrong", "localhost/wrong:latest"),
            ("127.0.0.1:5000/a/b", "127.0.0.1:5000/a/b:latest"),
            ("nginx:1.14@sha256:ab", "nginx@sha256:ab"),
        ] {
            assert_eq!(Reference::parse(text).familiar(), familiar, "{text}");
        }
    }

    #[test]
    fn ids_are_distinguished_from_names() {
        let digits = "a".repeat(64);
        assert_eq!(full_id(&digits).unwrap(), format!("sha256:{digits}"));
        assert_eq!(full_id("nginx"), None);
        assert_eq!(short_id("abc123"), Some("abc123"));
        assert_eq!(short_id("nginx"), None);
    }
}
