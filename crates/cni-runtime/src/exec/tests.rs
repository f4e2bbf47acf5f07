use super::*;
use crate::testing::install;

struct Bench {
    dir: tempfile::TempDir,
}

impl Bench {
    fn with(script: &str) -> Bench {
        let dir = tempfile::tempdir().unwrap();
        install(&dir.path().join("plug"), script);
        Bench { dir }
    }

    async fn run(&self, deadline: Duration, config: &[u8]) -> Result<Vec<u8>, PluginError> {
        let runner = Runner::new(vec![self.dir.path().to_owned()], deadline);
        runner.run("plug", Verb::Add, &Environment::default(), config).await
    }
}

const LONG: Duration = Duration::from_secs(30);

#[tokio::test]
async fn a_plugin_that_writes_much_before_it_reads_does_not_stop() {
    let bench = Bench::with("head -c 600000 /dev/zero >&2; head -c 600000 /dev/zero; exec cat");
    let config = vec![b'x'; 300_000];
    let output = bench.run(LONG, &config).await.unwrap();
    assert_eq!(output.len(), 900_000);
    assert!(output.ends_with(&config));
}

#[tokio::test]
async fn a_plugin_that_does_not_read_may_answer() {
    let bench = Bench::with("echo '{}'");
    assert_eq!(bench.run(LONG, &vec![b'x'; 300_000]).await.unwrap(), b"{}\n");
}

#[tokio::test]
async fn endless_output_is_read_but_not_kept() {
    let bench = Bench::with("cat >/dev/null; head -c 3000000 /dev/zero; exit 0");
    let error = bench.run(LONG, b"{}").await.unwrap_err();
    assert!(matches!(error.failure, Failure::TooMuchOutput), "{error}");
    let bench = Bench::with("head -c 3000000 /dev/zero | tr '\\0' e >&2; exit 3");
    let error = bench.run(LONG, b"{}").await.unwrap_err().to_string();
    assert!(error.contains("exit status: 3") && error.len() < 3000, "{error}");
}

#[tokio::test]
async fn the_plugins_own_error_is_reported() {
    let bench = Bench::with(r#"echo '{"code":11,"msg":"try later","details":"pool empty"}'; exit 1"#);
    let error = bench.run(LONG, b"{}").await.unwrap_err();
    assert_eq!(error.code(), Some(11));
    assert_eq!(error.to_string(), "plugin plug failed on ADD: try later: pool empty (code 11)");
}

#[tokio::test]
async fn without_an_error_object_standard_error_is_reported() {
    let bench = Bench::with("echo not json; echo 'no iptables here' >&2; exit 2");
    let error = bench.run(LONG, b"{}").await.unwrap_err().to_string();
    assert_eq!(error, "plugin plug failed on ADD: exit status: 2: no iptables here");
}

#[tokio::test]
async fn the_deadline_kills_the_plugin_and_what_it_started() {
    let bench = Bench::with("echo waiting >&2; sleep 1000 & echo $! > \"$0.new\"; mv \"$0.new\" \"$0.pid\"; wait");
    let start = Instant::now();
    let error = bench.run(Duration::from_secs(1), b"{}").await.unwrap_err();
    assert!(start.elapsed() < Duration::from_secs(10));
    assert!(error.to_string().ends_with("did not end within 1 s: waiting"), "{error}");
    let pid = std::fs::read_to_string(bench.dir.path().join("plug.pid")).unwrap();
    let stat = Path::new("/proc").join(pid.trim()).join("stat");
    crate::testing::eventually("the sleeper is dead", || {
        std::fs::read_to_string(&stat).map_or(true, |text| text.contains(") Z "))
    });
}

#[tokio::test]
async fn a_call_given_up_kills_the_plugin() {
    let bench = Bench::with("echo $$ > \"$0.new\"; mv \"$0.new\" \"$0.pid\"; exec sleep 1000");
    let pid_file = bench.dir.path().join("plug.pid");
    let call = bench.run(LONG, b"{}");
    tokio::select! {
        _ = call => panic!("the plugin ended"),
        _ = async { while !pid_file.exists() { tokio::time::sleep(Duration::from_millis(5)).await } } => {}
    }
    let stat = Path::new("/proc").join(std::fs::read_to_string(&pid_file).unwrap().trim()).join("stat");
    crate::testing::eventually("the plugin is dead", || {
        std::fs::read_to_string(&stat).map_or(true, |text| text.contains(") Z "))
    });
}

#[tokio::test]
async fn something_left_behind_with_the_pipes_does_not_hold_the_call() {
    let bench = Bench::with("sleep 20 & echo '{}'");
    let start = Instant::now();
    assert_eq!(bench.run(LONG, b"{}").await.unwrap(), b"{}\n");
    assert!(start.elapsed() < Duration::from_secs(10));
}

#[tokio::test]
async fn a_missing_or_not_executable_plugin_is_named() {
    let bench = Bench::with("exit 0");
    std::fs::set_permissions(bench.dir.path().join("plug"), std::fs::Permissions::from_mode(0o644)).unwrap();
    let error = bench.run(LONG, b"{}").await.unwrap_err().to_string();
    assert!(error.contains("no executable file of that name in"), "{error}");
}

#[tokio::test]
async fn the_environment_is_inherited_but_for_what_addresses_dockside() {
    let dir = tempfile::tempdir().unwrap();
    install(&dir.path().join("plug"), "env");
    let runner = Runner::new(vec!["/nowhere".into(), dir.path().to_owned()], LONG);
    let environment = Environment { ifname: Some("eth0".to_owned()), ..Environment::default() };
    let command = runner.command(&dir.path().join("plug"), Verb::Gc, &environment);
    let removed = |name: &str| command.as_std().get_envs().any(|(key, value)| key == name && value.is_none());
    assert!(removed("NOTIFY_SOCKET") && removed("CNI_NETNS") && removed("CNI_ARGS"));
    let output = runner.run("plug", Verb::Gc, &environment, b"").await.unwrap();
    let output = String::from_utf8(output).unwrap();
    assert!(output.lines().any(|line| line == "CNI_COMMAND=GC"), "{output}");
    assert!(output.lines().any(|line| line == "CNI_IFNAME=eth0"), "{output}");
    assert!(output.lines().any(|line| line == format!("CNI_PATH=/nowhere:{}", dir.path().display())));
    assert!(output.lines().any(|line| line.starts_with("PATH=")), "{output}");
}
