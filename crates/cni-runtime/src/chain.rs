//! Runs the plugins of a network one after the other, each with its request configuration (CNI
//! specification, section 3).

use serde_json::Map;
use serde_json::Value;
use serde_json::json;

use super::attachment::Parameters;
use super::conf::Network;
use super::conf::Plugin;
use super::exec::Environment;
use super::exec::Runner;
use super::failure::PluginError;
use super::failure::Verb;
use super::failure::parse_object;
use super::version::Version;

/// "Container unknown": the plugin has nothing to clean up (section 5).
const CODE_CONTAINER_UNKNOWN: u64 = 3;

/// Names one attachment to a network.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct AttachmentKey {
    /// The id of the sandbox.
    pub container_id: String,
    /// The interface inside its namespace.
    pub ifname: String,
}

/// A network's plugins, to be called for one attachment.
pub(crate) struct Chain<'a> {
    /// The network.
    pub network: &'a Network,
    /// What runs the plugins.
    pub runner: &'a Runner,
    /// What they are called with.
    pub parameters: &'a Parameters,
}

impl Chain<'_> {
    /// `ADD` in order, each plugin with the result of the one before.
    ///
    /// `result` holds the last good result also when a later plugin fails.
    pub(crate) async fn add(&self, result: &mut Option<Map<String, Value>>) -> Result<(), PluginError> {
        for plugin in &self.network.plugins {
            let output = self.call(plugin, Verb::Add, result.as_ref()).await?;
            let mut object = parse_object(&output).map_err(|failure| PluginError {
                plugin: plugin.kind.clone(),
                verb: Verb::Add,
                failure,
            })?;
            // Some plugins leave it out, and the next one needs it to read the result.
            let version = object.entry("cniVersion").or_insert(Value::Null);
            if version.as_str().is_none_or(str::is_empty) {
                *version = Value::String(self.network.version.to_string());
            }
            *result = Some(object);
        }
        Ok(())
    }

    /// `DEL` in reverse, each plugin with the final result of `ADD`. Ends at the first plugin that fails, so
    /// that repeating it starts there again.
    pub(crate) async fn del(&self, result: Option<&Map<String, Value>>) -> Result<(), PluginError> {
        for plugin in self.network.plugins.iter().rev() {
            self.del_plugin(plugin, result).await?;
        }
        Ok(())
    }

    /// `DEL` in reverse for an `ADD` that failed. Goes on when a plugin fails: the address, which is given
    /// back last, must not stay taken because a port could not be closed.
    pub(crate) async fn undo(&self, result: Option<&Map<String, Value>>) -> Vec<PluginError> {
        let mut errors = Vec::new();
        for plugin in self.network.plugins.iter().rev() {
            if let Err(error) = self.del_plugin(plugin, result).await {
                errors.push(error);
            }
        }
        errors
    }

    async fn del_plugin(&self, plugin: &Plugin, result: Option<&Map<String, Value>>) -> Result<(), PluginError> {
        // Older plugins do not know `prevResult` on DEL.
        let result = result.filter(|_| self.network.version >= Version::WITH_CHECK);
        match self.call(plugin, Verb::Del, result).await {
            Err(error) if error.code() == Some(CODE_CONTAINER_UNKNOWN) => Ok(()),
            outcome => outcome.map(drop),
        }
    }

    /// `CHECK` in order, each plugin with the final result of `ADD`. Ends at the first plugin that fails.
    pub(crate) async fn check(&self, result: &Map<String, Value>) -> Result<(), PluginError> {
        for plugin in &self.network.plugins {
            self.call(plugin, Verb::Check, Some(result)).await?;
        }
        Ok(())
    }

    async fn call(
        &self,
        plugin: &Plugin,
        verb: Verb,
        result: Option<&Map<String, Value>>,
    ) -> Result<Vec<u8>, PluginError> {
        let environment = Environment {
            container_id: Some(self.parameters.container_id.clone()),
            // Set to nothing when there is none: `DEL` is then to do without.
            netns: Some(self.parameters.netns.clone().unwrap_or_default()),
            ifname: Some(self.parameters.ifname.clone()),
            args: Some(self.parameters.args_text()),
        };
        let config = self.request(plugin, result);
        self.runner.run(&plugin.kind, verb, &environment, config.as_bytes()).await
    }

    /// The plugin's configuration with what section 3, "deriving request configuration", adds and removes.
    fn request(&self, plugin: &Plugin, result: Option<&Map<String, Value>>) -> String {
        let mut request = base_request(self.network, plugin);
        request.remove("capabilities");
        let args = &self.parameters.capability_args;
        let asked_for = args.iter().filter(|(key, _)| plugin.capabilities.contains(*key));
        let runtime_config: Map<String, Value> = asked_for.map(|(key, value)| (key.clone(), value.clone())).collect();
        if !runtime_config.is_empty() {
            request.insert("runtimeConfig".to_owned(), Value::Object(runtime_config));
        }
        if let Some(result) = result {
            request.insert("prevResult".to_owned(), Value::Object(result.clone()));
        }
        Value::Object(request).to_string()
    }
}

fn base_request(network: &Network, plugin: &Plugin) -> Map<String, Value> {
    let mut request = plugin.raw.clone();
    request.insert("name".to_owned(), Value::String(network.name.clone()));
    request.insert("cniVersion".to_owned(), Value::String(network.version.to_string()));
    request
}

/// `STATUS` in order. Ends at the first plugin that cannot serve an `ADD`, so that its error code is clear.
/// Does nothing before version 1.1.0.
pub(crate) async fn status(network: &Network, runner: &Runner) -> Result<(), PluginError> {
    if network.version < Version::WITH_STATUS_AND_GC {
        return Ok(());
    }
    for plugin in &network.plugins {
        let config = Value::Object(base_request(network, plugin)).to_string();
        runner.run(&plugin.kind, Verb::Status, &Environment::default(), config.as_bytes()).await?;
    }
    Ok(())
}

/// `GC` in order. Goes on when a plugin fails. Does nothing before version 1.1.0.
pub(crate) async fn gc(network: &Network, runner: &Runner, valid: &[AttachmentKey]) -> Vec<PluginError> {
    let mut errors = Vec::new();
    if network.version < Version::WITH_STATUS_AND_GC {
        return errors;
    }
    let valid: Value = valid.iter().map(|key| json!({"containerID": key.container_id, "ifname": key.ifname})).collect();
    for plugin in &network.plugins {
        let mut request = base_request(network, plugin);
        // The second name is an error of the first libcni with GC, which plugins came to rely on.
        for key in ["cni.dev/valid-attachments", "cni.dev/attachments"] {
            request.insert(key.to_owned(), valid.clone());
        }
        let config = Value::Object(request).to_string();
        let outcome = runner.run(&plugin.kind, Verb::Gc, &Environment::default(), config.as_bytes()).await;
        errors.extend(outcome.err());
    }
    errors
}
