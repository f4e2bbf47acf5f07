//! The user and groups of a container's process, read from /proc.

use dockside::proto::*;
use tonic::Code;

use crate::assert_refused;
use crate::containers::of_image;
use crate::inspect::*;
use crate::runtime;
use crate::security::Security;
use crate::security::id;
use crate::security::process;
use crate::security::secured;
use harness::*;

#[tokio::test(flavor = "multi_thread")]
async fn the_user_is_from_the_request_or_else_from_the_image() {
    let mut runtime = runtime().await;
    let config = pod("users");
    let sandbox = run_pod(&mut runtime, &config).await;
    let user = |uid, gid| Security { run_as_user: uid, run_as_group: gid, ..Default::default() };
    let named =
        |name: &str, gid| Security { run_as_username: name.to_owned(), run_as_group: gid, ..Default::default() };
    for (number, (image, security, expected)) in [
        (BUSYBOX, user(None, None), "0:0"),
        (BUSYBOX, user(id(1001), None), "1001:0"),
        (BUSYBOX, user(id(1001), id(1002)), "1001:1002"),
        (BUSYBOX, user(id(0), id(1002)), "0:1002"),
        (BUSYBOX, named("nobody", None), "65534:65534"),
        (BUSYBOX, named("www-data", id(5)), "33:5"),
        ("dockside.test/user-uid:1", user(None, None), "1002:0"),
        ("dockside.test/user-name:1", user(None, None), "33:33"),
        ("dockside.test/user-uid-group:1", user(None, None), "1003:1004"),
        ("dockside.test/user-name-group:1", user(None, None), "33:1004"),
        ("dockside.test/user-name-group:1", user(id(0), None), "0:0"),
        (BUSYBOX, user(id(2_147_483_647), None), "2147483647:0"),
    ]
    .into_iter()
    .enumerate()
    {
        let case = format!("{image} {security:?}");
        let wanted =
            ContainerConfig { image: of_image("", image).image, ..secured(&format!("main-{number}"), security) };
        let (_, pid) = process(&mut runtime, &sandbox, &config, &wanted).await;
        let first = |field| proc_status(pid, field).split('\t').next().unwrap().to_owned();
        assert_eq!(format!("{}:{}", first("Uid"), first("Gid")), expected, "{case}");
    }
    for (security, field) in [
        (user(None, id(1002)), "linux.security_context.run_as_group"),
        (user(id(-1), None), "linux.security_context.run_as_user"),
        (user(id(1 << 32), None), "linux.security_context.run_as_user"),
        (user(id(1), id(1 << 32)), "linux.security_context.run_as_group"),
        (Security { run_as_user: id(1), ..named("nobody", None) }, "linux.security_context.run_as_username"),
        (named("a:b", None), "linux.security_context.run_as_username"),
    ] {
        let refused = try_create(&mut runtime, &sandbox, &config, &secured("refused", security)).await;
        assert_refused(refused, Code::InvalidArgument, &["container refused", field]);
    }
    // A name that is missing in the image is only detected at the start.
    let unknown = create(&mut runtime, &sandbox, &config, &secured("unknown", named("no-such-user", None))).await;
    let error = runtime.start_container(StartContainerRequest { container_id: unknown.clone() }).await.unwrap_err();
    assert!(error.message().contains("no-such-user"), "{error}");
    assert_eq!(container_status(&mut runtime, &unknown).await.reason, "ContainerCannotRun");
    remove_pod(&mut runtime, &sandbox).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn container_status_reports_the_user_and_all_groups() {
    let mut runtime = runtime().await;
    let config = pod("reported-users");
    let sandbox = run_pod(&mut runtime, &config).await;
    let asked = |uid, gid| Security {
        run_as_user: uid,
        run_as_group: gid,
        supplemental_groups: vec![1234, 5678],
        ..Default::default()
    };
    let strict =
        |security| Security { supplemental_groups_policy: SupplementalGroupsPolicy::Strict.into(), ..security };
    for (number, (image, security)) in [
        (BUSYBOX, asked(id(1001), id(1002))),
        // This user is in groups of the image, which apply only if the request has none.
        ("dockside.test/groups:1", asked(id(1000), id(1000))),
        ("dockside.test/groups:1", asked(id(1000), None)),
        ("dockside.test/groups:1", strict(asked(id(1000), None))),
        ("dockside.test/groups:1", strict(asked(None, None))),
        ("dockside.test/user-uid-group:1", asked(None, None)),
        ("dockside.test/user-uid:1", asked(None, None)),
        ("dockside.test/user-name-group:1", asked(None, None)),
        ("dockside.test/user-name-group:1", strict(asked(None, None))),
        (BUSYBOX, asked(id(1001), None)),
        (BUSYBOX, strict(asked(None, None))),
    ]
    .into_iter()
    .enumerate()
    {
        let case = format!("{image} {security:?}");
        let wanted =
            ContainerConfig { image: of_image("", image).image, ..secured(&format!("main-{number}"), security) };
        let (container, pid) = process(&mut runtime, &sandbox, &config, &wanted).await;
        let user = container_status(&mut runtime, &container).await.user.and_then(|user| user.linux).expect(&case);
        let numbers = |field| -> Vec<i64> {
            proc_status(pid, field).split_whitespace().map(|number| number.parse().unwrap()).collect()
        };
        assert_eq!((user.uid, user.gid), (numbers("Uid")[0], numbers("Gid")[0]), "{case}");
        assert_eq!(user.supplemental_groups, numbers("Groups"), "{case}");
    }
    remove_pod(&mut runtime, &sandbox).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn supplemental_groups_follow_the_policy() {
    let mut runtime = runtime().await;
    let config = pod("groups");
    let sandbox = run_pod(&mut runtime, &config).await;
    let groups = |groups: &[i64]| Security { supplemental_groups: groups.to_vec(), ..Default::default() };
    let policy = SupplementalGroupsPolicy::Strict.into();
    let strict = |list: &[i64]| Security { supplemental_groups_policy: policy, ..groups(list) };
    for (number, (image, security, expected)) in [
        (BUSYBOX, groups(&[1234, 5678]), "0 1234 5678"),
        ("dockside.test/groups:1", groups(&[]), "1000 50000"),
        ("dockside.test/groups:1", groups(&[1234]), "1000 1234 50000"),
        ("dockside.test/groups:1", strict(&[1234]), "1000 1234"),
        ("dockside.test/groups:1", Security { run_as_user: id(1000), ..strict(&[]) }, "1000"),
    ]
    .into_iter()
    .enumerate()
    {
        let wanted =
            ContainerConfig { image: of_image("", image).image, ..secured(&format!("main-{number}"), security) };
        let (container, _) = process(&mut runtime, &sandbox, &config, &wanted).await;
        let seen = inside(&container, "id -G");
        let mut seen: Vec<u32> = seen.split(' ').map(|group| group.parse().unwrap()).collect();
        seen.sort_unstable();
        let seen: Vec<String> = seen.iter().map(u32::to_string).collect();
        assert_eq!(seen.join(" "), expected);
    }
    let refused = try_create(&mut runtime, &sandbox, &config, &secured("overflow", groups(&[1 << 32]))).await;
    assert_refused(refused, Code::InvalidArgument, &["linux.security_context.supplemental_groups"]);
    // RuntimeFeatures announces the policy.
    let status = runtime.status(StatusRequest::default()).await.unwrap().into_inner();
    assert!(status.features.unwrap().supplemental_groups_policy);
    remove_pod(&mut runtime, &sandbox).await;
}
