//! Decisions in clusters made at random keep every rule, and miss no node.
//!
//! The rules are written down here a second time, in the plainest way: loops over every pod there is, on the
//! descriptions that the clusters are made from and not on what the scheduler keeps.

use std::sync::Arc;

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use serde_json::Value;
use serde_json::json;

use super::decide;
use crate::cluster::testing;
use crate::cluster::testing::Builder;
use crate::model::Intern;
use crate::model::Pod;
use crate::read;

#[derive(Clone, Copy, Debug, PartialEq)]
enum Key {
    Host,
    Zone,
}

impl Key {
    fn label(self) -> &'static str {
        match self {
            Key::Host => "kubernetes.io/hostname",
            Key::Zone => "zone",
        }
    }
}

#[derive(Clone, Debug)]
struct Machine {
    zone: Option<u8>,
    cpu: u32,
    tainted: bool,
    cordoned: bool,
    fast: bool,
    pods: u8,
}

#[derive(Clone, Debug)]
struct Wish {
    app: u8,
    cpu: u32,
    fast: bool,
    tolerant: bool,
    port: Option<u16>,
    near: Option<(u8, Key)>,
    away: Option<(u8, Key)>,
    spread: Option<(Key, i64)>,
}

fn key() -> impl Strategy<Value = Key> {
    prop_oneof![Just(Key::Host), Just(Key::Zone)]
}

fn machine() -> impl Strategy<Value = Machine> {
    (
        option::weighted(0.8, 0..3_u8),
        1..4_u32,
        prop::bool::weighted(0.2),
        prop::bool::weighted(0.1),
        any::<bool>(),
        1..6_u8,
    )
        .prop_map(|(zone, cpu, tainted, cordoned, fast, pods)| Machine {
            zone,
            cpu,
            tainted,
            cordoned,
            fast,
            pods,
        })
}

fn wish() -> impl Strategy<Value = Wish> {
    (
        0..3_u8,
        0..3_u32,
        prop::bool::weighted(0.2),
        prop::bool::weighted(0.3),
        option::weighted(0.2, 80..82_u16),
        option::weighted(0.2, (0..3_u8, key())),
        option::weighted(0.2, (0..3_u8, key())),
        option::weighted(0.3, (key(), 1..3_i64)),
    )
        .prop_map(|(app, cpu, fast, tolerant, port, near, away, spread)| Wish {
            app,
            cpu,
            fast,
            tolerant,
            port,
            near,
            away,
            spread,
        })
}

impl Machine {
    fn json(&self) -> Value {
        let mut labels = json!({"disk": if self.fast { "ssd" } else { "hdd" }});
        if let Some(zone) = self.zone {
            labels["zone"] = json!(zone.to_string());
        }
        let taints = if self.tainted { json!([{"key": "team", "effect": "NoSchedule"}]) } else { json!([]) };
        json!({
            "metadata": {"labels": labels},
            "spec": {"taints": taints, "unschedulable": self.cordoned},
            "status": {"allocatable": {"cpu": self.cpu.to_string(), "pods": self.pods.to_string()}},
        })
    }
}

impl Wish {
    fn json(&self) -> Value {
        let term = |(app, key): (u8, Key)| {
            json!({"requiredDuringSchedulingIgnoredDuringExecution": [{"topologyKey": key.label(),
                "labelSelector": {"matchLabels": {"app": app.to_string()}}}]})
        };
        let container = json!({"name": "c", "resources": {"requests": {"cpu": self.cpu.to_string()}},
            "ports": self.port.map(|port| json!({"hostPort": port, "containerPort": port})).into_iter().collect::<Vec<_>>()});
        let mut spec = json!({"containers": [container], "affinity": {}});
        if self.fast {
            spec["nodeSelector"] = json!({"disk": "ssd"});
        }
        if self.tolerant {
            spec["tolerations"] = json!([{"key": "team", "operator": "Exists"}]);
        }
        if let Some(near) = self.near {
            spec["affinity"]["podAffinity"] = term(near);
        }
        if let Some(away) = self.away {
            spec["affinity"]["podAntiAffinity"] = term(away);
        }
        if let Some((key, skew)) = self.spread {
            spec["topologySpreadConstraints"] = json!([{"maxSkew": skew, "topologyKey": key.label(),
                "whenUnsatisfiable": "DoNotSchedule", "labelSelector": {"matchLabels": {"app": self.app.to_string()}}}]);
        }
        json!({"metadata": {"labels": {"app": self.app.to_string()}}, "spec": spec})
    }
}

