//! Pull policies and pull secrets, with the box's registry and one with a password.

use std::process::Child;
use std::process::Command;

use serde_json::json;

use crate::cluster::*;

/// A registry with the box's images that requires a password.
struct Guarded(Child);

const GUARDED: &str = "127.0.0.1:5001";
const USER: &str = "dockside";
const PASSWORD: &str = "open sesame";
/// `htpasswd -nbB -C 5 dockside 'open sesame'`
const HTPASSWD: &str = "dockside:$2b$05$CYb.N8nAM2u.ZEmtsxiAPOF8aeda37du05L89fEsLxyQlK6pv81h2\n";

impl Guarded {
    fn start() -> Guarded {
        let at = |name: &str| format!("/run/box/guarded-registry{name}");
        std::fs::write(at(".htpasswd"), HTPASSWD).unwrap();
        let config = json!({
            "version": 0.1, "log": {"level": "warn"}, "http": {"addr": GUARDED},
            "storage": {"filesystem": {"rootdirectory": "/var/lib/registry"}},
            "auth": {"htpasswd": {"realm": "guarded", "path": at(".htpasswd")}},
        });
        std::fs::write(at(".yaml"), config.to_string()).unwrap();
        let log = std::fs::File::create(at(".log")).unwrap();
        let registry = environment("BOX_REGISTRY");
        let child = Command::new(registry).args(["serve", &at(".yaml")]).stderr(log).spawn().unwrap();
        eventually("the registry answers", || std::net::TcpStream::connect(GUARDED).ok());
        Guarded(child)
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Pushes an image of this name to the box's registry and removes it from Docker. Its contents are unique: after a pull
/// with one pod's secret, a kubelet asks the registry before another pod may use the same image under another name.
fn publish(name: &str) -> String {
    let image = format!("127.0.0.1:80/{name}");
    let container = docker(&["create", BUSYBOX]);
    docker(&["commit", "--change", &format!("LABEL name={name}"), &container, &image]);
    docker(&["rm", &container]);
    docker(&["push", &image]);
    docker(&["rmi", &image]);
    image
}

#[test]
fn a_missing_image_is_pulled_unless_the_policy_is_never() {
    let _node = shared();
    let image = publish("policies/hello:1");
    let main = |policy: &str| with(shell("main", UNTIL_TERM), json!({"image": image, "imagePullPolicy": policy}));

    let never = Pod::of("pull-never", json!([main("Never")]));
    let reason =
        |reason: &'static str| move |status: &serde_json::Value| text(&status["state"]["waiting"]["reason"]) == reason;
    never.container("main", "ErrImageNeverPull", reason("ErrImageNeverPull"));

    let missing = Pod::of("pull-if-missing", json!([main("IfNotPresent")]));
    let status = missing.ready();
    let status = container(&status, "main").unwrap();
    assert_eq!(status["image"], *image);
    assert!(text(&status["imageID"]).contains("sha256:"), "{status}");
    assert!(missing.event("Pulled").contains("Successfully pulled image"));
    never.ready(); // it is there now
    never.delete();

    let always = Pod::of("pull-always", json!([main("Always")]));
    always.ready();
    assert!(always.event("Pulled").contains("Successfully pulled image"));
    missing.delete();
    always.delete();
}

#[test]
fn a_nonexistent_image_is_reported_and_retried() {
    let _node = shared();
    let main = with(shell("main", UNTIL_TERM), json!({"image": "127.0.0.1:80/no/such:1"}));
    let pod = Pod::of("no-such-image", json!([main]));
    pod.container("main", "ImagePullBackOff", |status| status["state"]["waiting"]["reason"] == "ImagePullBackOff");
    let message = pod.event("Failed");
    assert!(message.contains("127.0.0.1:80/no/such:1"), "{message}");
    publish("no/such:1");
    pod.ready();
    pod.delete();
}

#[test]
fn a_private_image_is_pulled_only_with_the_pods_secret() {
    let _node = shared();
    let _registry = Guarded::start();
    publish("guarded/hello:1");
    let image = format!("{GUARDED}/guarded/hello:1");
    let main = with(shell("main", UNTIL_TERM), json!({"image": image, "imagePullPolicy": "Always"}));
    let secret = |name: &str, password: &str| {
        let login = [format!("--docker-username={USER}"), format!("--docker-password={password}")];
        let server = format!("--docker-server={GUARDED}");
        kubectl(&["create", "secret", "docker-registry", name, &server, &login[0], &login[1]]);
        json!({"imagePullSecrets": [{"name": name}], "containers": [main]})
    };

    let without = Pod::of("no-password", json!([main]));
    let wrong = Pod::create("wrong-password", secret("wrong", "open barley"));
    for pod in [without, wrong] {
        let message = pod.event("Failed").to_lowercase();
        assert!(message.contains("no basic auth") || message.contains("unauthorized"), "{message}");
        pod.delete();
    }
    let right = Pod::create("right-password", secret("right", PASSWORD));
    right.ready();
    right.delete();
}
