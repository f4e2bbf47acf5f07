use super::*;
use crate::manifest::check::is_uid;
use crate::manifest::types::*;

/// A Pod with this spec.
fn with(spec: &str) -> String {
    format!("apiVersion: v1\nkind: Pod\nmetadata: {{name: web}}\nspec:\n{}", indented(spec))
}

fn indented(text: &str) -> String {
    text.lines().map(|line| format!("  {line}\n")).collect()
}

/// A Pod with one container, which has these fields.
fn with_container(fields: &str) -> String {
    with(&format!("volumes: [{{name: v}}]\ncontainers:\n- name: c\n  image: x\n{}", indented(fields)))
}

fn one(text: &str) -> Manifest {
    let mut manifests = parse("pod.yaml", text).unwrap_or_else(|error| panic!("{text}\n{error}"));
    assert_eq!(manifests.len(), 1);
    manifests.remove(0)
}

fn refusal(text: &str) -> String {
    match parse("pod.yaml", text) {
        Ok(_) => panic!("accepted:\n{text}"),
        Err(error) => error.to_string(),
    }
}

#[test]
fn the_example_is_a_pod_for_a_human_scheduler() {
    let text = include_str!("../../../examples/first-job.yaml");
    let manifest = one(text);
    let pod = &manifest.pod;
    assert_eq!(pod.to_string(), "default/first-job");
    let nginx = &pod.spec.containers[0];
    assert_eq!((nginx.name.as_str(), nginx.image.as_str(), nginx.ports[0].container_port), ("nginx", "nginx:1.14", 80));
    assert_eq!(nginx.image_pull_policy, Some(PullPolicy::IfNotPresent));
    assert_eq!(manifest.notes.len(), 1);
    assert!(manifest.notes[0].contains("you are the scheduler") && manifest.notes[0].contains("spec.schedulerName"));
}

#[test]
fn absent_fields_have_kubernetes_defaults() {
    let pod = one(&with_container("")).pod;
    assert_eq!(pod.metadata.namespace, "default");
    assert_eq!(pod.spec.restart_policy, RestartPolicy::Always);
    assert_eq!(pod.spec.termination_grace_period_seconds, 30);
    let container = &pod.spec.containers[0];
    assert_eq!(container.termination_message_path, "/dev/termination-log");
    assert_eq!(container.termination_message_policy, TerminationMessagePolicy::File);
    assert!(pod.spec.volumes[0].host_path.is_none());
}

#[test]
fn a_missing_uid_depends_on_the_name_alone() {
    let first = one(&with_container("")).pod.metadata.uid;
    let other = one(&with_container("tty: true")).pod.metadata.uid;
    assert_eq!(first, other);
    assert_eq!(first, uid("default", "web"));
    assert_ne!(first, uid("default", "web2"));
    assert_eq!(first.len(), 36);
    assert_eq!(&first[14..15], "8");
    assert!(is_uid(&first));
    let given = with_container("").replace("{name: web}", "{name: web, uid: 1234-abcd}");
    assert_eq!(one(&given).pod.metadata.uid, "1234-abcd");
}

/// As `kubectl get pod -o yaml` writes it.
const EXPORTED: &str = "
apiVersion: v1
kind: Pod
metadata:
  annotations:
    note: kept
  creationTimestamp: '2026-11-23T06:00:00Z'
  generateName: web-
  generation: 1
  labels: {app: web}
  managedFields: [{manager: kubectl}]
  name: web
  namespace: shop
  ownerReferences: [{kind: ReplicaSet}]
  resourceVersion: '371'
  uid: 5f0c6f0e-0000-4000-8000-000000000001
spec:
  affinity: {}
  containers:
  - image: nginx:1.14
    imagePullPolicy: IfNotPresent
    name: nginx
    ports: [{containerPort: 80, protocol: TCP}]
    resizePolicy: [{resourceName: cpu, restartPolicy: NotRequired}]
    resources:
      limits: {ephemeral-storage: 1Gi, memory: 64Mi}
    securityContext: null
    terminationMessagePath: /dev/termination-log
    terminationMessagePolicy: File
    volumeMounts:
    - mountPath: /var/run/secrets/kubernetes.io/serviceaccount
      name: kube-api-access-x7b2k
      readOnly: true
    - {mountPath: /data, name: data}
  dnsPolicy: ClusterFirst
  enableServiceLinks: true
  hostUsers: true
  imagePullSecrets: [{name: registry}]
  nodeName: inajob
  os: {name: linux}
  preemptionPolicy: PreemptLowerPriority
  priority: 0
  restartPolicy: Always
  schedulerName: default-scheduler
  securityContext: {}
  serviceAccount: default
  serviceAccountName: default
  terminationGracePeriodSeconds: 30
  tolerations:
  - {effect: NoExecute, key: node.kubernetes.io/not-ready, operator: Exists, tolerationSeconds: 300}
  volumes:
  - name: data
    emptyDir: {}
  - name: kube-api-access-x7b2k
    projected:
      defaultMode: 420
      sources: [{serviceAccountToken: {path: token}}]
