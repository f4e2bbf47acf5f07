use super::*;

fn dir_of(files: &[(&str, &str)]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for (name, text) in files {
        let path = dir.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    dir
}

fn kinds(network: &Network) -> Vec<&str> {
    network.plugins.iter().map(|plugin| plugin.kind.as_str()).collect()
}

const PTP: &str = r#"{"cniVersion":"0.3.1","name":"one","type":"ptp","ipam":{"type":"host-local"}}"#;

#[test]
fn the_first_valid_file_by_name_is_chosen() {
    let dir = dir_of(&[
        ("20-z.conflist", r#"{"cniVersion":"1.0.0","name":"late","plugins":[{"type":"x"}]}"#),
        ("10-a.conf", PTP),
        ("05-broken.json", "{"),
        ("06-list.json", r#"{"name":"l","plugins":[{"type":"x"}]}"#),
        ("07-array.conf", "[]"),
        ("08-nameless.conf", r#"{"type":"x"}"#),
        ("00-readme.txt", "{}"),
        (".00-draft.conf", PTP),
        ("01-folder.conf/x", ""),
    ]);
    let loaded = load_dir(dir.path());
    let network = loaded.network.unwrap();
    assert_eq!((network.name.as_str(), kinds(&network)), ("one", vec!["ptp"]));
    assert_eq!(network.source, Source::File(dir.path().join("10-a.conf")));
    assert_eq!(network.plugins[0].ipam.as_deref(), Some("host-local"));
    assert_eq!(network.list["cniVersion"], "0.3.1");
    assert_eq!(loaded.warnings.len(), 4, "{:?}", loaded.warnings);
    assert!(loaded.warnings[0].contains("05-broken.json: it is not JSON"), "{:?}", loaded.warnings);
    assert!(loaded.warnings[1].contains("must be named *.conflist"), "{:?}", loaded.warnings);
}

#[test]
fn an_absent_directory_offers_nothing_and_is_no_reason_to_complain() {
    let loaded = load_dir(Path::new("/nonexistent/net.d"));
    assert!(loaded.network.is_none() && loaded.warnings.is_empty());
}

#[test]
fn the_keys_of_a_plugin_survive_as_written() {
    let text = r#"{"name":"n","cniVersion":"1.0.0","plugins":[
        {"type":"x","capabilities":{"a":true,"b":false},"own":{"deep":[1,2.5,null,"é"]}}]}"#;
    let network = Network::from_list(serde_json::from_str(text).unwrap(), Source::Cache).unwrap();
    let plugin = &network.plugins[0];
    assert_eq!(plugin.capabilities, BTreeSet::from(["a".to_owned()]));
    assert_eq!(plugin.raw["own"], serde_json::json!({"deep": [1, 2.5, null, "é"]}));
    assert!(network.has_capability("a") && !network.has_capability("b"));
}

#[test]
fn the_highest_version_that_both_know_is_spoken() {
    let select = |versions: &str| {
        let text = format!(r#"{{"name":"n",{versions}"plugins":[{{"type":"x"}}]}}"#);
        Network::from_list(serde_json::from_str(&text).unwrap(), Source::Cache)
            .map(|network| network.version.to_string())
    };
    assert_eq!(select("").unwrap(), "0.1.0");
    assert_eq!(select(r#""cniVersion":"0.3.1","#).unwrap(), "0.3.1");
    assert_eq!(select(r#""cniVersion":"0.4.0","cniVersions":["1.0.0","1.1.0","2.0.0"],"#).unwrap(), "1.1.0");
    assert_eq!(select(r#""cniVersion":"2.0.0","cniVersions":["1.0.0"],"#).unwrap(), "1.0.0");
    assert!(select(r#""cniVersion":"2.0.0","#).unwrap_err().contains("needs CNI 2.0.0"));
    assert!(select(r#""cniVersion":"new","#).is_err());
    assert!(select(r#""cniVersion":1,"#).is_err());
}

#[test]
fn what_breaks_a_rule_is_refused() {
    for (text, reason) in [
        (r#"{"plugins":[{"type":"x"}]}"#, "no `name`"),
        (r#"{"name":"a/b","plugins":[{"type":"x"}]}"#, "characters"),
        (r#"{"name":"-a","plugins":[{"type":"x"}]}"#, "characters"),
        (r#"{"name":"n","plugins":[]}"#, "no plugins"),
        (r#"{"name":"n"}"#, "no plugins"),
        (r#"{"name":"n","plugins":{}}"#, "not a list"),
        (r#"{"name":"n","plugins":[{}]}"#, "plugin 0: it has no `type`"),
        (r#"{"name":"n","plugins":[{"type":"../x"}]}"#, "not the name of a file"),
        (r#"{"name":"n","plugins":[{"type":"x","capabilities":[]}]}"#, "not a JSON object"),
        (r#"{"name":"n","disableGC":3,"plugins":[{"type":"x"}]}"#, "neither true nor false"),
    ] {
        let list = serde_json::from_str(text).unwrap();
        let error = Network::from_list(list, Source::Cache).unwrap_err();
        assert!(error.contains(reason), "{text}: {error}");
    }
}

#[test]
fn plugins_of_the_folder_with_the_networks_name_join_the_chain() {
    let list = r#"{"name":"n","cniVersion":"1.1.0","plugins":[{"type":"x"}]}"#;
    let files = [
        ("10-n.conflist", list),
        ("n/20.conf", r#"{"type":"z"}"#),
        ("n/10.conf", r#"{"type":"y"}"#),
        ("n/30.conflist", "ignored"),
        ("m/10.conf", "ignored"),
    ];
    let network = load_dir(dir_of(&files).path()).network.unwrap();
    assert_eq!(kinds(&network), ["x", "y", "z"]);
    let again = Network::from_list(network.list.clone(), Source::Cache).unwrap();
    assert_eq!(again.plugins, network.plugins, "the cached list has them too");

    let closed = list.replace(r#""name""#, r#""loadOnlyInlinedPlugins":true,"name""#);
    let network = load_dir(dir_of(&[("10-n.conflist", closed.as_str()), files[1]]).path()).network.unwrap();
    assert_eq!(kinds(&network), ["x"]);
    let outside = r#"{"name":"n","cniVersion":"1.1.0"}"#;
    let network = load_dir(dir_of(&[("10-n.conflist", outside), files[1]]).path()).network.unwrap();
    assert_eq!(kinds(&network), ["z"]);
}
