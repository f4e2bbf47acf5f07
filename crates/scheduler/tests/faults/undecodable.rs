//! Objects that cannot be decoded from Protobuf: a client that writes Protobuf can store strings that are not UTF-8.

use crate::unschedulable::working;
use crate::workload::Workload;
use harness::in_cluster::*;

/// A field of a Protobuf message that is a string or a message.
fn field(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = u8::try_from(content.len()).unwrap();
    assert!(tag < 16 && length < 128, "this would take more than a byte");
    [&[tag << 3 | 2, length], content].concat()
}

/// A pod with an annotation that is not UTF-8, in the Protobuf that the API server accepts.
fn undecodable_pod(workload: &Workload, name: &str) -> Vec<u8> {
    let annotation = field(12, &[field(1, b"note"), field(2, b"caf\xe9")].concat());
    let metadata = [field(1, name.as_bytes()), field(3, workload.name.as_bytes()), annotation].concat();
    let container = field(2, &[field(1, b"main"), field(2, b"none")].concat());
    // The tag of schedulerName, 19, takes two bytes.
    let scheduler = [&[0x9a, 1, u8::try_from(workload.name.len()).unwrap()], workload.name.as_bytes()].concat();
    let pod = [field(1, &metadata), field(2, &[container, scheduler].concat())].concat();
    let kind = [field(1, b"v1"), field(2, b"Pod")].concat();
    let length = [0x80 | (pod.len() & 127) as u8, (pod.len() >> 7) as u8];
    [&b"k8s\0"[..], &field(1, &kind), &[2 << 3 | 2], &length, &pod].concat()
}

fn create(workload: &Workload, name: &str) {
    let config = environment("KUBECONFIG");
    let directory = config.rsplit_once('/').unwrap().0;
    let file = std::env::temp_dir().join(name);
    std::fs::write(&file, undecodable_pod(workload, name)).unwrap();
    let server = kubectl(&["config", "view", "-o", "jsonpath={.clusters[0].cluster.server}"]);
    let [ca, cert, key] = ["ca.crt", "admin.crt", "admin.key"].map(|file| format!("{directory}/{file}"));
    let (body, url) = (format!("@{}", file.display()), format!("{server}/api/v1/namespaces/{}/pods", workload.name));
    let access = ["-sS", "--fail-with-body", "--cacert", &ca, "--cert", &cert, "--key", &key];
    let what = ["-H", "Content-Type: application/vnd.kubernetes.protobuf", "--data-binary", &body, &url];
    run("curl", &[&access[..], &what].concat());
    std::fs::remove_file(file).unwrap();
}

#[test]
fn pods_that_cannot_be_decoded_from_protobuf_get_their_nodes() {
    let workload = Workload::new("no-utf8", 1);
    let replica = working(&workload);
    apply(&workload.pod("before"));
    workload.until_bound(1);
    create(&workload, "no-utf8-in-a-watch");
    apply(&workload.pod("after"));
    workload.until_bound(3);
    replica.stop();
    let second = working(&workload);
    create(&workload, "no-utf8-after-a-list");
    workload.until_bound(4);
    second.stop();
    // Deletes the pods, so that the replicas of other tests can use Protobuf.
    kubectl(&["delete", "pods", "--all", "-n", workload.name, "--force", "--grace-period=0"]);
}
