use std::fs;

use clap::Args as _;
use clap::FromArgMatches as _;

use super::*;

/// A configuration file in a directory of its own.
struct File(tempfile::TempDir);

impl File {
    fn new(text: &str) -> File {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("dockside.toml"), text).unwrap();
        File(dir)
    }

    fn path(&self) -> PathBuf {
        self.0.path().join("dockside.toml")
    }
}

fn parse(args: &[&str]) -> Result<ServeArgs, clap::Error> {
    let command = ServeArgs::augment_args(clap::Command::new("serve").no_binary_name(true));
    ServeArgs::from_arg_matches(&command.try_get_matches_from(args)?)
}

fn resolve_with(args: &[&str], file: Option<&File>, environment: &[(&str, &str)]) -> Result<Config, Error> {
    let mut args = parse(args).unwrap_or_else(|error| panic!("{error}"));
    args.config = file.map(File::path);
    args.resolve_in(|name| environment.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned()))
}

fn resolve(args: &[&str]) -> Result<Config, Error> {
    resolve_with(args, None, &[])
}

fn resolve_file(text: &str) -> Result<Config, Error> {
    resolve_with(&[], Some(&File::new(text)), &[])
}

/// The message for these flags.
fn refusal(args: &[&str]) -> String {
    resolve(args).unwrap_err().to_string()
}

/// The message for this file, without its directory.
fn file_refusal(text: &str) -> String {
    let file = File::new(text);
    let message = resolve_with(&[], Some(&file), &[]).unwrap_err().to_string();
    message.replace(&format!("{}/", file.0.path().display()), "")
}

fn default_streaming() -> StreamingConfig {
    StreamingConfig {
        address: "127.0.0.1:0".parse().unwrap(),
        idle: Duration::from_secs(4 * 60 * 60),
        tls_certificate: None,
        tls_key: None,
    }
}

#[test]
fn without_flags_and_file_the_defaults_apply() {
    let expected = Config {
        listen: "/run/dockside/dockside.sock".into(),
        docker_endpoint: "/var/run/docker.sock".into(),
        state_dir: "/var/lib/dockside".into(),
        cni_conf_dir: "/etc/cni/net.d".into(),
        cni_bin_dirs: vec!["/opt/cni/bin".into(), "/usr/lib/cni".into()],
        cni_cache_dir: "/var/lib/cni/cache".into(),
        pod_cidr: None,
        builtin_network: true,
        sandbox_image: None,
        log_level: LogLevel::Info,
        log_format: LogFormat::Text,
        image_pull_progress_deadline: Some(Duration::from_secs(300)),
        runtime_request_timeout: Duration::from_secs(120),
        container_log_max_size: "32m".into(),
        container_log_max_files: 3,
        streaming: default_streaming(),
        metrics: None,
        tracing_endpoint: None,
        tracing_sampling_per_million: 0,
        ignored: vec![],
    };
    assert_eq!(resolve(&[]).unwrap(), expected);
    assert_eq!(resolve_with(&[], None, &[("DOCKER_HOST", "unix:///other.sock")]).unwrap(), expected);
}

#[test]
fn the_documented_file_says_the_same_as_no_file() {
    let sample = docs::sample();
    assert_eq!(resolve_file(&sample).unwrap(), resolve(&[]).unwrap());
    assert_eq!(resolve_file(&sample.replace("# ", "")).unwrap(), resolve(&[]).unwrap());
}

