//! The index of images, as of the last refresh.

use std::collections::HashMap;
use std::sync::Arc;

use crate::docker::ImageEntry;
use crate::proto;
use crate::proto::ImageSpec;
use crate::proto::Int64Value;
use crate::state::ImageSettings;
use crate::state::id_number;

use super::reference::Reference;
use super::reference::full_id;
use super::reference::short_id;

/// What Docker lists in place of a missing name.
const NONE: &str = "<none>";

/// One image, with its CRI message.
#[derive(Debug, Clone)]
pub(super) struct Image {
    /// Docker's id, `sha256:...`.
    pub id: String,
    /// What its containers inherit.
    pub settings: ImageSettings,
    /// What ListImages returns.
    pub message: proto::Image,
}

impl Image {
    /// `pinned` is the reference of the image that the kubelet's garbage collection must not remove.
    pub(super) fn new(entry: ImageEntry, settings: ImageSettings, pinned: &str) -> Image {
        let named = |names: Option<Vec<String>>| -> Vec<String> {
            names.unwrap_or_default().into_iter().filter(|name| !name.contains(NONE)).collect()
        };
        let (repo_tags, repo_digests) = sorted(&entry.id, named(entry.repo_tags), named(entry.repo_digests));
        let pinned_name = Reference::parse(pinned).familiar();
        let (uid, username) = user_of(&settings.user);
        let message = proto::Image {
            id: entry.id.clone(),
            pinned: repo_tags.iter().chain(&repo_digests).any(|name| *name == pinned_name),
            // To clients 0 means unknown, which fails their call.
            size: u64::try_from(entry.size).unwrap_or(0).max(1),
            spec: Some(ImageSpec { image: entry.id.clone(), ..Default::default() }),
            uid,
            username,
            repo_tags,
            repo_digests,
        };
        Image { id: entry.id, settings, message }
    }
}

/// Splits names into those by tag and those by digest. With the containerd image store, where an image's id is its digest in
/// every registry, Docker lists only one name by digest, and the digests an image was pulled by among the tags; here each
/// repository of the image gets its name by digest.
fn sorted(id: &str, names: Vec<String>, mut digests: Vec<String>) -> (Vec<String>, Vec<String>) {
    let is_containerd = names.iter().chain(&digests).any(|name| name.ends_with(id));
    let (by_digest, tags): (Vec<String>, Vec<String>) = names.into_iter().partition(|name| name.contains('@'));
    if is_containerd {
        let tagged = tags.iter().map(|name| format!("{}@{id}", Reference::parse(name).repository));
        let pulled = by_digest.iter().map(|name| Reference::parse(name).familiar());
        for name in pulled.chain(tagged) {
            if !digests.contains(&name) {
                digests.push(name);
            }
        }
    }
    (tags, digests)
}

/// The user part of `USER`, as a uid or a name. A number out of the range of uids is returned as a name, which no client
/// takes for an unprivileged user.
fn user_of(user: &str) -> (Option<Int64Value>, String) {
    let user = user.split(':').next().unwrap_or_default();
    match id_number(user) {
        Some(value) => (Some(Int64Value { value }), String::new()),
        None => (None, user.to_owned()),
    }
}

/// All images, by id and by name.
#[derive(Debug, Default)]
pub(super) struct Index {
    images: HashMap<String, Arc<Image>>,
    names: HashMap<String, String>,
}

impl Index {
    pub(super) fn new(images: Vec<Image>) -> Index {
        let mut index = Index::default();
        for image in images {
            for name in image.message.repo_tags.iter().chain(&image.message.repo_digests) {
                index.names.insert(name.clone(), image.id.clone());
            }
            index.images.insert(image.id.clone(), Arc::new(image));
        }
        index
    }

    pub(super) fn all(&self) -> impl Iterator<Item = &Arc<Image>> {
        self.images.values()
    }

