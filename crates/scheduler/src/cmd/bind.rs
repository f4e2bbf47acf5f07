//! `bind`: a person chooses the node.

use clap::Args;

use super::Error;
use super::snapshot;
use super::waiting_pod;
use crate::api::Client;
use crate::bind::post;
use crate::decide::Verdict;
use crate::decide::fits;

#[derive(Args)]
pub(super) struct BindArgs {
    /// A waiting pod, as NAME or NAMESPACE/NAME
    pod: String,
    /// The node it is to run on
    node: String,
    /// Bind even where the pod does not fit
    #[arg(long)]
    force: bool,
}

pub(super) async fn run(client: &Client, names: &[String], args: &BindArgs) -> Result<(), Error> {
    let mut world = snapshot(client, names).await?;
    let pod = waiting_pod(&world, &args.pod)?;
    if !args.force {
        let none = || Error::Refused(format!("there is no node {:?} (see dockside-scheduler nodes)", args.node));
        let node = world.cluster.node_named(&args.node).ok_or_else(none)?;
        let refused = fits(&pod, &mut world.cluster, node).err();
        if let Some(why) = refused.and_then(|refused| Verdict::refused(refused).refusal()) {
            let node = &args.node;
            return Err(Error::Refused(format!("{pod} does not fit on {node}: {why} (--force binds it all the same)")));
        }
    }
    post(client, &pod, &args.node).await?;
    println!("{pod} is bound to {}", args.node);
    Ok(())
}