#[test]
fn every_setting_can_be_given_as_a_flag_and_as_a_key() {
    let values = [
        ("listen", "unix:///run/x.sock"),
        ("docker-endpoint", "unix:///d.sock"),
        ("state-dir", "/s"),
        ("cni-conf-dir", "/c"),
        ("cni-bin-dir", "/b1,/b2"),
        ("cni-cache-dir", "/k"),
        ("pod-cidr", "10.1.2.0/24,fd00::/64"),
        ("builtin-network", "false"),
        ("sandbox-image", "example.org/pause:9"),
        ("log-level", "trace"),
        ("log-format", "json"),
        ("image-pull-progress-deadline", "1m30s"),
        ("runtime-request-timeout", "45s"),
        ("container-log-max-size", "5k"),
        ("container-log-max-files", "2"),
        ("streaming-bind-addr", "127.0.0.1:10010"),
        ("streaming-idle-timeout", "30m"),
        ("streaming-tls-cert-file", "/cert.pem"),
        ("streaming-tls-key-file", "/key.pem"),
        ("metrics-address", "[::1]:9187"),
        ("tracing-endpoint", "collector.example:4317"),
        ("tracing-sampling-rate-per-million", "250"),
    ];
    let expected = Config {
        listen: "/run/x.sock".into(),
        docker_endpoint: "/d.sock".into(),
        state_dir: "/s".into(),
        cni_conf_dir: "/c".into(),
        cni_bin_dirs: vec!["/b1".into(), "/b2".into()],
        cni_cache_dir: "/k".into(),
        pod_cidr: Some("10.1.2.0/24,fd00::/64".parse().unwrap()),
        builtin_network: false,
        sandbox_image: Some("example.org/pause:9".into()),
        log_level: LogLevel::Trace,
        log_format: LogFormat::Json,
        image_pull_progress_deadline: Some(Duration::from_secs(90)),
        runtime_request_timeout: Duration::from_secs(45),
        container_log_max_size: "5k".into(),
        container_log_max_files: 2,
        streaming: StreamingConfig {
            address: "127.0.0.1:10010".parse().unwrap(),
            idle: Duration::from_secs(30 * 60),
            tls_certificate: Some("/cert.pem".into()),
            tls_key: Some("/key.pem".into()),
        },
        metrics: Some("[::1]:9187".parse().unwrap()),
        tracing_endpoint: Some("http://collector.example:4317".into()),
        tracing_sampling_per_million: 250,
        ignored: vec![],
    };
    let apart: Vec<String> = values.iter().flat_map(|(name, value)| [format!("--{name}"), (*value).into()]).collect();
    let joined: Vec<String> = values.iter().map(|(name, value)| format!("--{name}={value}")).collect();
    let file: String = values.iter().map(|(name, value)| format!("{name} = \"{value}\"\n")).collect();
    for args in [apart, joined] {
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        assert_eq!(resolve(&args).unwrap(), expected);
    }
    assert_eq!(resolve_file(&file).unwrap(), expected);
    assert_eq!(values.len(), SETTINGS.iter().filter(|setting| !setting.is_compat()).count());
}

#[test]
fn a_flag_overrides_the_file_even_by_an_alias() {
    let file = File::new("state-dir = '/from-file'\nlisten = 'unix:///from/file.sock'\nlog-level = 'debug'");
    let args = ["--cri-dockerd-root-directory=/from-flag", "--listen", "unix:///from/flag.sock"];
    let config = resolve_with(&args, Some(&file), &[]).unwrap();
    assert_eq!(config.state_dir, PathBuf::from("/from-flag"));
    assert_eq!(config.listen, PathBuf::from("/from/flag.sock"));
    assert_eq!(config.log_level, LogLevel::Debug);
}

#[test]
fn the_flags_of_a_cri_dockerd_unit_are_accepted() {
    let config = resolve(&[
        "--container-runtime-endpoint=unix:///run/cri-dockerd.sock",
        "--docker-endpoint=unix:///var/run/docker.sock",
        "--cri-dockerd-root-directory=/var/lib/cri-dockerd",
        "--pod-infra-container-image",
        "registry.k8s.io/pause:3.10",
        "--network-plugin=cni",
        "--cni-bin-dir=/opt/cni/bin",
        "--cni-conf-dir=/etc/cni/net.d",
        "--cni-cache-dir=/var/lib/cni/cache",
        "--pod-cidr=10.244.0.0/24",
        "--image-pull-progress-deadline=1m0s",
        "--runtime-request-timeout=0",
        "--log-level=panic",
        "--hairpin-mode=none",
        "--ipv6-dual-stack",
        "--network-plugin-mtu=1450",
        "--streaming-bind-addr=127.0.0.1:0",
        "--runtime-cgroups=",
    ])
    .unwrap();
    assert_eq!(config.listen, PathBuf::from("/run/cri-dockerd.sock"));
    assert_eq!(config.sandbox_image.as_deref(), Some("registry.k8s.io/pause:3.10"));
    assert_eq!(config.log_level, LogLevel::Error);
    assert_eq!(config.image_pull_progress_deadline, Some(Duration::from_secs(60)));
    assert_eq!(config.runtime_request_timeout, Duration::from_secs(120));
    let ignored: Vec<&str> =
        config.ignored.iter().filter_map(|line| line.split_once(" has no effect: ")).map(|(flag, _)| flag).collect();
    assert_eq!(ignored, ["--network-plugin-mtu", "--ipv6-dual-stack"]);
    assert_eq!(config.streaming, default_streaming());
}

