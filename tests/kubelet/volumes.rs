//! Volumes that need no driver.

use serde_json::Value;
use serde_json::json;

use crate::cluster::*;

fn mount(volume: &str, path: &str, more: Value) -> Value {
    with(json!({"name": volume, "mountPath": path}), more)
}

#[test]
fn empty_dirs_are_shared_and_on_disk_or_in_memory() {
    let _node = shared();
    let mounts = json!({"volumeMounts": [mount("disk", "/disk", json!({})), mount("memory", "/memory", json!({}))]});
    let spec = json!({
        "containers": [with(shell("one", UNTIL_TERM), mounts.clone()), with(shell("two", UNTIL_TERM), mounts)],
        "volumes": [
            {"name": "disk", "emptyDir": {}},
            {"name": "memory", "emptyDir": {"medium": "Memory", "sizeLimit": "4Mi"}},
        ],
    });
    let pod = Pod::create("empty-dirs", spec);
    pod.ready();
    pod.exec("one", "echo hello > /disk/file; echo hello > /memory/file");
    assert_eq!(pod.exec("two", "cat /disk/file /memory/file"), "hello\nhello");
    assert_eq!(pod.exec("two", "awk '$2 == \"/memory\" { print $3 }' /proc/mounts"), "tmpfs");
    assert_eq!(pod.exec("two", "dd if=/dev/zero of=/memory/big bs=1M count=8 2>&1 | grep -c 'No space'"), "1");
    pod.delete();
}

#[test]
fn host_path_directories_and_files_are_mounted() {
    let _node = shared();
    let (path, _) = evidence("host-path");
    std::fs::write(format!("{path}/file"), "of the node\n").unwrap();
    let read_only = json!({"readOnly": true});
    let main = with(
        shell("main", UNTIL_TERM),
        json!({"volumeMounts": [
            mount("directory", "/directory", json!({})),
            mount("directory", "/fixed", read_only),
            mount("file", "/one-file", json!({})),
            mount("socket", "/run/docker.sock", json!({})),
        ]}),
    );
    let spec = json!({
        "containers": [main],
        "volumes": [
            {"name": "directory", "hostPath": {"path": path, "type": "Directory"}},
            {"name": "file", "hostPath": {"path": format!("{path}/file"), "type": "File"}},
            {"name": "socket", "hostPath": {"path": "/run/docker.sock", "type": "Socket"}},
        ],
    });
    let pod = Pod::create("host-path", spec);
    pod.ready();
    assert_eq!(pod.exec("main", "cat /directory/file /one-file"), "of the node\nof the node");
    assert_eq!(
        pod.exec("main", "touch /fixed/new 2>/dev/null || echo refused; [ -S /run/docker.sock ] && echo a socket"),
        "refused\na socket"
    );
    pod.exec("main", "echo of the pod > /directory/new");
    assert_eq!(std::fs::read_to_string(format!("{path}/new")).unwrap(), "of the pod\n");
    pod.delete();
}

#[test]
fn config_maps_secrets_and_tokens_are_files_and_variables() {
    let _node = shared();
    apply(&json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "settings"},
        "data": {"colour": "blue", "menu": "soup\nbread\n"}}));
    apply(
        &json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "key"}, "stringData": {"word": "open sesame"}}),
    );
    let main = with(
        shell("main", UNTIL_TERM),
        json!({
            "env": [
                {"name": "COLOUR", "valueFrom": {"configMapKeyRef": {"name": "settings", "key": "colour"}}},
                {"name": "WORD", "valueFrom": {"secretKeyRef": {"name": "key", "key": "word"}}},
                {"name": "POD_IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
                {"name": "BOTH", "value": "$(COLOUR) and $(WORD)"},
            ],
            "volumeMounts": [
                mount("settings", "/settings", json!({})),
                mount("key", "/key", json!({})),
                mount("all", "/all", json!({})),
            ],
        }),
    );
    let spec = json!({
        "containers": [main],
        "volumes": [
            {"name": "settings", "configMap": {"name": "settings", "items": [{"key": "menu", "path": "today/menu"}]}},
            {"name": "key", "secret": {"secretName": "key", "defaultMode": 0o400}},
            {"name": "all", "projected": {"sources": [
                {"serviceAccountToken": {"path": "token", "audience": "dockside", "expirationSeconds": 600}},
                {"downwardAPI": {"items": [{"path": "name", "fieldRef": {"fieldPath": "metadata.name"}}]}},
            ]}},
        ],
    });
    let pod = Pod::create("settings", spec);
    let status = pod.ready();
    let expected = format!("blue and open sesame\n{}", text(&status["status"]["podIP"]));
    assert_eq!(pod.exec("main", "echo $BOTH; echo $POD_IP"), expected);
    assert_eq!(pod.exec("main", "cat /settings/today/menu"), "soup\nbread");
    assert_eq!(pod.exec("main", "cat /key/word; stat -Lc ' %a' /key/word"), "open sesame 400");
    assert_eq!(
        pod.exec("main", "cat /all/name; awk -F. '{ print NF }' /all/token"),
        "settings3",
        "a token has three parts"
    );
    pod.delete();
}

#[test]
fn a_sub_path_mounts_a_part_of_a_volume() {
    let _node = shared();
    let fill = with(
        shell("fill", "mkdir -p /data/a/b; echo deep > /data/a/b/file; echo flat > /data/flat"),
        json!({"volumeMounts": [mount("data", "/data", json!({}))]}),
    );
    let main = with(
        shell("main", UNTIL_TERM),
        json!({
            "env": [{"name": "WHO", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}],
            "volumeMounts": [
                mount("data", "/part", json!({"subPath": "a/b"})),
                mount("data", "/etc/flat", json!({"subPath": "flat"})),
                mount("data", "/mine", json!({"subPathExpr": "made-for/$(WHO)"})),
                mount("data", "/data", json!({})),
            ],
        }),
    );
    let spec = json!({"initContainers": [fill], "containers": [main], "volumes": [{"name": "data", "emptyDir": {}}]});
    let pod = Pod::create("sub-paths", spec);
    pod.ready();
    assert_eq!(
        pod.exec("main", "cat /part/file /etc/flat; touch /mine/x; ls /data/made-for/sub-paths"),
        "deep\nflat\nx"
    );
    pod.delete();
}

/// Needs Docker 28 and a kubelet with image volumes enabled: lane new has both.
#[test]
fn an_image_volume_has_the_files_of_the_image() {
    if environment("DOCKSIDE_LANE") != "new" {
        return;
    }
    let _node = shared();
    let main = with(
        shell("main", UNTIL_TERM),
        json!({"volumeMounts": [
            mount("nginx", "/nginx", json!({})),
            mount("nginx", "/settings", json!({"subPath": "etc/nginx"})),
        ]}),
    );
    let image = json!({"reference": NGINX, "pullPolicy": "IfNotPresent"});
    let spec = json!({"containers": [main], "volumes": [{"name": "nginx", "image": image}]});
    let pod = Pod::create("image-volume", spec);
    pod.ready();
    assert_eq!(pod.exec("main", "cmp /nginx/etc/nginx/nginx.conf /settings/nginx.conf && echo same"), "same");
    assert_eq!(pod.exec("main", "touch /settings/new 2>/dev/null || echo refused"), "refused");
    pod.delete();
}