status:
  phase: Running
";

#[test]
fn an_exported_pod_works_and_notes_what_was_ignored() {
    let manifest = one(EXPORTED);
    let pod = &manifest.pod;
    assert_eq!(pod.to_string(), "shop/web");
    assert_eq!(pod.metadata.annotations["note"], "kept");
    assert_eq!(pod.spec.volumes.len(), 1);
    assert_eq!(pod.spec.containers[0].volume_mounts.len(), 1);
    let notes = manifest.notes.join("\n");
    for path in [
        "status",
        "metadata.managedFields",
        "spec.nodeName",
        "spec.tolerations",
        "spec.serviceAccountName",
        "spec.imagePullSecrets",
        "spec.containers[0].resizePolicy",
        "spec.containers[0].resources.limits.ephemeral-storage",
        "volume kube-api-access-x7b2k",
    ] {
        assert!(notes.contains(path), "{path}\n{notes}");
    }
    for path in ["hostUsers", "spec.os", "dnsPolicy"] {
        assert!(!notes.contains(path), "{path}\n{notes}");
    }
}

#[test]
fn fields_that_are_not_implemented_are_refused_with_their_path() {
    for (fields, path) in [
        ("livenessProbe: {httpGet: {path: /}}", "livenessProbe"),
        ("lifecycle: {}", "lifecycle"),
        ("envFrom: []", "envFrom"),
        ("env: [{name: A, valueFrom: {fieldRef: {fieldPath: status.podIP}}}]", "env[0].valueFrom"),
        ("restartPolicy: Always", "restartPolicy"),
        ("resources: {limits: {nvidia.com/gpu: 1}}", "resources.limits.nvidia.com/gpu"),
        ("volumeMounts: [{name: v, mountPath: /v, subPathExpr: x}]", "volumeMounts[0].subPathExpr"),
        ("volumeMounts: [{name: v, mountPath: /v, recursiveReadOnly: Enabled}]", "volumeMounts[0].recursiveReadOnly"),
        ("securityContext: {seLinuxOptions: {level: s0}}", "securityContext.seLinuxOptions"),
        ("imagePullpolicy: Always", "imagePullpolicy"),
    ] {
        let error = refusal(&with_container(fields));
        assert!(error.starts_with(&format!("pod.yaml: spec.containers[0].{path}: ")), "{error}");
        assert!(error.contains("does not implement this field"), "{error}");
    }
    for (spec, path) in [
        ("hostUsers: false", "spec.hostUsers"),
        ("ephemeralContainers: []", "spec.ephemeralContainers"),
        ("activeDeadlineSeconds: 5", "spec.activeDeadlineSeconds"),
        ("volumes: [{name: v, configMap: {name: c}}]", "spec.volumes[0].configMap"),
        ("volumes: [{name: kube-api-access-1, secret: {}}]", "spec.volumes[0].secret"),
        ("securityContext: {sysctls: []}", "spec.securityContext.sysctls"),
        ("securityContext: {supplementalGroupsPolicy: None}", "spec.securityContext.supplementalGroupsPolicy"),
    ] {
        let error = refusal(&with(&format!("{spec}\ncontainers: [{{name: c, image: x}}]")));
        assert!(error.starts_with(&format!("pod.yaml: {path}: ")), "{error}");
    }
}

#[test]
fn wrong_types_and_words_are_refused_with_their_path() {
    for (fields, message) in [
        ("env: [{name: PORT, value: 8080}]", "env[0].value: invalid type: integer `8080`, expected a string"),
        ("imagePullPolicy: Sometimes", "imagePullPolicy: unknown variant `Sometimes`, expected one of"),
        ("resources: {limits: {memory: lots}}", "resources.limits.memory: `lots` is not a quantity"),
        ("ports: [{containerPort: 70000}]", "ports[0].containerPort: invalid value"),
        (
            "securityContext: {procMount: Unmasked}",
            "securityContext.procMount: unknown variant `Unmasked`, expected `Default`",
        ),
        ("command: nginx", "command: invalid type: string \"nginx\", expected a sequence"),
    ] {
        let error = refusal(&with_container(fields));
        assert!(error.starts_with(&format!("pod.yaml: spec.containers[0].{message}")), "{error}");
    }
    let error = refusal(&with("containers: [{name: c}]"));
    assert!(error.starts_with("pod.yaml: spec.containers[0]: missing field `image`"), "{error}");
    let error = refusal(&with_container("").replace("{name: web}", "{name: web, annotations: {on: true}}"));
    assert!(error.starts_with("pod.yaml: metadata.annotations.on: invalid type: boolean `true`"), "{error}");
}