#[test]
fn aliases_are_accepted_as_keys_too() {
    let config =
        resolve_file("container-runtime-endpoint = 'unix:///r.sock'\nipv6-dual-stack = true\nnetwork-plugin-mtu = 0")
            .unwrap();
    assert_eq!(config.listen, PathBuf::from("/r.sock"));
    assert_eq!(config.ignored.len(), 1);
    assert!(config.ignored[0].contains(":2: ipv6-dual-stack has no effect"), "{:?}", config.ignored);
}

#[test]
fn a_setting_by_two_names_is_refused() {
    assert_eq!(
        refusal(&["--listen=unix:///a", "--container-runtime-endpoint=unix:///a"]),
        "--container-runtime-endpoint: this is another name for --listen, which is given too: leave one of them out"
    );
    assert_eq!(
        file_refusal("sandbox-image = 'a'\n\npod-infra-container-image = 'a'\n"),
        "dockside.toml:3: pod-infra-container-image: this is another name for dockside.toml:1: sandbox-image, \
         which is given too: leave one of them out"
    );
    let error = parse(&["--listen=unix:///a", "--listen=unix:///b"]).unwrap_err();
    assert!(error.to_string().contains("--listen"), "{error}");
}

#[test]
fn values_that_cannot_be_used_are_refused_with_flag_value_and_reason() {
    for (flag, value, reason) in [
        ("listen", "/run/x.sock", "written as in unix://"),
        ("listen", "unix://run/x.sock", "absolute"),
        ("listen", "unix:///", "directory"),
        ("listen", "unix:///run/x/", "directory"),
        ("listen", "fd://", "creates its socket itself"),
        ("listen", "tcp://0.0.0.0:1", "root on this machine"),
        ("listen", "", "written as in unix://"),
        ("container-runtime-endpoint", "unix:///var/run/crio/crio.sock", "for CRI-O"),
        ("docker-endpoint", "tcp://10.0.0.1:2375", "one machine"),
        ("docker-endpoint", "ssh://me@host", "only unix://"),
        ("docker-endpoint", "unix://relative", "absolute"),
        ("state-dir", "var/lib", "absolute"),
        ("state-dir", "", "absolute"),
        ("cni-bin-dir", "", "at least one"),
        ("cni-bin-dir", "/opt/cni/bin,", "absolute"),
        ("cni-bin-dir", "/opt/cni/bin,lib", "absolute"),
        ("pod-cidr", "10.244.0.0", "not an address with a prefix"),
        ("pod-cidr", "10.1.0.0/24,10.2.0.0/24", "more than one"),
        ("sandbox-image", "", "named as in"),
        ("sandbox-image", "a b", "named as in"),
        ("log-level", "loud", "one of error"),
        ("log-format", "xml", "text or json"),
        ("image-pull-progress-deadline", "5", "written as in"),
        ("image-pull-progress-deadline", "-5s", "written as in"),
        ("image-pull-progress-deadline", "", "written as in"),
        ("runtime-request-timeout", "10ms", "at least 1s"),
        ("network-plugin", "kubenet", "pod-cidr"),
        ("network-plugin", "no-op", "Docker's bridge"),
        ("network-plugin", "", "Docker's bridge"),
        ("network-plugin", "weave", "only network plugin"),
        ("hairpin-mode", "both", "one of none"),
        ("network-plugin-mtu", "big", "a number"),
        ("ipv6-dual-stack", "maybe", "true or false"),
        ("streaming-bind-addr", "0.0.0.0:0", "loopback only"),
        ("streaming-bind-addr", "127.0.0.1:99999", "loopback only"),
        ("streaming-idle-timeout", "0", "at least 1s"),
        ("streaming-tls-key-file", "key.pem", "absolute"),
        ("streaming-bind-addr", ":10010", "loopback only"),
        ("streaming-bind-addr", "node1:0", "loopback only"),
        ("tracing-endpoint", "collector", "127.0.0.1:4317"),
        ("tracing-endpoint", "http://collector:4317/v1/traces", "127.0.0.1:4317"),
        ("tracing-endpoint", "https://collector:4317", "127.0.0.1:4317"),
        ("tracing-sampling-rate-per-million", "1000001", "at most"),
        ("tracing-sampling-rate-per-million", "half", "a number"),
        ("runtime-cgroups", "/system.slice/docker", "MemoryMax"),
    ] {
        let message = refusal(&[&format!("--{flag}={value}")]);
        assert!(message.starts_with(&format!("--{flag}: could not use `{value}`: ")), "{message}");
        assert!(message.contains(reason), "{message}");
    }
}

