//! The network of raw Docker's pods: the plugins that the servers run.

use std::path::Path;
use std::process::Stdio;

use serde_json::Value;
use serde_json::json;
use tokio::io::AsyncWriteExt;

/// The directories of plugins.
pub(crate) const BIN_DIRS: [&str; 2] = ["/opt/cni/bin", "/usr/lib/cni"];
const BRIDGE: &str = "bench0";
const SUBNET: &str = "10.91.0.0/16";

/// The plugins of Dockside's built-in network that a pod without host ports and bandwidth limits needs.
pub(crate) fn plugins(bridge: &str, subnet: &str) -> [Value; 2] {
    [
        json!({
            "type": "bridge", "bridge": bridge, "isGateway": true, "ipMasq": true, "hairpinMode": true,
            "forceAddress": true,
            "ipam": {"type": "host-local", "ranges": [[{"subnet": subnet}]], "routes": [{"dst": "0.0.0.0/0"}]},
        }),
        json!({"type": "firewall"}),
    ]
}

/// Runs ADD, and returns the result that [`detach`] needs.
///
/// # Errors
/// The plugin's error.
pub(crate) async fn attach(id: &str, netns: &str) -> Result<Value, String> {
    let mut result = Value::Null;
    for plugin in plugins(BRIDGE, SUBNET) {
        let output = exec("ADD", plugin, &result, id, netns).await?;
        result = serde_json::from_str(&output).map_err(|error| format!("a plugin's answer: {error}"))?;
    }
    Ok(result)
}

/// Runs DEL.
///
/// # Errors
/// The plugin's error.
pub(crate) async fn detach(id: &str, netns: &str, result: &Value) -> Result<(), String> {
    for plugin in plugins(BRIDGE, SUBNET).into_iter().rev() {
        exec("DEL", plugin, result, id, netns).await?;
    }
    Ok(())
}

async fn exec(verb: &str, mut conf: Value, previous: &Value, id: &str, netns: &str) -> Result<String, String> {
    conf["cniVersion"] = json!("1.0.0");
    conf["name"] = json!(BRIDGE);
    if !previous.is_null() {
        conf["prevResult"] = previous.clone();
    }
    let kind = conf["type"].as_str().unwrap_or_default();
    let program = BIN_DIRS
        .iter()
        .map(|directory| Path::new(directory).join(kind))
        .find(|path| path.exists())
        .ok_or(format!("the CNI plugin {kind} is not installed"))?;
    let mut child = tokio::process::Command::new(program)
        .env("CNI_COMMAND", verb)
        .env("CNI_CONTAINERID", id)
        .env("CNI_NETNS", netns)
        .env("CNI_IFNAME", "eth0")
        .env("CNI_PATH", BIN_DIRS.join(":"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| format!("{kind}: {error}"))?;
    let mut input = child.stdin.take().ok_or(format!("{kind} has no input"))?;
    input.write_all(conf.to_string().as_bytes()).await.map_err(|error| format!("{kind}: {error}"))?;
    drop(input);
    let output = child.wait_with_output().await.map_err(|error| format!("{kind}: {error}"))?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    if output.status.success() { Ok(text) } else { Err(format!("{kind} {verb}: {text}")) }
}