#[test]
fn broken_rules_of_a_container_are_named_with_their_path() {
    for (fields, message) in [
        ("env: [{name: A=B}]", "env[0].name: it cannot"),
        ("ports: [{containerPort: 0}]", "ports[0].containerPort: it has to be"),
        ("ports: [{containerPort: 1, hostIP: here}]", "ports[0].hostIP: `here` is not an address"),
        ("resources: {limits: {cpu: 1}, requests: {cpu: 2}}", "resources.requests.cpu: it is more than the limit"),
        ("volumeMounts: [{name: w, mountPath: /w}]", "volumeMounts[0].name: there is no volume `w`"),
        ("volumeMounts: [{name: v, mountPath: ''}]", "volumeMounts[0].mountPath: it has to be"),
        ("volumeMounts: [{name: v, mountPath: /v}, {name: v, mountPath: /v}]", "volumeMounts[1].mountPath: another"),
        ("volumeMounts: [{name: v, mountPath: /v, subPath: ../x}]", "volumeMounts[0].subPath: it has to be"),
        ("volumeMounts: [{name: v, mountPath: /v, subPath: /x}]", "volumeMounts[0].subPath: it has to be"),
        (
            "volumeMounts: [{name: v, mountPath: /v, mountPropagation: Bidirectional}]",
            "volumeMounts[0].mountPropagation: ",
        ),
        ("securityContext: {runAsUser: -1}", "securityContext.runAsUser: -1 is not"),
        ("securityContext: {runAsUser: 0, runAsNonRoot: true}", "securityContext.runAsNonRoot: the user is 0"),
        (
            "securityContext: {privileged: true, allowPrivilegeEscalation: false}",
            "securityContext.allowPrivilegeEscalation: ",
        ),
        (
            "securityContext: {seccompProfile: {type: Localhost}}",
            "securityContext.seccompProfile.localhostProfile: it is needed",
        ),
        (
            "securityContext: {seccompProfile: {type: Localhost, localhostProfile: ../../x}}",
            "securityContext.seccompProfile.localhostProfile: it has to be",
        ),
        ("terminationMessagePath: log", "terminationMessagePath: it has to be"),
    ] {
        let error = refusal(&with_container(fields));
        assert!(error.starts_with(&format!("pod.yaml: spec.containers[0].{message}")), "{error}");
    }
}

#[test]
fn broken_rules_of_a_pod_are_named_with_their_path() {
    let containers = "containers: [{name: c, image: x}]";
    for (spec, message) in [
        ("containers: []", "spec.containers: there has to be"),
        ("containers: [{name: A, image: x}]", "spec.containers[0].name: it has to consist"),
        ("containers: [{name: a, image: ''}]", "spec.containers[0].image: it has to be"),
        ("containers: [{name: a, image: x}, {name: a, image: x}]", "spec.containers[1].name: there is another"),
        ("initContainers: [{name: c, image: x}]", "spec.containers[0].name: there is another"),
        ("volumes: [{name: v}, {name: v}]", "spec.volumes[1].name: there is another"),
        ("volumes: [{name: v, hostPath: {path: a/b}}]", "spec.volumes[0].hostPath.path: it has to be"),
        ("volumes: [{name: v, hostPath: {path: /a/../b}}]", "spec.volumes[0].hostPath.path: it has to be"),
        ("volumes: [{name: v, hostPath: {path: /a}, emptyDir: {}}]", "spec.volumes[0]: a volume has one source"),
        ("dnsPolicy: None", "spec.dnsConfig.nameservers: dnsPolicy None needs"),
        ("dnsConfig: {nameservers: [dns.example]}", "spec.dnsConfig.nameservers[0]: `dns.example` is not"),
        ("hostPID: true\nshareProcessNamespace: true", "spec.shareProcessNamespace: it cannot"),
        ("terminationGracePeriodSeconds: -1", "spec.terminationGracePeriodSeconds: it cannot"),
        ("hostname: a.b", "spec.hostname: it has to consist"),
        (
            "hostNetwork: true\ncontainers: [{name: c, image: x, ports: [{containerPort: 80, hostPort: 81}]}]",
            "spec.containers[0].ports[0].hostPort: with hostNetwork",
        ),
    ] {
        let spec = if spec.contains("\ncontainers") || spec.starts_with("containers") {
            spec.to_owned()
        } else {
            format!("{spec}\n{containers}")
        };
        let error = refusal(&with(&spec));
        assert!(error.starts_with(&format!("pod.yaml: {message}")), "{error}");
    }
    for (metadata, message) in [
        ("{name: Web}", "metadata.name: it has to consist"),
        ("{name: a_b}", "metadata.name: it has to consist"),
        ("{name: ..}", "metadata.name: it has to consist"),
        ("{name: web, namespace: a/b}", "metadata.namespace: it has to consist"),
        ("{name: web, uid: ../x}", "metadata.uid: it has to consist"),
        ("{labels: {}}", "metadata: missing field `name`"),
    ] {
        let error = refusal(&with_container("").replace("{name: web}", metadata));
        assert!(error.starts_with(&format!("pod.yaml: {message}")), "{error}");
    }
}