#[test]
fn a_socket_path_that_is_too_long_is_refused() {
    let longest = format!("unix:///{}", "x".repeat(106));
    assert!(resolve(&["--listen", &longest]).is_ok());
    assert!(refusal(&["--listen", &format!("{longest}x")]).contains("107 bytes"));
}

#[test]
fn a_streaming_address_may_leave_out_the_port() {
    for (text, address) in [
        ("127.0.0.1:0", "127.0.0.1:0"),
        ("localhost:10010", "127.0.0.1:10010"),
        ("127.0.0.2", "127.0.0.2:0"),
        ("[::1]:7", "[::1]:7"),
        ("::1", "[::1]:0"),
        ("[::1]", "[::1]:0"),
        ("", "127.0.0.1:0"),
    ] {
        let config = resolve(&["--streaming-bind-addr", text]).unwrap();
        assert_eq!(config.streaming.address, address.parse().unwrap(), "{text}");
    }
}

#[test]
fn durations_are_read_as_go_writes_them() {
    for (text, millis) in [
        ("0", 0),
        ("0s", 0),
        ("30s", 30_000),
        ("1m30s", 90_000),
        ("1h0m0s", 3_600_000),
        ("250ms", 250),
        ("1.5m", 90_000),
        ("1m0.5s", 60_500),
    ] {
        assert_eq!(duration(text), Ok(Duration::from_millis(millis)), "{text}");
    }
    for text in ["", "5", "1y", "1s1", "-1s", "soon"] {
        assert!(duration(text).is_err(), "{text}");
    }
}

#[test]
fn a_pull_may_have_no_progress_deadline() {
    assert_eq!(resolve(&["--image-pull-progress-deadline=0"]).unwrap().image_pull_progress_deadline, None);
    assert_eq!(resolve_file("image-pull-progress-deadline = 0").unwrap().image_pull_progress_deadline, None);
}

#[test]
fn the_built_in_pause_image_by_name_is_the_built_in_one() {
    assert_eq!(resolve(&["--sandbox-image=dockside.io/pause:1"]).unwrap().sandbox_image, None);
}

#[test]
fn an_empty_docker_endpoint_means_docker_host() {
    let other = [("DOCKER_HOST", "unix:///run/user/docker.sock")];
    let empty = ["--docker-endpoint", ""];
    let config = resolve_with(&empty, None, &other).unwrap();
    assert_eq!(config.docker_endpoint, PathBuf::from("/run/user/docker.sock"));
    for environment in [&[][..], &[("DOCKER_HOST", "")]] {
        let config = resolve_with(&empty, None, environment).unwrap();
        assert_eq!(config.docker_endpoint, PathBuf::from("/var/run/docker.sock"));
    }
    let error = resolve_with(&empty, None, &[("DOCKER_HOST", "tcp://10.0.0.1:2375")]).unwrap_err().to_string();
    assert!(
        error.starts_with("the environment variable DOCKER_HOST: could not use `tcp://10.0.0.1:2375`: "),
        "{error}"
    );
    let file = File::new("docker-endpoint = ''");
    assert_eq!(resolve_with(&[], Some(&file), &other).unwrap().docker_endpoint, PathBuf::from("/run/user/docker.sock"));
}

