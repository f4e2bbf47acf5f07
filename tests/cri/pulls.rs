//! Image pulls from registries: the box's own, one with a password, and unavailable ones.

use std::net::TcpStream;
use std::process::Child;
use std::process::Command;
use std::process::Stdio;
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use dockside::proto::*;
use tonic::Code;

use crate::assert_refused;
use crate::images;
use crate::images::make_image;
use crate::images::noticed;
use crate::images::remove;
use crate::images::spec;
use crate::images::status;
use crate::runtime;
use harness::*;

async fn pull(images: &mut Images, image: &str, auth: Option<AuthConfig>) -> Result<String, tonic::Status> {
    let request = PullImageRequest { image: spec(image), auth, sandbox_config: None };
    Ok(images.pull_image(request).await?.into_inner().image_ref)
}

/// Pushes a new image to the box's registry and removes it from Docker; returns its digest.
async fn publish(images: &mut Images, repository: &str, tags: &[&str]) -> String {
    let local = format!("127.0.0.1:80/{repository}");
    make_image(&format!("{local}:{}", tags[0]));
    for tag in &tags[1..] {
        docker(&["tag", &format!("{local}:{}", tags[0]), &format!("{local}:{tag}")]);
    }
    docker(&["push", "--quiet", "--all-tags", &local]);
    let digest = docker(&["image", "inspect", "-f", "{{index .RepoDigests 0}}", &format!("{local}:{}", tags[0])]);
    let id = noticed(images, &format!("{local}:{}", tags[0])).await.id;
    remove(images, &id).await.unwrap();
    digest.split_once('@').unwrap().1.to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pulled_image_has_exactly_the_name_it_was_pulled_by() {
    let (mut runtime, mut images) = (runtime().await, images().await);
    let digest = publish(&mut images, "pulls/names", &["v1", "latest"]).await;
    let repository = "127.0.0.1:80/pulls/names";
    for (argument, tags) in [
        (format!("{repository}:v1"), vec![format!("{repository}:v1")]),
        (repository.to_owned(), vec![format!("{repository}:latest")]),
        (format!("{repository}@{digest}"), vec![]),
        (format!("{repository}:v1@{digest}"), vec![]),
    ] {
        assert_eq!(status(&mut images, &argument).await, None, "{argument}");
        let id = pull(&mut images, &argument, None).await.unwrap();
        // The next call must see it at once.
        let image = status(&mut images, &argument).await.unwrap();
        assert_eq!(image.id, id);
        assert_eq!(image.repo_tags, tags, "{argument}");
        assert_eq!(image.repo_digests, [format!("{repository}@{digest}")], "{argument}");
        for name in image.repo_digests.iter().chain(&image.repo_tags).chain([&id]) {
            assert_eq!(status(&mut images, name).await.as_ref(), Some(&image), "{name}");
        }
        // A second pull changes nothing.
        assert_eq!(pull(&mut images, &argument, None).await.unwrap(), id);
        let config = pod("pulled");
        let sandbox = run_pod(&mut runtime, &config).await;
        let wanted = ContainerConfig { image: spec(&id), ..container("main", "exit 4") };
        let made = run_container(&mut runtime, &sandbox, &config, &wanted).await;
        assert_eq!(ended(&mut runtime, &made).await.exit_code, 4);
        assert_eq!(container_status(&mut runtime, &made).await.image_id, id);
        remove_pod(&mut runtime, &sandbox).await;
        remove(&mut images, &id).await.unwrap();
        assert_eq!(status(&mut images, &argument).await, None);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_image_from_two_registries_is_one_image_with_two_names() {
    let mut images = images().await;
    let digest = publish(&mut images, "pulls/twice", &["1"]).await;
    let names = ["registry.k8s.io/pulls/twice:1", "gcr.io/pulls/twice:1"];
    let first = pull(&mut images, names[0], None).await.unwrap();
    assert_eq!(pull(&mut images, names[1], None).await.unwrap(), first);
    let mut tags = status(&mut images, &first).await.unwrap().repo_tags;
    tags.sort_unstable();
    assert_eq!(tags, [names[1], names[0]]);
    // And one by digest alone. A kubelet looks images up by these names, and would pull again what it does not find.
    let repositories = ["registry.k8s.io/pulls/twice", "gcr.io/pulls/twice", "k8s.gcr.io/pulls/twice"];
    let by_digest = repositories.map(|repository| format!("{repository}@{digest}"));
    assert_eq!(pull(&mut images, &by_digest[2], None).await.unwrap(), first);
    let image = status(&mut images, &first).await.unwrap();
    for name in &by_digest {
        assert!(image.repo_digests.contains(name), "{name} is not in {image:?}");
        assert_eq!(status(&mut images, name).await.as_ref(), Some(&image), "{name}");
    }
    let elsewhere = format!("public.ecr.aws/pulls/twice@{digest}");
    assert_eq!(status(&mut images, &elsewhere).await, None);
    remove(&mut images, names[0]).await.unwrap();
    for name in names.into_iter().chain(by_digest.iter().map(String::as_str)) {
        assert_eq!(status(&mut images, name).await, None);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn concurrent_pulls_of_one_image_all_succeed() {
    let mut images = images().await;
    publish(&mut images, "pulls/crowd", &["1"]).await;
    let name = "127.0.0.1:80/pulls/crowd:1";
    let pulls: Vec<_> = (0..5)
        .map(|_| {
            let mut images = images.clone();
            tokio::spawn(async move { pull(&mut images, name, None).await.unwrap() })
        })
        .collect();
    let mut ids = std::collections::BTreeSet::new();
    for pull in pulls {
        ids.insert(pull.await.unwrap());
    }
    assert_eq!(ids.len(), 1);
    remove(&mut images, name).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_image_is_distinguished_from_an_unavailable_registry() {
    let mut images = images().await;
    publish(&mut images, "pulls/here", &["1"]).await;
    for missing in [
        "127.0.0.1:80/pulls/nowhere:1".to_owned(),
        "127.0.0.1:80/pulls/here:2".to_owned(),
        format!("127.0.0.1:80/pulls/here@sha256:{}", "0".repeat(64)),
    ] {
        let error = pull(&mut images, &missing, None).await.unwrap_err();
        assert!(matches!(error.code(), Code::NotFound | Code::Unknown), "{error}");
        assert!(error.message().contains("pulls/") && !error.message().contains("RegistryUnavailable"), "{error}");
        assert!(error.message().to_lowercase().contains("not found") || error.message().contains("unknown"), "{error}");
        assert_eq!(status(&mut images, &missing).await, None);
    }
    // The kubelet recognizes this error by its first word, and only with this code.
    for away in ["127.0.0.1:9/pulls/here:1", "no-such-registry.example/pulls/here:1"] {
        let error = pull(&mut images, away, None).await.unwrap_err();
        assert_eq!(error.code(), Code::Unknown, "{error}");
        assert!(error.message().starts_with("RegistryUnavailable: ") && error.message().contains(away), "{error}");
    }
    for wrong in ["127.0.0.1:80/UPPER", "a b", "127.0.0.1:80/x@sha256:12", "-"] {
        let error = pull(&mut images, wrong, None).await.unwrap_err();
        assert!(error.message().contains(wrong.split('@').next().unwrap()), "{error}");
        assert_eq!(error.code(), Code::InvalidArgument, "{error}");
    }
    assert_refused(images.pull_image(PullImageRequest::default()).await, Code::InvalidArgument, &["image.image"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pull_that_the_client_cancels_is_cancelled_in_docker() {
    let mut images = images().await;
    publish(&mut images, "pulls/given-up", &["1"]).await;
    let image = "127.0.0.1:80/pulls/given-up:1";
    let mut request = tonic::Request::new(PullImageRequest { image: spec(image), ..Default::default() });
    request.set_timeout(Duration::from_millis(1));
    let error = images.pull_image(request).await.unwrap_err();
    assert!(matches!(error.code(), Code::DeadlineExceeded | Code::Cancelled), "{error}");
    // The next attempt succeeds.
    let id = pull(&mut images, image, None).await.unwrap();
    assert_eq!(status(&mut images, image).await.unwrap().id, id);
    remove(&mut images, image).await.unwrap();
}

/// A registry with the images of the box's own that requires `user` and the password `secret`.
struct LockedRegistry(Child);

const LOCKED: &str = "127.0.0.1:5443";

impl LockedRegistry {
    async fn start() -> LockedRegistry {
        let directory = "/run/box/locked-registry";
        std::fs::create_dir_all(directory).unwrap();
        std::fs::write(
            format!("{directory}/htpasswd"),
            "user:$2b$04$1Cq1/mGnRIJipR/06U6IOe67hD510JhsGdOTNLJfleBHKsPtistgm\n",
        )
        .unwrap();
        let config = format!(
            "version: 0.1\nlog: {{level: warn}}\nhttp: {{addr: \"{LOCKED}\"}}\n\
             storage: {{filesystem: {{rootdirectory: /var/lib/registry}}}}\n\
             auth: {{htpasswd: {{realm: locked, path: {directory}/htpasswd}}}}\n"
        );
        std::fs::write(format!("{directory}/config.yaml"), config).unwrap();
        let child = Command::new(environment("BOX_REGISTRY"))
            .args(["serve", &format!("{directory}/config.yaml")])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(std::fs::File::create(format!("{directory}/log")).unwrap())
            .spawn()
            .unwrap();
        let registry = LockedRegistry(child);
        eventually("the locked registry listens", async || TcpStream::connect(LOCKED).ok()).await;
        registry
    }
}

impl Drop for LockedRegistry {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn credentials_in_every_form_reach_the_registry_and_no_log() {
    let mut images = images().await;
    let digest = publish(&mut images, "pulls/locked", &["1"]).await;
    let _registry = LockedRegistry::start().await;
    let name = format!("{LOCKED}/pulls/locked:1");
    let pair = |user: &str, password: &str| AuthConfig {
        username: user.to_owned(),
        password: password.to_owned(),
        ..Default::default()
    };
    let encoded = |text: &str| AuthConfig { auth: BASE64_STANDARD.encode(text), ..Default::default() };
    let wrong =
        [None, Some(pair("user", "guess-7431")), Some(encoded("user:guess-7431")), Some(pair("stranger", "secret"))];
    for auth in wrong {
        let error = pull(&mut images, &name, auth).await.unwrap_err();
        assert!(!error.message().contains("RegistryUnavailable") && !error.message().contains("guess-7431"), "{error}");
        let message = error.message().to_lowercase();
        assert!(
            message.contains("unauthorized")
                || message.contains("no basic auth credentials")
                || message.contains("authorization failed"),
            "{error}"
        );
        assert_eq!(status(&mut images, &name).await, None);
    }
    let with_server = AuthConfig { server_address: LOCKED.to_owned(), ..pair("user", "secret") };
    for auth in [pair("user", "secret"), encoded("user:secret"), encoded("user:secret\0\0"), with_server] {
        let id = pull(&mut images, &name, Some(auth)).await.unwrap();
        let image = status(&mut images, &name).await.unwrap();
        assert_eq!((image.id, image.repo_digests), (id.clone(), vec![format!("{LOCKED}/pulls/locked@{digest}")]));
        remove(&mut images, &id).await.unwrap();
    }
    let broken = AuthConfig { auth: "%%%".to_owned(), ..Default::default() };
    assert_refused(pull(&mut images, &name, Some(broken)).await, Code::InvalidArgument, &["auth.auth"]);
    let log = crate::node().log();
    for secret in ["guess-7431", &BASE64_STANDARD.encode("user:guess-7431"), &BASE64_STANDARD.encode("user:secret")] {
        assert!(!log.contains(secret), "{secret} is in the log");
    }
}
