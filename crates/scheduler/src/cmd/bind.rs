//! `bind`: binds a pod to a node chosen by the user.

use clap::Args;

use super::Error;
use super::pending_pod;
use super::snapshot;
use crate::api::Client;
use crate::bind::post_binding;
use crate::decide::Verdict;
use crate::decide::fits;

#[derive(Args)]
pub(super) struct BindArgs {
    /// A pending pod, as NAME or NAMESPACE/NAME
    pod: String,
    /// The node
    node: String,
    /// Bind even if the pod does not fit
    #[arg(long)]
    force: bool,
}

pub(super) async fn run(client: &Client, names: &[String], args: &BindArgs) -> Result<(), Error> {
    let mut store = snapshot(client, names).await?;
    let pod = pending_pod(&store, &args.pod)?;
    if !args.force {
        let none = || Error::Refused(format!("there is no node {:?} (see dockside-scheduler nodes)", args.node));
        let node = store.cluster.node_named(&args.node).ok_or_else(none)?;
        let refused = fits(&pod, &mut store.cluster, node).err();
        if let Some(why) = refused.and_then(|refused| Verdict::refused(refused).refusal()) {
            let node = &args.node;
            return Err(Error::Refused(format!("{pod} does not fit {node}: {why} (use --force to bind it anyway)")));
        }
    }
    post_binding(client, &pod, &args.node).await?;
    println!("{pod} is bound to {}", args.node);
    Ok(())
}