#[test]
fn lists_can_be_arrays_in_the_file() {
    let config = resolve_file("cni-bin-dir = ['/a', '/b']\npod-cidr = ['10.1.0.0/16', 'fd00::/48']").unwrap();
    assert_eq!(config.cni_bin_dirs, [PathBuf::from("/a"), PathBuf::from("/b")]);
    assert_eq!(config.pod_cidr.unwrap().to_string(), "10.1.0.0/16,fd00::/48");
    assert_eq!(resolve_file("pod-cidr = []").unwrap().pod_cidr, None);
}

#[test]
fn errors_in_the_file_name_file_line_and_key() {
    for (text, message) in [
        ("log-level = 'info'\n\nlog-levle = 'info'\n", "dockside.toml:3: there is no setting `log-levle`"),
        ("state_dir = '/x'", "dockside.toml:1: there is no setting `state_dir`; did you mean `state-dir`?"),
        ("# one\nlog-level = 'loud'", "dockside.toml:2: log-level: could not use `loud`: it is one of error"),
        ("\n\nlisten = 1.5", "dockside.toml:3: listen: could not use `1.5`: a string is needed, not float"),
        ("log-level = ['info']", "dockside.toml:1: log-level: could not use `info`: one value is needed, not a list"),
        (
            "cni-bin-dir = ['/a', 1]",
            "dockside.toml:1: cni-bin-dir: could not use `['/a', 1]`: a string is needed, not integer",
        ),
        ("[serve]\nlog-level = 'info'", "dockside.toml:1: there is no setting `serve`"),
        ("[listen]\nx = 1", "dockside.toml:1: listen: could not use"),
        ("state-dir = '/a'\nstate-dir = '/b'", "dockside.toml:2: duplicate key"),
        ("state-dir = '/a'\nlog-level = \n", "dockside.toml:2: "),
        ("config = '/x'", "dockside.toml:1: there is no setting `config`"),
    ] {
        let error = file_refusal(text);
        assert!(error.starts_with(message), "{text:?}: {error}");
    }
}

#[test]
fn the_first_error_of_the_file_is_reported() {
    assert!(file_refusal("zzz = 1\naaa = 1").starts_with("dockside.toml:1: there is no setting `zzz`"));
}

#[test]
fn a_file_that_is_missing_is_an_error() {
    let error = parse(&["--config", "/nowhere/dockside.toml"]).unwrap().resolve().unwrap_err().to_string();
    assert!(error.starts_with("could not read the configuration file /nowhere/dockside.toml: "), "{error}");
}

#[test]
fn unknown_flags_and_positional_arguments_are_refused() {
    assert!(parse(&["--nothing"]).is_err());
    assert!(parse(&["serve"]).is_err());
    // A switch takes its value behind an equals sign only, as in cri-dockerd: the word after it is another argument.
    assert!(parse(&["--ipv6-dual-stack", "true"]).is_err());
    assert!(parse(&["--ipv6-dual-stack=false"]).unwrap().resolve().unwrap().ignored.is_empty());
}

#[test]
fn the_help_shows_our_names_only() {
    let mut command = ServeArgs::augment_args(clap::Command::new("serve"));
    let help = command.render_long_help().to_string();
    for setting in SETTINGS {
        assert_eq!(help.contains(&format!("--{} ", setting.name)), !setting.is_compat(), "{}", setting.name);
        for alias in setting.aliases {
            assert!(!help.contains(&format!("--{alias} ")), "{alias}");
        }
    }
    assert!(help.contains("[default: unix:///run/dockside/dockside.sock]"));
}

#[test]
fn no_name_is_used_twice() {
    let mut names: Vec<_> = SETTINGS.iter().flat_map(Setting::names).collect();
    let count = names.len();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), count);
}

#[test]
fn dockers_own_logs_are_bounded_and_rotated() {
    for size in ["", "0", "32M", "1t", "-1", "m"] {
        let flag = format!("--container-log-max-size={size}");
        assert!(refusal(&[&flag]).contains("a size is a number of bytes"), "{size}");
    }
    assert!(refusal(&["--container-log-max-files", "1"]).contains("from 2 to 100"));
    assert_eq!(resolve(&["--container-log-max-size", "1g"]).unwrap().container_log_max_size, "1g");
}