/// The rules, in the plainest way.
struct Plain<'a> {
    machines: &'a [Machine],
    /// Who is where.
    placed: Vec<(&'a Wish, usize)>,
}

impl Plain<'_> {
    /// What is the same for two machines that are together.
    fn domain(&self, machine: usize, key: Key) -> Option<usize> {
        match key {
            Key::Host => Some(machine),
            Key::Zone => self.machines[machine].zone.map(usize::from),
        }
    }

    fn together(&self, a: usize, b: usize, key: Key) -> bool {
        self.domain(a, key).is_some() && self.domain(a, key) == self.domain(b, key)
    }

    fn allows(&self, wish: &Wish, machine: usize) -> bool {
        let it = &self.machines[machine];
        let here: Vec<_> = self.placed.iter().filter(|(_, at)| *at == machine).map(|(wish, _)| wish).collect();
        let used: u32 = here.iter().map(|other| other.cpu).sum();
        !it.cordoned
            && (!it.tainted || wish.tolerant)
            && (!wish.fast || it.fast)
            && here.len() < usize::from(it.pods)
            && (wish.cpu == 0 || used + wish.cpu <= it.cpu)
            && (wish.port.is_none() || here.iter().all(|other| other.port != wish.port))
            && wish.near.is_none_or(|near| self.allows_near(wish, near, machine))
            && wish.away.is_none_or(|away| !self.is_near(away, machine))
            && !self.is_unwelcome(wish, machine)
            && wish.spread.is_none_or(|(key, skew)| self.allows_spread(wish, key, skew, machine))
    }

    fn is_near(&self, (app, key): (u8, Key), machine: usize) -> bool {
        self.placed.iter().any(|(other, at)| other.app == app && self.together(*at, machine, key))
    }

    fn allows_near(&self, wish: &Wish, near: (u8, Key), machine: usize) -> bool {
        let (app, key) = near;
        let exists = self.placed.iter().any(|(other, at)| other.app == app && self.domain(*at, key).is_some());
        self.domain(machine, key).is_some() && (self.is_near(near, machine) || (!exists && wish.app == app))
    }

    fn is_unwelcome(&self, wish: &Wish, machine: usize) -> bool {
        self.placed
            .iter()
            .any(|(other, at)| other.away.is_some_and(|(app, key)| app == wish.app && self.together(*at, machine, key)))
    }

    fn allows_spread(&self, wish: &Wish, key: Key, skew: i64, machine: usize) -> bool {
        // A machine that the pod's selector leaves out is not compared.
        let compared = |at: usize| !wish.fast || self.machines[at].fast;
        let count = |domain: usize| {
            let same = |(other, at): &&(&Wish, usize)| {
                other.app == wish.app && compared(*at) && self.domain(*at, key) == Some(domain)
            };
            i64::try_from(self.placed.iter().filter(same).count()).unwrap()
        };
        let domains = (0..self.machines.len()).filter(|at| compared(*at)).filter_map(|at| self.domain(at, key));
        let emptiest = domains.map(count).min().unwrap_or(0);
        self.domain(machine, key).is_some_and(|domain| count(domain) + 1 - emptiest <= skew)
    }
}

fn index(name: &str) -> usize {
    name.parse().unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn no_placement_breaks_a_rule_and_no_feasible_pod_is_left(
        machines in vec(machine(), 1..6),
        wishes in vec(wish(), 1..14),
        choice in any::<usize>(),
    ) {
        let intern = Intern::default();
        let mut builder = Builder::default();
        for (at, machine) in machines.iter().enumerate() {
            builder = builder.node(&at.to_string(), machine.json());
        }
        let mut cluster = builder.cluster;
        let mut plain = Plain { machines: &machines, placed: Vec::new() };
        for (at, wish) in wishes.iter().enumerate() {
            let wire = serde_json::from_value(testing::pod(&format!("pod-{at}"), wish.json())).unwrap();
            let pod = Arc::new(read::pod(&wire, &intern).unwrap());
            match decide(&pod, &mut cluster, |several| choice % several) {
                Ok(placement) => {
                    let name = cluster.node(placement.node).node.name.clone();
                    prop_assert!(plain.allows(wish, index(&name)), "{wish:?} was placed on {name}");
                    plain.placed.push((wish, index(&name)));
                    cluster.put_pod(Arc::new(Pod { node: Some(name), ..Pod::clone(&pod) }));
                }
                Err(unfit) => {
                    let missed: Vec<_> = (0..machines.len()).filter(|at| plain.allows(wish, *at)).collect();
                    prop_assert!(missed.is_empty(), "{wish:?} fits on {missed:?}: {}", unfit.message());
                }
            }
        }
    }
}