#[test]
fn errors_name_the_document_among_several() {
    let pod = |name: &str| with_container("").replace("{name: web}", &format!("{{name: {name}}}"));
    let text = format!("---\n# nothing here\n---\n{}---\n{}", pod("a"), pod("b"));
    let names: Vec<String> =
        parse("pods.yaml", &text).unwrap().iter().map(|manifest| manifest.pod.to_string()).collect();
    assert_eq!(names, ["default/a", "default/b"]);
    let broken = format!("{}---\n{}", pod("a"), pod("B"));
    assert!(refusal(&broken).starts_with("pod.yaml, document 2: metadata.name: "));
    let twice = format!("{}---\n{}", pod("a"), pod("a"));
    assert_eq!(refusal(&twice), "pod.yaml, document 2: there is another manifest of pod default/a");
}

#[test]
fn a_list_is_its_items() {
    let pod = "{apiVersion: v1, kind: Pod, metadata: {name: a}, spec: {containers: [{name: c, image: x}]}}";
    let bare = "{metadata: {name: b}, spec: {containers: [{name: c, image: x}]}}";
    let text = |items: &str| format!("{{apiVersion: v1, kind: List, metadata: {{}}, items: [{items}]}}");
    assert_eq!(parse("list.yaml", &text(&format!("{pod}, {bare}"))).unwrap().len(), 2);
    let error = refusal(&text(&format!("{pod}, {}", bare.replace("name: c", "nam: c"))));
    assert!(error.starts_with("pod.yaml: items[1].spec.containers[0].nam: "), "{error}");
    let error = refusal(&text(&pod.replace("Pod", "Service")));
    assert_eq!(error, "pod.yaml: items[0].kind: it has to be Pod, not `Service`");
}

#[test]
fn json_is_a_manifest_too() {
    let text =
        r#"{"apiVersion":"v1","kind":"Pod","metadata":{"name":"a"},"spec":{"containers":[{"name":"c","image":"x"}]}}"#;
    assert_eq!(one(text).pod.to_string(), "default/a");
}

#[test]
fn documents_that_are_not_pods_are_refused() {
    assert_eq!(refusal("apiVersion: apps/v1\nkind: Deployment"), "pod.yaml: kind: it has to be Pod, not `Deployment`");
    assert_eq!(refusal("apiVersion: v2\nkind: Pod"), "pod.yaml: apiVersion: it has to be v1");
    assert_eq!(refusal("just text"), "pod.yaml: kind: it has to be Pod, not ``");
    assert_eq!(refusal("---\n---\n"), "pod.yaml: there is no Pod in it");
    assert!(refusal("a: [").starts_with("pod.yaml: "));
    assert!(refusal("kind: Pod\nkind: Pod").contains("duplicate"), "{}", refusal("kind: Pod\nkind: Pod"));
}

#[test]
fn merge_keys_and_aliases_work() {
    let text = with("containers:\n- &c {name: a, image: x, tty: true}\n- {<<: *c, name: b}");
    let containers = one(&text).pod.spec.containers;
    assert!(containers[1].tty);
    assert_eq!(containers[1].name, "b");
}

#[test]
fn the_hash_follows_the_manifest_of_the_container_alone() {
    let hash = |text: &str| one(text).pod.spec.containers[0].hash.clone();
    let plain = hash(&with_container("tty: true\nstdin: true"));
    assert_eq!(plain, hash(&with_container("stdin: true\ntty: true")));
    assert_eq!(plain, hash(&with_container("stdin: true\ntty: true").replace("name: web", "name: shop")));
    assert_ne!(plain, hash(&with_container("stdin: true")));
    // The published test vector of FNV-1a.
    assert_eq!(fnv(b"foobar"), 0xbf9c_f968);
}

#[test]
fn a_file_that_is_missing_is_named() {
    let error = load(Path::new("/nowhere/pod.yaml")).unwrap_err().to_string();
    assert!(error.starts_with("could not read /nowhere/pod.yaml: "), "{error}");
}