    pub(super) fn by_id(&self, id: &str) -> Option<&Arc<Image>> {
        self.images.get(id)
    }

    /// The image with this name, digest, id or unique prefix of an id.
    pub(super) fn find(&self, reference: &str) -> Option<&Arc<Image>> {
        if let Some(id) = full_id(reference) {
            return self.by_id(&id);
        }
        if let Some(id) = self.names.get(&Reference::parse(reference).familiar()) {
            return self.by_id(id);
        }
        let digits = short_id(reference)?;
        let mut found = self.images.values().filter(|image| image.id.trim_start_matches("sha256:").starts_with(digits));
        match (found.next(), found.next()) {
            (Some(image), None) => Some(image),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(id: &str, tags: &[&str], digests: &[&str]) -> ImageEntry {
        ImageEntry {
            id: format!("sha256:{}", id.repeat(32)),
            repo_tags: Some(tags.iter().map(|t| (*t).to_owned()).collect()),
            repo_digests: Some(digests.iter().map(|t| (*t).to_owned()).collect()),
            size: 0,
        }
    }

    fn index() -> Index {
        let user = |user: &str| ImageSettings { user: user.into(), ..Default::default() };
        Index::new(vec![
            Image::new(
                entry("ab", &["nginx:1.14", "<none>:<none>", "nginx@sha256:11"], &["nginx@sha256:11"]),
                user("1003:1004"),
                "pause:1",
            ),
            Image::new(entry("ac", &["pause:1"], &["<none>@<none>"]), user("www-data"), "pause:1"),
        ])
    }

    #[test]
    fn an_image_is_found_by_every_kind_of_reference() {
        let index = index();
        let id = format!("sha256:{}", "ab".repeat(32));
        for reference in ["nginx:1.14", "docker.io/library/nginx:1.14", "nginx@sha256:11", &id, &id[7..], "abab"] {
            assert_eq!(index.find(reference).map(|image| image.id.as_str()), Some(id.as_str()), "{reference}");
        }
        for reference in ["nginx", "nginx:1.15", "a", "ffff"] {
            assert!(index.find(reference).is_none(), "{reference}");
        }
    }

    #[test]
    fn an_image_of_several_repositories_is_found_by_its_digest_in_each() {
        let id = format!("sha256:{}", "ad".repeat(32));
        let [one, two, three] = ["nginx", "localhost:5000/me/nginx", "gcr.io/nginx"].map(|name| format!("{name}@{id}"));
        let tags = ["nginx:1.14", "nginx:1", "localhost:5000/me/nginx:1", &three];
        let image = Image::new(entry("ad", &tags, &[&one]), ImageSettings::default(), "pause:1").message;
        assert_eq!(image.repo_tags, tags[..3]);
        assert_eq!(image.repo_digests, [&one, &three, &two].map(String::as_str));
        // With a graph driver an id is not a registry's digest.
        let image = Image::new(entry("ad", &tags[..3], &["nginx@sha256:11"]), ImageSettings::default(), "pause:1");
        assert_eq!(image.message.repo_digests, ["nginx@sha256:11"]);
    }

    #[test]
    fn the_message_has_names_user_and_pinned() {
        let index = index();
        let nginx = &index.find("nginx:1.14").unwrap().message;
        assert_eq!((nginx.repo_tags.len(), nginx.uid, nginx.pinned), (1, Some(Int64Value { value: 1003 }), false));
        assert!(nginx.size > 0);
        let pause = &index.find("pause:1").unwrap().message;
        assert_eq!((pause.username.as_str(), pause.pinned, pause.repo_digests.len()), ("www-data", true, 0));
    }

    #[test]
    fn a_number_out_of_range_is_not_taken_for_a_uid() {
        assert_eq!(user_of("4294967296"), (None, "4294967296".to_owned()));
        assert_eq!(user_of(""), (None, String::new()));
        assert_eq!(user_of("0").0, Some(Int64Value { value: 0 }));
    }
}
