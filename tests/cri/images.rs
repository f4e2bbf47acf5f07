//! Present images: found by every kind of name, reported with one id, and removed with all their names.

use std::collections::BTreeSet;
use std::path::Path;

use dockside::proto::*;
use tonic::Code;

use crate::assert_refused;
use crate::containerd_has_images;
use crate::containers::of_image;
use crate::images;
use crate::inspect::*;
use crate::runtime;
use harness::*;

pub(crate) fn spec(image: &str) -> Option<ImageSpec> {
    Some(ImageSpec { image: image.to_owned(), ..Default::default() })
}

pub(crate) async fn status(images: &mut Images, image: &str) -> Option<Image> {
    let request = ImageStatusRequest { image: spec(image), verbose: false };
    images.image_status(request).await.unwrap().into_inner().image
}

pub(crate) async fn remove(images: &mut Images, image: &str) -> Result<(), tonic::Status> {
    images.remove_image(RemoveImageRequest { image: spec(image) }).await.map(|_| ())
}

async fn list(images: &mut Images, filter: &str) -> Vec<Image> {
    let filter = (!filter.is_empty()).then(|| ImageFilter { image: spec(filter) });
    images.list_images(ListImagesRequest { filter }).await.unwrap().into_inner().images
}

/// Builds an image that no other test has.
pub(crate) fn make_image(name: &str) {
    let source = docker(&["create", BUSYBOX]);
    docker(&["commit", "--change", &format!("LABEL test={name}"), &source, name]);
    docker(&["rm", &source]);
}

fn docker_image_id(name: &str) -> String {
    docker(&["image", "inspect", "-f", "{{.Id}}", name])
}

fn docker_has_image(name: &str) -> bool {
    let output = std::process::Command::new("docker").args(["image", "inspect", name]).output().unwrap();
    output.status.success()
}

