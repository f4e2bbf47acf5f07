//! Attaches the network namespace of a process to the node's container network, waits, and detaches it:
//!
//! ```text
//! unshare --net sleep 1000 &
//! cargo run -p cni-runtime --example attach -- $!
//! ```
//!
//! Needs root, a configuration in /etc/cni/net.d and its plugins in /opt/cni/bin or /usr/lib/cni.

use std::io::BufRead;

use cni_runtime::Attachment;
use cni_runtime::Cni;
use cni_runtime::Config;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let pid: u32 = std::env::args().nth(1).ok_or("usage: attach PID")?.parse()?;
    let cni = Cni::new(Config::default(), None);
    let status = cni.status();
    if !status.ready {
        return Err(status.message.into());
    }
    cni.plugin_status().await?;

    let id = format!("example-{pid}");
    let netns = cni.pin_netns(&id, pid)?;
    let attachment = Attachment {
        container_id: id,
        netns: Some(netns.clone()),
        pod_name: "example".to_owned(),
        pod_namespace: "default".to_owned(),
        ..Attachment::default()
    };
    let attached = cni.add(&attachment).await?;
    println!(
        "{} is attached to {} with {:?}; press Enter to detach it",
        netns.display(),
        attached.network,
        attached.ips
    );
    std::io::stdin().lock().read_line(&mut String::new())?;

    cni.check(&attachment).await?;
    cni.del(&attachment).await?;
    cni.unpin_netns(&netns)?;
    Ok(())
}