/// Waits until Dockside has noticed an image that was built directly in Docker.
pub(crate) async fn noticed(images: &mut Images, name: &str) -> Image {
    eventually(&format!("{name} is listed"), async || {
        list(images, "").await.into_iter().find(|image| image.repo_tags.iter().any(|tag| tag == name))
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_is_found_by_every_kind_of_reference() {
    let mut images = images().await;
    let image = status(&mut images, "nginx:1.14").await.unwrap();
    assert_eq!(image.id, docker_image_id("nginx:1.14"));
    assert!(image.repo_tags.contains(&"nginx:1.14".to_owned()));
    assert!(image.size > 1_000_000, "{}", image.size);
    let digits = image.id.strip_prefix("sha256:").unwrap();
    let short_with_algorithm = format!("sha256:{}", &digits[..12]);
    let mut names: Vec<&str> = vec![
        "docker.io/library/nginx:1.14",
        "docker.io/nginx:1.14",
        "library/nginx:1.14",
        &image.id,
        digits,
        &digits[..12],
        &short_with_algorithm,
    ];
    names.extend(image.repo_tags.iter().chain(&image.repo_digests).map(String::as_str));
    for name in names {
        assert_eq!(status(&mut images, name).await.as_ref(), Some(&image), "{name}");
        assert_eq!(list(&mut images, name).await, std::slice::from_ref(&image), "{name}");
    }
    for name in [
        "nginx",
        "nginx:1.15",
        "nginx:1.14x",
        "no.such/image",
        &"0".repeat(64),
        "sha256:00",
        "UPPER/case:1",
        "a b",
        "../x",
        "nginx@sha256:12",
    ] {
        assert_eq!(status(&mut images, name).await, None, "{name}");
        assert_eq!(list(&mut images, name).await, [], "{name}");
    }
    assert_refused(images.image_status(ImageStatusRequest::default()).await, Code::InvalidArgument, &["image.image"]);
    let request = ImageStatusRequest { image: spec("nginx:1.14"), verbose: true };
    let info = images.image_status(request).await.unwrap().into_inner().info;
    let info: serde_json::Value = serde_json::from_str(&info["info"]).unwrap();
    assert_eq!(info["id"], image.id.as_str());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_list_has_every_image_once_and_the_pause_image_pinned() {
    let mut images = images().await;
    let all = list(&mut images, "").await;
    let ids: BTreeSet<&str> = all.iter().map(|image| image.id.as_str()).collect();
    assert_eq!(ids.len(), all.len());
    for name in [BUSYBOX, "nginx:1.14", "dockside.test/groups:1"] {
        let found = all.iter().find(|image| image.repo_tags.contains(&name.to_owned())).unwrap();
        assert_eq!((found.pinned, found.id.as_str()), (false, docker_image_id(name).as_str()));
    }
    let pinned: Vec<&Image> = all.iter().filter(|image| image.pinned).collect();
    assert_eq!(pinned.len(), 1);
    assert_eq!(pinned[0].repo_tags, ["dockside.io/pause:1"]);
    assert!(
        !all.iter().any(|image| image.repo_tags.iter().chain(&image.repo_digests).any(|name| name.contains("<none>")))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn image_status_reports_the_user_by_number_or_by_name() {
    let mut images = images().await;
    for (image, uid, username) in [
        (BUSYBOX, None, ""),
        ("dockside.test/user-uid:1", Some(1002), ""),
        ("dockside.test/user-uid-group:1", Some(1003), ""),
        ("dockside.test/user-name:1", None, "www-data"),
        ("dockside.test/user-name-group:1", None, "www-data"),
    ] {
        let found = status(&mut images, image).await.unwrap();
        assert_eq!((found.uid.map(|uid| uid.value), found.username.as_str()), (uid, username), "{image}");
    }
    // A number too large for a user id must not be taken for one: 4294967296 would become root.
    let source = docker(&["create", BUSYBOX]);
    docker(&["commit", "--change", "USER 4294967296", &source, "dockside.test/user-overflow:1"]);
    docker(&["rm", &source]);
    let found = noticed(&mut images, "dockside.test/user-overflow:1").await;
    assert_eq!((found.uid, found.username.as_str()), (None, "4294967296"));
    remove(&mut images, "dockside.test/user-overflow:1").await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn images_changed_directly_in_docker_are_noticed() {
    let mut images = images().await;
    let name = "dockside.test/behind:1";
    make_image(name);
    // A request by name finds it at once, without waiting for an event.
    let image = status(&mut images, name).await.unwrap();
    docker(&["tag", name, "dockside.test/behind:2"]);
    let tags = eventually("the second tag shows", async || {
        let mut tags = status(&mut images, &image.id).await?.repo_tags;
        tags.sort_unstable();
        (tags.len() == 2).then_some(tags)
    })
    .await;
    assert_eq!(tags, [name, "dockside.test/behind:2"]);
    docker(&["rmi", "dockside.test/behind:2"]);
    eventually("the second tag is gone", async || {
        (status(&mut images, &image.id).await?.repo_tags.len() == 1).then_some(())
    })
    .await;
    docker(&["rmi", name]);
    eventually("the image is gone", async || status(&mut images, &image.id).await.is_none().then_some(())).await;
    assert_eq!(list(&mut images, name).await, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn removing_by_any_name_removes_the_image_with_all_its_names() {
    let mut images = images().await;
    for (number, by) in ["tag", "other repository", "id", "short id"].into_iter().enumerate() {
        let name = format!("dockside.test/remove-{number}:1");
        make_image(&name);
        let id = noticed(&mut images, &name).await.id;
        let others = [format!("dockside.test/remove-{number}:2"), format!("elsewhere.test/remove-{number}:1")];
        for other in &others {
            docker(&["tag", &name, other]);
            noticed(&mut images, other).await;
        }
        let argument = match by {
            "tag" => name.clone(),
            "other repository" => others[1].clone(),
            "id" => id.clone(),
            _ => id["sha256:".len()..][..12].to_owned(),
        };
        remove(&mut images, &argument).await.unwrap();
        for gone in [&name, &others[0], &others[1], &id] {
            assert_eq!(status(&mut images, gone).await, None, "{gone}, removed by {by}");
            assert!(!docker_has_image(gone), "{gone}, removed by {by}");
        }
        assert!(!list(&mut images, "").await.iter().any(|image| image.id == id));
        remove(&mut images, &argument).await.unwrap();
    }
    for unknown in ["no.such/image:1", &"0".repeat(64), "sha256:0000"] {
        remove(&mut images, unknown).await.unwrap();
        remove(&mut images, unknown).await.unwrap();
    }
    assert_refused(images.remove_image(RemoveImageRequest::default()).await, Code::InvalidArgument, &["image.image"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn concurrent_removals_of_an_image_all_succeed() {
    let mut images = images().await;
    for round in 0..3 {
        let name = format!("dockside.test/five-{round}:1");
        make_image(&name);
        let id = noticed(&mut images, &name).await.id;
        docker(&["tag", &name, &format!("elsewhere.test/five-{round}:1")]);
        let removals: Vec<_> = (0..5)
            .map(|_| {
                let (mut images, id) = (images.clone(), id.clone());
                tokio::spawn(async move {
                    remove(&mut images, &id).await.unwrap();
                    assert_eq!(status(&mut images, &id).await, None);
                })
            })
            .collect();
        for removal in removals {
            removal.await.unwrap();
        }
        assert!(!docker_has_image(&name));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_of_a_running_container_keeps_all_its_names() {
    let (mut runtime, mut images) = (runtime().await, images().await);
    let names = ["dockside.test/in-use:1", "dockside.test/in-use:2", "elsewhere.test/in-use:1"];
    make_image(names[0]);
    for name in &names[1..] {
        docker(&["tag", names[0], name]);
        noticed(&mut images, name).await;
    }
    let before = status(&mut images, names[0]).await.unwrap();
    let config = pod("image-in-use");
    let sandbox = run_pod(&mut runtime, &config).await;
    let wanted = ContainerConfig { image: spec(names[0]), ..container("main", UNTIL_TERM) };
    let id = run_container(&mut runtime, &sandbox, &config, &wanted).await;
    for argument in [before.id.as_str(), names[0], names[2]] {
        let refused = remove(&mut images, argument).await;
        assert_refused(refused, Code::FailedPrecondition, &[&before.id, "k8s_main_image-in-use"]);
        let after = status(&mut images, &before.id).await.unwrap();
        let sorted = |image: &Image| image.repo_tags.iter().cloned().collect::<BTreeSet<String>>();
        assert_eq!(sorted(&after), sorted(&before), "after removing {argument}");
        assert!(names.iter().all(|name| docker_has_image(name)));
    }
    // An exited container does not keep it.
    stop_container(&mut runtime, &id, 0).await;
    remove(&mut images, &before.id).await.unwrap();
    assert!(!names.iter().any(|name| docker_has_image(name)));
    let status = container_status(&mut runtime, &id).await;
    assert_eq!((status.image_id, status.exit_code), (before.id, 137));
    remove_pod(&mut runtime, &sandbox).await;
    assert!(!docker_has(&id));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_of_a_running_container_keeps_its_only_name() {
    let (mut runtime, mut images) = (runtime().await, images().await);
    for (name, tags) in [("dockside.test/single", 1), ("dockside.test/double", 2)] {
        make_image(&format!("{name}:1"));
        if tags == 2 {
            docker(&["tag", &format!("{name}:1"), &format!("{name}:2")]);
            noticed(&mut images, &format!("{name}:2")).await;
        }
        let before = noticed(&mut images, &format!("{name}:1")).await;
        let config = pod(&name.replace('/', "-"));
        let sandbox = run_pod(&mut runtime, &config).await;
        let wanted =
            ContainerConfig { command: vec!["sleep".to_owned(), "86411".to_owned()], ..of_image("main", &before.id) };
        run_container(&mut runtime, &sandbox, &config, &wanted).await;
        assert_refused(remove(&mut images, &before.id).await, Code::FailedPrecondition, &[&before.id]);
        assert_eq!(status(&mut images, &before.id).await.unwrap().repo_tags.len(), tags, "{name}");
        remove_pod(&mut runtime, &sandbox).await;
        remove(&mut images, &before.id).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn image_fs_info_names_a_directory_that_exists() {
    let mut images = images().await;
    let info = images.image_fs_info(ImageFsInfoRequest {}).await.unwrap().into_inner();
    assert_eq!((info.image_filesystems.len(), info.container_filesystems.len()), (1, 1));
    let images_on = &info.image_filesystems[0];
    let directory = Path::new(&images_on.fs_id.as_ref().unwrap().mountpoint);
    let store = if containerd_has_images() {
        "io.containerd.content.v1.content/blobs".to_owned()
    } else {
        format!("image/{}/imagedb", docker(&["info", "--format", "{{.Driver}}"]).trim())
    };
    assert!(directory.join(&store).is_dir(), "no {store} in {}", directory.display());
    assert!(images_on.timestamp > 0);
    assert!(images_on.used_bytes.unwrap().value > 1_000_000);
    assert!(images_on.inodes_used.unwrap().value > 0);
}
